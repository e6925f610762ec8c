"""Trains a miniature's CLIP: open_clip's own model, tokenizer and loss, on renders and grammar-made captions."""

from __future__ import annotations

import copy
import math
import random
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from deltaedit import _torchvision  # noqa: F401  before open_clip
from deltaedit.devices import half_precision
from deltaedit.loop import Step, fit, learning_rate
from deltaedit.worlds.pool import Pool
from deltaedit.worlds.world import World

CONFIG = Path(__file__).parent / "clip_config"


@dataclass(frozen=True)
class Lessons:
    """What the captions of some steps say."""

    until: int  #: first step after these lessons
    facts: tuple[int, int]  #: how many facts a caption names, from and to
    negation: float
    """Share of facts that say what is not there. A word said as often of its absence as of its presence means nothing
    to a model that does not yet read «no», so there are none while small things are learnt."""
    alike: bool
    """Whether batches are made of groups that share what is seen first (``World.coarse``), so that lips, brows and
    beards are what is left to tell their pictures apart."""


@dataclass(frozen=True)
class ClipTraining:
    """How the miniature's CLIP is trained; one recipe for CPU and CUDA."""

    model: str = "miniature-clip"
    lessons: tuple[Lessons, ...] = (
        Lessons(1050, (1, 7), 0.0, False),
        Lessons(2200, (3, 8), 0.0, True),
        Lessons(3400, (2, 8), 0.15, True),
    )
    words: float = 1.0
    """Weight of a second loss beside the contrastive one, which words does the picture's whole description have (Joulin
    et al. 2016, arXiv:1511.02251)? Real CLIPs see hundreds of millions of pairs; with less than one million the
    contrastive loss alone sees hair and hats, and never gets to lips and brows. Its layer is thrown away afterwards."""
    batch_size: int = 256
    group_size: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.995
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of all lessons."""
        return self.lessons[-1].until


def whole_descriptions(world: World, factors: Tensor, rng: random.Random) -> list[str]:
    """Captions that name all there is to see, and nothing that is not there."""
    return world.captions(factors, rng, 99, 99, negation=0.0)


def words_in(texts: list[str], vocabulary: dict[str, int]) -> Tensor:
    """Which words each text has, (N, len(vocabulary)) of 0 and 1; words beyond the vocabulary are passed over."""
    out = torch.zeros(len(texts), len(vocabulary))
    for row, text in zip(out, texts, strict=True):
        row[[vocabulary[word] for word in _split(text) if word in vocabulary]] = 1
    return out


def _split(text: str) -> list[str]:
    return text.replace(",", " ").split()


def groups_of(world: World, factors: Tensor) -> list[Tensor]:
    """Indices of pictures that are the same in what is seen first, group by group."""
    keys = torch.stack([world.table.column(factors, name) for name in world.coarse], dim=1).round().long()
    _, group = keys.unique(dim=0, return_inverse=True)
    order = group.argsort(stable=True)
    return list(order.split(group.bincount().tolist()))


def alike(groups: list[Tensor], n: int, size: int, rng: torch.Generator) -> Tensor:
    """``n`` indices, in runs of ``size`` from one random group each."""
    device = groups[0].device
    chosen = torch.randint(len(groups), (-(-n // size),), generator=rng, device=device).tolist()
    picks = [groups[k][torch.randint(len(groups[k]), (size,), generator=rng, device=device)] for k in chosen]
    return torch.cat(picks)[:n]


def train_clip(
    pool: Pool, folder: str | Path, config: ClipTraining = ClipTraining(), stop_after: int | None = None
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train on a pool of pictures, with new captions at every step; returns the moving average, and the log.

    What the world keeps apart no caption names together, nor does a whole description: another run than one without.

    A run that was killed goes on from the checkpoint in ``folder`` to the same result.
    """
    step_fn, carries = clip_step(pool, config)
    described = asdict(config) | ({"apart": pool.world.apart} if pool.world.apart else {})
    run = {"name": "CLIP", "folder": folder, "seed": config.seed, "device": pool.z.device, "stop_after": stop_after}
    log = fit(step_fn, config.steps, carries=carries, describes=described, save_every=250, **run)
    return carries["average"].eval(), log


def clip_step(pool: Pool, config: ClipTraining = ClipTraining()) -> tuple[Step, dict[str, Any]]:
    """The step of ``train_clip``, for ``fit``, and what it carries: "model", "average", "words" and "optimizer"."""
    import open_clip

    open_clip.add_model_config(CONFIG)
    world, device = pool.world, pool.z.device
    torch.manual_seed(config.seed)
    model = open_clip.create_model(config.model, force_image_size=pool.pictures.shape[-1], device=device)
    tokenizer = open_clip.get_tokenizer(config.model)
    model.visual.to(memory_format=torch.channels_last)
    average = copy.deepcopy(model).requires_grad_(False)
    contrast = open_clip.loss.ClipLoss()
    many = whole_descriptions(world, pool.factors[:4096], random.Random(0))
    vocabulary = {word: k for k, word in enumerate(sorted({word for text in many for word in _split(text)}))}
    names_words = nn.Linear(model.visual.output_dim, len(vocabulary), device=device)
    parameters = [*model.parameters(), *names_words.parameters()]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)
    statistics = (model.visual.image_mean, model.visual.image_std)
    mean, std = (torch.tensor(values, device=device)[:, None, None] for values in statistics)
    # On a processor fused attention in bfloat16 is slower than its parts one by one, backwards most of all.
    attention = partial(sdpa_kernel, SDPBackend.MATH) if device.type == "cpu" else nullcontext

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config.lr)
        lesson = next(lesson for lesson in config.lessons if step < lesson.until)
        if lesson.alike:
            index = alike(same, config.batch_size, config.group_size, rng)
        else:
            index = torch.randint(len(pool), (config.batch_size,), generator=rng, device=device)
        rand = random.Random(f"{config.seed}/{step}")
        words = world.captions(pool.factors[index], rand, *lesson.facts, negation=lesson.negation)
        image = ((pool.images(index) + 1) / 2 - mean) / std
        with half_precision(device), attention():
            seen = model.encode_image(image.to(memory_format=torch.channels_last))
            text_feature = model.encode_text(tokenizer(words).to(device), normalize=True)
        image_feature = F.normalize(seen.float(), dim=-1)
        loss = contrast(image_feature, text_feature.float(), model.logit_scale.exp())
        factors = pool.factors[index]
        told = words_in(whole_descriptions(world, factors, rand), vocabulary).to(device)
        whole = ~world.together(factors)[:, None]  # a description that must keep something back would teach its absence
        naming = F.binary_cross_entropy_with_logits(names_words(seen.float()), told, whole.float().expand_as(told))
        naming = naming * math.sqrt(len(vocabulary))
        optimizer.zero_grad(set_to_none=True)
        (loss + config.words * naming).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - config.ema)
            for a, b in zip(average.buffers(), model.buffers(), strict=True):
                a.copy_(b)
            hit = (image_feature @ text_feature.float().T).argmax(1) == torch.arange(len(index), device=device)
        return {"loss": loss, "words": naming, "retrieval": hit.float().mean(), "scale": model.logit_scale.exp()}

    same = groups_of(world, pool.factors)
    return step_fn, {"model": model, "average": average, "words": names_words, "optimizer": optimizer}
