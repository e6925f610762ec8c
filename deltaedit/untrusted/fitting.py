"""Whether a network that a file describes is the one whose tensors it holds, before memory is set aside for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook as on_module
from torch.nn.modules.module import register_module_parameter_registration_hook as on_parameter

from deltaedit.untrusted.pickles import RefusedError

Module = TypeVar("Module", bound=nn.Module)


def planned(build: Callable[[], Module], count: int) -> Module:
    """The network that ``build`` makes, where tensors have shapes but no memory.

    Raises ``RefusedError`` as soon as it has far more parts than a network of ``count`` tensors.
    """
    parts, thread = 0, threading.get_ident()

    def counted(*_: Any) -> None:
        nonlocal parts
        parts += threading.get_ident() == thread  # others may build networks of their own
        if parts > 10 * count + 1000:
            raise RefusedError(f"describes a network of far more than its {count} tensors")

    hooks = on_module(counted), on_parameter(counted)
    try:
        with torch.device("meta"):
            return build()
    finally:
        for hook in hooks:
            hook.remove()


def misfit(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str | None:
    """Why tensors are not those of a network with the state dict ``wanted``, in words; None if they are."""
    if missing := [name for name in wanted if name not in state]:
        return f"it lacks {missing[0]}"
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape or state[name].is_floating_point() != tensor.is_floating_point():
            got, fits = (f"{tuple(t.shape)} of {str(t.dtype)[6:]}" for t in (state[name], tensor))
            return f"{name[:100]} is {got}, where that has {fits}"
    return None
