"""A procedural painter: signed-distance shapes composited back to front, in torch.

Everything is batched, works at any resolution, and is differentiable in the continuous factors. Heads are aligned as
in FFHQ (the eyes always at about the same place), which is what lets small models learn the small things.
Coordinates: x to the right and y down, from -1 to 1, of which the picture shows the middle.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from deltaedit.worlds.world import World

Color = tuple[float, float, float]  # red, green and blue in [0, 1]
FRAME = 0.9  # how much of the painter's plane, -1 to 1, the picture shows


def rgb(text: str) -> dict[str, Color]:
    """Colours by name, in per cent of red, green and blue: «red 88 14 18, blue 16 38 85»."""
    rows = (entry.split() for entry in text.split(", "))
    return {name: (int(red) / 100, int(green) / 100, int(blue) / 100) for name, red, green, blue in rows}


BACKGROUNDS = rgb("blue 64 81 94, green 68 86 69, pink 97 74 79, yellow 98 90 62, grey 74 74 77")


def render(world: World, factors: Tensor, resolution: int = 64) -> Tensor:
    """Paint factors (B, len(names)), see :mod:`deltaedit.worlds.table`: (B, 3, resolution, resolution) in [-1, 1].

    Raises ``ValueError`` when the factors have another width than the table, or the resolution is not positive.
    """
    if factors.ndim != 2 or factors.shape[1] != len(world.table.names):
        raise ValueError(f"Factors must have shape (B, {len(world.table.names)}), got {tuple(factors.shape)}.")
    if resolution < 1:
        raise ValueError(f"The resolution must be at least 1 pixel, got {resolution}.")
    p = world.painter(world, factors.float(), resolution)
    for part in world.parts:
        part(p)
    return p.canvas.clamp(0, 1) * 2 - 1


class Painter:
    """The canvas (B, 3, H, W) in [0, 1], the coordinates (1, H, W), and the factors ``f`` as (B, 1, 1) by name."""

    glow = 0.0  #: how far above the middle the background is light

    def __init__(self, world: World, factors: Tensor, resolution: int) -> None:
        self.world = world
        self.f = SimpleNamespace(**{name: v[:, None, None] for name, v in world.table.columns(factors).items()})
        axis = (torch.arange(resolution, device=factors.device, dtype=torch.float32) + 0.5) / resolution * 2 - 1
        self.y, self.x = axis[None, :, None] * FRAME + 0.04, axis[None, None, :] * FRAME
        self.sharpness = 2.0 * resolution / FRAME  # sigmoid slope: an edge about one pixel wide
        self.canvas = torch.zeros(len(factors), 3, resolution, resolution, device=factors.device)
        self.prepare()

    def prepare(self) -> None:
        """Work out what several parts of a world's pictures need."""

    def pick(self, name: str) -> Tensor:
        """The palette's colours (B, 3) of a Choice."""
        colors = self.world.palette[name]
        options = self.world.table.attribute(name).options
        table = torch.tensor([colors[option] for option in options], device=self.canvas.device)
        return table[getattr(self.f, name).view(-1).round().long().clamp(0, len(options) - 1)]

    def cover(self, distance: Tensor) -> Tensor:
        """Coverage in [0, 1] of a shape from its signed distance, negative inside."""
        return torch.sigmoid((distance * -self.sharpness).clamp(-16, 16))  # no slow denormal numbers

    def blur(self, distance: Tensor, width: float) -> Tensor:
        """Coverage with an edge of a given width in picture units, whatever the resolution."""
        return torch.sigmoid((distance * (-4.0 / width)).clamp(-16, 16))

    def paint(self, color: Tensor | Color, alpha: Tensor) -> None:
        """Composite a colour, (B, 3) or one for all or an image (B, 3, H, W), over the canvas with alpha (B, H, W)."""
        if isinstance(color, tuple):
            color = torch.tensor([color], device=self.canvas.device)
        if color.ndim == 2:
            color = color[:, :, None, None]
        self.canvas = torch.lerp(self.canvas, color.expand_as(self.canvas), alpha[:, None].expand_as(self.canvas))


def background(p: Painter) -> None:
    """A wall, lighter around ``p.glow``."""
    color = p.pick("background")
    glow = torch.exp(-((p.x * 0.9) ** 2 + (p.y + p.glow) ** 2) * 1.1).expand(len(color), -1, -1)
    p.paint(shade(color, -0.13), torch.ones_like(glow))
    p.paint(shade(color, 0.3), glow * 0.9)


def ellipse(x: Tensor, y: Tensor, rx: Tensor | float, ry: Tensor | float) -> Tensor:
    """Signed distance to an axis-aligned ellipse, exact to first order at its edge."""
    u, v = x / rx, y / ry
    k = torch.sqrt(u * u + v * v + 1e-8)
    return k * (k - 1) / torch.sqrt((u / rx) ** 2 + (v / ry) ** 2 + 1e-8)


def box(x: Tensor, y: Tensor, hx: Tensor | float, hy: Tensor | float, radius: float = 0.0) -> Tensor:
    """Signed distance to a box of half sizes hx, hy with rounded corners (a bound outside)."""
    dx, dy = x.abs() - hx + radius, y.abs() - hy + radius
    outside = torch.sqrt(dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2 + 1e-8)
    return outside + torch.maximum(dx, dy).clamp(max=0) - radius


def stroke(x: Tensor, y: Tensor, curve: Tensor | float, half: Tensor | float, thick: Tensor | float) -> Tensor:
    """Distance to the parabola y = curve · x² from −half to half, with a half-thickness that tapers to the ends."""
    t = (x / half).clamp(-1, 1)
    dy = (y - curve * x * x) / torch.sqrt(1 + (2 * curve * x) ** 2)
    dx = (x.abs() - half).clamp(min=0)
    return torch.sqrt(dx * dx + dy * dy + 1e-8) - thick * (1 - 0.45 * t * t)


def shade(color: Tensor, amount: float) -> Tensor:
    """Darken (amount < 0) or lighten (amount > 0) colours."""
    return color * (1 + amount) if amount < 0 else color + (1 - color) * amount
