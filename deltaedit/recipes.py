"""Recipes: an edit as JSON, from which ``Editor.replay`` makes it again. They come from anywhere, and are only data."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deltaedit.untrusted.kinds import shown

LONGEST = 2**25  # characters of a recipe; one of FFHQ's W+ has 50,000
MOST = 10_000  # pictures of a recipe
WHAT_DIFFERS = {
    "generator": "another generator draws other pictures",
    "clip": "another CLIP reads the prompts otherwise",
    "mapper": "another mapper moves other style channels",
    "relevance": "another relevance matrix lets other style channels move",
}


@dataclass(frozen=True)
class Part:
    """One prompt of an edit; see ``Direction``."""

    prompt: str
    neutral: str
    strength: float
    threshold: float


@dataclass(frozen=True, eq=False)
class Recipe:
    """What makes an edit, as read from JSON, each field checked.

    Attributes:
        domain: its name; nothing is looked up by it.
        models: fingerprints of generator, clip, mapper and relevance; None for a relevance that is not there.
        settings: those of the domain that decide how far an edit goes.
        parts: the prompts, in order; none for the picture as it is.
        seed, n, truncation: of ``Editor.sample``, or None.
        rows: which of those samples; all, if None.
        w: (B, w_dim) or (B, L, w_dim), what stands in place of a sample, or None.
        image_feature: (B, D) that go with ``w``, where they are not those of the pictures that it draws.
    """

    domain: str
    models: Mapping[str, str | None]
    settings: Mapping[str, Any]
    parts: tuple[Part, ...]
    seed: int | None = None
    n: int = 1
    truncation: float = 1.0
    rows: tuple[int, ...] | None = None
    w: Tensor | None = None
    image_feature: Tensor | None = None

    def __len__(self) -> int:
        """Of how many pictures it is."""
        return len(self.w) if self.w is not None else self.n if self.rows is None else len(self.rows)

    @classmethod
    def read(cls, recipe: str | Mapping[str, Any] | Recipe) -> Recipe:
        """A recipe from JSON, or from what JSON holds; entries that it does not know are left aside.

        Raises:
            ValueError: naming the entry, if one is missing or cannot be right.
        """
        if isinstance(recipe, Recipe):
            return recipe
        data = _object(_parsed(recipe) if isinstance(recipe, str) else recipe, "the recipe")
        models = {
            name: _text(value, f"models.{name}", none=name == "relevance")
            for name, value in _items(_get(data, "models", "models"), "models", WHAT_DIFFERS)
        }
        edits = _get(data, "edits", "edits")
        if not isinstance(edits, list):
            raise ValueError(f"edits of a recipe must be a list. Got {shown(edits)}.")
        parts = []
        for k, edit in enumerate(edits):
            at = f"edits[{k}]"
            prompt, neutral = (_text(value, f"{at}.{name}") for name, value in _items(edit, at, ("prompt", "neutral")))
            strength, threshold = (
                _number(value, f"{at}.{name}") for name, value in _items(edit, at, ("strength", "threshold"))
            )
            if threshold < 0:
                raise ValueError(f"{at}.threshold of a recipe must be 0 or more. Got {threshold}.")
            parts.append(Part(prompt, neutral, strength, threshold))
        about = {
            "domain": _text(_get(data, "domain", "domain"), "domain"),
            "models": models,
            "parts": tuple(parts),
            "settings": _object(_get(data, "settings", "settings"), "settings of a recipe"),
        }
        latent = _object(_get(data, "latent", "latent"), "latent of a recipe")
        if "w" in latent:
            feature = latent.get("image_feature")
            w = decode(latent["w"], "latent.w")
            if w.ndim not in (2, 3) or not 0 < len(w) <= MOST:
                raise ValueError(
                    f"latent.w of a recipe must have shape (B, w_dim) or (B, L, w_dim), B at most {MOST}. "
                    f"Got {tuple(w.shape)}."
                )
            return cls(**about, w=w, image_feature=None if feature is None else decode(feature, "latent.image_feature"))
        seed = _whole(_get(latent, "seed", "latent.seed"), "latent.seed", -(2**63), 2**63 - 1)
        n = _whole(_get(latent, "n", "latent.n"), "latent.n", 1, MOST)
        truncation = _number(_get(latent, "truncation", "latent.truncation"), "latent.truncation")
        rows = latent.get("rows")
        if rows is not None:
            if not isinstance(rows, list) or not rows or len(rows) > MOST:
                raise ValueError(f"latent.rows of a recipe must be a list of some numbers. Got {shown(rows)}.")
            rows = tuple(_whole(row, "latent.rows", 0, n - 1) for row in rows)
        return cls(**about, seed=seed, n=n, truncation=truncation, rows=rows)

    def differences(self, identity: Mapping[str, Any]) -> list[str]:
        """What will be different with an editor of another ``Editor.identity``, in words; nothing if it is the same."""
        lines = []
        if self.domain != identity["domain"]:
            lines.append(f"it is of the domain {shown(self.domain)}, and this is {identity['domain']!r}")
        lines += [text for name, text in WHAT_DIFFERS.items() if self.models[name] != identity["models"][name]]
        for name, here in identity["settings"].items():
            if (there := self.settings.get(name)) != here:
                lines.append(f"{name} was {shown(there)} and is {here!r}")
        return lines


def encode(tensor: Tensor) -> dict[str, Any]:
    """A tensor of any shape as JSON, to the bit."""
    values = tensor.detach().float().cpu().contiguous().numpy().astype("<f4")
    return {"shape": list(values.shape), "float32": base64.b64encode(values.tobytes()).decode()}


def decode(data: Any, name: str) -> Tensor:
    """What ``encode`` wrote; raises ``ValueError``, with the entry's name, if it is not that, or not finite."""
    shape, text = (value for _, value in _items(data, name, ("shape", "float32")))
    try:
        if not isinstance(text, str):
            raise ValueError(f"they are {shown(text)}")
        flat = np.frombuffer(base64.b64decode(text, validate=True), "<f4")
        if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
            raise ValueError(f"its shape is {shown(shape)}")
        tensor = torch.from_numpy(flat.astype(np.float32).reshape(shape))
    except (ValueError, TypeError, OverflowError, binascii.Error) as error:
        raise ValueError(f"{name} of a recipe must hold numbers as Edit.to_json writes them ({error}).") from None
    if not tensor.isfinite().all():
        raise ValueError(f"{name} of a recipe must be finite.")
    return tensor


def _parsed(text: str) -> Any:
    if len(text) > LONGEST:
        raise ValueError(f"a recipe must have at most {LONGEST:,} characters. Got {len(text):,}.")
    try:
        return json.loads(text.removeprefix("\ufeff"))  # the mark that some editors begin a file with
    except (ValueError, RecursionError) as error:
        reason = "lists within lists without end" if isinstance(error, RecursionError) else error
        raise ValueError(f"the recipe is no JSON ({reason}): give what Edit.to_json wrote.") from None


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object with named entries. Got {shown(value)}.")
    return value


def _items(data: Any, name: str, keys: Iterable[str]) -> list[tuple[str, Any]]:
    return [(key, _get(_object(data, f"{name} of a recipe"), key, f"{name}.{key}")) for key in keys]


def _get(data: Mapping[str, Any], key: str, name: str) -> Any:
    if key not in data:
        raise ValueError(f"the recipe has no {name}: give what Edit.to_json wrote.")
    return data[key]


def _text(value: Any, name: str, none: bool = False) -> str | None:
    if none and value is None:
        return None
    if not isinstance(value, str) or not value.strip() or len(value) > 2000:
        raise ValueError(f"{name} of a recipe must be some words. Got {shown(value)}.")
    return value


def _number(value: Any, name: str) -> float:
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        pass
    raise ValueError(f"{name} of a recipe must be a finite number. Got {shown(value)}.")


def _whole(value: Any, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        bounds = f"from {low} to {high}" if high <= MOST else "of 64 bits at most"
        raise ValueError(f"{name} of a recipe must be a whole number {bounds}. Got {shown(value)}.")
    return value
