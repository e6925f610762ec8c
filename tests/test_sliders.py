"""The reader's slider and bench, parsed as a browser would; `test_browser.py` has one move them."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from deltaedit.sliders import Bench, Sweep


class Tags(HTMLParser):
    """All tags of a text that closes what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def first(self, tag: str) -> dict:
        return next(attrs for name, attrs in self.tags if name == tag)


def needs_nothing(text: str) -> None:
    assert "<script" not in text
    assert not re.search(r"https?:|//[a-z]", re.sub(r"base64,[^)]*", "", text))
    words = re.sub(r"<[^<]+?>", "", text)  # as a search index has it
    assert not re.search("base64|dataset|setProperty", words), "it would take picture or script for words"


def frames_in(text: str) -> Image.Image:
    (webp,) = re.findall(r"url\(data:image/webp;base64,(.*?)\)", text)  # once, however often it is shown
    return Image.open(io.BytesIO(base64.b64decode(webp))).convert("RGB")


def greys(*shape: int, side: int = 16) -> torch.Tensor:
    """Pictures (*shape, 3, side, side), each of one grey, from black to white."""
    n = int(np.prod(shape))
    return torch.linspace(-1, 1, n).reshape(*shape, 1, 1, 1).expand(*shape, 3, side, side)


def test_sweep_is_plain_html_that_can_be_read_without_eyes_or_network():
    sweep = Sweep(greys(4), [-1, 0, 0.5, "as far as it <goes>"], caption="strength <of it>", alt='a "face"', start=1)
    text = sweep._repr_html_()
    needs_nothing(text)
    tags = Tags(text)
    slider = tags.first("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "3", "1")
    assert slider["aria-valuetext"] == "0"
    assert slider["data-texts"].split("|") == ["−1", "0", "0.5", "as far as it <goes>"]
    picture = tags.first("span")
    assert (picture["role"], picture["aria-label"]) == ("img", 'a "face"')
    assert "strength &lt;of it&gt;: <output" in text
    unscripted = text[text.index("<noscript>") :]
    assert all(f"--row:{k}" in unscripted for k in range(4))
    strip = frames_in(text)
    assert strip.size == (16, 64)
    for k, grey in enumerate((0, 85, 170, 255)):
        assert abs(strip.getpixel((8, 16 * k + 8))[0] - grey) < 4


def test_frames_larger_than_a_page_shows_are_made_smaller():
    assert Sweep(greys(3, side=64), "abc", "", "", width=16).strip().size == (32, 96)
    tall = Sweep([np.zeros((4000, 40, 3), np.uint8)] * 5, "abcde", "", "").strip()
    assert tall.height <= 16383
    assert Bench(greys(1, 1, 2, side=64), ["a"], [0, 1], side=24).sprite().size == (48, 24)


def test_sweeps_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="got 3 and 2"):
        Sweep(greys(3), [0, 1], "", "")
    with pytest.raises(ValueError, match="got 1 and 1"):
        Sweep(greys(1), [0], "", "")
    with pytest.raises(ValueError, match="0 … 2, got 3"):
        Sweep(greys(3), [0, 1, 2], "", "", start=3)


def test_bench_holds_every_choice_in_one_picture():
    bench = Bench(greys(2, 3, 4), ["smile", "a <hat>", "old"], [-0.5, 0, 0.5, 1], kind="face")
    text = bench._repr_html_()
    needs_nothing(text)
    tags = Tags(text)
    radios = [attrs for tag, attrs in tags.tags if attrs.get("type") == "radio"]
    assert [radio["aria-label"] for radio in radios] == ["face 1", "face 2"]
    assert len({radio["name"] for radio in radios}) == 1
    assert [attrs["value"] for tag, attrs in tags.tags if tag == "option"] == ["0", "1", "2"]
    assert "a &lt;hat&gt;</option>" in text
    (slider,) = (attrs for tag, attrs in tags.tags if attrs.get("type") == "range")
    assert (slider["max"], slider["value"], slider["aria-valuetext"]) == ("3", "3", "1")
    whole = next(attrs for tag, attrs in tags.tags if "bench" in attrs.get("class", ""))
    assert whole["data-texts"].split("|") == ["−0.5", "0", "0.5", "1"]
    sprite = frames_in(text)
    assert sprite.size == (64, 96)
    for row, column, grey in ((0, 0, 0), (5, 3, 255), (4, 1, 255 * 17 / 23)):  # face 2, «a <hat>», strength 0
        assert abs(sprite.getpixel((16 * column + 8, 16 * row + 8))[0] - grey) < 5


def test_bench_keeps_to_its_bytes():
    noise = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 32, 32, 3), dtype=np.uint8)

    def size(**about: int) -> int:
        text = Bench(noise, ["a", "b"], [0, 0.5, 1], **about)._repr_html_()
        return len(base64.b64decode(re.search(r"webp;base64,(.*?)\)", text)[1]))

    free = size()
    assert size(most=free - 1) < free
    with pytest.raises(ValueError, match="or allow more than 100"):
        size(most=100)


def test_bench_is_drawn_by_an_editor():
    def drawn(j: int, strength: float) -> SimpleNamespace:
        return SimpleNamespace(
            images=[Image.new("RGB", (8, 8), (100 * i, 10 * j, round(100 * strength))) for i in range(2)],
            with_strength=lambda x: drawn(j, x),
        )

    class Pair(list):
        images = (Image.new("RGB", (8, 8), (1, 1, 1)),) * 2

    editor = SimpleNamespace(
        domain=SimpleNamespace(neutral="cat"), edit_each=lambda _, prompts: [drawn(j, 1) for j in range(len(prompts))]
    )
    bench = Bench.of(editor, Pair([0, 1]), ["a", "b", "c"], [0, 0.5, 1], side=8)
    assert (bench.kind, bench.side) == ("cat", 8)
    assert [frame.getpixel((0, 0)) for frame in bench.frames[1][2]] == [(1, 1, 1), (100, 20, 50), (100, 20, 100)]


def test_benches_that_cannot_be_are_told():
    with pytest.raises(ValueError, match="a frame for each"):
        Bench(greys(2, 2, 3), ["a"], [0, 1, 2])
    with pytest.raises(ValueError, match="two strengths or more"):
        Bench(greys(1, 1, 1), ["a"], [0])
    with pytest.raises(ValueError, match="must have 0 and the first shown, 1, among them"):
        Bench(greys(1, 1, 2), ["a"], [0.5, 1])
    with pytest.raises(ValueError, match="too many"):
        Bench(greys(8, 8, 2, side=8), [*"abcdefgh"], [0, 1], side=512)
