"""What 68 landmarks and the pixels beside them tell of a face: how it is turned, and colours of its parts.

Landmarks are numbered as iBUG numbers them: 0 to 16 the jaw, 17 to 26 brows, 27 to 35 nose, 36 to 47 eyes, 48 to 67
lips; left is left as the viewer sees it. Colours are CIE Lab, from 0 to 100 in lightness.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from deltaedit.worlds.faces.colours import lab


def turned(points: Tensor) -> dict[str, Tensor]:
    """``yaw`` and ``pitch``, (B,) each, of landmarks (B, 68, 2).

    Yaw is how far to the right the tip of the nose lies from the middle between both sides of the jaw, as a share of
    half their distance; pitch how far down it lies on the way from the eyes to the chin.
    """
    x, y = points.unbind(2)
    left, right, tip = x[:, :4].mean(1), x[:, 13:17].mean(1), points[:, 30]
    eyes, chin = y[:, 36:48].mean(1), y[:, 8]
    return {
        "yaw": (2 * tip[:, 0] - left - right) / (right - left).clamp(min=0.01),
        "pitch": (tip[:, 1] - eyes) / (chin - eyes).clamp(min=0.01),
    }


def colours(image: Tensor, points: Tensor) -> dict[str, Tensor]:
    """``skin``, ``lips``, ``hair_light`` and ``background``, (B,) each, of pictures and their landmarks (B, 68, 2).

    Lightness of the cheeks, of what is above the forehead and of the upper corners, and by how much lips are redder
    (a*) than cheeks. Landmarks count from 0 to 1, right and down.
    """
    seen = lab(F.adaptive_avg_pool2d(image, 64))

    def at(places: Tensor) -> Tensor:  # (B, n, 2) → (B, 3, n)
        grid = 2 * places[:, None] - 1
        return F.grid_sample(seen, grid, padding_mode="border", align_corners=False)[:, :, 0]

    sides = torch.stack([(points[:, 2] + points[:, 31]) / 2, (points[:, 14] + points[:, 35]) / 2], dim=1)
    width = torch.stack([points[:, 31, 0] - points[:, 2, 0], points[:, 14, 0] - points[:, 35, 0]], dim=1)
    width = width.clamp(min=0.01)  # of a head that is turned, the cheek that is seen counts
    cheeks = (at(sides) * (width / width.sum(1, keepdim=True))[:, None]).sum(2)
    upper, lower = points[:, [50, 51, 52, 61, 62, 63]], points[:, [58, 57, 56, 67, 66, 65]]
    lips = at(torch.cat([(part[:, :3] + part[:, 3:]) / 2 for part in (upper, lower)], dim=1)).mean(2)
    brows, chin = points[:, 17:27].mean(1), points[:, 8]
    across = torch.linspace(-0.25, 0.25, 5, device=image.device)[None, :, None]
    up = brows - 0.5 * (chin - brows)
    above = at(up[:, None] + across * (points[:, 16] - points[:, 0])[:, None]).mean(2)
    corners = torch.cat([seen[:, :1, :22, :6], seen[:, :1, :22, -6:]], dim=3).mean((1, 2, 3))
    return {"skin": cheeks[:, 0], "lips": lips[:, 1] - cheeks[:, 1], "hair_light": above[:, 0], "background": corners}
