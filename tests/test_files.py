import json
import math
import os
import subprocess
import sys
import threading

import pytest
import torch
from fakes import tiny_generator
from safetensors.torch import save_file

from deltaedit import files
from deltaedit.files import fingerprint, locked, read_json, read_tensors, write_json, write_tensors, write_whole
from deltaedit.mapper import DeltaMapper
from deltaedit.metrics import Interval
from deltaedit.record import REVISION, read_record, write_record
from deltaedit.stylegan2 import Generator


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "folder" / "numbers.json"
    write_json(path, [1, 2])

    def fails(part):
        part.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, fails)
    assert json.loads(path.read_text()) == [1, 2]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="sizes of files are limited as Linux does")
@pytest.mark.parametrize(
    "write",
    [
        "write_tensors(path, tensors, {})",
        "write_json(path, [0] * 9000)",
        "write_whole(path, lambda part: torch.save(tensors, part))",
    ],
)
def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path, write):
    path = tmp_path / "file"
    path.write_text("before")
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\nimport torch\n"
        "from deltaedit.files import write_json, write_tensors, write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "path, tensors = Path(sys.argv[1]), {'a': torch.zeros(9000)}\n"
        f"try:\n    {write}\nexcept OSError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True).stdout
    assert f"{path} could not be written (" in said
    assert len(said.splitlines()) == 1
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_processes_may_write_the_same_file(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom deltaedit.files import write_whole\n"
        "def slowly(part):\n    part.write_text('whole')\n    time.sleep(0.5)\n"
        "write_whole(Path(sys.argv[1]), slowly)"
    )
    path = tmp_path / "text"
    both = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_threads_may_write_the_same_file(tmp_path):
    path, faults = tmp_path / "card.json", []

    def write(number):
        try:
            for _ in range(20):
                write_json(path, [number] * 300)
        except OSError as error:
            faults.append(error)

    both = [threading.Thread(target=write, args=(k,)) for k in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert faults == []
    assert len(set(read_json(path))) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_held_is_waited_for_and_that_is_said(tmp_path, capsys):
    path, order = tmp_path / "new" / "thing", []

    def second():
        with locked(path):
            order.append("second")

    with locked(path):
        waits = threading.Thread(target=second)
        waits.start()
        waits.join(0.3)
        order.append("first")
    waits.join()
    assert order == ["first", "second"]
    assert f"{path} is being made by another run: waiting" in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/thing could not be written .*: make room, or choose another place"):
        locked(tmp_path / "file" / "thing").__enter__()


def test_a_killed_holder_holds_no_more(tmp_path):
    script = (
        "import os, signal, sys\nfrom deltaedit.files import locked\n"
        "with locked(sys.argv[1]):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "thing"])
    with locked(tmp_path / "thing"):
        pass


def test_what_was_there_is_kept_where_one_asks(tmp_path, monkeypatch):
    path, before = tmp_path / "a", tmp_path / "a-before"

    def write(text):
        write_whole(path, lambda part: part.write_text(text), before)

    write("1")
    assert not before.exists()
    write("2")
    assert (path.read_text(), before.read_text()) == ("2", "1")

    def no_links(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    write("3")
    assert (path.read_text(), before.read_text()) == ("3", "2")


def test_a_link_stays_one_and_modes_are_the_users(tmp_path):
    real, link = tmp_path / "real" / "a", tmp_path / "link"
    real.parent.mkdir()
    link.symlink_to(real)
    write_json(link, 1)
    assert link.is_symlink()
    assert read_json(real) == 1
    (tmp_path / "plain").touch()
    assert real.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_killed_processes_left_is_swept_after_a_while(tmp_path):
    write_json(tmp_path / "a", 1)
    for name in ("old", "new"):
        aside = tmp_path / f".a.{name}{files.ASIDE}"
        aside.mkdir()
        (aside / "a").write_text("half")
    for path in (tmp_path / f".a.old{files.ASIDE}" / "a", tmp_path / f".a.old{files.ASIDE}"):
        os.utime(path, (0, 0))
    write_json(tmp_path / "a", 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".a.new{files.ASIDE}", "a"]


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    said, sync, replace = [], os.fsync, type(tmp_path).replace
    monkeypatch.setattr(os, "fsync", lambda file: said.append("synced") or sync(file))
    monkeypatch.setattr(type(tmp_path), "replace", lambda a, b: said.append("renamed") or replace(a, b))
    write_json(tmp_path / "a", 1)
    assert said == ["synced", "renamed", "synced"]


@pytest.mark.parametrize("content", [b"", b'{"n": [1, 2', bytes(20), b"\xff\xfe", b"[" * 100_000])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.json is damaged, or no JSON: delete it, or make it or fetch it again\.$"):
        read_json(tmp_path / "a.json")


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.ones(2).half()}
    write_tensors(tmp_path / "t.safetensors", tensors, {"seed": 3, "names": ["x"]})
    back, metadata = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    assert metadata == {"seed": 3, "names": ["x"]}


def test_files_of_another_kind_are_named(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ValueError, match="not written by deltaedit"):
        read_tensors(tmp_path / "foreign.safetensors")
    tiny_generator().save(tmp_path / "generator.safetensors")
    with pytest.raises(ValueError, match="another kind of model"):
        DeltaMapper.load(tmp_path / "generator.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(ValueError, match="is a text, not a checkpoint"):
        Generator.load(tmp_path / "text.safetensors")


def test_fingerprint_sees_every_weight():
    a, b = tiny_generator(), tiny_generator()
    assert a.fingerprint() == b.fingerprint()
    b.convs[2].bias[0] += 1e-3
    assert a.fingerprint() != b.fingerprint() == fingerprint(b.state_dict())


def test_a_record_is_json_to_everybody(tmp_path):
    def refuse(word):
        raise AssertionError(word)

    measures = {"never": math.nan, "curve": {"1.0": Interval(0.5, -math.inf, math.nan)}, "n": 3}
    write_record(tmp_path / "record.json", measures, seed=7, weights="abc")
    found = json.loads((tmp_path / "record.json").read_text(), parse_constant=refuse)
    assert found["measures"] == {"never": None, "curve": {"1.0": [0.5, None, None]}, "n": 3}
    assert (found["seed"], found["weights"], found["revision"]) == (7, "abc", REVISION)
    assert found["versions"]["torch"] == torch.__version__


def test_a_record_is_read_if_it_is_of_these_weights(tmp_path):
    path = tmp_path / "record.json"
    assert read_record(path, {"abc"}) == {}
    write_record(path, {"success": (0.5, math.nan, 0.75)}, domain="portraits", weights="abc")
    assert read_record(path, {"abc", "def"}) == {"success": [0.5, None, 0.75]}
    with pytest.raises(ValueError, match="record.json was measured on weights 'abc' of 'portraits', and these are def"):
        read_record(path, {"def"})


def test_what_a_disk_lost_is_no_number(tmp_path):
    tensors = {"a": torch.randn(64), "b": torch.ones(3, dtype=torch.bool), "c": torch.tensor(2.0)}
    for name in ("first", "second"):
        write_tensors(tmp_path / name, tensors, {"seed": 1})
    whole = (tmp_path / "first").read_bytes()
    assert (tmp_path / "second").read_bytes() == whole, "the same content has the same bytes"
    assert read_tensors(tmp_path / "first")[1] == {"seed": 1}
    (tmp_path / "first").write_bytes(whole[:-200] + bytes(40) + whole[-160:])
    with pytest.raises(ValueError, match="is damaged"):
        read_tensors(tmp_path / "first")
    assert read_tensors(tmp_path / "first", ["b"])[0]["b"].all(), "what is asked for is whole"
