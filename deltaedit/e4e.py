"""Encoders: picture -> ``w_plus``, e4e's for its published weights (Tov et al. 2021, arXiv:2102.02766), and ours.

e4e's is a face-recognition ResNet with squeeze-and-excitation (IR-SE50), a feature pyramid of three scales, and for
each w a small head of convolutions. ``Encoder``, for a generator of one's own, is smaller; ``inversion`` trains it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.files import read_module, write_tensors
from deltaedit.pictures import resize
from deltaedit.stylegan2 import EqualLinear

SIDE = 256  # pixels on a side of what it looks at
SCALES = (0, 3, 7)  # the heads from which on the next finer scale is used


@dataclass(frozen=True)
class E4EConfig:
    """Sizes of an e4e encoder; the defaults are those for FFHQ at 1024 px."""

    w_dim: int = 512  #: the generator's, as num_ws
    num_ws: int = 18
    width: int = 64  #: channels of the first stage; each further one has twice as many
    units: tuple[int, ...] = (3, 4, 14, 3)  #: residual units in each stage
    height: int = SIDE  #: rows, from the middle of 256, that it looks at; 192 for cars

    def __post_init__(self) -> None:
        if len(self.units) != 4 or self.w_dim != 8 * self.width:
            raise ValueError(f"e4e has 4 stages, the last as wide as w. Got {self}.")


class Gate(nn.Module):
    """Squeeze-and-excitation: each channel is scaled by what the means of all channels say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // 16, 1, bias=False)
        self.excite = nn.Conv2d(channels // 16, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> the same shape."""
        return x * self.excite(self.squeeze(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Unit(nn.Module):
    """Residual unit, with a gate at its end."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.shortcut = (
            nn.MaxPool2d(1, stride)
            if in_channels == channels
            else nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        )
        self.residual = nn.Sequential(
            nn.BatchNorm2d(in_channels),
            nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            Gate(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C', H / stride, W / stride)."""
        return self.shortcut(x) + self.residual(x)


class Head(nn.Module):
    """Features to one w: halved until one pixel is left, then a linear layer."""

    def __init__(self, channels: int, halvings: int) -> None:
        super().__init__()
        layers = [(nn.Conv2d(channels, channels, 3, 2, 1), nn.LeakyReLU(0.01)) for _ in range(halvings)]
        self.convs = nn.Sequential(*(layer for pair in layers for layer in pair))
        self.linear = EqualLinear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, C)."""
        return self.linear(self.convs(x).flatten(1))


def _scale(head: int) -> int:
    """0 for the coarsest, 2 for the finest."""
    return sum(head >= first for first in SCALES) - 1


class E4E(nn.Module):
    """Picture -> ``w_plus``: ``w_avg``, plus what the first head says for all layers, plus each other head's own."""

    w_avg: Tensor

    def __init__(self, config: E4EConfig = E4EConfig()) -> None:
        super().__init__()
        self.config, c = config, config.width
        self.register_buffer("w_avg", torch.zeros(config.num_ws, config.w_dim))
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c), nn.PReLU(c))
        units: list[nn.Module] = []
        for stage, count in enumerate(config.units):
            before, here = c * 2 ** max(stage - 1, 0), c * 2**stage
            units += [Unit(here if k else before, here, 1 if k else 2) for k in range(count)]
        self.body = nn.Sequential(*units)
        self.heads = nn.ModuleList(Head(config.w_dim, 4 + _scale(k)) for k in range(config.num_ws))
        self.lateral = nn.ModuleList(nn.Conv2d(n * c, config.w_dim, 1) for n in (4, 2))

    def forward(self, image: Tensor) -> Tensor:
        """``w_plus`` (B, num_ws, w_dim) of images (B, 3, H, W) in [-1, 1]; of their centre square."""
        image = resize(image, min(image.shape[-2:]))
        if image.shape[-1] != SIDE:
            image = F.interpolate(image, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        margin = (SIDE - self.config.height) // 2
        x = self.stem(image[..., margin : SIDE - margin, :])
        second, third = sum(self.config.units[:2]), sum(self.config.units[:3])  # units up to the end of these stages
        fine = self.body[:second](x)  # (B, 2 width, 64, 64)
        middle = self.body[second:third](fine)  # (B, 4 width, 32, 32)
        pyramid = [self.body[third:](middle)]  # (B, 8 width, 16, 16)
        for lateral, finer in zip(self.lateral, (middle, fine), strict=True):
            finer = lateral(finer)
            larger = F.interpolate(pyramid[-1], finer.shape[-2:], mode="bilinear", align_corners=True)
            pyramid.append(larger + finer)
        seen = torch.stack([head(pyramid[_scale(k)]) for k, head in enumerate(self.heads)], dim=1)
        return self.w_avg + torch.cat([seen[:, :1], seen[:, :1] + seen[:, 1:]], dim=1)

    def save(self, path: str | Path) -> None:
        """Write weights and configuration to one safetensors file."""
        write_tensors(path, self.state_dict(), {"kind": "e4e", "config": asdict(self.config)})


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; ``w_dim`` and ``num_ws`` are the generator's, ``resolution`` is what it looks at."""

    w_dim: int = 512
    num_ws: int = 18
    resolution: int = 128
    width: int = 32
    channel_max: int = 256
    code: int = 512  #: numbers that w and the differences are made of
    rank: int | None = None  #: directions in which layers may differ, the same for all; None for all there are


class Encoder(nn.Module):
    """Picture -> ``w_plus``: ``w_avg`` plus one w, plus a difference for each layer.

    It starts from ``w_avg`` (w_dim,).

    >>> Encoder(EncoderConfig(w_dim=8, num_ws=5, resolution=16, width=8))(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 5, 8])
    """

    w_avg: Tensor

    def __init__(self, config: EncoderConfig = EncoderConfig(), w_avg: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("w_avg", torch.zeros(config.w_dim) if w_avg is None else w_avg.clone())
        size, c = config.resolution // 2, config.width
        layers: list[nn.Module] = [nn.Conv2d(3, c, 5, 2, 2), nn.GroupNorm(8, c), nn.SiLU()]
        while size > 4:
            d = min(2 * c, config.channel_max)
            for before, stride in ((c, 2), (d, 1)):
                layers += [nn.Conv2d(before, d, 3, stride, 1), nn.GroupNorm(8, d), nn.SiLU()]
            size, c = size // 2, d
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(c * size * size, config.code), nn.SiLU())
        self.to_w = nn.Linear(config.code, config.w_dim)
        self.to_delta = nn.Linear(config.code, config.num_ws * (config.rank or config.w_dim))
        self.ways = nn.Identity() if config.rank is None else nn.Linear(config.rank, config.w_dim, bias=False)
        nn.init.zeros_(self.to_delta.weight)
        nn.init.zeros_(self.to_delta.bias)

    def parts(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The one w (B, w_dim), and each layer's difference from it (B, num_ws, w_dim)."""
        code = self.body(resize(image, self.config.resolution))
        return self.w_avg + self.to_w(code), self.ways(self.to_delta(code).unflatten(1, (self.config.num_ws, -1)))

    def forward(self, image: Tensor) -> Tensor:
        """``w_plus`` (B, num_ws, w_dim) of images (B, 3, H, W) in [-1, 1]."""
        w, delta = self.parts(image)
        return w[:, None] + delta

    def save(self, path: str | Path) -> None:
        """Write weights, in half precision, and configuration to one safetensors file."""
        write_tensors(path, self.state_dict(), {"kind": "encoder", "config": asdict(self.config)}, half=True)


def load_encoder(path: str | Path) -> Encoder | E4E:
    """Read what either class's ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is no encoder."""

    def build(about: dict[str, Any]) -> Encoder | E4E:
        config = about["config"]
        if about["kind"] == "e4e":
            return E4E(E4EConfig(**{**config, "units": tuple(config["units"])}))
        return Encoder(EncoderConfig(**config))

    return read_module(path, build)
