"""OpenVINO's intermediate representation, version 10: a graph in XML, and beside it its constants in a flat binary.

Only constants are read, and which operation takes which: nothing is run. The XML may have no document type, so that it
can define and fetch nothing; and the constants must fill the binary from its first byte to its last, each with the
numbers that its shape says, so that none is missing, cut, too long or in another's place.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

import torch
from torch import Tensor

from deltaedit.untrusted.pickles import RefusedError

LONGEST = {".xml": 8 << 20, ".bin": 256 << 20}  # bytes of a file; those of MobileStyleGAN have .4 and 32 million
DTYPES = {"f32": torch.float32, "i32": torch.int32, "i64": torch.int64}
DEEPEST = 16
WHAT = ("net", "layers", "layer"), ("net", "layers", "layer", "data"), ("net", "edges", "edge")


@dataclass(eq=False)
class Node:
    """One operation of a graph: its name, its kind, what is said of it, and the nodes that it takes from, in order."""

    name: str
    op: str
    about: dict[str, str] = field(default_factory=dict)
    inputs: list[Node] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.op[:40]} {self.name[:100]!r}"


class Graph:
    """The nodes of an ``.xml``, and the constants of the ``.bin`` beside it.

    Raises ``RefusedError`` if they do not fit each other, or there is an operation other than ``ops``, which is named.
    """

    def __init__(self, path: Path, ops: frozenset[str]) -> None:
        self.nodes = _nodes(_content(path))
        if unknown := [node for node in self.nodes if node.op not in ops]:
            raise RefusedError(f"has an operation that is not known here, {unknown[0]}")
        self.data = _content(path.with_suffix(".bin"))
        places = {_place(node) for node in self.nodes if node.op == "Const"}
        end = 0
        for start, size in sorted(places):
            if start != end:
                fault = "none holds the bytes" if start > end else "two hold the byte"
                raise RefusedError(f"has constants that do not fill {path.stem}.bin: {fault} from {min(start, end)} on")
            end += size
        if end != len(self.data):
            raise RefusedError(f"has constants of {end} bytes, but {path.stem}.bin has {len(self.data)}")
        self.readers: dict[Node, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for source in node.inputs:
                self.readers[source].append(node)
        self.unread = {_place(node): node for node in self.nodes if node.op == "Const"}
        """One constant for each place in the binary that nothing was read from yet."""

    def named(self, name: str) -> Node | None:
        """The constant of a name, or None; raises ``RefusedError`` if there are several."""
        found = [node for node in self.nodes if node.name == name and node.op == "Const"]
        return _only(found, f"constants {name[:100]!r}") if found else None

    def before(self, node: Node, op: str) -> Node:
        """The one node of a kind that ``node`` takes from; raises ``RefusedError`` if there is none, or several."""
        return _only([source for source in node.inputs if source.op == op], f"{op} before {node}")

    def after(self, node: Node, op: str) -> Node:
        """The one node of a kind that takes from ``node``; raises ``RefusedError`` if there is none, or several."""
        return _only([reader for reader in self.readers[node] if reader.op == op], f"{op} after {node}")

    def read(self, node: Node) -> Tensor:
        """A copy of a constant; raises ``RefusedError`` for one with numbers that are not finite."""
        start, size = place = _place(node)
        self.unread.pop(place, None)
        tensor = torch.frombuffer(bytearray(self.data[start : start + size]), dtype=DTYPES[node.about["element_type"]])
        if not tensor.isfinite().all():
            raise RefusedError(f"is damaged: {node} has values that are no finite numbers")
        return tensor.reshape(_shape(node))


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LONGEST[path.suffix] + 1)
    if len(content) > LONGEST[path.suffix]:
        raise RefusedError(f"is too large: {path.name} has more than {LONGEST[path.suffix] >> 20} MB")
    return content


def _nodes(xml: bytes) -> list[Node]:
    """The layers of the XML, each with its inputs in the order of its ports."""
    nodes: dict[str, Node] = {}
    edges: dict[str, dict[int, str]] = defaultdict(dict)
    at: list[str] = []

    def start(tag: str, about: dict[str, str]) -> None:
        at.append(tag)
        if len(at) > DEEPEST:
            raise RefusedError("is damaged: its elements are nested without end")
        if len(at) == 1 and (tag, about.get("version")) != ("net", "10"):
            raise RefusedError(f"is no OpenVINO graph of version 10 but <{tag[:40]} version={about.get('version')!r}>")
        match WHAT.index(tuple(at)) if tuple(at) in WHAT else None:
            case 0:
                if about["id"] in nodes:
                    raise RefusedError(f"is damaged: two layers have the id {about['id'][:40]!r}")
                nodes[about["id"]] = Node(about["name"], about["type"])
            case 1:
                next(reversed(nodes.values())).about |= about
            case 2:
                ports = edges[about["to-layer"]]
                if (port := _number(about["to-port"])) in ports:
                    raise RefusedError(f"is damaged: two edges end at one port of layer {about['to-layer'][:40]!r}")
                ports[port] = about["from-layer"]

    parser = expat.ParserCreate()
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda _: at.pop()
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = _refuse
    try:
        parser.Parse(xml, True)
    except expat.ExpatError as error:
        raise RefusedError(f"is damaged, or no XML ({error})") from None
    for target, ports in edges.items():
        nodes[target].inputs = [nodes[ports[port]] for port in sorted(ports)]
    return list(nodes.values())


def _refuse(*_: object) -> NoReturn:
    raise RefusedError("declares a document type or entities (DOCTYPE), which no OpenVINO graph needs")


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise RefusedError(f"is damaged: {text[:40]!r} is no number")
    return int(text)


def _shape(node: Node) -> tuple[int, ...]:
    return tuple(map(_number, filter(None, node.about["shape"].replace(" ", "").split(","))))


def _place(node: Node) -> tuple[int, int]:
    """First byte of a constant in the binary, and how many there are; raises if that is not what its shape takes."""
    kind, shape, size = node.about["element_type"], _shape(node), _number(node.about["size"])
    if kind not in DTYPES or size == 0 or len(shape) > 8:
        raise RefusedError(f"has a constant of an unknown kind, {node} of {kind[:40]!r} and shape {shape[:8]}")
    if size != math.prod(shape) * DTYPES[kind].itemsize:
        raise RefusedError(f"is damaged: {node} has {size} bytes for a shape of {shape} of {kind}")
    return _number(node.about["offset"]), size


def _only(found: list[Node], what: str) -> Node:
    if len(found) != 1:
        raise RefusedError(f"is another graph: it has {len(found) or 'no'} {what}")
    return found[0]
