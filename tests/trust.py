"""Where it is kept what was found by trying to break things: `figures/trust.json`, a key for each kind of trial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deltaedit.files import locked, read_json, write_json
from deltaedit.record import surroundings

TRUST = Path(__file__).resolve().parents[1] / "figures/trust.json"


def write_trust(name: str, measures: dict[str, Any], path: Path = TRUST, **about: Any) -> None:
    """Put measures under a name of their own, with machine, versions and ``about``; what is under others stays."""
    with locked(path):
        kept = read_json(path) if path.exists() else {}
        write_json(path, {**kept, name: {"measures": measures, **about, **surroundings()}})
