"""The tests tested: bugs that would spoil the evidence and still draw pictures, each of which must turn a test red."""

from dataclasses import replace

import pytest
import test_editor
import test_mapper
import test_relevance
import test_worlds
from test_editor import tiny_editor

from deltaedit import editor as editing
from deltaedit import relevance as estimating
from deltaedit.style_space import StyleLayout
from deltaedit.worlds import captions, evaluate, named

WORLD = named("portraits")


def goes_red(test, *arguments) -> bool:
    try:
        test(*arguments)
    except (AssertionError, RuntimeError):  # of a check, or of shapes that do not fit
        return True
    return False


def shuffled(features):
    return features.roll(1, 0)


def test_all_is_green_without_a_bug(tmp_path):
    assert not goes_red(test_worlds.test_captions_of_a_store_are_of_its_pictures, WORLD)
    assert not goes_red(test_worlds.test_retrieval_finds_each_captions_own_picture, WORLD)
    assert not goes_red(test_editor.test_edit_is_the_equation, tiny_editor())
    assert not goes_red(test_relevance.test_relevance_equals_one_channel_at_a_time)
    assert not goes_red(test_mapper.test_mapper_gives_the_published_outputs, tmp_path)


def test_text_features_shuffled(monkeypatch):
    right = captions.caption_features
    monkeypatch.setattr(captions, "caption_features", lambda *args, **options: shuffled(right(*args, **options)))
    assert goes_red(test_worlds.test_captions_of_a_store_are_of_its_pictures, WORLD)


def test_text_features_shuffled_when_editing(monkeypatch):
    right = editing.Editor.text_feature
    other = {"face": test_editor.HAT, test_editor.HAT: "face"}
    monkeypatch.setattr(editing.Editor, "text_feature", lambda self, prompt: right(self, other.get(prompt, prompt)))
    assert goes_red(test_editor.test_edit_is_the_equation, tiny_editor())


def test_captions_shuffled_against_their_pictures(monkeypatch):
    right = evaluate.image_features
    monkeypatch.setattr(evaluate, "image_features", lambda *args: shuffled(right(*args)))
    assert goes_red(test_worlds.test_retrieval_finds_each_captions_own_picture, WORLD)


def test_relevance_transposed(monkeypatch):
    editor, right = tiny_editor(), estimating.estimate_relevance
    square = min(editor.relevance.shape)  # where shapes would not tell

    def mask(relevance, delta, threshold):
        turned = relevance.clone()
        turned[:square, :square] = relevance[:square, :square].T
        return estimating.relevance_mask(turned, delta, threshold)

    with monkeypatch.context() as patch:
        patch.setattr(editing, "relevance_mask", mask)
        assert goes_red(test_editor.test_edit_is_the_equation, editor)

    def estimate(*args, **options):
        turned = right(*args, **options)
        turned[:square, :square] = turned[:square, :square].T.clone()
        return turned

    monkeypatch.setattr(test_relevance, "estimate_relevance", estimate)
    assert goes_red(test_relevance.test_relevance_equals_one_channel_at_a_time)


@pytest.mark.parametrize(("one", "other"), [("coarse", "medium"), ("medium", "fine")])
def test_groups_swapped(monkeypatch, tmp_path, one, other):
    right = StyleLayout.groups.fget

    def swapped(layout):
        names = {one: other, other: one}
        return tuple(replace(group, name=names.get(group.name, group.name)) for group in right(layout))

    monkeypatch.setattr(StyleLayout, "groups", property(swapped))
    with pytest.raises((AssertionError, ValueError)):  # weights of another width, or other outputs
        test_mapper.test_mapper_gives_the_published_outputs(tmp_path)
