"""How close two sets of pictures are, in the features of any network: Fréchet distance, precision and recall."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two sets of features, each taken for a normal distribution (arXiv:1706.08500).

    Args:
        a, b: (N, D) and (M, D), N and M well above D, or the covariances say little.

    Raises:
        ValueError: for other shapes, or fewer than two rows.
    """
    _check(a, b)
    a, b = a.double(), b.double()
    between = (a.mean(0) - b.mean(0)).square().sum()
    s, t = a.T.cov(), b.T.cov()
    # tr (s t)^½ is the sum of the square roots of the eigenvalues of s^½ t s^½, which is symmetric.
    values, vectors = torch.linalg.eigh(s)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    cross = torch.linalg.eigvalsh(root @ t @ root).clamp(min=0).sqrt().sum()
    return float(between + s.trace() + t.trace() - 2 * cross)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3, rows: int = 1024) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991).

    A set is taken to fill the balls around its points that reach to their k-th neighbour. Precision is the share of
    fakes within what the real ones fill, recall the share of real ones within what the fakes fill.

    Args:
        real, fake: (N, D) and (M, D).
        k: which neighbour.
        rows: distances computed at a time.

    Raises:
        ValueError: for other shapes, or sets of no more than k.
    """
    _check(real, fake)
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"each set must have more than k = {k} rows. Got {len(real)} and {len(fake)}.")

    def radii(x: Tensor) -> Tensor:  # the nearest point of all is the point itself
        return torch.cat([torch.cdist(part, x).kthvalue(k + 1, dim=1).values for part in x.split(rows)])

    def share(points: Tensor, centres: Tensor) -> float:
        reach = radii(centres)
        inside = [(torch.cdist(part, centres) <= reach).any(dim=1) for part in points.split(rows)]
        return float(torch.cat(inside).float().mean())

    return share(fake, real), share(real, fake)


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"features must be (N, D) and (M, D), of two rows or more. Got {shapes}.")
