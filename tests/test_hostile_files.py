"""Files made to do harm: none runs anything, none takes much memory, each ends in one clear error."""

import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from fakes import tiny_generator
from foreign import nvidias, rosinalitys, write_nvidia

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does")
TESTS = Path(__file__).parent


def read_all(good: Path, folder: Path) -> dict[str, str]:
    """How each file of a folder ended, by name; see hostile.py."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS.parent}", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, TESTS / "hostile.py", good, folder], capture_output=True, text=True, env=environment
    )
    assert run.returncode == 0, run.stderr[-2000:]
    result = json.loads(run.stdout)
    assert result["grown"] < 500_000_000
    bad = {name: end for name, end in result["endings"].items() if end.startswith(("RAN", "CRASHED", "UNCLEAR"))}
    assert not bad, bad
    return result["endings"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nvidia(tmp_path_factory.mktemp("good") / "network.pkl", nvidias(tiny_generator()))


class Call:
    """Is pickled as a call of a function."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple:
        return self.function, self.arguments


def global_(name: str) -> bytes:
    return b"c" + name.replace(" ", "\n").encode() + b"\n"


def persistent(state: bytes, source: str) -> bytes:
    """A pickle of an object of NVIDIA's, with a state that is pickled already."""
    meta = pickle.dumps({"type": "class", "version": 6, "module_src": source, "class_name": "Generator"}, 2)[2:-1]
    call = b"\x80\x02" + global_("torch_utils.persistence _reconstruct_persistent_obj")
    return call + meta + b"X\5\0\0\0state" + state + b"s\x85R."


def torch_zip(path: Path, content: bytes, size: int = 16, compression: int = zipfile.ZIP_STORED, more: int = 0) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/data/0", bytes(size))
        for k in range(more):
            file.writestr(f"archive/{k:01000d}", b"")


def npy(kind: str, shape: str) -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\0v\0" + head.encode().ljust(117) + b"\n"


def tensor(count: int, shape: tuple, stride: tuple) -> bytes:
    """A pickle of {"weight": a tensor of storage 0}, in a file of PyTorch's."""

    def value(x) -> bytes:
        return pickle.dumps(x, 2)[2:-1]

    key = b"(" + value("storage") + b"ctorch\nFloatStorage\n" + value("0") + value("cpu") + value(count) + b"tQ"
    made = b"ctorch._utils\n_rebuild_tensor_v2\n(" + key + value(0) + value(shape) + value(stride) + b"\x89}tR"
    return b"\x80\x02}" + value("style.1.weight") + made + b"s" + value("input.input") + made + b"s."


def write_harmful(folder: Path) -> None:
    mark = str(folder.parent / "ran")
    source = f"open({mark!r}, 'w')"
    deep = b")" + b"\x85" * 1_000_000  # a tuple in a tuple in a tuple ...
    files = {
        "os_system.pkl": pickle.dumps({"G_ema": Call(os.system, f"touch {mark}")}),
        "os_system_0.pkl": pickle.dumps({"G_ema": Call(os.system, f"touch {mark}")}, protocol=0),
        "exec.pkl": pickle.dumps(Call(exec, source)),
        "eval_in_tensor.pkl": pickle.dumps(Call(torch._utils._rebuild_tensor_v2, Call(eval, "1"), 0, (), ())),
        "nested.pkl": pickle.dumps(Call(getattr, Call(__import__, "os"), "system")),
        "nested_calls.pkl": pickle.dumps(Call(map, exec, [source])),
        "call_in_call.pkl": b"\x80\x02" + global_("collections OrderedDict") * 9 + b")R" + b"\x85R" * 9 + b".",
        "inst.pkl": b"(S'touch'\nios\nsystem\n.",
        "obj.pkl": b"(" + global_("os system") + b"X\1\0\0\0xo.",
        "ext.pkl": b"\x80\x02\x82\x01.",
        "stack_global.pkl": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
        "escaped_name.pkl": b"\x80\x02cdnnlib.util\nEasyDict.__init__.__globals__\n.",
        "call_of_a_value.pkl": b"\x80\x02X\1\0\0\0x)R.",
        "build.pkl": b"\x80\x02" + global_("collections OrderedDict") + b")R}X\x09\0\0\0__class__X\1\0\0\0xsb.",
        "module_src.pkl": persistent(b"}", source),
        "in_a_state.pkl": persistent(b"}X\x08\0\0\0_modules}X\1\0\0\0a" + global_("os system") + b"ss", source),
        "networks_without_end.pkl": persistent(
            b"}q\1(X\x0b\0\0\0_parameters}X\x08\0\0\0_buffers}X\x08\0\0\0_modules}u", source
        ),
        "one_dict_often.pkl": b"\x80\x02}q\2("
        + b"".join(b"J%bN" % struct.pack("<i", k) for k in range(50_000))
        + b"u0"
        + persistent(b"}(X\x0b\0\0\0_parametersh\2X\x08\0\0\0_buffersh\2X\x08\0\0\0_modulesh\2u", source)[2:],
        "itself.pkl": b"\x80\x02}q\0X\5\0\0\0G_emah\0s.",
        "deep.pkl": b"\x80\x02" + deep + b".",
        "deep_key.pkl": b"\x80\x02}" + deep + b"K\1s.",
        "deep_in_set.pkl": b"\x80\x04\x8f(" + deep + b"\x90.",
        "deep_in_call.pkl": b"\x80\x02" + global_("builtins set") + b"](" + deep + b"e\x85R.",
        "bytes8.pkl": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.",
        "bytes.pkl": b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b"x.",
        "bytearray8.pkl": b"\x80\x05\x96" + struct.pack("<Q", 2**33) + b"x.",
        "text8.pkl": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x.",
        "frame.pkl": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"N.",
        "long.pkl": b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"x.",
        "memo.pkl": b"\x80\x02]r" + struct.pack("<I", 2**32 - 1) + b".",
        "lists.pkl": b"\x80\x02" + b"]" * 5_000_000 + b".",
        "marks.pkl": b"\x80\x02" + b"(" * 5_000_000 + b".",
        "numpy.pkl": b"\x80\x02"
        + global_("numpy.core.multiarray _reconstruct")
        + global_("numpy ndarray")
        + b"J\xff\xff\xff\x7f\x85X\1\0\0\0b\x87R.",
        "bytearray_call.pkl": b"\x80\x02" + global_("builtins bytearray") + b"\x8a\x05\0\0\0\0\x0f\x85R.",
        "storage_in_storage.pkl": b"\x80\x02ctorch.storage\n_load_from_bytes\nU\x05abcde\x85R.",
        "empty_pickle.pkl": b"\x80\x02.",
        "no_stop.pkl": b"\x80\x02}",
        "text.pkl": b"hello",
        "npy.npy": npy("<f4", "(1000000, 1000000)"),
        "object.npy": npy("|O", "(1,)") + pickle.dumps(Call(os.system, f"touch {mark}")),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    torch_zip(folder / "huge_storage.pt", tensor(2**40, (2**20, 2**20), (2**20, 1)))
    torch_zip(folder / "negative.pt", tensor(-4, (2, 2), (2, 1)))
    torch_zip(folder / "huge_view.pt", tensor(4, (2**20, 2**20), (0, 0)))
    torch_zip(folder / "overlapping_view.pt", tensor(4, (3, 2), (1, 1)))
    torch_zip(folder / "bomb.pt", tensor(2**25, (2**13, 2**12), (2**12, 1)), 2**27, zipfile.ZIP_DEFLATED)
    torch_zip(folder / "bomb_of_a_pickle.pt", b"\x80\x02" + b"N" * 2**26, 16, zipfile.ZIP_DEFLATED)
    torch_zip(folder / "evil.pt", pickle.dumps({"g_ema": Call(os.system, f"touch {mark}")}, 2))
    torch_zip(folder / "many.pt", b"\x80\x02}.", more=9000)
    many = tensor(2**20, (2**10, 2**10), (2**10, 1))
    repeated = b"".join(many[3:-1].replace(b"style.1.weight", b"style.1%07d" % k) for k in range(2000))
    torch_zip(folder / "one_storage_often.pt", b"\x80\x02}" + repeated + b".", 2**22)
    (folder / "not_a_zip.pt").write_bytes(b"PK\3\4" + bytes(1000))
    torch.save(Call(os.system, f"touch {mark}"), folder / "evil_older.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.Linear(2, 2), folder / "module.pt")


def test_harmful_files(good, tmp_path):
    (tmp_path / "files").mkdir()
    write_harmful(tmp_path / "files")
    endings = read_all(good, tmp_path / "files")
    assert not (tmp_path / "ran").exists()
    assert "read" not in endings.values()
    said = {
        "os_system.pkl": "asks to run posix.system, which no checkpoint needs: it was not read.",
        "exec.pkl": "asks to run builtins.exec",
        "stack_global.pkl": "asks to run os.system",
        "evil.pt": "asks to run posix.system",
        "module.pt": "is no StyleGAN2 generator but a Linear",
        "module_src.pkl": "is no StyleGAN2 generator",
        "lists.pkl": "takes more than",
        "huge_storage.pt": "too small for them",
        "huge_view.pt": "not the numbers for it",
        "one_storage_often.pt": "larger than the file",
        "bomb.pt": "is packed",
        "bomb_of_a_pickle.pt": "is packed",
        "many.pt": "too long",
        "npy.npy": "damaged",
        "object.npy": "damaged",
    }
    for name, words in said.items():
        assert words in endings[name], endings[name]


def test_files_that_are_large_and_say_little(good, tmp_path):
    files = {
        "tensorflow.pkl": b"\x80\x02cdnnlib.tflib.network\nNetwork\n",
        "name.pkl": b"\x80\x02c",
        "number.pkl": b"\x80\x02F",
        "zip.pt": b"PK\3\4",
    }
    (tmp_path / "files").mkdir()
    for name, content in files.items():
        with (tmp_path / "files" / name).open("wb") as file:
            file.write(content)
            file.truncate(1_500_000_000)  # nothing of it lies on the disk; larger ones cannot be mapped under the limit
    endings = read_all(good, tmp_path / "files")
    assert "is a TensorFlow pickle" in endings["tensorflow.pkl"]
    assert "a name without an end" in endings["name.pkl"]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The same file with some bytes changed, cut out, put in, or taken from elsewhere; or cut short."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, n = rng.randrange(len(data)), rng.choice((1, 1, 2, 4, 8, 64))
        match rng.randrange(6):
            case 0 | 1:
                data[at : at + n] = rng.randbytes(n)
            case 2:
                data[at] ^= 1 << rng.randrange(8)
            case 3:
                del data[at : at + n]
            case 4:
                start = rng.randrange(len(data))
                data[at:at] = data[start : start + n]
            case 5:
                data[at : at + n] = b"\xff" * n
    return bytes(data[: rng.randrange(len(data))] if rng.random() < 0.05 else data)


@pytest.mark.parametrize(("kind", "count"), [("nvidia", 1000), ("zip", 300), ("older", 300)])
def test_random_mutations(good, tmp_path, kind, count):
    """A change among the weights may pass, for a pickle holds no checksum: then only numbers differ."""
    if kind != "nvidia":
        torch.save(
            {"g_ema": rosinalitys(tiny_generator())},
            tmp_path / "generator.pt",
            _use_new_zipfile_serialization=kind == "zip",
        )
    content = (good if kind == "nvidia" else tmp_path / "generator.pt").read_bytes()
    rng = random.Random(0)
    (tmp_path / "files").mkdir()
    for k in range(count):
        (tmp_path / "files" / f"{k:04d}").write_bytes(mutated(content, rng))
    endings = read_all(good, tmp_path / "files").values()
    assert len(endings) == count
    refused = sum(end != "read" for end in endings)
    assert refused > 0.4 * count, refused
