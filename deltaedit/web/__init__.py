"""Styles and scripts of what is seen and touched, to be written into its HTML: beside a notebook's output lies no file.

A script is the value of an event's attribute: its ``this`` is the element, and ``event`` the event.
"""

import html
from pathlib import Path


def style(name: str) -> str:
    """A style sheet of this folder as it stands."""
    return (Path(__file__).parent / f"{name}.css").read_text(encoding="utf-8")


def script(name: str) -> str:
    """A script of this folder as the value of an attribute.

    Also its > are written as entities: a search index takes one for the end of the tag, and what follows for words.
    """
    return html.escape((Path(__file__).parent / f"{name}.js").read_text(encoding="utf-8").strip())
