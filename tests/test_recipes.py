import json
from dataclasses import replace

import pytest
import torch
from fakes import tiny_generator
from test_editor import HAT, OLD, tiny_editor

from deltaedit.baselines import RandomDirection
from deltaedit.editor import Editor
from deltaedit.recipes import Recipe, decode, encode


@pytest.fixture
def editor() -> Editor:
    return tiny_editor()


def good(editor: Editor) -> dict:
    return json.loads(editor.edit(editor.sample(seed=7), [HAT, OLD], [1.0, -0.5], threshold=0.2).to_json())


def test_an_edit_is_replayed_to_the_bit(editor):
    some = editor.sample(seed=7, n=4, truncation=0.7)[1:][[1, 0]]
    assert some.source == {"seed": 7, "n": 4, "truncation": 0.7, "rows": [2, 1]}
    given = editor.invert(torch.zeros(1, 3, 16, 16), steps=2, progress=lambda share: None)
    for latent in (editor.sample(seed=7), some[1], given, editor.latent(given.w[:, 0])):
        one = editor.edit(latent, [HAT, OLD], strength=[1.0, -0.5], threshold=0.2)
        edit = one + editor.edit(latent, HAT, 0.3, neutral="bare face")
        again = tiny_editor().replay(edit.to_json())
        assert again.strengths == edit.strengths
        assert [(d.prompt, d.neutral, d.threshold) for d in again.directions] == [
            (HAT, "face", 0.2),
            (OLD, "face", 0.2),
            (HAT, "bare face", 0.03),
        ]
        torch.testing.assert_close(again.tensor, edit.tensor, rtol=1e-5, atol=1e-5)
        assert json.loads(again.to_json())["latent"].keys() == json.loads(edit.to_json())["latent"].keys()
    assert len(editor.replay(editor.edit(some, HAT).to_json()).tensor) == 2
    plain = replace(edit, directions=(), strengths=())
    assert torch.equal(editor.replay(json.loads(plain.to_json())).tensor, plain.tensor)


def test_a_recipe_knows_the_features_of_a_photo():
    editor = tiny_editor(photo_feature=True)
    edit = editor.edit(editor.invert(torch.rand(1, 3, 16, 16), steps=1), HAT)
    torch.testing.assert_close(editor.replay(edit.to_json()).delta_s, edit.delta_s)
    wrong = json.loads(edit.to_json())
    wrong["latent"]["image_feature"] = encode(torch.ones(1, 3))
    with pytest.raises(ValueError, match=r"image_feature must have shape \(1, 10\). Got \(1, 3\)"):
        editor.replay(wrong)


def test_a_recipe_of_another_editor_says_what_will_differ(editor):
    recipe = good(editor)
    other = tiny_editor(name="pets", gain=2.0)
    other.generator = tiny_generator(1)
    with pytest.raises(ValueError) as caught:
        other.replay(recipe)
    message = str(caught.value)
    for part in ("'custom', and this is 'pets'", "another generator draws", "gain was 1.0 and is 2.0", "anyway=True"):
        assert part in message
    assert "CLIP" not in message
    assert other.replay(recipe, anyway=True).prompts == (HAT, OLD)
    assert Recipe.read(recipe).differences(editor.identity) == []


def test_an_editor_without_relevance_replays_its_own():
    whole = tiny_editor()
    editor = Editor(whole.generator, whole.clip, whole.mapper)
    edit = editor.edit(editor.sample(seed=1), HAT)
    assert torch.equal(editor.replay(edit.to_json()).tensor, edit.tensor)
    with pytest.raises(ValueError, match="another relevance"):
        whole.replay(edit.to_json())


def test_edits_of_other_methods_have_no_recipe(editor):
    with pytest.raises(ValueError, match="not those of random direction"):
        RandomDirection(editor).edit(editor.sample(seed=1), HAT).to_json()


NONSENSE = [None, True, "much", [], {}, -1, 1e400, float("nan"), 10**400, "", " " * 9, "x" * 5000, [[[]]], {"a": 1}]
FIELDS = [
    ("domain",),
    ("models",),
    ("models", "generator"),
    ("models", "relevance"),
    ("settings",),
    ("edits",),
    ("edits", 0),
    ("edits", 0, "prompt"),
    ("edits", 0, "neutral"),
    ("edits", 1, "strength"),
    ("edits", 1, "threshold"),
    ("latent",),
    ("latent", "seed"),
    ("latent", "n"),
    ("latent", "truncation"),
    ("latent", "rows"),
    ("latent", "w"),
    ("latent", "w", "shape"),
    ("latent", "w", "float32"),
]


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_nonsense_is_refused_in_a_sentence_or_means_something(editor, field):
    """Whatever stands in a field, by hand or by malice: a recipe is read to the end or refused with a ValueError."""
    for value in NONSENSE:
        recipe = good(editor)
        if "w" in field:
            recipe["latent"] = {"w": encode(editor.sample(seed=1).w)}
        place = recipe
        for key in field[:-1]:
            place = place[key]
        place[field[-1]] = value
        said = ""
        try:
            editor.replay(recipe, anyway=True)
        except ValueError as error:
            said = str(error)
        assert len(said) < 300
        assert not said or any(part in said for part in (field[0], "prompt", "difference"))
    recipe = good(editor)
    if len(field) == 1 and field[0] != "w":
        del recipe[field[0]]
        with pytest.raises(ValueError, match=f"the recipe has no {field[0]}"):
            editor.replay(recipe)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", "[" * 100_000, '{"edits": []}', "\0", "exit()"])
def test_what_is_no_recipe_is_refused(editor, text):
    with pytest.raises(ValueError, match="recipe"):
        editor.replay(text)


@pytest.mark.parametrize(
    "latent",
    [
        {"seed": 2**64, "n": 1, "truncation": 1},
        {"seed": 1, "n": 10**9, "truncation": 1},
        {"seed": 1, "n": 2, "truncation": 1, "rows": [2]},
        {"w": encode(torch.zeros(1, 2, 3, 4))},
        {"w": encode(torch.zeros(1, 99))},
        {"w": encode(torch.full((1, 8), float("nan")))},
    ],
)
def test_latents_that_cannot_be_are_refused(editor, latent):
    with pytest.raises(ValueError):
        editor.replay(good(editor) | {"latent": latent})


def test_tensors_come_back_to_the_bit():
    tensor = torch.randn(2, 3, 4)
    assert torch.equal(decode(json.loads(json.dumps(encode(tensor))), "w"), tensor)
