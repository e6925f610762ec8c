"""How much each style channel moves each CLIP dimension: what keeps an edit to the channels that matter.

StyleCLIP (Patashnik et al. 2021, section 6) estimates it by moving one channel at a time; DeltaEdit takes that matrix
over and zeroes the channels whose relevance to the prompt is low (section 3).
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.features import ImageEncoder, clip_identity
from deltaedit.files import read_tensors, refuse_other_run, write_tensors
from deltaedit.stylegan2 import Generator

SIGMA_SAMPLES = 2000


@torch.inference_mode()
def estimate_relevance(
    generator: Generator,
    clip: ImageEncoder,
    n_latents: int = 16,
    *,
    step_size: float = 5.0,
    batch_size: int = 64,
    seed: int = 0,
    out: str | Path | None = None,
) -> Tensor:
    """Relevance of every style channel by finite differences: S x n_latents x 2 pictures are drawn and encoded.

    Each channel alone is moved by plus and minus ``step_size`` of its own standard deviations; what is kept is the mean
    change of the image feature, from minus to plus, as a unit vector. A channel without any effect has a row of zeros.

    Args:
        generator: the pictures are drawn where it is.
        clip: gives the image features.
        n_latents: pictures on which each channel is tried; StyleCLIP takes 100 for FFHQ.
        step_size: in standard deviations; 5 as in StyleCLIP.
        batch_size: pictures at a time.
        seed: of the latents.
        out: file for the result; written as the estimate grows, so that a run that was stopped goes on.

    Returns:
        relevance, (S, D), float32, on the CPU.

    Raises:
        ValueError: if a number is out of range, or ``out`` holds another run's estimate.
    """
    if n_latents < 1 or batch_size < 1 or not step_size > 0:
        raise ValueError(
            f"n_latents, batch_size and step_size must be positive. Got {n_latents}, {batch_size}, {step_size}."
        )
    generator.eval()
    about = {
        "n_latents": n_latents,
        "step_size": step_size,
        "seed": seed,
        "generator": generator.fingerprint(),
        **clip_identity(clip),
    }
    rng = torch.Generator().manual_seed(seed)
    device, size = generator.w_avg.device, generator.layout.size
    z = torch.randn(SIGMA_SAMPLES + n_latents, generator.config.z_dim, generator=rng).to(device)
    w = generator.mapping(z)
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
    ``Editor`` does the one or the other, as its domain's ``raw_threshold`` says.

    Args:
        relevance: (S, D), unit rows.
        delta_text: (D,).
        threshold: 0 lets all channels move, 1 none.

    Returns:
        bool, (S,).
    """
    return (relevance @ delta_text).abs() >= threshold


def load_relevance(path: str | Path) -> Tensor:
    """The relevance (S, D) in a file that ``estimate_relevance`` or ``Editor.save_pretrained`` wrote.

    Raises:
        ValueError: if the file is missing, damaged, of another kind, or the estimate in it is not finished.
    """
    tensors, about = read_tensors(path)
    if "relevance" not in tensors:
        raise ValueError(f"{path} holds no relevance but {sorted(tensors)[:3]}: check the path.")
    if not about.get("finished", True):
        raise ValueError(f"{path} holds an unfinished estimate: call estimate_relevance with it once more.")
    return tensors["relevance"].float()


def _finished_rows(out: str | Path | None, about: dict) -> Tensor:
    if out is None or not Path(out).exists():
        return torch.empty(0)
    tensors, before = read_tensors(out)
    refuse_other_run(out, {key: value for key, value in before.items() if key != "finished"}, about)
    return tensors["relevance"]
