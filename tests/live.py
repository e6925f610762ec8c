"""How long the live editor takes from a touch to a picture on the screen, in a real JupyterLab and a real browser."""

import io
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from lab import browser, jupyterlab, open_editor
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from deltaedit import Editor, worlds
from deltaedit.session import Session, live

SECONDS = 30.0  # of dragging
SEED = 7
CELL = """
from deltaedit import Editor, worlds
from deltaedit.widgets import EditorWidget
from deltaedit.worlds.judge import Judge

editor = Editor.from_pretrained("{domain}")
judge = Judge.of(editor)
EditorWidget(editor, judge.readings, worlds.prompts(editor.domain), seed={seed})
"""
# Touches, and looks when the next picture of so many pixels is there: loaded, and in the frame that the browser draws
# next. Then it rests, so that table and strip are drawn too.
TOUCH = """async ([selector, kind, value, width]) => {
    const image = document.querySelector('.deltaedit img.deltaedit-after');
    const target = document.querySelector(selector), start = performance.now();
    const shown = new Promise((resolve, reject) => {
        setTimeout(reject, 20000, 'no picture came');
        const look = () => image.naturalWidth >= (width || 0) && requestAnimationFrame(() => {
            image.removeEventListener('load', look); resolve(performance.now()); });
        image.addEventListener('load', look); });
    if (kind === 'key') target.dispatchEvent(new KeyboardEvent('keydown', {key: value, bubbles: true}));
    else { target.value = value; target.dispatchEvent(new Event('change', {bubbles: true})); }
    const took = await shown - start;
    await new Promise(rest => setTimeout(rest, 700));
    return took; }"""
WATCH = """() => {
    window.pictures = 0; window.moved = 0; window.seen = 0;
    document.querySelector('.deltaedit img.deltaedit-after').addEventListener('load', () => {
        window.pictures += 1; requestAnimationFrame(() => window.seen = performance.now()); });
    document.addEventListener('mousemove', () => window.moved = performance.now(), true); }"""
HANDLE = ".deltaedit-strength .noUi-handle"


def kernel_memory() -> float:
    """MB that the kernel holds."""
    processes = [p for p in psutil.Process().children(recursive=True) if "ipykernel_launcher" in p.cmdline()]
    return max(p.memory_info().rss for p in processes) / 1e6


def drag(page, seconds: float) -> None:
    """Move the first slider to and fro within its range, as fast as it goes."""
    box = page.locator(HANDLE).first.bounding_box()
    track = page.locator(".deltaedit-strength .noUi-base").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    start = time.perf_counter()
    while (now := time.perf_counter() - start) < seconds:
        page.mouse.move(track["x"] + track["width"] * (0.5 + 0.4 * math.cos(3 * now)), box["y"] + box["height"] / 2)
    page.mouse.up()


def measure(
    domain: str = "portraits", runs: int = 60, seconds: float = SECONDS, what: str = "picture"
) -> dict[str, float]:
    """Everything about the live editor; ``what`` it is that moves."""
    editor = Editor.from_pretrained(domain)
    prompts, whole = worlds.prompts(editor.domain)[:17], editor.generator.resolution
    wide, prompts = prompts[9:], prompts[:9]
    notebook = new_notebook(cells=[new_code_cell(CELL.format(domain=domain, seed=SEED))])
    with tempfile.TemporaryDirectory() as place, browser() as page, jupyterlab(Path(place), notebook) as address:
        open_editor(page, address)
        page.wait_for_timeout(2000)
        box = ".deltaedit input[list]"
        asked = [page.evaluate(TOUCH, [box, "prompt", prompt]) for prompt in prompts]
        fully = [page.evaluate(TOUCH, [box, "prompt", prompt, whole]) for prompt in wide]
        delete = page.locator(".deltaedit-row button")
        for left in range(len(prompts) + len(wide) - 1, 0, -1):  # one slider is what is measured
            delete.last.click()
            page.wait_for_function("n => document.querySelectorAll('.deltaedit-row').length === n", arg=left)
        keys = ["ArrowLeft" if k // 20 % 2 == 0 else "ArrowRight" for k in range(runs + 3)]
        moved = [page.evaluate(TOUCH, [HANDLE, "key", key]) for key in keys][3:]
        page.evaluate(WATCH)
        drag(page, min(5.0, seconds))
        page.wait_for_timeout(1000)
        memory, before = kernel_memory(), page.evaluate("window.pictures")
        drag(page, seconds)
        page.wait_for_timeout(2000)
        pictures, late = page.evaluate("[window.pictures, window.seen - window.moved]")
        grown = kernel_memory() - memory
        value = float(page.locator(HANDLE).first.get_attribute("aria-valuetext"))
        data = page.locator("img.deltaedit-after").evaluate(
            "async img => Array.from(new Uint8Array(await (await fetch(img.src)).arrayBuffer()))"
        )
    return {
        f"slider to {what}, median (ms)": statistics.median(moved),
        f"slider to {what}, 95th percentile (ms)": float(np.percentile(moved, 95)),
        f"new prompt to {what}, median (ms)": statistics.median(asked[1:]),
        "new prompt to whole picture, median (ms)": statistics.median(fully),
        "after 30 s of dragging, last move to last picture (ms)": late,
        "pictures a second while dragging": (pictures - before) / seconds,
        "memory of the kernel, grown by dragging (MB)": grown,
        "levels that the last picture is off": off(domain, prompts[0], value, bytes(data)),
    }


def off(domain: str, prompt: str, strength: float, shown: bytes) -> float:
    """How many levels of 255 a pixel of the picture shown is away from what the strength shown makes, at most."""
    session = Session(Editor.from_pretrained(domain), seed=SEED)
    session.add(prompt)
    session.strengthen(0, strength)
    pictures = []
    for data in (shown, live(session.edit().tensor)[0]):
        with Image.open(io.BytesIO(data)) as image:
            pictures.append(np.asarray(image.convert("RGB")).astype(int))
    return float(np.abs(pictures[0] - pictures[1]).max())


if __name__ == "__main__":
    for name, number in measure(runs=10, seconds=4.0).items():
        print(f"{name:60s} {number:8.1f}")
