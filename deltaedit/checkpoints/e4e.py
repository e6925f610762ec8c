"""e4e's published encoders, ``.pt``: ``state_dict`` with ``encoder.*`` and ``decoder.*``, ``latent_avg``, ``opts``."""

from __future__ import annotations

from itertools import groupby, takewhile

import torch

from deltaedit.checkpoints.networks import State
from deltaedit.e4e import E4EConfig
from deltaedit.untrusted.containers import Checkpoint
from deltaedit.untrusted.pickles import RefusedError

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


FIRST = "input_layer.0.weight"  # of every encoder, and of the network that it was made from


def read(file: Checkpoint) -> tuple[State, E4EConfig]:
    """The encoder's tensors by our names, and its sizes; raises ``RefusedError`` or ``KeyError`` for another file."""
    at = file.at(f"encoder.{FIRST}")
    at = file.at(FIRST) if at is None else f"{at}encoder."
    kind = file.beside(at or "", "opts.encoder_type") or "Encoder4Editing"
    if kind != "Encoder4Editing":
        raise RefusedError(f"holds an encoder of type {str(kind)[:50]!r}, not e4e's ('Encoder4Editing')")
    if at is None:
        raise RefusedError("holds no encoder of e4e's")
    state = to_ours(file.tensors(file.below(at)))
    counted = takewhile(lambda k: f"body.{k}.residual.1.weight" in state, range(100))
    depths = [state[f"body.{k}.residual.1.weight"].shape[0] for k in counted]
    config = E4EConfig(
        w_dim=state["heads.0.linear.weight"].shape[0],
        num_ws=len({key.split(".")[1] for key in state if key.startswith("heads.")}),
        width=state["stem.0.weight"].shape[0],
        units=tuple(len(list(run)) for _, run in groupby(depths)),
        height=192 if "car" in str(file.beside(at, "opts.dataset_type"))[:50] else 256,
    )
    average = file.tensors({"w_avg": file.beside(at, "latent_avg")}).get("w_avg", torch.zeros(config.w_dim))
    return state | {"w_avg": average.expand(config.num_ws, -1).clone()}, config


def to_ours(state: State) -> State:
    """Rename an encoder's state dict for ``E4E.load_state_dict``."""
    ours = {}
    for key, value in state.items():
        for theirs, name in _NAMES.items():
            key = key.replace(theirs, name)
        ours[key] = value
    return ours
