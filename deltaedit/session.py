"""A session at the live editor: one picture, a stack of prompts, undo and redo over all of it; no front end in it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import textwrap
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from io import BytesIO
from itertools import count
from numbers import Integral, Real
from pathlib import Path
from threading import Condition, RLock
from typing import Any

import torch
from torch import Tensor

from deltaedit.editor import Direction, Edit, Editor, Latent
from deltaedit.files import locked, write_whole
from deltaedit.pictures import to_pil
from deltaedit.recipes import Recipe

TOGETHER = 1.0  # seconds within which moves of one control are one step
SEEDS = 2**31  # what a number box takes
STEPS = 100  # that can be undone
LIVE = 256  # pixels on a side, of previews while a hand moves; up to so many PNG is as quick as JPEG
READ = 12  # prompts at most that CLIP compares a picture with, beside those of the stack

Judge = Callable[[Tensor], Mapping[str, float]]
"""What can be said of one picture (1, 3, H, W) in [-1, 1]: a number, about 0 to 1, for each name."""

Job = Callable[[Callable[..., bool]], None]


@dataclass(frozen=True)
class Layer:
    """One prompt of the stack, with what ``Editor.edit`` takes; ``on`` says whether it counts."""

    prompt: str
    neutral: str
    threshold: float
    strength: float = 1.0
    on: bool = True


@dataclass(frozen=True, eq=False)
class State:
    """Where a session stands: at a sample or in its place a ``given`` latent, and what is asked of it."""

    seed: int
    truncation: float
    threshold: float
    layers: tuple[Layer, ...] = ()
    given: Latent | None = None


@dataclass(frozen=True)
class Change:
    """What is read of a picture by one name, before the edit and after it."""

    name: str
    before: float
    after: float


class Session:
    """What the live editor does, step by step; every step can be undone.

    It may be used from several threads: steps take a moment, and what takes longer is computed from a ``State``.

    Where no judge reads pictures, CLIP does, by ``prompts``, which are suggestions too, and those of the stack.
    ``clock`` tells seconds, for what counts as one move.
    """

    def __init__(
        self,
        editor: Editor,
        judge: Judge | None = None,
        prompts: Sequence[str] = (),
        seed: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.editor, self.judge, self.prompts = editor, judge, tuple(prompts)
        self._threshold = 0.0 if editor.relevance is None else editor.domain.threshold  # what is begun with
        self.timeline = [State(_seed(seed), editor.domain.truncation, self._threshold)]
        self.at = 0
        self._clock, self._lock, self._key, self._moved = clock, RLock(), None, 0.0
        # What was computed is kept a while, so that only what changed is computed again.
        self._sampled = lru_cache(8)(lambda seed, truncation: editor.sample(seed, truncation=truncation))
        self._directed = lru_cache(256)(self._direction)
        self._seen = lru_cache(8)(self._look)
        self._quick = editor.at(LIVE)
        self._previewed = lru_cache(8)(self._preview)

    # Steps.

    @property
    def state(self) -> State:
        """Where the session stands."""
        with self._lock:
            return self.timeline[self.at]

    def add(self, prompt: str) -> list[str]:
        """Put a prompt on the stack, if the editor takes it and it is not there; returns what there is to say of it."""
        prompt = " ".join(str(prompt).split())
        with self._lock, torch.no_grad(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.editor.text_delta(prompt)
            if any(layer.prompt == prompt for layer in self.state.layers):
                raise ValueError(f"“{prompt}” is there already: move its slider.")
            layer = Layer(prompt, self.editor.domain.neutral, self.state.threshold)
            self._commit(layers=(*self.state.layers, layer))
        return list(dict.fromkeys(str(warning.message) for warning in caught))

    def remove(self, k: int) -> None:
        """Take the prompt number ``k`` off the stack."""
        with self._lock:
            self._commit(layers=self.state.layers[:k] + self.state.layers[k + 1 :])

    def strengthen(self, k: int, strength: float) -> None:
        """Give the prompt number ``k`` a strength; moves in quick succession are one step."""
        self._set(k, ("strength", k), strength=_finite(strength, "strength"))

    def switch(self, k: int, on: bool) -> None:
        """Switch the prompt number ``k`` on or off."""
        self._set(k, None, on=bool(on))

    def limit(self, threshold: float) -> None:
        """Set the threshold of all prompts, from 0; other than 0 only where the editor has a relevance matrix."""
        if _finite(threshold, "threshold") < 0 or (threshold and self.editor.relevance is None):
            raise ValueError(f"threshold must be 0 or more, and 0 without relevance. Got {threshold}.")
        with self._lock:
            layers = tuple(replace(layer, threshold=float(threshold)) for layer in self.state.layers)
            self._commit("threshold", threshold=float(threshold), layers=layers)

    def sample(self, seed: int | None = None, truncation: float | None = None) -> None:
        """Go to another picture of the generator's; by default with the seed that follows."""
        with self._lock:
            state = self.state
            if seed is None:
                seed = state.seed + (truncation is None and state.given is None)
            truncation = state.truncation if truncation is None else _finite(truncation, "truncation")
            key = "truncation" if seed == state.seed else None  # a slider is dragged; others are wanted one by one
            self._commit(key, seed=_seed(seed), truncation=truncation, given=None)

    def give(self, latent: Latent) -> None:
        """Go to a picture from outside, by its latent."""
        if len(latent) != 1:
            raise ValueError(f"there is room for one picture. Got {len(latent)}.")
        self._commit(given=latent)

    def load(self, recipe: str | Mapping[str, Any] | Recipe, anyway: bool = False) -> None:
        """Go to where a recipe of one picture leads, ``anyway`` although elsewhere here; see ``Editor.replay``."""
        recipe = Recipe.read(recipe)
        if len(recipe) != 1:
            raise ValueError(f"the recipe is of {len(recipe)} pictures, and there is room for one: Editor.replay it.")
        edit = self.editor.replay(recipe, anyway)
        layers = tuple(Layer(p.prompt, p.neutral, p.threshold, p.strength) for p in recipe.parts)
        if recipe.w is None and recipe.n == 1 and 0 <= recipe.seed < SEEDS:
            source = {"seed": recipe.seed, "truncation": recipe.truncation, "given": None}
        else:
            source = {"truncation": self.editor.domain.truncation, "given": edit.latent}
        self._commit(threshold=layers[0].threshold if layers else self._threshold, layers=layers, **source)

    def reset(self) -> None:
        """Back to the picture as it is, with no prompts and the domain's own threshold; a step like any other."""
        self._commit(layers=(), threshold=self._threshold, truncation=self.editor.domain.truncation)

    def undo(self) -> None:
        """One step back, if there is one."""
        self.go(self.at - 1)

    def redo(self) -> None:
        """One step forward again, if there is one."""
        self.go(self.at + 1)

    def go(self, at: int) -> None:
        """To a step of the timeline; nothing happens if it has none there."""
        with self._lock:
            if 0 <= at < len(self.timeline):
                self.at, self._key = at, None

    def _set(self, k: int, key: Any, **changes: Any) -> None:
        with self._lock:
            layers = list(self.state.layers)
            layers[k] = replace(layers[k], **changes)
            self._commit(key, layers=tuple(layers))

    def _commit(self, key: Any = None, **changes: Any) -> None:
        with self._lock:
            now, state = self._clock(), replace(self.state, **changes)
            again = key is not None and key == self._key and now - self._moved < TOGETHER
            self.timeline[self.at + (not again) :] = [state]
            del self.timeline[:-STEPS]
            self.at, self._key, self._moved = len(self.timeline) - 1, key, now

    # What a state stands for.

    def latent(self, state: State) -> Latent:
        """The picture before the edit."""
        return self._sampled(state.seed, state.truncation) if state.given is None else state.given

    def edit(self, state: State | None = None) -> Edit:
        """The edit; of what it is made of, only what is new is computed."""
        state = state or self.state
        latent, on = self.latent(state), [layer for layer in state.layers if layer.on]
        directions = tuple(self._directed(latent, layer.prompt, layer.neutral, layer.threshold) for layer in on)
        return Edit(self.editor, latent, directions, tuple(layer.strength for layer in on))

    def preview(self, pictures: Latent | Edit) -> Tensor:
        """What is shown of one picture (1, 3, H, W) while a hand moves: itself where that is soon, else a preview."""
        return self._previewed(pictures)

    def idle(self, state: State) -> list[str]:
        """Prompts that are on and move nothing, since no channel reaches their threshold."""
        return [d.prompt for d in self.edit(state).directions if not d.delta_s.any()]

    @torch.no_grad()
    def changes(self, state: State, edit: Edit | None = None) -> list[Change]:
        """What is read of the picture before and after, where it can be read in both; the most changed first."""
        edit = edit or self.edit(state)
        before, after = self._seen(edit.latent), self._look(edit)
        if self.judge is None:
            names = dict.fromkeys([*(layer.prompt for layer in state.layers), *self.prompts[:READ]])
            text = {name: self.editor.text_feature(name) for name in names}
            before, after = ({name: float(text[name] @ seen) for name in names} for seen in (before, after))
        found = [Change(name, before[name], after[name]) for name in before if name in after]
        return sorted(found, key=lambda change: -abs(change.after - change.before))

    def recipe(self, state: State | None = None) -> str:
        """JSON that ``load`` and ``Editor.replay`` read."""
        return self.edit(state).to_json()

    def code(self, state: State | None = None, folder: str | Path = ".") -> str:
        """The lines of Python that make the same picture; one from outside is kept in ``folder``, as a recipe."""
        state = state or self.state
        editor, latent = self.editor, self.latent(state)
        lines = ["from deltaedit import Editor", f"editor = Editor.from_pretrained({_quoted(editor.home)})"]
        if editor.home is None:
            lines = ["# editor is the one that this session is of"]
        source = latent.source
        if {"seed", "n", "truncation"} <= source.keys():
            some = f", n={source['n']}, rows={source.get('rows')}" if source["n"] != 1 else ""
            where = f"seed={source['seed']}{some}, truncation={_short(source['truncation'])}"
            lines.append(f"latent = editor.sample({where})")
        else:
            recipe = Edit(editor, latent, (), ()).to_json()
            path = Path(folder) / f"latent-{hashlib.sha256(recipe.encode()).hexdigest()[:8]}.json"
            if not path.exists():  # its name is that of the content
                write_whole(path, lambda part: part.write_text(recipe, encoding="utf-8"))
            lines.insert(0, "from pathlib import Path")
            lines.append(f"latent = editor.replay(Path({_quoted(path.as_posix())}).read_text()).latent")
        kinds: dict[tuple[str, float], list[Layer]] = {}
        for layer in state.layers:
            if layer.on:
                kinds.setdefault((layer.neutral, layer.threshold), []).append(layer)
        edits = []
        for (neutral, threshold), some in kinds.items():
            words, strengths = [_quoted(layer.prompt) for layer in some], [_short(layer.strength) for layer in some]
            asked = ", ".join(x[0] if len(x) == 1 else f"[{', '.join(x)}]" for x in (words, strengths))
            limit = f", threshold={_short(threshold)}" if editor.relevance is not None else ""
            other = f", neutral={_quoted(neutral)}" if neutral != editor.domain.neutral else ""
            edits.append(f"editor.edit(latent, {asked}{limit}{other})")
        made = f"({' + '.join(edits)})" if len(edits) > 1 else "".join(edits) or "latent"
        return "\n".join([*lines, f"picture = {made}.image"])

    def save(self, folder: str | Path = ".", state: State | None = None) -> tuple[Path, Path]:
        """Write picture and recipe into a folder, under names that no file has; returns both paths."""
        edit, folder = self.edit(state), Path(folder)
        what = edit.latent.source.get("seed", "picture")
        words = re.sub(r"\W+", "-", f"{edit.editor.domain.name} {what} {' '.join(edit.prompts)}").strip("-")[:60]
        with locked(folder / "deltaedit"):  # of two who save at once each finds a name of its own
            for k in count(1):
                png, recipe = (folder / f"{words}{f'-{k}' * (k > 1)}{kind}" for kind in (".png", ".json"))
                if not png.exists() and not recipe.exists():
                    break
            write_whole(png, lambda path: edit.image.save(path, "PNG"))
            write_whole(recipe, lambda path: path.write_text(edit.to_json() + "\n", encoding="utf-8"))
        return png, recipe

    @torch.no_grad()
    def _direction(self, latent: Latent, prompt: str, neutral: str, threshold: float) -> Direction:
        if not threshold:
            return self.editor.edit(latent, prompt, threshold=0.0, neutral=neutral).directions[0]
        whole = self._directed(latent, prompt, neutral, 0.0)
        mask = self.editor.mask(prompt, neutral, threshold)
        return replace(whole, threshold=threshold, delta_s=whole.delta_s * mask)

    def _preview(self, pictures: Latent | Edit) -> Tensor:
        return self._quick.draw(pictures.s, pictures.w) if self._quick.size else pictures.tensor

    @torch.no_grad()
    def _look(self, pictures: Latent | Edit) -> Any:
        image = self.preview(pictures).clamp(-1, 1)
        return self.editor.clip.encode_image(image)[0] if self.judge is None else self.judge(image)


class Newest:
    """Runs jobs in a thread of its own, one after the other; of those that wait, only the newest is run.

    A job is called with a function that says whether it is overtaken: whether a newer one waits, or comes within so
    many seconds; ``failed`` with what a job raises.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed, self._changed = failed, Condition()
        self._waiting: Job | None = None
        self._busy = False
        self._pool = ThreadPoolExecutor(1, "deltaedit")  # it is waited for when the interpreter ends

    def put(self, job: Job) -> None:
        """Have a job run, in place of the one that waits if there is one."""
        with self._changed:
            self._waiting = job
            self._changed.notify_all()
            if not self._busy:
                self._pool.submit(self._run)
                self._busy = True

    def overtaken(self, seconds: float = 0.0) -> bool:
        """Whether a job waits, or comes within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting is not None, seconds)

    def settle(self, seconds: float = 60.0) -> bool:
        """Wait until nothing is left to do; returns whether that came within so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy, seconds)

    def close(self) -> None:
        """Drop what waits, and let the thread end."""
        with self._changed:
            self._waiting = None
        self._pool.shutdown(wait=False)

    def _run(self) -> None:
        while True:
            with self._changed:
                job, self._waiting = self._waiting, None
                if job is None:
                    self._busy = False
                    self._changed.notify_all()
                    return
            try:
                job(self.overtaken)
            except Exception as error:  # whatever it is, the next job is run
                with suppress(Exception):
                    self._failed(error)


def live(tensor: Tensor, most: int | None = None) -> tuple[bytes, str]:
    """A picture (1, 3, H, W), ``most`` pixels wide, as a file made quickly, and its kind: PNG if small, else JPEG."""
    image, file = to_pil(tensor)[0], BytesIO()
    if most:
        image.thumbnail((most, most))
    if max(image.size) <= LIVE:
        image.save(file, "PNG", compress_level=1)
        return file.getvalue(), "png"
    image.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue(), "jpeg"


def sentence(error: Exception) -> str:
    """What went wrong, in one sentence for people."""
    text = textwrap.shorten(str(error) or type(error).__name__, 400, placeholder=" …")
    return text[:1].upper() + text[1:]


def _seed(seed: int) -> int:
    if not isinstance(seed, Integral) or not 0 <= seed < SEEDS:
        raise ValueError(f"seed must be a whole number from 0 to {SEEDS - 1}. Got {seed!r}.")
    return int(seed)


def _finite(value: float, name: str) -> float:
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number. Got {value!r}.")
    return float(value)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # which is Python, too


def _short(value: float) -> str:
    return f"{value:.6g}"
