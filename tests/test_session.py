import io
import json
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_editor import HAT, OLD, tiny_editor

from deltaedit import Editor
from deltaedit.session import STEPS, Newest, Session, live


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def session() -> Session:
    return Session(tiny_editor(), clock=Clock())


def prompts(session: Session) -> list[str]:
    return [layer.prompt for layer in session.state.layers]


def test_the_stack_is_what_the_editor_makes_of_it(session):
    editor = session.editor
    session.add(HAT)
    session.add(f"  {OLD} ")
    session.strengthen(1, -0.5)
    wanted = editor.edit(editor.sample(seed=0), [HAT, OLD], [1.0, -0.5])
    torch.testing.assert_close(session.edit().tensor, wanted.tensor, rtol=1e-4, atol=1e-5)
    session.switch(0, False)
    assert session.edit().prompts == (OLD,)
    session.limit(0.3)
    torch.testing.assert_close(session.edit().s, editor.edit(editor.sample(seed=0), OLD, -0.5, threshold=0.3).s)
    session.remove(0)
    session.sample()
    assert torch.equal(session.edit().latent.s, editor.sample(seed=1).s)
    session.sample(truncation=0.5)
    assert torch.equal(session.edit().latent.s, editor.sample(seed=1, truncation=0.5).s)
    session.reset()
    latent = session.latent(session.state)
    assert torch.equal(session.edit().tensor, editor.draw(latent.s, latent.w))


def test_every_step_can_be_undone(session):
    steps = [
        lambda: session.add(HAT),
        lambda: session.strengthen(0, 0.3),
        lambda: session.switch(0, False),
        lambda: session.limit(0.1),
        lambda: session.sample(seed=5),
        lambda: session.sample(truncation=0.2),
        lambda: session.give(session.editor.sample(seed=9)),
        lambda: session.remove(0),
        session.reset,
    ]
    states = [session.state]
    for step in steps:
        session._clock.now += 5
        step()
        states.append(session.state)
    assert len(set(map(id, states))) == len(states) == len(session.timeline)
    for state in reversed(states[:-1]):
        session.undo()
        assert session.state is state
    session.undo()
    assert session.state is states[0]
    for state in states[1:]:
        session.redo()
        assert session.state is state
    session.redo()
    session.go(2)
    session.add(OLD)
    assert session.timeline[:3] == states[:3]
    assert len(session.timeline) == 4


def test_a_drag_is_one_step(session):
    session.add(HAT)
    for k in range(50):
        session._clock.now += 0.02
        session.strengthen(0, k / 50)
    assert len(session.timeline) == 3
    session._clock.now += 5
    session.strengthen(0, 2.0)
    session.undo()
    assert session.state.layers[0].strength == 49 / 50
    session.strengthen(0, 1.5)
    session.undo()
    assert session.state.layers[0].strength == 49 / 50


def test_every_portrait_is_a_step(session):
    session.sample()
    session.sample()
    session.sample(seed=9)
    for k in range(9):
        session.sample(truncation=k / 10)
    session.give(session.editor.sample(seed=3))
    session.sample(truncation=0.3)
    assert [(state.seed, state.truncation, state.given is None) for state in session.timeline] == [
        (0, 1.0, True),
        (1, 1.0, True),
        (2, 1.0, True),
        (9, 1.0, True),
        (9, 0.8, True),
        (9, 0.8, False),
        (9, 0.3, True),
    ]


def test_only_what_changed_is_computed(session, monkeypatch):
    session.add(HAT)
    session.add(OLD)
    session.edit().tensor  # noqa: B018
    runs = []
    mapper = session.editor.mapper
    monkeypatch.setattr(mapper, "forward", lambda *x, run=mapper.forward: runs.append("mapper") or run(*x))
    session.editor.clip.calls.clear()
    session.strengthen(0, 0.4)
    session.limit(0.1)
    session.switch(1, False)
    session.edit().tensor  # noqa: B018
    assert (runs, session.editor.clip.calls) == ([], [])
    session.sample()
    session.edit()
    assert runs == ["mapper"]


def test_memory_is_bounded(session):
    for k in range(2 * STEPS):
        session.sample(seed=k, truncation=0.5)
        session._clock.now += 5
    assert len(session.timeline) == STEPS
    assert session.at == STEPS - 1


def test_what_cannot_be_is_refused_and_changes_nothing(session):
    session.add(HAT)
    before = session.state
    for step, message in (
        (lambda: session.add(""), "some words"),
        (lambda: session.add("face"), "no difference"),
        (lambda: session.add(HAT), "there already"),
        (lambda: session.strengthen(0, float("nan")), "strength must be a finite"),
        (lambda: session.strengthen(0, None), "strength must be a finite"),
        (lambda: session.limit(-1), "threshold must be 0"),
        (lambda: session.sample(seed=-1), "seed must be"),
        (lambda: session.sample(seed=1.5), "seed must be"),
        (lambda: session.sample(truncation=float("inf")), "truncation must be"),
        (lambda: session.give(session.editor.sample(seed=0, n=2)), "room for one"),
        (lambda: session.load("nonsense"), "no JSON"),
        (lambda: session.load(session.editor.edit(session.editor.sample(0, n=2), OLD).to_json()), "of 2 pictures"),
    ):
        with pytest.raises(ValueError, match=message):
            step()
        assert session.state is before


def test_ten_prompts_in_any_script(session):
    for prompt in ("лицо с бородой", "戴眼镜的脸", "وجه", "🙂", "x" * 500, *map(str, range(5))):
        session.add(prompt)
    assert len(session.edit().directions) == 10
    assert session.edit().tensor.isfinite().all()


def test_without_relevance_nothing_is_limited():
    whole = tiny_editor()
    session = Session(Editor(whole.generator, whole.clip, whole.mapper))
    session.add(HAT)
    with pytest.raises(ValueError, match="0 without relevance"):
        session.limit(0.1)
    assert torch.equal(session.edit().s, session.editor.edit(session.latent(session.state), HAT).s)


def test_recipe_and_code_make_the_same_picture(session, monkeypatch, tmp_path):
    session.sample(seed=4, truncation=0.7)
    session.add(HAT)
    session.add('"old"\n face')
    session.strengthen(1, -0.25)
    session.limit(0.1)
    other = Session(tiny_editor())
    other.load(session.recipe())
    assert (other.state.seed, other.state.truncation, other.state.threshold) == (4, 0.7, 0.1)
    assert other.state.layers == session.state.layers
    torch.testing.assert_close(other.edit().tensor, session.edit().tensor, rtol=1e-4, atol=1e-5)
    recipe = json.loads(session.recipe())
    recipe["edits"][0]["threshold"] = 0.0
    recipe["edits"][0]["neutral"] = "bare face"
    other.load(recipe)
    rows = session.editor.sample(seed=3, n=3)[2]
    some = session.editor.edit(rows, [HAT, OLD])
    given = session.editor.edit(session.editor.invert(torch.rand(1, 3, 16, 16), steps=1), [HAT, OLD], [1.0, 0.5])
    monkeypatch.setattr(Editor, "from_pretrained", lambda name: {"home": session.editor}[name])
    for home in ("home", None):
        other.editor.home = home
        for edit in (session.edit(), some, replace(some, directions=(), strengths=()), given, recipe):
            other.load(edit if edit is recipe else edit.to_json())
            names: dict = {} if home else {"editor": session.editor}
            exec(other.code(folder=tmp_path), names)
            assert np.abs(np.subtract(names["picture"], other.edit().image, dtype=float)).max() <= 1
    assert len(list(tmp_path.iterdir())) == 1  # of the picture from outside, and once


def test_a_recipe_of_another_editor_is_loaded_where_it_is_asked_to(session):
    there = tiny_editor(name="there", neutral="pet", gain=2.0)
    session.add(HAT)
    first, recipe = session.state, there.edit(there.sample(seed=3), OLD).to_json()
    with pytest.raises(ValueError, match="of the domain 'there'"):
        session.load(recipe)
    assert session.state is first
    session.load(recipe, anyway=True)
    assert (session.state.seed, prompts(session), session.state.layers[0].neutral) == (3, [OLD], "pet")
    assert torch.equal(session.edit().tensor, session.editor.replay(recipe, anyway=True).tensor)
    session.add(HAT)
    assert session.state.layers[1].neutral == "face"
    session.undo()
    session.undo()
    assert session.state is first


def test_files_are_never_written_over(session, tmp_path):
    session.add("../old / face\0")
    for _ in range(3):
        picture, recipe = session.save(tmp_path / "edits")
        assert (picture.parent, picture.exists()) == (tmp_path / "edits", True)
        assert Session(tiny_editor()).load(recipe.read_text(encoding="utf-8")) is None
    with Image.open(picture) as image:
        assert image.size == (16, 16)
    assert len(list((tmp_path / "edits").glob("[!.]*"))) == 6


def test_changes_are_read_by_the_judge_or_by_clip(session):
    session.add(HAT)
    assert [change.name for change in session.changes(session.state)] == [HAT]
    judged = Session(session.editor, lambda image: {"red": image[0, 0].mean().item(), "blue": 0.5})
    judged.add(HAT)
    first = judged.changes(judged.state)[0]
    assert first.name == "red"
    assert first.after == pytest.approx(judged.edit().tensor.clamp(-1, 1)[0, 0].mean().item())
    judged.limit(99.0)
    assert judged.idle(judged.state) == [HAT]
    asked = Session(session.editor, prompts=(HAT, OLD))
    assert {change.name for change in asked.changes(asked.state)} == {HAT, OLD}
    assert Session(session.editor).changes(asked.state) == []


def test_live_pictures_are_quick_to_make_and_small():
    picture, kind = live(torch.rand(1, 3, 64, 64))
    assert (Image.open(io.BytesIO(picture)).size, kind) == ((64, 64), "png")
    picture, kind = live(torch.rand(1, 3, 512, 512))
    assert (Image.open(io.BytesIO(picture)).size, kind) == ((512, 512), "jpeg")
    assert Image.open(io.BytesIO(live(torch.rand(1, 3, 512, 512), 50)[0])).size == (50, 50)


def test_only_the_newest_job_is_run():
    done, faults, started, go_on = [], [], threading.Event(), threading.Event()
    newest = Newest(faults.append)

    def first(overtaken):
        started.set()
        go_on.wait(10)
        done.append(("first", overtaken()))

    newest.put(first)
    started.wait(10)
    for k in range(100):
        newest.put(lambda overtaken, k=k: done.append((k, overtaken())))
    assert not newest.settle(0.01)
    go_on.set()
    assert newest.settle(10)
    assert done == [("first", True), (99, False)]
    newest.put(lambda overtaken: 1 / 0)
    newest.put(lambda overtaken: done.append("next"))
    assert newest.settle(10)
    assert done[-1] == "next"
    assert all(isinstance(fault, ZeroDivisionError) for fault in faults)
    start = time.monotonic()
    newest.put(lambda overtaken: done.append(overtaken(10)))
    time.sleep(0.05)
    newest.put(lambda overtaken: None)
    assert newest.settle(10)
    assert done[-1] is True
    assert time.monotonic() - start < 5
    newest.close()
