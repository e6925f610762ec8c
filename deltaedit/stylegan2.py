"""StyleGAN2 in plain PyTorch, any resolution: z -> w -> s -> image (Karras et al. 2020, arXiv:1912.04958).

The style space holds the modulation vectors of the convolution layers; those of the toRGB layers are not part of it
(DeltaEdit, section 3). Nothing here needs a compiled extension: the same code runs on CPU, CUDA and
MPS, in float32, in half precision where it counts or all of it under ``torch.autocast``, fastest with
``generator.to(memory_format=torch.channels_last)``.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit import devices
from deltaedit.devices import full_precision
from deltaedit.files import fingerprint, read_module, write_tensors
from deltaedit.pictures import resize
from deltaedit.style_space import Noise, StyleLayout, as_w_plus

SQRT2 = math.sqrt(2)
GROUP = 4  # pictures that share one standard deviation in the discriminator
CLAMP = 256.0  # for float16, as published; with it no sum of a layer leaves float16's range, see StyledConv


@dataclass(frozen=True)
class GeneratorConfig:
    """Sizes of a StyleGAN2 generator and of its discriminator; the defaults are those of FFHQ at 1024 px.

    A layer at ``r`` px has ``min(channel_max, channel_base // r)`` channels. ``channel_base`` is 32768 where other code
    says channel multiplier 2, and 16384 where it says 1.

    >>> GeneratorConfig().layout.size  # of FFHQ's generator at 1024 px
    6048
    """

    resolution: int = 1024
    z_dim: int = 512
    w_dim: int = 512
    mapping_layers: int = 8
    channel_base: int = 32768
    channel_max: int = 512
    mapping_lr_mul: float = 0.01

    def __post_init__(self) -> None:
        if not 8 <= self.resolution <= 2**16 or self.resolution & (self.resolution - 1):
            raise ValueError(f"resolution must be a power of two, at least 8 and at most 65536. Got {self.resolution}.")
        for name in ("z_dim", "w_dim", "mapping_layers", "channel_base", "channel_max", "mapping_lr_mul"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive. Got {getattr(self, name)}.")
        if self.channels(self.resolution) == 0:
            wanted = f"channel_base must be at least the resolution, {self.resolution}, or no channel is left"
            raise ValueError(f"{wanted}. Got {self.channel_base}.")

    def channels(self, resolution: int) -> int:
        """Number of channels of the layers that draw at ``resolution`` px."""
        return min(self.channel_max, self.channel_base // resolution)

    @property
    def resolutions(self) -> tuple[int, ...]:
        """4, 8, ..., resolution."""
        return tuple(2**k for k in range(2, self.resolution.bit_length()))

    @property
    def layout(self) -> StyleLayout:
        """Layout of the style space, with one style channel for each input channel of a convolution layer."""
        dims = [self.channels(4)]
        for resolution in self.resolutions[1:]:
            dims += [self.channels(resolution // 2), self.channels(resolution)]
        return StyleLayout(tuple(dims))


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate, then optionally leaky ReLU 0.2 and a gain of sqrt(2).

    Maps (..., in_dim) to (..., out_dim). Weights are stored as N(0, 1) / lr_mul and scaled by lr_mul / sqrt(in_dim)
    at run time, so that Adam moves every layer at the same relative speed (Karras et al. 2018, arXiv:1710.10196).
    """

    def __init__(
        self, in_dim: int, out_dim: int, *, lr_mul: float = 1.0, bias: float = 0.0, activate: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_dim, in_dim) / lr_mul)
        self.bias = nn.Parameter(torch.full((out_dim,), bias / lr_mul))
        self.gain, self.lr_mul, self.activate = lr_mul / math.sqrt(in_dim), lr_mul, activate

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in_dim) -> (..., out_dim)."""
        x = F.linear(x * self.gain, self.weight, self.bias * self.lr_mul)  # of the two factors the smaller is scaled
        return F.leaky_relu(x, 0.2) * SQRT2 if self.activate else x


def pixel_norm(x: Tensor, dim: int = 1) -> Tensor:
    """Divide by the root mean square over ``dim``."""
    return x * torch.rsqrt(x.square().mean(dim, keepdim=True) + 1e-8)


def fir_filter(channels: int, like: Tensor, gain: float = 1.0) -> Tensor:
    """The [1, 3, 3, 1] low-pass filter as a depthwise (channels, 1, 4, 4) kernel that sums to ``gain``."""
    taps = like.new_tensor([1.0, 3.0, 3.0, 1.0])
    return (torch.outer(taps, taps) * (gain / 64)).expand(channels, 1, 4, 4)


def upsample(x: Tensor) -> Tensor:
    """Twice the height and width of (B, C, H, W), zeros put between the pixels and [1, 3, 3, 1] drawn over them."""
    c = x.shape[1]
    return F.conv_transpose2d(x, fir_filter(c, x, gain=4.0), stride=2, padding=1, groups=c)


def downsample(x: Tensor) -> Tensor:
    """Half the height and width of (B, C, H, W), after the [1, 3, 3, 1] low-pass filter."""
    c = x.shape[1]
    return F.conv2d(x, fir_filter(c, x), stride=2, padding=1, groups=c)


class StyledConv(nn.Module):
    """Modulated 3 x 3 convolution with demodulation, noise, bias, leaky ReLU (arXiv:1912.04958, section 2.2).

    Scaling the input by the style and the output by the demodulation coefficient equals one convolution with its own
    weights for every picture, and shares the weights across the batch, which is several times faster. A single picture
    that has more numbers than the weights is left alone, and they are scaled.

    In float16 the input must be within ``CLAMP``, and the output is. Demodulated weights have unit norm, so that before
    the bias no number exceeds ``CLAMP * sqrt(9 C)``, and 4 times the 4 / 9 of it between the two halves of upsampling:
    below 50,000 for 512 channels.
    """

    def __init__(self, in_channels: int, out_channels: int, resolution: int, w_dim: int, upsampling: bool) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise_const", torch.randn(1, 1, resolution, resolution))
        self.gain, self.upsampling = 1 / math.sqrt(in_channels * 9), upsampling

    def forward(self, x: Tensor, style: Tensor, noise: Tensor | None) -> Tensor:
        """x (B, C, H, W), style (B, C), noise (B or 1, 1, H', W') or None -> (B, C', H', W')."""
        with full_precision(x):
            style = style.float() * self.gain
            demod = torch.rsqrt(style.square() @ self.weight.square().sum((2, 3)).T + 1e-8)  # (B, C')
            least = demod.detach().amin(1, keepdim=True)  # moved to the style: it keeps the sums in float16's range
            # sqrt(2) goes through the leaky ReLU, so it is put on the small tensors: one pass less over the picture.
            style, demod, bias = style * least, (demod / least * SQRT2).clamp(max=6e4), self.bias * SQRT2
        if alone := len(x) == 1 and x.numel() > self.weight.numel():
            weight, inner = self.weight * (demod.T * style)[:, :, None, None], bias.to(x.dtype)
        else:
            weight, inner, x = self.weight, None, x * style[:, :, None, None].to(x.dtype)
        weight = weight.to(x.dtype)
        if self.upsampling:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)  # (B, C', 2H + 1, 2W + 1)
            c = x.shape[1]
            x = F.conv2d(x, fir_filter(c, x, gain=4.0), inner, padding=1, groups=c)
        else:
            x = F.conv2d(x, weight, inner, padding=1)
        if not alone:
            x = torch.addcmul(bias[:, None, None].to(x.dtype), x, demod[:, :, None, None].to(x.dtype))
        if noise is not None:
            x += (noise * self.noise_strength * SQRT2).to(x.dtype)  # in place, here and below: large memory is dear
        x = F.leaky_relu_(x, 0.2)
        return x.clamp(-CLAMP, CLAMP) if x.dtype == torch.float16 else x


class ToRGB(nn.Module):
    """Modulated 1 x 1 convolution to three channels, without demodulation; takes w, not s."""

    def __init__(self, in_channels: int, w_dim: int) -> None:
        super().__init__()
        self.affine = EqualLinear(w_dim, in_channels, bias=1.0)
        self.weight = nn.Parameter(torch.randn(3, in_channels))
        self.bias = nn.Parameter(torch.zeros(3))
        self.gain = 1 / math.sqrt(in_channels)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x (B, C, H, W), w (B, w_dim) -> (B, 3, H, W)."""
        with full_precision(x):
            style = self.affine(w.float()) * self.gain  # (B, C)
        weight = (self.weight * style[:, None]).mT  # (B, C, 3): so small that each picture can have its own
        pixels = x.permute(0, 2, 3, 1).flatten(1, 2)  # (B, HW, C): a view, channels_last or not
        rgb = torch.bmm(pixels, weight.to(x.dtype)).mT  # (B, 3, HW)
        if x.dtype == torch.float16:
            rgb = rgb.clamp(-CLAMP, CLAMP)
        return rgb.unflatten(2, x.shape[2:]).float() + self.bias[:, None, None]


class Generator(nn.Module):
    """StyleGAN2 generator: z -> w -> s -> image, with skip connections to RGB.

    >>> generator = Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=8, channel_base=64))
    >>> w = generator.mapping(torch.randn(2, 8))
    >>> generator.synthesize(generator.styles(w), w).shape
    torch.Size([2, 3, 16, 16])
    """

    w_avg: Tensor

    def __init__(self, config: GeneratorConfig = GeneratorConfig()) -> None:
        super().__init__()
        self.config, self.layout = config, config.layout
        widths = [config.z_dim, *[config.w_dim] * config.mapping_layers]
        self.mapping_network = nn.Sequential(
            *(EqualLinear(a, b, lr_mul=config.mapping_lr_mul, activate=True) for a, b in pairwise(widths))
        )
        self.register_buffer("w_avg", torch.zeros(config.w_dim))
        self.const = nn.Parameter(torch.randn(1, config.channels(4), 4, 4))
        self.convs, self.to_rgbs = nn.ModuleList(), nn.ModuleList()
        for r in config.resolutions:
            c = config.channels(r)
            if r > 4:
                self.convs.append(StyledConv(config.channels(r // 2), c, r, config.w_dim, upsampling=True))
            self.convs.append(StyledConv(c, c, r, config.w_dim, upsampling=False))
            self.to_rgbs.append(ToRGB(c, config.w_dim))

    @property
    def num_ws(self) -> int:
        """L of ``w_plus``, one w for each convolution layer and one for the last toRGB layer."""
        return len(self.convs) + 1

    def mapping(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """``w`` (B, w_dim), float32, of ``z`` (B, z_dim), standard normal; raises ``ValueError`` for another shape.

        Where ``truncation`` is below 1, w is drawn towards ``w_avg``, which all z have at 0.
        """
        if z.ndim != 2 or z.shape[1] != self.config.z_dim:
            raise ValueError(f"z must have shape (B, {self.config.z_dim}). Got {tuple(z.shape)}.")
        with full_precision(z):
            w = self.mapping_network(pixel_norm(z))
            return w if truncation == 1 else torch.lerp(self.w_avg, w, truncation)

    def styles(self, w: Tensor) -> Tensor:
        """Style code ``s`` (B, S) of ``w`` (B, w_dim) or ``w_plus`` (B, num_ws, w_dim); ``ValueError`` for another."""
        w_plus = as_w_plus(self, w)
        with full_precision(w_plus):
            return torch.cat([conv.affine(w_plus[:, k].float()) for k, conv in enumerate(self.convs)], dim=1)

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Pixels at which each convolution draws."""
        first, *others = self.config.resolutions
        return (first, *(size for size in others for _ in range(2)))

    @property
    def z_dim(self) -> int:
        """Numbers that a picture is drawn from."""
        return self.config.z_dim

    @property
    def resolution(self) -> int:
        """Of its pictures, in pixels."""
        return self.config.resolution

    @property
    def batch_size(self) -> int:
        """Pictures to draw at a time, so that they fit into memory."""
        return devices.batch_size(self.resolution, self.w_avg.device)

    def synthesize(
        self,
        s: Tensor,
        w: Tensor,
        noise: Noise = "const",
        rng: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Draw the image: convolutions take ``s``, toRGB layers take ``w``, which an edit of s leaves as it was.

        It is (B, 3, resolution, resolution), float32, about [-1, 1], not clamped. Raises ``ValueError`` if a shape does
        not fit or ``noise`` is another word.

        Args:
            s, w: (B, S) style code, edited or not; (B, w_dim) or (B, num_ws, w_dim).
            noise: "const" for the generator's own noise pictures, "random" for new ones, "none".
            rng: where random noise is drawn from, on the device of ``s``.
            dtype: of the last four resolutions, where nearly all the time goes; as published, the others and the sum
                of colours keep float32.
        """
        if noise not in ("const", "random", "none"):
            raise ValueError(f'noise must be "const", "random" or "none". Got {noise!r}.')
        w_plus, styles = as_w_plus(self, w), self.layout.split(s)
        if s.ndim != 2 or len(s) != len(w_plus):
            raise ValueError(f"s and w must be of one batch. Got shapes {tuple(s.shape)} and {tuple(w.shape)}.")
        x, image = self.const.expand(len(s), -1, -1, -1), None
        for k, conv in enumerate(self.convs):
            if x.dtype != dtype != torch.float32 and 8 * conv.noise_const.shape[-1] >= self.config.resolution:
                x = x.clamp(-CLAMP, CLAMP).to(dtype)
            x = conv(x, styles[k], self._noise(conv, noise, len(s), rng))
            if not k % 2:  # the last convolution of a resolution: 0, 2, 4, ...
                rgb = self.to_rgbs[k // 2](x, w_plus[:, k + 1])
                image = rgb if image is None else rgb + upsample(image)
        return image

    def preview(
        self, s: Tensor, size: int = 256, w: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """The image of ``s`` and ``w``, averaged over areas: (B, 3, size, size), float32, about [-1, 1].

        It takes the time of the whole. Raises ``ValueError`` if ``w`` is missing, or the size divides no resolution.
        """
        if w is None or size < 1 or self.resolution % size:
            got = f"a size of {size}" if w is not None else "no w"
            raise ValueError(f"a preview needs w, and a size that {self.resolution} px are a multiple of. Got {got}.")
        return resize(self.synthesize(s, w, dtype=dtype), size)

    def forward(
        self, z: Tensor, truncation: float = 1.0, noise: Noise = "const", rng: torch.Generator | None = None
    ) -> Tensor:
        """Image of ``z``: mapping, styles, synthesis; see those for shapes and ranges."""
        w = self.mapping(z, truncation)
        return self.synthesize(self.styles(w), w, noise, rng)

    @torch.no_grad()
    def estimate_w_avg(self, n: int = 10_000, rng: torch.Generator | None = None) -> Tensor:
        """Set ``w_avg`` to the mean w of ``n`` random z, and return it."""
        z = torch.randn(n, self.config.z_dim, generator=rng, device=rng.device if rng else self.w_avg.device)
        self.w_avg.copy_(self.mapping(z.to(self.w_avg.device)).mean(0))
        return self.w_avg

    def save(self, path: str | Path) -> None:
        """Write weights and configuration to one safetensors file, under a temporary name first."""
        write_tensors(path, self.state_dict(), {"kind": "stylegan2", "config": asdict(self.config)})

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Generator:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is missing or another model."""
        return read_module(path, lambda meta: cls(GeneratorConfig(**meta["config"]))).to(device)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that tell these weights from others."""
        return fingerprint(self.state_dict())

    @staticmethod
    def _noise(conv: StyledConv, noise: Noise, batch: int, rng: torch.Generator | None) -> Tensor | None:
        if noise == "none":
            return None
        const = conv.noise_const
        return const if noise == "const" else torch.randn(batch, *const.shape[1:], generator=rng, device=const.device)


class EqualConv(nn.Module):
    """Convolution with equalised learning rate; low-pass filter and stride 2 if ``downsampling``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activate: bool = False,
        downsampling: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.gain, self.activate, self.downsampling = 1 / math.sqrt(in_channels * kernel**2), activate, downsampling

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H, W), half as high and wide if ``downsampling``."""
        # As in StyledConv, the gain of sqrt(2) after the leaky ReLU is taken through it to the weights and the bias.
        gain = SQRT2 if self.activate else 1.0
        weight, bias = self.weight * (self.gain * gain), None if self.bias is None else self.bias * gain
        if self.downsampling:
            c = x.shape[1]
            x = F.conv2d(x, fir_filter(c, x), padding=2, groups=c)  # (B, C, H + 1, W + 1)
            x = F.conv2d(x, weight, bias, stride=2)
        else:
            x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        return F.leaky_relu(x, 0.2) if self.activate else x


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions and a 1 x 1 shortcut, to half the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = EqualConv(in_channels, in_channels, 3, activate=True)
        self.conv2 = EqualConv(in_channels, out_channels, 3, activate=True, downsampling=True)
        self.shortcut = EqualConv(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H / 2, W / 2)."""
        return (self.conv2(self.conv1(x)) + self.shortcut(downsample(x))) / SQRT2


class Discriminator(nn.Module):
    """Residual discriminator of StyleGAN2, with the standard deviation of small groups as one more channel.

    It mirrors the generator's channels. A batch must be a multiple of ``GROUP`` pictures, which share one standard
    deviation (arXiv:1710.10196, section 3), or smaller.
    """

    def __init__(self, config: GeneratorConfig = GeneratorConfig()) -> None:
        super().__init__()
        self.config = config
        sizes = config.resolutions[::-1]
        widths = [config.channels(r) for r in sizes]
        self.from_rgb = EqualConv(3, widths[0], 1, activate=True)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.last_conv = EqualConv(widths[-1] + 1, widths[-1], 3, activate=True)
        first = EqualLinear(widths[-1] * 4 * 4, widths[-1], activate=True)
        self.last = nn.Sequential(first, EqualLinear(widths[-1], 1))

    def forward(self, image: Tensor) -> Tensor:
        """Realness logits (B,) of ``image`` (B, 3, resolution, resolution) in [-1, 1]; ``ValueError`` for others."""
        side = self.config.resolution
        if image.shape[1:] != (3, side, side):
            raise ValueError(f"image must have shape (B, 3, {side}, {side}). Got {tuple(image.shape)}.")
        x = self.blocks(self.from_rgb(image))
        x = self.last_conv(torch.cat([x, self._group_std(x)], dim=1))
        with full_precision(x):
            return self.last(x.float().flatten(1)).squeeze(1)

    def _group_std(self, x: Tensor) -> Tensor:
        """(B, C, 4, 4) -> (B, 1, 4, 4): the mean standard deviation within each group of pictures."""
        batch, group = len(x), min(len(x), GROUP)
        if batch % group:
            raise ValueError(f"the batch must be a multiple of the group of {group}. Got {batch} pictures.")
        y = x.float().unflatten(0, (group, -1))  # (G, B / G, C, 4, 4)
        std = (y.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B / G,)
        return std.repeat(group)[:, None, None, None].expand(-1, 1, 4, 4).to(x.dtype)
