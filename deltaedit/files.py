"""Files that are either whole or not there: written aside, synced, renamed; of two who make one, the second waits."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from deltaedit.untrusted.fitting import Module, misfit, planned
from deltaedit.untrusted.kinds import other_kind_of

ASIDE = ".deltaedit"  # how folders end in which files are written aside
CHECKSUMS = "crc32"  # where in a file's metadata the checksums of its tensors are
FORSAKEN = 3600  # seconds in which nothing was written aside: whoever began it was killed


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Hold what is made at ``path`` for this thread alone; while another holds it this one waits, and says so.

    The lock is a hidden file beside it, which stays; the system frees it when whoever holds it ends, even by a kill.

    Raises:
        OSError: if its folder cannot be made or written to; the message names ``path``.
    """
    path = Path(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"), mode=0o666)  # for others who may write to the folder, too
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            tqdm.write(f"{path} is being made by another run: waiting for it to end.", file=sys.stderr)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise unwritten(path, error) from None
    try:
        yield
    finally:
        lock.release()


def unwritten(path: str | Path, error: Exception) -> OSError:
    """The error, in one sentence, that ``path`` could not be written, after what a system or a library said."""
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    message = f"{path} could not be written ({reason}): make room, or choose another place; what was there is there"
    return OSError(getattr(error, "errno", None) or errno.EIO, message)


def write_whole(path: str | Path, write: Callable[[Path], None], before: str | Path | None = None) -> None:
    """Let ``write`` fill a file of the same name in a folder of its own, then rename it to ``path``.

    After a failure, a kill or a crash ``path`` is as it was, or has all of the new content. Of several processes or
    threads that write the same file at once the last one counts. What was there is kept as ``before``, where one asks.

    Raises:
        OSError: if it cannot be written, for want of space for instance; the message names it.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        with tempfile.TemporaryDirectory(ASIDE, f".{target.name[:40]}.", target.parent) as aside:
            write(part := Path(aside, target.name))
            if before is not None and target.exists():
                _keep(target, Path(before))
            put(part, target)
    except (OSError, SafetensorError, RuntimeError) as error:  # the latter two are how other libraries say the same
        raise unwritten(path, error) from None


def put(part: Path, path: Path) -> None:
    """Rename a file to ``path`` once its content is on the disk, so that no crash leaves the name without it."""
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    part.replace(path)
    if os.name != "nt":  # where folders cannot be opened
        with suppress(OSError):  # some file systems have no such thing; the name is there
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _keep(path: Path, before: Path) -> None:
    """Give a file a second name; it has its own at any moment."""
    before.unlink(missing_ok=True)
    try:
        os.link(path, before)
    except OSError:  # some file systems have no links
        shutil.copyfile(path, before)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left aside in a folder."""
    for aside in folder.glob(f".*{ASIDE}"):
        with suppress(OSError):  # it was done meanwhile
            if max(path.stat().st_mtime for path in (aside, *aside.iterdir())) < time.time() - FORSAKEN:
                shutil.rmtree(aside)


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, whole or not at all."""
    write_whole(path, lambda p: p.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8"))


def read_json(path: str | Path) -> Any:
    """What ``write_json`` wrote; raises ``ValueError``, naming the file, if it is cut, empty or otherwise no JSON."""
    try:
        return json.loads(Path(path).read_bytes())  # a byte order mark does no harm
    except (ValueError, RecursionError):
        raise ValueError(f"{path} is damaged, or no JSON: delete it, or make it or fetch it again.") from None


def _differences(there: Any, here: Any, name: str = "") -> list[str]:
    """Where two JSON-like values differ, a line each: «stages.3.lr: 0.005 there, 0.01 here»."""
    if isinstance(there, dict) and isinstance(here, dict):
        pairs = [(key, there.get(key, "nothing"), here.get(key, "nothing")) for key in {**there, **here}]
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = [(k, *both) for k, both in enumerate(zip(there, here, strict=True))]
    else:
        return [] if there == here else [f"{name or 'the whole'}: {there} there, {here} here"]
    return [line for key, a, b in pairs for line in _differences(a, b, f"{name}.{key}" if name else f"{key}")]


def refuse_other_run(path: str | Path, there: Any, here: Any) -> None:
    """Raise ValueError, naming what differs, if ``path`` was made from another JSON-like description than ``here``."""
    if lines := _differences(there, here):
        raise ValueError(f"{path} is of another run ({'; '.join(lines)}): choose another place, or delete it.")


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], half: bool = False
) -> None:
    """Write tensors and JSON-serialisable ``metadata`` to one safetensors file, whole or not at all.

    With ``half``, floating-point tensors are stored in half precision, at half the size. A checksum of each tensor goes
    with them, for safetensors has none: bytes that a disk lost would be numbers like others.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    about = {**metadata, CHECKSUMS: {name: _crc(tensor) for name, tensor in tensors.items()}}
    # Under one name: safetensors writes several in any order, and the same content would have other bytes each time.
    write_whole(path, lambda p: save_file(tensors, p, {"deltaedit": json.dumps(about)}))


def read_tensors(path: str | Path, only: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, all or ``only`` some, and metadata that ``write_tensors`` wrote.

    Raises:
        ValueError: if the file is missing, damaged, lacks one of ``only``, or was not written by ``write_tensors``.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}: check the path, or make it first.")
    if (other := other_kind_of(path)) and not other.startswith("is damaged"):
        raise ValueError(f"{path} {other}: it was not read.")
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})["deltaedit"])
            if not isinstance(metadata, dict):
                raise KeyError("deltaedit")
            if lacks := set(only) - set(file.keys()):
                raise ValueError(lacks)
            tensors = {name: file.get_tensor(name) for name in only or file.keys()}
            known = metadata.pop(CHECKSUMS, {})  # files of before have none
            if any(name in known and _crc(tensor) != known[name] for name, tensor in tensors.items()):
                raise ValueError(CHECKSUMS)
            return tensors, metadata
    except KeyError:
        raise ValueError(f"{path} is a safetensors file, but was not written by deltaedit.") from None
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError, OverflowError):
        raise ValueError(
            f"{path} is damaged or no safetensors file: delete it, then download or make it again."
        ) from None


def _crc(tensor: Tensor) -> int:
    """Of a tensor's bytes."""
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy())


def read_module(path: str | Path, build: Callable[[dict[str, Any]], Module]) -> Module:
    """Build a module from a file's metadata and fill it with the file's tensors, in evaluation mode.

    Raises:
        ValueError: as ``read_tensors``, or if the file holds another kind of model.
    """
    tensors, metadata = read_tensors(path)
    try:
        wanted = planned(lambda: build(metadata), len(tensors)).state_dict()
        reason = misfit(wanted, tensors) or next(
            (f"it has {name[:100]}" for name in tensors if name not in wanted), None
        )
    except KeyError as error:
        reason = str(error)[:100]
    except ValueError as error:  # RefusedError among them
        if str(path) in str(error):
            raise
        reason = str(error)
    except Exception:  # what is no number where one is meant can make anything fail
        reason = "what it says of itself cannot be"
    if reason:
        raise ValueError(f"{path} holds another kind of model ({reason[:300].rstrip('.')}): check the path.")
    module = build(metadata)
    module.load_state_dict(tensors)
    return module.eval()


def fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Twelve hexadecimal digits that tell these tensors from others."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:12]
