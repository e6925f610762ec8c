"""How good the models of a world are: CLIP and encoder on held-out renders, the generator by its samples."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.clip import ClipEncoder
from deltaedit.editor import Editor
from deltaedit.effects import score_edits, summary
from deltaedit.metrics import frechet_distance, precision_recall
from deltaedit.worlds import captions
from deltaedit.worlds.faces.judge import FaceJudge
from deltaedit.worlds.judge import Judge, agreement
from deltaedit.worlds.pool import latents, renders
from deltaedit.worlds.table import Binary, Choice
from deltaedit.worlds.world import Goal, World

HELD_OUT = 987_654  # seed of renders and latents that no trainer sees


def paint(world: World, factors: Tensor, resolution: int) -> Tensor:
    """Renders of many pictures, block by block, (n, 3, resolution, resolution) in [-1, 1]."""
    return torch.cat(list(renders(world, factors, resolution)))


def held_out(world: World, n: int, resolution: int = 64, seed: int = HELD_OUT) -> tuple[Tensor, Tensor]:
    """Renders that no trainer saw, with their factors: images (n, 3, H, W) and (n, len(names))."""
    factors = world.sample(n, torch.Generator().manual_seed(seed))
    return paint(world, factors, resolution), factors


@torch.no_grad()
def image_features(clip: ClipEncoder, image: Tensor, batch_size: int = 64) -> Tensor:
    """Unit image features (B, D), batch by batch."""
    return torch.cat([clip.encode_image(batch.to(clip.device)).cpu() for batch in image.split(batch_size)])


@torch.no_grad()
def zero_shot(world: World, clip: ClipEncoder, image: Tensor, factors: Tensor) -> dict[str, float]:
    """Accuracy of CLIP, by attribute, at telling values apart by their prompts, on pictures where they can be seen.

    Binary attributes and choices only; for a binary one the two prompts are «with» and «without».
    """
    feature, seen = image_features(clip, image), world.visible(factors)
    out = {}
    for k, a in enumerate(world.table.attributes):
        values = [False, True] if isinstance(a, Binary) else list(a.options) if isinstance(a, Choice) else []
        if values:
            text = torch.stack([clip.text_feature(world.prompt(a.name, value)) for value in values]).cpu()
            mask = seen[:, k]
            guess = (feature[mask] @ text.T).argmax(dim=1)
            out[a.name] = float((guess == factors[mask, k]).float().mean())
    return out


@torch.no_grad()
def retrieval(world: World, clip: ClipEncoder, image: Tensor, factors: Tensor, seed: int = 0) -> float:
    """Share of captions, of three to five facts, whose own picture is the nearest among all, of two or more (R@1)."""
    if len(image) < 2:
        raise ValueError(f"retrieval needs 2 pictures or more, better 1,000. Got {len(image)}.")
    text = clip.encode_text(world.captions(factors, random.Random(seed), at_least=3, at_most=5)).cpu()
    return float(((text @ image_features(clip, image).T).argmax(dim=1) == torch.arange(len(image))).float().mean())


@torch.no_grad()
def combinations(
    world: World, clip: ClipEncoder, n: int = 64, resolution: int = 64, seed: int = HELD_OUT + 3
) -> dict[str, dict[str, float]]:
    """Zero-shot accuracy at telling two things at once, of pairs that captions never name together and of others.

    For a pair (P, Q) of ``world.apart`` up to ``n`` renders show each of P and Q, P alone, Q alone and neither, and the
    prompts of the four cases compete: chance is a quarter. For comparison, the same attributes are paired anew, each P
    with the next pair's Q, as captions may do.

    By the prompt that names both, it is for «apart» and for «together» the accuracy over the four cases. Raises
    ``ValueError`` if the world keeps no pairs apart.
    """
    if not world.apart:
        raise ValueError(f"{world.name} keeps no attributes apart in captions: there is nothing to compare.")
    first, second = ([Goal(world, *pair[k]) for pair in world.apart] for k in (0, 1))
    factors = world.sample(64 * n, torch.Generator().manual_seed(seed))
    seen = world.visible(factors)

    def both(p: Goal, q: Goal) -> str:
        return captions.prompt(world, (p.name, p.value), (q.name, q.value))

    def accuracy(one: Goal, two: Goal) -> float:
        cases = [(p, q) for p in (one, one.opposite) for q in (two, two.opposite)]
        text = torch.stack([clip.text_feature(both(*case)) for case in cases]).cpu()
        shown = world.table.column(seen, one.name) & world.table.column(seen, two.name)
        shares = []
        for k, (p, q) in enumerate(cases):
            rows = factors[shown & p.reached(factors) & q.reached(factors)][:n]
            guess = (image_features(clip, paint(world, rows, resolution)) @ text.T).argmax(dim=1)
            shares.append(float((guess == k).float().mean()))
        return sum(shares) / len(shares)

    kinds = {"apart": zip(first, second, strict=True), "together": zip(first, second[1:] + second[:1], strict=True)}
    return {kind: {both(p, q): accuracy(p, q) for p, q in pairs} for kind, pairs in kinds.items()}


def frequencies(world: World, factors: Tensor) -> dict[str, dict[str, float]]:
    """How often each value of an attribute is seen, among the pictures in which the attribute can be.

    Factors (B, len(names)) are given or read by the judge. Shares from 0 to 1 come by attribute and value: ``"there"``
    of a Binary, each option of a Choice, and ``"low"`` and ``"high"`` of a Scale, beyond the ends that words name.
    """
    seen, out = world.visible(factors), {}
    for a in world.table.attributes:
        mask = world.table.column(seen, a.name)
        if isinstance(a, Binary):
            values: dict[str, bool | str] = {"there": True}
        elif isinstance(a, Choice):
            values = {option: option for option in a.options}
        else:
            values = {end: end for end in ("low", "high") if getattr(a, end)}
        goals = {key: Goal(world, a.name, value) for key, value in values.items()}
        if goals:
            out[a.name] = {key: float(goal.reached(factors)[mask].float().mean()) for key, goal in goals.items()}
    return out


@dataclass(frozen=True)
class SampleScore:
    """How samples of a generator compare with as many renders, as the judge sees both."""

    likeness: dict[str, float]  #: ``precision``, ``recall``, ``frechet`` of samples against renders of other latents
    ceiling: dict[str, float]  #: the same of renders of the samples' own latents, what a perfect generator would get
    samples: dict[str, dict[str, float]]  #: ``frequencies`` in the samples
    renders: dict[str, dict[str, float]]  #: ``frequencies`` in the renders of the same latents
    as_asked: dict[str, float]  #: ``agreement`` of what is seen in the samples with what their latents stand for


@torch.no_grad()
def score_samples(editor: Editor, judge: Judge, n: int = 10_000, seed: int = HELD_OUT + 3, k: int = 3) -> SampleScore:
    """Compare ``n`` samples of an editor's generator with ``n`` renders, in the judge's embedding.

    Both are drawn at the generator's resolution, and block by block: no more than a block of pictures is held. Samples
    and the renders beside them are of the same latents, so that little of a gap between the two is chance.

    ``n`` is well above the 256 features, or the Fréchet distance says little; ``k`` is that of ``precision_recall``.
    Latents are of ``seed``, at the domain's truncation; those of the renders that both are compared with, of the next.
    """
    world, generator = judge.world, editor.generator
    z, other = (latents(n, generator.z_dim, s).to(editor.device) for s in (seed, seed + 1))

    def look(draw: Callable[[Tensor], Tensor], z: Tensor, what: str) -> tuple[Tensor, Tensor]:
        blocks = tqdm(z.split(32), desc=f"{what}: {n} pictures", unit="block")
        read, embedding = zip(*(judge.look(draw(block).clamp(-1, 1)) for block in blocks), strict=True)
        return torch.cat(read), torch.cat(embedding)

    def painted(block: Tensor) -> Tensor:
        return paint(world, world.factors_from_z(block), generator.resolution)

    def likeness(embedding: Tensor) -> dict[str, float]:
        precision, recall = precision_recall(real, embedding, k)
        return {"precision": precision, "recall": recall, "frechet": frechet_distance(real, embedding)}

    _, real = look(painted, other, "renders")
    of_renders, rendered = look(painted, z, "renders of the samples' latents")
    of_samples, drawn = look(lambda block: generator(block, editor.domain.truncation), z, "samples")
    return SampleScore(
        likeness(drawn),
        likeness(rendered),
        frequencies(world, of_samples),
        frequencies(world, of_renders),
        agreement(world.table, of_samples, world.factors_from_z(z)),
    )


def switched(goal: Goal, n: int, z_dim: int, seed: int = HELD_OUT + 4) -> tuple[Tensor, Tensor]:
    """Latents of pictures that lack a goal and could show it, and of the same pictures with it: up to (n, z_dim) each.

    What the generator draws of them differs as a perfect edit would have it; so do the renders of what they stand for.
    """
    table = goal.world.table
    z = latents(16 * n + 1024, z_dim, seed)
    factors = table.from_z(z)
    visible, there = table.column(table.visible(factors), goal.name), goal.reached(factors)
    without, donors = z[visible & ~there][:n], z[visible & there]
    grafted = table.graft(without, donors[torch.arange(len(without)) % len(donors)], goal.name)
    factors = table.from_z(grafted)
    came = goal.reached(factors) & table.column(table.visible(factors), goal.name)
    return without[came], grafted[came]


def labels(goals: Iterable[Goal], factors: Tensor) -> dict[str, Tensor]:
    """Labels (B,) of pictures by each goal's prompt, for ``baselines.LinearBoundary``.

    1 for pictures that show the goal, 0 for those that do not, NaN where something hides what it is about; factors
    (B, len(names)) are given or read by the judge.
    """
    out = {}
    for goal in goals:
        table = goal.world.table
        hidden = ~table.column(table.visible(factors), goal.name)
        out[goal.prompt] = goal.reached(factors).float().masked_fill(hidden, float("nan"))
    return out


def kept(judge: Judge | FaceJudge, image: Tensor, again: Tensor) -> dict[str, Tensor]:
    """Whether pictures (B, 3, H, W) show what they did before, by attribute, where it could be seen; a bool for each.

    Of the attributes that are there or not, or one of several, as the judge reads them.
    """
    before, after = judge.read(image), judge.read(again.clamp(-1, 1))
    seen, asked = judge.visible(before), {*judge.binary, *judge.choices}
    rows = {name: k for k, name in enumerate(judge.names) if name in asked}
    return {name: (before[:, k] == after[:, k])[seen[:, k]] for name, k in rows.items()}


@torch.no_grad()
def score_inversion(editor: Editor, judge: Judge, n: int = 200, seed: int = HELD_OUT + 2) -> dict[str, float]:
    """What is left of held-out renders after inversion, and what edits do to them then.

    ``kept`` is the share of the attributes that are there or not, or one of several, which the judge reads as before,
    ``kept_<name>`` that of each, ``difference`` the mean absolute one of pixels in [-1, 1]; then comes the ``summary``.
    """
    image, _ = held_out(judge.world, n, editor.generator.resolution, seed)
    image, latent = image.to(editor.device), editor.invert(image)
    same = kept(judge, image, latent.tensor)
    return {
        "kept": float(torch.cat(list(same.values())).float().mean()),
        "difference": float((latent.tensor - image).abs().mean()),
        **summary(score_edits(editor.edit, judge, latent, judge.world.goals)),
        **{f"kept_{name}": float(row.float().mean()) for name, row in same.items()},
    }
