"""How close two sets of pictures are, in the features of any network, and how sure one can be of what was measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance of two sets of features, each taken for a normal distribution (arXiv:1706.08500).

    The sets are (N, D) and (M, D), N and M well above D, or the covariances say little. Raises ``ValueError`` for other
    shapes, or no more rows than D.
    """
    _check(a, b)
    if min(len(a), len(b)) <= (features := a.shape[1]):
        raise ValueError(f"{_too_few(features)}. Got {len(a)} and {len(b)}.")
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

    The sets are (N, D) and (M, D), each of more than k; distances are computed for ``rows`` at a time.
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


Compare = Callable[[Tensor, Tensor], Tensor]
"""From two batches of pictures (B, 3, H, W) in [-1, 1] to a number for each pair, (B,)."""


@torch.no_grad()
def picture_metrics(
    before: Tensor,
    after: Tensor,
    *,
    lpips: Literal["alex", "vgg", "squeeze"] | None = None,
    fid: nn.Module | int | None = None,
    identity: Compare | None = None,
    batch_size: int = 16,
) -> dict[str, float]:
    """What the field reports of edited photographs, whose attributes nobody knows; by torchmetrics (extra ``photos``).

    That is ``psnr`` in decibels, ``ssim``, and what is asked for besides.

    Args:
        before, after: (N, 3, H, W) in [-1, 1], 11 pixels each way or more; row k is a picture, and its edit.
        lpips: also LPIPS (arXiv:1801.03924), with that network; torchvision fetches its weights if they are not here.
        fid: also the Fréchet distance of all that is after to all that was before, in the features (B, D) that a module
            finds in bytes (B, 3, H, W); or 2048 for Inception's, which takes torch-fidelity and its weights.
        identity: also the mean of what it says of pairs, such as the cosine of two embeddings of faces.

    Raises:
        ValueError: if the two are not alike in shape, or for ``fid`` there are no more pictures than features.
        ImportError: if torchmetrics is not installed.
    """
    from deltaedit import _torchvision  # noqa: F401  before torchmetrics, which imports torchvision

    try:
        from torchmetrics.functional import image as measures
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError:
        raise ImportError("measures of photographs are torchmetrics': pip install 'deltaedit[photos]'.") from None
    if before.shape != after.shape or before.ndim != 4 or before.shape[1] != 3 or min(before.shape[2:]) < 11:
        wanted = "both must be (N, 3, H, W) of one shape, of 11 pixels each way or more"
        raise ValueError(f"{wanted}. Got {tuple(before.shape)} and {tuple(after.shape)}.")
    distance = None if fid is None else FrechetInceptionDistance(fid, input_img_size=tuple(before.shape[1:]))
    if distance is not None and len(before) <= (features := len(distance.real_features_sum)):
        raise ValueError(f"{_too_few(features)}. Got {len(before)}.")
    found: dict[str, list[Tensor]] = {}

    def add(name: str, values: Tensor) -> None:
        found.setdefault(name, []).append(values.reshape(-1).cpu())

    for a, b in zip(before.clamp(-1, 1).split(batch_size), after.clamp(-1, 1).split(batch_size), strict=True):
        add("psnr", measures.peak_signal_noise_ratio(b, a, (-1.0, 1.0), reduction="none", dim=(1, 2, 3)))
        add("ssim", measures.structural_similarity_index_measure(b, a, data_range=(-1.0, 1.0), reduction="none"))
        if lpips:
            add("lpips", measures.learned_perceptual_image_patch_similarity(b, a, lpips, reduction="none"))
        if identity:
            add("identity", identity(a, b))
        if distance is not None:
            for pictures, real in ((a, True), (b, False)):
                distance.update(((pictures + 1) * 127.5).round().to(torch.uint8), real=real)
    means = {name: float(torch.cat(values).mean()) for name, values in found.items()}
    return means | ({} if distance is None else {"fid": float(distance.compute())})


class Interval(NamedTuple):
    """A measure with the ends of its interval: where it would lie with other pictures of the same kind."""

    value: float
    low: float
    high: float


def measured(record: Any, *path: str) -> Interval | None:
    """An interval out of a record that was read; none where there is none; null, which JSON has for it, is no number.

    Args:
        record: as ``record.read_record`` gives it.
        path: the keys that lead to it. A single number is an interval without width.
    """
    for key in path:
        record = record.get(key) if isinstance(record, dict) else None
    if record is None or isinstance(record, dict):
        return None
    ends = [record] * 3 if isinstance(record, int | float) else record
    return Interval(*(math.nan if x is None else x for x in ends))


FEWEST = 10  # pictures, for an interval


def bootstrap(
    statistic: Callable[[Tensor], Tensor], n: int, times: int = 400, level: float = 0.95, seed: int = 0
) -> list[Interval]:
    """Intervals of what is measured on ``n`` pictures, by drawing as many anew, with replacement (Efron 1979).

    Args:
        statistic: from how often each picture counts, (T, n), to T values of a measure, (T,), or of several, (T, K).
        times: drawn anew, with one seed the same pictures for all that is measured on as many, 10 or more.
        level: share of what is drawn that lies within an interval.

    Returns:
        An interval for each measure. An end is not a number where more draws are not than lie beyond an end.
    """
    if n < FEWEST:
        raise ValueError(f"an interval needs {FEWEST} pictures or more, better 100. Got {n}.")
    drawn = torch.randint(n, (times, n), generator=torch.Generator().manual_seed(seed))
    counts = torch.zeros(times, n).scatter_add_(1, drawn, torch.ones(times, n))
    rows = statistic(torch.cat([torch.ones(1, n), counts])).double().reshape(times + 1, -1)  # first as they are
    ends = rows[1:].nanquantile(rows.new_tensor([(1 - level) / 2, (1 + level) / 2]), dim=0)
    ends[:, rows[1:].isnan().double().mean(0) > (1 - level) / 2] = torch.nan
    return [Interval(*row) for row in torch.stack([rows[0], *ends], dim=1).tolist()]


def pooled(intervals: Sequence[Interval]) -> Interval:
    """One interval of several, of trainings with other seeds measured on the same pictures.

    Each side holds both what pictures and what seeds add: it is ``sqrt(h² + t² v / k)``, with h the root mean square of
    that side of the k intervals, v the variance between their values, and t Student's for so few: 4.3 for three.
    """
    from scipy.stats import t

    value, low, high = torch.tensor(intervals, dtype=torch.float64).T
    k = len(value)
    between = t.ppf(0.975, k - 1) ** 2 * value.var() / k if k > 1 else 0.0
    below, above = ((side.square().mean() + between).sqrt() for side in (value - low, high - value))
    return Interval(*(float(x) for x in (value.mean(), value.mean() - below, value.mean() + above)))


def difference(a: Interval, b: Interval) -> Interval:
    """``a - b``, as if what the two vary by had nothing to do with each other: too wide rather than too narrow."""
    value = a.value - b.value
    below, above = math.hypot(a.value - a.low, b.high - b.value), math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - below, value + above)


def gap(a: Interval | None, b: Interval | None) -> Interval | None:
    """``a - b``, of measures at equal success.

    Without end where a never reaches that success, whose measure is then not a number, below all where b does not, and
    None where either was not measured.
    """
    if a is None or b is None:
        return None
    if math.isnan(a.value) or math.isnan(b.value):
        return Interval(*[-math.inf if math.isnan(b.value) else math.inf] * 3)
    return difference(a, b)


def judged(x: Interval | None, holds: float, in_part: float) -> str:
    """What was measured says of a claim: "holds", "holds in part", "undecided", "does not hold", or "not measured".

    It holds where the whole interval lies beyond ``holds``, and in part where the value lies beyond ``in_part``. Beyond
    is above, unless the latter bar is the higher one. Where the two are one, there is no part: the claim is undecided
    where the interval holds the bar, or lacks the end that would tell.
    """
    if x is None or math.isnan(x.value):
        return "not measured"
    sign = -1 if in_part > holds else 1
    worst, best = (sign * end for end in (x.low, x.high)[::sign])
    if worst > sign * holds:  # an end that is not a number is beyond nothing
        return "holds"
    if in_part == holds:
        return "does not hold" if best <= sign * holds else "undecided"
    return "holds in part" if sign * x.value > sign * in_part else "does not hold"


def _too_few(features: int) -> str:
    return f"a Fréchet distance of {features} features needs more than {features} pictures, better ten times as many"


def _check(a: Tensor, b: Tensor) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"features must be (N, D) and (M, D), of two rows or more. Got {shapes}.")
