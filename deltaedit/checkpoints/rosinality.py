"""StyleGAN2 generators in rosinality's layout, ``.pt``; or in BasicSR's, ``.pth``, which has other names for it."""

from __future__ import annotations

import re
from collections.abc import Collection

import torch
from torch import Tensor

from deltaedit.checkpoints.networks import State
from deltaedit.untrusted.pickles import RefusedError

CONST, BASICSR = "input.input", "constant_input.weight"
LARGEST = 1024  # px of a picture of noise
_THEIRS = (  # BasicSR's names; of what is called style_conv, a bare weight is the noise's
    (r"^style_mlp\.", "style."),
    (r"^constant_input\.weight$", CONST),
    (r"^(style_conv1|style_convs\.\d+)\.weight$", r"\1.noise.weight"),
    (r"^style_conv", "conv"),
    (r"\.modulated_conv\.", ".conv."),
    (r"^noises\.noise(\d+)$", r"noises.noise_\1"),
)


def to_ours(state: State) -> State:
    """Rename and reshape a generator's state dict for ``Generator.load_state_dict``; ``w_avg`` if it is there.

    Noises that are not there, as in older files, are drawn from a seed. Raises ``RefusedError`` if it is of another
    architecture, ``KeyError`` if a tensor is missing.
    """
    if BASICSR in state:
        state = {_renamed(key): value for key, value in state.items()}
    noises = any(key.startswith("noises.") for key in state)
    check_filters({key: value / 4 for key, value in state.items() if key.endswith("kernel")})
    ours: State = {"const": state["input.input"]}
    for key, value in state.items():
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            ours[f"mapping_network.{int(match[1]) - 1}.{match[2]}"] = value
    for theirs, k in _numbered(state, "conv1", "convs"):
        ours[f"convs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze(0)
        ours[f"convs.{k}.bias"] = state[f"{theirs}.activate.bias"]
        ours[f"convs.{k}.noise_strength"] = state[f"{theirs}.noise.weight"].squeeze()
        ours[f"convs.{k}.noise_const"] = state[f"noises.noise_{k}"] if noises else noise(k)
        ours |= {f"convs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    for theirs, k in _numbered(state, "to_rgb1", "to_rgbs"):
        ours[f"to_rgbs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze((0, 3, 4))
        ours[f"to_rgbs.{k}.bias"] = state[f"{theirs}.bias"].flatten()
        ours |= {f"to_rgbs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    if "latent_avg" in state:
        ours["w_avg"] = state["latent_avg"]
    return ours


def noise(k: int) -> Tensor:
    """What stands for the noise (1, 1, H, W) of convolution ``k`` of a file that has none, always the same."""
    side = 4 * 2 ** min(-(-k // 2), 20)
    if side > LARGEST:
        raise RefusedError(f"has a convolution that draws at {side} px, more than a StyleGAN2 here may")
    return torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(k))


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


def _renamed(key: str) -> str:
    for theirs, ours in _THEIRS:
        key = re.sub(theirs, ours, key)
    return key


def guess(state: Collection[str]) -> str:
    """What a file without a StyleGAN2 is, by the names in it, as the end of a sentence."""
    if any(re.search(r"(^|\.)(generator\.progression|g_synthesis\.|synthesis\.layer\d)", key) for key in state):
        return " but a StyleGAN1"
    return f" (it has {', '.join(list(state)[:3])[:100]}, ...)" if state else " (it has no tensors)"
