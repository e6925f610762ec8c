"""Labels of a few thousand faces, spread over all that a generator draws: kernel ridge on what it drew them with.

A generator knows what it draws: its own features, averaged to 8 x 8 cells, tell glasses from none at once, where pixels
would need a network. Colours are beside them, since features tell little of hair's. Probabilities are Platt's (1999):
a sigmoid fitted to scores that cross-validation gave to faces as they come, not to those chosen for what is rare.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.files import read_tensors, write_tensors
from deltaedit.pictures import average
from deltaedit.worlds.faces.colours import lab
from deltaedit.worlds.faces.labels import ASKS, Look, target

FOLDS = 5
RIDGE = 3.0
CELLS = 20  # of the picture, each way, whose colours are looked at
COLOUR: dict[str, tuple[float, ...]] = dict.fromkeys(ASKS, (0.0, 1.0))
COLOUR |= dict.fromkeys(("glasses", "sunglasses", "beard", "smile", "teeth"), (0.0,))
COLOUR |= dict.fromkeys(
    ("black_hair", "brown_hair", "blond_hair", "red_hair", "grey_hair", "lipstick", "makeup"), (1.0, 3.0)
)
"""What colours may weigh against features, by attribute; cross-validation chooses."""


def colour_cells(picture: Tensor) -> Tensor:
    """Colours of 20 x 20 cells and their squares, (n, 2800), of pictures as bytes (n, 3, H, H)."""
    cells = average(picture.float(), CELLS).round() / 127.5 - 1
    light, a, b = (lab(cells) / cells.new_tensor([50.0, 20.0, 20.0])[:, None, None]).unbind(1)
    light = light - 1
    return torch.stack([light, a, b, light**2, light * a, light * b, (a**2 + b**2).sqrt()], dim=1).flatten(1)


def auc(score: Tensor, there: Tensor) -> float:
    """Area under the curve: how often one that is there has the higher score than one that is not; scores (n,).

    >>> auc(torch.tensor([0.1, 0.4, 0.3, 0.9]), torch.tensor([False, True, False, True]))
    1.0
    """
    there = there > 0.5
    _, group, count = score.unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2)[group].double()  # of equal scores the mean
    n = int(there.sum())
    return float((rank[there].mean() - (n + 1) / 2) / (len(score) - n)) if 0 < n < len(score) else math.nan


def platt(score: Tensor, y: Tensor, ridge: float = 0.01, steps: int = 50) -> tuple[float, float]:
    """Scale and shift of the sigmoid that makes probabilities of scores (n,), by Newton's steps; y are 0 or 1.

    >>> scale, shift = platt(torch.tensor([-1.0, -0.5, 0.4, 0.5, 1.0]), torch.tensor([0.0, 0.0, 1.0, 0.0, 1.0]))
    >>> scale > 0
    True
    """
    x = torch.stack([score, torch.ones_like(score)], dim=1).double()
    beta, penalty = x.new_zeros(2), x.new_tensor([ridge, 0.0])  # the shift goes free

    def loss(beta: Tensor) -> float:
        logit = x @ beta
        return float((torch.nn.functional.softplus(logit) - y * logit).sum() + (penalty * beta**2).sum() / 2)

    for _ in range(steps):
        p = (x @ beta).sigmoid()
        slope = x.T @ (p - y) + penalty * beta
        step = torch.linalg.solve((x.T * (p * (1 - p))) @ x + torch.diag(penalty + 1e-9), slope)
        size = 1.0
        while loss(beta - size * step) > loss(beta) and size > 1e-6:
            size /= 2
        beta = beta - size * step
        if step.abs().max() < 1e-8:
            break
    return float(beta[0]), float(beta[1])


@dataclass(frozen=True, eq=False)
class Spread:
    """Linear in features (D,) and colours (C,), a column for each of K attributes, then a sigmoid."""

    names: tuple[str, ...]
    features: Tensor  #: (D, K)
    colours: Tensor  #: (C, K)
    bias: Tensor  #: (K,)
    sigmoid: Tensor  #: (2, K), scale and shift
    report: dict[str, dict[str, float]]
    """How well it reads faces that a fit had not seen, by attribute: "auc", "auc_random" on faces as they come, the
    weight of "colour", how many are "shown", "yes" and "no" (the shares called so, at .7 and .3), how many of these are
    "right", and "missed"."""

    def __call__(self, features: Tensor, picture: Tensor) -> dict[str, Tensor]:
        """How probable each attribute is, (n,), of features (n, D) and pictures as bytes (n, 3, H, H)."""
        score = torch.cat([part.float() @ self.features for part in features.split(256)])
        score = score + colour_cells(picture) @ self.colours + self.bias
        return dict(zip(self.names, (score * self.sigmoid[0] + self.sigmoid[1]).sigmoid().unbind(1), strict=True))

    def save(self, path: str | Path) -> None:
        """Write a safetensors file."""
        parts = {name: getattr(self, name) for name in ("features", "colours", "bias", "sigmoid")}
        write_tensors(path, parts, {"kind": "spread", "names": self.names, "report": self.report})

    @classmethod
    def load(cls, path: str | Path) -> Spread:
        """Read what ``save`` wrote; raises ``ValueError`` if it is missing, damaged or something else."""
        parts, about = read_tensors(path)
        if about.get("kind") != "spread":
            raise ValueError(f"{path} does not spread labels: delete it, and make it again.")
        return cls(tuple(about["names"]), **parts, report=about["report"])


def _solve(kernel: Tensor, y: Tensor) -> Tensor:
    """Kernel ridge of ±1, where all that show it weigh as much as all that do not."""
    share = y.mean()
    weight = torch.where(y > 0.5, 0.5 / share, 0.5 / (1 - share))
    return torch.linalg.solve(kernel + torch.diag(RIDGE / weight), 2 * y - 1)


def fit_spread(looks: Sequence[Look], features: Tensor, picture: Tensor, seed: int = 0) -> Spread:
    """Fit to labels of n faces.

    Attributes that fewer than ``FOLDS`` of the faces on random sheets show, or lack, are left out; raises
    ``ValueError`` if that leaves none.

    Args:
        looks: one for every face, see ``labels.first``; random sheets must be among them.
        features: (n, D), ``FacePool.read``; float32 ones are overwritten.
        picture: bytes (n, 3, H, H).
        seed: of the folds.
    """
    x, colours = features.float(), colour_cells(picture)
    mean, spread = x.mean(0), x.std(0, correction=0)
    spread += 1e-3 * spread.mean()
    unit, colour_unit = math.sqrt(x.shape[1] / 3), math.sqrt(colours.shape[1])
    x = x.sub_(mean).div_(spread).div_(unit)
    colour_mean, colour_spread = colours.mean(0), colours.std(0, correction=0) + 1e-6
    colours = (colours - colour_mean) / colour_spread / colour_unit
    kernels = x @ x.T + 1, colours @ colours.T
    fold = torch.from_numpy(np.random.default_rng(seed).permutation(len(looks)) % FOLDS)
    random = torch.tensor([look.sheet == "random" for look in looks])
    columns, report = {}, {}
    for name in tqdm(ASKS, desc="labels", unit="attribute", delay=2):
        y = target(looks, name)
        known = ~y.isnan()
        if min((random & (y == value)).sum() for value in (0, 1)) < FOLDS:
            continue
        tried = {}
        for weight in COLOUR[name]:
            kernel, score = kernels[0] + weight * kernels[1], torch.full_like(y, torch.nan)
            for k in range(FOLDS):
                train, test = ((fold != k) & known).nonzero()[:, 0], (fold == k).nonzero()[:, 0]
                score[test] = kernel[test][:, train] @ _solve(kernel[train][:, train], y[train])
            tried[weight] = auc(score[known], y[known]), score
        weight = max(tried, key=lambda weight: tried[weight][0])
        area, score = tried[weight]
        own = known & random
        sigmoid = platt(score[own], y[own])
        alpha = _solve((kernels[0] + weight * kernels[1])[known][:, known], y[known])
        columns[name] = x[known].T @ alpha, weight * (colours[known].T @ alpha), alpha.sum(), torch.tensor(sigmoid)
        p = (score[own] * sigmoid[0] + sigmoid[1]).sigmoid()
        yes, no = p > 0.7, p < 0.3
        report[name] = {
            "auc": area,
            "auc_random": auc(score[own], y[own]),
            "colour": weight,
            "shown": int((y == 1).sum()),
            "yes": float(yes.float().mean()),
            "right": float(y[own][yes].mean()) if yes.any() else 0.0,
            "no": float(no.float().mean()),
            "missed": float(y[own][no].mean()) if no.any() else 0.0,
        }
    if not columns:
        raise ValueError(f"no attribute is shown by {FOLDS} of the faces on random sheets: label more of them.")
    by_feature, by_colour, bias, sigmoid = (torch.stack(c, dim=-1) for c in zip(*columns.values(), strict=True))
    by_feature = by_feature / spread[:, None] / unit
    by_colour = by_colour / colour_spread[:, None] / colour_unit
    bias = bias - mean @ by_feature - colour_mean @ by_colour
    return Spread(tuple(columns), by_feature, by_colour, bias, sigmoid, report)
