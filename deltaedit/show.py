"""What the book draws with: one plot style, grids of pictures, maps of embeddings, tables and sliders."""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

# Okabe and Ito's colours, which readers with any kind of colour vision can tell apart; the first two are told by
# lightness too, and embeddings add a marker for each kind.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")

Picture = Image.Image | Tensor | np.ndarray


def style() -> None:
    """Set the one plot style of the book; call it once, in the imports cell."""
    plt.rcParams.update({
        "axes.prop_cycle": plt.cycler(color=COLORS),
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": "medium",
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 9.5,
        "legend.frameon": False,
        "savefig.bbox": "tight",
    })  # fmt: skip


def pixels(picture: Picture) -> np.ndarray:
    """A picture as bytes (H, W, 3).

    Args:
        picture: a PIL image, a tensor (3, H, W) in [-1, 1], or an array (H, W, 3) of bytes.
    """
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, Tensor) and picture.ndim == 3 and picture.shape[0] == 3:
        values = picture.detach().float().cpu().clamp(-1, 1).permute(1, 2, 0).numpy()
        return ((values + 1) * 127.5).round().astype(np.uint8)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    raise ValueError("a picture must be a PIL image, a tensor (3, H, W) in [-1, 1] or an array (H, W, 3) of bytes, got "
                     f"{type(picture).__name__} of shape {tuple(getattr(picture, 'shape', ()))}.")  # fmt: skip


def grid(images: Sequence[Picture] | Tensor, columns: int | Sequence[str], rows: Sequence[str] = (),
         titles: Sequence[str] = (), size: float = 1.1) -> Figure:  # fmt: skip
    """Pictures in rows and columns.

    Args:
        images: pictures in reading order, or a batch (B, 3, H, W) in [-1, 1].
        columns: how many, or a heading for each; headings and titles are broken to the width of a picture.
        rows: a label for each row, at its left.
        titles: one for each picture, above it.
        size: inches that a picture takes.
    """
    headings = [columns] if isinstance(columns, str) else () if isinstance(columns, int) else columns
    across = columns if isinstance(columns, int) else len(headings)
    down = -(-len(images) // across)
    headings, titles, rows = _wrapped(headings, 15 * size), _wrapped(titles, 15 * size), _wrapped(rows, 20)
    # Inches that the words take beside and above the pictures, so that these keep their size.
    margin = 0.07 * max((len(line) for label in rows for line in label.splitlines()), default=0)
    above = 0.16 * (_lines(headings) + down * _lines(titles))
    figure, axes = plt.subplots(down, across, figsize=(size * across + margin, size * down + above + 0.1),
                                squeeze=False, layout="constrained")  # fmt: skip
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    for k, axis in enumerate(axes.flat):
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
        if k < len(images):
            axis.imshow(pixels(images[k]))
        if k < len(titles):
            axis.set_title(titles[k], fontsize=8)
    for axis, heading in zip(axes[0], headings, strict=False):
        axis.set_title(heading, fontsize=8)
    for axis, label in zip(axes[:, 0], rows, strict=False):
        axis.set_ylabel(label, fontsize=8, rotation=0, ha="right", va="center")
    return figure


def _wrapped(texts: Sequence[str], width: float) -> list[str]:
    return ["\n".join(textwrap.fill(line, max(4, round(width))) for line in text.splitlines()) for text in texts]


def _lines(texts: Sequence[str]) -> int:
    return max((text.count("\n") + 1 for text in texts), default=0)


def embedding(points: np.ndarray, labels: Sequence[str], title: str = "", axis: Axes | None = None) -> Axes:
    """A map of points (N, 2), with a colour and a marker for each kind of label; returns the axes drawn on."""
    if axis is None:
        axis = plt.subplots(figsize=(3.4, 3.2))[1]
    labels = np.asarray(labels)
    for k, label in enumerate(dict.fromkeys(labels.tolist())):
        x, y = points[labels == label].T
        axis.scatter(x, y, s=7, alpha=0.6, linewidths=0, color=COLORS[k % len(COLORS)],
                     marker=MARKERS[k % len(MARKERS)], label=label)  # fmt: skip
    axis.set(xticks=[], yticks=[], title=title)
    return axis


def bars(shares: Mapping[str, float], kinds: Mapping[str, str], marks: Mapping[str, float],
         axis: Axes | None = None) -> Axes:  # fmt: skip
    """Shares from 0 to 1 as horizontal bars in percent, the largest on top; returns the axes drawn on.

    Args:
        shares: what is drawn, by name.
        kinds: a word for each name, also for names not drawn; each kind has its colour, by its place here.
        marks: shares to compare with, by name, as black marks; names may be missing.
        axis: where to draw; a new figure by default.
    """
    names = sorted(shares, key=shares.get)
    if axis is None:
        axis = plt.subplots(figsize=(6.2, 0.17 * len(names) + 0.9))[1]
    for color, kind in zip(COLORS, dict.fromkeys(kinds.values()), strict=False):
        if own := [k for k, name in enumerate(names) if kinds[name] == kind]:
            axis.barh(own, [100 * shares[names[k]] for k in own], color=color, label=kind)
    marked = [k for k, name in enumerate(names) if name in marks]
    axis.plot([100 * marks[names[k]] for k in marked], marked, "|", color="black", markersize=7)
    axis.set_yticks(range(len(names)), [name.replace("_", " ") for name in names], fontsize=7.5)
    axis.set(xlim=(0, 100), ylim=(-0.6, len(names) - 0.4))
    axis.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1))
    return axis


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers, shown as a table in JupyterLab and on the page; numbers as ``digits`` has it.

    Attributes:
        columns: their headings; the first column names the rows, and its heading may be empty.
        rows: cells, row by row.
        digits: format of floating-point numbers.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    digits: str = ".2f"

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str | int | float]) -> str:
            texts = [format(c, self.digits).replace("-", "−") if isinstance(c, float) else str(c) for c in cells]
            first, *rest = map(html.escape, texts)
            scope = "row" if tag == "td" else "col"
            return f'<tr><th scope="{scope}">{first}</th>' + "".join(f"<{tag}>{t}</{tag}>" for t in rest) + "</tr>"

        head, body = line("th", self.columns), "\n".join(line("td", row) for row in self.rows)
        return f'<table class="table"><thead>{head}</thead>\n<tbody>{body}</tbody></table>'


@dataclass(frozen=True)
class Sweep:
    """The reader's slider: frames computed ahead, in plain HTML that needs no kernel, no script file and no network.

    Attributes:
        frames: pictures of one size, in order.
        values: what each frame shows, such as a strength; written beside the slider and read out by screen readers.
        caption: what the slider moves.
        alt: what there is to see.
        start: the frame shown first.
        width: of the picture on the page, in pixels; narrower pages scale it down.
    """

    frames: Sequence[Picture] | Tensor
    values: Sequence[float | str]
    caption: str
    alt: str
    start: int = 0
    width: int = 256

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.values) or len(self.frames) < 2:
            raise ValueError("a sweep needs two frames or more and a value for each, "
                             f"got {len(self.frames)} and {len(self.values)}.")  # fmt: skip
        if not 0 <= self.start < len(self.frames):
            raise ValueError(f"the first frame shown must be one of 0 … {len(self.frames) - 1}, got {self.start}.")

    def strip(self) -> Image.Image:
        """All frames side by side."""
        return Image.fromarray(np.concatenate([pixels(frame) for frame in self.frames], axis=1))

    def _repr_html_(self) -> str:
        strip, n = self.strip(), len(self.frames)
        file = io.BytesIO()
        strip.save(file, "PNG", optimize=True)
        uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        texts = [value if isinstance(value, str) else f"{value:g}".replace("-", "−") for value in self.values]
        caption, alt, first = (html.escape(text) for text in (self.caption, self.alt, texts[self.start]))
        # The slider sets --frame on the figure; the picture is the strip, moved there by its background position.
        on_input = ("const t=this.dataset.texts.split('|')[this.value],f=this.closest('figure');"
                    "f.style.setProperty('--frame',this.value);f.querySelector('output').value=t;"
                    "this.setAttribute('aria-valuetext',t)")  # fmt: skip
        return f"""<figure class="sweep"
style="--frame:{self.start};--strip:url({uri});margin:1em 0;max-width:{self.width}px">
<div role="img" aria-label="{alt}" style="aspect-ratio:{strip.width / n:g}/{strip.height};
background:var(--strip) calc(var(--frame)*100%/{n - 1}) 0/{n}00% 100%"></div>
<label style="display:block">{caption}: <output>{first}</output>
<input type="range" min="0" max="{n - 1}" step="1" value="{self.start}" style="width:100%" aria-valuetext="{first}"
data-texts="{html.escape("|".join(texts))}" oninput="{on_input}"></label>
<noscript>Without scripts the slider does not move; these are all its frames, from {html.escape(texts[0])} to
{html.escape(texts[-1])}:<div style="aspect-ratio:{strip.width}/{strip.height};background:var(--strip) 0/100% 100%">
</div></noscript>
</figure>"""
