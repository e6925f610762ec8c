"""A world: a table of attributes, the words and the painter for it, and what the book asks of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from deltaedit.worlds import captions
from deltaedit.worlds.painter import Color, Painter, render
from deltaedit.worlds.table import Binary, Choice, Scale, Table, shows, words

LEADS = (
    *("", "a ", "a photo of a ", "a picture of a ", "a drawing of a ", "a portrait of a ", "the ", "this is a "),
    *("an image of a ", "a close-up of a "),
)
TEMPLATES = ("{}", "a {}", "a photo of a {}", "a picture of a {}", "a portrait of a {}", "an image of a {}")


Value = tuple[str, bool | str]  # an attribute's name and a value: see ``shows``


def asked(text: str) -> tuple[Value | tuple[str, bool | str, str], ...]:
    """Values of attributes as a world's declaration has them: «beard, age high, smile low: person looking sad»."""
    found = []
    for entry in text.split(", "):
        value, _, paraphrase = entry.partition(": ")
        name, _, which = value.partition(" ")
        found.append((name, which or True, *filter(None, [paraphrase])))
    return tuple(found)


@dataclass(frozen=True)
class Examples:
    """What the book shows of a world, as canonical prompts where nothing else is said."""

    first: tuple[str, ...]  #: for the figure that opens the book
    two_way: tuple[str, ...]  #: have an opposite
    recognised: tuple[str, ...]  #: found among many pictures, in any words of the captions
    channels: tuple[str, ...]  #: have a style channel of their own
    learned: tuple[str, ...]  #: after the training of a mapper
    edits: tuple[str, ...]  #: for the chapter on editing; its first two are looked at closely
    wordings: tuple[str, ...]  #: other ways to say ``edits[0]``, itself first; the last with a word no caption holds
    pairs: tuple[tuple[str, str], ...]  #: asked for together
    removable: tuple[str, ...]  #: names of binary attributes to take off again
    degrees: tuple[float, ...] = (-0.3, -0.15, 0.0, 0.15, 0.3)  #: strengths of those that have an opposite

    @classmethod
    def of(cls, pairs: str, degrees: tuple[float, ...] = degrees, **told: str) -> Examples:
        """As a world's declaration has them: «old face, bald face», pairs «old face + bald face»."""
        both = tuple((one, other) for one, other in (pair.split(" + ") for pair in words(pairs)))
        return cls(pairs=both, degrees=degrees, **{name: words(text) for name, text in told.items()})


@dataclass(frozen=True, eq=False)
class World:
    """The declaration of a world; all that the engine, the trainers and the book know of it."""

    name: str  #: of its package, and of the domain made from it
    neutral: str  #: prompt of a picture of which nothing is known
    nouns: tuple[str, ...] | Callable[[dict[str, float]], tuple[str, ...]]
    """What captions call what they are about, as often as listed; a function of the factors by name where it depends on
    them."""
    merge: tuple[str, ...]  #: nouns whose phrases may run together, as «long hair», «red hair», «long red hair»
    table: Table  #: its attributes
    palette: dict[str, dict[str, Color]]  #: colours of a Choice's options, by name and option
    painter: type[Painter]  #: what all ``parts`` need is in its ``prepare``
    parts: tuple[Callable[[Painter], None], ...]  #: paint onto it one after the other, from back to front
    asks: tuple[Value | tuple[str, bool | str, str], ...]
    """Attribute values that edits are measured on, those that people try first; some with a paraphrase to ask by, words
    that captions know, in an order in which no caption has them."""
    coarse: tuple[str, ...]  #: attributes that a model sees first
    kept: tuple[str, ...]  #: more or less, or one of several; what an edit that does not name them should leave alone
    identity: tuple[str, ...]  #: attributes by which a person would know a portrait again, also after an edit
    examples: Examples  #: what the book shows
    apart: tuple[tuple[Value, Value], ...] = ()
    """Pairs of attribute values, each its own, that no caption names together; what CLIP makes of such pairs it has not
    read. None of them may be told by a noun, and of a pair one at most is denied with «no»: «glasses and no hat» is
    hard for other reasons."""
    known: tuple[str, ...] = ()
    """Attributes that captions tell of all pictures, also where something covers them, as people do who know whom they
    see: were blue eyes never told of someone in sunglasses, to ask for them would take these off."""
    leads: tuple[str, ...] = LEADS  #: what captions begin with
    templates: tuple[str, ...] = TEMPLATES  #: sentences that a prompt is put into

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw the factors of ``n`` pictures, (n, len(names)), on the generator's device."""
        return self.table.sample(n, generator)

    def factors_from_z(self, z: Tensor) -> Tensor:
        """The factors (B, len(names)) of the pictures that latents (B, Z) stand for."""
        return self.table.from_z(z)

    def visible(self, factors: Tensor) -> Tensor:
        """Which attributes can be seen in each picture, bool (B, len(names))."""
        return self.table.visible(factors)

    def told(self, factors: Tensor) -> Tensor:
        """Which attributes captions may tell of each picture, bool (B, len(names)): those seen, and those ``known``."""
        known = [name in self.known for name in self.table.names]
        return self.visible(factors) | torch.tensor(known, device=factors.device)

    def together(self, factors: Tensor) -> Tensor:
        """Of which pictures captions could tell both of a pair that they keep ``apart``, bool (B,)."""
        seen, out = self.told(factors), torch.zeros(len(factors), dtype=torch.bool, device=factors.device)
        for pair in self.apart:
            goals = [Goal(self, *value) for value in pair]
            there = [self.table.column(seen, goal.name) & goal.reached(factors) for goal in goals]
            out |= there[0] & there[1]
        return out

    def called(self, row: Tensor) -> tuple[str, ...]:
        """What the picture of one row of factors (len(names),) can truly be called, as often as listed."""
        if not callable(self.nouns):
            return self.nouns
        return self.nouns(dict(zip(self.table.names, row.tolist(), strict=True)))

    def render(self, factors: Tensor, resolution: int = 64) -> Tensor:
        """Paint factors (B, len(names)), see :func:`deltaedit.worlds.painter.render`."""
        return render(self, factors, resolution)

    def captions(
        self, factors: Tensor, rng: random.Random, at_least: int = 1, at_most: int = 7, negation: float = 0.22
    ) -> list[str]:
        """A true caption for every picture, see :func:`deltaedit.worlds.captions.captions`."""
        return captions.captions(self, factors, rng, at_least, at_most, negation)

    def prompt(self, name: str, value: bool | str) -> str:
        """The canonical prompt for an attribute's value, see :func:`deltaedit.worlds.captions.prompt`."""
        return captions.prompt(self, (name, value))

    @cached_property
    def prompts(self) -> list[str]:
        """The canonical prompts of all values that captions have words for."""
        said = []
        for a in self.table.attributes:
            if isinstance(a, Scale):
                values = [end for end in ("low", "high") if getattr(a, end)]
            else:
                values = [True] if isinstance(a, Binary) else [option for option in a.options if a.facts(option)]
            said += [self.prompt(a.name, value) for value in values]
        return said

    @cached_property
    def spread(self) -> dict[str, float]:
        """Standard deviation of each attribute over pictures, that of a Choice being its one-hot vector's."""
        factors = self.sample(20_000, torch.Generator().manual_seed(0))
        out = {}
        for name, column in self.table.columns(factors).items():
            x = F.one_hot(column.long()).float() if name in self.table.choice else column[:, None]
            out[name] = float((x - x.mean(0)).square().sum(1).mean().sqrt())
        return out

    @cached_property
    def goals(self) -> tuple[Goal, ...]:
        """The single-attribute edits that are measured."""
        return tuple(Goal(self, *ask) for ask in self.asks)


@dataclass(frozen=True)
class Goal:
    """What an edit is after: an attribute's value in a world, with the prompt that asks for it."""

    world: World = field(repr=False)
    name: str
    value: bool | str
    paraphrase: str = ""  #: what to ask by in place of the canonical prompt, if anything
    also: tuple[str, ...] = ()  #: attributes that move with it by its nature

    @property
    def canonical(self) -> str:
        """What it is called, such as «face with glasses»."""
        return self.world.prompt(self.name, self.value)

    @property
    def prompt(self) -> str:
        """What is asked, the canonical prompt or the paraphrase if there is one."""
        return self.paraphrase or self.canonical

    def suits(self, factors: Tensor) -> Tensor:
        """Which pictures it can be asked of, bool (B,): all of them."""
        return torch.ones(len(factors), dtype=torch.bool, device=factors.device)

    def reached(self, factors: Tensor) -> Tensor:
        """Where factors (B, len(names)), given or read by the judge, show the value; bool (B,)."""
        table = self.world.table
        return shows(table.attribute(self.name), self.value, table.column(factors, self.name))

    @property
    def opposite(self) -> Goal:
        """The other truth value, the other end, or the next option."""
        a = self.world.table.attribute(self.name)
        if isinstance(a, Binary):
            return Goal(self.world, self.name, not self.value)
        if isinstance(a, Choice):
            options = list(a.options)
            return Goal(self.world, self.name, options[(options.index(str(self.value)) + 1) % len(options)])
        return Goal(self.world, self.name, "low" if self.value == "high" else "high")
