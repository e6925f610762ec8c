"""A caption grammar over a world's table: synonyms, word orders, negations, and never the whole story."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.features import SHARD, FeatureStore, shard_latents
from deltaedit.worlds.table import Binary, Choice, shows

if TYPE_CHECKING:
    from deltaedit.clip import ClipEncoder
    from deltaedit.worlds.world import World

Fact = tuple[str, str]  # a phrase and its form, see ``Binary``


def negations(a: Binary) -> tuple[Fact, ...]:
    """Phrases for «it is not there»."""
    denial = (f"without {a.yes[0]}", "after") if a.form == "with" else (f"not {a.yes[0]}", a.form)
    return (*((phrase, "with") for phrase in a.no), denial)


def facts(world: World, row: Tensor, seen: Tensor, rng: Random) -> tuple[dict[str, Fact], dict[str, Fact]]:
    """What can truly be said of one picture, by attribute: what is there, and what is not.

    ``row`` holds its factors (len(names),), ``seen`` is its row of ``world.told``, and ``rng`` chooses among synonyms.
    """
    there: dict[str, Fact] = {}
    absent: dict[str, Fact] = {}
    for a, value, can in zip(world.table.attributes, row.tolist(), seen.tolist(), strict=True):
        if not can or getattr(a, "form", "") == "noun":  # nouns are for ``world.called``
            continue
        if isinstance(a, Binary):
            if value > 0.5:
                there[a.name] = rng.choice(a.yes), a.form
            else:
                absent[a.name] = rng.choice(negations(a))
        elif isinstance(a, Choice):
            there[a.name] = rng.choice(a.facts(list(a.options)[round(value)]))
        elif words := a.low if value < a.ends[0] else a.high if value > a.ends[1] else ():
            there[a.name] = rng.choice(words), a.form
    return there, absent


def told(
    world: World, row: Tensor, seen: Tensor, rng: Random, at_least: int = 1, at_most: int = 7, negation: float = 0.22
) -> list[Fact]:
    """The facts that one caption tells, of ``world.apart`` never both; see ``captions`` and ``facts``."""
    there, absent = facts(world, row, seen, rng)
    count = 0 if rng.random() < 0.02 else rng.randint(at_least, at_most)
    negative = min(len(absent), sum(rng.random() < negation for _ in range(count)))
    names = rng.sample(list(there), min(len(there), count - negative))
    free = [name for name in there if all(name not in dict(pair) for pair in world.apart)]

    def shown(name: str, value: bool | str) -> bool:
        return name in there and bool(shows(world.table.attribute(name), value, row[world.table.index[name]]))

    for one, other in world.apart:
        if shown(*one) and shown(*other):
            names = _one_at_most(names, free, len(names) / len(there), [one[0], other[0]], rng)
    return [there[name] for name in names] + rng.sample(list(absent.values()), negative)


def _one_at_most(names: list[str], free: list[str], share: float, pair: list[str], rng: Random) -> list[str]:
    """Chosen names that hold one of a pair at most, and each of it as often as if it had no partner.

    Were one only dropped where both were chosen, to name one would say that the other is not there, and a model would
    learn just that. So where neither was chosen, one sometimes takes the place of something else. Those chosen are a
    ``share`` of all there are, those ``free`` in no pair.
    """
    both = len({*names} & {*pair})
    if both == 2:
        out, spare = rng.choice(pair), [name for name in free if name not in names]
        into = rng.choice(spare) if spare else None
    elif both == 0 and {*names} & {*free} and rng.random() * (1 - share) ** 2 < share**2:
        out, into = rng.choice([name for name in names if name in free]), rng.choice(pair)
    else:
        return names
    return [into if name == out else name for name in names if name != out or into]


def sentence(world: World, chosen: Iterable[Fact], nouns: tuple[str, ...], rng: Random) -> str:
    """One caption that says the chosen facts about one of the nouns, in one of several word orders."""
    chosen = list(chosen)
    rng.shuffle(chosen)
    adjectives = [phrase for phrase, form in chosen if form == "adjective"]
    things = _merge([fact for fact in chosen if fact[1] in ("with", "after")], world.merge, rng)
    noun, lead = rng.choice(nouns), rng.choice(world.leads)
    order = rng.random()
    if order < 0.15:  # tags
        words = [*([noun] if rng.random() < 0.5 else []), *adjectives, *(phrase for phrase, _ in things)]
        rng.shuffle(words)
        return ", ".join(words or [noun])
    if order < 0.3 and adjectives and things:  # «a person with a hat who is old and smiling»
        words = f"{lead}{noun} {_joined(things)} who is {_listed(adjectives)}"
    else:
        words = f"{lead}{' '.join(adjectives)} {noun} {_joined(things)}"
    return re.sub(r"\ba (?=[aeou])", "an ", " ".join(words.split()))


def _merge(things: list[Fact], nouns: tuple[str, ...], rng: Random) -> list[Fact]:
    for noun in nouns:
        pattern = rf"(?!no |a )(\S+ ){{1,2}}{noun}"
        same = [fact for fact in things if fact[1] == "with" and re.fullmatch(pattern, fact[0])]
        if len(same) > 1 and rng.random() < 0.6:
            words = [phrase.removesuffix(f" {noun}") for phrase, _ in same]
            things = [fact for fact in things if fact not in same] + [(f"{' '.join(words)} {noun}", same[0][1])]
    return things


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _joined(things: list[Fact]) -> str:
    having = [phrase for phrase, form in things if form == "with"]
    other = [phrase for phrase, form in things if form == "after"]
    return " ".join(([f"with {_listed(having)}"] if having else []) + other)


def captions(world: World, factors: Tensor, rng: Random, at_least: int, at_most: int, negation: float) -> list[str]:
    """A true caption for every picture, naming a few of the things that can be seen in it or are known of it.

    It names ``at_least`` to ``at_most`` facts, one in fifty names none; a share of ``negation`` says what is not there.
    """
    return [
        sentence(world, told(world, row, seen, rng, at_least, at_most, negation), world.called(row), rng)
        for row, seen in zip(factors.cpu(), world.told(factors).cpu(), strict=True)
    ]


def phrases(world: World, name: str, value: bool | str) -> tuple[Fact, ...]:
    """All that captions call an attribute's value, the canonical phrase first; raises ``ValueError`` if nothing.

    A value is a truth value for a Binary, an option for a Choice, «low» or «high» for a Scale.
    """
    a = world.table.attribute(name)
    if isinstance(a, Binary) and not value:
        return negations(a)
    if isinstance(a, Choice):
        found = a.facts(str(value))
    else:
        words = a.yes if isinstance(a, Binary) else a.low if value == "low" else a.high
        found = tuple((phrase, a.form) for phrase in words)
    if not found:
        raise ValueError(f"No words were given to {name!r} = {value!r} in the attribute table.")
    return found


def prompt(world: World, *values: tuple[str, bool | str]) -> str:
    """The canonical prompt for values of attributes: «face with glasses», «old face», «smiling face with a beard»."""
    said = [phrases(world, name, value)[0] for name, value in values]
    adjectives = " ".join(phrase for phrase, form in said if form == "adjective")
    noun = next((phrase for phrase, form in said if form == "noun"), world.neutral)
    return " ".join(f"{adjectives} {noun} {_joined(said)}".split())


@torch.no_grad()
def caption_features(
    world: World, store: FeatureStore, clip: ClipEncoder, z_dim: int, seed: int = 0, batch_size: int = 256
) -> Tensor:
    """Text features (n, D) of a caption for each picture that a store was sampled with, for ``baselines.Captioned``.

    The caption tells of the picture that the latent stands for, as those tell that CLIP was trained with. Raises
    ``ValueError`` if the store holds pictures that were not sampled, or truncated ones: their latents tell nothing.
    """
    if store.pictures or store.manifest["truncation"] != 1:
        got = f"{sum(store.pictures)} other pictures, and truncation {store.manifest['truncation']}"
        raise ValueError(f"captions are known of samples without truncation only. Got {got}.")
    shards = range(-(-store.size // SHARD))
    z = torch.cat([shard_latents(store.manifest["seed"], k, z_dim) for k in shards])[: store.size]
    texts = world.captions(world.factors_from_z(z), Random(seed))
    parts = [texts[k : k + batch_size] for k in range(0, len(texts), batch_size)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of long captions that are cut: CLIP was trained with them so
        return torch.cat([clip.encode_text(part) for part in tqdm(parts, desc="captions", unit="batch")])
