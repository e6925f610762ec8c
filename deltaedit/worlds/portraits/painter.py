"""The painter of portraits: their colours, and their parts from back to front."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from deltaedit.worlds.painter import BACKGROUNDS, Painter, background, box, ellipse, rgb, shade, stroke

PALETTE = {
    "hair_color": rgb("black 9 8 11, brown 40 22 11, blond 96 80 36, red 84 30 8, grey 76 77 80, blue 16 36 90"),
    "eye_color": rgb("brown 34 17 5, blue 12 50 95, green 12 66 25"),
    "clothes": rgb("white 95 95 96, red 83 15 17, blue 16 32 72, green 14 55 33, yellow 97 77 20"),
    "background": BACKGROUNDS,
}
SKIN = ((1.00, 0.87, 0.79), (0.91, 0.70, 0.54), (0.52, 0.33, 0.23))  # pale, middle, dark


class Portrait(Painter):
    """A head and shoulders."""

    glow = 0.2

    def prepare(self) -> None:
        """Where the features are, and the colours of hair and skin (B, 3)."""
        f = self.f
        self.half_width = 0.385 + 0.15 * f.face_width
        self.xf = self.x - 0.07 * f.yaw  # features turn with the head, more than its outline does
        self.xh = self.x - 0.02 * f.yaw
        self.hair = self.pick("hair_color")
        t = f.skin[..., None].view(-1, 1) * 2
        pale, middle, dark = (torch.tensor(c, device=t.device) for c in SKIN)
        self.skin = torch.where(t < 1, pale + (middle - pale) * t, middle + (dark - middle) * (t - 1))
        self.side = 2 * f.light - 1


def _curls(p: Portrait) -> Tensor:
    """A bumpy offset of hair outlines, for curly hair only."""
    angle = torch.atan2(p.y + 0.05, p.xh)
    return p.f.curly_hair * 0.045 * torch.cos(angle * 17)


def _strands(p: Portrait, alpha: Tensor) -> None:
    """Light and dark streaks in hair that has just been painted with this alpha."""
    straight = torch.sin(p.xh * 34 + 5 * torch.sin(p.y * 2.3 + 1)) * 0.5
    curly = torch.cos(p.xh * 30 + 1.2 * torch.sin(p.y * 27)) * torch.cos(p.y * 30 + torch.sin(p.xh * 19))
    wave = torch.lerp(straight.expand(len(alpha), -1, -1), curly.expand(len(alpha), -1, -1), p.f.curly_hair)
    p.paint(shade(p.hair, -0.5), alpha * (-wave).clamp(min=0) * (0.45 + 0.4 * p.f.curly_hair))
    p.paint(shade(p.hair, 0.5), alpha * wave.clamp(min=0) * (0.4 + 0.2 * p.f.curly_hair))


def _hair_outline(p: Portrait) -> Tensor:
    volume = 0.075 + 0.05 * p.f.hair_volume + 0.045 * p.f.curly_hair
    return ellipse(p.xh, p.y + 0.03, p.half_width + volume, 0.57 + volume) - _curls(p)


def _hair_behind(p: Portrait) -> None:
    f = p.f
    cap = torch.maximum(_hair_outline(p), p.y - 0.12)
    fall = 0.11 + 0.05 * f.hair_volume + 0.05 * f.curly_hair
    width = p.half_width + fall + 0.05 * torch.sigmoid((p.y - 0.1) * 6)
    long = box(p.xh, p.y - 0.13, width + _curls(p) * torch.cos(p.y * 19).abs(), 0.64, 0.3)
    alpha = torch.maximum(p.cover(cap), f.long_hair * p.cover(torch.minimum(long, _hair_outline(p)))) * (1 - f.bald)
    p.paint(shade(p.hair, -0.12), alpha)
    _strands(p, alpha)


def _body(p: Portrait) -> None:
    neck = box(p.xh, p.y - 0.66, 0.17, 0.22, 0.04)
    alpha = p.cover(neck)
    p.paint(shade(p.skin, -0.12), alpha)
    p.paint(shade(p.skin, -0.38), alpha * p.blur(ellipse(p.xh, p.y - 0.5, 0.3, 0.17), 0.1))  # the chin's shadow
    color = p.pick("clothes")
    body = ellipse(p.x, p.y - 1.2, 0.86, 0.47)
    collar = ellipse(p.xh, p.y - 0.74, 0.2, 0.13)
    alpha = p.cover(torch.maximum(body, -collar))
    p.paint(color, alpha)
    p.paint(shade(color, -0.3), alpha * p.blur(0.16 - (p.x + 0.5 * p.side).abs() + 0.4, 0.4) * 0.6)
    p.paint(shade(color, -0.35), p.cover(torch.maximum(collar.abs() - 0.022, 0.74 - p.y)))


def _ears(p: Portrait) -> None:
    for sign in (-1.0, 1.0):
        x = p.xh - sign * (p.half_width + 0.025)
        d = ellipse(x, p.y - 0.09, 0.075, 0.115)
        p.paint(shade(p.skin, -0.1), p.cover(d))
        p.paint(shade(p.skin, -0.3), p.cover(ellipse(x, p.y - 0.09, 0.035, 0.065)) * 0.7)


def _head_distance(p: Portrait) -> Tensor:
    taper = 1 - (0.13 - 0.1 * p.f.jaw) * torch.sigmoid((p.y - 0.3) * 9)  # the jaw, square or pointed
    return ellipse(p.xh, p.y - 0.05, p.half_width * taper, 0.57)


def _head(p: Portrait) -> None:
    d = _head_distance(p)
    alpha = p.cover(d)
    p.paint(p.skin, alpha)
    p.paint(shade(p.skin, -0.3), alpha * p.blur(0.42 - (p.xh * -p.side), 0.5) * p.side.abs() * 0.6)
    p.paint(shade(p.skin, -0.28), alpha * p.blur(-d - 0.06, 0.1) * 0.75)
    p.paint(shade(p.skin, 0.35), alpha * p.blur(ellipse(p.xf - 0.1 * p.side, p.y + 0.2, 0.22, 0.12), 0.25) * 0.5)
    shine = ellipse(p.xh - 0.13 * p.side - 0.02, p.y + 0.41, 0.13, 0.05)
    p.paint((1.0, 1.0, 1.0), alpha * p.f.bald * p.blur(shine, 0.06) * 0.55)


def _age_lines(p: Portrait) -> None:
    old = ((p.f.age - 0.55) / 0.25).clamp(0, 1)
    color = shade(p.skin, -0.45)
    lines = torch.zeros_like(p.canvas[:, 0])
    for y, half in ((-0.305, 0.17), (-0.245, 0.2)):  # forehead
        lines = torch.maximum(lines, p.cover(stroke(p.xf, p.y - y, 0.25, half, 0.013)))
    for sign in (-1.0, 1.0):
        x = (p.xf - sign * 0.21) * sign
        lines = torch.maximum(lines, p.cover(stroke(x - 0.02, p.y - 0.155, -1.6, 0.1, 0.014)))  # under the eye
        fold = p.xf * sign - 0.15 - 0.3 * (p.y - 0.2)  # from the nose to the mouth's corner
        lines = torch.maximum(lines, p.cover(torch.maximum(fold.abs() - 0.014, (p.y - 0.27).abs() - 0.1)))
        crow = torch.maximum((x - 0.16).abs() - 0.04, ((p.y - 0.03) - 0.5 * (x - 0.12)).abs() - 0.012)
        lines = torch.maximum(lines, p.cover(crow))
    p.paint(color, lines * old * 0.85)


def _cheeks(p: Portrait) -> None:
    youth = ((0.4 - p.f.age) / 0.3).clamp(0, 1) * 0.22
    for sign in (-1.0, 1.0):
        blob = p.blur(ellipse(p.xf - sign * 0.25, p.y - 0.24, 0.11, 0.085), 0.09)
        p.paint((0.95, 0.36, 0.42), blob * (p.f.makeup * 0.68 + youth * (1 - p.f.makeup)) * p.cover(_head_distance(p)))


def _beard(p: Portrait) -> None:
    head = _head_distance(p)
    inner = ellipse(p.xf, p.y - 0.10, p.half_width * 0.80, 0.34)  # the bare face above the beard
    lip = ellipse(p.xf, p.y - 0.37, 0.185, 0.075)
    chin = torch.minimum(head, ellipse(p.xh, p.y - 0.5, p.half_width * 0.72, 0.23))
    d = torch.maximum(torch.maximum(chin, -inner), torch.maximum(0.2 - p.y, -lip))
    alpha = p.cover(d) * p.f.beard
    p.paint(shade(p.hair, -0.2), alpha)
    texture = torch.sin(p.xf * 55) * torch.sin(p.y * 40 + p.xf * 9)
    p.paint(shade(p.hair, 0.4), alpha * texture.clamp(min=0) * 0.4)
    p.paint(shade(p.hair, -0.55), p.cover(d.abs() - 0.008) * p.f.beard * 0.5)


def _mouth(p: Portrait) -> None:
    f = p.f
    x, y = p.xf, p.y - 0.375
    happy, sad = f.smile.clamp(min=0), (-f.smile).clamp(min=0)
    half = 0.135 + 0.085 * happy - 0.005 * sad
    curve = -(2.9 * happy - 4.2 * sad)
    middle = y - 0.045 * happy + 0.05 * sad - curve * x * x  # 0 on the line between the lips
    taper = (1 - (x / half) ** 2).clamp(min=0)
    bare = torch.lerp(p.skin, torch.tensor([[0.72, 0.28, 0.27]], device=x.device), 0.55)
    lips = torch.lerp(bare, torch.tensor([[0.86, 0.03, 0.10]], device=x.device), f.lipstick.view(-1, 1))
    thick = 0.032 + 0.022 * f.lipstick
    gap = f.open_mouth * (0.075 + 0.02 * happy)
    edge = torch.sqrt(taper + 1e-6)
    upper, lower = (gap * 0.55 + thick) * edge, (gap + thick * 1.25) * edge
    outer = torch.maximum(torch.maximum(-middle - upper, middle - lower), x.abs() - half)
    p.paint(lips, p.cover(outer))
    inner = torch.maximum(torch.maximum(-middle - gap * 0.55 * edge, middle - gap * edge), x.abs() - half + 0.02)
    p.paint((0.30, 0.05, 0.08), p.cover(inner) * f.open_mouth)
    teeth = torch.maximum(inner, middle + gap * 0.12)
    p.paint((0.98, 0.98, 0.96), p.cover(teeth) * f.open_mouth)
    line = p.cover(torch.maximum(middle.abs() - 0.016, x.abs() - half)) * (1 - f.open_mouth)
    p.paint(shade(lips, -0.6), line)
    for sign in (-1.0, 1.0):  # corners: dimples of a smile
        corner = ellipse(x - sign * (half + 0.015), y - 0.045 * happy + 0.05 * sad - curve * half * half, 0.02, 0.028)
        p.paint(shade(p.skin, -0.4), p.cover(corner) * (happy + sad) * 0.7)


def _moustache(p: Portrait) -> None:
    f = p.f
    x = p.xf.abs()
    y = p.y - 0.285
    d = ellipse(x - 0.095, y - 0.6 * (x - 0.09) * x, 0.125, 0.05)
    alpha = p.cover(d) * f.moustache
    p.paint(shade(p.hair, -0.25), alpha)
    p.paint(shade(p.hair, 0.35), alpha * torch.sin(p.xf * 60 + p.y * 20).clamp(min=0) * 0.35)


def _nose(p: Portrait) -> None:
    size = 0.6 + 0.95 * p.f.nose_size
    turn = 0.02 * p.f.yaw
    x, y = p.xf - turn, p.y - 0.17
    p.paint(shade(p.skin, -0.26), p.blur(ellipse(x + 0.02 * p.side, y, 0.078 * size, 0.055 * size), 0.035) * 0.9)
    p.paint(shade(p.skin, 0.3), p.blur(ellipse(x, y + 0.025, 0.05 * size, 0.045 * size), 0.05) * 0.8)
    p.paint(shade(p.skin, 0.3), p.blur(ellipse(x, y + 0.14, 0.022, 0.11), 0.05) * 0.55)
    for sign in (-1.0, 1.0):
        p.paint(shade(p.skin, -0.58), p.cover(ellipse(x - sign * 0.04 * size, y - 0.028 * size, 0.02 * size, 0.013)))


def _eyes(p: Portrait) -> None:
    f = p.f
    size = 0.70 + 0.58 * f.eye_size
    iris_color = p.pick("eye_color")
    for sign in (-1.0, 1.0):
        x, y = p.xf - sign * 0.205, p.y - 0.015
        shadow = p.blur(ellipse(x, y + 0.055, 0.165, 0.10), 0.05) * f.makeup
        p.paint((0.58, 0.20, 0.72), shadow * 0.85)
        rx, ry = 0.122 * size, 0.088 * size
        squeeze = 1 - 0.12 * f.smile.clamp(min=0)
        eye = ellipse(x, y, rx, ry * squeeze)
        alpha = p.cover(eye)
        p.paint((0.16, 0.09, 0.09), p.cover(eye - 0.014 - 0.012 * f.makeup))  # lids and lashes
        p.paint((0.99, 0.99, 1.0), alpha)
        gaze = x - 0.022 * f.yaw
        r = 0.076 * (0.72 + 0.38 * f.eye_size)
        iris = ellipse(gaze, y, r, r)
        p.paint(shade(iris_color, -0.35), alpha * p.cover(iris))
        p.paint(shade(iris_color, 0.12), alpha * p.cover(iris + 0.014))
        p.paint((0.03, 0.02, 0.03), alpha * p.cover(ellipse(gaze, y, r * 0.45, r * 0.45)))
        p.paint((1.0, 1.0, 1.0), p.cover(ellipse(gaze - 0.026, y + 0.028, 0.017, 0.017)) * alpha)
        lid = torch.maximum(eye, y + ry * 0.62)
        p.paint(shade(p.skin, -0.35), p.cover(lid) * 0.35)


def _brows(p: Portrait) -> None:
    f = p.f
    grey = torch.lerp(p.hair, torch.tensor([[0.15, 0.10, 0.08]], device=p.hair.device), 0.35)
    lift = 0.02 * f.smile.clamp(min=0) + 0.03 * (f.eye_size - 0.5)
    for sign in (-1.0, 1.0):
        x = (p.xf - sign * 0.215) * sign
        y = p.y + 0.165 + lift - 0.22 * x * (-f.smile).clamp(min=0)  # sad brows rise towards the middle
        half, thick = 0.125, 0.014 + 0.030 * f.thick_brows
        p.paint(grey, p.cover(stroke(x, y, 1.5, half, thick)))


def _hair_front(p: Portrait) -> None:
    f = p.f
    outline = _hair_outline(p)
    opening = ellipse(p.xf, p.y - 0.16, p.half_width - 0.02 + 0.03 * torch.sigmoid(p.y * 12), 0.50)
    cap = torch.maximum(torch.maximum(outline, -opening + _curls(p) * 0.6), p.y - 0.07 - 0.1 * f.long_hair)
    jagged = 0.024 * torch.sin(p.xf * 29) + 0.05 * f.curly_hair * torch.cos(p.xf * 21).abs()
    fringe = torch.maximum(torch.maximum(outline, _head_distance(p) - 0.03), p.y + 0.145 + jagged)
    hair = 1 - f.bald
    alpha = torch.maximum(p.cover(cap), p.cover(fringe) * f.bangs) * hair
    shadow = torch.maximum(p.blur(cap - 0.02, 0.05), p.blur(fringe - 0.02, 0.05) * f.bangs) * hair
    p.paint(shade(p.skin, -0.5), (shadow * p.cover(_head_distance(p)) - alpha).clamp(min=0) * 0.5)
    p.paint(p.hair, alpha)
    _strands(p, alpha)
    gloss = p.blur(ellipse(p.xh - 0.16 * p.side, p.y + 0.47, 0.2, 0.035), 0.08) * alpha * (1 - f.curly_hair)
    p.paint(shade(p.hair, 0.6), gloss * 0.55)
    for sign in (-1.0, 1.0):  # locks in front of the shoulders; earrings hang in front of the hair
        x = p.xh * sign - p.half_width - 0.10 - 0.03 * f.hair_volume
        lock = box(x, p.y - 0.38, 0.085 + _curls(p) * 0.7, 0.38, 0.08)
        alpha = p.cover(lock) * f.long_hair * hair
        p.paint(shade(p.hair, -0.04), alpha)
        _strands(p, alpha)
        ring_x, ring_y = p.xh - sign * (p.half_width + 0.055), p.y - 0.285
        ring = ellipse(ring_x, ring_y, 0.052, 0.075).abs() - 0.021
        p.paint((0.45, 0.28, 0.02), p.cover(ring - 0.012) * f.earrings)
        p.paint((1.0, 0.84, 0.18), p.cover(ring) * f.earrings)


def _eyewear(p: Portrait) -> None:
    f = p.f
    clear, dark = f.glasses, f.sunglasses
    frame = torch.zeros_like(p.canvas[:, 0])
    lens = torch.zeros_like(frame)
    for sign in (-1.0, 1.0):
        x, y = p.xf - sign * 0.21, p.y - 0.02
        d = box(x, y, 0.178, 0.145, 0.10)
        frame = torch.maximum(frame, p.cover(d.abs() - 0.024))
        lens = torch.maximum(lens, p.cover(d))
        arm = box(p.xf - sign * (0.39 + 0.12), p.y + 0.02, 0.12, 0.02)
        frame = torch.maximum(frame, p.cover(torch.maximum(arm, _head_distance(p) - 0.03)))
    frame = torch.maximum(frame, p.cover(stroke(p.xf, p.y + 0.01, 2.0, 0.04, 0.022)))
    glare = p.blur((p.xf + p.y * 0.8 + 0.21).abs() - 0.02, 0.03) + p.blur((p.xf + p.y * 0.8 - 0.21).abs() - 0.02, 0.03)
    p.paint((0.86, 0.95, 1.0), lens * clear * (0.10 + 0.3 * glare.clamp(max=1)))
    p.paint((0.05, 0.05, 0.08), lens * dark)
    p.paint((0.55, 0.62, 0.75), lens * dark * glare.clamp(max=1) * 0.6)
    p.paint((0.08, 0.07, 0.10), frame * torch.maximum(clear, dark))


def _hat(p: Portrait) -> None:
    f = p.f
    hue = f.hat_hue.view(-1, 1) * 6 + torch.tensor([[0.0, 4.0, 2.0]], device=p.x.device)
    color = 0.88 - 0.66 * (((hue % 6) - 3).abs() - 1).clamp(0, 1).mul(-1).add(1)  # saturated, not glaring
    dome = torch.maximum(ellipse(p.xh, p.y + 0.33, p.half_width + 0.11, 0.50), p.y + 0.33)
    band = box(p.xh, p.y + 0.325 - 0.10 * (p.xh * p.xh), p.half_width + 0.12, 0.075, 0.06)
    bobble = ellipse(p.xh, p.y + 0.86, 0.1, 0.09)
    a = p.cover(torch.minimum(dome, bobble)) * f.hat
    p.paint(color, a)
    knit = torch.sin(p.xh * 46).clamp(min=0)
    p.paint(shade(color, -0.3), a * knit * 0.45)
    p.paint(shade(color, -0.4), a * p.blur(0.2 - (p.xh * -p.side), 0.4) * p.side.abs() * 0.5)
    a = p.cover(band) * f.hat
    p.paint(shade(color, 0.28), a)
    p.paint(shade(color, -0.25), a * torch.sin(p.xh * 46 + math.pi).clamp(min=0) * 0.5)


FACE = (_head, _age_lines, _cheeks, _beard, _mouth, _moustache, _nose, _eyes, _brows)
PARTS = (background, _hair_behind, _body, _ears, *FACE, _hair_front, _eyewear, _hat)
