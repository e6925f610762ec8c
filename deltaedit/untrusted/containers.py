"""What checkpoints lie in: PyTorch's zip files, TorchScript's among them, its older format, bare pickles, safetensors.

Tensors are only described when a file is opened. Those that are asked for are copied out of it, and together they may
take no more bytes than the file has: a small file cannot describe a large tensor.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltaedit.untrusted import tensorflow
from deltaedit.untrusted.kinds import AGAIN, HEAD, UNPACK, other_kind
from deltaedit.untrusted.pickles import Name, Record, RefusedError, load, plain

DTYPES = {
    "torch DoubleStorage": torch.float64,
    "torch FloatStorage": torch.float32,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}
IN_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file in PyTorch's older format
DIRECTORY = 8 << 20  # bytes of a zip file's list of contents; a published checkpoint's takes some 100 kB
MOST, DEEPEST, LONGEST = 50_000, 12, 200  # entries of a file, dicts within one another, characters of a key
MODULE = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"}  # of PyTorch's, by their attributes


@dataclass(eq=False)
class Storage:
    """Numbers in a file: ``count`` of one type, from byte ``start`` on."""

    dtype: torch.dtype
    count: int
    data: mmap.mmap | bytes
    start: int = -1

    def check(self) -> Storage:
        """Raises RefusedError if they are not all there."""
        if not 0 <= self.start <= self.start + self.count * self.dtype.itemsize <= len(self.data):
            raise RefusedError("is cut short: it has fewer numbers than it says")
        return self


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor in a file, as yet unread."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __post_init__(self) -> None:
        numbers = (self.offset, *self.shape, *self.stride)
        sound = len(self.shape) == len(self.stride) <= 8 and all(isinstance(n, int) and 0 <= n < 2**63 for n in numbers)
        if not sound:
            raise RefusedError("is damaged (a tensor of impossible shape)")
        if self.offset + self.span > self.storage.count or math.prod(self.shape) > self.span:
            raise RefusedError(f"has a tensor of shape {self.shape} but not the numbers for it")

    @property
    def span(self) -> int:
        """Numbers from the first to the last of its own."""
        if 0 in self.shape:
            return 0
        return 1 + sum((n - 1) * step for n, step in zip(self.shape, self.stride, strict=True))

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return self.span * self.storage.dtype.itemsize

    def read(self) -> Tensor:
        """A copy, on the CPU."""
        if not self.span:
            return torch.empty(self.shape, dtype=self.storage.dtype)
        first = self.storage.check().start + self.offset * self.storage.dtype.itemsize
        numbers = torch.frombuffer(bytearray(self.storage.data[first : first + self.nbytes]), dtype=self.storage.dtype)
        return numbers.as_strided(self.shape, self.stride).contiguous()


@dataclass
class Checkpoint:
    """An open file: ``data``, of plain values, containers, ``Record``, ``Stored``; and how many bytes may be read."""

    data: Any
    budget: int = field(repr=False)

    @cached_property
    def entries(self) -> dict[str, Any]:
        """All that lies in dicts and objects, within one another, by the path to it, such as "g_ema.input.input".

        Of modules, parameters and buffers have the names that they have in a state dict; raises RefusedError if there
        is no end to them.
        """
        found: dict[str, Any] = {}
        waiting, seen = [("", self.data, 0)], 0
        while waiting:
            at, value, depth = waiting.pop()
            inner = value.state if isinstance(value, Record) else value
            if not isinstance(inner, dict):
                found[at[:-1]] = value
                continue
            parts = [inner.get(part) for part in ("_parameters", "_buffers", "_modules")]
            if all(isinstance(part, dict) for part in parts):
                about = {key: value for key, value in inner.items() if key not in MODULE}
                inner = about | parts[0] | parts[1] | parts[2]
            seen += len(inner)
            if depth > DEEPEST or seen > MOST:
                raise RefusedError("has networks within networks without end")
            named = [(key, value) for key, value in inner.items() if isinstance(key, str) and len(key) <= LONGEST]
            waiting += [(f"{at}{key}.", value, depth + 1) for key, value in reversed(named)]
        return found

    @property
    def kind(self) -> str:
        """The name of the class of what it holds as a whole."""
        return _class(self.data) if isinstance(self.data, Record) else type(self.data).__name__

    @cached_property
    def classes(self) -> set[str]:
        """The names of the classes of all objects, without their modules'."""
        found, waiting = set(), [self.data]
        for value in waiting:  # no more than are in ``entries``
            if len(waiting) > MOST:
                raise RefusedError("has networks within networks without end")
            if isinstance(value, Record):
                found.add(_class(value))
            inner = value.state if isinstance(value, Record) else value
            waiting += [x for x in inner.values() if isinstance(x, dict | Record)] if isinstance(inner, dict) else []
        return found

    def at(self, marker: str) -> str | None:
        """The path to a network that has an entry ``marker``, with the dot; the averaged one's (ema) of several."""
        found = [key.removesuffix(marker) for key in self.entries if f".{key}".endswith(f".{marker}")]
        return min(found, key=lambda path: "ema" not in path.lower(), default=None)

    def below(self, path: str) -> dict[str, Any]:
        """The entries of a network, without the path to it."""
        return {key[len(path) :]: value for key, value in self.entries.items() if key.startswith(path)}

    def beside(self, path: str, name: str) -> Any:
        """The entry ``name`` of a network, or else of what it lies in; None if there is none."""
        while f"{path}{name}" not in self.entries and path:
            path = path[: path.rfind(".", 0, -1) + 1]
        return self.entries.get(f"{path}{name}")

    def tensors(self, entries: Mapping[str, Any]) -> dict[str, Tensor]:
        """Those entries that are tensors; RefusedError if they are larger than the file, or hold what is no number."""
        tensors = {}
        for name, entry in entries.items():
            if isinstance(name, str) and isinstance(entry, Stored):
                self.budget -= entry.nbytes
                if self.budget < 0:
                    raise RefusedError("has tensors that together are larger than the file")
                tensors[name] = entry.read()
                if not tensors[name].isfinite().all():
                    raise RefusedError(f"is damaged: {name[:100]} has values that are no finite numbers")
        return tensors


def _class(record: Record) -> str:
    return re.split(r"[ .]", record.name)[-1][:100]


@contextmanager
def opened(path: str | Path) -> Iterator[Checkpoint]:
    """Open a foreign file; whatever goes wrong until it is closed becomes one ValueError that names it."""
    with refusing(path), open(path, "rb") as file:
        if other := other_kind(file.read(HEAD)):
            raise RefusedError(other)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            yield Checkpoint(_contents(data), len(data))


def of_others(path: str | Path) -> bool:
    """Whether a file is a whole safetensors file that does not say that ``files.write_tensors`` wrote it."""
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        head = file.read(min(size, DIRECTORY))
    return len(head) == size and head[:1] == b"{" and b'"deltaedit"' not in head


@contextmanager
def refusing(path: str | Path) -> Iterator[None]:
    """Whatever goes wrong with a foreign file, and those beside it, becomes one ValueError that names it."""
    try:
        yield
    except (FileNotFoundError, IsADirectoryError) as error:
        lacks = error.filename or path
        raise ValueError(f"there is no file {lacks}: check the path, or download it first.") from None
    except tensorflow.TensorFlowError:
        raise ValueError(f"{path} {tensorflow.advice(path)}") from None
    except RefusedError as error:
        raise ValueError(f"{path} {error}: it was not read.") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}).") from None
    except KeyError as error:
        key = error.args[0] if error.args else None
        lacks = f", or of another kind: it lacks {key[:100]!r}" if isinstance(key, str) else ""
        raise ValueError(f"{path} is damaged{lacks}: it was not read.") from None
    except Exception:  # a damaged file can make anything fail; what others' libraries say of it helps nobody
        raise ValueError(f"{path} is damaged, or no checkpoint; {AGAIN}: it was not read.") from None


def _contents(data: mmap.mmap) -> Any:
    if data[:4] == b"PK\3\4":
        return _zip(data)
    if data[4:9] == b"\0\0\0\0{":
        return _safetensors(data)
    first = load(data, resolve)
    return _older(data, resolve) if type(first) is int and first == MAGIC else first


def _safetensors(data: mmap.mmap) -> dict[str, Stored]:
    """A list of tensors in JSON, with its length before it, then their numbers."""
    start = 8 + int.from_bytes(data[:8], "little")
    if start > min(len(data), DIRECTORY):
        raise RefusedError("is damaged, or has a list of contents that is too long for a checkpoint")
    found = {}
    for name, about in json.loads(data[8:start]).items():
        if name != "__metadata__":
            shape, (first, end) = tuple(about["shape"]), about["data_offsets"]
            if len(shape) > 8 or not all(type(n) is int and 0 <= n < 2**63 for n in (*shape, first, end)):
                raise RefusedError("is damaged (a tensor of impossible shape)")
            storage = Storage(IN_SAFETENSORS[about["dtype"]], math.prod(shape), data, start + first)
            if end - first != storage.count * storage.dtype.itemsize:
                raise RefusedError(f"is damaged ({name[:100]} is of another size)")
            found[name] = Stored(storage, 0, shape, tuple(math.prod(shape[k + 1 :]) for k in range(len(shape))))
    return found


def _zip(data: mmap.mmap) -> Any:
    """What torch.save and TorchScript write: a zip file of one pickle and a file for each storage, none compressed."""
    try:
        with zipfile.ZipFile(_Bounded(data)) as file:
            entries = {name.partition("/")[2]: info for name, info in file.NameToInfo.items()}
            names = list(file.NameToInfo)
    except zipfile.BadZipFile:
        raise RefusedError(f"is damaged, or was cut short; {AGAIN}") from None
    if "data.pkl" not in entries:
        holds = f"of {len(names)} files such as {names[0][:60]!r}" if names else "of nothing"
        raise RefusedError(f"is an archive (zip), {holds}, not a checkpoint; {UNPACK}")

    @cache
    def start(name: str, size: int | None = None) -> int:
        info = entries[name]
        if info.compress_type or info.compress_size != info.file_size or size not in (None, info.file_size):
            raise RefusedError(f"is damaged, or no file of PyTorch's ({name[:100]} is packed or of another size)")
        header = data[info.header_offset : info.header_offset + 30]
        first = info.header_offset + 30 + sum(int.from_bytes(header[k : k + 2], "little") for k in (26, 28))
        with memoryview(data) as view, view[first : first + info.file_size] as part:
            if len(part) != info.file_size or zlib.crc32(part) != info.CRC:
                raise RefusedError(f"is damaged ({name[:100]} is not what was written)")
        return first

    def persistent(key: Any) -> Storage:
        storage = _storage(key, data)
        storage.start = start(f"data/{key[2]}", storage.count * storage.dtype.itemsize)
        return storage

    if "byteorder" in entries and data[(at := start("byteorder")) : at + 6] != b"little":
        raise RefusedError("was written on a big-endian machine")
    data.seek(start("data.pkl"))
    return load(data, resolve, persistent)


def _older(data: mmap.mmap | bytes, names: Callable[[str], Any], source: Any = None) -> Any:
    """What torch.save wrote before, after its magic number: four pickles, then the storages one after the other."""
    source = data if source is None else source
    load(source, names)  # the version of the format
    if not load(source, names)["little_endian"]:
        raise RefusedError("was written on a big-endian machine")
    storages: dict[str, Storage] = {}
    result = load(source, names, lambda key: storages.setdefault(key[2], _storage(key, data)))
    for key in load(source, names):
        count = int.from_bytes(source.read(8), "little")
        storage = storages[key]
        if count != storage.count:
            raise RefusedError("is damaged (a storage of another size)")
        storage.start = source.tell()
        source.seek(storage.check().start + count * storage.dtype.itemsize)
    return result


def _storage(key: Any, data: mmap.mmap | bytes) -> Storage:
    kind, dtype, name, _, count, *view = key
    if kind != "storage" or not isinstance(dtype, Name) or not isinstance(name, str) or any(view):
        raise RefusedError("is damaged (a storage of an unknown kind)")
    if type(count) is not int or not 0 <= count <= len(data):
        raise RefusedError(f"says that it has {count} numbers, but is too small for them")
    if dtype.name not in DTYPES:
        raise RefusedError(f"has numbers of a kind that is not known here ({dtype.name.rpartition(' ')[2][:100]})")
    return Storage(DTYPES[dtype.name], count, data)


def _storage_in_bytes(blob: Any) -> Storage:
    """A storage that was pickled by itself: a whole file in the older format."""
    if not isinstance(blob, bytes):
        raise RefusedError("is damaged (numbers that are no bytes)")
    source = io.BytesIO(blob)
    if load(source, _resolve_storage) != MAGIC:
        raise RefusedError("has numbers in an unknown format")
    storage = _older(blob, _resolve_storage, source)
    if not isinstance(storage, Storage):
        raise RefusedError("is damaged (a storage that is none)")
    return storage


def _tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Stored:
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(stride, tuple):
        raise RefusedError("is damaged (a tensor without numbers)")
    return Stored(storage, offset, shape, stride)


def _persistent_object(about: Any) -> Record:
    """An object of NVIDIA's: its class and its state; ``module_src``, the source of the class, stays a string."""
    return Record(str(about["class_name"])[:100], about["state"])


def _record(name: str) -> Callable[..., Record]:
    return lambda *_: Record(name)


# Options of a training, and NumPy's numbers among them.
_NAMES_ONLY = (
    "argparse Namespace, torch device, functools partial, numpy ndarray, numpy dtype, "
    "numpy.core.multiarray _reconstruct, numpy.core.multiarray scalar, numpy.core.numeric _frombuffer, "
    "numpy._core.multiarray _reconstruct, numpy._core.multiarray scalar, numpy._core.numeric _frombuffer"
)
_CALLS: dict[str, Callable[..., Any]] = {
    "_codecs encode": lambda text, _: text.encode("latin-1"),  # bytes, in protocol 2
    "collections OrderedDict": lambda *items: dict(*items),
    "dnnlib.util EasyDict": lambda *items: dict(*items),
    "builtins set": lambda *items: set(map(plain, *items)),
    "torch Size": lambda items: tuple(items),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
    "torch._utils _rebuild_parameter_with_state": lambda data, *_: data,
    "torch.storage _load_from_bytes": _storage_in_bytes,
    "torch_utils.persistence _reconstruct_persistent_obj": _persistent_object,
    **{f"torch.jit._pickle build_{kind}list": lambda items: items for kind in ("int", "double", "bool", "tensor")},
    "torch.jit._pickle restore_type_tag": lambda value, _: value,
    **{name: _record(name) for name in _NAMES_ONLY.split(", ")},
    **{name: _record(name) for name in DTYPES},
}


def _resolve_storage(name: str) -> Callable[..., Any]:
    if name not in DTYPES:
        raise RefusedError(f"asks to run {name.replace(' ', '.')[:100]}, which no checkpoint needs")
    return _CALLS[name]


def resolve(name: str) -> Callable[..., Any] | None:
    """What stands for a class or function that a checkpoint names, or None; none is imported."""
    tensorflow.refuse(name)
    return _CALLS.get(name)


class _Bounded:
    """The part of a file that zipfile needs, and no more of it at a time than a list of contents takes."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.seek, self.tell = data, data.seek, data.tell

    def read(self, n: int = -1) -> bytes:
        if n > DIRECTORY:
            raise RefusedError("has a list of contents that is too long for a checkpoint")
        return self.data.read(n)
