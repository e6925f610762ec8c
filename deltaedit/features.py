"""The training set of the mapper: w, s and CLIP image feature of many sampled pictures, kept on disk.

No text is used, and none can be: of the CLIP model only ``encode_image`` is called.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit.devices import drawing_dtype
from deltaedit.files import fingerprint, locked, read_json, read_tensors, refuse_other_run, write_json, write_tensors
from deltaedit.pictures import picture_files, resize, to_tensor
from deltaedit.style_space import AnyGenerator

MANIFEST = "manifest.json"
SHARD = 1024  # pictures in one file; the z of a shard depends on the seed and on its number only


class ImageEncoder(Protocol):
    """The half of CLIP that training needs."""

    preprocessing: str

    def encode_image(self, image: Tensor) -> Tensor:
        """Image features (B, D), unit norm, of images (B, 3, H, W) in [-1, 1]."""

    def fingerprint(self) -> str:
        """Digits that tell these weights from others."""


class Pictures(Protocol):
    """Where the pictures of samples come from, if ``generator.synthesize`` does not draw them."""

    def __call__(self, first: int, s: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] of the samples from number ``first`` on, whose styles are s (B, S)."""

    def fingerprint(self) -> str:
        """What tells these pictures from others of the same samples."""


@dataclass(frozen=True)
class FeatureStore:
    """Features of ``len(store)`` pictures in a folder: a manifest and one safetensors file for every 1024 pictures.

    Every file is whole or not there, so that after a kill or on a full disk all that was finished stays readable. The
    rows of pictures that were not sampled, see ``add_pictures``, come first.

    >>> editor = Editor.from_pretrained("portraits")
    >>> store = extract_features(editor.generator, editor.clip, 64, "features")
    >>> FeatureStore.open("features", n=10).image_feature.shape
    torch.Size([10, 128])
    """

    folder: Path
    size: int  #: sampled pictures that can be read, from the first on
    manifest: dict[str, Any]
    """Style widths, seed, truncation, size of previews, fingerprints, ``n`` asked for; what pictures were added."""
    pictures: tuple[int, ...] = ()  #: how many were added, file by file

    @classmethod
    def open(cls, folder: str | Path, n: int | None = None) -> FeatureStore:
        """What ``extract_features`` wrote, finished or not, or its first ``n``; raises ``ValueError`` for no store."""
        path = Path(folder) / MANIFEST
        try:
            manifest = read_json(path)
            asked = manifest["n"]
            if type(asked) is not int or asked < 0 or not isinstance(manifest.get("pictures", {}), dict):
                raise TypeError
        except FileNotFoundError:
            raise ValueError(f"{folder} holds no features: make them with extract_features.") from None
        except (ValueError, KeyError, TypeError):
            again = "run extract_features again, which keeps what it has drawn"
            raise ValueError(f"{path} is damaged: delete it, and {again}.") from None
        size = 0
        while (shard := _path(folder, size // SHARD)).is_file():
            size += (rows := len(_rows(shard, "image_feature")))
            if rows < SHARD:
                break
        pictures = []
        while "pictures" in manifest and (shard := _path(folder, len(pictures), "pictures-")).is_file():
            pictures.append(len(_rows(shard, "image_feature")))
        return cls(Path(folder), min(size, asked if n is None else n), manifest, tuple(pictures))

    def __len__(self) -> int:
        return sum(self.pictures) + self.size

    @property
    def complete(self) -> bool:
        """Whether all pictures asked for are there."""
        files = self.manifest.get("pictures", {}).get("files", 0)
        return self.size >= self.manifest["n"] and len(self.pictures) * SHARD >= files

    @cached_property
    def w(self) -> Tensor:
        """(n, w_dim), float16; where pictures were added, ``w_plus`` (n, num_ws, w_dim) of all."""
        return self._read("w")

    @cached_property
    def s(self) -> Tensor:
        """(n, S), float16."""
        return self._read("s")

    @cached_property
    def image_feature(self) -> Tensor:
        """(n, D), float16, unit norm to its precision."""
        return self._read("image_feature")

    @property
    def compared_feature(self) -> Tensor:
        """(n, D), whose differences tell the mapper where to go; those are ``image_feature``."""
        return self.image_feature

    def _read(self, name: str) -> Tensor:
        shards = [(_path(self.folder, k, "pictures-"), count) for k, count in enumerate(self.pictures)]
        starts = range(0, self.size, SHARD)
        shards += [(_path(self.folder, k), min(SHARD, self.size - at)) for k, at in enumerate(starts)]
        whole, start = torch.empty(0), 0
        for path, count in shards:  # into their place, 200,000 of FFHQ are 2.6 GB, never held twice
            rows = _rows(path, name)[:count]
            if not start:
                whole = rows.new_empty(len(self), *rows.shape[1:])
            # Pictures that were added come first, and have a w for each layer: a sample's is then that of all layers.
            rows = rows if rows.shape[1:] == whole.shape[1:] else rows[:, None].expand(-1, *whole.shape[1:2], -1)
            if rows.shape != (count, *whole.shape[1:]):
                raise ValueError(f"{path} is damaged, or of another run: delete it, and run extract_features again.")
            whole[start : start + count] = rows
            start += count
        return whole


def _rows(path: Path, name: str) -> Tensor:
    """Numbers of one shard, a row for each picture; raises ``ValueError`` if it holds something else."""
    rows = read_tensors(path, [name])[0][name]
    if not 2 <= rows.ndim <= 3 or not rows.is_floating_point() or len(rows) > SHARD:
        raise ValueError(f"{path} is damaged, or of another run: delete it, and run extract_features again.")
    return rows


def made_by(generator: AnyGenerator, clip: ImageEncoder) -> dict[str, str]:
    """What tells features of these models from others'; CLIP's own preprocessing goes without saying."""
    other = {} if clip.preprocessing == "clip" else {"preprocessing": clip.preprocessing}
    return {"generator": generator.fingerprint(), "clip": clip.fingerprint(), **other}


def _path(folder: str | Path, number: int, kind: Literal["", "pictures-"] = "") -> Path:
    return Path(folder) / f"{kind}{number:05d}.safetensors"


def shard_latents(seed: int, number: int, z_dim: int) -> Tensor:
    """The z (1024, z_dim) of one shard, drawn on the CPU: the same everywhere, and none that a small seed draws."""
    return torch.randn(SHARD, z_dim, generator=torch.Generator().manual_seed((seed + 1) * 1_000_003 + number))


@torch.inference_mode()
def sampled(
    generator: AnyGenerator,
    clip: ImageEncoder,
    z: Tensor,
    truncation: float = 1.0,
    size: int | None = None,
    drawn: Callable[[Tensor], Tensor] | None = None,
) -> dict[str, Tensor]:
    """A row of the store for each z (B, z_dim), on the generator's device; arguments as in ``extract_features``.

    ``drawn`` gives pictures (B, 3, H, W) of styles, if not the generator does.
    """
    w = generator.mapping(z, truncation)
    s, dtype = generator.styles(w), drawing_dtype(generator.resolution, z.device)
    if drawn is not None:
        image = drawn(s)
    elif size is not None:
        image = generator.preview(s, size, w, dtype)
    else:
        image = generator.synthesize(s, w, dtype=dtype)
    return {"w": w.half(), "s": s.half(), "image_feature": clip.encode_image(image.clamp(-1, 1)).half()}


@torch.inference_mode()
def extract_features(
    generator: AnyGenerator,
    clip: ImageEncoder,
    n: int,
    out: str | Path,
    *,
    seed: int = 0,
    truncation: float = 1.0,
    size: int | None = None,
    batch_size: int | None = None,
    pictures: Pictures | None = None,
) -> FeatureStore:
    """Sample ``n`` pictures and keep w, s and CLIP image feature of each (DeltaEdit, section 3, «training data»).

    Runs where the generator is. A run that was stopped goes on where it was, also with a larger ``n``; the result is
    that of one run. Files that are damaged are made again; of two runs at once one draws, and the other waits. The
    paper takes 200,000 pictures of FFHQ's generator, fixed noise, no truncation, beside real ones.

    Args:
        out: folder of the store.
        seed: picture k depends on ``seed`` and ``k`` only.
        truncation: as in ``Generator.mapping``.
        size: CLIP looks at previews of so many pixels (``AnyGenerator.preview``); None for the pictures themselves.
        batch_size: pictures at a time; by default ``generator.batch_size``.
        pictures: where they come from, if not from ``generator.synthesize``: smaller ones, or those drawn before.

    Raises:
        ValueError: if a number is out of range, the generator has no previews of that size, or ``out`` holds features
            of another run.
        FloatingPointError: if a feature is not finite.
        OSError: if ``out`` cannot be written to.

    >>> editor = Editor.from_pretrained("portraits")
    >>> len(extract_features(editor.generator, editor.clip, 64, "features"))
    64
    """
    batch_size = generator.batch_size if batch_size is None else batch_size
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be at least 1. Got {n} and {batch_size}.")
    generator.eval()
    about = {"dims": list(generator.layout.dims), "seed": seed, "truncation": truncation}
    if generator.layout.cuts:  # as StyleGAN2 says none
        about |= {"cuts": list(generator.layout.cuts), "num_ws": generator.num_ws}
    if size is not None:
        about["size"] = size
        generator.preview(generator.styles(generator.w_avg[None]), size, generator.w_avg[None])  # refused at the door
    if pictures is not None:
        about["drawn"] = pictures.fingerprint()
    manifest = {**about, **made_by(generator, clip)}
    if _size(out) >= n:  # nothing is to be written, also where nothing can be
        store = FeatureStore.open(out, n)
        refuse_other_run(out, _bare(store.manifest), manifest)
        return store
    with locked(Path(out) / MANIFEST):
        before = _described(out)
        if before is not None:
            refuse_other_run(out, _bare(before), manifest)
        added = {key: before[key] for key in ("pictures",) if before and key in before}
        write_json(Path(out) / MANIFEST, {**manifest, **added, "n": max(n, (before or {}).get("n", 0))})
        device = generator.w_avg.device
        with tqdm(total=n, unit="picture", desc="features") as bar:
            for number in range(-(-n // SHARD)):
                z = shard_latents(seed, number, generator.z_dim)[: n - number * SHARD]
                if len(z) <= _drawn(_path(out, number)):  # one that was cut short for a smaller n is drawn again
                    bar.initial = bar.n = bar.n + len(z)
                    continue
                batches = []
                for k, part in enumerate(z.to(device).split(batch_size)):
                    drawn = pictures and partial(pictures, number * SHARD + k * batch_size)
                    batches.append(sampled(generator, clip, part, truncation, size, drawn))
                    bar.update(len(part))
                rows = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
                if not all(tensor.isfinite().all() for tensor in rows.values()):
                    first = number * SHARD
                    raise FloatingPointError(f"features {first} and on are not finite: check generator and CLIP.")
                write_tensors(_path(out, number), rows, manifest)
    return FeatureStore.open(out, n)


def _size(folder: str | Path) -> int:
    """How many pictures a store has; none where there is no store, or a damaged one."""
    try:
        return FeatureStore.open(folder).size
    except ValueError:
        return 0


def _bare(manifest: dict[str, Any]) -> dict[str, Any]:
    """What a manifest says of the samples, however many."""
    return {key: value for key, value in manifest.items() if key not in ("n", "pictures")}


def _described(folder: str | Path) -> dict[str, Any] | None:
    """The manifest of a store; where that is missing or damaged, what its first file says; None for no store."""
    try:
        manifest = read_json(Path(folder) / MANIFEST)
        if isinstance(manifest, dict) and isinstance(manifest.get("n"), int):
            return manifest
    except (FileNotFoundError, ValueError):
        pass
    for shard in sorted(Path(folder).glob("[0-9]*.safetensors")):
        if _drawn(shard):
            return read_tensors(shard, ["image_feature"])[1]
    return None


def _drawn(shard: Path) -> int:
    """How many pictures a file has; none if it is missing or damaged."""
    if not shard.is_file():
        return 0
    try:
        return len(read_tensors(shard, ["image_feature"])[0]["image_feature"])
    except ValueError:
        tqdm.write(f"{shard} is damaged: its pictures are drawn again.", file=sys.stderr)
        return 0


@torch.inference_mode()
def add_pictures(
    store: FeatureStore,
    folder: str | Path,
    generator: AnyGenerator,
    clip: ImageEncoder,
    encoder: nn.Module,
    *,
    read: Callable[[Path], Tensor] = to_tensor,
    batch_size: int = 16,
) -> FeatureStore:
    """Add the pictures of a folder, and of the folders in it, to a store: ``w_plus`` by an encoder, and its styles.

    The image feature is that of the picture itself, not of what the generator would draw instead of it, as in the
    published training set: 58,000 photos of FFHQ, inverted by e4e, beside 200,000 samples. A run that was
    stopped goes on where it was. Files that cannot be read are left out, with a warning that names them; hidden ones,
    such as Jupyter's copies, without.

    Args:
        store: from ``extract_features``, with the same generator and CLIP; the pictures come before its samples.
        encoder: picture -> ``w_plus``, such as ``inversion.Encoder`` or ``e4e.E4E``; like CLIP, where the generator is.
        read: makes a tensor (1, 3, H, W) in [-1, 1] of a file, and raises ``ValueError`` if it cannot. For photos of
            faces that are not aligned yet it is ``lambda path: to_tensor(faces.align(path))``.

    Raises:
        ValueError: if the folder holds no pictures that can be read, or the store has other pictures already or is of
            another generator or CLIP.
        FloatingPointError: if a feature is not finite.

    >>> editor = Editor.from_pretrained("portraits")
    >>> store = extract_features(editor.generator, editor.clip, 16, "features-and-pictures")
    >>> Path("pictures").mkdir(exist_ok=True)
    >>> editor.sample(seed=1).image.save("pictures/me.png")
    >>> len(add_pictures(store, "pictures", editor.generator, editor.clip, editor.encoder))
    17
    """
    ours = made_by(generator, clip)
    refuse_other_run(store.folder, {key: store.manifest.get(key) for key in ours}, ours)
    if not (files := picture_files(folder)):
        raise ValueError(f"{folder} holds no pictures: give a folder of image files.")
    names = "".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n" for path in files)
    about = {"files": len(files), "names": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()[:12]}
    about["encoder"] = fingerprint(encoder.state_dict())
    there = FeatureStore.open(store.folder)
    if there.manifest.get("pictures") == about and len(there.pictures) * SHARD >= len(files):
        return FeatureStore.open(store.folder, store.size)
    with locked(store.folder / MANIFEST):
        manifest = FeatureStore.open(store.folder).manifest  # as it is now that nobody else writes
        refuse_other_run(store.folder, manifest.get("pictures", about), about)
        manifest["pictures"] = about
        write_json(store.folder / MANIFEST, manifest)
        start = len(FeatureStore.open(store.folder).pictures)
        with tqdm(total=len(files), initial=min(start * SHARD, len(files)), unit="picture", desc="pictures") as bar:
            for number in range(start, -(-len(files) // SHARD)):
                part, rows, faults = files[number * SHARD :][:SHARD], [], []
                for k in range(0, len(part), batch_size):
                    images, wrong = _readable(part[k : k + batch_size], read)
                    faults += wrong
                    if images:
                        rows.append(_picture_features(images, generator, clip, encoder))
                    bar.update(len(part[k : k + batch_size]))
                if faults:
                    more = f"; and {len(faults) - 5} more" if len(faults) > 5 else ""
                    warnings.warn(f"{len(faults)} files are left out: {'; '.join(faults[:5])}{more}.", stacklevel=2)
                if not rows:
                    raise ValueError(f"no picture can be read from {part[0]} to {part[-1]}: move them away.")
                tensors = {name: torch.cat([row[name] for row in rows]).half() for name in rows[0]}
                if not all(tensor.isfinite().all() for tensor in tensors.values()):
                    raise FloatingPointError(f"pictures {number * SHARD} and on give features that are not finite.")
                write_tensors(_path(store.folder, number, "pictures-"), tensors, manifest)
    return FeatureStore.open(store.folder, store.size)


def _readable(files: list[Path], read: Callable[[Path], Tensor]) -> tuple[list[Tensor], list[str]]:
    """The pictures in files, and what is wrong with those that hold none."""
    images, faults = [], []
    for path in files:
        try:
            images.append(read(path))
        except ValueError as error:
            faults.append(f"{path.name} ({str(error).rstrip('.')})")
    return images, faults


def _picture_features(
    images: list[Tensor], generator: AnyGenerator, clip: ImageEncoder, encoder: nn.Module
) -> dict[str, Tensor]:
    """A row of the store for each picture (1, 3, H, W), whatever its size."""
    images = [image.to(generator.w_avg.device) for image in images]
    one_size = len({image.shape for image in images}) == 1
    feature = torch.cat([clip.encode_image(part) for part in ([torch.cat(images)] if one_size else images)])
    w_plus = encoder(torch.cat([resize(image, generator.resolution) for image in images])).float()
    return {"w": w_plus, "s": generator.styles(w_plus), "image_feature": feature}
