"""What the book draws with: figures are closed again; what is written to a file is read back."""

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image
from test_sliders import Tags

matplotlib.use("agg")

import matplotlib.pyplot as plt

from deltaedit import show
from deltaedit.metrics import Interval
from deltaedit.show import (
    COLORS,
    INK,
    LIGHT_INK,
    Table,
    bars,
    dark,
    edit_grid,
    embedding,
    grid,
    pixels,
    said,
    save,
    style,
)


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


def test_a_prompt_is_no_formula():
    prompt = r"hat for $5 or $\none$"
    figure = grid(torch.zeros(1, 3, 8, 8), columns=[prompt], rows=[prompt], titles=[prompt], size=3)
    figure.draw_without_rendering()
    assert figure.axes[0].get_title() == prompt


def test_grid_breaks_long_headings_and_leaves_the_pictures_their_size():
    plain, worded = (
        grid(torch.zeros(2, 3, 8, 8), columns=columns, rows=rows, size=1.0)
        for columns, rows in ((2, ()), (["face with sunglasses", "old face"], ["a row"]))
    )
    assert [axis.get_title() for axis in worded.axes] == ["face with\nsunglasses", "old face"]
    widths = []
    for figure in (plain, worded):
        figure.canvas.draw()
        widths.append(figure.axes[0].get_window_extent().width)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def fake_editor() -> SimpleNamespace:
    """Edits that are grey by strength; what was asked is in ``asked``."""
    asked = []

    def edit(latent, target, strength=1.0):
        asked.append((target, strength))
        grey = round(100 + 50 * strength)
        images = [Image.new("RGB", (8, 8), (grey,) * 3) for _ in latent.images]
        return SimpleNamespace(images=images, with_strength=lambda x: edit(latent, target, x))

    return SimpleNamespace(edit=edit, edit_each=lambda x, targets, y: [edit(x, t, y) for t in targets], asked=asked)


def test_edits_are_a_grid_of_prompts_or_of_strengths():
    editor, latent = fake_editor(), SimpleNamespace(images=[Image.new("RGB", (8, 8), c) for c in ("red", "blue")])
    figure = edit_grid(editor, latent, ["a hat", "old"], strength=2)
    assert [axis.get_title() for axis in figure.axes[:3]] == ["as drawn", "a hat", "old"]
    assert [axis.images[0].get_array()[0, 0].tolist() for axis in figure.axes[::3]] == [[255, 0, 0], [0, 0, 255]]
    assert editor.asked == [("a hat", 2), ("old", 2)]
    figure = edit_grid(editor, latent, "a hat", strength=[-1, 0.5])
    assert [axis.get_title() for axis in figure.axes] == ["−1", "0.5", "", ""]
    assert [axis.images[0].get_array()[0, 0, 0] for axis in figure.axes] == [50, 125] * 2
    with pytest.raises(ValueError, match="several of one only"):
        edit_grid(editor, latent, ["a hat", "old"], strength=[0, 1])


@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_figures_for_papers_have_vector_words_and_the_very_pixels(kind: str, tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    figure = grid([noise, noise[::-1].copy()], columns=["first", "second"])
    for name in ("first", "a", "b"):  # the first draws the layout
        save(figure, tmp_path / f"{name}.{kind}")
    written = (tmp_path / f"a.{kind}").read_bytes()
    assert written == (tmp_path / f"b.{kind}").read_bytes(), "the same figure must be the same file"
    assert {image.get_interpolation() for axis in figure.axes for image in axis.images} == {"auto"}
    if kind == "pdf":
        assert len(re.findall(rb"/Width 5\b", written)) == len(re.findall(rb"/Height 6\b", written)) == 2
        assert b"/FontFile2" in written
    else:
        pictures = re.findall(rb"data:image/png;base64,\s*([^\"]+)", written)
        first, second = (np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")) for png in pictures)
        np.testing.assert_array_equal(first, noise)
        np.testing.assert_array_equal(second, noise[::-1])


def test_what_is_no_file_for_a_paper_is_told(tmp_path: Path):
    with pytest.raises(ValueError, match=r"\.pdf or \.svg; .* Got '.*a\.png'"):
        save(plt.figure(), tmp_path / "a.png")


def test_dark_pages_get_light_ink_and_the_same_pictures_and_colours():
    figure, (left, right) = plt.subplots(1, 2, figsize=(4, 2))
    left.plot([0, 1], color=COLORS[0], linewidth=8)
    left.set_title("title")
    left.axhline(0.2, color=INK)
    right.imshow(np.full((4, 4, 3), 38, np.uint8))  # as dark as the ink
    before = [artist.get_color() for artist in figure.findobj(lambda a: hasattr(a, "get_color"))]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(dark(figure)))))
    assert picture[0, 0, 3] == 0, "no ground"
    colors, counts = np.unique(picture[picture[..., 3] == 255][:, :3], axis=0, return_counts=True)
    by_color = {"#{:02x}{:02x}{:02x}".format(*color): count for color, count in zip(colors, counts, strict=True)}
    assert by_color[LIGHT_INK] > 100
    assert by_color[COLORS[0]] > 100
    assert by_color[INK] > 5000, "the picture stays as it is"
    drawn = figure.axes[0].get_window_extent()
    assert INK not in by_color or by_color[INK] < 1.2 * drawn.width * drawn.height
    after = [artist.get_color() for artist in figure.findobj(lambda a: hasattr(a, "get_color"))]
    assert after == before, "the figure is what it was"


def test_notebooks_keep_a_dark_rendering_beside_the_usual_one(monkeypatch: pytest.MonkeyPatch):
    from IPython.core.interactiveshell import InteractiveShell

    from deltaedit import show

    shell = InteractiveShell.instance()
    monkeypatch.setattr(show, "get_ipython", lambda: shell)
    try:
        style()
        _, metadata = shell.display_formatter.format(plt.figure())
        assert base64.b64decode(metadata[show.DARK]).startswith(b"\x89PNG")
        json.dumps(metadata)
    finally:
        InteractiveShell.clear_instance()


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


def test_table_escapes_aligns_and_rounds():
    text = Table(["", "a<b", "n"], [["x", -0.126, 3], ["y", "–", 1200]])._repr_html_()
    assert [attrs.get("scope") for tag, attrs in Tags(text).tags if tag == "th"] == ["col", None, None, "row", "row"]
    assert re.findall(r"<td>(.*?)</td>", text) == ["−0.13", "3", "–", "1200"]
    assert "a&lt;b" in text


def test_whiskers_reach_to_the_ends_of_intervals():
    below, above = show.whiskers([Interval(2.0, 1.5, 3.0), Interval(0.0, 0.0, 0.1)], scale=10)
    assert below == pytest.approx([5, 0])
    assert above == pytest.approx([10, 1])


def test_intervals_are_said_with_their_ends_where_they_have_some():
    nan = float("nan")
    assert said(Interval(-0.0712, -0.1, 1234.5)) == "−0.071 (−0.100 … 1,234.500)"
    assert said(Interval(0.0712, 0.0712, 0.0712), unit="spreads", sign=True) == "+0.071 spreads"
    assert said(Interval(0.0712, nan, nan), 1, 100, "%") == "7.1 % (open)"
    assert said(Interval(nan, nan, nan)) == said(None) == "–"
