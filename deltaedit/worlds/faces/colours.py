"""Colours as people tell them apart: CIE Lab, and hue, saturation, value."""

from __future__ import annotations

import torch
from torch import Tensor

D65 = (0.950456, 1.0, 1.088754)  # white
TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))


def lab(image: Tensor) -> Tensor:
    """CIE Lab (B, 3, H, W), lightness from 0 to 100, of sRGB images in [-1, 1].

    >>> lab(torch.ones(1, 3, 1, 1)).flatten().round().abs().tolist()
    [100.0, 0.0, 0.0]
    """
    x = (image.clamp(-1, 1) + 1) / 2
    linear = torch.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    to_xyz = image.new_tensor(TO_XYZ) / image.new_tensor(D65)[:, None]
    xyz = torch.einsum("ij,bjhw->bihw", to_xyz, linear)
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def hsv(image: Tensor) -> Tensor:
    """Hue from 0 to 360 degrees, saturation and value from 0 to 1, (B, 3, H, W), of sRGB images in [-1, 1].

    >>> hsv(torch.tensor([-1.0, 1.0, -1.0]).view(1, 3, 1, 1)).flatten().tolist()
    [120.0, 1.0, 1.0]
    """
    x = (image.clamp(-1, 1) + 1) / 2
    r, g, b = x.unbind(1)
    value, which = x.max(dim=1)
    span = value - x.amin(dim=1)
    sixths = torch.stack([g - b, b - r, r - g], dim=1) / span.clamp(min=1e-6)[:, None]
    hue = 60 * (sixths.gather(1, which[:, None])[:, 0] + 2 * which)
    return torch.stack([hue % 360, span / value.clamp(min=1e-6), value], dim=1)
