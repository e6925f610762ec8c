"""Weights of TensorFlow.js: a manifest in JSON, and flat binary shards that hold one array after another.

A manifest is a list of groups, alone or as ``weightsManifest`` of a ``model.json``. Each names its shards, which are
joined, and its weights in the order in which they lie there, nothing between them: a name, a shape, a dtype; of one
that is quantised also the integers' dtype, and the ``scale`` and ``min`` by which they are numbers again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltaedit.untrusted.pickles import RefusedError

LARGEST_MANIFEST = 4 << 20  # bytes; that of a published network of 100 layers takes 20 kB
LARGEST = 1 << 30  # bytes of all shards
DTYPES = {"float32": "<f4", "int32": "<i4", "uint8": "|u1", "bool": "|u1"}
QUANTISED = {"uint8": "|u1", "uint16": "<u2"}


@dataclass(frozen=True, eq=False)
class Weight:
    """An array as it was published: its numbers are ``scale * stored + least``.

    >>> Weight(torch.tensor([0, 255], dtype=torch.uint8), scale=0.1, least=-5.0).value
    tensor([-5.0000, 20.5000])
    """

    stored: Tensor  #: uint8 or int32 where it is quantised or a whole number, else float32
    scale: float = 1.0
    least: float = 0.0

    @property
    def value(self) -> Tensor:
        """Its numbers, float32."""
        return self.stored.float() * self.scale + self.least


def load(path: str | Path) -> dict[str, Weight]:
    """Read a manifest, such as ``face_expression_model-weights_manifest.json``, and the shards that lie beside it.

    Raises ``ValueError`` if one is missing, or does not hold what the manifest says.
    """
    path = Path(path)
    return parse(path.name, lambda name, most: _beside(path.parent / name, most))


def parse(manifest: str, content: Callable[[str, int], bytes]) -> dict[str, Weight]:
    """The weights of a manifest, where ``content`` gives a file by its name, or raises ``OSError`` or ``RefusedError``.

    It is told how many bytes it may give at most. Raises ``ValueError`` as ``load``.
    """
    try:
        data = json.loads(content(manifest, LARGEST_MANIFEST))
        groups = data.get("weightsManifest") if isinstance(data, dict) else data
        if not isinstance(groups, list) or not groups:
            raise RefusedError("is no manifest of TensorFlow.js: it lists no groups of weights")
        weights: dict[str, Weight] = {}
        for group in groups:
            for name, weight in _group(group, content).items():
                if name in weights:
                    raise RefusedError(f"has two weights {name[:100]!r}")
                weights[name] = weight
        return weights
    except RefusedError as error:
        raise ValueError(f"{manifest} {error}: it was not read.") from None
    except OSError as error:
        raise ValueError(f"{manifest} cannot be read ({error}): check the path, or fetch all of its files.") from None
    except (ValueError, RecursionError, OverflowError) as error:  # no JSON, or JSON of something else
        reason = f"{type(error).__name__}: {str(error)[:100]}"
        raise ValueError(f"{manifest} is damaged, or no manifest of TensorFlow.js ({reason}).") from None


def _beside(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RefusedError(f"needs {path.name[:100]}, which is larger than the {most} bytes that it may be")
    return data


def _group(group: Any, content: Callable[[str, int], bytes]) -> dict[str, Weight]:
    """The weights of one group; its shards must hold them and nothing else."""
    if not isinstance(group, dict) or not all(isinstance(group.get(key), list) for key in ("paths", "weights")):
        raise RefusedError("has a group without paths and weights")
    for name in group["paths"]:
        if not isinstance(name, str) or not name or name in (".", "..") or set(name) & set("/\\:\0"):
            raise RefusedError(f"names a shard {str(name)[:100]!r}, which is no file beside it")
    plans = [_plan(entry) for entry in group["weights"]]
    wanted = sum(plan.nbytes for plan in plans)
    if wanted > LARGEST:
        raise RefusedError(f"lists weights of {wanted} bytes, more than any that it is meant for")
    data = b""
    for name in group["paths"]:
        data += content(name, wanted - len(data))
    if len(data) != wanted:
        raise RefusedError(f"lists weights of {wanted} bytes, but its shards have {len(data)}")
    weights, start = {}, 0
    for plan in plans:
        if plan.name in weights:
            raise RefusedError(f"has two weights {plan.name[:100]!r}")
        weights[plan.name] = plan.read(data[start : start + plan.nbytes])
        start += plan.nbytes
    return weights


@dataclass(frozen=True)
class _Plan:
    """What a manifest says of one weight."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    least: float

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def read(self, data: bytes) -> Weight:
        array = np.frombuffer(data, self.dtype).reshape(self.shape)
        kinds = {"uint8": np.uint8, "uint16": np.int32, "int32": np.int32, "float32": np.float32}
        stored = torch.from_numpy(array.astype(kinds[self.dtype.name]))
        if not stored.isfinite().all():
            raise RefusedError(f"is damaged: {self.name[:100]} has values that are no finite numbers")
        return Weight(stored, self.scale, self.least)


def _plan(entry: Any) -> _Plan:
    if not isinstance(entry, dict) or not isinstance(name := entry.get("name"), str):
        raise RefusedError("lists a weight without a name")
    shape, dtype, packed = entry.get("shape"), entry.get("dtype"), entry.get("quantization")
    whole = isinstance(shape, list) and len(shape) <= 8 and all(type(n) is int and 0 <= n < 2**31 for n in shape)
    if not whole:
        raise RefusedError(f"gives {name[:100]} the shape {str(shape)[:100]}")
    if packed is None:
        if dtype not in DTYPES:
            raise RefusedError(f"gives {name[:100]} the dtype {str(dtype)[:50]!r}; known are {', '.join(DTYPES)}")
        return _Plan(name, tuple(shape), np.dtype(DTYPES[dtype]), 1.0, 0.0)
    if not isinstance(packed, Mapping) or packed.get("dtype") not in QUANTISED or dtype != "float32":
        known = f"known are float32 weights in {' or '.join(QUANTISED)}"
        raise RefusedError(f"quantises {name[:100]}, a {str(dtype)[:50]}, as {str(packed)[:100]}; {known}")
    ends = [packed.get("scale"), packed.get("min")]
    if not all(type(x) in (int, float) and math.isfinite(x) and abs(x) < 1e30 for x in ends):
        raise RefusedError(f"quantises {name[:100]} by {str(ends)[:100]}, which are no finite numbers")
    return _Plan(name, tuple(shape), np.dtype(QUANTISED[packed["dtype"]]), float(ends[0]), float(ends[1]))
