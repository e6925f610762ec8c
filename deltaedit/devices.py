"""Where things are computed, in which precision, and how many at a time."""

from __future__ import annotations

import torch
from torch import Tensor

BATCH = 64  # pictures at a time at most


def find_device(name: str | torch.device) -> torch.device:
    """The device of that name, such as "cpu" or "cuda"; raises ``ValueError`` if this machine has none such."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError, ImportError):
        there = "'cpu' or 'cuda'" if torch.cuda.is_available() else "'cpu'"
        raise ValueError(f"there is no device {str(name)!r} on this machine: choose {there}.") from None
    return device


def half_dtype(device: str | torch.device) -> torch.dtype:
    """The type of 16 bits that the device computes fastest in: float16 on CUDA, bfloat16 on a CPU with instructions
    for it; float32 where there is none.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.float16
    known = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if kind == "cpu" and known() else torch.float32


def drawing_dtype(resolution: int, device: str | torch.device) -> torch.dtype:
    """What to draw pictures in: half precision where they are so large that it pays, from 256 px on."""
    return half_dtype(device) if resolution >= 256 else torch.float32


def has_bfloat16(device: str | torch.device) -> bool:
    """Whether the device computes in bfloat16 faster than in float32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return half_dtype(device) == torch.bfloat16


def half_precision(device: str | torch.device, wanted: bool = True) -> torch.autocast:
    """Context that computes in bfloat16 where the device is faster in it, and in float32 where it is not.

    A processor without instructions for it takes many times as long.
    """
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=wanted and has_bfloat16(device))


def full_precision(x: Tensor) -> torch.autocast:
    """Context that switches autocast off: styles and their norms keep float32, only the pictures go lower."""
    return torch.autocast(x.device.type, enabled=False)


def batch_size(resolution: int, device: str | torch.device) -> int:
    """Pictures to draw at a time, 64 small ones or fewer large ones, so that they fit into memory.

    On a CPU they are few enough for their layers to stay in memory that is at hand: larger ones are given back to the
    system each time, which takes longer to clear them than the convolutions take.
    """
    pixels = 2**24 if torch.device(device).type == "cuda" else 2**18
    return max(1, min(BATCH, pixels // resolution**2))


def home(size: int, device: str | torch.device) -> torch.device:
    """Where to keep ``size`` bytes of features: on the device, unless they fill over half of a GPU's free memory."""
    device = torch.device(device)
    return torch.device("cpu") if device.type == "cuda" and 2 * size > torch.cuda.mem_get_info(device)[0] else device
