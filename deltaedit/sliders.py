"""What readers of a page move: edits computed ahead, in plain HTML that needs no kernel, no script file, no network.

It works on a page opened from disk, on a phone, and in a trusted notebook.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from deltaedit.pictures import Shown, pixels
from deltaedit.web import script, style

if TYPE_CHECKING:
    from deltaedit.editor import Editor, Latent

LONGEST = 16383  # pixels that a WebP picture can be high

# A notebook keeps HTML and nothing beside it, therefore style and script come along with each.
STYLE = f"<style>{style('sliders')}</style>"
SWEEP_MOVES, BENCH_MOVES = script("sweep"), script("bench")


def number(value: float | str) -> str:
    """A number as it is written on a page, a text as it is."""
    return value if isinstance(value, str) else f"{value:g}".replace("-", "−")


def _webp(image: Image.Image, most: int) -> bytes:
    """All frames in one file, as good as ``most`` bytes allow; raises ``ValueError`` if they allow next to nothing."""
    for quality in (88, 78, 68, 56, 44):
        image.save(file := io.BytesIO(), "WEBP", quality=quality)
        if len(frames := file.getvalue()) <= most:
            return frames
    raise ValueError(f"the frames take {len(frames)} bytes: give fewer, or allow more than {most}.")


def _variables(frames: bytes, image: Image.Image, columns: int, rows: int) -> str:
    """The CSS variables of a picture of all frames that do not move."""
    uri = f"data:image/webp;base64,{base64.b64encode(frames).decode()}"
    ratio = f"{image.width / columns:g}/{image.height / rows:g}"
    return f"--columns:{columns};--rows:{rows};--ratio:{ratio};--frames:url({uri})"


def _fitted(picture: Shown, width: int, height: int) -> np.ndarray:
    """Bytes of a picture, made smaller where it is wider or higher than that."""
    image = Image.fromarray(pixels(picture))
    image.thumbnail((width, height), Image.Resampling.LANCZOS)
    return np.asarray(image)


@dataclass(frozen=True)
class Sweep:
    """The reader's slider; without scripts, all frames are shown.

    On a page of the book, the name and caption that a cell gives to its figure are those of the sweep.

    """

    frames: Sequence[Shown] | Tensor  #: pictures of one size, in order
    values: Sequence[float | str]  #: what each shows, such as a strength; beside the slider, and for screen readers
    caption: str  #: what the slider moves
    alt: str  #: what there is to see
    start: int = 0  #: the frame shown first
    width: int = 256  #: of the picture on the page, in pixels; narrower pages scale it down
    most: int = 450_000  #: bytes that all frames may take; the quality is lowered until they do

    def __post_init__(self) -> None:
        n, k = len(self.frames), len(self.values)
        if n != k or n < 2:
            raise ValueError(f"a sweep needs two frames or more and a value for each, got {n} and {k}.")
        if not 0 <= self.start < n:
            raise ValueError(f"the first frame shown must be one of 0 … {n - 1}, got {self.start}.")

    def strip(self) -> Image.Image:
        """All frames one below the other, none larger than a screen of two pixels for one can show."""
        size = 2 * self.width, LONGEST // len(self.frames)
        return Image.fromarray(np.concatenate([_fitted(frame, *size) for frame in self.frames]))

    def _repr_html_(self) -> str:
        strip, n = self.strip(), len(self.frames)
        texts = [html.escape(number(value)) for value in self.values]
        caption, alt = html.escape(self.caption), html.escape(self.alt)
        cells = "".join(f'<span><span class="frame" style="--row:{k}"></span>{x}</span>' for k, x in enumerate(texts))
        across = f"repeat(auto-fill,minmax(min(100%,{max(96, self.width // 3)}px),1fr))"
        return f"""{STYLE}
<div class="reader sweep" role="group" aria-label="{caption}" style="--column:0;--row:{self.start};
{_variables(_webp(strip, self.most), strip, 1, n)};max-width:{self.width}px">
<span class="frame" role="img" aria-label="{alt}"></span>
<label>{caption}: <output aria-live="off">{texts[self.start]}</output>
<input type="range" min="0" max="{n - 1}" step="1" value="{self.start}" aria-valuetext="{texts[self.start]}"
autocomplete="off" data-texts="{"|".join(texts)}" oninput="{SWEEP_MOVES}"></label>
<noscript><style>.sweep>label{{display:none}}</style>Without scripts there is no slider; these are all its frames:
{caption}.<span class="all" style="grid-template-columns:{across}">{cells}</span></noscript>
</div>"""


@dataclass(frozen=True)
class Bench:
    """The reader's bench: pictures, prompts and strengths to choose from, with every edit drawn ahead.

    Without scripts, it shows each picture with each prompt at one strength.

    """

    frames: Sequence[Sequence[Sequence[Shown]]] | Tensor  #: [i][j][k] is picture i edited with prompt j at strength k
    prompts: Sequence[str]  #: what can be asked
    strengths: Sequence[float]  #: 0, the picture as it is, is one of them
    kind: str = "picture"  #: what a picture is called
    start: float = 1.0  #: the strength shown first, one of them
    side: int = 128  #: pixels that a frame has at most on its longer side
    most: int = 650_000  #: bytes that all frames may take; the quality is lowered until they do

    def __post_init__(self) -> None:
        p, q, k = len(self.frames), len(self.prompts), len(self.strengths)
        if not p * q or k < 2 or any(len(row) != q or any(len(part) != k for part in row) for row in self.frames):
            raise ValueError("a bench needs a frame for each picture, prompt and strength, and two strengths or more.")
        if 0 not in self.strengths or self.start not in self.strengths:
            wanted = f"strengths of a bench must have 0 and the first shown, {self.start:g}, among them"
            raise ValueError(f"{wanted}. Got {list(self.strengths)}.")
        if p * q * self.side > LONGEST:
            raise ValueError(f"{p} pictures with {q} prompts, of {self.side} pixels, are too many: give fewer.")

    @classmethod
    def of(
        cls, editor: Editor, latent: Latent, prompts: Sequence[str], strengths: Sequence[float], **about: Any
    ) -> Bench:
        """The bench of all pictures of a latent; ``about`` is what else a bench takes, errors are ``Editor.edit``'s."""
        edits = [
            [{0: latent, 1: edit}.get(x, edit.with_strength(x)).images for x in strengths]
            for edit in editor.edit_each(latent, prompts)
        ]
        frames = [[[images[i] for images in edit] for edit in edits] for i in range(len(latent))]
        return cls(frames, prompts, strengths, kind=editor.domain.neutral, **about)

    def sprite(self) -> Image.Image:
        """All frames: a row for each picture and prompt, a column for each strength."""
        rows = [[_fitted(frame, self.side, self.side) for frame in part] for row in self.frames for part in row]
        return Image.fromarray(np.concatenate([np.concatenate(row, axis=1) for row in rows]))

    def _repr_html_(self) -> str:
        sprite = self.sprite()
        frames = _webp(sprite, self.most)
        p, q, k = len(self.frames), len(self.prompts), len(self.strengths)
        zero, first = self.strengths.index(0), self.strengths.index(self.start)
        texts, prompts = list(map(number, self.strengths)), [html.escape(prompt) for prompt in self.prompts]
        kind, name = html.escape(self.kind), hashlib.sha256(frames).hexdigest()[:8]

        def cell(i: int, j: int, column: int) -> str:
            return f'<span class="frame" style="--picture:{i};--prompt:{j};--column:{column}"></span>'

        choices = "".join(
            f"""<label><input type="radio" name="{name}" value="{i}" data-moves="--picture"
autocomplete="off" aria-label="{kind} {i + 1}"{" checked" * (i == 0)}>
{cell(i, 0, zero)}</label>"""
            for i in range(p)
        )
        options = "".join(f'<option value="{j}">{prompt}</option>' for j, prompt in enumerate(prompts))
        cells = "".join(
            "".join([f"<span>{prompt}</span>", *(cell(i, j, first) for i in range(p))])
            for j, prompt in enumerate(prompts)
        )
        return f"""{STYLE}
<div class="reader bench" role="group" aria-label="Edits to choose from" data-texts="{"|".join(texts)}"
oninput="{BENCH_MOVES}" style="--picture:0;--prompt:0;--column:{first};--prompts:{q};
{_variables(frames, sprite, k, p * q)}">
<div class="pair">
<div><span class="frame before" role="img" aria-label="{kind} 1, as drawn" style="--column:{zero}"></span>as drawn</div>
<div><span class="frame after" role="img" aria-label="{kind} 1, “{prompts[0]}” at strength {texts[first]}"></span>
<output class="prompt" aria-live="off">{prompts[0]}</output></div></div>
<div class="controls"><fieldset><legend>{kind}</legend><div class="thumbs">{choices}</div></fieldset>
<label>prompt<select data-moves="--prompt" autocomplete="off">{options}</select></label>
<label>strength: <output class="strength" aria-live="off">{texts[first]}</output>
<input type="range" min="0" max="{k - 1}" step="1" value="{first}" aria-valuetext="{texts[first]}" autocomplete="off"
data-moves="--column"></label></div>
<noscript><style>.bench{{display:block!important}}.bench>div{{display:none!important}}</style>With scripts, you choose
here. Without, this is each {kind} with each prompt, at strength {texts[first]}.
<span class="all" style="grid-template-columns:6em repeat({p},1fr)">{cells}</span></noscript>
</div>"""
