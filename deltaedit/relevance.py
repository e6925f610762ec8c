"""How much each style channel moves each CLIP dimension: what keeps an edit to the channels that matter.

StyleCLIP (Patashnik et al. 2021, section 6) estimates it by moving one channel at a time; DeltaEdit takes that matrix
over and zeroes the channels whose relevance to the prompt is low (section 3). The pictures that a mapper is trained on
give one as well, by regression, in seconds: it is another matrix, and edits made with it are as good.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.features import FeatureStore, ImageEncoder, made_by
from deltaedit.files import read_tensors, refuse_other_run, write_tensors
from deltaedit.style_space import AnyGenerator, sample_w

SIGMA_SAMPLES = 2000
REGRESSED = 20_000  # pictures of a store; a thousand give nearly the same


@torch.inference_mode()
def estimate_relevance(
    source: AnyGenerator | FeatureStore,
    clip: ImageEncoder | None = None,
    n_latents: int = 16,
    *,
    step_size: float = 5.0,
    ridge: float = 10.0,
    batch_size: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
) -> Tensor:
    """Relevance (S, D), float32, on the CPU, by finite differences on a generator or by regression on a feature store.

    On a generator, with ``clip``, each channel alone is moved by plus and minus ``step_size`` of its own standard
    deviations: S x n_latents x 2 pictures are drawn. What is kept is the mean change of the image feature, from minus
    to plus, as a unit vector. A channel without any effect has a row of zeros. (StyleCLIP's published code scales each
    picture's change to unit norm before the mean, so that pictures on which a channel does little count as much.)

    On what ``extract_features`` wrote, nothing is drawn: image features are regressed on standardised style channels,
    ``(C + ridge I)^-1 B`` with the channels' correlations C and their covariances B with the features, and the
    coefficients are kept as unit vectors. What a channel does by itself cannot be told from samples: in them s is
    affine in w, which has fewer numbers. The rows say what a channel goes along with.

    Args:
        source: a generator, and pictures are drawn where it is; or a store, of which 20,000 pictures at most are used.
        n_latents: pictures on which each channel is tried; StyleCLIP takes 100 for FFHQ.
        step_size: in standard deviations; 5 as in StyleCLIP.
        ridge: of the regression, against correlations of 1; from 1 to 100 edits were alike in the miniature worlds.
        out: file for the result; written as the estimate grows, so that a run that was stopped goes on.

    Raises:
        ValueError: for a number out of range, no ``clip``, fewer than two pictures, or an ``out`` of another run.

    >>> editor = Editor.from_pretrained("portraits")
    >>> store = extract_features(editor.generator, editor.clip, 64, "features")
    >>> estimate_relevance(store).shape == (editor.generator.layout.size, editor.clip.dim)
    True
    """
    if isinstance(source, FeatureStore):
        return _regress(source, ridge, out)
    generator = source
    if clip is None:
        raise ValueError("give the CLIP whose features the generator's pictures shall have, or a store of features.")
    batch_size = generator.batch_size if batch_size is None else batch_size
    if n_latents < 1 or batch_size < 1 or not step_size > 0:
        got = f"{n_latents}, {batch_size}, {step_size}"
        raise ValueError(f"n_latents, batch_size and step_size must be positive. Got {got}.")
    generator.eval()
    about = {"n_latents": n_latents, "step_size": step_size, "seed": seed, **made_by(generator, clip)}
    device, size = generator.w_avg.device, generator.layout.size
    w = sample_w(generator, SIGMA_SAMPLES + n_latents, seed)
    sigma = generator.styles(w[:SIGMA_SAMPLES]).std(0)
    w = w[SIGMA_SAMPLES:]
    s = generator.styles(w)

    rows = _finished_rows(out, about)
    per_batch = max(1, batch_size // (2 * n_latents))
    with tqdm(total=size, initial=len(rows), desc="relevance", unit="channel") as bar:
        while len(rows) < size:
            channels = torch.arange(len(rows), min(len(rows) + per_batch, size), device=device)
            move = F.one_hot(channels, size) * (step_size * sigma)  # (C, S)
            moved = torch.stack([s - move[:, None], s + move[:, None]]).flatten(0, 2)  # (2 C N, S)
            batches = zip(moved.split(batch_size), w.repeat(2 * len(channels), 1).split(batch_size), strict=True)
            feature = torch.cat([clip.encode_image(generator.synthesize(*batch).clamp(-1, 1)) for batch in batches])
            minus, plus = feature.float().unflatten(0, (2, len(channels), n_latents)).mean(2)  # (C, D) each
            rows = torch.cat([rows.to(minus), F.normalize(plus - minus, dim=1, eps=1e-8)])
            bar.update(len(channels))
            if out is not None and (len(rows) == size or len(rows) // 64 > (len(rows) - len(channels)) // 64):
                write_tensors(out, {"relevance": rows}, {**about, "finished": len(rows) == size})
    return rows.cpu()


def relevance_mask(relevance: Tensor, delta_text: Tensor, threshold: float) -> Tensor:
    """Which style channels may move: those with ``|relevance @ delta_text| >= threshold`` (DeltaEdit, section 3).

    ``delta_text`` is taken as it is given. The published code gives it *before* it is scaled to unit norm, with a
    threshold of 0.03; StyleCLIP at unit norm: the same choice of channels then needs 0.03 divided by the norm before.
    ``Editor`` does the one or the other, as its domain's ``raw_threshold`` says. Of relevance (S, D), unit rows, and
    ``delta_text`` (D,), the mask is bool (S,); at a threshold of 0 all channels may move, at 1 none.

    >>> relevance_mask(torch.eye(3), torch.tensor([0.9, -0.5, 0.1]), threshold=0.3)
    tensor([ True,  True, False])
    """
    return (relevance @ delta_text).abs() >= threshold


def _regress(store: FeatureStore, ridge: float, out: str | Path | None) -> Tensor:
    store = replace(store, size=min(store.size, REGRESSED), pictures=())  # pictures that were added are no samples
    if len(store) < 2 or not ridge > 0:
        raise ValueError(f"a regression needs 2 pictures or more and a positive ridge. Got {len(store)} and {ridge}.")
    about = {**store.manifest, "n": len(store), "method": "regression", "ridge": ridge}
    if len(rows := _finished_rows(out, about)):
        return rows
    s, feature = (x.float() - x.float().mean(0) for x in (store.s, store.image_feature))
    sigma = s.std(0)
    s = s / sigma.masked_fill(sigma < 1e-4, torch.inf)  # a channel that never moves says nothing
    correlation = s.T @ s / len(s)
    correlation.diagonal().add_(ridge)
    rows = F.normalize(torch.linalg.solve(correlation, s.T @ feature / len(s)), dim=1, eps=1e-8)
    if out is not None:
        write_tensors(out, {"relevance": rows}, {**about, "finished": True})
    return rows


def _finished_rows(out: str | Path | None, about: dict) -> Tensor:
    if out is None or not Path(out).exists():
        return torch.empty(0)
    tensors, before = read_tensors(out)
    refuse_other_run(out, {key: value for key, value in before.items() if key != "finished"}, about)
    return tensors["relevance"]
