"""What the method gives, in numbers: they move where a formula does, and what was measured before counts no more.

    python tests/test_golden_numbers.py     writes them for the revision that there is

They are of float32 throughout, so that they hold on processors with and without instructions for half precision.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import FakeClip, tiny_generator

from deltaedit import Editor, estimate_relevance, extract_features, train_mapper
from deltaedit.effects import MEASURES, measure
from deltaedit.record import REVISION
from deltaedit.worlds.judge import Judge
from deltaedit.worlds.train import MAPPER

PATH = Path(__file__).parent / "golden/numbers.json"
SIZES = replace(MAPPER.mapper, hidden=16)
SHORT = replace(MAPPER, steps=40, batch_size=32, warmup=5, evaluate_every=20, held_out=50, mapper=SIZES)
WORLDS = ("portraits", "pets")
CLOSE = 2e-3  # relative; other processors differ by some 1e-5, a formula by more
MOVED = (
    "the numbers of the method moved: where they are meant to, raise REVISION in deltaedit/record.py, unless only "
    "weights are new, and run `python tests/test_golden_numbers.py`; else look for what moved them."
)


def training(folder: Path) -> dict[str, float]:
    """A mapper and a relevance of a generator that nobody trained, by the recipe of the worlds."""
    store = extract_features(tiny_generator(), FakeClip(text=False), 300, folder)
    mapper, relevance = train_mapper(store, SHORT, folder / "mapper"), estimate_relevance(store)
    s, feature = store.s.float(), store.image_feature.float()
    with torch.no_grad():
        delta_s = mapper(s[:-1], feature[:-1], mapper.delta(feature[:-1], feature[1:]))
    last = mapper.history[-1]
    return {
        **{name: last[name] for name in ("loss", "mse", "cosine", "validation_loss", "validation_cosine")},
        "feature": float(feature[0, 0]),
        "delta_s": size(delta_s),
        "relevance": float((relevance @ feature.T).abs().mean()),
    }


def world(name: str) -> dict[str, float]:
    """An edit of what ships, mild and far, and what the judge says of edits."""
    editor = Editor.from_pretrained(name)
    judge = Judge.of(editor)
    goals = judge.world.goals[:4]
    people = editor.sample(seed=7, n=40)
    edit = editor.edit(people[:4], goals[0].prompt)
    far = edit.with_strength(4.0)
    curve = measure(editor.edit, judge, people, goals, [0.25, 1.0])
    values = curve.values[..., 1:, :].nanmean(-1).nanmean(1)  # over pictures, then over goals; of strength 0 nothing
    return {
        "channels": float(editor.mask(goals[0].prompt).sum()),
        "delta_s": size(edit.delta_s),
        "change of s, far": size(far.s - far.latent.s),
        "picture": size(edit.tensor),
        "change of the picture": size(edit.tensor - edit.latent.tensor),
        **{
            f"{what} at {x:g}": float(values[k, n])
            for k, what in enumerate(MEASURES)
            for n, x in enumerate(curve.strengths[1:])
        },
    }


def size(x: torch.Tensor) -> float:
    """Root mean square."""
    return float(x.square().mean().sqrt())


@pytest.fixture(scope="module")
def golden() -> dict[str, dict[str, float]]:
    numbers = json.loads(PATH.read_text(encoding="utf-8"))
    assert str(REVISION) in numbers, MOVED
    return numbers[str(REVISION)]


def same(now: dict[str, float], then: dict[str, float]) -> None:
    assert now == pytest.approx(then, rel=CLOSE, abs=1e-5), MOVED


def test_training_gives_the_numbers_of_its_revision(golden, tmp_path):
    same(training(tmp_path), golden["training"])


@pytest.mark.parametrize("name", WORLDS)
def test_a_world_gives_the_numbers_of_its_revision(golden, name):
    same(world(name), golden[name])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found = {"training": training(Path(folder)), **{name: world(name) for name in WORLDS}}
    text = json.dumps({str(REVISION): found}, indent=1)
    PATH.write_text(f"{text}\n", encoding="utf-8")
