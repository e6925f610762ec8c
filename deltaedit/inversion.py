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
from torch import Tensor
from tqdm import tqdm

from deltaedit.devices import drawing_dtype, half_precision
from deltaedit.e4e import Encoder, EncoderConfig
from deltaedit.loop import descend, fit, learning_rate
from deltaedit.pictures import resize
from deltaedit.style_space import AnyGenerator, sample_w

SLOWER = 0.4  # of the rate at which all layers move, that by which they part: how much of a way is common shows soon
Features = Callable[[Tensor], Tensor]
"""Images (B, 3, H, W) in [-1, 1] to unit features (B, D), such as ``clip.encode_image``."""
Window = tuple[float, float, float, float]
"""A part of a picture: its left, top, right and bottom, from 0 to 1."""
INSIDE = 2.5  # what a window counts for, beside the whole picture
Progress = Callable[[float], None]
"""Called before each step with the share that is done, in place of a bar; what it raises ends it."""


def distance(a: Tensor, b: Tensor, features: Features | None = None, weight: float = 1.0) -> Tensor:
    """How far apart pictures (B, 3, H, W) are: mean absolute difference at every scale, plus 1 - cosine of features.

    Features of ``b`` pass no gradient.
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


def inside(image: Tensor, window: Window) -> Tensor:
    """What a window shows of images (B, C, H, W), to whole pixels."""
    (height, width), (left, top, right, bottom) = image.shape[-2:], window
    return image[..., round(top * height) : round(bottom * height), round(left * width) : round(right * width)]


@dataclass(frozen=True)
class EncoderTraining:
    """How an encoder is trained."""

    steps: int = 4000
    batch_size: int = 32
    lr: float = 1e-3  #: of Adam
    width: int = 32  #: channels of the first layer
    latent: float = 1.0  #: weight of the squared distance, in units of w's variance, to the w of generated samples
    delta: float = 1.0  #: weight of the squared length of the differences between layers, in the same units
    features: float = 1.0  #: weight of the feature part of ``distance``
    samples: float = 0.5  #: share of a batch that the generator draws; the rest comes from ``pictures``
    seed: int = 0


def train_encoder(
    generator: AnyGenerator,
    folder: str | Path,
    config: EncoderTraining = EncoderTraining(),
    *,
    pictures: Callable[[int, torch.Generator], Tensor] | None = None,
    features: Features | None = None,
    stop_after: int | None = None,
) -> tuple[Encoder, list[dict[str, float]]]:
    """Train an encoder for a generator, on its own samples and on pictures of the world; the generator stays as it is.

    A run that was killed goes on from the checkpoint in ``folder`` to the same result; its log is returned, too.

    Args:
        pictures: called with a number and a source of randomness, gives that many (B, 3, H, W); None for samples only.
        features: what pictures must agree in beside their pixels.

    Returns:
        The encoder, in evaluation mode, and the log.

    >>> generator = Generator(GeneratorConfig(resolution=16, z_dim=8, w_dim=8, channel_base=64))
    >>> encoder, log = train_encoder(generator, "encoder", EncoderTraining(steps=2, batch_size=2, width=8))
    >>> encoder(torch.zeros(1, 3, 16, 16)).shape == (1, generator.num_ws, 8)
    True
    """
    device = generator.w_avg.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        sizes = EncoderConfig(generator.w_avg.shape[-1], generator.num_ws, min(128, generator.resolution), config.width)
        encoder = Encoder(sizes, generator.w_avg).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.lr, weight_decay=0.01, fused=True)
    frozen = [p.requires_grad_(False) for p in generator.parameters() if p.requires_grad]
    variance = sample_w(generator, 4096, config.seed).var(0).mean()
    n_drawn = config.batch_size if pictures is None else round(config.samples * config.batch_size)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        with torch.no_grad(), half_precision(device):
            w = generator.mapping(torch.randn(n_drawn, generator.z_dim, generator=rng, device=device))
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
        descend(optimizer, loss, learning_rate(number, config.steps, config.lr))
        return {"loss": loss, "picture": picture, "latent": latent, "delta": length}

    try:
        run = {"name": "encoder", "folder": folder, "seed": config.seed, "device": device, "stop_after": stop_after}
        carries, describes = {"encoder": encoder, "optimizer": optimizer}, asdict(config) | {"sizes": asdict(sizes)}
        log = fit(step, config.steps, carries=carries, describes=describes, **run)
    finally:
        for p in frozen:
            p.requires_grad_(True)
    return encoder.eval(), log


@torch.enable_grad()  # it needs gradients, whatever its caller switched off
def refine(
    generator: AnyGenerator,
    image: Tensor,
    w_plus: Tensor,
    steps: int = 100,
    lr: float = 0.02,
    keep: float = 0.02,
    features: Features | None = None,
    patience: int = 20,
    least: float = 1e-3,
    progress: Progress | None = None,
    size: int | None = None,
    apart: float | None = None,
    weight: float = 1.0,
    window: Window | None = None,
) -> Tensor:
    """Move ``w_plus`` so that the generator draws a picture more closely, step by step; the best of all is kept.

    Args:
        image, w_plus: (B, 3, H, W) in [-1, 1], of the generator's resolution; (B, num_ws, w_dim) to start from.
        lr: in units of w's usual size; with ``apart`` it falls to 0 over the second half of the steps.
        keep: what a squared unit away from the start costs: far away, edits work worse.
        features: what it must agree in beside pixels.
        patience: steps after which it ends early, if in none of them the best loss fell by a share of ``least``.
        size: pixels of the previews that are compared, sooner, in place of whole pictures, with ``image`` at that size.
        apart: what a squared unit costs by which layers go ways of their own, at ``SLOWER`` of the rate; all go one way
            together then, and ``keep`` is the price of that. None lets each layer go its own, as StyleGAN2 bears it.
        weight: of the feature part of ``distance``.
        window: what matters more than what is around it, such as a face.
    """
    if size is not None:
        image, dtype = resize(image, size), drawing_dtype(size, image.device)
    start, scale = w_plus.detach(), w_plus.detach().std().clamp(min=1e-3)
    moved = torch.zeros_like(start).requires_grad_()
    ways, prices, rates = [moved], [keep], [lr]
    if apart is not None:
        ways.append(torch.zeros_like(start[:, :1]).requires_grad_())
        prices, rates = [apart, keep], [SLOWER * lr, lr]
    optimizer = torch.optim.Adam([{"params": [way], "lr": rate} for way, rate in zip(ways, rates, strict=True)])
    wanted = None if features is None else features(image).detach()
    look = features and (lambda picture: wanted if picture is image else features(picture))
    best, lowest, waited = start, float("inf"), 0
    for step in (bar := tqdm(range(steps), desc="inversion", disable=progress is not None)):
        if progress:
            progress(step / steps)
        now = start + scale * sum(ways)
        s = generator.styles(now)
        drawn = generator.synthesize(s, now) if size is None else generator.preview(s, size, now, dtype)
        away = distance(drawn, image, look, weight)
        if window is not None:
            away = away + INSIDE * distance(inside(drawn, window), inside(image, window))
        loss = away + sum(price * way.square().mean() for price, way in zip(prices, ways, strict=True))
        value = loss.item()
        waited = 0 if value < lowest * (1 - least) else waited + 1
        if value < lowest:
            best, lowest = now.detach(), value
            bar.set_postfix(distance=f"{away.item():.3f}", refresh=False)
        if waited == patience:
            break
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate if apart is None else rate * min(1.0, 2 * (1 - step / steps))
        for way, gradient in zip(ways, torch.autograd.grad(loss * len(image), ways), strict=True):
            way.grad = gradient
        optimizer.step()
    return best
