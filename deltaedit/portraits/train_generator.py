"""Trains the miniature's StyleGAN2: by regression onto the painter, growing, then adversarially.

The proper objective is the adversarial one: non-saturating loss, lazy R1, style mixing, a moving average (StyleGAN2,
arXiv:1912.04958). It wants millions of pictures, which is minutes on a GPU and a day on two processor cores. The
painter however knows which portrait a latent stands for (``factors_from_z``), so the first stages are a regression
onto its pictures, quick and on the way; the adversarial stage then takes over from their weights.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.loop import fit, learning_rate
from deltaedit.portraits.pool import Pool
from deltaedit.stylegan2 import Discriminator, Generator, GeneratorConfig

MINIATURE = GeneratorConfig(resolution=64, z_dim=64, w_dim=128, mapping_layers=4, channel_base=2048, channel_max=128,
                            mapping_lr_mul=1.0)  # fmt: skip
"""The shipped generator. Regression moves the mapping as fast as the rest; alone, the adversarial loss wants 0.01."""


@dataclass(frozen=True)
class Stage:
    """A part of the training at one resolution.

    Attributes:
        regression: weight of the distance to the painter's picture of the same latent.
        squared: see ``picture_distance``.
        adversarial: weight of the adversarial loss.
        fade_torgb: let the toRGB layers forget w, so that all of the picture is in s, where edits reach it. Regression
            would leave colours to toRGB, which an edit of s does not touch; the adversarial loss leaves it little.
    """

    resolution: int
    steps: int
    batch_size: int = 32
    lr: float = 5e-3
    regression: float = 1.0
    squared: float = 0.0
    adversarial: float = 0.0
    fade_torgb: bool = False


@dataclass(frozen=True)
class GeneratorTraining:
    """How the generator is trained; one recipe for CPU and CUDA."""

    model: GeneratorConfig = MINIATURE
    stages: tuple[Stage, ...] = (
        Stage(16, 3000, 64, 1e-2),
        Stage(16, 6000, 64, 1e-2),
        Stage(32, 4000, 32, 7e-3),
        Stage(64, 4600, 32, 5e-3),
        Stage(64, 3000, 32, 6e-3, squared=20.0, fade_torgb=True),
    )
    r1: float = 0.3
    r1_every: int = 16
    style_mixing: float = 0.9
    discriminator_lr: float = 2e-3
    ema: float = 0.998
    seed: int = 0


def picture_distance(a: Tensor, b: Tensor, squared: float = 0.0) -> Tensor:
    """Mean absolute difference of two batches (B, 3, H, W), of their blurs and of their edges.

    Plain L1 hardly sees eyes and frames: differences of neighbours see edges, and the face counts more than the wall.
    Where a thing is there in a third of the pictures, L1 is content with its absence; a squared difference is not:
    it is added, with weight ``squared``, from the brows to below the mouth.
    """
    d = a - b
    h = d.shape[-1]
    face = d[:, :, h // 4 : h - h // 10, h // 5 : h - h // 5]
    edges = (face[..., 1:] - face[..., :-1]).abs().mean() + (face[..., 1:, :] - face[..., :-1, :]).abs().mean()
    loss = d.abs().mean() + 2 * face.abs().mean() + 2 * edges
    if squared:
        loss = loss + squared * d[:, :, 2 * h // 5 : 4 * h // 5, h // 4 : 3 * h // 4].square().mean()
    while d.shape[-1] > 8:
        d = F.avg_pool2d(d, 2)
        loss = loss + d.abs().mean()
    return loss


def train_generator(pool: Pool, folder: str | Path, config: GeneratorTraining = GeneratorTraining(),
                    stop_after: int | None = None) -> tuple[Generator, list[dict[str, float]]]:  # fmt: skip
    """Train on a pool of portraits, stage by stage; returns the moving average of the generator, and the log.

    Args:
        pool: latents and pictures of the generator's resolution or more, on the device to train on.
        folder: for a checkpoint of each stage; a run that was killed goes on to the same result.
        stop_after: pause after so many steps of this call, within a stage.
    """
    device, log, weights = pool.z.device, [], {}
    for k, stage in enumerate(config.stages):
        place = Path(folder) / f"{k}-{stage.resolution}px"
        average, rows = _train_stage(pool, place, config, stage, weights, stop_after)
        weights = average.state_dict()
        log += [{"stage": k, "resolution": stage.resolution, **row} for row in rows]
        if rows[-1]["step"] < stage.steps:  # paused
            break
    average.estimate_w_avg(10_000, torch.Generator(device).manual_seed(config.seed))
    return average.eval(), log


def _train_stage(pool: Pool, folder: Path, config: GeneratorTraining, stage: Stage, weights: dict[str, Tensor],
                 stop_after: int | None) -> tuple[Generator, list[dict[str, float]]]:  # fmt: skip
    device = pool.z.device
    torch.manual_seed(config.seed)
    model = replace(config.model, resolution=stage.resolution)
    generator = Generator(model).to(device, memory_format=torch.channels_last)
    generator.load_state_dict(weights, strict=False)  # layers of the smaller generator are the first of the larger
    fading = [layer.affine.weight for layer in generator.to_rgbs] if stage.fade_torgb else []
    for weight in fading:
        weight.requires_grad_(False)
    average = copy.deepcopy(generator).requires_grad_(False)
    trained = [p for p in generator.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=stage.lr, betas=(0.9, 0.99), fused=True)
    carries = {"generator": generator, "average": average, "optimizer": optimizer}
    if stage.adversarial:
        discriminator = Discriminator(model).to(device, memory_format=torch.channels_last)
        d_weights = list(discriminator.parameters())
        d_optimizer = torch.optim.Adam(d_weights, lr=config.discriminator_lr, betas=(0.0, 0.99), fused=True)
        carries |= {"discriminator": discriminator, "d_optimizer": d_optimizer}

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage.steps, stage.lr)
        index = torch.randint(len(pool), (stage.batch_size,), generator=rng, device=device)
        real = pool.images(index)
        while real.shape[-1] > stage.resolution:
            real = F.avg_pool2d(real, 2)
        rows, loss = {}, torch.zeros((), device=device)
        if stage.adversarial:
            mixed = _mixed_styles(generator, config, stage.batch_size, rng)
            rows |= _discriminator_step(discriminator, d_optimizer, mixed.detach(), real, config, step)
            discriminator.requires_grad_(False)
            with torch.autocast(device.type, torch.bfloat16):
                rows["g"] = F.softplus(-discriminator(mixed).float()).mean()
            discriminator.requires_grad_(True)
            loss = loss + stage.adversarial * rows["g"]
        if stage.regression:
            with torch.autocast(device.type, torch.bfloat16):
                image = generator(pool.z[index])
            rows["distance"] = picture_distance(image, real, stage.squared)
            loss = loss + stage.regression * rows["distance"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        for weight in fading:
            weight.mul_(0.99 if step < 1000 else 0.0)
        keep = min(config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(generator.parameters()), 1 - keep)
        return rows

    log = fit(step_fn, stage.steps, name=f"generator {stage.resolution} px", folder=folder, seed=config.seed,
              device=device, describes=[asdict(config.model), asdict(stage)], carries=carries,
              stop_after=stop_after)  # fmt: skip
    return average, log


def _mixed_styles(generator: Generator, config: GeneratorTraining, n: int, rng: torch.Generator) -> Tensor:
    """Pictures of new latents, some of which change to another latent's w at a random layer, with new noise."""
    device = generator.const.device
    z = torch.randn(2, n, config.model.z_dim, generator=rng, device=device)
    cut = torch.randint(1, generator.num_ws, (n, 1), generator=rng, device=device)
    mixes = torch.rand(n, 1, generator=rng, device=device) < config.style_mixing
    with torch.autocast(device.type, torch.bfloat16):
        first, second = generator.mapping(z[0]), generator.mapping(z[1])
        takes_second = (torch.arange(generator.num_ws, device=device) >= cut) & mixes  # (n, L)
        w_plus = torch.where(takes_second[..., None], second[:, None], first[:, None])
        return generator.synthesize(generator.styles(w_plus), w_plus, noise="random", rng=rng)


def _discriminator_step(discriminator: nn.Module, optimizer: torch.optim.Optimizer, fake: Tensor, real: Tensor,
                        config: GeneratorTraining, step: int) -> dict[str, Tensor]:  # fmt: skip
    with torch.autocast(real.device.type, torch.bfloat16):
        loss = F.softplus(discriminator(fake).float()).mean() + F.softplus(-discriminator(real).float()).mean()
    total = loss
    if step % config.r1_every == 0:  # lazily, and in full precision
        real = real.detach().requires_grad_()
        (slope,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
        total = total + config.r1 / 2 * config.r1_every * slope.square().sum((1, 2, 3)).mean()
    optimizer.zero_grad(set_to_none=True)
    total.backward()
    optimizer.step()
    return {"d": loss}
