"""The encoder that finds photos among faces: trained on faces of the pool, disturbed as photos are; see ``Encoder``.

At first it learns to say the w that a face was drawn from. Then it is also shown what the generator draws of its codes,
and faces whose layers differ a little, so that it may say what no single w draws: of photos most is such.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.devices import drawing_dtype, half_precision
from deltaedit.e4e import Encoder, EncoderConfig
from deltaedit.editor import BATCH, Editor
from deltaedit.features import shard_latents
from deltaedit.inversion import Features, distance
from deltaedit.loop import descend, fit, learning_rate
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.pictures import resize
from deltaedit.style_space import sample_w
from deltaedit.worlds.faces.judge import FaceJudge, same_person
from deltaedit.worlds.faces.pool import FacePool, as_image, halved

Log = list[dict[str, float]]
Step = Callable[[torch.optim.Optimizer, int, torch.Generator], dict[str, Tensor]]


@dataclass(frozen=True)
class FaceEncoderTraining:
    """How an encoder of faces is trained; distances of w are in units of its variance."""

    steps: int = 3000  #: towards w alone
    batch_size: int = 32
    lr: float = 1e-3  #: of Adam
    drawn_steps: int = 60  #: after these: towards w and what is drawn of it
    drawn_batch: int = 4  #: half of the pool, half with layers that differ
    drawn_lr: float = 1e-4
    offset: float = 0.3
    """Most that layers of the latter differ, in standard deviations of w; pictures break from .6 on."""
    latent: float = 0.3  #: weight of the squared distance to w, beside what is drawn
    delta: float = 0.1  #: weight of the squared length of the differences between layers
    features: float = 1.0  #: weight of the feature part of ``inversion.distance``
    width: int = 16  #: channels of the first layer
    channel_max: int = 160
    code: int = 256
    rank: int = 32
    seed: int = 0


def as_photographed(image: Tensor, rng: torch.Generator) -> Tensor:
    """Images (B, 3, H, H) in [-1, 1] as a camera and an alignment by landmarks give them, of that shape and range.

    They are turned by up to some degrees, moved and scaled by some hundredths; light has a colour, a strength and a
    side that it comes from; some are soft, some grey, some have noise.
    """

    def draw(spread: float, *shape: int) -> Tensor:
        return spread * torch.randn(len(image), *shape, generator=rng, device=rng.device).to(image.device)

    angle, scale, place = draw(0.03), draw(0.02).exp(), draw(0.015, 2)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = [torch.stack([cos, -sin, place[:, 0]], 1), torch.stack([sin, cos, place[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(image.shape), align_corners=False)
    x = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)

    soft = F.interpolate(F.avg_pool2d(x, 2), x.shape[-2:], mode="bilinear", align_corners=False)
    x = x.lerp(soft, draw(1, 1, 1, 1).clamp(0, 1))
    grey = x.mean(1, keepdim=True)
    x = torch.where(draw(1, 1, 1, 1) > 1.6, grey, x.lerp(grey, draw(0.15, 1, 1, 1)))  # one of 18 has no colours

    ramp = torch.linspace(-1, 1, image.shape[-1], device=image.device)
    side = draw(0.1, 1, 1, 1) * ramp + draw(0.1, 1, 1, 1) * ramp[:, None]
    light = (x + 1) * (draw(0.15, 1, 1, 1) + draw(0.05, 3, 1, 1) + side).exp() - 1
    middle = light.mean((1, 2, 3), keepdim=True)
    x = middle + (light - middle) * draw(0.12, 1, 1, 1).exp()
    return (x + draw(0.03, 1, 1, 1) * draw(1, *x.shape[1:])).clamp(-1, 1)


@torch.inference_mode()
def faces_of(pool: FacePool, generator: MobileStyleGAN) -> tuple[Tensor, Tensor]:
    """The pictures of a pool at half its size, bytes (n, 3, H, H), and the w (n, w_dim) that they were drawn from."""
    seed, truncation, device = pool.manifest["seed"], pool.manifest["truncation"], generator.w_avg.device
    z = [shard_latents(seed, shard, generator.z_dim).to(device) for shard in range(pool.shards)]
    w = torch.cat([generator.mapping(part, truncation) for part in z])
    shards = tqdm(range(pool.shards), desc="faces", unit="shard", delay=2)
    return torch.cat([halved(pool.read(shard, "picture")) for shard in shards]), w.clone()


def train_encoder(
    pool: FacePool,
    generator: MobileStyleGAN,
    folder: str | Path,
    config: FaceEncoderTraining = FaceEncoderTraining(),
    *,
    features: Features | None = None,
    held_out: Collection[int] = (),
    stop_after: int | None = None,
) -> tuple[Encoder, Log]:
    """Train an encoder on the faces of a pool; a run that was killed goes on to the same result.

    Args:
        generator: that drew the pool, with a preview of half the pool's size; it stays as it is.
        features: what pictures must agree in beside their pixels.
        held_out: numbers of faces that it does not learn from; the log tells how far from their w it is.
        stop_after: pause once so many steps are done of one of the two parts.

    Returns:
        The encoder, in evaluation mode, and the log of both parts.
    """
    device, size = generator.w_avg.device, pool.manifest["size"] // 2
    sizes = (generator.w_avg.shape[-1], generator.num_ws, size, config.width, config.channel_max)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        encoder = Encoder(EncoderConfig(*sizes, config.code, config.rank), generator.w_avg)
    encoder = encoder.to(device, memory_format=torch.channels_last)
    picture, w = faces_of(pool, generator)
    variance, centre = w.var(0).mean(), w.mean(0)
    kept = torch.ones(len(w), dtype=torch.bool)
    kept[list(held_out)] = False
    (own,), asked = kept.nonzero(as_tuple=True), (~kept).nonzero()[:256, 0]

    def some(n: int, rng: torch.Generator) -> Tensor:
        return own[torch.randint(len(own), (n,), generator=rng, device=rng.device).cpu()]

    def images(index: Tensor) -> Tensor:
        return as_image(picture[index].to(device)).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        if not len(asked):
            return {}
        code = torch.cat([encoder(images(part)) for part in asked.split(64)])
        return {"held_out": float((code.mean(1) - w[asked]).square().mean() / variance)}

    def towards_w(optimizer: torch.optim.Optimizer, number: int, rng: torch.Generator) -> dict[str, Tensor]:
        index = some(config.batch_size, rng)
        one, _ = encoder.parts(as_photographed(images(index), rng))
        loss = (one - w[index]).square().mean() / variance
        descend(optimizer, loss, learning_rate(number, config.steps, config.lr))
        return {"latent": loss}

    def towards_picture(optimizer: torch.optim.Optimizer, number: int, rng: torch.Generator) -> dict[str, Tensor]:
        n, dtype = config.drawn_batch, drawing_dtype(256, device)
        index, others = some(n, rng), some(n * generator.num_ws, rng)
        strength = config.offset * torch.rand(n, generator=rng, device=device)
        strength[: n // 2] = 0
        apart = (w[others] - centre).unflatten(0, (n, -1))
        true = w[index][:, None] + strength[:, None, None] * apart
        with torch.no_grad():
            drawn = generator.preview(generator.styles(true[n // 2 :]), size, dtype=dtype).clamp(-1, 1)
            image = torch.cat([images(index[: n // 2]), drawn])
        one, delta = encoder.parts(as_photographed(image, rng))
        code = one[:, None] + delta
        again = generator.preview(generator.styles(code), size, dtype=dtype)
        with half_precision(device):
            seen = distance(again, image, features, config.features)
        latent = (code - true).square().mean() / variance
        length = delta.square().mean() / variance
        loss = seen + config.latent * latent + config.delta * length
        descend(optimizer, loss, learning_rate(number, config.drawn_steps, config.drawn_lr, warmup=20))
        return {"loss": loss, "picture": seen, "latent": latent, "delta": length}

    sizes = {name: getattr(config, name) for name in ("width", "channel_max", "code", "rank", "seed")}
    about = {"pool": pool.manifest, "faces": len(own), **sizes}
    first = {name: getattr(config, name) for name in ("steps", "batch_size", "lr")}
    parts: tuple[tuple[str, Step, int, dict[str, Any]], ...] = (
        ("w", towards_w, config.steps, about | first),
        ("picture", towards_picture, config.drawn_steps, about | asdict(config)),
    )
    log: Log = []
    for name, step, steps, describes in parts:
        optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.lr, weight_decay=0.01, fused=True)
        log += fit(
            partial(step, optimizer),
            steps,
            carries={"encoder": encoder, "optimizer": optimizer},
            folder=Path(folder) / name,
            seed=config.seed,
            describes=describes,
            device=device,
            save_every=250,
            evaluate=evaluate,
            stop_after=stop_after,
            name=f"encoder, towards {name}",
        )
        if log[-1]["step"] < steps:
            break
    return encoder.eval(), log


@torch.no_grad()
def likeness(editor: Editor, judge: FaceJudge, image: Tensor, steps: int = 0) -> dict[str, float]:
    """What inversion keeps of faces (B, 3, H, H), aligned, in [-1, 1]; ``steps`` as in ``Editor.invert``.

    Levels of 255 that a pixel is off; the share that the judge takes for the same person; the cosine of CLIP's image
    features; how far the w of the layers are apart, in standard deviations of w; and seconds for each picture. Where
    the generator has previews of the size, all of it is of them.
    """
    editor = editor.at(image.shape[-1])
    spread = sample_w(editor.generator, 4096).var(0).mean().sqrt()
    rows, start = [], time.perf_counter()
    for part in image.split(1):
        latent = editor.invert(part, steps)
        drawn = resize(latent.tensor, image.shape[-1]).clamp(-1, 1)
        rows.append((drawn, latent.image_feature, latent.w))
    seconds = (time.perf_counter() - start) / len(image)
    drawn, feature, w = (torch.cat(column) for column in zip(*rows, strict=True))
    seen = torch.cat([editor.clip.encode_image(part) for part in image.split(BATCH)])
    return {
        "levels": 127.5 * float((drawn - image).abs().mean()),
        "same_person": float(same_person(judge.look(image)[1], judge.look(drawn)[1]).float().mean()),
        "clip": float((feature * seen).sum(1).mean()),
        "apart": float((w - w.mean(1, keepdim=True)).square().mean().sqrt() / spread),
        "seconds": seconds,
    }
