"""What pickles lie in: PyTorch's zip files, its older format, and bare pickles; and the tensors in them.

Tensors are only described when a file is opened. Those that are asked for are copied out of it, and together they may
take no more bytes than the file has: a small file cannot describe a large tensor.
"""

from __future__ import annotations

import io
import math
import mmap
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltaedit.checkpoints import tensorflow
from deltaedit.checkpoints.pickles import Name, Record, RefusedError, load, plain

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
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file in PyTorch's older format
DIRECTORY = 8 << 20  # bytes of a zip file's list of contents; a published checkpoint's takes some 100 kB


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


@contextmanager
def opened(path: str | Path) -> Iterator[Checkpoint]:
    """Open a foreign file; whatever goes wrong until it is closed becomes one ValueError that names it."""
    with refusing(path), open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield Checkpoint(_contents(data), len(data))


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
        raise ValueError(f"{path} is damaged, or of another kind: it lacks {str(error)[:200]}.") from None
    except Exception as error:  # a damaged file can make anything fail
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"{path} is damaged, or no checkpoint ({reason}): it was not read.") from None


def _contents(data: mmap.mmap) -> Any:
    if data[:4] == b"PK\3\4":
        return _zip(data)
    if data[:200].lstrip()[:1] == b"<":
        raise RefusedError("is a web page, not a checkpoint; the download went wrong")
    first = load(data, resolve)
    return _older(data, resolve) if type(first) is int and first == MAGIC else first


def _zip(data: mmap.mmap) -> Any:
    """What torch.save writes: a zip file, nothing in it compressed, of one pickle and a file for each storage."""
    with zipfile.ZipFile(_Bounded(data)) as file:
        entries = {name.partition("/")[2]: info for name, info in file.NameToInfo.items()}

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
    if not isinstance(count, int) or not 0 <= count <= len(data):
        raise RefusedError(f"says that it has {count} numbers, but is too small for them")
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
    "argparse Namespace, torch device, _codecs encode, numpy ndarray, numpy dtype, "
    "numpy.core.multiarray _reconstruct, numpy.core.multiarray scalar, numpy.core.numeric _frombuffer, "
    "numpy._core.multiarray _reconstruct, numpy._core.multiarray scalar, numpy._core.numeric _frombuffer, "
    "pytorch_lightning.callbacks.model_checkpoint ModelCheckpoint"
)
_CALLS: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": lambda *items: dict(*items),
    "dnnlib.util EasyDict": lambda *items: dict(*items),
    "builtins set": lambda *items: set(map(plain, *items)),
    "torch Size": lambda items: tuple(items),
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": lambda data, *_: data,
    "torch.storage _load_from_bytes": _storage_in_bytes,
    "torch_utils.persistence _reconstruct_persistent_obj": _persistent_object,
    **{name: _record(name) for name in _NAMES_ONLY.split(", ")},
}


def _resolve_storage(name: str) -> Callable[..., Any]:
    if name in DTYPES:
        return _record(name)
    raise RefusedError(f"asks to run {name.replace(' ', '.')[:100]}, which no checkpoint needs")


def resolve(name: str) -> Callable[..., Any]:
    """What stands for a class or function that a checkpoint may name; others raise RefusedError, none is imported."""
    tensorflow.refuse(name)
    return _CALLS.get(name) or _resolve_storage(name)


class _Bounded:
    """The part of a file that zipfile needs, and no more of it at a time than a list of contents takes."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.seek, self.tell = data, data.seek, data.tell

    def read(self, n: int = -1) -> bytes:
        if n > DIRECTORY:
            raise RefusedError("has a list of contents that is too long for a checkpoint")
        return self.data.read(n)
