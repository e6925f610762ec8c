"""From the tensors of a file to a network of ours: sizes are compared first, and nothing is set aside for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deltaedit.checkpoints.pickles import RefusedError
from deltaedit.files import Module

State = dict[str, Tensor]
WIDEST = 4096  # the published networks have 512


def fill(build: Callable[[], Module], state: Mapping[str, Tensor], what: str) -> Module:
    """The network that ``build`` makes, holding the tensors of ``state``; float32, in evaluation mode.

    ``build`` is called where tensors have shapes but no memory; ``what`` the network is, is for the error. Raises
    ``RefusedError`` if one is missing, or of another shape; it names both.
    """
    with torch.device("meta"):
        module = build()
    wanted = module.state_dict()
    if missing := [name for name in wanted if name not in state]:
        raise RefusedError(f"is no {what}: it lacks {missing[0]}")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape or state[name].is_floating_point() != tensor.is_floating_point():
            got, fits = (f"{tuple(t.shape)} of {str(t.dtype)[6:]}" for t in (state[name], tensor))
            raise RefusedError(f"is no {what}: {name} is {got}, where that has {fits}")
    module.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in wanted.items()}, assign=True)
    return module.eval()
