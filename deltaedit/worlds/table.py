"""The one table of a world: what a picture can show, how often, and the words for it.

The painter's ranges, the captions' words, the judge's outputs and the evaluation's prompts are all read from a
``Table``. A picture is a row of ``factors``, a tensor (B, len(table.names)) with one column per attribute: 0 or 1 for a
``Binary``, the option's index for a ``Choice``, a real number for a ``Scale``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Binary:
    """Something that is there or not, with probability ``p``."""

    name: str
    p: float
    yes: tuple[str, ...]  #: phrases for «it is there»; the first is the canonical one
    no: tuple[str, ...] = ()  #: phrases for «it is not», each said after «with»
    form: str = "with"
    """How a phrase joins a sentence, "adjective" before the noun, "with" after it and «with», or "after" it as it
    stands; of a Choice also "noun", in its place."""


@dataclass(frozen=True)
class Choice:
    """One of several options."""

    name: str
    options: dict[str, float]  #: with their weights
    words: dict[str, tuple[str, ...]]  #: phrases for each
    form: str = "with"
    adjectives: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """For some options other phrases, said before the noun, «black cat» beside «cat with black fur»."""

    def facts(self, option: str) -> tuple[tuple[str, str], ...]:
        """All that an option is called, each phrase with its form; the canonical one first."""
        before = tuple((phrase, "adjective") for phrase in self.adjectives.get(option, ()))
        return tuple((phrase, self.form) for phrase in self.words.get(option, ())) + before


@dataclass(frozen=True)
class Scale:
    """A continuous factor; words are said only of its ends, below ``ends[0]`` and above ``ends[1]``."""

    name: str
    bands: tuple[tuple[float, float, float], ...]  #: (weight, from, to), uniform within
    low: tuple[str, ...] = ()
    high: tuple[str, ...] = ()
    ends: tuple[float, float] = (0.25, 0.75)
    form: str = "adjective"

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(low for _, low, _ in self.bands), max(high for _, _, high in self.bands)


def shows(a: Binary | Choice | Scale, value: bool | str, number: Tensor | float) -> Tensor | bool:
    """Whether an attribute's number, or each of them (B,), stands for a value.

    That is a truth value for a Binary; an option for a Choice; «low» or «high», an end, for a Scale.
    """
    if isinstance(a, Binary):
        return (number > 0.5) == bool(value)
    if isinstance(a, Choice):
        return number == list(a.options).index(str(value))
    return number > a.ends[1] if value == "high" else number < a.ends[0]


UNIFORM = ((1.0, 0.0, 1.0),)
THIRDS = ((0.35, 0.0, 0.2), (0.3, 0.4, 0.6), (0.35, 0.8, 1.0))  # clear cases, and a middle that no word names


def words(text: str) -> tuple[str, ...]:
    """Phrases as tables have them: «a hat, a cap, a beanie»."""
    return tuple(text.split(", "))


EYE_SIZES = words("small eyes, narrow eyes, tiny eyes"), words("big eyes, large eyes, huge eyes")
TURNS = words("looking left, turned to the left"), words("looking right, turned to the right")
YAW = Scale("yaw", ((1.0, -1.0, 1.0),), *TURNS, ends=(-0.5, 0.5), form="after")
"""How far a head is turned."""


def colored(name: str, colors: Iterable[str], phrases: str, **synonyms: str) -> Choice:
    """A Choice among colours, all as likely; ``phrases`` have {} for a colour and for its synonyms."""
    called = {c: (c, *words(synonyms[c])) if c in synonyms else (c,) for c in colors}
    said = {c: tuple(p.format(word) for word in called[c] for p in words(phrases)) for c in called}
    return Choice(name, dict.fromkeys(called, 1), said)


def _nothing(columns: dict[str, Tensor]) -> dict[str, Tensor]:
    return {}


@dataclass(frozen=True, eq=False)
class Table:
    """The attributes of one world; its functions take all columns (B,) by name."""

    attributes: tuple[Binary | Choice | Scale, ...]
    resolve: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _nothing
    """Columns that take another value, since some things exclude each other, by name."""
    hidden: Callable[[dict[str, Tensor]], dict[str, Tensor]] = _nothing
    """Where attributes cannot be seen, bool (B,), by name."""

    def _of(self, kind: type) -> tuple[str, ...]:
        return tuple(a.name for a in self.attributes if isinstance(a, kind))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of all attributes, in the order of columns."""
        return self._of(object)

    @cached_property
    def index(self) -> dict[str, int]:
        """The column of each attribute."""
        return {name: k for k, name in enumerate(self.names)}

    @cached_property
    def binary(self) -> tuple[str, ...]:
        """Names of what is there or not."""
        return self._of(Binary)

    @cached_property
    def choice(self) -> tuple[str, ...]:
        """Names of what is one of several."""
        return self._of(Choice)

    @cached_property
    def scale(self) -> tuple[str, ...]:
        """Names of what is more or less."""
        return self._of(Scale)

    @cached_property
    def outputs(self) -> tuple[int, ...]:
        """How many numbers say what is seen of each attribute."""
        return tuple(len(a.options) if isinstance(a, Choice) else 1 for a in self.attributes)

    @property
    def z_used(self) -> int:
        """Dimensions of z that mean something, see ``from_z``."""
        return sum(self.outputs)

    def attribute(self, name: str) -> Binary | Choice | Scale:
        """The row of that name; raises ``ValueError`` naming the known ones."""
        if name not in self.index:
            raise ValueError(f"There is no attribute {name!r}; this world has {', '.join(self.names)}.")
        return self.attributes[self.index[name]]

    def column(self, factors: Tensor, name: str) -> Tensor:
        """The column (B,) of one attribute."""
        return factors[:, self.index[self.attribute(name).name]]

    def columns(self, factors: Tensor) -> dict[str, Tensor]:
        """All columns (B,) by name."""
        return dict(zip(self.names, factors.unbind(dim=1), strict=True))

    def replace(self, factors: Tensor, **values: float) -> Tensor:
        """A copy of the factors with some attributes set to a value in every row."""
        factors = factors.clone()
        for name, value in values.items():
            factors[:, self.index[self.attribute(name).name]] = value
        return factors

    def plain(self, factors: Tensor) -> Tensor:
        """A copy with nothing on: every binary attribute off and every scale in its middle; choices stay."""
        middles = {a.name: sum(a.range) / 2 for a in self.attributes if isinstance(a, Scale)}
        return self.replace(factors, **dict.fromkeys(self.binary, 0.0), **middles)

    def visible(self, factors: Tensor) -> Tensor:
        """Which attributes can be seen in each picture, bool (B, len(names)): not eyes behind sunglasses, …"""
        seen = torch.ones_like(factors, dtype=torch.bool)
        for name, where in self.hidden(self.columns(factors)).items():
            seen[:, self.index[name]] = ~where
        return seen

    def by_name(self, output: Tensor) -> dict[str, Tensor]:
        """Cut (B, sum(outputs)) into a logit (B,), logits (B, options) for a Choice, or a value (B,) for a Scale."""
        pairs = zip(self.attributes, output.split(self.outputs, dim=1), strict=True)
        return {a.name: part if isinstance(a, Choice) else part[:, 0] for a, part in pairs}

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw the factors of ``n`` pictures, (n, len(names)), on the generator's device."""
        device = generator.device if generator is not None else "cpu"
        return self.from_uniform(torch.rand(n, len(self.names), generator=generator, device=device))

    def from_uniform(self, u: Tensor) -> Tensor:
        """Turn independent uniform numbers (B, len(names)) in [0, 1] into the factors of pictures that can exist."""
        columns: dict[str, Tensor] = {}
        for k, a in enumerate(self.attributes):
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
        columns |= self.resolve(columns)
        return torch.stack([columns[name] for name in self.names], dim=1)

    def from_z(self, z: Tensor) -> Tensor:
        """The picture that a latent stands for; the latent's length does not matter, only its direction.

        Scales and binary attributes are read off one dimension each, through the normal distribution; a choice takes
        one dimension an option and goes to the largest (Gumbel's trick): a generator need not learn a staircase. Of z
        (B, Z), standard normal, what is beyond ``z_used`` is ignored.
        """
        u = torch.special.ndtr(self._unit(z)).clamp(1e-6, 1 - 1e-6)
        columns, at = [], 0
        for a in self.attributes:
            if isinstance(a, Choice):
                weights = torch.tensor(list(a.options.values()), dtype=u.dtype, device=u.device)
                k = (weights.log() - (-u[:, at : at + len(weights)].log()).log()).argmax(dim=1)
                edges = (weights / weights.sum()).cumsum(0)
                columns.append((edges - weights / weights.sum() / 2)[k])  # the middle of the option's band
                at += len(weights)
            else:
                columns.append(u[:, at])
                at += 1
        return self.from_uniform(torch.stack(columns, dim=1))

    def graft(self, z: Tensor, donor: Tensor, name: str) -> Tensor:
        """Latents that stand for what ``z`` does, but for one attribute, which is the donor's; (B, Z) each.

        What excludes it goes with it (``resolve``). Scales move by a hundredth, for the latent's length changes.
        """
        start, z = sum(self.outputs[: self.index[self.attribute(name).name]]), self._unit(z).clone()
        own = slice(start, start + self.outputs[self.index[name]])
        z[:, own] = self._unit(donor)[:, own]
        return z

    def _unit(self, z: Tensor) -> Tensor:
        if z.ndim != 2 or z.shape[1] < self.z_used:
            raise ValueError(f"Latents must have shape (B, {self.z_used} or more), got {tuple(z.shape)}.")
        return z * z.square().mean(dim=1, keepdim=True).rsqrt()
