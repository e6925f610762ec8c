"""What was measured, with what it takes to measure it again: machine, versions, seed, seconds."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from deltaedit.files import read_json, write_json

REVISION = 1
"""Of the method: raised by hand when its numbers are meant to move. What was measured before it counts no more."""

PACKAGES = ("deltaedit", "torch", "open_clip_torch", "numpy")


def digest(*parts: Any) -> str:
    """Twelve digits that tell things that JSON can write from any others."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def surroundings(device: str | torch.device = "cpu") -> dict[str, Any]:
    """Machine and versions of this run: device, cores, threads, Python and the packages that decide a number."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    device = torch.device(device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    counts = {"cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return {"device": f"{device.type}: {name}", **counts, "versions": versions}


def processor() -> str:
    """The processor's own name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write_record(
    path: str | Path,
    measures: dict[str, Any],
    *,
    seed: int | None = None,
    seconds: float | None = None,
    device: str | torch.device = "cpu",
    **about: Any,
) -> None:
    """Write measures to a JSON file beside the figure they belong to, with seed, seconds, revision, machine, versions.

    What is not a number, or without end, becomes null: JSON has no other word for it.
    """
    about = {"seed": seed, "seconds": seconds, "revision": REVISION, **about, **surroundings(device)}
    write_json(path, {"measures": _finite(measures), **about})


def read_record(path: str | Path, weights: Collection[str]) -> dict[str, Any]:
    """The measures that ``write_record`` wrote to a file; none where there is no such file.

    Args:
        path: of the file.
        weights: those that it may have been measured on, which it was given as ``weights``.

    Raises:
        ValueError: if it was measured on others, or is damaged.
    """
    if not Path(path).exists():
        return {}
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("measures"), dict):
        raise ValueError(f"{path} is damaged: run the chapter that writes it again.")
    measured_on, of = (str(found.get(name))[:40] for name in ("weights", "domain"))
    if measured_on not in weights:
        raise ValueError(
            f"{path} was measured on weights {measured_on!r} of {of!r}, and these are "
            f"{' or '.join(sorted(weights))}: run the chapter that writes it again."
        )
    return found["measures"]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
