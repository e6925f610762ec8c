"""Trains a miniature's StyleGAN2: by regression onto the painter, growing, then adversarially.

The proper objective is the adversarial one: non-saturating loss, lazy R1, style mixing, a moving average (StyleGAN2,
arXiv:1912.04958). It wants millions of pictures, which is minutes on a GPU and a day on two processor cores. The
painter however knows which picture a latent stands for (``World.factors_from_z``), so the first stages are a regression
onto its pictures, quick and on the way; a critic then sharpens what they left blurred, beside the regression, which
keeps every latent to the picture it stands for.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from deltaedit.devices import half_precision
from deltaedit.loop import Step, descend, fit, learning_rate
from deltaedit.stylegan2 import Discriminator, Generator, GeneratorConfig
from deltaedit.worlds.judge import Judge, judge_loss
from deltaedit.worlds.pool import Pool
from deltaedit.worlds.world import World

MINIATURE = GeneratorConfig(
    resolution=128, z_dim=64, w_dim=128, mapping_layers=4, channel_base=2048, channel_max=128, mapping_lr_mul=1.0
)
"""The shipped generator."""

MAPPING_SPEED = 0.01
"""How fast the mapping learns beside the synthesis, as in StyleGAN2; faster, it forgets at 16 px what eyes need."""


@dataclass(frozen=True)
class Stage:
    """A part of the training at one resolution."""

    resolution: int
    steps: int
    batch_size: int = 32
    lr: float = 5e-3
    regression: float = 1.0  #: weight of the distance to the painter's picture of the same latent
    perceptual: float = 0.0  #: weight of ``perceptual_distance`` within it
    adversarial: float = 0.0  #: weight of the adversarial loss


@dataclass(frozen=True)
class GeneratorTraining:
    """How the generator is trained; one recipe for CPU and CUDA."""

    model: GeneratorConfig = MINIATURE
    mapping_steps: int = 20_000  #: of ``teach_mapping``, before all stages; 0 leaves the mapping to the stages
    stages: tuple[Stage, ...] = (
        Stage(16, 1500, 64, 1e-2),
        Stage(32, 3000, 32, 1e-2),
        Stage(64, 6000, 32, 7e-3, perceptual=1.0),
        Stage(128, 5000, 32, 5e-3, perceptual=1.0),
        Stage(128, 2000, 16, 1e-3, perceptual=1.0, adversarial=0.1),
        Stage(128, 2000, 16, 1e-3, perceptual=1.0, adversarial=0.3),
    )
    r1: float = 0.3
    r1_every: int = 16
    path_length: float = 2.0
    path_length_every: int = 8
    style_mixing: float = 0.9
    discriminator_lr: float = 2e-3
    ema: float = 0.998
    compile: bool = False  #: ``torch.compile``, where there is a C++ compiler; a third more pictures per second
    seed: int = 0


def teach_mapping(
    world: World,
    generator: Generator,
    folder: str | Path,
    steps: int,
    seed: int = 0,
    batch_size: int = 1024,
    lr: float = 3e-3,
    stop_after: int | None = None,
) -> list[dict[str, float]]:
    """Teach the mapping what latents stand for: a linear layer, thrown away later, must read all attributes off w.

    Minutes of this spare hours of pictures: whether lips are red is a step function of one dimension of z, and a
    handful of pixels is a faint voice to say so. Long w are discouraged, or the steps would make them heavy-tailed.
    """
    device = generator.const.device
    torch.manual_seed(seed)
    read = nn.Linear(generator.config.w_dim, sum(world.table.outputs)).to(device)
    parameters = [*generator.mapping_network.parameters(), *read.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=(0.9, 0.99), fused=True)

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        z = torch.randn(batch_size, generator.z_dim, generator=rng, device=device)
        w, factors = generator.mapping(z), world.factors_from_z(z)
        loss = judge_loss(world.table, world.table.by_name(read(w)), factors, torch.ones_like(factors))
        descend(optimizer, loss + 0.3 * w.square().mean(), learning_rate(step, steps, lr))
        return {"loss": loss, "length": w.square().mean().sqrt()}

    carries = {"mapping": generator.mapping_network, "read": read, "optimizer": optimizer}
    run = {"name": "mapping", "folder": folder, "seed": seed, "device": device, "stop_after": stop_after}
    return fit(step_fn, steps, carries=carries, describes=asdict(generator.config) | {"lr": lr}, **run)


def picture_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of two batches (B, 3, H, W), of their blurs and of their edges.

    Plain L1 hardly sees eyes and frames: differences of neighbours see edges, and the face counts more than the wall.
    """
    d = a - b
    h = d.shape[-1]
    face = d[:, :, h // 4 : h - h // 10, h // 5 : h - h // 5]
    edges = (face[..., 1:] - face[..., :-1]).abs().mean() + (face[..., 1:, :] - face[..., :-1, :]).abs().mean()
    loss = d.abs().mean() + 2 * face.abs().mean() + 2 * edges
    while d.shape[-1] > 8:
        d = F.avg_pool2d(d, 2)
        loss = loss + d.abs().mean()
    return loss


def perceptual_distance(network: Judge, a: Tensor, b: Tensor, step: int = 0) -> Tensor:
    """How far apart two batches (B, 3, H, W) look to a network that was trained to read attributes.

    Its features are compared layer by layer, scaled to unit length at each place (Zhang et al. 2018,
    arXiv:1801.03924): an iris of forty pixels, all that tells green eyes from brown, weighs as much as a hat. Pictures
    larger than the network takes are seen whole, shrunk, and close up, through a window that wanders with the step.
    """
    size = network.config.resolution
    if (span := a.shape[-1] - size) > 0:
        top, left = step * 29 % (span + 1), step * 47 % (span + 1)
        close = (..., slice(top, top + size), slice(left, left + size))
        whole = (F.avg_pool2d(x, a.shape[-1] // size) for x in (a, b))
        return perceptual_distance(network, *whole) + perceptual_distance(network, a[close], b[close])
    with half_precision(a.device):
        of_a, of_b = network.features(a), network.features(b)
    total = torch.zeros((), device=a.device)
    for one, other in zip(of_a, of_b, strict=True):
        total = total + (F.normalize(one.float(), dim=1) - F.normalize(other.float(), dim=1)).square().sum(1).mean()
    return total


def train_generator(
    pools: Sequence[Pool],  # on the device to train on; a stage takes the smallest pictures that are large enough
    folder: str | Path,  # for a checkpoint of each stage; a run that was killed goes on to the same result
    config: GeneratorTraining = GeneratorTraining(),
    perception: Judge | None = None,  # network of the perceptual distance, where a stage asks; never the judge itself
    evaluate: Callable[[Generator], dict[str, float]] | None = None,  # of the average, at every checkpoint, for the log
    start: tuple[Generator, int] | None = None,  # to go on from, and how many of the stages it has behind it
    stop_after: int | None = None,  # so many steps of this call, to pause within a stage
) -> tuple[Generator, list[dict[str, float]]]:
    """Train on pools of pictures, stage by stage; returns the moving average of the generator, and the log.

    Raises ``ValueError`` if a stage wants a perceptual distance without a network, or larger pictures than there are.
    """
    largest = max(pool.pictures.shape[-1] for pool in pools)
    if any(stage.resolution > largest for stage in config.stages):
        raise ValueError(f"pictures must be as large as the stages draw them. The largest pool has {largest} px.")
    if perception is None and any(stage.perceptual for stage in config.stages):
        raise ValueError("a stage asks for the perceptual distance: give train_generator a network as perception.")
    device, log = pools[0].z.device, []
    torch.manual_seed(config.seed)
    average, behind = start or (Generator(replace(config.model, resolution=8)).to(device), 0)
    if config.mapping_steps and start is None:
        place, steps = Path(folder) / "mapping", config.mapping_steps
        rows = teach_mapping(pools[0].world, average, place, steps, config.seed, stop_after=stop_after)
        log += [{"stage": "mapping", **row} for row in rows]
        if rows[-1]["step"] < steps:  # paused
            return average.eval(), log
    weights = average.state_dict()
    for k, stage in enumerate(config.stages[behind:], start=behind):
        place = Path(folder) / f"{k}-{stage.resolution}px"
        pool = min((p for p in pools if p.pictures.shape[-1] >= stage.resolution), key=lambda p: p.pictures.shape[-1])
        step_fn, carries = stage_step(pool, config, stage, weights, perception)
        average = carries["average"]
        run = {"name": f"generator {stage.resolution} px", "folder": place, "seed": config.seed, "device": device}
        run |= {"describes": [asdict(config.model), asdict(stage)], "stop_after": stop_after}
        rows = fit(step_fn, stage.steps, carries=carries, evaluate=evaluate and partial(evaluate, average), **run)
        weights = average.state_dict()
        log += [{"stage": k, "resolution": stage.resolution, **row} for row in rows]
        if rows[-1]["step"] < stage.steps:  # paused
            break
    average.estimate_w_avg(10_000, torch.Generator(device).manual_seed(config.seed))
    return average.eval(), log


def stage_step(
    pool: Pool, config: GeneratorTraining, stage: Stage, weights: Mapping[str, Tensor], perception: Judge | None = None
) -> tuple[Step, dict[str, Any]]:
    """The step of one stage, for ``fit``, and what it carries: "generator", its moving "average", "optimizer" and more.

    ``weights`` are those of the generator to start from, the same or a smaller one.
    """
    device = pool.z.device
    torch.manual_seed(config.seed)
    model = replace(config.model, resolution=stage.resolution)
    generator = Generator(model).to(device, memory_format=torch.channels_last)
    generator.load_state_dict(weights, strict=False)  # layers of the smaller generator are the first of the larger
    for layer in generator.to_rgbs:  # all of the picture in s, where edits reach it: regression would leave colours to
        layer.affine.weight.requires_grad_(False).zero_()  # toRGB, which takes w
    average = copy.deepcopy(generator).requires_grad_(False)
    mapping = list(generator.mapping_network.parameters())
    synthesis = [p for name, p in generator.named_parameters() if p.requires_grad and not name.startswith("mapping")]
    groups = [{"params": synthesis, "speed": 1.0}, {"params": mapping, "speed": MAPPING_SPEED}]
    optimizer = torch.optim.Adam(groups, lr=stage.lr, betas=(0.9, 0.99), fused=True)
    carries = {"generator": generator, "average": average, "optimizer": optimizer}
    draw = torch.compile(generator) if config.compile else generator
    if stage.adversarial:
        discriminator = Discriminator(model).to(device, memory_format=torch.channels_last)
        d_weights = list(discriminator.parameters())
        d_optimizer = torch.optim.Adam(d_weights, lr=config.discriminator_lr, betas=(0.0, 0.99), fused=True)
        path_length = PathLength().to(device)
        carries |= {"discriminator": discriminator, "d_optimizer": d_optimizer, "path_length": path_length}

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(pool), (stage.batch_size,), generator=rng, device=device)
        real = pool.images(index)
        while real.shape[-1] > stage.resolution:
            real = F.avg_pool2d(real, 2)
        rows, loss = {}, torch.zeros((), device=device)
        if stage.adversarial:
            mixed = _mixed_styles(generator, config, stage.batch_size, rng)
            rows |= _discriminator_step(discriminator, d_optimizer, mixed.detach(), real, config, step)
            discriminator.requires_grad_(False)
            with half_precision(device):
                rows["g"] = F.softplus(-discriminator(mixed).float()).mean()
            discriminator.requires_grad_(True)
            loss = loss + stage.adversarial * rows["g"]
            if step % config.path_length_every == 0:  # lazily, and for half of the batch: it is dear
                z = torch.randn(max(1, stage.batch_size // 2), model.z_dim, generator=rng, device=device)
                unevenness = path_length(generator, z, rng)
                loss = loss + stage.adversarial * config.path_length * config.path_length_every * unevenness
        if stage.regression:
            with half_precision(device):
                image = draw(pool.z[index])
            rows["distance"] = picture_distance(image, real)
            if stage.perceptual:
                grain = 0.05 * torch.randn(image.shape, generator=rng, device=device)  # no win by patterns unseen
                rows["perceptual"] = perceptual_distance(perception, image + grain, real + grain, step)
                rows["distance"] = rows["distance"] + stage.perceptual * rows["perceptual"]
            loss = loss + stage.regression * rows["distance"]
        descend(optimizer, loss, learning_rate(step, stage.steps, stage.lr))
        keep = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - keep)
        return rows

    return step_fn, carries


class PathLength(nn.Module):
    """How unevenly steps in w change the picture (arXiv:1912.04958, section 3.2): squared distance from the usual.

    The mean is kept with the weights of a run, so that a resumed one goes on as it was.
    """

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, generator: Generator, z: Tensor, rng: torch.Generator) -> Tensor:
        """The penalty, a scalar with gradients, of latents ``z`` (B, z_dim); in full precision."""
        w_plus = generator.mapping(z)[:, None].expand(-1, generator.num_ws, -1)
        image = generator.synthesize(generator.styles(w_plus), w_plus, noise="random", rng=rng)
        noise = torch.randn(image.shape, generator=rng, device=image.device) / image.shape[-1]
        (slope,) = torch.autograd.grad((image * noise).sum(), w_plus, create_graph=True)  # (B, L, w_dim)
        length = slope.square().sum(2).mean(1).sqrt()
        with torch.no_grad():
            self.mean.lerp_(length.mean(), torch.where(self.mean == 0, 1.0, 0.01))
        return (length - self.mean).square().mean()


def _mixed_styles(generator: Generator, config: GeneratorTraining, n: int, rng: torch.Generator) -> Tensor:
    """Pictures of new latents, some of which change to another latent's w at a random layer, with new noise."""
    device = generator.const.device
    z = torch.randn(2, n, config.model.z_dim, generator=rng, device=device)
    cut = torch.randint(1, generator.num_ws, (n, 1), generator=rng, device=device)
    mixes = torch.rand(n, 1, generator=rng, device=device) < config.style_mixing
    with half_precision(device):
        first, second = generator.mapping(z[0]), generator.mapping(z[1])
        takes_second = (torch.arange(generator.num_ws, device=device) >= cut) & mixes  # (n, L)
        w_plus = torch.where(takes_second[..., None], second[:, None], first[:, None])
        return generator.synthesize(generator.styles(w_plus), w_plus, noise="random", rng=rng)


def _discriminator_step(
    discriminator: nn.Module, optimizer: Optimizer, fake: Tensor, real: Tensor, config: GeneratorTraining, step: int
) -> dict[str, Tensor]:
    with half_precision(real.device):
        loss = F.softplus(discriminator(fake).float()).mean() + F.softplus(-discriminator(real).float()).mean()
    total = loss
    if step % config.r1_every == 0:  # lazily, and in full precision
        real = real.detach().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
        total = total + config.r1 / 2 * config.r1_every * slope.square().sum((1, 2, 3)).mean()
    descend(optimizer, total, config.discriminator_lr)
    return {"d": loss}
