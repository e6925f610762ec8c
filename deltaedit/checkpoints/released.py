"""DeltaEdit's released mapper, ``net_face.pth``: a bare state dict; and what its weights need to work as released."""

from __future__ import annotations

import re

from deltaedit.checkpoints.networks import State
from deltaedit.mapper import MapperConfig
from deltaedit.style_space import StyleLayout
from deltaedit.stylegan2 import GeneratorConfig
from deltaedit.untrusted.pickles import RefusedError

_MODULES = {"sm": "style", "cm": "condition", "fm": "fusion"}
MARKER = "fm_coarse.mapping.0.weight"  # every mapper has one
_GROUPS = ("coarse", "medium", "fine")


def to_ours(state: State) -> State:
    """Rename a mapper's state dict for ``DeltaMapper``'s; raises ``RefusedError`` if something else is in it."""
    ours = {}
    for key, value in state.items():
        match = re.fullmatch(r"(sm|cm|fm)_(coarse|medium|fine)\.mapping\.(\d+\.(?:weight|bias))", key)
        if match is None:
            raise RefusedError(f"is no DeltaEdit mapper: it has {key[:100]}")
        module, group, rest = match.groups()
        ours[f"{group}.{_MODULES[module]}.{rest}"] = value
    if not ours:
        raise RefusedError("is no DeltaEdit mapper: it has no tensors")
    return ours


def config(state: State, dims: tuple[int, ...] | None) -> MapperConfig:
    """Sizes of a mapper, from its state dict by our names; ``dims`` of None are those of the StyleGAN2 that it fits.

    Raises ``RefusedError`` if it fits no StyleGAN2, or not this one, with the widths of both; ``KeyError`` if a tensor
    is missing.
    """
    widths = tuple(state[f"{group}.fusion.3.weight"].shape[0] for group in _GROUPS)
    sizes = [2**k for k in range(5, 11)]
    known = [GeneratorConfig(r, channel_base=base).layout.dims for base in (32768, 16384) for r in reversed(sizes)]
    fitting = [d for d in known if _widths(d) == widths] if dims is None else [dims]
    if not fitting or _widths(fitting[0]) != widths:
        other = f"this generator's {_widths(dims)}" if dims else "those of no StyleGAN2 of 32 to 1024 px"
        raise RefusedError(f"edits groups of {widths} style channels, which are {'not ' if dims else ''}{other}")
    feature_dim = state["coarse.condition.1.weight"].shape[1] // 2
    return MapperConfig(fitting[0], feature_dim, preprocessing="deltaedit")


def _widths(dims: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return tuple(group.width for group in StyleLayout(dims).groups)
    except ValueError:  # of another architecture
        return dims
