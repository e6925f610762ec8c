"""Inversion: from a picture to ``w_plus``, so that pictures nobody sampled can be edited too.

An encoder looks once (in the manner of e4e, Tov et al. 2021, arXiv:2102.02766): one w for all layers and a small
difference for each, kept small, for near the w that the mapping gives edits work best. Optimisation may refine it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit.files import read_module, write_tensors
from deltaedit.loop import fit, half_precision, learning_rate
from deltaedit.stylegan2 import Generator

Features = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) in [-1, 1] to unit features (B, D), such as ``clip.encode_image``."""


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of an encoder; ``w_dim`` and ``num_ws`` are the generator's, ``resolution`` is what it looks at."""

    w_dim: int = 512
    num_ws: int = 18
    resolution: int = 128
    width: int = 32
    channel_max: int = 256


class Encoder(nn.Module):
    """Picture -> ``w_plus``: ``w_avg`` plus one w, plus a difference for each layer.

    Args:
        config: see ``EncoderConfig``.
        w_avg: (w_dim,), where it starts from.
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
            layers += [nn.Conv2d(c, d, 3, 2, 1), nn.GroupNorm(8, d), nn.SiLU(),
                       nn.Conv2d(d, d, 3, 1, 1), nn.GroupNorm(8, d), nn.SiLU()]  # fmt: skip
            size, c = size // 2, d
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(c * size * size, 512), nn.SiLU())
        self.to_w = nn.Linear(512, config.w_dim)
        self.to_delta = nn.Linear(512, config.num_ws * config.w_dim)
        nn.init.zeros_(self.to_delta.weight)
        nn.init.zeros_(self.to_delta.bias)

    def parts(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """The one w (B, w_dim), and each layer's difference from it (B, num_ws, w_dim)."""
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W). Got {tuple(image.shape)}.")
        code = self.body(resize(image, self.config.resolution))
        return self.w_avg + self.to_w(code), self.to_delta(code).unflatten(1, (self.config.num_ws, -1))

    def forward(self, image: Tensor) -> Tensor:
        """``w_plus`` (B, num_ws, w_dim) of images (B, 3, H, W) in [-1, 1].

        Raises:
            ValueError: for another shape.
        """
        w, delta = self.parts(image)
        return w[:, None] + delta

    def save(self, path: str | Path) -> None:
        """Write weights, in half precision, and configuration to one safetensors file."""
        write_tensors(path, self.state_dict(), {"kind": "encoder", "config": asdict(self.config)}, half=True)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Encoder:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is missing or another model."""
        return read_module(path, lambda meta: cls(EncoderConfig(**meta["config"]))).to(device)


def resize(image: Tensor, side: int) -> Tensor:
    """The centre square of images (B, 3, H, W), ``side`` pixels wide and high, low-pass filtered where it shrinks."""
    height, width = image.shape[-2:]
    square = min(height, width)
    image = image[..., (height - square) // 2 :, (width - square) // 2 :][..., :square, :square]
    if square == side:
        return image
    if square % side == 0:
        return F.avg_pool2d(image, square // side)
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)


def distance(a: Tensor, b: Tensor, features: Features | None = None, weight: float = 1.0) -> Tensor:
    """How far apart pictures are: mean absolute difference at every scale, plus 1 - cosine of features.

    Args:
        a, b: (B, 3, H, W) in [-1, 1]; features of ``b`` pass no gradient.
        features: see ``Features``; None leaves them out.
    """
    d = a - b
    loss = d.abs().mean()
    while d.shape[-1] > 16:
        d = F.avg_pool2d(d, 2)
        loss = loss + d.abs().mean()
    if features is not None:
        with torch.no_grad():
            wanted = features(b)
        loss = loss + weight * (1 - (features(a.clamp(-1.5, 1.5)) * wanted).sum(1).mean())
    return loss


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained.

    Attributes:
        steps, batch_size, lr: of Adam.
        width: channels of the first layer.
        latent: weight of the squared distance, in units of w's variance, to the w of the generator's own samples.
        delta: weight of the squared length of the differences between layers, in the same units.
        features: weight of the feature part of ``distance``.
        samples: share of a batch that the generator draws; the rest comes from ``pictures``.
    """

    steps: int = 4000
    batch_size: int = 32
    lr: float = 1e-3
    width: int = 32
    latent: float = 1.0
    delta: float = 1.0
    features: float = 1.0
    samples: float = 0.5
    seed: int = 0


def train_encoder(generator: Generator, folder: str | Path, config: EncoderTraining = EncoderTraining(), *,
                  pictures: Callable[[int, torch.Generator], Tensor] | None = None, features: Features | None = None,
                  stop_after: int | None = None) -> tuple[Encoder, list[dict[str, float]]]:  # fmt: skip
    """Train an encoder for a generator, on its own samples and on pictures of the world; the generator stays as it is.

    Args:
        generator: on the device to train on.
        folder: for the checkpoint; a run that was killed goes on to the same result.
        pictures: called with a number and a source of randomness, gives that many pictures (B, 3, H, W); None for
            samples only.
        features: what pictures must agree in beside their pixels.

    Returns:
        The encoder, in evaluation mode, and the log.
    """
    device, g = generator.w_avg.device, generator.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = EncoderConfig(g.w_dim, generator.num_ws, min(128, g.resolution), config.width)
        encoder = Encoder(sizes, generator.w_avg).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.lr, weight_decay=0.01, fused=True)
    frozen = [p for p in generator.parameters() if p.requires_grad]
    for p in frozen:
        p.requires_grad_(False)
    z = torch.randn(4096, g.z_dim, generator=torch.Generator().manual_seed(config.seed)).to(device)
    variance = generator.mapping(z).var(0).mean()
    n_drawn = config.batch_size if pictures is None else round(config.samples * config.batch_size)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, config.steps, config.lr)
        with torch.no_grad(), half_precision(device):
            w = generator.mapping(torch.randn(n_drawn, g.z_dim, generator=rng, device=device))
            image = generator.synthesize(generator.styles(w), w).clamp(-1, 1)
        if pictures is not None:
            image = torch.cat([image, pictures(config.batch_size - n_drawn, rng)])
        with half_precision(device):
            one, delta = encoder.parts(image)
            w_plus = one.float()[:, None] + delta.float()
            again = generator.synthesize(generator.styles(w_plus), w_plus)
            picture = distance(again, image, features, config.features)
        latent = (w_plus[:n_drawn] - w[:, None]).square().mean() / variance
        length = delta.float().square().mean() / variance
        loss = picture + config.latent * latent + config.delta * length
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return {"loss": loss, "picture": picture, "latent": latent, "delta": length}

    try:
        log = fit(step, config.steps, name="encoder", folder=folder, seed=config.seed, device=device,
                  describes=asdict(config) | {"sizes": asdict(sizes)}, stop_after=stop_after,
                  carries={"encoder": encoder, "optimizer": optimizer})  # fmt: skip
    finally:
        for p in frozen:
            p.requires_grad_(True)
    return encoder.eval(), log


@torch.enable_grad()  # it needs gradients, whatever its caller switched off
def refine(generator: Generator, image: Tensor, w_plus: Tensor, steps: int = 100, lr: float = 0.02, keep: float = 0.02,
           features: Features | None = None, patience: int = 20, least: float = 1e-3,
           progress: Callable[[float], None] | None = None) -> Tensor:  # fmt: skip
    """Move ``w_plus`` so that the generator draws a picture more closely, step by step; the best of all is kept.

    Args:
        image: (B, 3, H, W) in [-1, 1], of the generator's resolution.
        w_plus: (B, num_ws, w_dim) to start from.
        steps: at most.
        lr: in units of w's usual size.
        keep: what a squared unit away from the start costs: far away, edits work worse.
        features: what it must agree in beside pixels.
        patience: steps after which it ends early, if in none of them the best loss fell by a share of ``least``.
        progress: called before each step with the share that is done, in place of a bar; what it raises ends it.
    """
    start, scale = w_plus.detach(), w_plus.detach().std().clamp(min=1e-3)
    moved = torch.zeros_like(start).requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=lr)
    wanted = None if features is None else features(image).detach()
    look = features and (lambda picture: wanted if picture is image else features(picture))
    best, lowest, waited = start, float("inf"), 0
    for step in (bar := tqdm(range(steps), desc="inversion", disable=progress is not None)):
        if progress:
            progress(step / steps)
        now = start + scale * moved
        apart = distance(generator.synthesize(generator.styles(now), now), image, look)
        loss = apart + keep * moved.square().mean()
        value = loss.item()
        waited = 0 if value < lowest * (1 - least) else waited + 1
        if value < lowest:
            best, lowest = now.detach(), value
            bar.set_postfix(distance=f"{apart.item():.3f}", refresh=False)
        if waited == patience:
            break
        (moved.grad,) = torch.autograd.grad(loss * len(image), moved)
        optimizer.step()
    return best
