"""The miniature worlds: pictures of which everything is known, and the models trained on them.

A world is a package in this one that declares a :class:`~deltaedit.worlds.world.World` by the name ``WORLD``.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deltaedit.domains import Domain
    from deltaedit.worlds.world import World

NAMES: tuple[str, ...] = tuple(module.name for module in iter_modules(__path__) if module.ispkg)
"""The worlds there are."""


def named(name: str) -> World:
    """The world of that name; raises ``ValueError`` naming those there are."""
    if name not in NAMES:
        raise ValueError(f"there is no world {name!r}: choose {' or '.join(map(repr, NAMES))}.")
    return import_module(f"{__name__}.{name}").WORLD


def of(domain: Domain) -> World:
    """The world whose pictures a domain's generator draws; raises ``ValueError`` for a domain of none of ours."""
    if domain.world is None:
        raise ValueError(f"the domain {domain.name!r} is drawn by no world of ours, so nothing is known of its "
                         "pictures: say which prompts to use.")  # fmt: skip
    return named(domain.world)
