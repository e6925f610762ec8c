"""Pictures of which something is known: rendered by a world, or labelled by eye, with one face to the chapters."""

import pytest
import torch
from fakes import DIM, FakeClip
from test_editor import tiny_editor

from deltaedit.domain import Domain
from deltaedit.editor import Editor
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview
from deltaedit.worlds import known
from deltaedit.worlds.faces import labels
from deltaedit.worlds.faces.judge import FaceJudge
from deltaedit.worlds.judge import Judge

SIDE = 16


class SmallClip(FakeClip):
    """Which looks at few pixels, as the CLIP of faces does."""

    image_size, device = SIDE, torch.device("cpu")


@pytest.fixture(scope="module")
def faces() -> Editor:
    """A domain like «faces», in all but size: previews, no world, pictures aligned, its own layout."""
    torch.manual_seed(0)
    generator = MobileStyleGAN(MobileConfig(channels=(16, 16, 8), z_dim=8, w_dim=8, mapping_layers=2)).eval()
    generator = fit_preview(generator, (SIDE,), faces=4).requires_grad_(False)
    mapper = DeltaMapper(MapperConfig(generator.layout.dims, DIM, hidden=8, groups=generator.layout.cuts))
    return Editor(generator, SmallClip(), mapper, None, Domain("like faces", align=True))


def held_to_protocol(seen: known.Known, n: int) -> None:
    """What the chapters ask of either kind."""
    clip = SmallClip()
    assert seen.image.ndim == 4
    assert len(seen.image) == len(seen.captions(0)) == n
    assert seen.image.abs().max() <= 1
    assert seen.shown([1, 0]).shape[:2] == (2, 3)
    assert seen.captions(1) == seen.captions(1) != seen.captions(2)
    assert all(text.strip() for text in seen.captions(0, at_most=1))
    right, kinds, guess = seen.zero_shot(clip)
    assert set(right) == set(kinds) == set(guess)
    assert all(0 <= x <= 1 for x in (*right.values(), *guess.values()))
    switches = seen.switches(clip, 4)
    assert {name for name, _ in seen.removable()} <= {switch.name for switch in switches}
    for switch in switches:
        assert switch.prompt != switch.neutral
        assert float(switch.step.norm()) == pytest.approx(1, abs=1e-4)
    for said in (seen.origin, seen.counting, seen.switching):
        assert said.endswith(".")


def test_faces_are_those_that_were_labelled_for_the_judge(faces, monkeypatch):
    monkeypatch.setattr(labels, "GENERATOR", faces.generator.fingerprint())
    seen = known.of(faces, 60)
    held_to_protocol(seen, 60)
    assert seen.world is None
    assert seen.image.shape[-1] == SIDE, "previews are what CLIP looks at"
    assert {look.by for look in seen.looks} == {"judge"}, "CLIP was trained on the others"
    again, other = known.of(faces, 60), known.of(faces, 60, seed=1)
    assert torch.equal(seen.image, again.image)
    assert [look.number for look in seen.looks] != [look.number for look in other.looks]
    assert len(known.of(faces, 10**6).looks) == len(labels.first(labels.read(), "judge"))


def test_a_partial_effect_is_found_among_what_comes_with_it(faces, monkeypatch):
    """Features that are made of two labels, and of nothing else, give back each one's direction."""
    monkeypatch.setattr(labels, "GENERATOR", faces.generator.fingerprint())
    seen = known.of(faces, 400)
    one, two = (labels.target(seen.looks, name).nan_to_num() for name in ("man", "beard"))
    feature = torch.zeros(len(seen.looks), DIM)
    feature[:, 0], feature[:, 1] = one, 2 * two
    monkeypatch.setattr(known.evaluate, "image_features", lambda clip, image: feature)
    steps = {switch.name: switch.step for switch in seen.switches(SmallClip(), 0)}
    assert steps["man"][0] > 0.95
    assert steps["beard"][1] > 0.95


def test_of_a_world_they_are_rendered_and_of_others_a_world_stands_in(faces, capsys):
    seen = known.of(tiny_editor(world="portraits"), 20)
    held_to_protocol(seen, 20)
    assert seen.world.name == "portraits"
    assert not capsys.readouterr().out
    assert known.of(faces, 5, instead="pets").world.name == "pets"
    assert "like faces is drawn by no world of ours" in capsys.readouterr().out


def test_judges_say_the_same_things_of_themselves():
    """What chapters ask of any judge, be it of a world or of faces."""
    for kind in (Judge, FaceJudge):
        for name in ("goals", "spread", "choices", "kept", "there_and_gone"):
            assert hasattr(kind, name), name
    assert FaceJudge.world is None
    judge = Judge.of_domain(Domain("like faces", align=True))
    assert isinstance(judge, FaceJudge)
    assert [len(part) for part in judge.look(torch.zeros(0, 3, 32, 32))] == [0, 0], "no picture may suit a goal"
    assert Judge.of_domain(Domain("cats", "cat")) is None
    judge = Judge.of_domain(Domain("portraits", world="portraits"))
    assert judge.spread.keys() == set(judge.names) >= {*judge.choices, *judge.kept}


def test_layers_say_at_how_many_pixels_they_draw(faces):
    for generator in (faces.generator, tiny_editor().generator):
        assert len(generator.layer_sizes) == len(generator.layout.dims)
        assert generator.layer_sizes[0] == 4
        assert generator.layer_sizes[-1] == generator.resolution
    z = torch.randn(2, 8)
    w = faces.generator.mapping(z, 0.7)
    assert torch.equal(faces.generator(z, 0.7), faces.generator.synthesize(faces.generator.styles(w)))
