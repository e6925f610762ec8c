"""What the book draws with: figures are closed again, the slider is parsed as a browser would."""

import base64
import io
import re
from html.parser import HTMLParser

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

matplotlib.use("agg")

import matplotlib.pyplot as plt

from deltaedit.show import COLORS, Sweep, Table, bars, embedding, grid, pixels, style


@pytest.fixture(autouse=True)
def figures():
    with plt.rc_context():
        style()
        yield
    plt.close("all")


def test_pixels_of_every_kind_of_picture_agree():
    array = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    tensor = torch.from_numpy(array).permute(2, 0, 1) / 127.5 - 1
    for picture in (array, tensor, Image.fromarray(array)):
        np.testing.assert_array_equal(pixels(picture), array)
    assert pixels(torch.full((3, 1, 1), 9.0)).max() == 255


@pytest.mark.parametrize("bad", [torch.zeros(1, 3, 4, 4), torch.zeros(4, 4), np.zeros((4, 4, 3)), "a.png"])
def test_what_is_no_picture_is_told(bad):
    with pytest.raises(ValueError, match="a picture must be"):
        pixels(bad)


def test_grid_places_pictures_and_words():
    figure = grid(torch.zeros(5, 3, 8, 8), columns=["a", "b", "c"], rows=["first", "second"])
    figure.canvas.draw()
    assert len(figure.axes) == 6
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 1, 1, 1, 0]
    assert [axis.get_title() for axis in figure.axes[:3]] == ["a", "b", "c"]
    assert [figure.axes[0].get_ylabel(), figure.axes[3].get_ylabel()] == ["first", "second"]
    assert grid([Image.new("RGB", (4, 4))] * 2, columns=2, titles=["x", "y"]).axes[1].get_title() == "y"


def test_grid_breaks_long_headings_and_leaves_the_pictures_their_size():
    plain, worded = (grid(torch.zeros(2, 3, 8, 8), columns=columns, rows=rows, size=1.0)
                     for columns, rows in ((2, ()), (["face with sunglasses", "old face"], ["a row"])))  # fmt: skip
    assert [axis.get_title() for axis in worded.axes] == ["face with\nsunglasses", "old face"]
    widths = []
    for figure in (plain, worded):
        figure.canvas.draw()
        widths.append(figure.axes[0].get_window_extent().width)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def test_bars_are_sorted_coloured_by_kind_and_marked():
    kinds = {"age": "z", "red_hair": "a", "hat": "b", "smile": "b"}
    axis = bars({"red_hair": 0.25, "hat": 0.9, "smile": 0.5}, kinds, {"hat": 0.7})
    assert [label.get_text() for label in axis.get_yticklabels()] == ["red hair", "smile", "hat"]
    assert sorted(bar.get_width() for bar in axis.patches) == [25, 50, 90]
    assert axis.get_legend_handles_labels()[1] == ["a", "b"]
    (marks,) = axis.lines
    assert (marks.get_xdata(), marks.get_ydata()) == ([70], [2])


def test_embedding_gives_each_kind_a_colour_and_a_legend():
    axis = embedding(np.arange(12.0).reshape(6, 2), ["image", "text"] * 3, title="PCA")
    assert axis.get_legend_handles_labels()[1] == ["image", "text"]
    assert [len(c.get_offsets()) for c in axis.collections] == [3, 3]
    assert len({tuple(c.get_facecolor()[0]) for c in axis.collections}) == 2
    assert len(set(COLORS)) == len(COLORS)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_sweep_is_plain_html_that_can_be_read_without_eyes_or_network():
    frames = torch.linspace(-1, 1, 4)[:, None, None, None].expand(4, 3, 6, 8)
    sweep = Sweep(frames, [-1, 0, 0.5, "as far as it goes"], caption="strength <of it>", alt='a "face"', start=1)
    text = sweep._repr_html_()
    parser = Tags()
    parser.feed(text)
    assert not parser.open
    tags = dict(reversed(parser.tags))  # the first of each
    assert {"figure", "input", "label", "output", "noscript"} <= set(tags)
    assert "script" not in tags
    slider = tags["input"]
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "3", "1")
    assert slider["aria-valuetext"] == "0"
    assert slider["data-texts"].split("|") == ["−1", "0", "0.5", "as far as it goes"]
    assert (tags["div"]["role"], tags["div"]["aria-label"]) == ("img", 'a "face"')
    assert "strength &lt;of it&gt;" in text
    assert not re.search(r"https?:|//[a-z]", text)
    (strip,) = re.findall(r"url\(data:image/png;base64,(.*?)\)", text)  # once, however often it is shown
    strip = Image.open(io.BytesIO(base64.b64decode(strip)))
    assert strip.size == (32, 6)
    assert [strip.getpixel((8 * k + 4, 3))[0] for k in range(4)] == [0, 85, 170, 255]


def test_table_escapes_aligns_and_rounds():
    text = Table(["", "a<b", "n"], [["x", -0.126, 3], ["y", "–", 1200]])._repr_html_()
    parser = Tags()
    parser.feed(text)
    assert not parser.open
    assert [attrs.get("scope") for tag, attrs in parser.tags if tag == "th"] == ["col", None, None, "row", "row"]
    assert re.findall(r"<td>(.*?)</td>", text) == ["−0.13", "3", "–", "1200"]
    assert "a&lt;b" in text


def test_sweeps_that_cannot_be_are_told():
    frames = torch.zeros(3, 3, 4, 4)
    with pytest.raises(ValueError, match="got 3 and 2"):
        Sweep(frames, [0, 1], "", "")
    with pytest.raises(ValueError, match="got 1 and 1"):
        Sweep(frames[:1], [0], "", "")
    with pytest.raises(ValueError, match="0 … 2, got 3"):
        Sweep(frames, [0, 1, 2], "", "", start=3)
