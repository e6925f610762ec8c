"""The live editor without a front end: what a touch does is what a front end's message would."""

import json
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fakes import tiny_generator
from PIL import Image
from test_editor import HAT, OLD, tiny_editor, tiny_faces

from deltaedit import session, widgets
from deltaedit.e4e import Encoder, EncoderConfig
from deltaedit.session import Change
from deltaedit.widgets import EditorWidget, changes_table


@pytest.fixture
def widget(tmp_path, monkeypatch):
    monkeypatch.setattr(widgets, "REST", 0.01)
    widget = EditorWidget(tiny_editor(), prompts=(HAT, OLD), folder=tmp_path)
    yield widget
    widget.close()


def ask(widget: EditorWidget, prompt: str) -> None:
    widget.prompt.value = prompt
    assert widget.settle()


def press(widget: EditorWidget, name: str) -> None:
    widget.buttons[name].click()
    assert widget.settle()


def choose(upload, content: bytes, name: str = "file") -> None:
    upload.value = (
        {
            "name": name,
            "type": "",
            "size": len(content),
            "content": memoryview(content),
            "last_modified": datetime.now(UTC),
        },
    )


def png(*size: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def rows(widget: EditorWidget) -> list[tuple[str, bool, float]]:
    return [(row.on.description, row.on.value, row.strength.value) for row in widget.rows.children]


def test_prompts_are_stacked_moved_switched_and_deleted(widget):
    plain = widget.after.value
    assert plain == widget.before.value
    ask(widget, HAT)
    ask(widget, OLD)
    assert rows(widget) == [(HAT, True, 1.0), (OLD, True, 1.0)]
    assert widget.prompt.value == widget.message.value == ""
    pictures = {plain, widget.after.value}
    widget.rows.children[0].strength.value = -1.5
    assert widget.settle()
    pictures.add(widget.after.value)
    widget.rows.children[1].on.value = False
    assert widget.settle()
    pictures.add(widget.after.value)
    widget.threshold.value = 0.05
    assert widget.settle()
    assert len(pictures) == 4
    widget.rows.children[0].delete.click()
    assert widget.settle()
    assert rows(widget) == [(OLD, False, 1.0)]
    assert widget.after.value == plain
    widget.seed.value = 12
    press(widget, "Another")
    assert widget.session.state.seed == widget.seed.value == 13
    assert widget.before.value != plain


def test_undo_redo_strip_and_reset(widget):
    plain = widget.after.value
    ask(widget, HAT)
    ask(widget, OLD)
    press(widget, "Undo")
    assert rows(widget) == [(HAT, True, 1.0)]
    press(widget, "Undo")
    assert (rows(widget), widget.after.value) == ([], plain)
    assert widget.buttons["Undo"].disabled
    press(widget, "Redo")
    assert rows(widget) == [(HAT, True, 1.0)]
    shown = [step for step in widget.strip.children if step.layout.display is None]
    assert [(step.at, "deltaedit-here" in step._dom_classes) for step in shown] == [(0, False), (1, True), (2, False)]
    shown[2].button.click()
    assert widget.settle()
    assert len(rows(widget)) == 2
    press(widget, "Reset")
    assert rows(widget) == []
    press(widget, "Undo")
    assert len(rows(widget)) == 2


def test_what_is_refused_is_said_and_the_editor_stays_usable(widget):
    for prompt, message in (("face", "no difference"), (HAT, ""), (HAT, "there already")):
        ask(widget, prompt)
        assert message in widget.message.value
    assert widget.prompt.value == HAT  # to be mended
    ask(widget, "<script>alert(1)</script>")
    ask(widget, "<script>alert(1)</script> ")
    assert "<script>" not in widget.message.value + widget.table.value
    widget.threshold.max = 100
    widget.threshold.value = 99
    assert widget.settle()
    assert "No channel reaches the threshold" in widget.message.value
    press(widget, "Undo")
    assert widget.message.value == ""


def test_while_a_slider_moves_only_the_newest_value_is_drawn(widget, monkeypatch):
    ask(widget, HAT)
    drawn, draw = [], widget.session.editor.draw
    monkeypatch.setattr(widget.session.editor, "draw", lambda *x: drawn.append(1) or draw(*x))
    for k in range(300):
        widget.rows.children[0].strength.value = k / 150
    assert widget.settle()
    assert len(drawn) < 200
    final = widgets.live(widget.session.edit().tensor)[0]
    assert (widget.session.state.layers[0].strength, widget.after.value) == (299 / 150, final)
    assert len(widget.session.timeline) == 3


def test_a_preview_moves_and_the_picture_comes_when_the_hand_rests(monkeypatch):
    monkeypatch.setattr(widgets, "REST", 0.01)
    monkeypatch.setattr(session, "LIVE", 8)
    widget, sizes = EditorWidget(tiny_faces()), []

    def seen(change: dict) -> None:
        with Image.open(BytesIO(change["new"])) as image:
            sizes.append(image.width)

    widget.after.observe(seen, "value")
    ask(widget, HAT)
    whole = widget.session.editor.generator.resolution
    assert sizes == [8, whole]
    with Image.open(BytesIO(widget.before.value)) as image:
        assert image.width == whole
    assert widget.session.edit().image.width == whole
    widget.close()


def test_pictures_from_outside(widget):
    plain = widget.before.value
    for content, message in (
        (b"abc", "cannot be read as a picture"),
        (png(4, 4), "8 pixels"),
        (b"", "cannot be read"),
        (bytes(51_000_000), "51 MB, and 50 is the most"),
    ):
        choose(widget.upload, content)
        assert widget.settle()
        assert message in widget.message.value
        assert message in widget.refused.value  # beside the button
        assert (widget.before.value, widget.upload.value) == (plain, ())
    with pytest.raises(ValueError, match="large has 51 MB"):
        widgets._content({"large": {"metadata": {}, "content": bytes(51_000_000)}})  # as ipywidgets 7 has it
    ask(widget, HAT)
    assert rows(widget) == [(HAT, True, 1.0)]
    assert widget.refused.value == widget.message.value == ""
    press(widget, "Undo")
    widget._steps = 2
    choose(widget.upload, png(40, 30))
    assert widget.settle()
    assert widget.before.value != plain
    assert widget.session.state.given is not None
    assert widget.message.value == ""
    press(widget, "Undo")
    assert widget.before.value == plain
    shares = []
    widget.progress.observe(lambda change: shares.append(change["new"]), "value")
    editor = widget.session.editor
    editor.encoder, widget._steps = Encoder(EncoderConfig(8, tiny_generator().num_ws, 16, 8)), None
    choose(widget.upload, png(40, 30))
    assert widget.settle()
    assert widget.session.state.given is not None
    assert shares == [0]  # no step of optimisation


def test_without_an_encoder_it_is_said_that_it_takes_steps(widget, monkeypatch):
    monkeypatch.setattr(widgets, "STEPS", 3)
    shares = []
    widget.progress.observe(lambda change: shares.append(change["new"]), "value")
    monkeypatch.setattr(widget, "_say", lambda text, wrong=False: shares.append(text))
    choose(widget.upload, png(40, 30))
    assert widget.settle()
    assert "This domain has no encoder: the picture is found in 3 steps of optimisation." in shares
    assert shares[-2:-1] == [pytest.approx(2 / 3)]
    assert widget.progress.layout.display == "none"


def test_a_recipe_is_saved_and_opened_again(widget, tmp_path):
    ask(widget, HAT)
    widget.rows.children[0].strength.value = 1.7
    assert widget.settle()
    picture = widget.after.value
    press(widget, "Save")
    (recipe,) = tmp_path.glob("*.json")
    assert str(tmp_path) in widget.told.value
    assert "download=" in widget.told.value
    press(widget, "Reset")
    assert widget.told.value == ""
    choose(widget.open, recipe.read_bytes())
    assert widget.settle()
    assert (rows(widget), widget.after.value) == ([(HAT, True, 1.7)], picture)
    far = widget.session.edit().with_strength(5).to_json()
    choose(widget.open, far.encode())
    assert widget.settle()
    assert (widget.rows.children[0].strength.value, widget.rows.children[0].strength.min) == (5.0, -5.0)
    press(widget, "Undo")
    assert widget.rows.children[0].strength.max == 2.0
    for content in (b"", b"\xff\xfe", b"{}", b"[" * 10_000, recipe.read_bytes().replace(b"1.7", b'"much"')):
        choose(widget.open, content)
        assert widget.settle()
        assert 'role="alert"' in widget.message.value
        assert rows(widget) == [(HAT, True, 1.7)]


def offers(widget: EditorWidget) -> list[str]:
    return [name for name in ("Load anyway", "Leave it") if widget.buttons[name].layout.display is None]


def test_a_recipe_of_other_weights_is_on_offer_until_it_is_loaded_or_left(widget, monkeypatch):
    other = tiny_editor()
    other.generator = tiny_generator(1)
    choose(widget.open, other.edit(other.sample(seed=3), OLD).to_json().encode())
    assert widget.settle()
    assert offers(widget) == ["Load anyway", "Leave it"]
    with monkeypatch.context() as patch:
        patch.setattr(widget.session.editor, "replay", lambda *_: 1 / 0)
        press(widget, "Load anyway")
    assert "Division by zero" in widget.message.value
    ask(widget, HAT)  # one may as well go on
    press(widget, "Undo")
    choose(widget.open, b"nonsense")
    assert widget.settle()
    assert "another generator draws other pictures" in widget.offer.value
    press(widget, "Load anyway")
    assert (rows(widget), widget.seed.value) == ([(OLD, True, 1.0)], 3)
    assert (offers(widget), widget.offer.value) == ([], "")


def test_a_recipe_of_another_domain_is_on_offer_too(widget):
    other = tiny_editor(name="other", gain=2.0)
    recipe = other.edit(other.sample(seed=3), OLD).to_json().encode()
    ask(widget, HAT)
    choose(widget.open, recipe)
    assert widget.settle()
    assert "it is of the domain &#x27;other&#x27;" in widget.offer.value
    assert "gain was 2.0 and is 1.0." in widget.offer.value
    assert (offers(widget), rows(widget)) == (["Load anyway", "Leave it"], [(HAT, True, 1.0)])
    press(widget, "Leave it")
    assert (offers(widget), widget.offer.value, rows(widget)) == ([], "", [(HAT, True, 1.0)])
    choose(widget.open, recipe)
    assert widget.settle()
    widget.buttons["Load anyway"].click()
    press(widget, "Load anyway")  # a second press finds it done
    assert (rows(widget), offers(widget), len(widget.session.timeline)) == ([(OLD, True, 1.0)], [], 3)
    picture = widget.after.value
    press(widget, "Undo")
    assert rows(widget) == [(HAT, True, 1.0)]
    press(widget, "Redo")
    assert (rows(widget), widget.after.value) == ([(OLD, True, 1.0)], picture)


def test_while_a_recipe_is_loaded_the_editor_stays_usable(widget, monkeypatch):
    started, go_on, replay = threading.Event(), threading.Event(), widget.session.editor.replay
    monkeypatch.setattr(widget.session.editor, "replay", lambda *x: (started.set(), go_on.wait(10), replay(*x))[-1])
    choose(widget.open, widget.session.editor.edit(widget.session.editor.sample(seed=3), OLD).to_json().encode())
    assert started.wait(10)
    assert (widget.progress.layout.display, widget.progress.description) == (None, "loading it")
    widget.prompt.value = HAT
    assert widget._drawing.settle()
    assert rows(widget) == [(HAT, True, 1.0)]
    go_on.set()
    assert widget.settle()
    assert rows(widget) == [(OLD, True, 1.0)]
    assert widget.progress.layout.display == "none"


def test_code_is_shown_and_follows(widget):
    press(widget, "Code")
    assert "picture = latent.image" in widget.told.value
    ask(widget, HAT)
    assert "editor.edit(latent, &quot;face with a hat&quot;, 1" in widget.told.value
    press(widget, "Code")
    assert widget.told.value == ""


def test_table_follows_and_says_what_the_judge_sees():
    widget = EditorWidget(tiny_editor(), lambda image: {"red": image[0, 0].mean().item(), "still": 0.5})
    first = widget.session.edit().tensor.clamp(-1, 1)[0, 0].mean().item()
    ask(widget, HAT)
    tables = {widget.table.value}
    for strength in (-2.0, 2.0):
        widget.rows.children[0].strength.value = strength
        assert widget.settle()
        tables.add(widget.table.value)
        red = widget.session.edit().tensor.clamp(-1, 1)[0, 0].mean().item()
        assert f"<td>{first:.2f}</td><td>{red:.2f}</td>".replace("-", "−") in widget.table.value
    assert len(tables) == 3
    widget.close()


def test_ten_prompts_at_once_and_in_any_script(widget):
    plain, wanted = widget.after.value, ["лицо с бородой", "戴眼镜的脸", "وجه", "🙂", *(f"face {k}" for k in range(6))]
    for prompt in wanted:
        widget.prompt.value = prompt
    assert widget.settle()
    assert [name for name, _, _ in rows(widget)] == wanted
    assert widget.after.value != plain
    assert (widget.message.value, widget.table.value.count('scope="row"')) == ("", widgets.SHOWN)


def test_truncation_is_another_picture_and_is_kept(widget):
    plain = widget.before.value
    widget.truncation.value = 0.25
    assert widget.settle()
    assert widget.before.value != plain
    recipe = widget.session.recipe()
    assert json.loads(recipe)["latent"]["truncation"] == 0.25
    press(widget, "Undo")
    assert (widget.before.value, widget.truncation.value) == (plain, 1.0)
    choose(widget.open, recipe.encode())
    assert widget.settle()
    assert (widget.before.value != plain, widget.truncation.value) == (True, 0.25)


def test_table_of_changes_can_be_read_aloud():
    table = changes_table([Change("<b>", 0.1, 0.9), Change("smile", 0.5, 0.25)], judged=True)
    assert "&lt;b&gt;" in table
    assert table.count('scope="row"') == 2
    assert "0.90" in table
    assert changes_table([], judged=True) == ""


def test_what_fails_while_drawing_is_said(widget, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of memory")

    ask(widget, HAT)
    with monkeypatch.context() as patch:
        patch.setattr(widget.session.editor, "draw", fail)
        widget.rows.children[0].strength.value = 0.2
        assert widget.settle()
        assert "Out of memory" in widget.message.value
    widget.rows.children[0].strength.value = 0.3
    assert widget.settle()
    assert widget.message.value == ""


def test_what_was_saved_is_whole_when_the_kernel_is_killed(tmp_path):
    code = """
        import sys
        sys.path.insert(0, "tests")
        from test_editor import tiny_editor
        from deltaedit.widgets import EditorWidget
        widget = EditorWidget(tiny_editor(), folder=sys.argv[1])
        for k in range(10**9):
            widget.seed.value = k
            widget.buttons["Save"].click()
    """
    kernel = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), tmp_path], cwd=Path(__file__).parents[1])
    while len(list(tmp_path.glob("*.json"))) < 5 and kernel.poll() is None:
        time.sleep(0.01)
    assert kernel.poll() is None
    kernel.kill()
    kernel.wait()
    for recipe in tmp_path.glob("*.json"):
        with Image.open(recipe.with_suffix(".png")) as saved:
            again = tiny_editor().replay(recipe.read_text(encoding="utf-8")).image
            assert np.abs(np.subtract(saved, again, dtype=float)).max() <= 1
    for picture in tmp_path.glob("*.png"):
        with Image.open(picture) as saved:
            saved.load()


def test_an_interpreter_ends_while_a_picture_is_made():
    code = """
        import time, sys
        sys.path.insert(0, "tests")
        from test_editor import tiny_editor
        from test_widgets import choose, png
        from deltaedit.widgets import EditorWidget
        widget = EditorWidget(tiny_editor(), steps=10**9)
        choose(widget.upload, png(40, 30))
        while not widget.progress.value: time.sleep(0.01)
        widget.prompt.value = "face with a hat"
    """
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[1],
    )
    assert (run.returncode, run.stderr) == (0, "")
