"""Downloads that somebody asked for: shown, resumed, verified, and kept where they are found again.

Without ``download=True``, or ``python -m deltaedit.download ffhq``, no connection is opened, and the error says which
file to put where.
"""

from __future__ import annotations

import codecs
import errno
import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from deltaedit.files import locked, put, read_json, write_json, write_whole

CHUNK = 1 << 20  # bytes read at a time
TIMEOUT = 20  # seconds in which nothing arrives


@dataclass(frozen=True)
class RemoteFile:
    """A file that somebody publishes."""

    name: str  #: path below the cache folder, such as "ffhq/net_face.pth"
    url: str
    checksum: str | None = None
    """"sha256:…", or "git:…" with git's own name for the content. Where nobody publishes one it is None, and the first
    download's is written beside the file, as sha256sum does; what is written there counts."""
    size: int = 0  #: in bytes, about; 0 where it is not known
    licence: str = "no licence stated"  #: of the content, as its publisher states it
    page: str | None = None  #: where a person finds it with a browser, if not at ``url``

    def __str__(self) -> str:
        return f"{self.name} ({self.page or self.url})"


def cache_folder(cache: str | Path | None = None) -> Path:
    """Where downloads are kept: ``cache``, else ``$DELTAEDIT_CACHE``, else ``deltaedit`` in the user's cache folder.

    Raises ``FileNotFoundError`` for a user who has no home, or may not look into the folder.
    """
    if cache is None:
        cache = os.environ.get("DELTAEDIT_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "deltaedit")
    try:
        folder = Path(cache).expanduser()
        with suppress(FileNotFoundError, NotADirectoryError):
            os.stat(os.path.join(folder, "."))  # asks for what is in it
    except (RuntimeError, OSError) as error:
        reason = f"{cache}: {getattr(error, 'strerror', None) or str(error).rstrip('.')}"
        raise FileNotFoundError(f"no place to keep downloads ({reason}): set DELTAEDIT_CACHE to a folder.") from None
    return folder


def kept(file: RemoteFile, cache: str | Path | None = None) -> Path | None:
    """Path of a published file, if there is one to be fetched without a download; none where there is no cache."""
    with suppress(FileNotFoundError):
        path = cache_folder(cache) / file.name
        return path if os.path.isfile(path) else None


def fetch(file: RemoteFile, download: bool = False, cache: str | Path | None = None) -> Path:
    """Path of a published file that is here, whole, and what its publisher or its first download said it is.

    With ``download`` it is got if it is not here; what an earlier attempt got is kept and gone on from. Of several that
    want it at once one gets it, and the others wait.

    Raises:
        FileNotFoundError: if it is not here and was not, or could not be, downloaded; it says what to put where.
        ValueError: if it is not what it should be; it is then set aside under another name.
        OSError: if there is no space left, or its folder cannot be written to.
    """
    path = cache_folder(cache) / file.name
    if path.is_file():
        _verify(path, path, file)
        return path
    if not download:
        raise FileNotFoundError(f"{file} is not here: put it at {path}, or say download=True.")
    part = path.with_name(path.name + ".part")
    with locked(path):
        if not path.is_file():  # nobody else has got it meanwhile
            _receive_all(file, part, path)
            _verify(part, path, file)
            _notes(part).unlink(missing_ok=True)  # before, or a kill in between would leave them for ever
            put(part, path)
            return path
    return fetch(file, cache=cache)


def _receive_all(file: RemoteFile, part: Path, path: Path) -> None:
    """Fill ``part``; a connection that breaks is opened again, as long as each attempt brings something."""
    arrived = -1
    while True:
        try:
            if _receive(file, part):
                return
            reason = "the connection broke"
        except (OSError, http.client.HTTPException) as error:
            if getattr(error, "code", None) == 416:  # there is more than there should be
                part.unlink()
                continue
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                full = f"no space left for {file.name} in {part.parent}: free some and run again"
                raise OSError(error.errno, f"{full}, what has arrived is kept") from None
            if isinstance(error, PermissionError) or getattr(error, "errno", None) == errno.EROFS:
                raise  # of the folder: the network says nothing of the kind
            reason = str(getattr(error, "reason", None) or error) or type(error).__name__
        before, arrived = arrived, part.stat().st_size if part.is_file() else 0
        if arrived <= before or not arrived:
            again = "run again, what has arrived is kept" if arrived else "try again"
            raise FileNotFoundError(f"{file} could not be downloaded ({reason}): {again}, or put it at {path}.")


def _receive(file: RemoteFile, part: Path) -> bool:
    """Ask for what is missing of ``part``, and append it; whether the file is then complete."""
    had = part.stat().st_size if part.is_file() else 0
    known = {}
    if had and _notes(part).is_file():
        with suppress(ValueError):  # damaged: nothing is known
            known = read_json(_notes(part))
    if had and had == known.get("size"):
        return True
    request = urllib.request.Request(file.url, headers={"User-Agent": "deltaedit"})
    version = known.get("version")
    if had and (version or file.checksum):  # else nothing would tell if another version came
        request.headers |= {"Range": f"bytes={had}-"} | ({"If-range": version} if version else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        if response.headers.get_content_type() == "text/html":
            raise OSError("a web page came instead")
        if response.status != 206:
            had = 0
        length = response.headers["Content-Length"]
        size = had + int(length) if length else None
        tag = response.headers["ETag"] or "W/"  # a weak one does not vouch for each byte
        version = response.headers["Last-Modified"] if tag.startswith("W/") else tag
        write_json(_notes(part), {"size": size, "version": version})
        if size and size - had > shutil.disk_usage(part.parent).free:
            raise OSError(errno.ENOSPC, "no space left")
        with (
            part.open("ab" if had else "wb") as out,
            tqdm(total=size, initial=had, unit="B", unit_scale=True, desc=Path(file.name).name) as progress,
        ):
            while chunk := response.read(CHUNK):
                out.write(chunk)
                progress.update(len(chunk))
    return size is None or part.stat().st_size == size


def _notes(part: Path) -> Path:
    """Where it is written down what ``part`` is a part of."""
    return part.with_name(part.name + ".json")


def _verify(arrived: Path, path: Path, file: RemoteFile) -> None:
    """Set ``arrived`` aside and raise, unless it has the checksum of ``path``; one that is unknown is written down."""
    record = path.with_name(path.name + ".sha256")
    wanted = file.checksum
    if record.is_file():
        noted = record.read_bytes().removeprefix(codecs.BOM_UTF8)[:64].decode("ascii", "replace").lower()
        if not re.fullmatch("[0-9a-f]{64}", noted):
            raise ValueError(f"{record} is damaged, it holds no SHA-256: delete it, and it is written down anew.")
        wanted = f"sha256:{noted}"
    got = checksum(arrived, wanted.partition(":")[0] if wanted else "sha256")
    digest = got.partition(":")[2]
    if wanted is None:
        if arrived == path and not os.access(path.parent, os.W_OK):
            return  # put there by somebody else, to be read
        write_whole(record, lambda p: p.write_text(f"{digest}  {path.name}\n", encoding="utf-8"))
    elif got != wanted:
        aside = path.with_name(f"{path.name}.refused-{digest[:8]}")
        got = f"{file} should be {wanted} and is {got}"
        try:
            arrived.replace(aside)
        except OSError:
            raise ValueError(f"{got}: it was not used; move {arrived} away, or choose another cache.") from None
        got += f": it was set aside as {aside} and not used"
        raise ValueError(f"{got}; fetch it again, or, if you trust it, put it back and its SHA-256 in {record}.")


def checksum(path: str | Path, kind: str = "sha256") -> str:
    """A file's checksum, such as "sha256:2c26…"; of kind "git" it is the name that git gives the content."""
    digest = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    size = Path(path).stat().st_size
    if kind == "git":
        digest.update(b"blob %d\0" % size)
    with Path(path).open("rb") as file, tqdm(total=size, unit="B", unit_scale=True, desc="checking", delay=2) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return f"{kind}:{digest.hexdigest()}"
