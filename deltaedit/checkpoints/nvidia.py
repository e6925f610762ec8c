"""StyleGAN2 generators in NVIDIA's pickles, ``.pkl``: of stylegan2-ada-pytorch, and as PTI saves them.

Every object in them carries the source of its class, which is never looked at: names, parameters and buffers say all.
"""

from __future__ import annotations

import re
from typing import Any

import torch

from deltaedit.checkpoints.networks import State
from deltaedit.checkpoints.rosinality import check_filters, noise
from deltaedit.untrusted.containers import Checkpoint
from deltaedit.untrusted.pickles import RefusedError

CONST = "synthesis.b4.const"
_OTHERS = {
    r"synthesis\.(input\.|L\d+_)": "is a StyleGAN3, whose style space is another; use a StyleGAN2",
    r"mapping\.embed\.": "is a class-conditional StyleGAN2, which cannot be edited here",
}


def read(file: Checkpoint, at: str) -> tuple[State, float]:
    """The tensors of the generator at a path, by our names, and ``mapping_lr_mul``.

    Raises ``RefusedError`` for what a StyleGAN2 of ours would draw otherwise, and as ``rosinality.to_ours`` does.
    """
    entries = file.below(at)
    refuse_others(entries)
    for key, value in entries.items():
        if re.fullmatch(r"synthesis\.b\d+\.architecture", key) and value != "skip":
            raise RefusedError(f"is a StyleGAN2 of architecture {str(value)[:20]!r}, ours is 'skip'")
        if key.endswith((".conv0.activation", ".conv1.activation")) and value != "lrelu":
            raise RefusedError(f"is a StyleGAN2 with {str(value)[:20]!r} activations, ours has 'lrelu'")
    state = file.tensors(entries)
    check_filters({key: value for key, value in state.items() if key.endswith("resample_filter")})
    gain = entries.get("mapping.fc0.bias_gain", 0.01)
    return to_ours(state), float(gain) if isinstance(gain, int | float) and 0 < gain < 1e6 else 0.01


def refuse_others(entries: dict[str, Any]) -> None:
    """Raise RefusedError if a network of NVIDIA's is one that cannot be edited here, by its name."""
    for key in entries:
        for pattern, what in _OTHERS.items():
            if re.search(rf"(^|\.){pattern}", key):
                raise RefusedError(what)


def to_ours(state: State) -> State:
    """Rename and reshape a generator's state dict for ``Generator.load_state_dict``."""
    ours = {"const": state[CONST][None]}
    for key, value in state.items():
        if key == "mapping.w_avg":
            ours["w_avg"] = value
        elif match := re.fullmatch(r"mapping\.fc(\d+)\.(weight|bias)", key):
            ours[f"mapping_network.{match[1]}.{match[2]}"] = value
        elif match := re.fullmatch(r"synthesis\.b(\d+)\.(conv([01])|torgb)\.(.+)", key):
            i = int(match[1]).bit_length() - 3  # 0 at 4 px, 1 at 8 px, ...
            layer = f"to_rgbs.{i}" if match[2] == "torgb" else f"convs.{2 * i - 1 + int(match[3])}"
            if match[4] == "noise_const":
                value = value[None, None]
            elif match[2] == "torgb" and match[4] == "weight":
                value = value.flatten(1)  # (3, C, 1, 1)
            ours[f"{layer}.{match[4]}"] = value
    if not any("noise" in key for key in ours):  # it was made without
        for k in range(2 * sum(key.endswith(".torgb.weight") for key in state) - 1):
            ours |= {f"convs.{k}.noise_const": noise(k), f"convs.{k}.noise_strength": torch.zeros(())}
    return ours
