"""How edits of faces are tuned and measured: on a tiny generator, by a judge that reads plain numbers off pictures."""

import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fakes import DIM, FakeClip
from test_face_trainers import generator, pool  # noqa: F401

from deltaedit.domain import Domain
from deltaedit.editor import Editor
from deltaedit.effects import Witness
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.worlds.faces import edits, train
from deltaedit.worlds.faces.edits import Trial, best, judged, matrix_row, score, tune, tuned
from deltaedit.worlds.faces.judge import NAMES, FaceGoal, FaceJudge, Reading


class Reader(FaceJudge):
    """Reads «skin» and «background» off the mean colour, and says that every other face is a man's."""

    goals = (
        FaceGoal("pale face", "skin", above=0.1),
        FaceGoal("dark face", "skin", below=-0.1, also=("background",)),
        FaceGoal("man on white", "background", above=0.1, neutral="man"),
    )

    def __init__(self) -> None:
        super().__init__({}, reading=Reading({}, {}, {}, dict.fromkeys(NAMES, 0.5)))
        self.pictures = 0

    def look(self, image):
        self.pictures += len(image)
        mean, read = image.mean((2, 3)), torch.zeros(len(image), len(NAMES))
        read[:, NAMES.index("skin")], read[:, NAMES.index("background")] = mean[:, 0], mean[:, 1]
        read[:, NAMES.index("man")] = (mean[:, 2] > 0).float()
        return read, F.avg_pool2d(image, 8).flatten(1)


@pytest.fixture
def editor(generator) -> Editor:  # noqa: F811
    torch.manual_seed(2)
    mapper = DeltaMapper(MapperConfig(generator.layout.dims, DIM, groups=generator.layout.cuts))
    relevance = F.normalize(torch.randn(generator.layout.size, DIM))
    return Editor(generator, FakeClip(), mapper, relevance, Domain(gain=0.5, threshold=0.1))


@pytest.fixture
def trial(editor, pool, tmp_path, monkeypatch) -> Trial:  # noqa: F811
    monkeypatch.setattr(edits, "LENGTHS", (0.5, 2.0))
    monkeypatch.setattr(edits, "THRESHOLDS", (0.0, 0.3))
    return Trial.on(editor, Reader(), pool, tmp_path)


def test_faces_are_as_they_were_drawn(trial, pool, editor):  # noqa: F811
    again = editor.at(16).draw(trial.latent.s[:2], trial.latent.w[:2])
    torch.testing.assert_close(trial.witness.judge.read(again), trial.witness.before[:2], atol=0.02, rtol=0)
    feature = editor.clip.encode_image(again.clamp(-1, 1))
    assert F.cosine_similarity(feature, trial.latent.image_feature[:2]).min() > 0.99
    seen = trial.witness.judge.pictures
    assert torch.equal(judged(trial.witness.judge, pool)[0], trial.witness.before)
    assert trial.witness.judge.pictures == seen  # what was judged is only read


def test_what_was_seen_of_an_edit_is_kept(trial):
    goal, rows = trial.witness.judge.goals[0], torch.arange(len(trial.latent)) < 3
    one, two = trial.look(goal, rows, (1.0, 2.0))
    seen = trial.witness.judge.pictures
    edit = trial.editor.edit(trial.latent[rows], goal.prompt, strength=2.0)
    read, descriptor = trial.witness.judge.look(edit.tensor.clamp(-1, 1))
    torch.testing.assert_close(two, (read, descriptor))
    assert not torch.equal(one[0], two[0])
    again = trial.look(goal, rows, (1.0, 2.0))
    assert torch.equal(again[1][0], two[0])
    assert trial.witness.judge.pictures == seen + 3
    tuned(trial, length=1.0).look(goal, rows, (1.0, 2.0))  # another editor is looked at anew
    assert trial.witness.judge.pictures == seen + 9


def test_a_length_is_tuned_as_it_will_be_used(trial):
    goals = trial.witness.judge.goals
    grid = tune(trial.some(slice(200)), goals, each=5)
    assert [(row["length"], row["threshold"]) for row in grid] == [(0.5, 0.0), (2.0, 0.0), (0.5, 0.3), (2.0, 0.3)]
    assert all(row["prompts"] == 3 and row["attributes"] == 2 for row in grid)
    some = trial.some(slice(200))
    rows = some.witness.shared_out(goals)[0]
    rows &= rows.cumsum(0) <= 5
    used = tuned(some, length=2.0, threshold=0.3)
    torch.testing.assert_close(
        used.look(goals[0], rows, (1.0,))[0], tuned(some, length=1.0).look(goals[0], rows, (0.5, 2.0), 0.3)[1]
    )


def test_the_best_setting_reaches_most_and_keeps_the_person():
    grid = [
        {"length": 1.0, "success_mean": 0.5, "same_person_mean": 0.99},
        {"length": 2.0, "success_mean": 0.7, "same_person_mean": 0.95},
        {"length": 3.0, "success_mean": 0.9, "same_person_mean": 0.5},
    ]
    assert best(grid)["length"] == 2.0
    assert best(grid[2:])["length"] == 3.0
    assert best([{**row, "same_person_mean": row["same_person_mean"] / 2} for row in grid])["length"] == 1.0


def test_prompts_are_scored_on_those_that_lack_them(trial):
    judge, witness = trial.witness.judge, trial.witness
    found = score(trial, judge.goals, faces=7)
    assert list(found["edits"]) == [goal.prompt for goal in judge.goals]
    own = found["edits"]["man on white"]
    assert own["n"] == 7
    assert own["neutral"] == "man"
    assert set(found["changed"]["pale face"]) == set(NAMES)
    assert "skin" not in found["flipped"]["pale face"]
    lacks = witness.counts(judge.goals[2])
    assert (witness.before[lacks, NAMES.index("man")] == 1).all()
    same = [found["edits"][goal.prompt]["same_person"] for goal in judge.goals]
    assert found["same_person_mean"] == pytest.approx(sum(same) / 3, abs=1e-3)


def test_what_changed_has_a_sign_and_a_spread():
    judge, before = Reader(), torch.zeros(4, len(NAMES))
    before[:, NAMES.index("hat")] = 1  # hides hair
    witness, after = Witness(judge, (before, torch.zeros(4, 3))), before.clone()
    after[:, NAMES.index("skin")] = -1.0
    after[:2, NAMES.index("glasses")] = 1
    changed, flipped = matrix_row(witness, after, torch.ones(4, dtype=torch.bool))
    assert changed["skin"] == -2.0
    assert changed["glasses"] == 1.0
    assert flipped["glasses"] == 0.5
    assert flipped["hat"] == 0
    assert "hair_color" not in changed
    assert "hair_color" not in flipped


def test_the_setting_is_written_with_a_card(editor, pool, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr(train, "FaceJudge", type("Judge", (), {"load": staticmethod(lambda device: Reader())}))
    monkeypatch.setattr(Editor, "from_pretrained", lambda *_: editor)
    monkeypatch.setattr(train, "draw_pool", lambda *_: pool)
    monkeypatch.setattr(train, "SHARD", 512)  # half of them to tune on
    monkeypatch.setattr(edits, "FACES", 8)
    out = tmp_path / "out"
    out.mkdir()
    train.make_edits(editor.generator, tmp_path, out)
    card = json.loads((out / "edits.card.json").read_text())
    domain = Domain.read(out)
    assert domain == replace(editor.domain, length=card["recipe"]["length"], threshold=card["recipe"]["threshold"])
    assert len(card["measured"]["tuning"]) == len(edits.LENGTHS) * len(edits.THRESHOLDS)
    assert len(card["measured"]["edits"]) == 3
    assert card["data"].startswith("512 faces that no trainer saw")
    assert card["models"]["judge"]
