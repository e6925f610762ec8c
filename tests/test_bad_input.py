"""Bad input of some seventy kinds, over what is public and the commands: one sentence says what was wrong.

Functions raise ``ValueError``; commands write the sentence and end with the exit status 2. Nothing else reaches a user.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import build
import experiments
import nbformat
import numpy as np
import pytest
import torch
import yaml
from fakes import DIM, FakeClip, tiny_generator
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from deltaedit import Domain, Editor, checkpoints, convert, download, train
from deltaedit.features import FeatureStore, extract_features
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.sliders import Bench, Sweep
from deltaedit.training import MapperTraining
from deltaedit.worlds import named
from deltaedit.worlds import train as worlds_train

CELL = """domain: str = "portraits"
prompts: "list[str, 20] or None" = None
photo: "str or None" = None
n: int = 80
strengths: list[float] = [0.5, 1.0]
download: bool = True
overrides: dict = {}
seed: int = 0
device: str = "cpu\""""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An editor of tiny networks, with a latent and a recipe, and a folder of files that are none of what is wanted."""
    generator = tiny_generator()
    mapper = DeltaMapper(MapperConfig(generator.layout.dims, DIM))
    editor = Editor(generator, FakeClip(), mapper, torch.eye(generator.layout.size, DIM))
    latent, folder = editor.sample(seed=1), tmp_path_factory.mktemp("bad")
    for name in ("page.pt", "page.npy", "page.safetensors", "page.png", "domain.json"):
        (folder / name).write_text("<html>Please log in.</html>")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    recipe = json.loads(editor.edit(latent, "old face").to_json())
    return SimpleNamespace(editor=editor, latent=latent, folder=folder, recipe=recipe)


def changed(recipe: dict, **parts: object) -> dict:
    """A recipe with other entries in its only edit."""
    return {**recipe, "edits": [{**recipe["edits"][0], **parts}]}


CALLS: dict[str, tuple[Callable[[SimpleNamespace], object], str]] = {
    "a domain that nobody knows": (lambda x: Editor.from_pretrained("unicorns"), "there is no domain 'unicorns'"),
    "a folder with a damaged card": (lambda x: Editor.from_pretrained(x.folder), "domain.json is damaged"),
    "a folder without a card": (lambda x: Editor.from_pretrained(x.folder.parent), "is no domain"),
    "a device that is not there": (lambda x: Editor.from_pretrained("portraits", "gpu"), "no device 'gpu'"),
    "a card without words": (lambda x: Domain(neutral=" "), "neutral of a domain must be some words"),
    "a card whose threshold is no number": (lambda x: Domain(threshold="low"), "must be a finite number"),
    "a world that nobody painted": (lambda x: named("unicorns"), "there is no world 'unicorns'"),
    "a seed in words": (lambda x: x.editor.sample(seed="seven"), "seed must be a whole number"),
    "a seed beyond all": (lambda x: x.editor.sample(seed=2**70), "seed must be a whole number"),
    "no pictures": (lambda x: x.editor.sample(seed=1, n=0), "n must be at least 1"),
    "half a picture": (lambda x: x.editor.sample(seed=1, n=2.5), "n must be at least 1"),
    "a truncation in words": (lambda x: x.editor.sample(seed=1, truncation="low"), "truncation finite"),
    "a row beyond the last": (lambda x: x.editor.sample(seed=1, n=2, rows=[2]), "rows must be whole numbers below"),
    "an empty prompt": (lambda x: x.editor.edit(x.latent, "  "), "a prompt must be some words"),
    "a prompt that is a number": (lambda x: x.editor.edit(x.latent, 3), "a prompt must be some words"),
    "no prompts": (lambda x: x.editor.edit(x.latent, []), "give one prompt or more"),
    "the neutral prompt": (lambda x: x.editor.edit(x.latent, "face"), "say the same"),
    "a strength in words": (lambda x: x.editor.edit(x.latent, "old face", "much"), "strength must be a finite number"),
    "an endless strength": (lambda x: x.editor.edit(x.latent, "old face", float("inf")), "must be a finite number"),
    "more strengths than prompts": (lambda x: x.editor.edit(x.latent, "old face", [1, 2]), "one strength for all"),
    "a threshold below 0": (lambda x: x.editor.edit(x.latent, "old face", threshold=-1), "threshold must be 0 or more"),
    "a threshold in words": (lambda x: x.editor.edit(x.latent, "old face", threshold="low"), "must be 0 or more"),
    "a latent that is a tensor": (lambda x: x.editor.edit(torch.zeros(1, 8), "old face"), "must come from"),
    "a picture that is not there": (lambda x: x.editor.invert("me.jpg", 1), "there is no picture me.jpg"),
    "a web page called .png": (lambda x: x.editor.invert(x.folder / "page.png", 1), "cannot be read as a picture"),
    "a picture of one pixel": (lambda x: x.editor.invert(x.folder / "dot.png", 1), "pixels wide and high"),
    "an array of floats": (lambda x: x.editor.invert(np.zeros((32, 32, 3)), 1), "must be (H, W, 3) of bytes"),
    "steps below 0": (lambda x: x.editor.invert(Image.new("RGB", (32, 32)), -1), "steps must be a whole number"),
    "half a step": (lambda x: x.editor.invert(Image.new("RGB", (32, 32)), 0.5), "steps must be a whole number"),
    "a recipe that broke off": (lambda x: x.editor.replay(json.dumps(x.recipe)[:40]), "the recipe is no JSON"),
    "a recipe that is a list": (lambda x: x.editor.replay("[]"), "must be an object"),
    "a recipe without edits": (lambda x: x.editor.replay({}), "the recipe has no"),
    "a recipe whose strength is a word": (
        lambda x: x.editor.replay(changed(x.recipe, strength="much")),
        "strength of a recipe must be a finite number",
    ),
    "a recipe of other models": (
        lambda x: x.editor.replay({**x.recipe, "models": {**x.recipe["models"], "generator": "000000000000"}}),
        "generator",
    ),
    "a generator that is not there": (lambda x: checkpoints.load_generator("g.pkl"), "there is no file"),
    "a web page for a generator": (lambda x: checkpoints.load_generator(x.folder / "page.pt"), "page.pt"),
    "a web page for a mapper": (lambda x: checkpoints.load_mapper(x.folder / "page.pt"), "page.pt"),
    "a web page for a matrix": (lambda x: checkpoints.load_relevance(x.folder / "page.npy"), "page.npy"),
    "a web page for an encoder": (lambda x: checkpoints.load_encoder(x.folder / "page.safetensors"), "page.saf"),
    "a folder without features": (lambda x: FeatureStore.open(x.folder), "holds no features"),
    "features of no pictures": (
        lambda x: extract_features(x.editor.generator, x.editor.clip, 0, x.folder / "features"),
        "n and batch_size must be at least 1",
    ),
    "a training of no steps": (lambda x: MapperTraining(steps=0), "steps must be positive"),
    "a loss that nobody knows": (lambda x: MapperTraining(loss="l1"), "a term of the loss must be"),
    "a slider with one stop": (lambda x: Sweep([x.latent.image], [1.0], "strength", alt="A face."), "two frames or"),
    "a bench without pictures": (lambda x: Bench([], ["old face"], [0, 1]), "a bench needs a frame"),
}

BOOK = {
    "a parameter that no notebook has": ("-p sed 3", "No notebook has the parameter sed"),
    "a count in words": ("-p n many", "n must be a whole number"),
    "half a count": ("-p n 2.5", "n must be a whole number"),
    "a count of nothing": ("-p n 0", "n must be a whole number, 1 or more"),
    "a seed below 0": ("-p seed -1", "seed must be a whole number, 0 or more"),
    "prompts that are numbers": ("-p prompts [3]", "prompts must be a list of 1 to 20 texts"),
    "a list that broke off": ("-p prompts ['old", "prompts must be a list of 1 to 20 texts"),
    "too many prompts": (f"-p prompts {json.dumps([*'abcdefghijklmnopqrstu'], separators=',:')}", "a list of 1 to 20"),
    "a neutral prompt in the book": ("-p prompts FACE", "'face' is what portraits shows already"),
    "no strengths": ("-p strengths []", "strengths must be a list of 1 or more numbers"),
    "neither true nor false": ("-p download maybe", "download must be true or false"),
    "values without names": ("-p overrides 3", "overrides must be values by name"),
    "a domain that is not there": ("-p domain ./unicorns", "there is no /"),
    "a photo that is not there": ("-p photo me.jpg", "photo must be the path of a picture"),
    "another machine's device": ("-p device gpu", "there is no device 'gpu'"),
    "one chapter's count in words": ("-p small.n many", "n must be a whole number"),
    "no notebooks at a time": ("--jobs 0", "a count must be a whole number, 1 or more"),
    "a name without a value": ("-p n", "expected 2 arguments"),
}

COMMANDS: dict[str, tuple[Callable[[list[str]], object], str, str]] = {
    "convert: no folder": (convert.main, "", "the following arguments are required: folder"),
    "convert: no generator": (convert.main, "{folder}/new", "has no generator yet"),
    "convert: one that is not there": (convert.main, "{folder}/new --generator g.pkl", "there is no file"),
    "convert: a web page": (convert.main, "{folder}/new --generator {folder}/page.pt", "page.pt"),
    "convert: a damaged card": (convert.main, "{folder} --name mine", "domain.json is damaged"),
    "download: what nobody publishes": (download.main, "unicorns", "nobody publishes a domain 'unicorns'"),
    "train: no CLIP": (train.main, "portraits", "the following arguments are required: --clip"),
    "train: an unknown domain": (train.main, "unicorns --clip x:y --out {folder}/t", "there is no domain 'unicorns'"),
    "train: a CLIP without a tag": (train.main, "portraits --clip vit --out {folder}/t", "a name and a tag"),
    "train: another machine's device": (train.main, "pets --clip x:y --device gpu", "there is no device 'gpu'"),
    "worlds: an unknown part": (worlds_train.main, "unicorn", "invalid choice: 'unicorn'"),
    "worlds: another machine's device": (worlds_train.main, "judge --device gpu", "there is no device 'gpu'"),
    "experiments: an unknown question": (experiments.main, "--only taste", "there is no experiment 'taste'"),
    "experiments: an unknown domain": (experiments.main, "--domain unicorns", "there is no /"),
    "experiments: no notebooks at a time": (experiments.main, "--jobs 0", "must be a whole number, 1 or more"),
    "experiments: a seed below 0": (experiments.main, "--seeds -1", "must be a whole number, 0 or more"),
}


def sentence(text: str) -> None:
    """One, which says something, in no more than a few lines of a terminal."""
    assert text.strip()
    assert "\n" not in text
    assert len(text) < 600
    assert "Traceback" not in text


@pytest.mark.parametrize("kind", CALLS)
def test_a_call_is_refused_in_a_sentence(kind: str, given: SimpleNamespace):
    call, words = CALLS[kind]
    with pytest.raises(ValueError) as error:
        call(given)
    sentence(str(error.value))
    assert words in str(error.value)


def refused(command: Callable[[list[str]], object], argv: list[str], words: str, said: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        command(argv)
    told = said.readouterr().err
    of_files = command is convert.main and "error: " not in told
    assert stop.value.code == (1 if of_files else 2)
    reason = told.partition("error: ")[2] or told  # where argparse refuses, it says how the command is used, too
    sentence(reason.strip())
    assert words in reason


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_command_is_refused_in_a_sentence(kind: str, given: SimpleNamespace, capsys: pytest.CaptureFixture):
    command, line, words = COMMANDS[kind]
    refused(command, line.format(folder=given.folder).split(), words, capsys)


@pytest.fixture(scope="module")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("book")
    (root / "notebooks").mkdir()
    (root / "book").mkdir()
    (root / "book/_toc.yml").write_text(yaml.safe_dump({"root": "notebooks/small"}))
    cell = new_code_cell(CELL, metadata={"tags": ["parameters"]})
    metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), root / "notebooks/01_small.ipynb")
    return root


@pytest.mark.parametrize("kind", BOOK)
def test_the_book_is_refused_in_a_sentence(
    kind: str, small_book: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(build, "ROOT", small_book)
    monkeypatch.setattr(build.runner, "execute", lambda *_, **__: pytest.fail("a notebook was run"))
    line, words = BOOK[kind]
    refused(build.main, line.split(), words, capsys)


def test_there_are_fifty_kinds_and_more():
    assert len(CALLS) + len(COMMANDS) + len(BOOK) > 50
