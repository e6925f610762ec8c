"""How good the miniature is: CLIP on held-out renders, and edits as the judge sees them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.clip import ClipEncoder
from deltaedit.editor import Editor
from deltaedit.portraits.attributes import (
    ATTRIBUTES,
    BINARY,
    INDEX,
    Binary,
    Choice,
    attribute,
    column,
    sample_factors,
    visible,
)
from deltaedit.portraits.captions import captions, prompt
from deltaedit.portraits.judge import Judge
from deltaedit.portraits.pool import BLOCK
from deltaedit.portraits.renderer import render

HELD_OUT = 987_654  # seed of renders and latents that no trainer sees


@dataclass(frozen=True)
class Goal:
    """What an edit is after: an attribute's value, with the prompt that asks for it."""

    name: str
    value: bool | str

    @property
    def prompt(self) -> str:
        """The canonical prompt, such as «face with glasses»."""
        return prompt(self.name, self.value)

    def reached(self, factors: Tensor) -> Tensor:
        """Where factors (B, len(ATTRIBUTES)), given or read by the judge, show the value; bool (B,)."""
        a, v = attribute(self.name), column(factors, self.name)
        if isinstance(a, Binary):
            return (v > 0.5) == bool(self.value)
        if isinstance(a, Choice):
            return v == list(a.options).index(str(self.value))
        return v > a.ends[1] if self.value == "high" else v < a.ends[0]


GOALS: tuple[Goal, ...] = tuple(Goal(name, value) for name, value in (
    ("smile", "high"), ("smile", "low"), ("open_mouth", True), ("glasses", True), ("sunglasses", True),
    ("beard", True), ("moustache", True), ("hair_color", "blond"), ("hair_color", "black"), ("hair_color", "blue"),
    ("long_hair", True), ("curly_hair", True), ("bangs", True), ("bald", True), ("hat", True), ("age", "high"),
    ("age", "low"), ("skin", "high"), ("eye_color", "blue"), ("eye_size", "high"), ("thick_brows", True),
    ("face_width", "high"), ("makeup", True), ("lipstick", True), ("earrings", True),
))  # fmt: skip
"""The single-attribute edits that are measured: those that people try first."""


def paint(factors: Tensor, resolution: int) -> Tensor:
    """Renders of many portraits, block by block, (n, 3, resolution, resolution) in [-1, 1]."""
    return torch.cat([render(block, resolution) for block in factors.split(BLOCK)])


def held_out(n: int, resolution: int = 64, seed: int = HELD_OUT) -> tuple[Tensor, Tensor]:
    """Renders that no trainer saw, with their factors: images (n, 3, H, W) and (n, len(ATTRIBUTES))."""
    factors = sample_factors(n, torch.Generator().manual_seed(seed))
    return paint(factors, resolution), factors


@torch.no_grad()
def image_features(clip: ClipEncoder, image: Tensor, batch_size: int = 256) -> Tensor:
    """Unit image features (B, D), batch by batch."""
    return torch.cat([clip.encode_image(batch.to(clip.device)).cpu() for batch in image.split(batch_size)])


@torch.no_grad()
def zero_shot(clip: ClipEncoder, image: Tensor, factors: Tensor) -> dict[str, float]:
    """Accuracy of CLIP, by attribute, at telling values apart by their prompts, on pictures where they can be seen.

    Binary attributes and choices only; for a binary one the two prompts are «with» and «without».
    """
    feature, seen = image_features(clip, image), visible(factors)
    out = {}
    for a in ATTRIBUTES:
        values = [False, True] if isinstance(a, Binary) else list(a.options) if isinstance(a, Choice) else []
        if values:
            text = torch.stack([clip.text_feature(prompt(a.name, value)) for value in values]).cpu()
            mask = seen[:, INDEX[a.name]]
            guess = (feature[mask] @ text.T).argmax(dim=1)
            out[a.name] = float((guess == factors[mask, INDEX[a.name]]).float().mean())
    return out


@torch.no_grad()
def retrieval(clip: ClipEncoder, image: Tensor, factors: Tensor, seed: int = 0) -> float:
    """Share of captions, of three to five facts, whose own picture is the nearest among all pictures (R@1)."""
    text = clip.encode_text(captions(factors, random.Random(seed), at_least=3, at_most=5)).cpu()
    return float(((text @ image_features(clip, image).T).argmax(dim=1) == torch.arange(len(image))).float().mean())


@dataclass(frozen=True)
class EditScore:
    """How edits towards one goal went.

    Attributes:
        reached: share of portraits in which the judge sees the goal afterwards, of those in which it did not before.
        flips: mean share of the other binary attributes, visible before and after, that changed.
        n: how many portraits lacked the goal and could show it.
        flipped: the same share attribute by attribute.
    """

    goal: Goal
    reached: float
    flips: float
    n: int
    flipped: dict[str, float]


@torch.no_grad()
def score_edits(editor: Editor, judge: Judge, goals: tuple[Goal, ...] = GOALS, n: int = 200, strength: float = 1.0,
                threshold: float | None = None, seed: int = HELD_OUT) -> list[EditScore]:  # fmt: skip
    """Edit ``n`` held-out portraits towards each goal, one prompt at a time, and let the judge look.

    Args:
        editor: what is measured; its own default threshold where ``threshold`` is None.
        judge: reads the attributes before and after.
        goals: attribute values, each with its canonical prompt.
    """
    latent = editor.sample(seed=seed, n=n)
    before = judge.read(editor.edit(latent, goals[0].prompt, strength=0.0).tensor.clamp(-1, 1))
    scores = []
    for goal in tqdm(goals, desc="judging edits"):
        edited = editor.edit(latent, goal.prompt, strength=strength, threshold=threshold).tensor
        scores.append(score(goal, before, judge.read(edited.clamp(-1, 1))))
    return scores


def score(goal: Goal, before: Tensor, after: Tensor) -> EditScore:
    """The score of one goal from what the judge read before and after, (B, len(ATTRIBUTES)) each."""
    k = INDEX[goal.name]
    could = visible(before)[:, k] & ~goal.reached(before)
    both = visible(before) & visible(after)
    flipped = {}
    for name in BINARY:
        if name != goal.name:
            mask = could & both[:, INDEX[name]]
            change = column(before, name)[mask] != column(after, name)[mask]
            flipped[name] = float(change.float().mean()) if mask.any() else 0.0
    reached = goal.reached(after)[could].float().mean() if could.any() else torch.tensor(float("nan"))
    return EditScore(goal, float(reached), sum(flipped.values()) / len(flipped), int(could.sum()), flipped)




def summary(scores: list[EditScore]) -> dict[str, float]:
    """Means over goals: share reached, of the worst goal too, and share of other binary attributes flipped."""
    reached = [s.reached for s in scores if s.n]
    return {"reached_mean": round(sum(reached) / len(reached), 4), "reached_worst": round(min(reached), 4),
            "flips_mean": round(sum(s.flips for s in scores) / len(scores), 4), "prompts": len(scores)}  # fmt: skip


@torch.no_grad()
def calibrate(editor: Editor, judge: Judge, gains: tuple[float, ...] = (0.5, 0.65, 0.8, 1.0),
              thresholds: tuple[float, ...] = (0.05, 0.1, 0.2), n: int = 48,
              seed: int = HELD_OUT + 1) -> list[dict[str, float]]:  # fmt: skip
    """What each gain and threshold would give, on portraits other than those that scores are made on."""
    rows = []
    for threshold in thresholds:
        for gain in gains:
            strength = gain / editor.domain.gain
            scores = score_edits(editor, judge, n=n, strength=strength, threshold=threshold, seed=seed)
            rows.append({"gain": gain, "threshold": threshold, **summary(scores)})
    return rows


def best_setting(rows: list[dict[str, float]], flips: float = 0.06) -> dict[str, float]:
    """The setting that reaches most goals among those that flip few others, or that flips fewest."""
    gentle = [row for row in rows if row["flips_mean"] <= flips]
    if gentle:
        return max(gentle, key=lambda row: row["reached_mean"])
    return min(rows, key=lambda row: row["flips_mean"])
