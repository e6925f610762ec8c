import json
import math
import subprocess
import sys

import pytest
import torch
from fakes import tiny_generator
from safetensors.torch import save_file

from deltaedit.files import fingerprint, read_tensors, write_json, write_tensors, write_whole
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
    with pytest.raises(ValueError, match="damaged"):
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
    with pytest.raises(ValueError, match="record.json was measured on weights abc of 'portraits', and these are def"):
        read_record(path, {"def"})
