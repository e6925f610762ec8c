"""Faces drawn ahead and kept: pictures as bytes, and the generator's own features of them, 1024 to a file.

Face k is that of row k % 1024 of ``shard_latents(seed, k // 1024)``, always: labels name it by its number.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.devices import drawing_dtype
from deltaedit.features import MANIFEST, SHARD, shard_latents
from deltaedit.files import locked, read_tensors, refuse_other_run, write_json, write_tensors
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.worlds.faces.labels import SEED, TRUNCATION

SIZE = 256  # pixels of a picture that is kept
CELLS = 8  # that features are averaged to, each way
SEEN = (16, 32, 64)  # pixels that the blocks draw at whose features are kept


class Sketch:
    """Draws faces as a pool keeps them, by the generator's preview: rounded to bytes.

    Called as ``features.Pictures`` are, it gives what a pool would. Raises ``ValueError`` for a generator without a
    preview of that size.
    """

    def __init__(self, generator: MobileStyleGAN, size: int = SIZE) -> None:
        if str(size) not in generator.previews:
            raise ValueError(f"a pool of {size} px needs a preview of them: see mobilestylegan.fit_preview.")
        self.generator, self.size = generator, size

    @torch.inference_mode()
    def draw(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures as bytes (n, 3, size, size), and features (n, D), float16, of styles (n, S); both on the CPU."""
        features: list[Tensor] = []
        dtype = drawing_dtype(self.size, s.device)
        sizes = self.generator.config.sizes
        layers = [self.generator.layers[3 * sizes.index(size) + 3] for size in SEEN if size in sizes]

        def keep(layer: torch.nn.Module, given: Any, x: Tensor) -> None:
            features.append(F.adaptive_avg_pool2d(x.float(), CELLS).flatten(1))

        hooks = [layer.register_forward_hook(keep) for layer in layers]
        try:
            pictures, rows = [], []
            for part in s.split(1):  # as a preview is drawn on a processor, so that a layer is seen once
                image = self.generator.preview(part, self.size, dtype=dtype)
                pictures.append(((image.clamp(-1, 1) + 1) * 127.5).round().byte().cpu())
                rows.append(torch.cat(features, dim=1).half().cpu())
                features.clear()
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(pictures), torch.cat(rows)

    def __call__(self, first: int, s: Tensor) -> Tensor:
        """Images (B, 3, size, size) in [-1, 1] of styles (B, S)."""
        return as_image(self.draw(s)[0]).to(s.device)

    def fingerprint(self) -> str:
        """Digits that tell what is drawn so from other pictures of the same samples."""
        return f"preview-{self.size}"


@dataclass(frozen=True)
class FacePool:
    """A folder of faces, ``SHARD`` to a file; called as ``features.Pictures`` are, it gives those that are kept."""

    folder: Path
    shards: int  #: files that are there, from the first on
    manifest: dict[str, Any]  #: generator, seed, truncation, size

    @classmethod
    def open(cls, folder: str | Path) -> FacePool:
        """What ``draw_pool`` drew so far; raises ``ValueError`` if the folder is no pool."""
        try:
            manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise ValueError(f"{folder} holds no pool of faces: draw_pool makes one.") from None
        pool = cls(Path(folder), 0, manifest)
        while pool.path(pool.shards).exists():
            pool = cls(Path(folder), pool.shards + 1, manifest)
        return pool

    def __len__(self) -> int:
        return self.shards * SHARD

    def path(self, shard: int, kind: str = "faces") -> Path:
        """File of a shard: of its "faces", or of what else belongs to them."""
        return self.folder / f"{kind}-{shard:05d}.safetensors"

    def read(self, shard: int, name: str) -> Tensor:
        """The "picture" (1024, 3, size, size), bytes, or "features" (1024, D), float16, of a shard."""
        return read_tensors(self.path(shard), [name])[0][name]

    def rows(self, numbers: Sequence[int], name: str) -> Tensor:
        """What ``read`` has of some faces by their numbers, in that order; ``ValueError`` if one is not there."""
        index = torch.tensor(numbers)
        if len(index) and int(index.max()) >= len(self):
            need = f"face {int(index.max())} is not among the {len(self)} that {self.folder} holds"
            raise ValueError(f"{need}: draw {int(index.max()) // SHARD + 1} shards.")
        parts, order = [], []
        for shard in (index // SHARD).unique().tolist():
            own = (index // SHARD == shard).nonzero()[:, 0]
            parts.append(self.read(shard, name)[index[own] % SHARD])
            order.append(own)
        return torch.cat(parts)[torch.cat(order).argsort()]

    def __call__(self, first: int, s: Tensor) -> Tensor:
        """Images (B, 3, size, size) in [-1, 1] of the faces from number ``first`` on, as many as s (B, S) are."""
        return as_image(self.rows(range(first, first + len(s)), "picture")).to(s.device)

    def fingerprint(self) -> str:
        """As ``Sketch.fingerprint``: that these were drawn before makes no difference."""
        return f"preview-{self.manifest['size']}"


def as_image(picture: Tensor) -> Tensor:
    """Images in [-1, 1] of bytes."""
    return picture.float() / 127.5 - 1


def halved(picture: Tensor) -> Tensor:
    """Pictures as bytes (n, 3, 2 H, 2 W) at half their size, averaged."""
    return torch.cat([F.avg_pool2d(part.float(), 2).round().byte() for part in picture.split(64)])


@torch.inference_mode()
def draw_pool(
    generator: MobileStyleGAN,
    shards: int,
    folder: str | Path,
    seed: int = SEED,
    truncation: float = TRUNCATION,
    size: int = SIZE,
) -> FacePool:
    """Open a pool, drawing those of its ``shards`` that are missing.

    A killed run goes on with the shard that it was at; of two that start together one draws, and the other waits.
    Raises ``ValueError`` if the folder has faces of another generator, seed, truncation or size.

    >>> from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview
    >>> tiny = MobileStyleGAN(MobileConfig(channels=(4, 4, 4), z_dim=8, w_dim=8))
    >>> len(draw_pool(fit_preview(tiny, (16,), faces=2), 1, "pool", size=16))
    1024
    """
    sketch, folder = Sketch(generator, size), Path(folder)
    manifest = {"generator": generator.fingerprint(), "seed": seed, "truncation": truncation, "size": size}
    with locked(folder / MANIFEST):
        if (folder / MANIFEST).exists():
            refuse_other_run(folder, FacePool.open(folder).manifest, manifest)
        write_json(folder / MANIFEST, manifest)
        done = FacePool.open(folder).shards
        with tqdm(total=shards * SHARD, initial=done * SHARD, desc="faces", unit="face") as bar:
            for shard in range(done, shards):
                z = shard_latents(seed, shard, generator.z_dim).to(generator.w_avg.device)
                drawn = []
                for s in generator.styles(generator.mapping(z, truncation)).split(16):
                    drawn.append(sketch.draw(s))
                    bar.update(len(s))
                picture, features = (torch.cat(part) for part in zip(*drawn, strict=True))
                write_tensors(FacePool.open(folder).path(shard), {"picture": picture, "features": features}, manifest)
    return FacePool.open(folder)
