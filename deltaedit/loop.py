"""The training loop that every trainer shares: progress, checkpoints, resuming, and stopping before damage."""

from __future__ import annotations

import errno
import json
import math
import os
import pickle
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.files import locked, refuse_other_run, unwritten, write_whole

CHECKPOINT, BEFORE = "checkpoint.pt", "checkpoint-before.pt"
Scalars = dict[str, Tensor]
Step = Callable[[int, torch.Generator], Scalars]


class Stateful(Protocol):
    """Modules, optimisers and whatever else a run must carry over a kill."""

    def state_dict(self) -> dict[str, Any]:
        """All that must be saved."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Take up what was saved."""


def step_rng(seed: int, step: int, device: str | torch.device = "cpu") -> torch.Generator:
    """Randomness of one step: it depends on seed and step alone, so that a resumed run draws what it would have."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)


def learning_rate(step: int, steps: int, peak: float, warmup: int = 100, cooldown: float = 0.3) -> float:
    """Linear rise over ``warmup`` steps, then ``peak``, then a half cosine to zero over the last ``cooldown`` part."""
    if step < warmup:
        return peak * (step + 1) / warmup
    left = (steps - step) / max(1.0, cooldown * steps)
    return peak if left >= 1 else peak * 0.5 * (1 - math.cos(math.pi * max(left, 0.0)))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, lr: float) -> None:
    """One step down a loss at a learning rate, times the "speed" of those groups of parameters that have one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("speed", 1.0)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def fit(
    step_fn: Step,
    steps: int,
    *,
    carries: Mapping[str, Stateful],
    folder: str | Path,
    seed: int,
    describes: Any,
    device: str | torch.device = "cpu",
    save_every: int = 500,
    log_every: int = 50,
    evaluate: Callable[[], dict[str, float]] | None = None,
    stop_after: int | None = None,
    name: str = "training",
) -> list[dict[str, float]]:
    """Run ``step_fn`` for steps 0 … steps − 1, going on from the checkpoint in ``folder`` if there is one.

    Of two runs in one folder at once the second waits, and then has what the first made.

    Args:
        step_fn: does one step with the randomness given, and returns scalars to log (tensors: no host copy a step).
        carries: everything with state; saved and restored by name.
        folder: holds ``checkpoint.pt`` (always whole: written aside, then renamed), and the one before it.
        describes: what must be the same for a run to go on, JSON-like; another one in the checkpoint is refused.
        evaluate: slower numbers, added to the log whenever a checkpoint is saved.
        stop_after: pause (with a checkpoint) once this many steps are done in this call.

    Returns:
        The log: a row every ``log_every`` steps with means since the last one, ``step`` and ``seconds`` spent so far.

    Raises:
        ValueError: when the checkpoint belongs to a run of another description, or is damaged: it is then set aside,
            and the next call goes on from the one before it.
        FloatingPointError: when a logged scalar is not finite; the last good checkpoint stays.
        OSError: when a checkpoint cannot be written.
    """
    path = Path(folder) / CHECKPOINT
    description = json.dumps(describes, sort_keys=True, default=str)
    writable = os.access(path.parent, os.W_OK) or not path.exists()
    with locked(path) if writable else nullcontext():  # a run that is finished can be read anywhere
        start, seconds, log = 0, 0.0, []
        if path.exists():
            saved = _load(path, device)
            refuse_other_run(path, json.loads(saved["describes"]), json.loads(description))
            for key, thing in carries.items():
                thing.load_state_dict(saved["state"][key])
            start, seconds, log = saved["step"], saved["seconds"], saved["log"]

        def save(step: int) -> None:
            state = {key: thing.state_dict() for key, thing in carries.items()}
            content = {"step": step, "seconds": seconds, "log": log, "describes": description, "state": state}
            write_whole(path, lambda p: torch.save(content, p), before=path.with_name(BEFORE))

        if start < steps and not writable:
            raise unwritten(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
        end = steps if stop_after is None else min(steps, start + stop_after)
        sums: Scalars = {}
        since, count = time.perf_counter(), 0
        for step in (bar := tqdm(range(start, end), desc=name, initial=start, total=steps, mininterval=1.0)):
            for key, value in step_fn(step, step_rng(seed, step, device)).items():
                sums[key] = sums.get(key, 0) + value.detach()
            count += 1
            last = step + 1 == end
            if last or (step + 1) % log_every == 0:
                row = {key: float(value) / count for key, value in sums.items()}
                if not all(map(math.isfinite, row.values())):
                    kept = (
                        f"the checkpoint before it is {path}" if path.exists() else "there was no checkpoint before it"
                    )
                    raise FloatingPointError(f"{name} gave {row} by step {step + 1}; {kept}: lower the learning rate.")
                seconds += time.perf_counter() - since
                since, sums, count = time.perf_counter(), {}, 0
                log.append({"step": step + 1, "seconds": round(seconds, 2), **row})
                bar.set_postfix({key: f"{value:.3g}" for key, value in row.items()})
                if last or (step + 1) % save_every < log_every:
                    if evaluate is not None:
                        log[-1].update(evaluate())
                        since = time.perf_counter()
                    save(step + 1)
        return log


def _load(path: Path, device: str | torch.device) -> dict[str, Any]:
    """What a checkpoint holds; one that is damaged is set aside for the one before it, and named in a ValueError."""
    try:
        saved = torch.load(path, map_location=device, weights_only=True) if _whole(path) else None
    except pickle.UnpicklingError:
        saved = None
    if isinstance(saved, dict) and {"step", "seconds", "log", "describes", "state"} <= saved.keys():
        return saved
    aside, before = path.with_name("checkpoint-damaged.pt"), path.with_name(BEFORE)
    try:
        path.replace(aside)
        if next_time := before.exists():
            before.replace(path)
    except OSError:
        raise ValueError(f"{path} is damaged: delete it, or go on in another place.") from None
    then = "goes on from the checkpoint before it" if next_time else "begins anew"
    raise ValueError(f"{path} is damaged: it was set aside as {aside.name}; run again, and the training {then}.")


def _whole(path: Path) -> bool:
    """Whether a file is what ``torch.save`` wrote, to its end: torch itself compares no sums."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None and any(name.endswith("/data.pkl") for name in archive.namelist())
    except OSError as error:
        if error.errno != errno.EINVAL:  # a place that is not in the file
            raise
    except Exception:  # a zip file can be damaged in many ways
        pass
    return False
