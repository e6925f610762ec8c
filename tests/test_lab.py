"""The live editor's chapter in a real JupyterLab, in a browser; what it looked like is left in `_build/screenshots`."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from lab import ROOT, browser, chromium, jupyterlab, open_editor, serious_faults
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from PIL import Image
from runner import chapters

SHOTS = ROOT / "_build/screenshots"
NOTEBOOK = str(chapters(ROOT)["the_live_editor"])

pytestmark = pytest.mark.skipif(chromium() is None, reason="there is no Chromium: apt install chromium")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def lab(place):
    little = {"domain": "portraits", "seed": 7, "n_timed": 1, "n_dragged": 5}
    notebook = parameterize_notebook(load_notebook_node(NOTEBOOK), little)
    with jupyterlab(place, notebook) as address, browser() as page:
        faults = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.editor = open_editor(page, address)
        faults += page.locator('.jp-OutputArea-output[data-mime-type$="error"]').all_text_contents()
        yield page
        assert faults == []


def pixels(lab, which: str = "img.deltaedit-after") -> np.ndarray:
    """A picture as the browser has it."""
    data = lab.editor.locator(which).first.evaluate(
        "async img => Array.from(new Uint8Array(await (await fetch(img.src)).arrayBuffer()))"
    )
    with Image.open(io.BytesIO(bytes(data))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def until(lab, happened, seconds: float = 60.0) -> None:
    """Wait until something has happened."""
    for _ in range(round(10 * seconds)):
        if happened():
            return
        lab.wait_for_timeout(100)
    pytest.fail("it never happened")


def shot(lab, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    lab.screenshot(path=SHOTS / f"{name}.png")


def choose(lab, name: str, path: Path) -> None:
    """Open a file by a button."""
    with lab.expect_file_chooser() as chooser:
        lab.editor.get_by_role("button", name=name).click()
    chooser.value.set_files(path)


def button(lab, name: str):
    return lab.editor.get_by_role("button", name=name, exact=True).first


def test_a_prompt_a_slider_and_undo_change_the_pixels(lab):
    plain = pixels(lab)
    assert plain.shape[0] == plain.shape[1]
    box = lab.editor.get_by_label("prompt")
    box.fill("old face")
    box.press("Enter")
    until(lab, lambda: (pixels(lab) != plain).any())
    one = pixels(lab)
    shot(lab, "editor-prompt")

    handle = lab.editor.get_by_role("slider", name="strength of “old face”")
    at = handle.bounding_box()
    x, y = at["x"] + at["width"] / 2, at["y"] + at["height"] / 2
    lab.mouse.move(x, y)
    lab.mouse.down()
    for k in range(20):
        lab.mouse.move(x - 4 * k, y)
    lab.mouse.up()
    until(lab, lambda: float(handle.get_attribute("aria-valuetext")) < 0.5)
    until(lab, lambda: (pixels(lab) != one).any())
    lab.wait_for_timeout(1500)  # the strip is drawn at rest
    shot(lab, "editor-slider")

    handle.press("ArrowRight")  # another step: by keyboard, and a while later
    until(lab, lambda: not button(lab, "Undo").is_disabled())
    for _ in range(3):
        button(lab, "Undo").click()
    until(lab, lambda: (pixels(lab) == plain).all())
    assert button(lab, "Undo").is_disabled()
    button(lab, "Redo").click()
    until(lab, lambda: (pixels(lab) == one).all())


def test_compare_by_wipe_and_by_holding(lab):
    picture = lab.editor.locator("img.deltaedit-after")
    wipe = lab.editor.get_by_role("slider", name="wipe")
    wipe.focus()
    for _ in range(30):
        wipe.press("ArrowRight")
    until(lab, lambda: "30%" in picture.evaluate("img => getComputedStyle(img).clipPath"))
    shot(lab, "editor-wipe")
    wipe.press("Home")
    until(lab, lambda: "30%" not in picture.evaluate("img => getComputedStyle(img).clipPath"))
    button(lab, "Hold to compare").hover()
    lab.mouse.down()
    assert picture.evaluate("img => getComputedStyle(img).visibility") == "hidden"
    lab.mouse.up()
    assert picture.evaluate("img => getComputedStyle(img).visibility") == "visible"


def test_pictures_from_outside(lab, place):
    before = pixels(lab, ".deltaedit-stack img")
    for content, said in ((b"words", "cannot be read as a picture"), (bytes(10**8), "100 MB, and 50 is the most")):
        (place / "wrong.png").write_bytes(content)
        choose(lab, "Open a picture", place / "wrong.png")
        lab.editor.get_by_role("alert").get_by_text(said).wait_for()
        message, beside = (part.bounding_box() for part in lab.editor.get_by_text(said).all())
        upload = lab.editor.get_by_role("button", name="Open a picture").bounding_box()  # it counts its files
        assert message["y"] < upload["y"] < beside["y"] < upload["y"] + 60
    assert (pixels(lab, ".deltaedit-stack img") == before).all()
    button(lab, "Another").click()  # it is usable
    until(lab, lambda: (pixels(lab, ".deltaedit-stack img") != before).any())
    button(lab, "Undo").click()
    until(lab, lambda: (pixels(lab, ".deltaedit-stack img") == before).all())
    assert lab.editor.get_by_text("100 MB").count() == 0
    Image.new("RGB", (90, 60), (200, 120, 90)).save(place / "given.png")
    choose(lab, "Open a picture", place / "given.png")
    until(lab, lambda: (pixels(lab, ".deltaedit-stack img") != before).any())
    lab.wait_for_timeout(1000)
    shot(lab, "editor-picture")
    button(lab, "Undo").click()
    until(lab, lambda: (pixels(lab, ".deltaedit-stack img") == before).all())


def test_a_recipe_is_saved_and_opened_again(lab, place):
    one = pixels(lab)
    button(lab, "Save").click()
    lab.editor.get_by_role("link", name=".json").wait_for()
    (recipe,) = (place / "edits").glob("*.json")
    with Image.open(next((place / "edits").glob("portraits-*.png"))) as saved:
        assert (np.asarray(saved).astype(int) == one).all()
    assert [edit["prompt"] for edit in json.loads(recipe.read_text(encoding="utf-8"))["edits"]] == ["old face"]
    button(lab, "Reset").click()
    until(lab, lambda: (pixels(lab) != one).any())
    choose(lab, "Open a recipe", recipe)
    until(lab, lambda: (pixels(lab) == one).all())
    (place / "bad.json").write_text(recipe.read_text(encoding="utf-8").replace('"old face"', "7"), encoding="utf-8")
    choose(lab, "Open a recipe", place / "bad.json")
    lab.editor.get_by_role("alert").get_by_text("of a recipe must be some words. Got 7.").wait_for()
    button(lab, "Code").click()
    lab.editor.get_by_text("Editor.from_pretrained").wait_for()
    shot(lab, "editor-recipe")


def test_table_tells_what_changed(lab):
    table = lab.editor.get_by_role("table")
    button(lab, "Reset").click()
    until(lab, lambda: table.locator("i").evaluate_all("bars => bars.every(bar => bar.clientWidth == 0)"))
    box = lab.editor.get_by_label("prompt")
    box.fill("face with sunglasses")
    box.press("Enter")
    until(lab, lambda: "sunglasses" in table.get_by_role("rowheader").first.text_content())
    before, after = (float(x) for x in table.get_by_role("row").nth(1).get_by_role("cell").all_text_contents()[:2])
    assert after > before + 0.3


def test_zero_is_marked_where_zero_is(lab):
    handle = lab.editor.get_by_role("slider", name="strength of")
    handle.press("Home")
    for _ in range(40):
        handle.press("ArrowRight")
    assert float(handle.get_attribute("aria-valuetext")) == 0
    apart = handle.evaluate("""handle => {
        const base = handle.closest('.noUi-base'), mark = getComputedStyle(base, '::before'),
        {left, width} = handle.getBoundingClientRect();
        return left + width / 2 - base.getBoundingClientRect().left - parseFloat(mark.left); }""")
    assert abs(apart) < 1


def test_everything_has_a_name_and_an_order(lab):
    names = lab.editor.evaluate("""root => Array.from(root.querySelectorAll('button, input, [tabindex="0"]'))
        .filter(x => x.offsetParent)
        .map(x => x.ariaLabel || x.textContent || x.labels?.[0]?.textContent || x.title)""")
    assert all(names)
    wanted = [
        "wipe",
        "Hold to compare",
        "prompt",
        "Add",
        "face with sunglasses",
        "strength of",
        "Delete",
        "threshold",
        "seed",
        "Another",
        "truncation",
        "Open a picture",
        "Open a recipe",
        "Undo",
        "Reset",
        "Save",
    ]
    found = [next(k for k, name in enumerate(names) if want in name) for want in wanted]
    assert found == sorted(found)
    assert lab.editor.evaluate("root => Array.from(root.querySelectorAll('img')).every(img => img.hasAttribute('alt'))")
    assert serious_faults(lab, ".deltaedit") == []


def test_dark_and_narrow(lab):
    lab.evaluate("void jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})")
    lab.wait_for_selector('body[data-jp-theme-light="false"]', state="attached")
    lab.wait_for_timeout(1000)
    shot(lab, "editor-dark")
    assert serious_faults(lab, ".deltaedit") == []
    lab.set_viewport_size({"width": 640, "height": 1000})
    lab.wait_for_timeout(1000)
    assert lab.editor.evaluate("root => root.scrollWidth <= root.clientWidth + 1")
    shot(lab, "editor-narrow")
