"""What people saw in generated faces, and how far two of them agree.

``labels.csv`` has a line for every face that somebody looked at, on sheets of 25, by what is visible and nothing else.
«editor» labels teach the editor's CLIP; those of the «judge» never do. Sheets are «random», «enriched» by what is rare,
or a «second» opinion on a face that another line has too.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deltaedit.features import SHARD, shard_latents

LABELS = Path(__file__).with_name("labels.csv")
SEED, TRUNCATION = 0, 0.9  # that the faces were drawn with
GENERATOR = "35f2d0835e13"
"""Fingerprint of the generator that drew them: of another's faces the labels say nothing."""
WHO, SHEETS = ("editor", "judge"), ("random", "enriched", "second")

FIELDS: dict[str, str] = {
    "eyewear": "n none, g glasses with clear lenses, s sunglasses",
    "beard": "n none, s stubble or a short beard, f full beard",
    "moustache": "n no, y yes (also as part of a beard)",
    "length": "b bald or nearly, s short, m medium (chin to shoulder), l long, t tied back, x hidden",
    "colour": "k black, d dark to light brown, b blond, r red, g grey or white, o another, x hidden",
    "curl": "s straight, w wavy, c curly, x cannot tell",
    "bangs": "n no, y yes (over a good part of the forehead)",
    "hat": "n no, y yes (also a hood or a scarf)",
    "lipstick": "n no, y yes",
    "earrings": "n no, y yes",
    "smile": "n none, c with closed lips, t with teeth showing",
    "mouth": "o open (also with teeth showing), c closed",
    "eyes": "o open, s squinting, c closed, x behind sunglasses",
    "age": "c child to about 12, y young to 29, m middle to 54, o old",
    "gender": "f female, m male (on a first look), u cannot tell",
    "makeup": "n no, y yes (of the eyes, or strong)",
}
"""What was asked of each face, and the answers with their letters; «?» where a picture is too broken to say."""
LETTERS: dict[str, str] = {name: "".join(part[0] for part in said.split(", ")) for name, said in FIELDS.items()}
"""The letters of each field."""

ASKS: dict[str, tuple[str, str, str]] = {
    "glasses": ("eyewear", "g", "n"),
    "sunglasses": ("eyewear", "s", "ng"),
    "beard": ("beard", "f", "n"),
    "stubble": ("beard", "s", "n"),
    "moustache": ("moustache", "y", "n"),
    "bald": ("length", "b", "smlt"),
    "short_hair": ("length", "s", "ml"),
    "long_hair": ("length", "l", "sb"),
    "tied_hair": ("length", "t", "sml"),
    "black_hair": ("colour", "k", "dbrg"),
    "brown_hair": ("colour", "d", "kbrg"),
    "blond_hair": ("colour", "b", "kdrg"),
    "red_hair": ("colour", "r", "kdbg"),
    "grey_hair": ("colour", "g", "kdbr"),
    "straight_hair": ("curl", "s", "wc"),
    "curly_hair": ("curl", "c", "sw"),
    "wavy_hair": ("curl", "w", "sc"),
    "bangs": ("bangs", "y", "n"),
    "hat": ("hat", "y", "n"),
    "lipstick": ("lipstick", "y", "n"),
    "earrings": ("earrings", "y", "n"),
    "smile": ("smile", "ct", "n"),
    "teeth": ("smile", "t", "nc"),
    "open_mouth": ("mouth", "o", "c"),
    "squint": ("eyes", "sc", "o"),
    "child": ("age", "c", "ymo"),
    "young": ("age", "y", "mo"),
    "old": ("age", "o", "ymc"),
    "man": ("gender", "m", "f"),
    "makeup": ("makeup", "y", "n"),
}
"""By attribute: the field that tells it, the letters that mean yes, and those that mean no; others leave it unknown."""


@dataclass(frozen=True)
class Look:
    """What one person saw in one face."""

    number: int  #: of the face, see ``latent``
    by: str  #: one of ``WHO``
    sheet: str  #: one of ``SHEETS``
    saw: dict[str, str]  #: by field, a letter


def read(path: str | Path = LABELS) -> list[Look]:
    """All lines of a file of labels, checked.

    Raises ``ValueError``, naming the line, for a field that is missing or has another letter, and for a face that one
    person labelled twice.

    >>> looks = read()
    >>> looks[0].number, looks[0].saw["smile"]
    (0, 't')
    """
    with Path(path).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    columns = ["number", "by", "sheet", *LETTERS]
    if not lines or list(lines[0]) != columns:
        raise ValueError(
            f"{path} must have the columns {', '.join(columns)}. Got {', '.join(lines[0] if lines else ())}."
        )
    looks, seen = [], set()
    for k, line in enumerate(lines, start=2):
        known = {"by": WHO, "sheet": SHEETS} | {name: (*letters, "?") for name, letters in LETTERS.items()}
        for name, values in known.items():
            if line[name] not in values:
                raise ValueError(f"line {k} of {path} has the {name} {line[name]!r}: it must be one of {values}.")
        if not line["number"].isdecimal() or None in line:
            raise ValueError(f"line {k} of {path} must begin with the number of a face, and end after its fields.")
        look = Look(int(line["number"]), line["by"], line["sheet"], {name: line[name] for name in LETTERS})
        if (key := (look.number, look.by, look.sheet == "second")) in seen:
            raise ValueError(f"line {k} of {path} has face {look.number} once more: delete one of the lines.")
        seen.add(key)
        looks.append(look)
    return looks


def first(looks: Iterable[Look], by: str) -> list[Look]:
    """Those by one of ``WHO`` that are no second opinions, by the numbers of their faces."""
    return sorted((look for look in looks if look.by == by and look.sheet != "second"), key=lambda look: look.number)


def agreement(looks: Sequence[Look]) -> dict[str, dict[str, float]]:
    """By field: on how many faces that have two opinions both are the same, and how far beyond chance (Cohen's kappa).

    >>> agreement(read())["eyewear"]["same"] > 0.95
    True
    """
    one = {(look.number, look.by): look.saw for look in looks if look.sheet != "second"}
    two = [look for look in looks if look.sheet == "second" and (look.number, look.by) in one]
    found = {}
    for field in LETTERS if two else ():
        pairs = [(one[look.number, look.by][field], look.saw[field]) for look in two]
        same = sum(a == b for a, b in pairs) / len(pairs)
        a, b = zip(*pairs, strict=True)
        chance = sum(a.count(letter) * b.count(letter) for letter in set(a)) / len(pairs) ** 2
        found[field] = {"same": same, "kappa": (same - chance) / (1 - chance) if chance < 1 else 1.0}
    return found


def target(looks: Iterable[Look], name: str) -> Tensor:
    """Whether faces show an attribute of ``ASKS``, (n,): 1, 0, or nan where it is unknown.

    >>> target(read()[:3], "glasses")
    tensor([0., 0., 0.])
    """
    field, yes, no = ASKS[name]
    return torch.tensor(
        [1.0 if look.saw[field] in yes else 0.0 if look.saw[field] in no else torch.nan for look in looks]
    )


def latent(number: int, z_dim: int = 512) -> Tensor:
    """The z (1, z_dim) of a face that was labelled, to be drawn with ``TRUNCATION``.

    >>> latent(1925).shape
    torch.Size([1, 512])
    """
    return shard_latents(SEED, number // SHARD, z_dim)[number % SHARD][None]
