"""Files that are either whole or not there: written to a temporary name, then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from deltaedit.untrusted.fitting import Module, misfit, planned
from deltaedit.untrusted.kinds import other_kind_of


def write_whole(path: str | Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; after a failure ``path`` is as it was.

    Of two processes that write the same file at once, each has a temporary file of its own, and the later one counts.

    Raises:
        OSError: if it cannot be written, for want of space for instance; the message names it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        write(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError, RuntimeError) as error:  # the latter two are how other libraries say the same
        reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        message = f"{path} could not be written ({reason}): make room, or choose another place; what was there is there"
        raise OSError(getattr(error, "errno", None) or errno.EIO, message) from None
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, data: Any) -> None:
    """Write ``data`` as indented JSON, whole or not at all."""
    write_whole(path, lambda p: p.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8"))


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

    With ``half``, floating-point tensors are stored in half precision, at half the size.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    write_whole(path, lambda p: save_file(tensors, p, {"deltaedit": json.dumps(metadata)}))


def read_tensors(path: str | Path, only: Collection[str] = ()) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, all or ``only`` some, and metadata that ``write_tensors`` wrote.

    Raises:
        ValueError: if the file is missing, damaged, lacks one of ``only``, or was not written by ``write_tensors``.
    """
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}: check the path, or make it first.")
    if other := other_kind_of(path):
        raise ValueError(f"{path} {other}: it was not read.")
    try:
        with safe_open(path, "pt") as file:
            metadata = json.loads((file.metadata() or {})["deltaedit"])
            if not isinstance(metadata, dict):
                raise KeyError("deltaedit")
            if lacks := set(only) - set(file.keys()):
                raise ValueError(lacks)
            return {name: file.get_tensor(name) for name in only or file.keys()}, metadata
    except KeyError:
        raise ValueError(f"{path} is a safetensors file, but was not written by deltaedit.") from None
    except (SafetensorError, OSError, ValueError, RecursionError, OverflowError):
        raise ValueError(
            f"{path} is damaged or no safetensors file: delete it, then download or make it again."
        ) from None


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
        reason = f"it says nothing of {error}"
    except ValueError as error:  # RefusedError among them
        if str(path) in str(error):
            raise
        reason = str(error)
    except Exception:  # what is no number where one is meant can make anything fail
        reason = "what it says of itself cannot be"
    if reason:
        raise ValueError(f"{path} holds another kind of model ({reason.rstrip('.')}): check the path.")
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
