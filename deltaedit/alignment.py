"""Statistics of a space that two kinds of features share: how near pairs are, how far apart the kinds, how alike.

Every function takes two arrays or tensors (N, D), row k of one belonging to row k of the other, and first scales the
rows to unit norm. scikit-learn and umap-learn, which some functions import when called, come with the ``book`` extra.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Features = np.ndarray | Tensor
METHODS = ("PCA", "t-SNE", "UMAP")
FOLDS = 5  # that a probe is fitted and scored in


def unit(x: Features) -> np.ndarray:
    """Rows of unit norm, float64 (N, D); raises ``ValueError`` for no matrix, or a row that is zero or not finite."""
    x = torch.as_tensor(x).detach().cpu().double().numpy()
    if x.ndim != 2:
        raise ValueError(f"features must have shape (N, D), got {x.shape}.")
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    if not (np.isfinite(norm) & (norm > 0)).all():
        row = int(np.argmin((np.isfinite(norm) & (norm > 0))[:, 0]))
        raise ValueError(f"features must be finite and longer than zero, got a norm of {norm[row, 0]} in row {row}.")
    return x / norm


def _pair(a: Features, b: Features, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    a, b = unit(a), unit(b)
    if a.shape != b.shape:
        raise ValueError(f"both kinds of features must have one shape, got {a.shape} and {b.shape}.")
    if len(a) < least:
        raise ValueError(f"this measure needs {least} pairs or more, better some hundred, got {len(a)}.")
    return a, b


def paired_cosine(a: Features, b: Features) -> np.ndarray:
    """Cosine of each pair, (N,)."""
    a, b = _pair(a, b)
    return (a * b).sum(axis=1)


def random_cosine(a: Features, b: Features, seed: int = 0) -> np.ndarray:
    """Cosine of each row of ``a`` with a row of ``b`` that is not its own, drawn at random, (N,)."""
    a, b = _pair(a, b, least=2)
    order = np.random.default_rng(seed).permutation(len(a))  # a cycle through all rows: nobody meets their own
    return (a[order] * b[np.roll(order, 1)]).sum(axis=1)


def mean_distance(a: Features, b: Features) -> float:
    """Euclidean distance of the two means, in [0, 2]: the modality gap (Liang et al. 2022)."""
    a, b = _pair(a, b)
    return float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)))


def retrieval(a: Features, b: Features) -> tuple[float, float]:
    """Part of the rows whose nearest row of the other kind is their own, from ``a`` to ``b`` and back (R@1)."""
    a, b = _pair(a, b, least=2)
    similarity, own = a @ b.T, np.arange(len(a))
    return float((similarity.argmax(axis=1) == own).mean()), float((similarity.argmax(axis=0) == own).mean())


def kernel_alignment(a: Features, b: Features) -> float:
    """Centred kernel alignment, linear (Kornblith et al. 2019): whether the same rows are near each other in both.

    From 0 to 1, 1 where one is a rotation of the other. It asks nothing of directions: two kinds of features in spaces
    that have nothing in common may be aligned in this sense. With fewer rows than dimensions it is never near 0.
    """
    a, b = (x - x.mean(axis=0) for x in _pair(a, b, least=2))
    return float(np.square(a.T @ b).sum() / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def probe_auc(a: Features, b: Features, seed: int = 0, kernel: bool = False) -> float:
    """How well a probe tells the two kinds apart: area under the ROC curve; 0.5 is chance, 1 is always.

    The probe is scored on pairs that it was not fitted to. Pairs stay together: were one half of a pair fitted and the
    other scored, the likeness within pairs would push the score below chance.

    With ``kernel`` it is a support vector machine with a Gaussian kernel, instead of a logistic regression. A linear
    probe sees no more than a shift of the one kind against the other; this one also sees another shape.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import KFold
    from sklearn.svm import SVC

    a, b = _pair(a, b, least=2 * FOLDS)
    score = np.empty((2, len(a)))
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(a):
        probe = SVC() if kernel else LogisticRegression(C=100.0, max_iter=1000)
        probe.fit(np.concatenate([a[train], b[train]]), np.repeat([0, 1], len(train)))
        score[:, test] = probe.decision_function(a[test]), probe.decision_function(b[test])
    return float(roc_auc_score(np.repeat([0, 1], len(a)), score.ravel()))


@dataclass(frozen=True)
class AlignmentReport:
    """How well two kinds of features are aligned; made by :func:`report`."""

    n: int  #: number of pairs
    paired: float  #: mean cosine of pairs
    random: float  #: mean cosine of rows that are no pair
    gap: float  #: distance of the two means
    auc: float  #: of the linear probe that tries to tell the kinds apart
    kernel_auc: float  #: the same of the probe with a kernel
    image_to_text: float  #: R@1 from the first kind to the second
    text_to_image: float  #: R@1 from the second kind to the first
    cka: float  #: centred kernel alignment


def report(image: Features, text: Features, seed: int = 0, probed: int | None = None) -> AlignmentReport:
    """All the numbers of one space, of pictures and their captions, or of differences of them, (N, D) each.

    The probe with a kernel, whose time grows with the square of the pairs, is given ``probed`` of them, by default all.
    Raises ``ValueError`` if there are fewer than ten pairs, of which a probe would learn nothing.
    """
    there, back = retrieval(image, text)
    return AlignmentReport(
        n=len(image),
        paired=float(paired_cosine(image, text).mean()),
        random=float(random_cosine(image, text, seed).mean()),
        gap=mean_distance(image, text),
        auc=probe_auc(image, text, seed),
        kernel_auc=probe_auc(image[:probed], text[:probed], seed, kernel=True),
        image_to_text=there,
        text_to_image=back,
        cka=kernel_alignment(image, text),
    )


def deltas(image: Features, text: Features, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit differences of both kinds between the same rows, drawn at random, (M, D) each (DeltaEdit, sec. 3).

    No row is used twice, so that the differences are independent: M is N // 2, less the pairs that do not differ.
    """
    image, text = _pair(image, text, least=2)
    first, second = np.random.default_rng(seed).permutation(len(image))[: len(image) // 2 * 2].reshape(2, -1)
    delta_image, delta_text = image[second] - image[first], text[second] - text[first]
    differ = (np.abs(delta_image).max(axis=1) > 1e-6) & (np.abs(delta_text).max(axis=1) > 1e-6)
    return unit(delta_image[differ]), unit(delta_text[differ])


def project(features: Features, method: str, seed: int = 0) -> np.ndarray:
    """Features (N, D) in two dimensions, (N, 2), to be looked at; to compare two kinds, project them together.

    Of the methods, "PCA" is linear; "t-SNE" and "UMAP" keep neighbours and not distances, and are random.
    """
    x = unit(features)
    if len(x) < 5:
        raise ValueError(f"a projection needs 5 rows or more, better some hundred, got {len(x)}.")
    if method == "PCA":
        x = x - x.mean(axis=0)
        u, scale, _ = np.linalg.svd(x, full_matrices=False)
        return u[:, :2] * scale[:2]
    if method == "t-SNE":
        from sklearn.manifold import TSNE

        return TSNE(perplexity=min(30, len(x) / 4), metric="cosine", init="random", random_state=seed).fit_transform(x)
    if method == "UMAP":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImportWarning)  # that TensorFlow is not there: it is not needed
            from umap import UMAP

        return UMAP(n_neighbors=min(30, len(x) - 1), metric="cosine", random_state=seed, n_jobs=1).fit_transform(x)
    raise ValueError(f"the projections are {', '.join(METHODS)}, got {method!r}.")
