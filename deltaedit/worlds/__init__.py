"""The miniature worlds: pictures of which everything is known, and the models trained on them.

A world is a package in this one with a painter, that declares a :class:`~deltaedit.worlds.world.World` by the name
``WORLD``. «faces» beside them is none: its pictures are photorealistic, and what they show is not known but judged.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaedit.domain import Domain
    from deltaedit.worlds.world import Examples, World

ANYTHING = ("red", "old", "dark", "blue", "white", "small", "green", "bright", "golden")
"""What can be asked of pictures of which only the neutral prompt is known."""

NAMES: tuple[str, ...] = tuple(
    module.name for module in iter_modules(__path__) if (Path(__path__[0]) / module.name / "painter.py").is_file()
)
"""The worlds there are."""


def named(name: str) -> World:
    """The world of that name; raises ``ValueError`` naming those there are."""
    if name not in NAMES:
        raise ValueError(f"there is no world {name!r}: choose {' or '.join(map(repr, NAMES))}.")
    return import_module(f"{__name__}.{name}").WORLD


def of(domain: Domain) -> World:
    """The world whose pictures a domain's generator draws; raises ``ValueError`` for a domain of none of ours."""
    if domain.world is None:
        unknown = f"the domain {domain.name!r} is drawn by no world of ours, so nothing is known of its pictures"
        raise ValueError(f"{unknown}: say which prompts to use.")
    return named(domain.world)


def examples(domain: Domain) -> Examples:
    """What the book shows of a domain: as its world has it, or one with the same neutral prompt; else plain words.

    Of one that is aligned as FFHQ's it is what the book shows of real faces.
    """
    from deltaedit.worlds.world import Examples  # here: it takes torch

    if domain.world is not None:
        return named(domain.world).examples
    if domain.align:
        from deltaedit.worlds.faces.examples import EXAMPLES

        return EXAMPLES
    for world in map(named, NAMES):
        if world.neutral == domain.neutral:
            return world.examples
    asked = tuple(f"{word} {domain.neutral}" for word in ANYTHING)
    wordings = (asked[0], *(f"{start} {asked[0]}" for start in ("a photo of a", "the")))
    return Examples(asked, asked[:4], asked[:6], asked[:5], asked[:5], asked[:7], wordings, (asked[:2],), ())


def prompts(domain: Domain) -> tuple[str, ...]:
    """What can be asked of a domain's pictures: what edits of its world are measured on, then all its captions' words.

    Of a domain of no world of ours, what the book shows of it; of real faces, what people ask of them.
    """
    if domain.world is None and domain.align:
        from deltaedit.worlds.faces.examples import ASKED

        return tuple(dict.fromkeys((*examples(domain).edits, *ASKED)))
    if domain.world is None:
        return examples(domain).edits
    world = named(domain.world)
    return tuple(dict.fromkeys([goal.canonical for goal in world.goals] + world.prompts))


def stand_in(name_or_folder: str | Path, instead: str) -> str | Path:
    """The domain itself where a world of ours draws its pictures; else ``instead``, and that is said."""
    from deltaedit.domain import Domain  # here: they take torch
    from deltaedit.domains import find

    if Domain.read(find(name_or_folder)).world is not None:
        return name_or_folder
    print(f"{name_or_folder} is drawn by no world of ours: what takes one is shown on {instead}.")
    return instead
