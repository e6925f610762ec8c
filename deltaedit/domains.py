"""Domains: a generator with its CLIP model, mapper and relevance, in one folder, or under a registered name."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from deltaedit.files import write_json

CARD = "domain.json"
GENERATOR, CLIP, MAPPER, RELEVANCE, ENCODER = (
    f"{n}.safetensors" for n in ("generator", "clip", "mapper", "relevance", "encoder")
)

PREPROCESSINGS = ("clip", "deltaedit")

_OURS = (Path(__file__).parent / "worlds").glob(f"*/weights/{CARD}")
RELEASED = {"threshold": 0.03, "preprocessing": "deltaedit", "raw_threshold": True, "photo_feature": True}
"""What DeltaEdit's released mapper and relevance matrix need of a ``Domain``."""

FOLDERS: dict[str, Path] = {card.parent.parent.name: card.parent for card in sorted(_OURS)}
"""The registered names, and where their files are; at first those of the worlds that ship with the library."""


@dataclass(frozen=True)
class Domain:
    """What an editor needs to know of a domain beside its models: the content of ``domain.json``.

    Attributes:
        name: for people and for ``Edit.to_json``.
        neutral: prompt of a picture of which nothing is known.
        threshold: least ``|relevance @ delta_text|``, ``delta_text`` of unit norm, of a channel that moves. The
            published 0.03 is for text differences before they are scaled; see ``relevance_mask``.
        truncation: of sampled latents; 1 as in the paper.
        gain: what strength 1 multiplies the mapper's output by; 1 as in the paper.
        tail: share of samples, at each end of a style channel, that edits do not push it into; 0 lets them go anywhere,
            as in the paper.
        world: the procedural world whose pictures the generator draws, if it is one of ours.
        align: whether the generator was trained on faces aligned as FFHQ's are, and pictures from outside must be too.
        preprocessing: how pictures are made ready for CLIP; see ``ClipEncoder``.
        raw_threshold: whether ``threshold`` is for ``delta_text`` before it is scaled to unit norm, as published.
        photo_feature: whether the image feature of a picture from outside is the picture's own, as published, or that
            of what the generator draws instead of it.
    """

    name: str = "custom"
    neutral: str = "face"
    threshold: float = 0.03
    truncation: float = 1.0
    gain: float = 1.0
    tail: float = 0.0
    world: str | None = None
    align: bool = False
    preprocessing: str = "clip"
    raw_threshold: bool = False
    photo_feature: bool = False

    def __post_init__(self) -> None:
        for name in ("name", "neutral"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"{name} of a domain must be some words. Got {getattr(self, name)!r}.")
        for name in ("threshold", "truncation", "gain", "tail"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} of a domain must be a finite number. Got {value!r}.")
        if self.preprocessing not in PREPROCESSINGS:
            known = " or ".join(map(repr, PREPROCESSINGS))
            raise ValueError(f"preprocessing of a domain must be {known}. Got {self.preprocessing!r}.")
        for name in ("align", "raw_threshold", "photo_feature"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} of a domain must be true or false. Got {getattr(self, name)!r}.")
        if not 0 <= self.tail < 0.5:
            raise ValueError(f"tail of a domain must be from 0 to below 0.5. Got {self.tail}.")

    def write(self, folder: str | Path) -> None:
        """Write ``domain.json`` into a folder."""
        write_json(Path(folder) / CARD, asdict(self))

    @classmethod
    def read(cls, folder: str | Path) -> Domain:
        """Read ``domain.json`` from a folder; entries that this version does not know are left aside.

        Raises:
            ValueError: if it is missing or damaged.
        """
        path = Path(folder) / CARD
        if not path.is_file():
            raise ValueError(f"{folder} is no domain: it has no {CARD}. Editor.save_pretrained makes such a folder.")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is damaged ({error}): fetch it or save the domain again.") from None


def register(name: str, folder: str | Path) -> None:
    """Give a folder a name for ``Editor.from_pretrained``."""
    FOLDERS[name] = Path(folder)


def find(name_or_folder: str | Path, download: bool = False) -> Path:
    """Folder of a domain, by its registered name, by the name under which ``registry`` knows it, or by its path.

    Args:
        name_or_folder: which.
        download: fetch what others publish of it, where it is not here yet.

    Raises:
        ValueError: if it is none of these; the message lists the names.
        FileNotFoundError: if it is published and not here; the message says which files to put where.
    """
    from deltaedit import registry  # here: it describes its domains with the class above

    name = str(name_or_folder)
    if name not in FOLDERS and name in registry.PUBLISHED:
        return registry.prepare(name, download)
    folder = FOLDERS.get(name, Path(name_or_folder))
    if not folder.is_dir() and name not in FOLDERS:
        known = ", ".join(repr(name) for name in sorted({*FOLDERS, *registry.PUBLISHED}))
        raise ValueError(f"there is no domain {name!r}: choose {known}, or the path of a folder.")
    return folder


def weights(domain: str | Path) -> str:
    """Twelve digits that tell the weights and the card of a domain's folder from any others."""
    digest = hashlib.sha256()
    folder = find(domain)
    for path in sorted([*folder.glob("*.safetensors"), folder / CARD]):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]
