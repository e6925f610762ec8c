"""What edits did to pictures, as a judge sees it: the one place where edits are measured.

For a goal, a picture counts that lacks it and could show it. On it an edit has

- *success*, whether the judge sees the goal afterwards;
- *leakage*, how far the other attributes moved, on average, each in its own standard deviation;
- *flips*, the share of the other attributes that are there or not which changed;
- *identity*, from 1 for the same subject to 0 for one as unlike as another of the samples is, on average over the
  attributes that tell subjects apart and that the goal does not name;
- *likeness*, the same of the judge's embedding, by squared distances.

``measure`` asks each picture for one goal only, so that as many pictures are looked at as edits, at every strength;
``score_edits`` asks all of them for every goal, so that each goal has a score that can be told from the others'.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.editor import Edit, Editor, Latent
from deltaedit.metrics import Interval, bootstrap, frechet_distance

MEASURES = ("success", "leakage", "flips", "identity", "likeness")

Method = Callable[[Latent, str], Edit]
"""From pictures and a prompt to its edit at strength 1: ``editor.edit``, or that of ``baselines``."""


class AnyJudge(Protocol):
    """What looks at pictures: the judge of a drawn world, or one of photographs, made of published models."""

    names: tuple[str, ...]  #: of the A attributes that it reads
    binary: tuple[str, ...]  #: those that are there or not
    identity: tuple[str, ...]  #: those by which one would know a subject again

    def read(self, image: Tensor) -> Tensor:
        """The attributes of any number of pictures (B, 3, H, W) in [-1, 1], a number each, (B, A)."""

    def visible(self, read: Tensor) -> Tensor:
        """Which attributes can be seen in pictures that were read so, bool (B, A)."""

    def moved(self, before: Tensor, after: Tensor) -> Tensor:
        """How far each attribute is from one reading to another, (B, A), in its own standard deviation."""

    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What ``read`` says of pictures, and an embedding of what they look like, (B, E)."""


class AnyGoal(Protocol):
    """What an edit is after."""

    prompt: str  #: that asks for it
    name: str  #: of the attribute that it is about
    also: tuple[str, ...]  #: attributes that move with it by its nature, which is no leak

    def suits(self, read: Tensor) -> Tensor:
        """Which pictures it can be asked of, bool (B,), as their attributes (B, A) were read."""

    def reached(self, read: Tensor) -> Tensor:
        """Which pictures show it, bool (B,), as their attributes (B, A) were read."""


@dataclass(frozen=True)
class EditScore:
    """How edits towards one goal went, on the pictures that lacked it and could show it; no numbers where none did."""

    goal: AnyGoal
    success: float  #: like leakage and identity, the mean over these pictures
    leakage: float
    flips: float  #: of all that could be compared, all pictures together
    identity: float
    n: int  #: pictures
    by_attribute: dict[str, float]  #: leakage of each that a tenth of the pictures or more show before and after


class Witness:
    """A judge that remembers what pictures, two or more, were like before they were edited.

    It is given the pictures (n, 3, H, W), or what ``look`` said of them.
    """

    def __init__(self, judge: AnyJudge, image: Tensor | tuple[Tensor, Tensor]) -> None:
        self.judge = judge
        if (n := len(image if isinstance(image, Tensor) else image[0])) < 2:
            raise ValueError(f"identity is measured against other pictures: give 2 or more, better 100. Got {n}.")
        self.before, self.embedding = self.look(image) if isinstance(image, Tensor) else image
        # Two samples that have nothing to do with each other: what identity is measured against.
        self.unlike = self.moved(self.before.roll(1, 0)).nanmean(0)
        self.apart = (self.embedding - self.embedding.roll(1, 0)).square().sum(1).mean()

    @torch.no_grad()
    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Attributes (n, A) and embeddings (n, E) of pictures (n, 3, H, W)."""
        return self.judge.look(image.clamp(-1, 1))

    def counts(self, goal: AnyGoal) -> Tensor:
        """Which pictures count for a goal, bool (n,): those that lack it and could show it."""
        seen = self.judge.visible(self.before)[:, self.judge.names.index(goal.name)]
        return seen & goal.suits(self.before) & ~goal.reached(self.before)

    def shared_out(self, goals: Sequence[AnyGoal]) -> Tensor:
        """Which picture is asked for which goal, bool (G, n): one for each that counts for any, as evenly as can be."""
        lacks, asked = torch.stack([self.counts(goal) for goal in goals]), []
        given = torch.zeros(len(goals))
        for row in lacks.T.cpu():
            one = torch.zeros_like(row)
            if row.any():
                one[given.masked_fill(~row, torch.inf).argmin()] = True
            given += one
            asked.append(one)
        return torch.stack(asked, dim=1).to(lacks)

    def moved(self, after: Tensor, rows: Tensor | slice = slice(None)) -> Tensor:
        """How far each attribute moved, (m, A), see ``AnyJudge.moved``; not a number where it was or is not seen.

        ``after`` (m, A) is what was read of the edited pictures, ``rows`` (n,) which ones those are.
        """
        before = self.before[rows]
        seen = self.judge.visible(before) & self.judge.visible(after)
        return self.judge.moved(before, after).masked_fill(~seen, torch.nan)

    def effect(self, goal: AnyGoal, after: Tensor, embedding: Tensor, rows: Tensor | None = None) -> Tensor:
        """``MEASURES`` (5, m) of an edit of m pictures towards a goal, of which ``look`` gave ``after``, ``embedding``.

        ``rows`` (n,) says which pictures were edited; all that count by default.
        """
        rows = self.counts(goal) if rows is None else rows
        moved, flipped, identity = self._others(goal, after, rows)
        likeness = 1 - (embedding - self.embedding[rows]).square().sum(1) / self.apart
        return torch.stack([goal.reached(after).float(), moved.nanmean(1), flipped.nanmean(1), identity, likeness])

    @torch.no_grad()
    def score(self, goal: AnyGoal, image: Tensor) -> EditScore:
        """The score of a goal, from the pictures that count for it, edited, (m, 3, H, W)."""
        after = self.judge.read(image.clamp(-1, 1))
        moved, flipped, identity = self._others(goal, after, self.counts(goal))
        enough = (~moved.isnan()).sum(0) >= max(1, len(moved) / 10)
        own = zip(self.judge.names, moved.nanmean(0).tolist(), enough.tolist(), strict=True)
        means = (goal.reached(after).float().mean(), moved.nanmean(1).nanmean(), flipped.nanmean(), identity.nanmean())
        return EditScore(goal, *map(float, means), len(moved), {name: mean for name, mean, shown in own if shown})

    def _others(self, goal: AnyGoal, after: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How far what the goal does not name moved (m, A), which of it flipped (m, binary ones), and identity (m,)."""
        names = self.judge.names
        moved = self.moved(after, rows)
        moved[:, [names.index(name) for name in (goal.name, *goal.also)]] = torch.nan
        binary, known = ([names.index(name) for name in own] for own in (self.judge.binary, self.judge.identity))
        flipped = (moved > 0).float().masked_fill(moved.isnan(), torch.nan)[:, binary]
        return moved, flipped, 1 - (moved[:, known] / self.unlike[known]).nanmean(1)


@torch.no_grad()
def score_edits(
    edit: Method,
    judge: AnyJudge,
    latent: Latent,
    goals: Sequence[AnyGoal],
    strength: float = 1.0,
    before: Tensor | None = None,
) -> list[EditScore]:
    """Edit the pictures that count for each goal towards it, one goal at a time, and let the judge look.

    The latent is of 2 pictures or more, better 200; ``edit`` is what is measured, such as ``editor.edit``. Pictures are
    compared with ``before`` (n, 3, H, W), by default those of the latent.
    """
    witness, scores = Witness(judge, latent.tensor if before is None else before), []
    for goal in tqdm(goals, desc="judging edits"):
        some = latent[witness.counts(goal)]
        image = edit(some, goal.prompt).with_strength(strength).tensor if len(some) else some.tensor
        scores.append(witness.score(goal, image))
    return scores


def summary(scores: Sequence[EditScore]) -> dict[str, float]:
    """Means over goals of success, leakage, flips and identity; success of the worst of them; how many were asked."""
    asked = [score for score in scores if score.n]
    own = {name: torch.tensor([getattr(score, name) for score in asked]).double() for name in MEASURES[:4]}
    means = {f"{name}_mean": round(float(values.mean()), 4) for name, values in own.items()}
    worst = min((score.success for score in asked), default=torch.nan)
    return {**means, "success_worst": round(worst, 4), "prompts": len(scores)}


def by_attribute(scores: Sequence[EditScore]) -> dict[str, float]:
    """Leakage of each attribute, mean over the goals that do not name it."""
    own: dict[str, list[float]] = {}
    for score in scores:
        for name, value in score.by_attribute.items():
            own.setdefault(name, []).append(value)
    return {name: round(sum(values) / len(values), 4) for name, values in own.items()}


def calibrate(
    editor: Editor,
    judge: AnyJudge,
    latent: Latent,
    goals: Sequence[AnyGoal],
    gains: Sequence[float] = (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0),
    thresholds: Sequence[float] = (0.15, 0.2, 0.25, 0.3),
) -> list[dict[str, float]]:
    """The ``summary`` that each gain and threshold would give; on pictures other than those that scores are made on."""
    rows = []
    for threshold in thresholds:
        edit = partial(editor.edit, threshold=threshold)
        for gain in gains:
            scores = score_edits(edit, judge, latent, goals, gain / editor.domain.gain)
            rows.append({"gain": gain, "threshold": threshold, **summary(scores)})
    return rows


def best_setting(rows: Sequence[dict[str, float]], flips: float = 0.036) -> dict[str, float]:
    """The setting of most success among those that flip few others, or that which flips fewest.

    The worst goal counts as much as the mean of all: else one that hardly ever succeeds is given up for the others.
    Few are a tenth below the 4 % that an edit may: they are seen on few pictures, and the best of many flatters itself.
    """
    gentle = [row for row in rows if row["flips_mean"] <= flips]
    if gentle:
        return max(gentle, key=lambda row: row["success_mean"] + row["success_worst"])
    return min(rows, key=lambda row: row["flips_mean"])


@dataclass(frozen=True, eq=False)
class Curve:
    """What edits towards several goals did, at several strengths."""

    strengths: tuple[float, ...]  #: in order, the first 0
    goals: tuple[str, ...]  #: their prompts
    values: Tensor  #: (5, G, K, n), MEASURES by goal, strength and picture; not a number where a picture was not asked
    frechet: tuple[float, ...] = ()
    """Of all edited pictures to renders, by strength, if there were renders; of few pictures it is too high, hence has
    no interval: drawn anew they would be fewer."""
    apart: float = math.nan  #: mean squared distance of the embeddings of two of the pictures, see ``likeness``

    def _means(self, counts: Tensor) -> Tensor:
        """``MEASURES`` (T, 5, K): means over goals of means over pictures, which count ``counts`` (T, n) times."""
        numbers = ~self.values.isnan()
        total = torch.einsum("mgkn,tn->tmgk", self.values.nan_to_num(), counts)
        return (total / torch.einsum("mgkn,tn->tmgk", numbers.float(), counts)).nanmean(2)  # a goal may have no picture

    def mean(self, measure: str) -> list[Interval]:
        """A measure at each strength, with its interval over pictures; raises ``ValueError`` if they are too few."""
        row = MEASURES.index(measure)
        return bootstrap(lambda counts: self._means(counts)[:, row], self.values.shape[-1])

    def at(self, success: float, measure: str) -> Interval:
        """A measure, or "frechet", at the first strength that reaches a share of success; not a number where none does.

        Between two strengths both are taken to change in proportion. A Fréchet distance comes without an interval, and
        raises ``ValueError`` where there is none; so do too few pictures for an interval.
        """
        if measure == "frechet" and not self.frechet:
            raise ValueError("there are no Fréchet distances here: give `measure` the embeddings of renders.")

        if measure == "frechet":
            means = self._means(torch.ones(1, self.values.shape[-1]))[0]
            return Interval(*[_at(means[0], means.new_tensor(self.frechet), success)] * 3)
        return bootstrap(lambda counts: self._there(counts, success, measure), self.values.shape[-1])[0]

    def beyond(self, other: Curve, success: float, measure: str) -> Interval:
        """By how much a measure is more than another method's where both reach a share of success, picture by picture.

        Raises ``ValueError`` if the two were not asked of the same pictures.
        """
        if not torch.equal(self.values[0, :, 0].isnan(), other.values[0, :, 0].isnan()):
            raise ValueError("only what was asked of the same pictures is compared: measure both on one latent.")

        def apart(counts: Tensor) -> Tensor:
            return self._there(counts, success, measure) - other._there(counts, success, measure)

        return bootstrap(apart, self.values.shape[-1])[0]

    def _there(self, counts: Tensor, success: float, measure: str) -> Tensor:
        """A measure (T,) at a share of success, of pictures that count ``counts`` (T, n) times."""
        means = self._means(counts)  # (T, 5, K)
        own = means[:, MEASURES.index(measure)]
        return torch.tensor([_at(*rows, success) for rows in zip(means[:, 0], own, strict=True)])

    def same_subject(self, distance: float) -> Curve:
        """The same curve, its ``likeness`` 1 where the embeddings before and after are nearer than a distance, else 0.

        A recogniser of faces has such a distance, within which two pictures are of one person.
        """
        values = self.values.clone()
        row = MEASURES.index("likeness")
        near = ((1 - values[row]) * self.apart < distance**2).to(values)
        values[row] = near.masked_fill(values[row].isnan(), torch.nan)
        return replace(self, values=values)

    def strength_at(self, success: float) -> float:
        """The first strength that reaches a share of success; not a number where none does."""
        means = self._means(torch.ones(1, self.values.shape[-1]))[0]
        return _at(means[0], means.new_tensor(self.strengths), success)

    @property
    def best(self) -> Interval:
        """Success at the strength where it is highest, with its interval."""
        return bootstrap(lambda counts: self._means(counts)[:, 0].amax(1), self.values.shape[-1])[0]


def _at(success: Tensor, measure: Tensor, level: float) -> float:
    reached = (success >= level).nonzero()
    if not len(reached):
        return torch.nan
    k = int(reached[0])
    if k == 0:
        return float(measure[0])
    part = (level - success[k - 1]) / (success[k] - success[k - 1])
    return float(torch.lerp(measure[k - 1], measure[k], part))


@torch.no_grad()
def measure(
    edit: Method,
    judge: AnyJudge,
    latent: Latent,
    goals: Sequence[AnyGoal],
    strengths: Sequence[float],
    real: Tensor | None = None,
) -> Curve:
    """Edit pictures, each towards one of several goals, at each strength, and let the judge look.

    Which goal a picture is edited towards depends on what it shows before, and is the same for all methods.

    Args:
        latent: what is edited by ``edit``, 2 pictures or more, better 50 for each goal.
        strengths: above 0; 0, where nothing changes, is added.
        real: (M, E), embeddings of renders to compare edited pictures with; of both kinds more than E.

    Raises:
        ValueError: if there is no goal, a strength is not above the one before, or there are too few pictures.
    """
    strengths = (0.0, *map(float, strengths))
    if not goals or any(b <= a for a, b in pairwise(strengths)) or len(strengths) < 2:
        got = f"{len(goals)} goals and strengths {strengths[1:]}"
        raise ValueError(f"give one goal or more, and strengths that rise from above 0. Got {got}.")
    witness = Witness(judge, latent.tensor)
    asked_of = witness.shared_out(goals)
    if real is not None and (n := int(asked_of.sum())) <= real.shape[1]:
        need = f"a Fréchet distance of {real.shape[1]} features needs more than {real.shape[1]} edited pictures"
        raise ValueError(f"{need}, better 1,000. Got {n} that lack a goal, of {len(latent)}.")
    values = latent.s.new_full((len(MEASURES), len(goals), len(strengths), len(latent)), torch.nan)
    embeddings: list[list[Tensor]] = [[] for _ in strengths]
    with tqdm(total=len(goals) * len(strengths), desc="measuring edits", unit="edit") as bar:
        for g, goal in enumerate(goals):
            rows = asked_of[g]
            asked = edit(latent[rows], goal.prompt) if rows.any() else None
            for k, strength in enumerate(strengths):
                if asked is not None:
                    unedited = witness.before[rows], witness.embedding[rows]
                    look = witness.look(asked.with_strength(strength).tensor) if strength else unedited
                    values[:, g, k, rows] = witness.effect(goal, *look, rows)
                    embeddings[k].append(look[1])
                bar.update()
    frechet = () if real is None else tuple(frechet_distance(real, torch.cat(seen)) for seen in embeddings)
    return Curve(strengths, tuple(goal.prompt for goal in goals), values, frechet, float(witness.apart))


@dataclass(frozen=True, eq=False)
class Entry:
    """A method in a contest, as it was tuned, and what it did on other pictures."""

    knob: str  #: the best of its variants, where it was tuned
    strength: float  #: that reached the share of success there, or the most that it reached
    curve: Curve  #: on the pictures that are compared; its strength 1 is that one


def best_knob(found: Mapping[str, tuple[Interval, Interval]]) -> str:
    """Of a method's variants, the one whose knob is best, by its leakage at a share of success and its most success.

    It is the one that leaks least, of those that get there in all draws of the bootstrap before those that do in some;
    where none gets there, the one with most success.

    >>> reached, never = Interval(0.2, 0.1, 0.3), Interval(*[math.nan] * 3)
    >>> best_knob({"0.1": (reached, Interval(0.9, 0.8, 1)), "0.5": (never, Interval(0.6, 0.5, 0.7))})
    '0.1'
    """
    ranks = []
    for variant, (leaked, success) in found.items():
        never = math.isnan(leaked.value)
        worth = -success.value if never else leaked.value
        ranks.append((never, math.isnan(leaked.low + leaked.high), worth, variant))
    return min(ranks)[-1]


def contest(
    methods: Mapping[str, Mapping[str, Method]],
    judge: AnyJudge,
    tuning: Latent,
    compared: Latent,
    goals: Sequence[AnyGoal],
    strengths: Sequence[float],
    level: float = 0.8,
    around: Sequence[float] = (0.4, 0.6, 0.8, 1.0, 1.25, 1.6, 2.2),
) -> dict[str, Entry]:
    """Compare methods, each with the knob and the strength that were best on pictures set apart.

    Every method is tuned alike: each of its variants is measured on ``tuning`` at ``strengths``; the ``best_knob`` at
    ``level`` of success, and the strength that reached it there, or came nearest, are kept. Then all are measured on
    ``compared``, at that strength times ``around``: see ``Curve.at`` and ``Curve.beyond``.

    Args:
        methods: by name, its variants by the values of their knobs; one without a knob has one.
        tuning, compared: latents of different pictures; of each, 10 or more that lack a goal, better 50.

    Returns:
        What came of each method, all curves of the same pictures. Errors as in ``measure``.
    """
    entries = {}
    for name, variants in methods.items():
        tried = {knob: measure(edit, judge, tuning, goals, strengths) for knob, edit in variants.items()}
        knob = best_knob({knob: (curve.at(level, "leakage"), curve.best) for knob, curve in tried.items()})
        strength = tried[knob].strength_at(level)
        if math.isnan(strength):
            most = torch.tensor([success.value for success in tried[knob].mean("success")]).argmax()
            strength = tried[knob].strengths[int(most)] or strengths[0]
        curve = measure(_scaled(variants[knob], strength), judge, compared, goals, around)
        entries[name] = Entry(knob, strength, curve)
    return entries


def _scaled(edit: Method, strength: float) -> Method:
    """The same method with a strength for its 1."""

    def scaled(latent: Latent, prompt: str) -> Edit:
        made = edit(latent, prompt)
        parts = [
            replace(d, delta_s=strength * d.delta_s, delta_w=None if d.delta_w is None else strength * d.delta_w)
            for d in made.directions
        ]
        return replace(made, directions=tuple(parts))

    return scaled


@torch.no_grad()
def rises(edit: Edit, judge: AnyJudge, goals: Sequence[AnyGoal]) -> dict[str, float]:
    """How much oftener each goal's prompt is true after an edit than before, most first: what the edit stands for.

    A share of the pictures that suit the goal; a goal that suits none is left out.
    """
    before, after = (judge.read(image.clamp(-1, 1)) for image in (edit.latent.tensor, edit.tensor))
    found = {}
    for goal in goals:
        if (asked := goal.suits(before)).any():
            gained = goal.reached(after)[asked].float() - goal.reached(before)[asked].float()
            found[goal.prompt] = float(gained.mean())
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
