"""Where domains are: under a registered name, among what others publish, or in a folder of one's own."""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deltaedit import checkpoints
from deltaedit.devices import find_device
from deltaedit.domain import CARD, CLIP, GENERATOR, Domain
from deltaedit.domain import MAPPER as MAPPER  # by these names the files of a folder that was found are asked for
from deltaedit.download import COMPLETED, PUBLISHED, prepare
from deltaedit.packages import provide
from deltaedit.sentences import SENTENCES
from deltaedit.style_space import AnyGenerator

if TYPE_CHECKING:
    from deltaedit.clip import ClipEncoder

_OURS = (Path(__file__).parent / "worlds").glob(f"*/weights/{CARD}")

FOLDERS: dict[str, Path] = {card.parent.parent.name: card.parent for card in sorted(_OURS)}
"""The registered names, and where their files are; at first those of the domains that ship with the library."""


def register(name: str, folder: str | Path) -> None:
    """Give a folder a name for ``Editor.from_pretrained``."""
    FOLDERS[name] = Path(folder)


def find(name_or_folder: str | Path, download: bool = False, parts: Collection[str] | None = None) -> Path:
    """Folder of a domain, by its registered name, by the name under which ``download`` knows it, or by its path.

    A ``Path`` is that of a folder, also where a domain has the same name; so is a text with a slash, ``"./portraits"``.
    With ``download``, what others publish of it is fetched, where it is not here yet: all, or the ``parts`` named.

    Raises:
        ValueError: if it is none of these; the message lists the names.
        FileNotFoundError: if it is published and not here; the message says which files to put where.
    """
    if isinstance(name_or_folder, Path):
        if not name_or_folder.is_dir():
            raise ValueError(f"there is no folder {name_or_folder}: check the path, or give a domain's name as text.")
        return name_or_folder
    name = name_or_folder
    if name not in FOLDERS and name in PUBLISHED:
        return prepare(name, download, parts=parts)
    folder = FOLDERS.get(name, Path(name))
    if not folder.is_dir() and name not in FOLDERS:
        known = ", ".join(repr(name) for name in sorted({*FOLDERS, *PUBLISHED}))
        raise ValueError(f"there is no domain {name!r}: choose {known}, or the path of a folder.")
    return folder


def locate(folder: str | Path, file: str, download: bool = False) -> Path:
    """Where a part of a domain is: in its folder, or in the cache, where its card says that it needs what others made.

    With ``download`` it is got, where it is not here yet. Where there is no such part, it is where it would be in the
    folder. Raises ``ValueError`` and ``FileNotFoundError`` as ``packages.provide`` does, or if there is no card.
    """
    path = Path(folder) / file
    if not path.exists() and (needs := Domain.read(folder).needs):
        for package in COMPLETED.get(needs, ()):
            if file in package.makes:
                return provide(package, needs, download) / file
    return path


def load_generator(
    name_or_folder: str | Path, device: str | torch.device = "cpu", download: bool = False
) -> AnyGenerator:
    """The generator of a domain, ready to draw; errors are those of ``find``, ``locate`` and ``find_device``."""
    path = locate(find(name_or_folder, download), GENERATOR, download)
    generator = checkpoints.load_generator(path).to(find_device(device))
    if generator.w_avg.device.type in ("cpu", "cuda"):
        generator = generator.to(memory_format=torch.channels_last)  # draws sooner
    return generator


def load_clip(name_or_folder: str | Path, device: str | torch.device = "cpu", download: bool = False) -> ClipEncoder:
    """The CLIP of a domain, that sees pictures as its card says; errors are those of ``load_generator``."""
    from deltaedit.clip import ClipEncoder  # here: open_clip takes seconds to import

    folder = find(name_or_folder, download)

    def sentences() -> Path:  # which few need
        return locate(folder, SENTENCES, download).parent

    return ClipEncoder.load(folder / CLIP, find_device(device), Domain.read(folder).preprocessing, sentences)


def weights(domain: str | Path) -> str:
    """Twelve digits that tell the weights and the card of a domain's folder from any others.

    What the folder is completed with is told by the card, of which line ends and a byte order mark do not count.
    """
    digest = hashlib.sha256()
    folder = find(domain)
    for path in sorted([*folder.glob("[!.]*.safetensors"), folder / CARD]):
        content = path.read_bytes()
        if path.name == CARD:
            content = content.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n")
        digest.update(path.name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]
