"""StyleGAN2 generators in NVIDIA's pickles, ``.pkl``: of stylegan2-ada-pytorch, and of stylegan3's repository.

Every object in them carries the source of its class, which is never looked at: names, parameters and buffers say all.
"""

from __future__ import annotations

import re
from typing import Any

from deltaedit.checkpoints.containers import Checkpoint
from deltaedit.checkpoints.networks import State
from deltaedit.checkpoints.pickles import Record, RefusedError
from deltaedit.checkpoints.rosinality import check_filters


def holds_generator(data: Any) -> bool:
    """Whether what was in a file is a network of NVIDIA's, or a dict of some."""
    return isinstance(data.get("G_ema") if isinstance(data, dict) else data, Record)


def read(file: Checkpoint) -> tuple[State, float]:
    """The generator's tensors by our names, and ``mapping_lr_mul``; raises as ``rosinality.to_ours`` does."""
    network = file.data["G_ema"] if isinstance(file.data, dict) else file.data
    modules: dict[str, dict[str, Any]] = {}
    _collect(network, "", modules)
    entries: dict[str, Any] = {}
    for at, module in modules.items():
        for part in ("_parameters", "_buffers"):
            entries |= {f"{at}{name}": value for name, value in module[part].items()}
    state = file.tensors(entries)
    _check(state, modules, network.name)
    return to_ours(state), float(modules["mapping.fc0."]["bias_gain"])


def to_ours(state: State) -> State:
    """Rename and reshape a generator's state dict for ``Generator.load_state_dict``."""
    ours = {"const": state["synthesis.b4.const"][None]}
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
    return ours


def _collect(network: Any, at: str, modules: dict[str, dict[str, Any]]) -> None:
    """Gather the state of a network and of those inside it, by name."""
    state = network.state if isinstance(network, Record) else None
    parts = ("_parameters", "_buffers", "_modules")
    if not isinstance(state, dict) or not all(isinstance(state.get(part), dict) for part in parts):
        raise RefusedError(f"is no StyleGAN2 generator ({at or 'it'} is no network)")
    if at.count(".") > 8 or len(modules) > 1000 or max(len(state[part]) for part in parts) > 1000:
        raise RefusedError("is no StyleGAN2 generator (networks within networks without end)")
    modules[at] = state
    for name, inner in state["_modules"].items():
        _collect(inner, f"{at}{name}.", modules)


def _check(state: State, modules: dict[str, dict[str, Any]], name: str) -> None:
    """Raise RefusedError for what a StyleGAN2 of ours would draw otherwise."""
    if any(re.match(r"synthesis\.(input|L\d+_)", at) for at in modules):
        raise RefusedError("is a StyleGAN3, whose style space is another; use a StyleGAN2")
    if "synthesis.b4.const" not in state:
        raise RefusedError(f"is no StyleGAN2 generator but a {name}")
    if "mapping.embed." in modules:
        raise RefusedError("is a class-conditional StyleGAN2, which cannot be edited here")
    for at, module in modules.items():
        if module.get("architecture", "skip") != "skip":
            raise RefusedError(f"is a StyleGAN2 of architecture {str(module['architecture'])[:20]!r}, ours is 'skip'")
        if at.endswith(("conv0.", "conv1.")) and module.get("activation", "lrelu") != "lrelu":
            raise RefusedError(f"is a StyleGAN2 with {str(module['activation'])[:20]!r} activations, ours has 'lrelu'")
    check_filters({key: value for key, value in state.items() if key.endswith("resample_filter")})
