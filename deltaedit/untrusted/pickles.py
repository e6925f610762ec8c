"""Pickles, read without running them.

A pickle is a program: its instructions may import and call anything. Here it is gone through by a machine of our own,
which knows plain values and containers, imports nothing, and calls only what it was given, by name. Whatever else a
file asks to call is refused; an object of a class that is not known is a ``Record``: its class's name, and its state.
Every instruction but those that carry data costs some bytes, and their number is limited, so
that memory stays within what the file itself takes and some hundred megabytes.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

MAX_STEPS = 2_000_000  # the published files need fewer than 100,000
MAX_LINE = 2000  # bytes of a name
RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}  # Python 2's names, which protocol 2 keeps


class RefusedError(ValueError):
    """Why a file was not read, as the rest of a sentence that begins with the file's name."""

    def __str__(self) -> str:
        """On one line, whatever names a file has in it."""
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in super().__str__())


class Source(Protocol):
    """A file, or what stands for one, whose ``read`` never sets aside more than is left."""

    def read(self, n: int, /) -> bytes:
        """The next ``n`` bytes, or what is left."""

    def seek(self, offset: int, whence: int = 0, /) -> Any:
        """Stand elsewhere; with ``whence`` 1, as seen from here."""


@dataclass(frozen=True)
class Name:
    """A class or function of which a file knows the name."""

    name: str


@dataclass(eq=False)
class Record:
    """What is left of an object of a class that is not here: the name of the class and the object's state."""

    name: str
    state: Any = None


Call = Callable[..., Any]


def plain(value: Any) -> Any:
    """The value, if it may be a key or in a set: to hash tuples that are nested deep would crash Python."""
    return _of((str, int, float, bytes, type(None), Name), value)


def load(source: Source, resolve: Callable[[str], Call | None], persistent: Callable[[Any], Any] | None = None) -> Any:
    """The object that one pickle describes; ``source`` stands after it then.

    Args:
        source: stands where the pickle begins.
        resolve: from the name of a class or function, such as "collections OrderedDict", to what is called in its
            place, or None for what it does not know; raises RefusedError for what a file may not even name.
        persistent: from a persistent id to the object it stands for.

    Raises:
        RefusedError: if it asks for more than plain values and what ``resolve`` knows.
        Exception: of any kind if it is damaged.
    """
    return _Machine(source, resolve, persistent).run()


class _Machine:
    """The stack machine of pickles (PEP 307, 3154): one method for each instruction that it knows, under its name."""

    def __init__(
        self, source: Source, resolve: Callable[[str], Call | None], persistent: Callable[[Any], Any] | None
    ) -> None:
        self.source, self.resolve, self.persistent = source, resolve, persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
            code = self.source.read(1)
            if code == pickle.STOP:
                return self.stack.pop()
            if code not in _INSTRUCTIONS:
                raise RefusedError(f"is damaged, or a pickle of an unknown kind (instruction {code!r})")
            argument, step = _INSTRUCTIONS[code]
            step(self, argument.reader(self)) if argument else step(self)
        raise RefusedError(f"takes more than {MAX_STEPS} steps to read, which no checkpoint needs")

    def read(self, n: int) -> bytes:
        """For ``pickletools``, which reads the arguments."""
        return self.source.read(n)

    def readline(self) -> bytes:
        """The same; a source's own might take all that is left for one line."""
        line = self.source.read(MAX_LINE)
        end = line.find(b"\n") + 1
        if not end:
            raise RefusedError("is damaged (a name without an end)")
        self.source.seek(end - len(line), 1)
        return line[:end]

    def since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def PROTO(self, version: int) -> None:
        pass

    def FRAME(self, size: int) -> None:
        pass

    # Values.

    def BININT(self, value: Any) -> None:
        self.stack.append(value)

    BININT1 = BININT2 = LONG1 = LONG4 = BINFLOAT = SHORT_BINSTRING = BINSTRING = BININT
    SHORT_BINUNICODE = BINUNICODE = BINUNICODE8 = SHORT_BINBYTES = BINBYTES = BINBYTES8 = BYTEARRAY8 = BININT

    def NONE(self) -> None:
        self.stack.append(None)

    def NEWTRUE(self) -> None:
        self.stack.append(True)

    def NEWFALSE(self) -> None:
        self.stack.append(False)

    # Containers.

    def MARK(self) -> None:
        self.marks.append(len(self.stack))

    def EMPTY_TUPLE(self) -> None:
        self.stack.append(())

    def TUPLE(self) -> None:
        self.stack.append(tuple(self.since_mark()))

    def TUPLE1(self) -> None:
        self.stack[-1:] = [(self.stack[-1],)]

    def TUPLE2(self) -> None:
        self.stack[-2:] = [(self.stack[-2], self.stack[-1])]

    def TUPLE3(self) -> None:
        self.stack[-3:] = [(self.stack[-3], self.stack[-2], self.stack[-1])]

    def EMPTY_LIST(self) -> None:
        self.stack.append([])

    def APPEND(self) -> None:
        _of(list, self.stack[-2]).append(self.stack.pop())

    def APPENDS(self) -> None:
        items = self.since_mark()
        _of(list, self.stack[-1]).extend(items)

    def EMPTY_SET(self) -> None:
        self.stack.append(set())

    def ADDITEMS(self) -> None:
        items = self.since_mark()
        _of(set, self.stack[-1]).update(map(plain, items))

    def EMPTY_DICT(self) -> None:
        self.stack.append({})

    def SETITEM(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _of(dict, self.stack[-1])[plain(key)] = value

    def SETITEMS(self) -> None:
        items = self.since_mark()
        target = _of(dict, self.stack[-1])
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[plain(key)] = value

    def POP(self) -> None:
        self.stack.pop()

    # What was there before.

    def BINPUT(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    LONG_BINPUT = BINPUT

    def MEMOIZE(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def BINGET(self, index: int) -> None:
        self.stack.append(self.memo[index])

    LONG_BINGET = BINGET

    # What other machines import and call.

    def GLOBAL(self, name: str) -> None:
        module, _, rest = name.partition(" ")
        name = f"{RENAMED.get(module, module)} {rest}"
        self.resolve(name)
        self.stack.append(Name(name))

    def STACK_GLOBAL(self) -> None:
        name, module = _of(str, self.stack.pop()), _of(str, self.stack.pop())
        self.GLOBAL(f"{module} {name}")

    def REDUCE(self) -> None:
        arguments, name = _of(tuple, self.stack.pop()), _of(Name, self.stack.pop()).name
        call = self.resolve(name)
        if call is None:
            raise RefusedError(f"asks to run {name.replace(' ', '.')[:100]}, which no checkpoint needs")
        self.stack.append(call(*arguments))

    def NEWOBJ(self) -> None:
        arguments, name = _of(tuple, self.stack.pop()), _of(Name, self.stack.pop()).name
        call = self.resolve(name)
        self.stack.append(Record(name[:200]) if call is None else call(*arguments))

    def BUILD(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Record):
            target.state = state  # of anything else, attributes are no part of what it holds

    def BINPERSID(self) -> None:
        if self.persistent is None:
            raise RefusedError("refers to data that is not in it")
        self.stack.append(self.persistent(self.stack.pop()))


_INSTRUCTIONS = {
    info.code.encode("latin-1"): (info.arg, getattr(_Machine, info.name))
    for info in pickletools.opcodes
    if hasattr(_Machine, info.name)
}


def _of(kind: type | tuple[type, ...], value: Any) -> Any:
    if not isinstance(value, kind):
        there = "nothing" if value is None else f"a {type(value).__name__}"
        raise RefusedError(f"is damaged ({there} where it cannot be)")
    return value
