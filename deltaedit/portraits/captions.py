"""A caption grammar over the attribute table: synonyms, word orders, negations, and never the whole story."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from torch import Tensor

from .attributes import ATTRIBUTES, Binary, Choice, Scale, attribute, visible

NEUTRAL = "face"
NOUNS = ("face", "person", "face", "head", "human", "character")
LEADS = ("", "a ", "a photo of a ", "a picture of a ", "a drawing of a ", "a portrait of a ", "the ", "this is a ",
         "an image of a ", "a close-up of a ")  # fmt: skip
TEMPLATES = ("{}", "a {}", "a photo of a {}", "a picture of a {}", "a portrait of a {}", "an image of a {}")
MERGE = ("hair", "eyes")  # «long hair», «red hair» → «long red hair»
Fact = tuple[str, bool]  # a phrase, and whether it stands before the noun


def negations(a: Binary) -> tuple[str, ...]:
    """Phrases for «it is not there»."""
    return (*a.no, f"without {a.yes[0]}" if a.form == "with" else f"not {a.yes[0]}")


def facts(row: Tensor, seen: Tensor, rng: random.Random) -> tuple[list[Fact], list[Fact]]:
    """What can truly be said of one portrait: what is there, and what is not.

    Args:
        row: its factors (len(ATTRIBUTES),).
        seen: its row of :func:`deltaedit.portraits.attributes.visible`.
        rng: chooses among synonyms.
    """
    there: list[Fact] = []
    absent: list[Fact] = []
    for a, value, can_be_seen in zip(ATTRIBUTES, row.tolist(), seen.tolist(), strict=True):
        if not can_be_seen:
            continue
        if isinstance(a, Binary):
            if value > 0.5:
                there.append((rng.choice(a.yes), a.form == "adjective"))
            else:
                words = negations(a)
                word = rng.choice(words)
                absent.append((word, word.startswith("not ")))
        elif isinstance(a, Choice):
            option = list(a.options)[round(value)]
            there.append((rng.choice(a.words[option]), a.form == "adjective"))
        elif words := a.low if value < a.ends[0] else a.high if value > a.ends[1] else ():
            there.append((rng.choice(words), a.form == "adjective"))
    return there, absent


def sentence(chosen: Iterable[Fact], rng: random.Random) -> str:
    """One caption that says the chosen facts, in one of several word orders."""
    chosen = list(chosen)
    rng.shuffle(chosen)
    adjectives = [phrase for phrase, before in chosen if before]
    things = _merge([phrase for phrase, before in chosen if not before], rng)
    noun, lead = rng.choice(NOUNS), rng.choice(LEADS)
    order = rng.random()
    if order < 0.15:  # tags
        words = [*adjectives, *things]
        rng.shuffle(words)
        return ", ".join(words or [noun])
    if order < 0.3 and adjectives and things:  # «a person with a hat who is old and smiling»
        words = f"{lead}{noun} {_joined(things)} who is {_listed(adjectives)}"
    else:
        words = f"{lead}{' '.join(adjectives)} {noun} {_joined(things)}"
    return re.sub(r"\ba (?=[aeou])", "an ", " ".join(words.split()))


def _merge(things: list[str], rng: random.Random) -> list[str]:
    for noun in MERGE:
        same = [t for t in things if t.endswith(f" {noun}") and t.count(" ") <= 2 and not t.startswith(("no", "a "))]
        if len(same) > 1 and rng.random() < 0.6:
            words = [t.removesuffix(f" {noun}") for t in same]
            things = [t for t in things if t not in same] + [f"{' '.join(words)} {noun}"]
    return things


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _joined(things: list[str]) -> str:
    having = [t for t in things if not t.startswith(("without ", "looking ", "turned "))]
    other = [t for t in things if t not in having]
    return " ".join(([f"with {_listed(having)}"] if having else []) + other)


def captions(factors: Tensor, rng: random.Random, at_least: int = 1, at_most: int = 7,
             negation: float = 0.22) -> list[str]:  # fmt: skip
    """A true caption for every portrait, naming a few of the things that can be seen in it.

    Args:
        factors: (B, len(ATTRIBUTES)).
        rng: source of all choices.
        at_least, at_most: how many facts a caption names; one in fifty names none.
        negation: share of facts that say what is not there.
    """
    out = []
    for row, seen in zip(factors.cpu(), visible(factors).cpu(), strict=True):
        there, absent = facts(row, seen, rng)
        count = 0 if rng.random() < 0.02 else rng.randint(at_least, at_most)
        negative = min(len(absent), sum(rng.random() < negation for _ in range(count)))
        chosen = rng.sample(there, min(len(there), count - negative)) + rng.sample(absent, negative)
        out.append(sentence(chosen, rng))
    return out


def prompt(name: str, value: float | str | bool, noun: str = NEUTRAL) -> str:
    """The canonical prompt for an attribute's value, such as «face with glasses», «old face», «face with blue eyes».

    Args:
        name: an attribute of the table.
        value: a truth value for a Binary; an option for a Choice; «low» or «high» for a Scale.
        noun: what the prompt is about.
    """
    a = attribute(name)
    if isinstance(a, Binary):
        phrase = a.yes[0] if value else negations(a)[0]
    elif isinstance(a, Choice):
        phrase = a.words[str(value)][0]
    else:
        phrase = (a.low if value == "low" else a.high)[0] if isinstance(a, Scale) and a.low else ""
    if not phrase:
        raise ValueError(f"No words were given to {name!r} = {value!r} in the attribute table.")
    before = a.form == "adjective" and not (isinstance(a, Binary) and not value)
    return f"{phrase} {noun}" if before else f"{noun} {_joined([phrase])}"
