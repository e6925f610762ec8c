"""A domain: a generator with its CLIP model, mapper and relevance in one folder; its card, and what must fit."""

from __future__ import annotations

import json
import math
import textwrap
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor, nn

from deltaedit.e4e import E4E, Encoder
from deltaedit.files import write_json, write_tensors
from deltaedit.mapper import DeltaMapper
from deltaedit.pictures import PREPROCESSINGS
from deltaedit.style_space import AnyGenerator
from deltaedit.untrusted.kinds import JSON, other_kind_of, shown

CARD = "domain.json"
GENERATOR, CLIP, MAPPER = "generator.safetensors", "clip.safetensors", "mapper.safetensors"
RELEVANCE, ENCODER = "relevance.safetensors", "encoder.safetensors"

RELEASED = {"threshold": 0.03, "preprocessing": "deltaedit", "raw_threshold": True, "photo_feature": True}
"""What DeltaEdit's released mapper and relevance matrix need of a ``Domain``."""


@dataclass(frozen=True)
class Domain:
    """What an editor needs to know of a domain beside its models: the content of ``domain.json``.

    >>> Domain("my-cats", neutral="cat", threshold=0.1).gain
    1.0
    """

    name: str = "custom"  #: for people and for ``Edit.to_json``
    neutral: str = "face"  #: prompt of a picture of which nothing is known
    threshold: float = 0.03
    """Least ``|relevance @ delta_text|``, ``delta_text`` of unit norm, of a channel that moves. The published 0.03 is
    for text differences before they are scaled; see ``relevance_mask``."""
    truncation: float = 1.0  #: of sampled latents; 1 as in the paper
    gain: float = 1.0  #: what strength 1 multiplies the mapper's output by; 1 as in the paper
    length: float | None = None
    """How long every edit is at strength 1, as the norm of what its channels move by, each in the mapper's ``s_std``:
    some prompts' edits are too short else, and others' too long. None lets the mapper and ``gain`` say, as in the
    paper."""
    tail: float = 0.0
    """Share of samples, at each end of a style channel, that edits do not push it into; 0 lets them go anywhere, as in
    the paper."""
    world: str | None = None  #: the procedural world whose pictures the generator draws, if it is one of ours
    align: bool = False  #: whether it was trained on faces aligned as FFHQ's, and pictures from outside must be too
    preprocessing: str = "clip"  #: how pictures are made ready for CLIP; see ``ClipEncoder``
    raw_threshold: bool = False  #: whether ``threshold`` is for ``delta_text`` before it is scaled, as published
    photo_feature: bool = False
    """Whether the image feature of a picture from outside is the picture's own, as published, or that of what the
    generator draws instead of it."""
    steps: int = 0  #: of optimisation that inversion takes after the encoder's look, unless told otherwise
    needs: str | None = None  #: what ``download`` has of the parts that are not in the folder; see ``domains.locate``

    def __post_init__(self) -> None:
        for name in ("name", "neutral"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"{name} of a domain must be some words. Got {getattr(self, name)!r}.")
        if self.needs is not None and not isinstance(self.needs, str):
            raise ValueError(f"needs of a domain must be a name. Got {self.needs!r}.")
        for name in ("threshold", "truncation", "gain", "tail"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} of a domain must be a finite number. Got {value!r}.")
        if self.length is not None and not (
            isinstance(self.length, int | float) and math.isfinite(self.length) and self.length > 0
        ):
            raise ValueError(f"length of a domain must be a positive number, or none. Got {self.length!r}.")
        if self.preprocessing not in PREPROCESSINGS:
            known = " or ".join(map(repr, PREPROCESSINGS))
            raise ValueError(f"preprocessing of a domain must be {known}. Got {self.preprocessing!r}.")
        for name in ("align", "raw_threshold", "photo_feature"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} of a domain must be true or false. Got {getattr(self, name)!r}.")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 0:
            raise ValueError(f"steps of a domain must be a whole number, 0 or more. Got {self.steps!r}.")
        if not 0 <= self.tail < 0.5:
            raise ValueError(f"tail of a domain must be from 0 to below 0.5. Got {self.tail}.")

    def write(self, folder: str | Path) -> None:
        """Write ``domain.json`` into a folder."""
        write_json(Path(folder) / CARD, asdict(self))

    @classmethod
    def read(cls, folder: str | Path) -> Domain:
        """Read ``domain.json``, what this version knows of it; raises ``ValueError`` if it is missing or damaged."""
        path = Path(folder) / CARD
        if not path.is_file():
            raise ValueError(f"{folder} is no domain: it has no {CARD}. Editor.save_pretrained makes such a folder.")
        try:
            if (other := other_kind_of(path)) and other != f"is {JSON}":
                raise ValueError(f"it {other}")
            values = json.loads(path.read_bytes())  # which tells UTF-8 and UTF-16, and what mark they begin with
            if not isinstance(values, dict):
                raise ValueError(f"it holds {shown(values)}, not named entries")
            return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            broken = isinstance(error, json.JSONDecodeError | UnicodeDecodeError | RecursionError)
            reason = "it is no JSON" if broken else textwrap.shorten(str(error), 200, placeholder=" …").rstrip(".")
            raise ValueError(f"{path} is damaged ({reason}): fetch it or save the domain again.") from None


def save_parts(folder: Path, **parts: nn.Module | Tensor | None) -> None:
    """Write those parts of a domain that there are, by the names of their files, each whole."""
    for name, part in parts.items():
        path = folder / f"{name}.safetensors"
        if isinstance(part, Tensor):
            write_tensors(path, {name: part}, {})
        elif part is not None:
            part.save(path)


def check_fit(
    generator: AnyGenerator,
    dim: int | None = None,
    mapper: DeltaMapper | None = None,
    relevance: Tensor | None = None,
    encoder: Encoder | E4E | None = None,
) -> None:
    """Raise ValueError, naming both sides, if those parts of a domain that there are do not fit each other.

    Where ``dim``, the feature size of CLIP, is not known, it is the mapper's.
    """
    layout = generator.layout
    if mapper is not None:
        if mapper.layout.dims != layout.dims:
            got = f"{mapper.layout.dims} and {layout.dims}"
            raise ValueError(f"mapper and generator must have the same style widths. Got {got}.")
        dim = mapper.config.feature_dim if dim is None else dim
        if mapper.config.feature_dim != dim:
            raise ValueError(f"mapper and CLIP must have one feature size. Got {mapper.config.feature_dim} and {dim}.")
    if relevance is not None and relevance.shape != (layout.size, relevance.shape[1] if dim is None else dim):
        raise ValueError(f"relevance must have shape ({layout.size}, {dim or 'D'}). Got {tuple(relevance.shape)}.")
    if encoder is not None:
        got, fits = (encoder.config.num_ws, encoder.config.w_dim), (generator.num_ws, generator.w_avg.shape[-1])
        if got != fits:
            raise ValueError(f"encoder and generator must have w_plus of one shape. Got {got} and {fits}.")
