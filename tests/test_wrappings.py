"""One network in the wrappings that people have it in; and files that are something else, called by their name."""

import gzip
import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import tiny_generator
from foreign import nvidias, nvidias_modules, rosinalitys
from safetensors.torch import save_file
from test_checkpoints import assert_same
from test_convert import write_mapper
from torch import nn

from deltaedit import checkpoints
from deltaedit.e4e import E4E, E4EConfig
from deltaedit.files import read_tensors
from deltaedit.stylegan2 import Generator


@pytest.fixture(scope="module")
def generator() -> Generator:
    generator = tiny_generator()
    for tensor in (*(conv.noise_strength for conv in generator.convs), generator.w_avg):
        tensor.normal_()
    return generator


def basicsrs(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """BasicSR's names for the tensors of rosinality's; it keeps no filters."""
    named = {}
    for key, value in state.items():
        key = key.replace("input.input", "constant_input.weight").replace("noises.noise_", "noises.noise")
        key = key.replace(".noise.weight", ".weight").replace(".conv.", ".modulated_conv.")
        for theirs, ours in (("style.", "style_mlp."), ("conv1.", "style_conv1."), ("convs.", "style_convs.")):
            key = ours + key.removeprefix(theirs) if key.startswith(theirs) else key
        if not key.endswith("kernel"):
            named[key] = value
    return named


def prefixed(prefix: str, state: dict[str, Any]) -> dict[str, Any]:
    return {prefix + key: value for key, value in state.items()}


def module(state: dict[str, torch.Tensor]) -> nn.Module:
    """A module whose state dict this is: its parts are modules, as deep as the names."""
    whole = nn.Module()
    for key, value in state.items():
        *path, name = key.split(".")
        at = whole
        for part in path:
            if part not in dict(at.named_children()):
                at.add_module(part, nn.Module())
            at = at.get_submodule(part)
        at.register_buffer(name, value)
    return whole


WRAPPINGS = {
    "g": lambda s, avg: {"g": s, "latent_avg": avg, "d": {"weight": torch.ones(2)}},
    "the averaged one of two": lambda s, avg: {"g": {k: v + 1 for k, v in s.items()}, "g_ema": s, "latent_avg": avg},
    "params_ema": lambda s, avg: {"params_ema": s | {"latent_avg": avg}},
    "state_dict": lambda s, avg: {"state_dict": s, "latent_avg": avg, "epoch": 3},
    "module.": lambda s, avg: prefixed("module.", s) | {"latent_avg": avg},
    "state_dict, generator.module.": lambda s, avg: {
        "state_dict": prefixed("generator.module.", s) | {"generator.latent_avg": avg}
    },
    "two, one of them averaged, in one": lambda s, avg: {
        "state_dict": prefixed("G.", {k: v + 1 for k, v in s.items()})
        | prefixed("G_ema.", s)
        | {"G_ema.latent_avg": avg}
    },
    "BasicSR's": lambda s, avg: {"params_ema": basicsrs(s), "latent_avg": avg},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_generator_is_found_in_any_wrapping(generator, tmp_path, wrapping):
    torch.save(WRAPPINGS[wrapping](rosinalitys(generator), generator.w_avg), tmp_path / "generator.pt")
    assert_same(checkpoints.load_generator(tmp_path / "generator.pt"), generator)


@pytest.mark.parametrize("older", [False, True])
def test_what_pti_saves_is_read_to_the_bit(generator, tmp_path, older):
    """``torch.save(G)`` of a network of NVIDIA's, in the protocol that is torch's own; DragGAN's are pickled dicts."""
    with nvidias_modules():
        torch.save(nvidias(generator), tmp_path / "model_ABC.pt", _use_new_zipfile_serialization=not older)
        network = nvidias(generator)
        (tmp_path / "draggan.pkl").write_bytes(pickle.dumps({"G": network, "G_ema": network, "D": None}, protocol=2))
    for name in ("model_ABC.pt", "draggan.pkl"):
        assert_same(checkpoints.load_generator(tmp_path / name), generator)


def test_whole_modules_and_programs_are_read_without_their_code(generator, tmp_path):
    state = {**rosinalitys(generator), "latent_avg": generator.w_avg}
    torch.save({"g_ema": module(state)}, tmp_path / "module.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that TorchScript is old
        torch.jit.script(module(state)).save(tmp_path / "script.pt")
    save_file(state, tmp_path / "generator.safetensors")
    for name in ("module.pt", "script.pt", "generator.safetensors"):
        assert_same(checkpoints.load_generator(tmp_path / name), generator)


def test_noises_that_a_file_lacks_are_always_the_same(generator, tmp_path):
    state = {key: value for key, value in rosinalitys(generator).items() if not key.startswith("noises.")}
    torch.save({"g_ema": state}, tmp_path / "generator.pt")
    flat = {
        f"{at}.{name}".lstrip("."): tensor
        for at, part in nvidias(generator).named_modules()
        for name, tensor in (*part._parameters.items(), *part._buffers.items())
        if "noise" not in name
    }
    torch.save(flat, tmp_path / "quiet.pt")
    one, other = (checkpoints.load_generator(tmp_path / "generator.pt") for _ in range(2))
    quiet = checkpoints.load_generator(tmp_path / "quiet.pt")
    for k, conv in enumerate(generator.convs):
        assert torch.equal(one.convs[k].noise_const, other.convs[k].noise_const)
        assert one.convs[k].noise_const.shape == conv.noise_const.shape
        assert torch.equal(one.convs[k].noise_strength, conv.noise_strength)
        assert quiet.convs[k].noise_strength == 0
    assert torch.equal(one.convs[1].weight, generator.convs[1].weight)


def test_mappers_and_encoders_are_found_in_wrappings(generator, tmp_path):
    dims = generator.layout.dims
    write_mapper(tmp_path / "net.pth", dims, 16)
    state = torch.load(tmp_path / "net.pth")
    torch.save({"state_dict": prefixed("module.", state), "epoch": 2}, tmp_path / "wrapped.pth")
    one, other = (checkpoints.load_mapper(tmp_path / name, dims).state_dict() for name in ("net.pth", "wrapped.pth"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    names = {"stem": "input_layer", "shortcut": "shortcut_layer", "residual": "res_layer", "squeeze": "fc1"}
    names |= {"excite": "fc2", "heads": "styles", "lateral.0": "latlayer1", "lateral.1": "latlayer2"}
    ours = E4E(E4EConfig(w_dim=128, num_ws=1, width=16, units=(1, 1, 1, 1))).eval()
    theirs = {}
    for key, value in ours.state_dict().items():
        for name, other in names.items():
            key = key.replace(f"{name}.", f"{other}.")
        theirs[key] = value
    average = theirs.pop("w_avg")
    torch.save({"model": {"net": prefixed("module.encoder.", theirs)}, "latent_avg": average + 1}, tmp_path / "e4e.pt")
    encoder = checkpoints.load_encoder(tmp_path / "e4e.pt")
    assert torch.equal(encoder.w_avg, average + 1)
    assert torch.equal(encoder.heads[0].linear.weight, ours.heads[0].linear.weight)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 605143316\n"


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/readme.txt", "hello")


def write_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones((2, 2)))


OTHERS = {
    "a pointer of Git LFS": POINTER,
    "a web page": b"\xef\xbb\xbf\n<!DOCTYPE html><html><title>Sign in</title></html>",
    "a web page, in capitals": b"<!-- saved --> <HTML><head></head></HTML>",
    "XML, such as a server's refusal": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "JSON": b'{"message": "Not Found"}',
    "JSON, a list": b"[1, 2]",
    "a text": b"404: Not Found",
    "a packed file": gzip.compress(bytes(2000)),
    "an archive (7z, rar or tar)": b"weights.pt".ljust(257, b"\0") + b"ustar\0" + bytes(500),
    "an archive (zip), of 1 files such as 'weights/readme.txt'": write_zip,
    "an array of NumPy's": write_array,
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "a picture": b"\xff\xd8\xff\xe0" + bytes(100),
    "damaged, it is empty": b"",
    "damaged, it begins with nothing but zeros": bytes(4000),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, kind):
    path = tmp_path / "file.pt"
    path.write_bytes(OTHERS[kind]) if isinstance(OTHERS[kind], bytes) else OTHERS[kind](path)
    doors = [checkpoints.load_generator, checkpoints.load_mapper, checkpoints.load_encoder]
    doors += [checkpoints.load_relevance] if isinstance(OTHERS[kind], bytes) else []
    for door in doors:
        with pytest.raises(ValueError) as caught:
            door(path)
        said = str(caught.value)
        assert said.startswith(f"{path} is {kind.partition(', a list')[0].partition(', in')[0]}"), said
        assert said.endswith(".")
        assert "\n" not in said
    if not isinstance(OTHERS[kind], bytes):
        return
    ours = path.rename(tmp_path / "file.safetensors")
    for door in (*doors, read_tensors):
        with pytest.raises(ValueError, match=f"^{ours} is {kind[:4]}"):
            door(ours)


def test_a_header_that_looks_like_something_else_is_still_one(tmp_path):
    """A list of contents of 0x227b bytes begins with those of JSON."""
    for length, wanted in ((0x227B, '{"'), (0x8B1F, "\x1f\x8b")):
        header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).ljust(length).encode()
        (tmp_path / "a.pt").write_bytes(length.to_bytes(8, "little") + header + bytes(4))
        assert (tmp_path / "a.pt").read_bytes()[:2] == wanted.encode("latin-1")
        with pytest.raises(ValueError, match="no StyleGAN2 generator .it has weight"):
            checkpoints.load_generator(tmp_path / "a.pt")


def test_stylegan3_is_named_in_a_wrapping(tmp_path):
    torch.save(
        {"G_ema": {"synthesis.input.freqs": torch.ones(3), "mapping.fc0.weight": torch.ones(2, 2)}}, tmp_path / "a"
    )
    with pytest.raises(ValueError, match="is a StyleGAN3.*use a StyleGAN2"):
        checkpoints.load_generator(tmp_path / "a")
