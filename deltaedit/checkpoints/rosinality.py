"""StyleGAN2 generators in rosinality's layout, ``.pt``: a dict with ``g_ema``, or a bare state dict."""

from __future__ import annotations

import re

import torch

from deltaedit.checkpoints.networks import State
from deltaedit.checkpoints.pickles import RefusedError


def to_ours(state: State) -> State:
    """Rename and reshape a generator's state dict for ``Generator.load_state_dict``; ``w_avg`` if it is there.

    Raises ``RefusedError`` if it is of another architecture, ``KeyError`` if a tensor is missing.
    """
    if "input.input" not in state:
        raise RefusedError(f"is no StyleGAN2 generator{_guess(state)}")
    check_filters({key: value / 4 for key, value in state.items() if key.endswith("kernel")})
    ours: State = {"const": state["input.input"]}
    for key, value in state.items():
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            ours[f"mapping_network.{int(match[1]) - 1}.{match[2]}"] = value
    for theirs, k in _numbered(state, "conv1", "convs"):
        ours[f"convs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze(0)
        ours[f"convs.{k}.bias"] = state[f"{theirs}.activate.bias"]
        ours[f"convs.{k}.noise_strength"] = state[f"{theirs}.noise.weight"].squeeze()
        ours[f"convs.{k}.noise_const"] = state[f"noises.noise_{k}"]
        ours |= {f"convs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    for theirs, k in _numbered(state, "to_rgb1", "to_rgbs"):
        ours[f"to_rgbs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze((0, 3, 4))
        ours[f"to_rgbs.{k}.bias"] = state[f"{theirs}.bias"].flatten()
        ours |= {f"to_rgbs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    if "latent_avg" in state:
        ours["w_avg"] = state["latent_avg"]
    return ours


def check_filters(filters: State) -> None:
    """Raise RefusedError if one is not the [1, 3, 3, 1] low-pass filter, with a sum of 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    wanted = torch.outer(taps, taps) / 64
    for name, kernel in filters.items():
        if kernel.shape != wanted.shape or not torch.allclose(kernel.float(), wanted):
            raise RefusedError(f"resamples with another filter than [1, 3, 3, 1] ({name})")


def _numbered(state: State, first: str, others: str) -> list[tuple[str, int]]:
    """(their name, our number) of the layers called ``first``, ``others.0``, ``others.1``, ..."""
    count = len({key.split(".")[1] for key in state if key.startswith(f"{others}.")})
    return [(first, 0), *((f"{others}.{k}", k + 1) for k in range(count))]


def _guess(state: State) -> str:
    if any(re.match(r"(generator\.progression|g_synthesis\.|synthesis\.layer\d)", key) for key in state):
        return " but a StyleGAN1"
    if any(re.match(r"synthesis\.(input\.|L\d+_)", key) for key in state):
        return " but a StyleGAN3"
    return f" (it has {', '.join(list(state)[:3])[:100]}, ...)" if state else " (it has no tensors)"
