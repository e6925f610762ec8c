"""One command from a generator and a CLIP to an editor."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import tiny_generator
from test_clip import CONFIG

from deltaedit import features, train, training
from deltaedit._torchvision import open_clip
from deltaedit.clip import ClipEncoder
from deltaedit.domain import CARD, GENERATOR, MAPPER, RELEVANCE, Domain
from deltaedit.editor import Editor
from deltaedit.features import FeatureStore
from deltaedit.files import read_tensors
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview

SMALL = ["--n", "40", "--steps", "120", "--seed", "3", "--device", "cpu"]


def make_small(patch: pytest.MonkeyPatch) -> None:
    for module in (features, train):
        patch.setattr(module, "SHARD", 16)
    sizes = replace(train.QUICK.mapper, hidden=8)
    patch.setattr(train, "QUICK", replace(train.QUICK, batch_size=8, mapper=sizes))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    make_small(monkeypatch)


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A domain of MobileStyleGAN with previews, one of StyleGAN2, and a CLIP of 32 px as open_clip's file and ours."""
    folder = tmp_path_factory.mktemp("parts")
    torch.manual_seed(0)
    mobile = MobileStyleGAN(MobileConfig(channels=(16, 12, 8, 4), z_dim=6, w_dim=8, mapping_layers=2))
    mobile.eval().requires_grad_(False)
    for layer in mobile.layers:
        layer.affine.bias += 1
    fit_preview(mobile, (16, 32), faces=4).save(folder / "mobile" / GENERATOR)
    tiny_generator().save(folder / "style" / GENERATOR)
    Domain("theirs", "portrait", threshold=0.2, truncation=0.8, gain=3.0, align=True).write(folder / "mobile")
    Domain("theirs", "cat").write(folder / "style")
    (folder / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-clip.json")
    clip = ClipEncoder.from_open_clip("tiny-clip")
    clip.save(folder / "clip.safetensors")
    torch.save(clip.model.state_dict(), folder / "weights.pt")
    return folder


def run(parts: Path, out: Path, *more: str, domain: str = "mobile", clip: str = "clip.safetensors") -> None:
    name, _, file = clip.rpartition(":")
    clip = f"{name}:{parts / file}" if name else str(parts / file)
    train.main([str(parts / domain), "--clip", clip, "--out", str(out), *SMALL, *more])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / MAPPER)[0] | read_tensors(folder / RELEVANCE)[0]


@pytest.fixture(scope="module")
def whole(parts, tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        make_small(patch)
        run(parts, out := tmp_path_factory.mktemp("trained") / "mine")
    return out


def test_a_generator_and_a_clip_become_an_editor(whole):
    editor = Editor.from_pretrained(whole)
    assert editor.domain == Domain("mine", "portrait", truncation=0.8, align=True)  # no tuning of theirs
    assert editor.edit(editor.sample(seed=1), "portrait with hat", threshold=0).image.size == (64, 64)
    store = FeatureStore.open(whole / train.WORK / "features")
    assert (len(store), store.manifest["size"], store.manifest["truncation"]) == (40, 32, 0.8)
    assert editor.relevance.shape == (editor.generator.layout.size, 16)
    assert editor.mapper.history == []
    assert editor.mapper.config.groups == tuple(editor.generator.layout.cuts)


def test_a_killed_run_goes_on_to_the_same_weights(whole, parts, tmp_path, monkeypatch, capsys):
    class Killed(BaseException):
        """Nothing that the command may catch."""

    def dies_after(calls: int, function):
        def dying(*args, **options):
            nonlocal calls
            if not (calls := calls - 1):
                raise Killed
            return function(*args, **options)

        return dying

    real = features.sampled
    for module, name, calls in (
        (features, "sampled", 3),  # while it draws
        (training, "descend", 70 + 2 * train.FIRST),  # while the mapper learns
        (train, "estimate_relevance", 1),
        (Domain, "write", 1),  # just before the end
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, dies_after(calls, getattr(module, name)))
            with pytest.raises(Killed):
                run(parts, tmp_path / "mine")
        assert not (tmp_path / "mine" / CARD).exists()
    drawn = []
    monkeypatch.setattr(features, "sampled", lambda *args: drawn.append(1) or real(*args))
    run(parts, tmp_path / "mine")
    assert not drawn
    assert "0 of 40 pictures" in capsys.readouterr().out
    ours, theirs = weights(tmp_path / "mine"), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours | theirs)


def test_it_says_how_long_it_takes_and_how_to_go_on(parts, tmp_path, monkeypatch, capsys):
    times = iter(range(0, 10_000, 2))
    monkeypatch.setattr(train.time, "perf_counter", lambda: float(next(times)))  # two seconds between two looks
    monkeypatch.setattr(train, "_first_steps", lambda *args, first=train._first_steps: (first(*args)[0], 6.0))
    monkeypatch.chdir(tmp_path)
    train.main([str(parts / "style"), "--clip", str(parts / "clip.safetensors"), *SMALL, "--neutral", "dog"])
    said = capsys.readouterr().out
    assert "24 of 40 pictures at 16 px, 0.125 s each" in said
    assert "at most 120 steps of the mapper, 6.000 s each: about 12 minutes on cpu" in said
    assert "Editor.from_pretrained('style-clip'), neutral prompt 'dog'" in said
    assert f"gain in {Path('style-clip') / CARD} are defaults" in said
    assert Editor.from_pretrained("style-clip").domain.neutral == "dog"
    assert [train._duration(x) for x in (3, 125, 4000, 9000, 90_000)] == [
        *("3 seconds", "2.1 minutes", "67 minutes", "2.5 hours", "25 hours")
    ]


def test_what_was_found_stays_in_the_card_and_more_pictures_are_more(whole, parts, tmp_path, capsys):
    run(parts, tmp_path / "mine", "--n", "20")
    found = Domain("Mine", "portrait", threshold=0.07, gain=1.5, truncation=0.8, align=True)
    found.write(tmp_path / "mine")
    run(parts, tmp_path / "mine")
    assert Domain.read(tmp_path / "mine") == found
    assert all(torch.equal(x, weights(whole)[name]) for name, x in weights(tmp_path / "mine").items())


def test_any_kind_of_clip_and_the_smallest_preview_that_is_enough(parts, tmp_path):
    run(parts, tmp_path / "mine", clip="tiny-clip:weights.pt", domain="style")
    assert "size" not in FeatureStore.open(tmp_path / "mine" / train.WORK / "features").manifest
    assert Editor.from_pretrained(tmp_path / "mine").clip.dim == 16
    mobile = MobileStyleGAN.load(parts / "mobile" / GENERATOR)
    assert [train.preview_size(mobile, pixels) for pixels in (8, 16, 17, 32, 33)] == [16, 16, 32, 32, None]
    assert train._name("a/my faces", "ViT-B-32:openai") == "my-faces-ViT-B-32-openai"
    assert train._name("faces", "hf-hub:apple/x.y") == "faces-hf-hub-x"


def test_what_is_wrong_is_said_before_anything_is_drawn(whole, parts, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "sampled", None)
    (tmp_path / "cut.pt").write_bytes(b"no weights")
    for options, message in (
        ({"clip": "clip.safetensors", "domain": "elsewhere"}, "there is no domain '.*elsewhere'"),
        ({"clip": "tiny-clap:weights.pt"}, "open_clip knows no model 'tiny-clap'"),
        ({"clip": "tiny-clip:openai"}, "neither a file nor weights for tiny-clip"),
        ({"clip": f"tiny-clip:{tmp_path / 'cut.pt'}"}, "cut.pt is a text, not a checkpoint"),
        ({"clip": "nowhere"}, "must be a name and a tag, such as 'ViT-B-32:openai'"),
        ({"clip": "style/generator.safetensors"}, "holds no CLIP but 'stylegan2'"),
    ):
        with pytest.raises(SystemExit, match=message):
            run(parts, tmp_path / "mine", **options)
    for option, message in (("--steps", "steps must be positive"), ("--n", "at least 1"), ("--truncation", "finite")):
        with pytest.raises(SystemExit, match=message):
            run(parts, tmp_path / "mine", option, "nan" if option == "--truncation" else "0")
    with pytest.raises(SystemExit, match=r"is of another run \(truncation: 0.8 there, 0.5 here\)"):
        run(parts, whole, "--truncation", "0.5")
    with pytest.raises(SystemExit, match="is a domain already"):
        run(parts, parts / "style")
    assert not (tmp_path / "mine" / CARD).exists()


def test_stopping_is_no_fault(parts, tmp_path, monkeypatch):
    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(features, "sampled", stop)
    with pytest.raises(SystemExit, match="Stopped; the same command goes on"):
        run(parts, tmp_path / "mine")
