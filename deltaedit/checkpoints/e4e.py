"""e4e's published encoders, ``.pt``: ``state_dict`` with ``encoder.*`` and ``decoder.*``, ``latent_avg``, ``opts``."""

from __future__ import annotations

from itertools import groupby, takewhile
from typing import Any

import torch

from deltaedit.checkpoints.containers import Checkpoint
from deltaedit.checkpoints.networks import State
from deltaedit.checkpoints.pickles import RefusedError
from deltaedit.e4e import E4EConfig

_NAMES = {
    "input_layer.": "stem.",
    "shortcut_layer.": "shortcut.",
    "res_layer.": "residual.",
    "fc1.": "squeeze.",
    "fc2.": "excite.",
    "styles.": "heads.",
    "latlayer1.": "lateral.0.",
    "latlayer2.": "lateral.1.",
}


def part(data: Any, name: str) -> dict[str, Any]:
    """The entries of ``state_dict`` that begin with "encoder." or "decoder.", without it; none in other files."""
    entries = data.get("state_dict") if isinstance(data, dict) else None
    entries = entries if isinstance(entries, dict) else {}
    return {key[8:]: value for key, value in entries.items() if isinstance(key, str) and key.startswith(f"{name}.")}


def read(file: Checkpoint) -> tuple[State, E4EConfig]:
    """The encoder's tensors by our names, and its sizes; raises ``RefusedError`` or ``KeyError`` for another file."""
    entries = part(file.data, "encoder")
    if not entries:
        raise RefusedError("holds no encoder of e4e's")
    options = file.data.get("opts")
    options = options if isinstance(options, dict) else getattr(options, "state", None) or {}
    kind = options.get("encoder_type", "Encoder4Editing")
    if kind != "Encoder4Editing":
        raise RefusedError(f"holds an encoder of type {str(kind)[:50]!r}, not e4e's ('Encoder4Editing')")
    state = to_ours(file.tensors(entries))
    counted = takewhile(lambda k: f"body.{k}.residual.1.weight" in state, range(100))
    depths = [state[f"body.{k}.residual.1.weight"].shape[0] for k in counted]
    config = E4EConfig(
        w_dim=state["heads.0.linear.weight"].shape[0],
        num_ws=len({key.split(".")[1] for key in state if key.startswith("heads.")}),
        width=state["stem.0.weight"].shape[0],
        units=tuple(len(list(run)) for _, run in groupby(depths)),
        height=192 if "car" in str(options.get("dataset_type", ""))[:50] else 256,
    )
    average = file.tensors({"w_avg": file.data.get("latent_avg")}).get("w_avg", torch.zeros(config.w_dim))
    return state | {"w_avg": average.expand(config.num_ws, -1).clone()}, config


def to_ours(state: State) -> State:
    """Rename an encoder's state dict for ``E4E.load_state_dict``."""
    ours = {}
    for key, value in state.items():
        for theirs, name in _NAMES.items():
            key = key.replace(theirs, name)
        ours[key] = value
    return ours
