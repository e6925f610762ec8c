"""What edits did to pictures, one by one, as the judge sees it, at every strength: the measures of the book's evidence.

For a goal, a picture counts that lacks it and could show it; of those that are measured, each is asked for one goal
only, so that as many pictures are looked at as edits. On it an edit has

- *success*, whether the judge sees the goal afterwards;
- *leakage*, how far the other attributes moved, on average, each in its own standard deviation, see ``World.spread``;
- *flips*, the share of the other attributes that are there or not which changed;
- *identity*, from 1 for the same portrait to 0 for one as unlike as another of the samples is, on average over the
  attributes of ``World.identity`` that the goal does not name;
- *likeness*, the same of the judge's embedding, by squared distances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.editor import Edit, Latent
from deltaedit.metrics import Interval, bootstrap, frechet_distance
from deltaedit.worlds.judge import Judge
from deltaedit.worlds.world import Goal

MEASURES = ("success", "leakage", "flips", "identity", "likeness")
BLOCK = 256  # pictures that the judge embeds at a time


class Witness:
    """A judge that remembers what pictures were like before they were edited.

    Args:
        judge: reads attributes and gives embeddings.
        image: (n, 3, H, W), the pictures, n of 2 or more.

    Raises:
        ValueError: if there are fewer.
    """

    def __init__(self, judge: Judge, image: Tensor) -> None:
        if len(image) < 2:
            raise ValueError("identity is measured against other pictures: give 2 or more, better 100. "
                             f"Got {len(image)}.")  # fmt: skip
        self.judge, self.world = judge, judge.world
        self.before, self.embedding = self.look(image)
        # Two samples that have nothing to do with each other: what identity is measured against.
        self.unlike = self._change(self.before.roll(1, 0), self.before).nanmean(0)
        self.apart = (self.embedding - self.embedding.roll(1, 0)).square().sum(1).mean()

    @torch.no_grad()
    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Factors (n, len(names)) and embeddings (n, 256) of pictures (n, 3, H, W)."""
        image = image.clamp(-1, 1)
        return self.judge.read(image), torch.cat([self.judge.embedding(block) for block in image.split(BLOCK)])

    def counts(self, goal: Goal) -> Tensor:
        """Which pictures count for a goal, bool (n,): those that lack it and could show it."""
        table = self.world.table
        return table.column(table.visible(self.before), goal.name) & ~goal.reached(self.before)

    def shared_out(self, goals: Sequence[Goal]) -> Tensor:
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

    def effect(self, goal: Goal, after: Tensor, embedding: Tensor, rows: Tensor | None = None) -> Tensor:
        """``MEASURES`` (5, m) of an edit of m pictures towards a goal.

        Args:
            goal: what was asked.
            after, embedding: of the edited pictures, from ``look``.
            rows: which pictures were edited, bool (n,); all that count by default.
        """
        table, rows = self.world.table, self.counts(goal) if rows is None else rows
        change = self._change(self.before[rows], after)
        change[:, table.index[goal.name]] = torch.nan
        binary = change[:, [table.index[name] for name in table.binary]]
        known = [table.index[name] for name in self.world.identity]
        identity = 1 - (change[:, known] / self.unlike[known]).nanmean(1)
        likeness = 1 - (embedding - self.embedding[rows]).square().sum(1) / self.apart
        flips = torch.where(binary.isnan(), torch.nan, (binary > 0).float())
        return torch.stack([goal.reached(after).float(), change.nanmean(1), flips.nanmean(1), identity, likeness])

    def _change(self, before: Tensor, after: Tensor) -> Tensor:
        """How far each attribute moved, (m, len(names)), in its spread; not a number where it was or is not seen."""
        table, out = self.world.table, torch.empty_like(after)
        for k, name in enumerate(table.names):
            change = (after[:, k] - before[:, k]).abs()
            if name in table.choice:
                change = 2**0.5 * (change > 0.5)  # the distance of two one-hot vectors
            out[:, k] = change / self.world.spread[name]
        return out.masked_fill(~(table.visible(before) & table.visible(after)), torch.nan)


@dataclass(frozen=True, eq=False)
class Curve:
    """What edits towards several goals did, at several strengths.

    Attributes:
        strengths: in order, the first 0.
        goals: their prompts.
        values: (5, G, K, n), ``MEASURES`` by goal, strength and picture; not a number where a picture was not asked.
        frechet: of all edited pictures to renders, for each strength; empty where there were no renders. It has no
            interval: of few pictures it is too high, and drawn anew they would be fewer.
    """

    strengths: tuple[float, ...]
    goals: tuple[str, ...]
    values: Tensor
    frechet: tuple[float, ...] = ()

    def _means(self, counts: Tensor) -> Tensor:
        """``MEASURES`` (T, 5, K): means over goals of means over pictures, which count ``counts`` (T, n) times."""
        numbers = ~self.values.isnan()
        total = torch.einsum("mgkn,tn->tmgk", self.values.nan_to_num(), counts)
        return (total / torch.einsum("mgkn,tn->tmgk", numbers.float(), counts)).nanmean(2)  # a goal may have no picture

    def mean(self, measure: str) -> list[Interval]:
        """A measure at each strength, with its interval over pictures.

        Raises:
            ValueError: if there are too few pictures for an interval.
        """
        row = MEASURES.index(measure)
        return bootstrap(lambda counts: self._means(counts)[:, row], self.values.shape[-1])

    def at(self, success: float, measure: str) -> Interval:
        """A measure, or "frechet", at the first strength that reaches a share of success; not a number where none does.

        Between two strengths both are taken to change in proportion. A Fréchet distance comes without an interval.

        Raises:
            ValueError: if there are too few pictures for an interval, or no Fréchet distances where they are asked for.
        """
        if measure == "frechet" and not self.frechet:
            raise ValueError("there are no Fréchet distances here: give `measure` the embeddings of renders.")

        def there(counts: Tensor) -> Tensor:
            means = self._means(counts)  # (T, 5, K)
            own = means[:, MEASURES.index(measure)]
            return torch.tensor([_at(*rows, success) for rows in zip(means[:, 0], own, strict=True)])

        if measure == "frechet":
            means = self._means(torch.ones(1, self.values.shape[-1]))[0]
            return Interval(*[_at(means[0], means.new_tensor(self.frechet), success)] * 3)
        return bootstrap(there, self.values.shape[-1])[0]

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
def measure(edit: Callable[[Latent, str], Edit], judge: Judge, latent: Latent, goals: Sequence[Goal],
            strengths: Sequence[float], real: Tensor | None = None) -> Curve:  # fmt: skip
    """Edit pictures, each towards one of several goals, at each strength, and let the judge look.

    Which goal a picture is edited towards depends on what it shows before, and is the same for all methods.

    Args:
        edit: a method, from pictures and a prompt to its edit at strength 1: ``editor.edit``, or that of ``baselines``.
        judge: of the world whose goals they are.
        latent: what is edited, 2 pictures or more, better 50 for each goal.
        goals: each is asked of its share of the pictures.
        strengths: above 0; 0, where nothing changes, is added.
        real: (M, 256), embeddings of renders to compare edited pictures with; of both kinds more than 256.

    Raises:
        ValueError: if there is no goal, a strength is not above the one before, or ``real`` is given and there are too
            few pictures to compare.
    """
    strengths = (0.0, *map(float, strengths))
    if not goals or any(b <= a for a, b in pairwise(strengths)) or len(strengths) < 2:
        raise ValueError(f"give one goal or more, and strengths that rise from above 0. Got {len(goals)} goals and "
                         f"strengths {strengths[1:]}.")  # fmt: skip
    witness = Witness(judge, latent.tensor)
    asked_of = witness.shared_out(goals)
    if real is not None and (n := int(asked_of.sum())) <= real.shape[1]:
        raise ValueError(f"a Fréchet distance of {real.shape[1]} features needs more than {real.shape[1]} edited "
                         f"pictures, better 1,000. Got {n} that lack a goal, of {len(latent)}.")  # fmt: skip
    values = latent.s.new_full((len(MEASURES), len(goals), len(strengths), len(latent)), torch.nan)
    embeddings: list[list[Tensor]] = [[] for _ in strengths]
    with tqdm(total=len(goals) * len(strengths), desc="measuring edits", unit="edit") as bar:
        for g, goal in enumerate(goals):
            rows = asked_of[g]
            asked = edit(latent[rows], goal.prompt) if rows.any() else None
            for k, strength in enumerate(strengths):
                if asked is not None:
                    look = witness.look(asked.with_strength(strength).tensor)
                    values[:, g, k, rows] = witness.effect(goal, *look, rows)
                    embeddings[k].append(look[1])
                bar.update()
    frechet = () if real is None else tuple(frechet_distance(real, torch.cat(seen)) for seen in embeddings)
    return Curve(strengths, tuple(goal.prompt for goal in goals), values, frechet)
