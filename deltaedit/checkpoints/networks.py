"""From the tensors of a file to a network of ours: sizes are compared first, and nothing is set aside for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from deltaedit.files import Module
from deltaedit.untrusted.fitting import misfit, planned
from deltaedit.untrusted.pickles import RefusedError

State = dict[str, Tensor]
WIDEST = 4096  # the published networks have 512


def fill(build: Callable[[], Module], state: Mapping[str, Tensor], what: str) -> Module:
    """The network that ``build`` makes, holding the tensors of ``state``; float32, in evaluation mode.

    ``build`` is called where tensors have shapes but no memory; ``what`` the network is, is for the error. Raises
    ``RefusedError`` if one is missing, or of another shape; it names both.
    """
    module = planned(build, len(state))
    wanted = module.state_dict()
    if reason := misfit(wanted, state):
        raise RefusedError(f"is no {what}: {reason}")
    module.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in wanted.items()}, assign=True)
    return module.eval()
