"""The live editor in a notebook: what is seen and touched of a ``Session``, in plain ipywidgets."""

from __future__ import annotations

import base64
import html
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import ipywidgets as iw
from torch import Tensor

from deltaedit.editor import Editor, Latent
from deltaedit.recipes import Recipe
from deltaedit.session import SEEDS, Change, Judge, Layer, Newest, Session, State, live, sentence
from deltaedit.web import script, style

SHOWN = 8  # lines of the table, and steps in the strip
LOOK_AGAIN = 0.15  # seconds after which the table is read anew, though the slider still moves
REST = 0.3  # seconds without a move, after which a preview becomes the picture, and the strip is drawn anew
UPLOAD = 50  # MB of a file at most; a server may take less
STEPS = 100  # of optimisation for a picture from outside, where there is no encoder
NUMBERS = count()
STYLE = f'<style onload="{script("widgets")}">{style("widgets")}</style>'


class EditorWidget(iw.VBox):
    """The live editor; as the last line of a cell, it is shown.

    While a slider moves only its newest value is drawn, in a thread of its own: the kernel stays free. Where a picture
    takes long it is a preview that moves, and the picture comes when the hand rests. A table tells what the judge sees
    change, or CLIP where there is none.

    Args:
        judge, prompts: see ``Session``; it is where everything stands, the attribute ``session``.
        steps: of optimisation for a picture from outside; by default the domain's, or 100 where there is no encoder.
        folder: where pictures and recipes are saved.
        size: of the edited picture on the screen, in pixels.

    >>> widget = EditorWidget(Editor.from_pretrained("portraits"), prompts=("face with hat",))
    >>> widget.session.add("old face")
    []
    >>> widget.session.edit().prompt
    'old face'
    >>> widget.close()
    """

    def __init__(
        self,
        editor: Editor,
        judge: Judge | None = None,
        prompts: Sequence[str] = (),
        seed: int = 0,
        steps: int | None = None,
        folder: str | Path = ".",
        size: int = 360,
    ) -> None:
        self.session = Session(editor, judge, prompts, seed)
        self._steps, self._folder = steps, Path(folder)
        self._drawing, self._finding = Newest(self._failed), Newest(self._failed)
        self._lock, self._quiet_thread = threading.RLock(), None
        self._before: Latent | None = None
        self._looked, self._telling = 0.0, ""
        self._thumbs: dict[State, bytes] = {}
        self._offered: Recipe | None = None
        self._saved: State | None = None
        super().__init__()
        self.add_class("deltaedit").add_class(mark := f"deltaedit-{next(NUMBERS)}")
        self._make_controls(mark)
        css, main = iw.HTML(STYLE).add_class("deltaedit-css"), iw.HBox([self._stage(size), self._panel()])
        self.children = [css, self.divider, main.add_class("deltaedit-main")]
        self._sync()
        self._draw(self.session.state, self._drawing.overtaken)

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until all that is shown is up to date; returns whether that came within so many seconds."""
        return self._finding.settle(seconds) and self._drawing.settle(seconds)

    def close(self) -> None:
        """Take the editor off the screen, and let its threads end."""
        self._drawing.close()
        self._finding.close()
        super().close()

    # What there is to see and to touch.

    def _make_controls(self, mark: str) -> None:
        wide = {"width": "auto", "flex": "1 1 16em"}
        self.before, self.after = iw.Image(), iw.Image().add_class("deltaedit-after")
        self.prompt = iw.Combobox(description="prompt", continuous_update=False, layout=wide)
        self.rows = iw.VBox().add_class("deltaedit-rows")
        self._rows: list[Row] = []
        self.threshold = iw.FloatSlider(min=0, max=1, step=0.001, readout_format=".3f", layout=wide)
        self.threshold.description = "threshold"
        self.threshold.tooltip = "threshold: how relevant a channel must be to move"
        self.seed = iw.BoundedIntText(min=0, max=SEEDS - 1, description="seed", layout=iw.Layout(width="13em"))
        self.truncation = iw.FloatSlider(min=0, max=1, step=0.05, description="truncation", layout=wide)
        self.truncation.tooltip = "truncation: 0 for the average picture, 1 for all variety"
        self.wipe = iw.IntSlider(description="wipe", readout=False, layout=wide)
        self.wipe.tooltip = "wipe: per cent of the picture that are as before"
        self.divider = iw.HTML().add_class("deltaedit-css")
        self.hold = iw.Button(description="Hold to compare", tooltip="shows the picture before, while pressed")
        self.hold.add_class("deltaedit-hold")
        self.upload = iw.FileUpload(accept="image/*", description="Open a picture")
        self.open = iw.FileUpload(accept=".json,application/json", description="Open a recipe")
        self.progress = iw.FloatProgress(0, min=0, max=1, layout=wide)
        self.message, self.refused, self.offer, self.table, self.told = (iw.HTML() for _ in range(5))
        steps = {
            "Add": self._add,
            "Another": self.session.sample,
            "Undo": self.session.undo,
            "Redo": self.session.redo,
            "Reset": self.session.reset,
            "Save": self._save,
            "Code": self._code,
            "Load anyway": lambda: self._later("loading it", self._load_anyway),
            "Leave it": self._offer,
        }
        self.buttons = {name: iw.Button(description=name) for name in steps}
        for name, step in steps.items():
            self.buttons[name].on_click(lambda _, step=step: self._act(step))
        self.buttons["Another"].tooltip = "another picture of the generator's"
        self.strip = iw.HBox([_Step() for _ in range(SHOWN)]).add_class("deltaedit-strip")
        for step in self.strip.children:
            step.button.on_click(lambda _, step=step: self._act(lambda: self.session.go(step.at)))

        watched = {
            self.threshold: self.session.limit,
            self.seed: lambda value: self.session.sample(seed=value),
            self.truncation: lambda value: self.session.sample(truncation=value),
            self.prompt: lambda _: self._add(),
            self.upload: partial(self._open, self.upload, "finding it", self._invert),
            self.open: partial(self._open, self.open, "loading it", self._load),
        }
        for widget, step in watched.items():
            widget.observe(lambda change, step=step: self._act(step, change["new"]), "value")

        def wipe(_: object = None) -> None:
            at = f"{self.wipe.value}%"
            clip = f".{mark} .deltaedit-after{{clip-path:inset(0 0 0 {at})}}"
            self.divider.value = f"<style>{clip} .{mark} .deltaedit-stack::after{{left:{at}}}</style>"

        self.wipe.observe(wipe, "value")
        wipe()
        _visible(False, self.progress)
        self._offer()

    def _stage(self, size: int) -> iw.Widget:
        self.before.layout.width = self.after.layout.width = f"{size}px"
        small = iw.VBox([_name("before"), self.before], layout=iw.Layout(width=f"{round(0.45 * size)}px"))
        stack = iw.Box([self.before, self.after], layout=iw.Layout(width=f"{size}px")).add_class("deltaedit-stack")
        pictures = iw.HBox([small, iw.VBox([_name("after"), stack])]).add_class("deltaedit-pictures")
        compare = iw.HBox([self.wipe, self.hold]).add_class("deltaedit-bar")
        return iw.VBox([pictures, compare, self.table]).add_class("deltaedit-stage")

    def _panel(self) -> iw.Widget:
        def bar(*widgets: iw.Widget) -> iw.Widget:
            return iw.HBox(widgets).add_class("deltaedit-bar")

        def buttons(*names: str) -> iw.Widget:
            return bar(*(self.buttons[name] for name in names))

        children = [
            bar(self.prompt, self.buttons["Add"]),
            self.message,
            self.offer,
            buttons("Load anyway", "Leave it"),
            self.rows,
            bar(self.threshold),
            bar(self.seed, self.buttons["Another"]),
            bar(self.truncation),
            bar(self.upload, self.open),
            self.refused,
            bar(self.progress),
            buttons("Undo", "Redo", "Reset", "Save", "Code"),
            self.told,
            self.strip,
        ]
        return iw.VBox(children).add_class("deltaedit-panel")

    # What a touch does.

    def _act(self, step: Callable[..., object], *values: Any) -> None:
        """Take a step, say what went wrong if something did, and show where that leads."""
        if self._quiet_thread == threading.get_ident():  # it is not the user who moves the control
            return
        self._say("")  # first: a job that the step begins may fail at once
        self.refused.value = ""
        try:
            if said := step(*values):
                self._say(said)
        except Exception as error:  # whatever it is, the editor stays usable
            self._failed(error)
        self._show()

    def _later(self, what: str, job: Callable[[Callable[..., bool]], str | None]) -> None:
        """Let a job that takes long run beside, in place of one that waits; show that it is under way."""

        def run(overtaken: Callable[..., bool]) -> None:
            self.progress.description, self.progress.value = what, 0
            _visible(True, self.progress)
            try:
                with suppress(CancelledError):  # nobody waits for it any more
                    self._say(job(overtaken) or "")
                    self._show()
            finally:
                _visible(False, self.progress)

        self._finding.put(run)

    def _show(self) -> None:
        self._sync()
        self._drawing.put(partial(self._draw, self.session.state))

    def _add(self) -> str | None:
        if not self.prompt.value.strip():
            return None
        notes = self.session.add(self.prompt.value)
        with self._quiet():
            self.prompt.value = ""
        return " ".join(map(sentence, notes))

    def _open(self, button: iw.FileUpload, what: str, use: Callable[..., str | None], files: Any) -> None:
        """Use the file that was chosen; the button is emptied, so that the same one can be chosen again."""
        if not files:
            return
        with self._quiet():
            button.set_trait("value", type(button.value)())

        def job(overtaken: Callable[..., bool]) -> str | None:
            try:
                return use(_content(files), overtaken)
            except CancelledError:
                raise
            except Exception as error:  # is said beside the button, too; it is read aloud only once
                self.refused.value = _said(sentence(error), " wrong", "none")
                raise

        self._later(what, job)

    def _invert(self, content: bytes, overtaken: Callable[..., bool]) -> str:
        editor, steps = self.session.editor, self._steps
        if steps is None and not editor.encoder:
            steps = STEPS
            self._say(f"This domain has no encoder: the picture is found in {steps} steps of optimisation.")

        def progress(share: float) -> None:
            if overtaken() or not threading.main_thread().is_alive():
                raise CancelledError
            self.progress.value = share

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            latent = editor.invert(content, steps, progress=progress)
        self.session.give(latent)
        return " ".join(sentence(warning.message) for warning in caught)

    def _load(self, content: bytes, _: object) -> None:
        try:
            recipe = Recipe.read(content.decode())
        except UnicodeDecodeError:
            raise ValueError("the recipe is no text: open a file that Save wrote.") from None
        if lines := recipe.differences(self.session.editor.identity):
            self._offer(recipe, f"Loaded here, this recipe will differ: {'; '.join(lines)}.")
        else:
            self.session.load(recipe)
            self._offer()

    def _load_anyway(self, _: object) -> None:
        if self._offered is not None:  # a second press finds it done
            self.session.load(self._offered, anyway=True)
            self._offer()

    def _offer(self, recipe: Recipe | None = None, text: str = "") -> None:
        """Offer to load a recipe that leads elsewhere here, until it is loaded or another is offered, or none."""
        self._offered, self.offer.value = recipe, _said(text)
        _visible(recipe is not None, self.buttons["Load anyway"], self.buttons["Leave it"])

    def _save(self) -> None:
        links = []
        for path in self.session.save(self._folder):
            name, data = html.escape(path.name), base64.b64encode(path.read_bytes()).decode()
            links.append(f'<a download="{name}" href="data:{guess_type(path)[0]};base64,{data}">{name}</a>')
        where = html.escape(str(self._folder.resolve()))
        self._tell("saved", f'<div class="deltaedit-say" role="status">Saved in {where}: {", ".join(links)}</div>')
        self._saved = self.session.state

    def _code(self) -> None:
        if self._telling == "code":
            self._tell("", "")
        else:
            self._tell_code(self.session.state)

    def _tell_code(self, state: State) -> None:
        lines = html.escape(self.session.code(state, self._folder))
        self._tell("code", f'<pre tabindex="0"><code>{lines}</code></pre>')

    # What is shown.

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """Move controls without that being a step."""
        with self._lock:
            before, self._quiet_thread = self._quiet_thread, threading.get_ident()
            try:
                yield
            finally:
                self._quiet_thread = before

    def _sync(self) -> None:
        """Let the controls show where the session stands."""
        session, state = self.session, self.session.state
        with self._quiet():
            while len(self._rows) < len(state.layers):
                self._rows.append(self._row(len(self._rows)))
            for row, layer in zip(self._rows, state.layers, strict=False):
                row.show(layer)
            if len(self.rows.children) != len(state.layers):
                self.rows.children = self._rows[: len(state.layers)]
            _place(self.threshold, state.threshold, 3 * session.editor.domain.threshold or 0.3)
            self.threshold.disabled = session.editor.relevance is None
            _place(self.truncation, state.truncation, 1.0)
            self.seed.value = state.seed
            self.prompt.options = prompts = session.prompts
            self.prompt.placeholder = f"such as “{prompts[0]}”" if prompts else "what it shall show"
            self.buttons["Undo"].disabled = session.at == 0
            self.buttons["Redo"].disabled = session.at == len(session.timeline) - 1
            if self._telling == "saved" and self._saved is not state:
                self._tell("", "")

    def _row(self, k: int) -> Row:
        row = Row()
        row.on.observe(lambda change: self._act(lambda: self.session.switch(k, change["new"])), "value")
        row.strength.observe(lambda change: self._act(lambda: self.session.strengthen(k, change["new"])), "value")
        row.delete.on_click(lambda _: self._act(lambda: self.session.remove(k)))
        return row

    def _draw(self, state: State, overtaken: Callable[..., bool]) -> None:
        """Draw the picture or a preview, then what takes longer to read or matters less, unless it is overtaken."""
        edit = self.session.edit(state)
        preview = self.session.preview(edit)
        if edit.latent is not self._before:
            self.before.value, self.before.format = live(edit.latent.tensor)
            self._before = edit.latent
        self._show_after(preview)
        now = time.monotonic()
        if overtaken() and now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        self.table.value = changes_table(self.session.changes(state, edit), self.session.judge is not None)
        if overtaken(REST):
            return
        if preview is not edit.tensor:
            self._show_after(edit.tensor)
        if idle := self.session.idle(state):
            self._say(f"No channel reaches the threshold for “{'”, “'.join(idle)}”: lower it.")
        if self._telling == "code":
            self._tell_code(state)
        self._thumbs[state] = live(preview, 100)[0]
        self._show_strip()

    def _show_after(self, tensor: Tensor) -> None:
        picture, kind = live(tensor)
        if self.after.format != kind:
            self.after.format = kind
        self.after.value = picture

    def _show_strip(self) -> None:
        timeline, at = list(self.session.timeline), self.session.at
        self._thumbs = {state: self._thumbs[state] for state in timeline if state in self._thumbs}
        steps = [k for k, state in enumerate(timeline) if state in self._thumbs]
        start = max(0, min(len(steps) - SHOWN, sum(k <= at for k in steps) - SHOWN // 2))
        for step, k in zip(self.strip.children, [*steps[start : start + SHOWN], *[None] * SHOWN], strict=False):
            _visible(k is not None, step)
            if k is not None:
                step.show(k, self._thumbs[timeline[k]], k == at)

    def _failed(self, error: Exception) -> None:
        self._say(sentence(error), wrong=True)

    def _say(self, text: str, wrong: bool = False) -> None:
        self.message.value = _said(text, *((" wrong", "alert") if wrong else ()))

    def _tell(self, kind: str, text: str) -> None:
        self._telling, self.told.value = kind, text


class Row(iw.HBox):
    """One prompt of the stack: on or off, how strong, away with it."""

    def __init__(self) -> None:
        self.on = iw.Checkbox(indent=False, layout=iw.Layout(flex="1 1 10em", width="auto", min_width="7em"))
        wide = {"flex": "2 1 12em", "width": "auto"}
        self.strength = iw.FloatSlider(1, min=-2, max=2, step=0.05, readout_format=".2f", layout=wide)
        self.strength.add_class("deltaedit-strength")
        self.delete = iw.Button(description="Delete")
        super().__init__([self.on, self.strength, self.delete])
        self.add_class("deltaedit-row")

    def show(self, layer: Layer) -> None:
        """Show a prompt of the stack."""
        if self.on.description != layer.prompt:
            self.on.description, self.on.tooltip = layer.prompt, f"“{layer.prompt}” from “{layer.neutral}”, on or off"
            self.strength.tooltip = f"strength of “{layer.prompt}”"
            self.delete.tooltip = f"delete “{layer.prompt}”"
        _place(self.strength, layer.strength, 2.0, both=True)
        self.on.value = layer.on


class _Step(iw.VBox):
    """One step of the strip."""

    def __init__(self) -> None:
        self.image, self.button, self.at = iw.Image(width=50), iw.Button(), 0
        super().__init__([self.image, self.button])
        self.add_class("deltaedit-step")
        _visible(False, self)

    def show(self, at: int, picture: bytes, here: bool) -> None:
        self.at = at
        if self.image.value != picture:
            self.image.value = picture
        self.button.description = f"{at}"
        self.button.tooltip = f"go to step {at}"
        (self.add_class if here else self.remove_class)("deltaedit-here")


def _content(files: Any) -> bytes:
    """Content of the first of some files that were chosen."""
    if isinstance(files, dict):  # ipywidgets 7, which is what Colab has
        files = [{"name": name, **file} for name, file in files.items()]
    content, name = files[0]["content"], files[0]["name"]
    if len(content) > UPLOAD * 1_000_000:
        raise ValueError(f"{name} has {len(content) / 1e6:.0f} MB, and {UPLOAD} is the most: make it smaller.")
    return bytes(content)


def changes_table(changes: Sequence[Change], judged: bool) -> str:
    """HTML of what changed most; empty if nothing can be read."""
    if not changes:
        return ""
    caption = "What the judge sees, most changed first" if judged else "How like each prompt CLIP finds it (cosine)"
    shown = list(changes[:SHOWN])
    most = max(0.2 if judged else 0.05, *(abs(c.after - c.before) for c in shown), 1e-6)
    lines = []
    for c in shown:
        name, by = html.escape(c.name), c.after - c.before
        kind = ' class="less"' if by < 0 else ""
        bar = f'<i{kind} style="--by:{abs(by) / most:.3f}"></i>'
        cells = "".join(f"<td>{cell}</td>" for cell in (_signed(c.before), _signed(c.after), bar))
        lines.append(f'<tr><th scope="row" title="{name}">{name}</th>{cells}</tr>')
    head = "".join(f'<th scope="col">{name}</th>' for name in ("seen", "before", "after", "change"))
    head = f'<table class="deltaedit-changes"><caption>{caption}</caption><thead><tr>{head}</tr></thead>'
    return f"{head}<tbody>{''.join(lines)}</tbody></table>"


def _said(text: str, kind: str = "", role: str = "status") -> str:
    return text and f'<div class="deltaedit-say{kind}" role="{role}">{html.escape(text)}</div>'


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-0.00", "0.00").replace("-", "−")


def _name(text: str) -> iw.HTML:
    return iw.HTML(f'<div class="deltaedit-name">{text}</div>')


def _visible(yes: bool, *widgets: iw.DOMWidget) -> None:
    for widget in widgets:
        widget.layout.display = None if yes else "none"


def _place(slider: iw.FloatSlider, value: float, most: float, both: bool = False) -> None:
    """Put a slider somewhere; its range becomes wider where it must, and the usual one again where it can."""
    most = max(most, abs(value))
    low = -most if both else min(0.0, value)
    if (slider.min, slider.max) != (low, most):
        with slider.hold_trait_notifications():
            slider.min, slider.max, slider.value = low, most, value
    slider.value = value
