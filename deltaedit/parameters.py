"""Parameters as readers give them: one check, from the declared type, for chapters, for the book and for commands.

What is typed on a command line comes as text, or as what somebody took the text for. A chapter declares what it takes
in its first cell, as `n: int = 80`; types with more to say are quoted, so that they are not run:
`prompts: "list[str, 20] or None" = None` is a list of one text to twenty, or None.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import re
import sys
import warnings
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, NoReturn

SEEDS = frozenset({"crowd", "seed"})
"""Names of whole numbers that may be 0; others count something."""

BELOW = 2**31  # of whole numbers: seeds and counts beyond are slips
_DECLARED = re.compile(r"(bool|int|float|str|dict|list)(?:\[(int|float|str)(?:, (\d+))?\])?( or None)?")
_BOOLS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def declared(source: str) -> dict[str, str]:
    """The types that a cell's source declares, as text, by name.

    >>> declared('n: int = 80\\nprompts: "list[str, 20] or None" = None')
    {'n': 'int', 'prompts': 'list[str, 20] or None'}
    """
    statements = [node for node in ast.parse(source).body if isinstance(node, ast.AnnAssign)]
    return {node.target.id: _text(node.annotation) for node in statements if isinstance(node.target, ast.Name)}


def literal(text: str) -> object:
    """What a text says in Python or JSON (`3`, `1e-3`, `[1, 2]`, `True`, `true`), else the text itself."""
    for read in (ast.literal_eval, json.loads):
        with warnings.catch_warnings(), suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            warnings.simplefilter("ignore")  # of what would be odd in a program
            return read(text)
    return text


def check(name: str, value: object, kind: str) -> Any:
    """A parameter's value as its declared type has it, where it can be read so.

    A text is read: `"3"` as 3, `"false"`, `"no"` and `"0"` as False, `'["old face"]'` as a list. What is one where a
    list is meant is a list of one; of the same text given twice, the first stays. Whole numbers are 1 or more, those
    of ``SEEDS`` and in lists 0 or more. Raises ``ValueError``, in one sentence, for what cannot be read so.

    >>> check("prompts", "old face", "list[str, 20] or None")
    ['old face']
    >>> check("n", 2e3, "int"), check("download", "no", "bool")
    (2000, False)
    """
    match = _DECLARED.fullmatch(kind)
    if not match or (match[1] == "list") != bool(match[2]):
        raise TypeError(f"{name} is declared as {kind!r}, which is no type of a parameter.")
    whole, item, most, optional = match.groups()
    text = value.strip() if isinstance(value, str) else None
    read = value if text is None else literal(text)
    if optional and read is None:
        return None
    if whole == "bool":
        found = _BOOLS.get(str(value).strip().lower()) if isinstance(value, str | bool | int) else None
        wanted = "true or false"
    elif whole == "dict":
        found = dict(read) if isinstance(read, dict) and all(isinstance(key, str) for key in read) else None
        wanted = "values by name, such as '{\"steps\": 60}'"
    elif whole == "list":
        found, wanted = _list(name, text, read, item, int(most or 0))
    else:
        found, wanted = _one(whole, text, read, 0 if name in SEEDS else 1)
    if found is None:
        raise ValueError(f"{name} must be {wanted}{', or None' if optional else ''}. Got {_short(value)}.")
    if name == "device":
        from deltaedit.devices import find_device  # here: it takes torch

        find_device(found)
    return found


def check_parameters(namespace: MutableMapping[str, Any]) -> None:
    """Check the parameters that a notebook's first cell declares, in its ``globals()``, and put them right there.

    Raises ``ValueError`` as ``check`` does.
    """
    kinds = namespace.get("__annotations__") or {}
    if not kinds and "__annotate__" in namespace:  # from Python 3.14 on they are made when they are asked for
        kinds = namespace["__annotate__"](1)
    for name, kind in kinds.items():
        if name in namespace:
            namespace[name] = check(name, namespace[name], _text(kind))


def count(text: str, name: str = "a count") -> int:
    """A whole number, 1 or more, as an argument of a command that ``argparse`` reads."""
    try:
        return check(name, text, "int")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def seed_number(text: str) -> int:
    """The same of a seed, which may be 0."""
    return count(text, "seed")


def refuse(reason: object, status: int = 2) -> NoReturn:
    """End a command whose input is refused: one sentence, and an exit status, 1 where it is a file that is at fault."""
    print(reason, file=sys.stderr)
    stop = SystemExit(str(reason))
    stop.code = status
    raise stop


def _one(kind: str, text: str | None, read: object, least: int) -> tuple[Any, str]:
    """A single value, or None where it cannot be read so, and what is wanted."""
    number = isinstance(read, int | float) and not isinstance(read, bool) and abs(read) < math.inf
    if kind == "int":
        found = int(read) if number and read == int(read) and least <= read < BELOW else None
        return found, f"a whole number, {least} or more"
    if kind == "float":
        return read if number else None, "a number"
    if text is None:
        text = str(read) if isinstance(read, int) and not isinstance(read, bool) else ""
    return (read if isinstance(read, str) else text).strip() or None, "some words"


def _list(name: str, text: str | None, read: object, item: str, most: int) -> tuple[list | None, str]:
    """A list, or None where it cannot be read so, and what is wanted."""
    wanted = {"str": "texts", "int": "whole numbers, 0 or more", "float": "numbers"}[item]
    such = {"str": '\'["old face", "face with a hat"]\'', "int": "'[3, 1]'", "float": "'[0.5, 1]'"}[item]
    wanted = f"a list of {f'1 to {most}' if most else '1 or more'} {wanted}, such as {such}"
    if isinstance(read, list | tuple):
        values = list(read)
    elif item == "str":
        values = [read if isinstance(read, str) else text] if text and text[0] not in "[{" else []
    else:
        values = [read]
    if item == "str":
        values = [value.strip() if isinstance(value, str) else "" for value in values]
        found = list(dict.fromkeys(values)) if all(values) else []
    else:
        found = [_one(item, None, value, 0)[0] for value in values]
        found = [] if None in found else found
    return found if 0 < len(found) <= (most or len(found)) else None, wanted


def _text(kind: object) -> str:
    """A declared type as text, of syntax or as Python holds it."""
    if isinstance(kind, ast.Constant):
        return str(kind.value)
    if isinstance(kind, ast.expr):
        return ast.unparse(kind)
    return kind.__name__ if isinstance(kind, type) and not hasattr(kind, "__args__") else str(kind)


def _short(value: object) -> str:
    """A value as it is quoted: the beginning of a long one."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"
