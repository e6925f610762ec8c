"""The one table of the portraits world: what a picture can show, how often, and the words for it.

The renderer's ranges, the captions' words, the judge's outputs and the evaluation's prompts are all read from
``ATTRIBUTES``. A portrait is a row of ``factors``, a tensor (B, len(ATTRIBUTES)) with one column per attribute:
0 or 1 for a ``Binary``, the option's index for a ``Choice``, a real number for a ``Scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Binary:
    """Something that is there or not, with probability ``p``."""

    name: str
    p: float
    yes: tuple[str, ...]  # phrases for «it is there»; the first is the canonical one
    no: tuple[str, ...] = ()  # phrases for «it is not»
    form: str = "with"  # how a phrase joins a sentence: "with" something, or "who" does something, or "adjective"


@dataclass(frozen=True)
class Choice:
    """One of several options; ``options`` maps each to its weight and ``words`` to its phrases."""

    name: str
    options: dict[str, float]
    words: dict[str, tuple[str, ...]]
    form: str = "with"


@dataclass(frozen=True)
class Scale:
    """A continuous factor; words are said only of its ends, below ``ends[0]`` and above ``ends[1]``.

    ``bands`` are intervals drawn with the given weights, uniform within.
    """

    name: str
    bands: tuple[tuple[float, float, float], ...]  # (weight, from, to)
    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    ends: tuple[float, float] = (0.25, 0.75)
    form: str = "adjective"


UNIFORM = ((1.0, 0.0, 1.0),)
THIRDS = ((0.35, 0.0, 0.2), (0.3, 0.4, 0.6), (0.35, 0.8, 1.0))  # clear cases, and a middle that no word names

HAIR_COLORS = ("black", "brown", "blond", "red", "grey", "blue")
EYE_COLORS = ("brown", "blue", "green")
CLOTHES = ("white", "red", "blue", "green", "yellow")
BACKGROUNDS = ("blue", "green", "pink", "yellow", "grey")


def _colors(options: tuple[str, ...], noun: str, **synonyms: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    return {c: tuple(f"{word} {noun}" for word in (c, *synonyms.get(c, ()))) for c in options}


ATTRIBUTES: tuple[Binary | Choice | Scale, ...] = (
    Scale("smile", ((0.42, 0.6, 1.0), (0.26, -0.12, 0.12), (0.32, -1.0, -0.6)), ends=(-0.35, 0.35), form="adjective",
          high=("smiling", "happy", "cheerful", "smiley"), low=("frowning", "sad", "unhappy", "gloomy")),
    Binary("open_mouth", 0.35, ("an open mouth", "mouth open", "a wide open mouth"), ("a closed mouth", "closed lips")),
    Binary("glasses", 0.35, ("glasses", "eyeglasses", "spectacles"), ("no glasses", "no eyewear")),
    Binary("sunglasses", 0.16, ("sunglasses", "dark glasses", "shades")),
    Binary("beard", 0.3, ("a beard", "a full beard", "a bearded chin"), ("no beard", "a shaved chin")),
    Binary("moustache", 0.27, ("a moustache", "a mustache"), ("no moustache", "no mustache")),
    Choice("hair_color", {"black": 1, "brown": 1, "blond": 1, "red": 1, "grey": 1, "blue": 1},
           _colors(HAIR_COLORS, "hair", black=("dark",), blond=("blonde", "golden"), red=("ginger", "orange"),
                   grey=("gray", "white", "silver"), brown=("chestnut",), blue=("dyed blue",))),
    Binary("long_hair", 0.45, ("long hair", "hair down to the shoulders"), ("short hair", "a short haircut")),
    Binary("curly_hair", 0.4, ("curly hair", "curls", "wavy hair"), ("straight hair", "smooth hair")),
    Binary("bangs", 0.38, ("bangs", "a fringe"), ("no bangs", "no fringe", "a bare forehead")),
    Binary("bald", 0.15, ("bald", "hairless", "bald headed"), ("hair",), form="adjective"),
    Binary("hat", 0.27, ("a hat", "a cap", "a beanie"), ("no hat", "nothing on the head", "a bare head")),
    Scale("age", THIRDS, ("young", "youthful"), ("old", "elderly", "aged", "wrinkled")),
    Scale("skin", ((0.36, 0.0, 0.15), (0.28, 0.4, 0.6), (0.36, 0.82, 1.0)),
          ("pale", "light skinned", "fair"), ("dark skinned", "tanned", "brown skinned")),
    Choice("eye_color", {"brown": 1, "blue": 1, "green": 1}, _colors(EYE_COLORS, "eyes", brown=("dark",))),
    Scale("eye_size", THIRDS, ("small eyes", "narrow eyes", "tiny eyes"), ("big eyes", "large eyes", "huge eyes"),
          form="with"),
    Binary("thick_brows", 0.4, ("thick eyebrows", "bushy eyebrows", "heavy brows"), ("thin eyebrows", "fine brows")),
    Scale("face_width", THIRDS, ("thin", "slim", "narrow faced"), ("chubby", "fat", "round faced", "plump")),
    Scale("nose_size", THIRDS, ("a small nose", "a tiny nose"), ("a big nose", "a large nose"), form="with"),
    Binary("makeup", 0.33, ("makeup", "make-up", "eyeshadow", "rosy cheeks"), ("no makeup", "no make-up")),
    Binary("lipstick", 0.35, ("red lipstick", "lipstick", "red lips"), ("no lipstick", "bare lips")),
    Binary("earrings", 0.33, ("earrings", "golden earrings", "ear rings"), ("no earrings", "no jewellery")),
    Choice("clothes", dict.fromkeys(CLOTHES, 1),
           {c: (f"a {c} shirt", f"{c} clothes", f"a {c} top") for c in CLOTHES}),
    Choice("background", dict.fromkeys(BACKGROUNDS, 1),
           {c: (f"a {c} background", f"a {c} backdrop", f"a {c} wall") for c in BACKGROUNDS}),
    Scale("yaw", ((1.0, -1.0, 1.0),), ends=(-0.5, 0.5), form="with",
          low=("looking left", "turned to the left"), high=("looking right", "turned to the right")),
    Scale("light", UNIFORM, ends=(0.2, 0.8)),  # which side the light comes from; no caption names it
    Scale("hat_hue", UNIFORM),
    Scale("hair_volume", UNIFORM),
    Scale("jaw", UNIFORM),
)  # fmt: skip

NAMES: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES)
INDEX: dict[str, int] = {name: k for k, name in enumerate(NAMES)}
BINARY: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES if isinstance(a, Binary))
CHOICE: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES if isinstance(a, Choice))
SCALE: tuple[str, ...] = tuple(a.name for a in ATTRIBUTES if isinstance(a, Scale))
Z_USED = sum(len(a.options) if isinstance(a, Choice) else 1 for a in ATTRIBUTES)  # dimensions of z that mean something


def attribute(name: str) -> Binary | Choice | Scale:
    """The table's row of that name; raises ``ValueError`` naming the known ones."""
    if name not in INDEX:
        raise ValueError(f"There is no attribute {name!r}; the portraits have {', '.join(NAMES)}.")
    return ATTRIBUTES[INDEX[name]]


def factors_from_uniform(u: Tensor) -> Tensor:
    """Turn independent uniform numbers into the factors of portraits that can exist.

    Args:
        u: (B, len(ATTRIBUTES)) in [0, 1].

    Returns:
        Factors (B, len(ATTRIBUTES)), with what excludes each other resolved: sunglasses replace glasses, and a bald
        head has no bangs, no curls and no long hair.
    """
    columns: dict[str, Tensor] = {}
    for k, a in enumerate(ATTRIBUTES):
        v = u[:, k]
        if isinstance(a, Binary):
            columns[a.name] = (v > 1 - a.p).to(u.dtype)
        elif isinstance(a, Choice):
            weights = torch.tensor(list(a.options.values()), dtype=u.dtype, device=u.device)
            edges = (weights / weights.sum()).cumsum(0)[:-1]
            columns[a.name] = torch.bucketize(v.contiguous(), edges).to(u.dtype)
        else:  # piecewise linear inverse of the cumulative distribution, bands in ascending order
            out, start = torch.zeros_like(v), 0.0
            for weight, low, high in sorted(a.bands, key=lambda band: band[1]):
                inside = v >= start
                out = torch.where(inside, low + (high - low) * ((v - start) / weight).clamp(max=1), out)
                start += weight
            columns[a.name] = out
    columns["glasses"] = columns["glasses"] * (1 - columns["sunglasses"])
    for name in ("bangs", "curly_hair", "long_hair"):
        columns[name] = columns[name] * (1 - columns["bald"])
    return torch.stack([columns[name] for name in NAMES], dim=1)


def sample_factors(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw the factors of ``n`` portraits, (n, len(ATTRIBUTES)), on the generator's device."""
    device = generator.device if generator is not None else "cpu"
    return factors_from_uniform(torch.rand(n, len(ATTRIBUTES), generator=generator, device=device))


def factors_from_z(z: Tensor) -> Tensor:
    """The portrait that a latent stands for; the latent's length does not matter, only its direction.

    Scales and binary attributes are read off one dimension each, through the normal distribution; a choice takes one
    dimension an option and goes to the largest (Gumbel's trick), so that a generator need not learn a staircase.

    Args:
        z: (B, Z) standard normal, Z ≥ ``Z_USED``; what is beyond is ignored.
    """
    if z.ndim != 2 or z.shape[1] < Z_USED:
        raise ValueError(f"Latents must have shape (B, {Z_USED} or more), got {tuple(z.shape)}.")
    u = torch.special.ndtr(z * z.square().mean(dim=1, keepdim=True).rsqrt()).clamp(1e-6, 1 - 1e-6)
    columns, at = [], 0
    for a in ATTRIBUTES:
        if isinstance(a, Choice):
            weights = torch.tensor(list(a.options.values()), dtype=u.dtype, device=u.device)
            k = (weights.log() - (-u[:, at : at + len(weights)].log()).log()).argmax(dim=1)
            edges = (weights / weights.sum()).cumsum(0)
            columns.append((edges - weights / weights.sum() / 2)[k])  # the middle of the option's band
            at += len(weights)
        else:
            columns.append(u[:, at])
            at += 1
    return factors_from_uniform(torch.stack(columns, dim=1))


def column(factors: Tensor, name: str) -> Tensor:
    """The column (B,) of one attribute."""
    return factors[:, INDEX[attribute(name).name]]


def replace(factors: Tensor, **values: float) -> Tensor:
    """A copy of the factors with some attributes set to a value in every row."""
    factors = factors.clone()
    for name, value in values.items():
        factors[:, INDEX[attribute(name).name]] = value
    return factors


def visible(factors: Tensor) -> Tensor:
    """Which attributes can be seen in each picture, bool (B, len(ATTRIBUTES)): not eyes behind sunglasses, …"""
    seen = torch.ones_like(factors, dtype=torch.bool)
    dark, bald, hat = (column(factors, name) > 0.5 for name in ("sunglasses", "bald", "hat"))
    for name in ("eye_color", "eye_size", "glasses"):
        seen[:, INDEX[name]] = ~dark
    for name in ("hair_color", "hair_volume", "long_hair", "curly_hair", "bangs"):
        seen[:, INDEX[name]] = ~bald
    seen[:, INDEX["hat_hue"]] = hat
    return seen
