"""The synthetic weights with which the golden outputs in `golden/` were made, rebuilt from the names of their keys.

The outputs were computed once by the published DeltaEdit code (Yueming6568/DeltaEdit, commit dd6c27c), CPU, float32;
those of `e4e_small` by the published e4e (omertov/encoder4editing, commit 99ea505) with a quarter of its channels, for
a generator of 32 px. Those of `mobilestylegan_ffhq` are of the published network, by OpenVINO in float32.
"""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def golden_arrays(name: str) -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def golden_state(name: str) -> dict[str, torch.Tensor]:
    shapes = json.loads((GOLDEN / f"{name}_keys.json").read_text())
    weight = _e4e_weight if name.startswith("e4e") else _weight
    return {key: weight(key, shape) for key, shape in shapes.items() if not key.endswith("kernel")}


def _normal(key: str, shape: list[int]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(f"golden/{key}".encode())))


def _e4e_weight(key: str, shape: list[int]) -> torch.Tensor:
    r = _normal(key, shape)
    if len(shape) > 1:
        return r / math.sqrt(math.prod(shape[1:])) if len(shape) == 4 else r
    if key.endswith("running_var"):
        return (1 + 0.1 * r).square()
    return 0.1 * r if key.endswith(("bias", "running_mean")) else 1 + 0.1 * r


def _weight(key: str, shape: list[int]) -> torch.Tensor:
    r = _normal(key, shape)
    mapping, kind = key.startswith("style.") or ".mapping." in key, key.rsplit(".", 1)[1]
    if mapping and kind == "weight":
        return 100 * r
    if key.endswith("modulation.bias"):
        return 1 + 0.1 * r
    if mapping and kind == "bias":
        return 10 * r
    return 0.1 * r if kind == "bias" or key.endswith("noise.weight") else r


def relative_error(got: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((got - wanted).abs().max() / wanted.abs().max()).item()
