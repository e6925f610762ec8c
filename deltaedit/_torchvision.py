"""Where open_clip is imported from: with torchvision mended first, where it cannot be imported beside a CPU-only torch.

Some builds of torchvision register shape functions for compiled operators that they do not carry, and then fail to
import. Declaring the signatures of those operators is enough: nothing here ever calls them.
"""

import torch

__all__ = ["open_clip"]

try:
    import torchvision
except RuntimeError as error:
    if "operator torchvision::nms does not exist" not in str(error):
        raise
    _library = torch.library.Library("torchvision", "FRAGMENT")  # must live as long as the process
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import open_clip
