"""What a file is that is no checkpoint: people have pointers, web pages and archives under a checkpoint's name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

HEAD = 512  # bytes, in which a file says what it is
AGAIN = "download or make it again"
UNPACK = "unpack it, and give the file in it that holds the network"
POINTER = (
    "a pointer of Git LFS, not the file that it stands for; run «git lfs pull» where it lies, or download that file"
)
PAGE = "a web page, not a checkpoint; the download went wrong, open its link in a browser"
JSON = "JSON, such as a configuration or a server's answer, not a checkpoint; give the file of the weights"
ARRAY = "is an array of NumPy's, as a relevance matrix is, and nothing else"

_BEGINNINGS = (
    (r"version https://git-lfs|version https://hawser", POINTER),
    (r"(?i)\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body|script)", PAGE),
    (r"\s*<\?xml|\s*<!DOCTYPE|\s*<[A-Za-z]+[\s>]", f"XML, such as a server's refusal, not a checkpoint; {AGAIN}"),
    (r"\s*[{\[]\s*[\"\]}{\[\d-]", JSON),
    (
        r"\x1f\x8b|BZh\d|\xfd7zXZ\0|\x28\xb5\x2f\xfd",
        f"a packed file (gzip, bzip2, xz or zstd), not a checkpoint; {UNPACK}",
    ),
    (r"7z\xbc\xaf|Rar!\x1a|.{257}ustar", f"an archive (7z, rar or tar), not a checkpoint; {UNPACK}"),
    (r"\x93NUMPY", ARRAY[3:]),
    (r"\x89HDF\r\n", "an HDF5 file, of Keras for instance, not a checkpoint of PyTorch's; give one that is"),
    (
        r"GGUF|....TFL3",
        "weights for another runtime (GGUF, TensorFlow Lite); give the checkpoint that they were made of",
    ),
    (r"\x08[\x01-\x10]\x12.{1,3}(pytorch|tf2onnx|onnx)", "an ONNX graph; give the checkpoint that it was made of"),
    (r"\x89PNG\r\n|\xff\xd8\xff|GIF8|RIFF....WEBP", "a picture, not a checkpoint; check the path"),
    (r"[\w '-]{2,}[:,.!]? [\w '-]+", f"a text, not a checkpoint; read what it says, and {AGAIN}"),
)
_KINDS = [(re.compile(pattern.encode("latin-1"), re.DOTALL), kind) for pattern, kind in _BEGINNINGS]
_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")  # what some editors begin a text with


def other_kind(head: bytes) -> str | None:
    """What a file is that begins so, with what to do, as the rest of a sentence; None if it may be a checkpoint."""
    if not head:
        return f"is damaged, it is empty; {AGAIN}"
    if head[4:9] == b"\0\0\0\0{":  # safetensors: what is before may look like anything
        return None
    if not head.strip(b"\0"):
        return f"is damaged, it begins with nothing but zeros; {AGAIN}"
    for mark in _MARKS:
        head = head.removeprefix(mark)
    return next((f"is {kind}" for pattern, kind in _KINDS if pattern.match(head)), None)


def other_kind_of(path: str | Path) -> str | None:
    """The same of a file; None also if it cannot be read, which whoever reads it next will say."""
    try:
        with Path(path).open("rb") as file:
            return other_kind(file.read(HEAD))
    except OSError:
        return None


def shown(value: Any) -> str:
    """A value of a file's as Python writes it, in sixty characters at most.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # numbers too long to write, lists too deep
        return f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"
