"""The painter of pets, cats and dogs: their colours, and their parts from back to front."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deltaedit.worlds.painter import BACKGROUNDS, Color, Painter, background, box, ellipse, rgb, shade, stroke

COLLARS = rgb("red 88 14 18, blue 16 38 85, green 12 62 32, yellow 99 80 16")
PALETTE = {
    "fur_color": rgb("orange 95 52 14, black 15 14 18, white 96 95 94, brown 47 27 15, grey 57 60 66, cream 95 80 56"),
    "eye_color": rgb("blue 20 62 100, green 30 80 25, yellow 100 82 12, brown 50 24 6"),
    "nose_color": rgb("pink 98 52 58, black 10 8 10"),
    "collar_color": COLLARS,
    "scarf_color": COLLARS,
    "background": BACKGROUNDS,
}
# Stripes and spots, and patches, by the colour of the fur.
MARKS = rgb("orange 66 24 3, black 52 50 55, white 36 34 38, brown 20 10 5, grey 24 25 31, cream 66 42 20")
PATCHES = rgb("orange 98 95 90, black 95 94 93, white 22 20 23, brown 95 86 70, grey 95 95 96, cream 52 30 15")
PATTERNS = ("plain", "striped", "spotted", "patched")
ZOOM = 0.87  # how much of the engine's frame is shown, for heads are to be large
EYES = 0.205  # how far the eyes are from the middle; they lie at y = 0


class Pet(Painter):
    """A head and shoulders; every measure is a mixture of a cat's and a dog's."""

    glow = 0.1

    def prepare(self) -> None:
        """Where the features are, the head's outline, and the coat as a picture (B, 3, H, W)."""
        f = self.f
        self.x, self.y, self.sharpness = self.x * ZOOM, self.y * ZOOM - 0.015, self.sharpness / ZOOM
        self.young, self.old, self.side = 1 - f.age, ((f.age - 0.5) / 0.3).clamp(0, 1), 2 * f.light - 1
        self.happy, self.sad = f.mood.clamp(min=0), (-f.mood).clamp(min=0)
        self.xh, self.xf = self.x - 0.02 * f.yaw, self.x - 0.065 * f.yaw  # features turn more than the outline does,
        self.xm = self.x - self.mix(0.08, 0.11) * f.yaw  # and a muzzle more than eyes
        self.ah, self.af, self.am = self.xh.abs(), self.xf.abs(), self.xm.abs()  # two sides are painted at once
        self.width = self.mix(0.41, 0.385) + 0.15 * f.head_width + 0.03 * self.young
        self.skull = -0.05 - 0.05 * self.young  # height of the skull's middle
        angle = torch.atan2(self.xh, 0.1 - self.y)
        tufts = 1 - torch.sin(angle * 8 + 0.9 * torch.sin(angle * 3)).abs()
        self.tufts = f.fluffy * 0.1 * tufts * (0.35 + 0.65 * torch.sigmoid(self.y * 8))
        cheeks = self.width * (self.mix(1.02, 0.76) + 0.2 * f.jaw)
        cranium = ellipse(self.xh, self.y - self.skull, self.width, 0.37 + 0.03 * self.young)
        face = ellipse(self.xh, self.y - self.mix(0.15, 0.21), cheeks, self.mix(0.29, 0.35))
        self.head = melt(cranium, face, 0.14) - self.tufts + 0.01 * f.fluffy
        self.fur = self.pick("fur_color")
        self.coat = _coat(self)

    def mix(self, cat: float, dog: float) -> Tensor:
        """A measure of this animal, (B, 1, 1)."""
        return cat + (dog - cat) * self.f.species

    def by_fur(self, colors: dict[str, Color]) -> Tensor:
        """A colour (B, 3, 1, 1) that goes with the fur's."""
        table = torch.tensor([*colors.values()], device=self.x.device)
        return table[self.f.fur_color.flatten().round().long()][:, :, None, None]

    def ink(self) -> Tensor:
        """A colour that shows on what has been painted so far, dark on light and light on dark, (B, 3, H, W)."""
        dark = torch.tensor((0.13, 0.09, 0.10), device=self.x.device).view(1, 3, 1, 1)
        return 0.8 + (dark - 0.8) * torch.sigmoid((self.canvas.mean(dim=1, keepdim=True) - 0.24) * 60)


def turned(x: Tensor, y: Tensor, angle: Tensor | float) -> tuple[Tensor, Tensor]:
    """Coordinates along and across a direction, given as an angle from «up», clockwise: (across, along)."""
    s, c = (angle.sin(), angle.cos()) if isinstance(angle, Tensor) else (math.sin(angle), math.cos(angle))
    return x * c + y * s, x * s - y * c


def wedge(across: Tensor, along: Tensor, base: Tensor | float, length: Tensor | float, tip: Tensor | float) -> Tensor:
    """Distance to a triangle that stands on across = ±base, along = 0, its sides bulged and its tip rounded."""
    slope = (base * base + length * length) ** 0.5
    t = (along / length).clamp(0, 1)
    side = (across.abs() * length + along.clamp(min=0) * base - base * length) / slope - 0.25 * base * t * (1 - t)
    ball = length - tip * slope / base  # where the round tip has its middle
    cut = torch.maximum(side, torch.maximum(-along - 0.05, along - ball - tip * base / slope))
    return torch.minimum(cut, ellipse(across, along - ball, tip, tip))


def melt(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Union of two shapes whose seam is filled over a width."""
    h = (width - (a - b).abs()).clamp(min=0)
    return torch.minimum(a, b) - h * h / (4 * width)


def wave(t: Tensor) -> Tensor:
    """Distance to the nearest whole number."""
    return (t - torch.round(t)).abs()


def vivid(hue: Tensor) -> Tensor:
    """A saturated colour (B, 3) from a hue (B, 1, 1) in [0, 1]."""
    wheel = hue.view(-1, 1) * 6 + torch.tensor([[0.0, 4.0, 2.0]], device=hue.device)
    return 0.22 + 0.68 * (((wheel % 6) - 3).abs() - 1).clamp(0, 1)


def _coat(p: Pet) -> Tensor:
    """The fur with its markings, wherever fur may come to lie, (B, 3, H, W)."""
    f = p.f
    which = [(f.pattern.round() == PATTERNS.index(name)).float() for name in ("striped", "spotted", "patched")]
    shift = f.marking - 0.5
    forehead = wave(p.xf / 0.135) * 0.135 - 0.042 * ((-0.10 - p.y) / 0.25).clamp(-1, 1)
    forehead = torch.maximum(forehead, p.af - 0.2)
    side = torch.minimum((p.af - 0.27) / 0.15, (p.y + 0.04) / 0.1).clamp(-1, 1)  # stripes grow towards the flanks
    flank = wave((p.y + 0.25 * p.af + 0.1 * shift) / 0.17) * 0.17 - 0.05 * side
    stripes = torch.minimum(forehead, flank)
    x, y = p.xf + 0.03 * torch.sin(p.y * 9) + 0.1 * shift, p.y + 0.03 * torch.sin(p.xf * 8)
    spots = (0.36 - torch.cos(x * 21) * torch.cos(y * 21)) / 21
    spots = torch.maximum(spots, -ellipse(p.xf, p.y - 0.12, 0.27, 0.27))
    patch = ellipse(p.xf + 0.36, p.y + 0.15, 0.35 + 0.04 * shift, 0.45 + 0.1 * shift)
    patch = torch.minimum(patch, ellipse(p.x - 0.42, p.y - 0.92, 0.3, 0.3))
    marks = which[0] * p.cover(stripes) + which[1] * p.cover(spots)
    coat = torch.lerp(p.fur[:, :, None, None], p.by_fur(MARKS), marks[:, None])
    coat = torch.lerp(coat, p.by_fur(PATCHES), (which[2] * p.cover(patch))[:, None])
    strands = torch.sin(p.xh * 46 + 3 * torch.sin(p.y * 13 + 2 * p.xh)) * torch.cos(p.y * 21 + 4 * torch.sin(p.xh * 9))
    return (coat * (1 + (0.17 * f.fluffy * strands)[:, None])).clamp(0, 1)


def _body(p: Pet) -> None:
    shoulders = ellipse(p.xh, p.y - 1.11, 0.68 + 0.08 * p.f.head_width, 0.56)
    neck = box(p.xh, p.y - 0.6, 0.30 + 0.05 * p.f.head_width + 0.9 * (p.y - 0.56).clamp(min=0), 0.3, 0.1)
    d = torch.minimum(shoulders, neck) - 0.4 * p.tufts
    alpha = p.cover(d)
    p.paint(shade(p.coat, -0.12), alpha)
    chest = ellipse(p.xh, p.y - 0.84, 0.24, 0.36) - 0.5 * p.tufts
    p.paint((0.97, 0.96, 0.95), alpha * p.cover(chest) * p.f.white_chest)
    p.paint(shade(p.coat, -0.45), alpha * p.blur(-d - 0.06, 0.12) * 0.6)
    p.paint((0.08, 0.05, 0.08), alpha * p.blur(p.head - 0.05, 0.16) * 0.4)  # the chin's shadow


def _collar(p: Pet) -> None:
    color = p.pick("collar_color")
    d = torch.maximum((p.y - 0.61 + 0.5 * p.xh * p.xh).abs() - 0.06, p.ah - 0.315 - 0.05 * p.f.head_width)
    p.paint(shade(color, -0.55), p.cover(d - 0.014) * p.f.collar)
    p.paint(color, p.cover(d) * p.f.collar)


def _scarf(p: Pet) -> None:
    color, on = p.pick("scarf_color"), p.f.scarf
    wool = torch.sin((p.xh - 0.3 * p.y) * 34)
    tail = box(p.xh - 0.19, p.y - 0.79, 0.10 + 0.06 * (p.y - 0.7), 0.17, 0.03)
    loop = box(p.xh, p.y - 0.59 + 0.35 * p.xh * p.xh, 0.375 + 0.05 * p.f.head_width, 0.10, 0.09)
    for part in (tail, loop):
        p.paint(shade(color, -0.45), p.cover(part - 0.014) * on)
        p.paint(color, p.cover(part) * on)
        p.paint(shade(color, 0.55), p.cover(part) * on * p.cover((0.55 - wool) / 34))
    p.paint((0.08, 0.05, 0.08), p.cover(loop) * on * p.blur(p.head - 0.02, 0.08) * 0.35)


def _bell(p: Pet) -> None:
    bell = ellipse(p.xh, p.y - 0.70, 0.094, 0.092)
    p.paint((0.45, 0.28, 0.02), p.cover(bell - 0.016) * p.f.bell)
    p.paint((1.0, 0.84, 0.18), p.cover(bell) * p.f.bell)
    p.paint((1.0, 0.97, 0.75), p.cover(ellipse(p.xh + 0.028, p.y - 0.67, 0.022, 0.018)) * p.f.bell)
    slot = torch.minimum(ellipse(p.xh, p.y - 0.715, 0.018, 0.018), box(p.xh, p.y - 0.75, 0.009, 0.035))
    p.paint((0.35, 0.20, 0.02), p.cover(slot) * p.f.bell)


def _ears_up(p: Pet) -> None:
    f = p.f
    size = 0.74 + 0.40 * f.ear_size
    x, y = p.ah - p.width * p.mix(0.53, 0.54), p.y - p.skull + 0.19
    across, along = turned(x, y, p.mix(0.44, 0.48))
    base, length = p.mix(0.20, 0.18) * size.sqrt(), p.mix(0.46, 0.52) * size
    d = wedge(across, along, base, length, p.mix(0.015, 0.06)) - 0.012
    alpha = p.cover(d) * (1 - f.floppy_ears)
    p.paint(shade(p.coat, -0.08), alpha)
    p.paint(shade(p.coat, -0.45), alpha * p.blur(-d - 0.03, 0.06) * 0.6)
    inner = wedge(across, along - 0.06, base * 0.58, length * 0.70, p.mix(0.01, 0.03))
    pink = torch.tensor((0.93, 0.62, 0.62), device=p.x.device)
    color = torch.lerp(pink.expand_as(p.fur), p.fur * 0.45, f.species.view(-1, 1))
    p.paint(color, p.cover(inner) * (1 - f.floppy_ears))


def _head(p: Pet) -> None:
    alpha = p.cover(p.head)
    p.paint(p.coat, alpha)
    p.paint(shade(p.coat, -0.45), alpha * p.blur(0.3 - (p.xh * -p.side), 0.45) * p.side.abs() * 0.8)
    p.paint(shade(p.coat, -0.35), alpha * p.blur(-p.head - 0.05, 0.1) * 0.65)
    p.paint(shade(p.coat, 0.35), alpha * p.blur(ellipse(p.xf - 0.1 * p.side, p.y + 0.26, 0.2, 0.1), 0.25) * 0.45)


def _muzzle(p: Pet) -> None:
    f, size = p.f, 1 - 0.10 * p.young
    rx, ry = p.mix(0.125, 0.17) * size, p.mix(0.095, 0.15) * size
    pads = ellipse(p.am - p.mix(0.085, 0.10) * size, p.y - p.mix(0.245, 0.305), rx, ry)
    bridge = ellipse(p.xm, p.y - p.mix(0.20, 0.18), p.mix(0.07, 0.135) * size, p.mix(0.08, 0.22) * size)
    chin = ellipse(p.xm, p.y - p.mix(0.30, 0.37), p.mix(0.10, 0.13) * size, p.mix(0.07, 0.10) * size)
    d = torch.minimum(torch.minimum(pads, chin), bridge)
    p.paint(shade(p.coat, -0.4), p.blur(d - 0.02, 0.07) * p.cover(p.head) * 0.5)
    luminance = p.fur.mean(dim=1, keepdim=True)
    soft = p.fur + (0.98 - p.fur) * (0.36 - 0.14 * luminance + 0.08 * f.species[:, 0])
    soft = soft + (0.80 - soft) * (0.75 * p.old).view(-1, 1)  # muzzles turn grey
    p.muzzle = soft + (0.97 - soft) * f.white_muzzle.view(-1, 1)
    blaze = ellipse(p.xm, p.y + 0.06, 0.055 + 0.06 * (p.y + 0.1).clamp(-0.3, 0.3), 0.30)
    p.paint(p.muzzle, p.cover(blaze) * p.cover(p.head) * f.white_muzzle)
    d = d - 0.025 * f.white_muzzle * (1 - f.species)
    p.paint(p.muzzle, p.cover(d))
    p.paint(shade(p.muzzle, -0.25), p.cover(d) * p.blur(-d - 0.035, 0.07) * 0.6)


def _mouth(p: Pet) -> None:
    f = p.f
    size = 1 - 0.10 * p.young
    top = p.mix(0.255, 0.345)
    half = (p.mix(0.15, 0.18) + 0.075 * p.happy) * size
    u = (p.am / half).clamp(0, 1)
    lower = top - (0.13 * p.happy - 0.11 * p.sad) * u * u
    middle = p.y - lower - p.mix(0.18, 0.2) * u * (1 - u) * (1 - 0.6 * p.sad) + 0.03 * p.sad  # 0 between the lips
    gap = f.open_mouth * p.mix(0.18, 0.175) * size
    bowl = torch.sqrt((1 - u * u).clamp(min=1e-6))
    lower = p.y - lower - 0.02
    jaw = torch.maximum(torch.maximum(lower - (gap + 0.05) * bowl, -middle), p.am - half)
    p.paint(p.muzzle, p.cover(jaw) * f.open_mouth)
    p.paint(shade(p.muzzle, -0.45), p.cover(jaw.abs() - 0.008) * f.open_mouth * p.cover(-middle) * 0.6)
    inner = torch.maximum(torch.maximum(lower - gap * bowl, -middle), p.am - half * 0.9)
    alpha = p.cover(inner) * f.open_mouth
    p.paint((0.42, 0.06, 0.10), alpha)
    p.paint((0.68, 0.20, 0.27), alpha * p.cover(ellipse(p.xm, p.y - top - gap, half * 0.6, gap * 0.55 + 0.01)))
    fang = torch.maximum((p.am - half * 0.5).abs() - 0.028 + 0.4 * middle.clamp(min=0), middle - 0.06)
    p.paint((0.99, 0.98, 0.95), alpha * p.cover(fang))
    reach = p.mix(0.14, 0.135) * size
    tongue = box(p.xm, p.y - top - 0.05 - reach, p.mix(0.085, 0.105) * size, reach, 0.08)
    tongue = torch.maximum(tongue, -middle + 0.02)
    p.paint((0.62, 0.14, 0.22), p.cover(tongue - 0.016) * f.tongue)
    p.paint((1.00, 0.50, 0.58), p.cover(tongue) * f.tongue)
    p.paint((0.78, 0.24, 0.34), p.cover(box(p.xm, p.y - top - 0.03 - reach, 0.011, reach * 0.7)) * f.tongue)
    lips = torch.maximum(middle.abs() - 0.017, p.am - half)
    lips = torch.minimum(lips, box(p.xm, p.y - (top - 0.05), 0.013, 0.05))  # down from the nose
    p.paint((0.16, 0.09, 0.10), p.cover(lips))


def _age(p: Pet) -> None:
    x, y = p.af - EYES, p.y
    blush = p.blur(ellipse(p.af - 0.30, y - 0.17, 0.085, 0.06), 0.07) * ((0.45 - p.f.age) / 0.3).clamp(0, 1)
    p.paint((1.0, 0.40, 0.45), blush * p.cover(p.head) * 0.75)
    lines = torch.minimum(stroke(x, y - 0.165, -1.6, 0.10, 0.015), stroke(x - 0.02, y - 0.22, -1.6, 0.08, 0.012))
    p.paint(p.ink(), p.cover(lines) * p.old * 0.8)


def _nose(p: Pet) -> None:
    color = p.pick("nose_color")
    size = 1 - 0.08 * p.young
    y = p.y - p.mix(0.175, 0.195)
    rx, ry = p.mix(0.08, 0.118) * size, p.mix(0.054, 0.08) * size
    d = ellipse(p.xm, y, rx * (1.0 - 5 * y.clamp(-0.03, 0.1)), ry)
    p.paint(shade(color, -0.55), p.cover(d - 0.014))
    p.paint(color, p.cover(d))
    p.paint((1.0, 1.0, 1.0), p.cover(ellipse(p.xm + 0.02, y + 0.5 * ry, rx * 0.35, ry * 0.22)) * 0.65)
    nostril = ellipse(p.am - rx * 0.5, y - ry * 0.15, rx * 0.13, ry * 0.2)
    p.paint(shade(color, -0.6), p.cover(nostril) * p.f.species)


def _whiskers(p: Pet) -> None:
    x = p.am - p.mix(0.39, 0.45)
    y = p.y - p.mix(0.245, 0.28)
    d = torch.minimum(stroke(x, y + 0.045 + 0.22 * x, -0.25, 0.24, 0.013), stroke(x, y - 0.01, 0.2, 0.25, 0.013))
    d = torch.minimum(d, stroke(x, y - 0.065 - 0.22 * x, 0.35, 0.23, 0.013))
    p.paint(p.ink(), p.cover(d) * p.f.whiskers)


def _eyes(p: Pet) -> None:
    f = p.f
    sign = torch.sign(p.xf)
    out, y = p.af - EYES, p.y
    size = 0.75 + 0.42 * f.eye_size + 0.10 * p.young
    rx, ry = p.mix(0.120, 0.112) * size, p.mix(0.103, 0.113) * size * (1 - 0.1 * p.happy)
    s, t = turned(out, y, p.mix(-0.22, 0.05))
    eye = ellipse(s, t, rx, ry)
    opened = 1 - f.closed_eyes
    p.paint((0.10, 0.06, 0.08), p.cover(eye - 0.02) * opened)
    alpha = p.cover(eye) * opened
    p.paint((0.99, 0.99, 1.0), alpha)
    x = out * sign - 0.025 * f.yaw
    color = p.pick("eye_color")
    r = ry * p.mix(1.25, 0.94)
    iris = ellipse(x, y, r, r)
    p.paint(shade(color, -0.3), alpha * p.cover(iris))
    p.paint(shade(color, 0.1), alpha * p.cover(iris + 0.014))
    p.paint((0.03, 0.02, 0.03), alpha * p.cover(ellipse(x, y, ry * p.mix(0.26, 0.44), ry * p.mix(0.78, 0.44))))
    p.paint((1.0, 1.0, 1.0), alpha * p.cover(ellipse(x + 0.028, y + 0.035, 0.02, 0.02)))
    lid = torch.maximum(eye - 0.02, y + ry * (1.1 - 0.45 * p.sad) - 0.65 * p.sad * out)
    droop = opened * (4 * p.sad).clamp(max=1)
    p.paint(shade(p.coat, -0.6), p.cover(torch.maximum(eye - 0.02, lid - 0.022)) * droop)
    p.paint(shade(p.coat, -0.12), p.cover(lid) * droop)
    p.paint(p.ink(), p.cover(stroke(out, y - 0.035, -3.2, 0.125, 0.022)) * f.closed_eyes)


def _brows(p: Pet) -> None:
    x = p.af - EYES
    y = p.y + 0.19 + 0.04 * p.happy + 0.02 * p.f.eye_size - 0.55 * x * p.sad
    d = stroke(x, y, 1.2 * (1 - p.sad), 0.085 + 0.03 * p.old, 0.018 + 0.03 * p.old)
    p.paint(p.ink(), p.cover(d) * (1 - p.old))
    p.paint(shade(p.coat, -0.4), p.cover(d - 0.014) * p.old)
    p.paint((0.86, 0.86, 0.88), p.cover(d) * p.old)


def _ears_down(p: Pet) -> None:
    f = p.f
    size = 0.72 + 0.5 * f.ear_size
    length = p.mix(0.42, 0.62) * size
    root = torch.lerp(0.66 * p.width, 0.30 + 0.2 * p.width, p.f.species)
    across, along = turned(p.ah - root, p.y - p.skull + p.mix(0.24, 0.22), p.mix(2.2, 2.76))
    fold = wedge(across, along, 0.19 * size.sqrt(), length, 0.04)
    widening = 1 + 0.25 * (along / length * 2 - 1).clamp(-1, 1)
    d = torch.lerp(fold, ellipse(across, along - length / 2, 0.16 * size.sqrt() * widening, length / 2), p.f.species)
    p.paint((0.08, 0.05, 0.08), p.blur(d - 0.03, 0.07) * p.cover(p.head) * f.floppy_ears * 0.45)
    p.paint(shade(p.coat, -0.6), p.cover(d - 0.012) * f.floppy_ears)
    alpha = p.cover(d) * f.floppy_ears
    p.paint(shade(p.coat, -0.2), alpha)
    p.paint(shade(p.coat, -0.5), alpha * p.blur(-d - 0.025, 0.06) * 0.7)


def _glasses(p: Pet) -> None:
    d = ellipse(p.af - EYES, p.y, 0.17, 0.165)
    lens = p.cover(d) * p.f.glasses
    glare = p.blur((p.af + p.y * 0.8 - EYES).abs() - 0.02, 0.03)
    p.paint((0.86, 0.95, 1.0), lens * (0.16 + 0.25 * glare))
    bridge = stroke(p.xf, p.y + 0.02, 2.0, 0.05, 0.022)
    arm = torch.maximum(box(p.af - EYES - 0.3, p.y + 0.02, 0.14, 0.02), p.head - 0.02)
    frame = torch.minimum(torch.minimum(d.abs() - 0.024, bridge), arm)
    p.paint(p.ink(), p.cover(frame) * p.f.glasses)


def _hat(p: Pet) -> None:
    color, on = vivid(p.f.hat_hue), p.f.hat
    y = p.y - p.skull + 0.37 + 0.03 * p.young  # from the top of the head
    along = 0.09 - y - 0.5 * p.xh * p.xh
    cone = wedge(p.xh, along, 0.21, 0.41, 0.01)
    p.paint(shade(color, -0.5), p.cover(cone - 0.016) * on)
    p.paint(color, p.cover(cone) * on)
    p.paint(shade(color, 0.65), p.cover(cone) * on * p.cover(torch.sin((along + 0.35 * p.xh) * 38) / 38))
    p.paint(shade(color, 0.75), p.cover(ellipse(p.xh, y + 0.3, 0.07, 0.065)) * on)


def _bow(p: Pet) -> None:
    color, on = vivid(p.f.bow_hue), p.f.bow
    across, along = turned(p.xh - 0.12, p.y - p.skull + 0.33 + 0.03 * p.young, 0.25)
    loops = box(across.abs() - 0.115, along, 0.10, 0.05 + 0.5 * (across.abs() - 0.04).clamp(min=0), 0.04)
    knot = ellipse(across, along, 0.05, 0.06)
    p.paint(shade(color, -0.5), p.cover(torch.minimum(loops, knot) - 0.016) * on)
    p.paint(color, p.cover(loops) * on)
    p.paint(shade(color, -0.2), p.cover(knot) * on)


BEHIND = (background, _body, _collar, _scarf, _ears_up)
FACE = (_head, _age, _muzzle, _mouth, _bell, _nose, _eyes, _brows)
PARTS = (*BEHIND, *FACE, _ears_down, _whiskers, _glasses, _hat, _bow)
