"""What the book draws with: one plot style, grids of pictures, maps of embeddings, tables, sliders and a bench."""

from __future__ import annotations

import base64
import html
import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba, to_rgba_array
from matplotlib.figure import Figure
from torch import Tensor

from deltaedit.files import write_whole
from deltaedit.metrics import Interval
from deltaedit.pictures import Shown, pixels
from deltaedit.sliders import Bench as Bench
from deltaedit.sliders import Sweep as Sweep
from deltaedit.sliders import number

if TYPE_CHECKING:
    from deltaedit.editor import Editor, Latent

INK, LIGHT_INK = "#262626", "#dedede"  # of words, axes and marks, on light and on dark ground
# Okabe and Ito's colours, which readers with any kind of colour vision can tell apart; the first two are told by
# lightness too, and embeddings add a marker for each kind. All but the ink can be seen on light and on dark ground.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", INK)
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
DARK = "dark_png"
"""Where a notebook keeps a figure's rendering for dark pages: in the metadata of its output, as base64."""


def style() -> None:
    """Set the one plot style of the book; call it once, in the imports cell.

    In a notebook, figures are then kept twice: as usual, and in light ink on no ground, for the book's dark pages.
    """
    ink = "text.color axes.labelcolor axes.edgecolor xtick.color ytick.color boxplot.boxprops.color "
    ink += "boxplot.whiskerprops.color boxplot.capprops.color boxplot.flierprops.markeredgecolor"
    plt.rcParams.update(dict.fromkeys(ink.split(), INK))
    plt.rc("axes", prop_cycle=plt.cycler(color=COLORS), facecolor="none", titlesize="medium")
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("figure", dpi=110)
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("font", size=9.5)
    plt.rc("legend", frameon=False)
    plt.rc("savefig", bbox="tight")
    if shell := get_ipython():
        shell.display_formatter.mimebundle_formatter.for_type(Figure, lambda figure: ({}, {DARK: dark(figure)}))


def dark(figure: Figure) -> str:
    """A figure as a PNG in light ink on no ground, in base64; its colours and pictures stay, and so does the figure."""
    file = io.BytesIO()
    figure.draw_without_rendering()  # makes the ticks
    with _light_ink(figure):
        figure.canvas.print_figure(file, format="png", dpi=figure.dpi, facecolor="none", bbox_inches="tight")
    return base64.b64encode(file.getvalue()).decode()


@contextmanager
def _light_ink(figure: Figure) -> Iterator[None]:
    """All that a figure draws in INK is in LIGHT_INK, for a while."""
    before: list[tuple[Any, Any]] = []
    try:
        for artist in figure.findobj():
            for name in ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor"):
                if (get := getattr(artist, f"get_{name}", None)) is None:
                    continue
                was = get()
                colors = to_rgba_array(was)
                inked = (colors[:, :3] == to_rgba(INK)[:3]).all(1)
                if inked.any():
                    colors[inked, :3] = to_rgba(LIGHT_INK)[:3]
                    put = getattr(artist, f"set_{name}")
                    before.append((put, was))
                    put(colors if len(colors) > 1 else tuple(colors[0]))
        yield
    finally:
        for put, was in reversed(before):
            put(was)


def glue_all(**values: Any) -> None:
    """Keep values under their names, to be quoted in the prose of a page, and show none of them."""
    from myst_nb import glue  # here: it is the book's alone

    for name, value in values.items():
        glue(name, value, display=False)


def grid(
    images: Sequence[Shown] | Tensor,
    columns: int | Sequence[str],
    rows: Sequence[str] = (),
    titles: Sequence[str] = (),
    size: float = 1.1,
) -> Figure:
    """Pictures, or a batch (B, 3, H, W) in [-1, 1], in reading order, ``size`` inches each.

    There are so many columns, or one for each heading; ``rows`` have labels at their left, pictures ``titles`` above.
    Photographs, which have far more pixels than they get, are drawn at twice the usual resolution.
    """
    headings = [columns] if isinstance(columns, str) else () if isinstance(columns, int) else columns
    across = columns if isinstance(columns, int) else len(headings)
    down = -(-len(images) // across)
    headings, titles, rows = _wrapped(headings, 15 * size), _wrapped(titles, 15 * size), _wrapped(rows, 20)
    # Inches that the words take beside and above the pictures, so that these keep their size.
    margin = 0.07 * max((len(line) for label in rows for line in label.splitlines()), default=0)
    above = 0.16 * (_lines(headings) + down * _lines(titles))
    figure, axes = plt.subplots(
        down, across, figsize=(size * across + margin, size * down + above + 0.1), squeeze=False, layout="constrained"
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    if len(images) and len(pixels(images[0])) > 2 * size * figure.dpi:
        figure.set_dpi(2 * figure.dpi)
    words = {"fontsize": 8, "parse_math": False}  # prompts are no formulas, whatever is in them
    for k, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if k < len(images):
            axis.imshow(pixels(images[k]))
        if k < len(titles):
            axis.set_title(titles[k], **words)
    for axis, heading in zip(axes[0], headings, strict=False):
        axis.set_title(heading, **words)
    for axis, label in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(label, rotation=0, ha="right", va="center", **words)
    return figure


def edit_grid(
    editor: Editor,
    latent: Latent,
    target: str | Sequence[str],
    strength: float | Sequence[float] = 1.0,
    size: float = 1.1,
) -> Figure:
    """Edits of pictures as a grid: a row for each picture; a column for each prompt, or for each strength of one.

    Of several prompts, the first column shows the pictures as they are. A picture takes ``size`` inches. Raises
    ``ValueError`` if both target and strength are several, or ``Editor.edit`` refuses them.
    """
    if isinstance(strength, int | float):
        targets = [target] if isinstance(target, str) else list(target)
        columns = [latent.images, *(edit.images for edit in editor.edit_each(latent, targets, strength))]
        headings = ["as drawn", *targets]
    elif isinstance(target, str):
        edit = editor.edit(latent, target)
        columns = [edit.with_strength(x).images for x in strength]
        headings = list(map(number, strength))
    else:
        raise ValueError("a grid has one axis for pictures and one for prompts or strengths: give several of one only.")
    return grid([image for row in zip(*columns, strict=True) for image in row], headings, size=size)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure for a paper: words and lines as vectors, pictures with the very pixels they have.

    Raises ``ValueError`` if the path, whose file is then whole or not there, ends in another word than .pdf or .svg.
    """
    kind = Path(path).suffix.removeprefix(".").lower()
    if kind not in ("pdf", "svg"):
        raise ValueError(f"a figure for a paper is .pdf or .svg; for pixels, use figure.savefig. Got {str(path)!r}.")
    shown = [(image, image.get_interpolation()) for axis in figure.axes for image in axis.images]
    exact = {"pdf.fonttype": 42, "image.composite_image": False, "svg.hashsalt": "deltaedit"}
    try:
        for image, _ in shown:
            image.set_interpolation("none")  # embedded as it is, not resampled
        with plt.rc_context(exact):
            write_whole(path, lambda part: figure.savefig(part, format=kind, metadata={_DATE[kind]: None}))
    finally:
        for image, interpolation in shown:
            image.set_interpolation(interpolation)


_DATE = {"pdf": "CreationDate", "svg": "Date"}  # left out: the same figure is the same file


def _wrapped(texts: Sequence[str], width: float) -> list[str]:
    return ["\n".join(textwrap.fill(line, max(4, round(width))) for line in text.splitlines()) for text in texts]


def _lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts), default=0)


def embedding(points: np.ndarray, labels: Sequence[str], title: str = "", axis: Axes | None = None) -> Axes:
    """A map of points (N, 2), with a colour and a marker for each kind of label; returns the axes drawn on."""
    if axis is None:
        axis = plt.subplots(figsize=(3.4, 3.2))[1]
    labels = np.asarray(labels)
    for label, color, marker in zip(dict.fromkeys(labels.tolist()), cycle(COLORS), cycle(MARKERS), strict=False):
        x, y = points[labels == label].T
        axis.scatter(x, y, s=7, alpha=0.6, linewidths=0, color=color, marker=marker, label=label)
    axis.set(xticks=[], yticks=[], title=title)
    return axis


def bars(
    shares: Mapping[str, float], kinds: Mapping[str, str], marks: Mapping[str, float], axis: Axes | None = None
) -> Axes:
    """Shares from 0 to 1 as horizontal bars in percent, the largest on top; returns the axes drawn on.

    Each kind, of which ``kinds`` has a word for each name, has its colour, by its place there. ``marks`` are shares to
    compare with, by name, as black marks; names may be missing.
    """
    names = sorted(shares, key=shares.get)
    if axis is None:
        axis = plt.subplots(figsize=(6.2, 0.17 * len(names) + 0.9))[1]
    for color, kind in zip(COLORS, dict.fromkeys(kinds.values()), strict=False):
        if own := [k for k, name in enumerate(names) if kinds[name] == kind]:
            axis.barh(own, [100 * shares[names[k]] for k in own], color=color, label=kind)
    marked = [k for k, name in enumerate(names) if name in marks]
    axis.plot([100 * marks[names[k]] for k in marked], marked, "|", color=INK, markersize=7)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=7.5)
    axis.set(xlim=(0, 100), ylim=(-0.6, len(names) - 0.4))
    axis.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    return axis


def whiskers(intervals: Iterable[Interval], scale: float = 1.0) -> list[list[float]]:
    """What ``errorbar`` takes as ``xerr`` or ``yerr``: how far intervals reach below their values, and above."""
    intervals = list(intervals)
    return [[scale * (x.value - x.low) for x in intervals], [scale * (x.high - x.value) for x in intervals]]


def said(x: Interval | None, digits: int = 3, scale: float = 1.0, unit: str = "", sign: bool = False) -> str:
    """An interval in words: "–" for none and for what is not a number, "(open)" where it lacks an end.

    >>> said(Interval(0.0712, 0.061, 0.084), digits=1, scale=100, unit="%")
    '7.1 % (6.1 … 8.4)'
    """
    if x is None or math.isnan(x.value):
        return "–"
    value, *ends = (f"{scale * v:{'+' * sign},.{digits}f}".replace("-", "−") for v in x)
    within = "open" if math.isnan(x.low + x.high) else " … ".join(ends)
    return f"{value} {unit}".rstrip() + f" ({within})" * (x.low != x.high)


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers, shown as a table in JupyterLab and on the page."""

    columns: Sequence[str]  #: headings; the first column names the rows, and its heading may be empty
    rows: Sequence[Sequence[str | int | float]]
    digits: str = ".2f"  #: format of floating-point numbers

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str | int | float]) -> str:
            texts = [format(c, self.digits).replace("-", "−") if isinstance(c, float) else str(c) for c in cells]
            first, *rest = map(html.escape, texts)
            scope = "row" if tag == "td" else "col"
            return f'<tr><th scope="{scope}">{first}</th>' + "".join(f"<{tag}>{t}</{tag}>" for t in rest) + "</tr>"

        head, body = line("th", self.columns), "\n".join(line("td", row) for row in self.rows)
        return f'<table class="table"><thead>{head}</thead>\n<tbody>{body}</tbody></table>'
