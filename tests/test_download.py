"""What is published, and the way from its files to an editor."""

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from fakes import TINY, tiny_generator
from safetensors.torch import save_file
from test_clip import CONFIG
from web import serve

from deltaedit import checkpoints, domains, download
from deltaedit._torchvision import open_clip
from deltaedit.clip import ClipEncoder
from deltaedit.domain import GENERATOR, MAPPER, RELEASED, Domain
from deltaedit.download import PUBLISHED, Published, prepare
from deltaedit.e4e import Encoder, EncoderConfig
from deltaedit.editor import Editor
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.remote import RemoteFile


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    return tmp_path


def test_the_table_makes_sense():
    assert {
        "ffhq",
        "ffhq512",
        "ffhq256",
        "afhqcat",
        "afhqdog",
        "afhqwild",
        "metfaces",
        "lsuncat",
        "lsunchurch",
        "lsunhorse",
        "lsuncar",
    } == set(PUBLISHED)
    files = [file for entry in PUBLISHED.values() for file in download._parts(entry).values()]
    assert len({file.name for file in files}) == len(set(files)) == len({file.url for file in files})
    for file in files:
        assert re.fullmatch(r"[a-z0-9]+/[\w.-]+", file.name)
        assert re.fullmatch(r"https://[\w./?=&-]+", file.url)
        assert re.fullmatch(r"https://[\w./-]+", file.page or file.url)
        assert file.checksum is None or re.fullmatch(r"sha256:[0-9a-f]{64}|git:[0-9a-f]{40}", file.checksum)
    for name, entry in PUBLISHED.items():
        assert not {file.name.partition("/")[2] for file in download._parts(entry).values()} & {*download._parts(entry)}
        assert entry.card.name == name
        assert entry.card.align == (entry.card.neutral == "face")
        assert entry.clip in open_clip.list_models()
    assert download.describe("afhqcat") == (
        "afhqcat: 512 px, 1.0 GB, generator (NVIDIA Source Code License, no commercial use); "
        "to be trained: mapper, relevance, encoder"
    )
    assert download.describe("ffhq").endswith("mapper (no licence stated), relevance (MIT), encoder (MIT)")


def test_what_is_not_here_is_named_in_one_sentence(cache):
    for call in (Editor.from_pretrained, domains.find):
        with pytest.raises(FileNotFoundError) as error:
            call("ffhq")
        said = str(error.value)
        assert said.startswith(
            "ffhq is not on this machine: say download=True, run «python -m deltaedit.download ffhq», or put ffhq/"
        )
        for file in ("stylegan2-ffhq-config-f.pt", "net_face.pth", "fs3.npy", "open_clip_model.safetensors"):
            assert file in said
        assert "e4e" not in said
        assert said.endswith(f"below {cache}.")
        assert "\n" not in said
        assert not re.search(r"\. ", said)
    assert not list(cache.iterdir())
    with pytest.raises(ValueError, match="'ffhq'.*'portraits', or the path of a folder"):
        domains.find("unicorns")
    with pytest.raises(ValueError, match="nobody publishes a domain 'unicorns': choose one of faces, ffhq,"):
        prepare("unicorns")


@pytest.fixture
def published(tmp_path_factory, monkeypatch):
    """A domain «tiny», with all its parts on a server of this machine, and what reads them."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / "tiny-clip.json")
    torch.manual_seed(0)
    clip = ClipEncoder.from_open_clip("tiny-clip")
    save_file(clip.model.state_dict(), folder / "clip.safetensors")
    models = {
        "load_generator": tiny_generator(),
        "load_mapper": DeltaMapper(MapperConfig(TINY.layout.dims, clip.dim, preprocessing="deltaedit")),
        "load_relevance": torch.randn(TINY.layout.size, clip.dim),
        "load_encoder": Encoder(EncoderConfig(TINY.w_dim, tiny_generator().num_ws, 16, 8)),
    }
    read = []

    def load(name, ours, path, **known):
        if path.suffix == ".safetensors":  # converted before
            return ours(path, **known)
        read.append(path.name)
        return models[name]

    for name in models:
        monkeypatch.setattr(checkpoints, name, partial(load, name, getattr(checkpoints, name)))
    contents = {"/weights.safetensors": (folder / "clip.safetensors").read_bytes()}
    contents |= {f"/{name}": name.encode() for name in ("g.pkl", "mapper.pth", "fs3.npy", "e4e.pt")}
    with serve(contents) as web:
        g, mapper, relevance, encoder, weights = (
            RemoteFile(f"tiny/{name}", f"{web.url}/{name}")
            for name in ("g.pkl", "mapper.pth", "fs3.npy", "e4e.pt", "weights.safetensors")
        )
        entry = Published(Domain("tiny"), 16, g, mapper, relevance, encoder, "tiny-clip", weights)
        monkeypatch.setitem(PUBLISHED, "tiny", entry)
        web.read, web.models = read, models
        yield web


def test_some_parts_of_a_published_domain_are_enough(published, cache):
    folder = domains.find("tiny", download=True, parts=(GENERATOR,))
    assert published.read == ["g.pkl"]
    assert sorted(path.name for path in folder.iterdir() if path.suffix == ".safetensors") == [GENERATOR]
    with pytest.raises(FileNotFoundError, match="put .*tiny/mapper.pth"):
        domains.find("tiny")
    assert Editor.from_pretrained("tiny", download=True).encoder is not None


def test_a_published_domain_is_fetched_converted_once_and_edited(published, cache):
    editor = Editor.from_pretrained("tiny", download=True)
    assert editor.domain == Domain("tiny", **RELEASED)
    assert editor.encoder is not None
    torch.testing.assert_close(editor.relevance, published.models["load_relevance"])
    wanted, got = published.models["load_generator"].state_dict(), editor.generator.state_dict()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert editor.edit(editor.sample(seed=1), "hat", threshold=0.0).image.size == (16, 16)
    assert sorted(published.read) == ["e4e.pt", "fs3.npy", "g.pkl", "mapper.pth"]
    for name in ("g.pkl", "mapper.pth", "fs3.npy", "e4e.pt", "weights.safetensors"):
        (cache / "tiny" / name).unlink()
    asked = len(published.asked)
    assert domains.find("tiny", download=True) == cache / "tiny"
    Editor.from_pretrained("tiny")
    assert (len(published.asked), len(published.read)) == (asked, 4)


def test_files_put_there_by_hand_do_and_the_encoder_may_come_later(published, cache):
    (cache / "tiny").mkdir()
    for path in ("g.pkl", "mapper.pth", "fs3.npy"):
        (cache / "tiny" / path).write_bytes(published.files[f"/{path}"])
    with pytest.raises(FileNotFoundError, match=r"or put tiny/weights.safetensors \(http.*\) below"):
        Editor.from_pretrained("tiny")
    assert not published.read
    (cache / "tiny/weights.safetensors").write_bytes(published.files["/weights.safetensors"])
    assert Editor.from_pretrained("tiny").encoder is None
    (cache / "tiny/e4e.pt").write_bytes(published.files["/e4e.pt"])
    assert Editor.from_pretrained("tiny").encoder is not None
    assert not published.asked
    (cache / "tiny" / GENERATOR).unlink()
    (cache / "tiny/g.pkl").write_bytes(b"changed since it was first seen")
    with pytest.raises(ValueError, match="set aside"):
        Editor.from_pretrained("tiny")


def test_a_domain_without_a_released_mapper_asks_for_one(published, monkeypatch, cache):
    monkeypatch.setitem(PUBLISHED, "tiny", replace(PUBLISHED["tiny"], mapper=None, relevance=None, encoder=None))
    with pytest.raises(ValueError, match=r"no file .*tiny/mapper.safetensors: train a mapper for the generator beside"):
        Editor.from_pretrained("tiny", download=True)
    mapper = published.models["load_mapper"]
    DeltaMapper(replace(mapper.config, preprocessing="clip")).save(domains.find("tiny") / MAPPER)
    assert Editor.from_pretrained("tiny").relevance is None


def test_a_name_of_ones_own_goes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(domains, "FOLDERS", {**domains.FOLDERS, "ffhq": tmp_path})
    assert domains.find("ffhq") == tmp_path


def test_command_line(monkeypatch, capsys, tmp_path):
    download.main([])
    assert "ffhq: 1024 px" in capsys.readouterr().out
    monkeypatch.setattr(download, "prepare", lambda name, download, cache: Path(cache) / name)
    download.main(["ffhq", "afhqdog", "--cache", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition(": in ")[2] for line in lines] == [str(tmp_path / "ffhq"), str(tmp_path / "afhqdog")]
    assert "NVIDIA Source Code License" in lines[0]
    monkeypatch.undo()
    with pytest.raises(SystemExit, match="nobody publishes a domain 'unicorns'"):
        download.main(["unicorns"])
