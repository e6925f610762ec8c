"""TensorFlow.js weights: read as they are, and refused in one sentence where a manifest and its shards disagree."""

import json
import re
from contextlib import suppress

import numpy as np
import pytest
import torch

from deltaedit.checkpoints import tfjs

ENTRIES = [
    {"name": "a/filters", "shape": [2, 3], "dtype": "float32"},
    {"name": "a/bias", "shape": [4], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.5, "min": -2.0}},
    {"name": "b", "shape": [2], "dtype": "float32", "quantization": {"dtype": "uint16", "scale": 2, "min": 1}},
    {"name": "steps", "shape": [], "dtype": "int32"},
]
DATA = b"".join(
    np.asarray(x, dtype).tobytes()
    for x, dtype in (([[0, 1, 2], [3, 4, 5]], "<f4"), ([0, 1, 2, 255], "u1"), ([0, 65535], "<u2"), (-7, "<i4"))
)


def written(folder, entries=ENTRIES, data=DATA, paths=("w.bin",), wrap=lambda groups: groups):
    pieces = np.array_split(np.frombuffer(data, np.uint8), len(paths))
    for name, piece in zip(paths, pieces, strict=True):
        if "/" not in name:
            (folder / name).write_bytes(piece.tobytes())
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps(wrap([{"paths": list(paths), "weights": entries}])))
    return manifest


@pytest.mark.parametrize("paths", [("w.bin",), ("w-1of2", "w-2of2")])
@pytest.mark.parametrize("wrap", [lambda groups: groups, lambda groups: {"weightsManifest": groups}])
def test_weights_are_read_as_they_were_published(tmp_path, paths, wrap):
    found = tfjs.load(written(tmp_path, paths=paths, wrap=wrap))
    assert list(found) == ["a/filters", "a/bias", "b", "steps"]
    assert found["a/filters"].value.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["a/bias"].stored.dtype == torch.uint8
    assert found["a/bias"].value.tolist() == [-2.0, -1.5, -1.0, 125.5]
    assert found["b"].value.tolist() == [1.0, 131071.0]
    assert found["steps"].stored.item() == -7


def changed(k, **entry):
    return [{**own, **entry} if j == k else own for j, own in enumerate(ENTRIES)]


PACKED = ENTRIES[1]["quantization"]
WRONG = {
    "short": ({"data": DATA[:-1]}, r"lists weights of 36 bytes, but its shards have 35"),
    "long": ({"data": DATA + b"\0"}, r"needs w.bin, which is larger than the 36 bytes"),
    "long shape": ({"entries": changed(0, shape=[2**30, 3])}, "more than any"),
    "negative": ({"entries": changed(0, shape=[-2, -3])}, "the shape"),
    "shape of truths": ({"entries": changed(0, shape=[True, 6])}, "the shape"),
    "shape of fractions": ({"entries": changed(0, shape=[2.0, 3])}, "the shape"),
    "no shape": ({"entries": changed(0, shape=None)}, "the shape"),
    "dtype": ({"entries": changed(0, dtype="string")}, "the dtype 'string'; known are float32"),
    "packed dtype": ({"entries": changed(1, quantization={**PACKED, "dtype": "uint4"})}, "quantises a/bias"),
    "packed whole numbers": ({"entries": changed(1, dtype="int32")}, "quantises a/bias, a int32"),
    "no scale": ({"entries": changed(1, quantization={"dtype": "uint8", "min": 0})}, "no finite numbers"),
    "endless scale": ({"entries": changed(1, quantization={**PACKED, "scale": float("inf")})}, "no finite numbers"),
    "huge scale": ({"entries": changed(1, quantization={**PACKED, "scale": 10**400})}, "damaged|no finite"),
    "same name": ({"entries": changed(2, name="a/bias")}, "two weights 'a/bias'"),
    "no name": ({"entries": changed(2, name=None)}, "without a name"),
    "no entry": ({"entries": [1]}, "without a name"),
    "not a number": ({"data": np.float32("nan").tobytes() + DATA[4:]}, "a/filters has values that are no finite"),
    "elsewhere": ({"paths": ("../w.bin",)}, "which is no file beside it"),
    "parent": ({"paths": ("w.bin", "..")[1:]}, "which is no file beside it"),
    "no groups": ({"wrap": lambda groups: []}, "lists no groups"),
    "no paths": ({"wrap": lambda groups: [{"weights": groups[0]["weights"]}]}, "without paths"),
    "deep": ({"wrap": lambda groups: {"a": 1}}, "lists no groups"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path, case):
    how, says = WRONG[case]
    if how.get("paths", ("w.bin",))[0] == "..":
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps([{"paths": [".."], "weights": ENTRIES}]))
    else:
        manifest = written(tmp_path, **how)
    with pytest.raises(ValueError, match=says) as error:
        tfjs.load(manifest)
    assert "\n" not in str(error.value)
    assert "manifest.json" in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\xff\xfe", "3", '"a"', "9" * 5000, "[[]]", "null"])
def test_what_is_no_manifest_is_refused(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="manifest.json"):
        tfjs.load(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=re.escape("none.json")):
        tfjs.load(tmp_path / "none.json")
    manifest = written(tmp_path)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ValueError, match=r"w\.bin.*fetch all of its files"):
        tfjs.load(manifest)


def test_random_damage_ends_in_a_value_error(tmp_path):
    manifest, rng = written(tmp_path), np.random.default_rng(0)
    good = manifest.read_bytes()
    for _ in range(300):
        bad = bytearray(good)
        for at in rng.integers(0, len(bad), rng.integers(1, 4)):
            bad[at] = rng.integers(0, 256)
        manifest.write_bytes(bytes(bad))
        with suppress(ValueError):  # nothing else
            tfjs.load(manifest)
