"""The training set of the mapper: w, s and CLIP image feature of many sampled pictures, kept on disk.

No text is used, and none can be: of the CLIP model only ``encode_image`` is called.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.files import read_tensors, refuse_other_run, write_json, write_tensors
from deltaedit.stylegan2 import Generator

MANIFEST = "manifest.json"
SHARD = 1024  # pictures in one file; the z of a shard depends on the seed and on its number only


class ImageEncoder(Protocol):
    """The half of CLIP that training needs."""

    preprocessing: str

    def encode_image(self, image: Tensor) -> Tensor:
        """Image features (B, D), unit norm, of images (B, 3, H, W) in [-1, 1]."""

    def fingerprint(self) -> str:
        """Digits that tell these weights from others."""


@dataclass(frozen=True)
class FeatureStore:
    """Features of ``len(store)`` pictures in a folder: a manifest and one safetensors file for every 1024 pictures.

    Every file is whole or not there, so that after a kill or on a full disk all that was finished stays readable.

    Attributes:
        folder: where the files are.
        size: number of pictures that can be read, from the first on.
        manifest: style widths, seed, truncation, fingerprints of generator and CLIP, and ``n``, the pictures asked for.
    """

    folder: Path
    size: int
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, n: int | None = None) -> FeatureStore:
        """Open what ``extract_features`` wrote, finished or not.

        Args:
            folder: the folder given to it.
            n: use the first n pictures only; None for all.

        Raises:
            ValueError: if there is no readable manifest in the folder.
        """
        path = Path(folder) / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
            asked = manifest["n"]
        except FileNotFoundError:
            raise ValueError(f"{folder} holds no features: make them with extract_features.") from None
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path} is damaged: delete the folder and run extract_features again.") from None
        size = 0
        while (shard := _shard_path(folder, size // SHARD)).is_file():
            size += (rows := len(read_tensors(shard, ["image_feature"])[0]["image_feature"]))
            if rows < SHARD:
                break
        return cls(Path(folder), min(size, asked if n is None else n), manifest)

    def __len__(self) -> int:
        return self.size

    @property
    def complete(self) -> bool:
        """Whether all pictures asked for are there."""
        return self.size >= self.manifest["n"]

    @cached_property
    def w(self) -> Tensor:
        """(n, w_dim), float16."""
        return self._read("w")

    @cached_property
    def s(self) -> Tensor:
        """(n, S), float16."""
        return self._read("s")

    @cached_property
    def image_feature(self) -> Tensor:
        """(n, D), float16, unit norm to its precision."""
        return self._read("image_feature")

    def _read(self, name: str) -> Tensor:
        whole = torch.empty(0)
        for start in range(0, self.size, SHARD):  # into their place: 200,000 of FFHQ are 2.6 GB, and never held twice
            rows = read_tensors(_shard_path(self.folder, start // SHARD), [name])[0][name][: self.size - start]
            if not start:
                whole = rows.new_empty(self.size, *rows.shape[1:])
            whole[start : start + len(rows)] = rows
        return whole


def clip_identity(clip: ImageEncoder) -> dict[str, str]:
    """What tells features of this CLIP from others'; its own preprocessing goes without saying."""
    other = {} if clip.preprocessing == "clip" else {"preprocessing": clip.preprocessing}
    return {"clip": clip.fingerprint(), **other}


def _shard_path(folder: str | Path, number: int) -> Path:
    return Path(folder) / f"{number:05d}.safetensors"


def shard_latents(seed: int, number: int, z_dim: int) -> Tensor:
    """The z (1024, z_dim) of one shard, drawn on the CPU: the same everywhere, and none that a small seed draws."""
    return torch.randn(SHARD, z_dim, generator=torch.Generator().manual_seed((seed + 1) * 1_000_003 + number))


@torch.inference_mode()
def extract_features(
    generator: Generator,
    clip: ImageEncoder,
    n: int,
    out: str | Path,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    batch_size: int | None = None,
) -> FeatureStore:
    """Sample ``n`` pictures and keep w, s and CLIP image feature of each (DeltaEdit, section 3, «training data»).

    Runs where the generator is. A run that was stopped goes on where it was, also with a larger ``n``; the result is
    that of one run. The paper takes 200,000 pictures of FFHQ's generator, fixed noise, no truncation, beside real ones.

    Args:
        generator: z -> w -> s -> image.
        clip: gives the image features; its text half is never called.
        n: number of pictures.
        out: folder of the store.
        seed: picture k depends on ``seed`` and ``k`` only.
        truncation: as in ``Generator.mapping``.
        batch_size: pictures at a time; by default ``generator.batch_size``.

    Returns:
        The store, with ``n`` pictures.

    Raises:
        ValueError: if a number is out of range, or ``out`` holds features of another run.
        FloatingPointError: if a feature is not finite.
    """
    batch_size = generator.batch_size if batch_size is None else batch_size
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1. Got {n} and {batch_size}.")
    generator.eval()
    manifest = {
        "dims": list(generator.layout.dims),
        "seed": seed,
        "truncation": truncation,
        "generator": generator.fingerprint(),
        **clip_identity(clip),
    }
    done, n_before = 0, 0
    if (Path(out) / MANIFEST).exists():
        before = FeatureStore.open(out)
        done, n_before = before.size, before.manifest["n"]
        refuse_other_run(out, before.manifest, {**manifest, "n": n_before})
    write_json(Path(out) / MANIFEST, {**manifest, "n": max(n, n_before)})
    if done >= n:
        return FeatureStore.open(out, n)
    start = done // SHARD  # a shard that was cut short for a smaller n is drawn again
    with tqdm(total=n, initial=start * SHARD, unit="picture", desc="features") as bar:
        for number in range(start, -(-n // SHARD)):
            z = shard_latents(seed, number, generator.config.z_dim)[: n - number * SHARD]
            batches = []
            for part in z.to(generator.w_avg.device).split(batch_size):
                w = generator.mapping(part, truncation)
                s = generator.styles(w)
                feature = clip.encode_image(generator.synthesize(s, w, dtype=generator.fast_dtype).clamp(-1, 1))
                batches.append((w.half(), s.half(), feature.half()))
                bar.update(len(part))
            w, s, feature = (torch.cat(parts) for parts in zip(*batches, strict=True))
            if not (s.isfinite().all() and feature.isfinite().all()):
                raise FloatingPointError(f"features {number * SHARD} and on are not finite: check generator and CLIP.")
            write_tensors(_shard_path(out, number), {"w": w, "s": s, "image_feature": feature}, manifest)
    return FeatureStore.open(out, n)
