"""MobileStyleGAN's published files: graphs for OpenVINO, and a Lightning checkpoint; whole, damaged, and hostile."""

import pickle
import random
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from foreign import mobile_names, write_openvino
from test_mobilestylegan import TINY

from deltaedit import checkpoints
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.style_space import sample_w
from deltaedit.stylegan2 import GeneratorConfig


@pytest.fixture
def generator() -> MobileStyleGAN:
    torch.manual_seed(0)
    generator = MobileStyleGAN(TINY).eval().requires_grad_(False)
    for layer in generator.layers:
        layer.affine.bias += 1
    generator.w_avg.copy_(sample_w(generator, 10_000).mean(0))
    return generator


@pytest.fixture
def graphs(generator, tmp_path) -> Path:
    return write_openvino(tmp_path, generator)


def test_graphs_are_read_and_equal_the_generator(generator, graphs):
    for path in (graphs, graphs.parent, str(graphs.parent)):
        got = checkpoints.load_generator(path)
        wanted = generator.state_dict()
        assert got.config == TINY
        assert not got.training
        for name, value in got.state_dict().items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5 if name == "w_avg" else 0)
    assert got.fingerprint() == generator.fingerprint()
    s = generator.styles(sample_w(generator, 2))
    assert torch.equal(got.synthesize(s), generator.synthesize(s))


def changed(path: Path, old: str, new: str, count: int = 1) -> None:
    text, n = re.subn(old, new, path.read_text(), count=count, flags=re.DOTALL)
    assert n, f"{path.name} has no {old}"
    path.write_text(text)


def shifted(by: int):
    return lambda path: changed(path, r'(offset=")([1-9]\d*)"', lambda m: f'{m[1]}{int(m[2]) + by}"')


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda p: changed(p, r'(name="m.conv1.bias".*?size=")\d+"', r'\g<1>44"'), "'m.conv1.bias' has 44 bytes for a"),
        (lambda p: changed(p, r'(shape="1, )16(, 1, 1".*?size=")64"', r'\g<1>15\g<2>60"'), "none holds the bytes from"),
        (lambda p: changed(p, r'(shape="1, )16(, 1, 1".*?size=")64"', r'\g<1>17\g<2>68"'), "two hold the byte"),
        (shifted(4), "constants that do not fill SynthesisNetwork.bin"),
        (shifted(-4), "constants that do not fill SynthesisNetwork.bin"),
        (lambda p: changed(p, r'<layer id="\d+" name="m.conv1.bias".*?</layer>', ""), "KeyError|lacks"),
        (lambda p: changed(p, 'name="m.conv1.bias"', 'name="m.conv2.bias"'), "no constant 'm.conv1.bias'"),
        (lambda p: changed(p, "m.conv1.bias", "m.input.input"), "2 constants 'm.input.input'"),
        (lambda p: changed(p, '(m.conv1.bias.*?)"f32"', r'\1"f64"'), "constant of an unknown kind.*'f64'"),
        (lambda p: changed(p, '(m.conv1.bias.*?)"f32"', r'\1"i32"'), "layers.0.bias is .* of int32, where"),
        (lambda p: changed(p, r'offset="\d+"', 'offset="-4"'), "'-4' is no number"),
        (lambda p: changed(p, r'offset="\d+"', f'offset="{"9" * 5000}"'), "is no number"),
        (lambda p: changed(p, 'type="Tile"', 'type="Loop"'), "an operation that is not known here, Loop 'Tile_"),
        (lambda p: changed(p, "<net", '<!DOCTYPE net [<!ENTITY a "b">]><net'), "declares a document type or entities"),
        (lambda p: changed(p, "<net", '<!DOCTYPE net SYSTEM "file:///etc/passwd"><net'), "declares a document type"),
        (lambda p: changed(p, "m.conv1.bias", "&a;"), "no XML .*undefined entity"),
        (lambda p: changed(p, 'version="10"', 'version="11"'), "no OpenVINO graph of version 10"),
        (lambda p: p.write_text("<html></html>"), "no OpenVINO graph of version 10 but <html"),
        (lambda p: p.write_text(p.read_text()[:900]), "damaged, or no XML"),
        (lambda p: changed(p, "<meta_data>", "<a>" * 2_000_000), "nested without end"),
        (lambda p: changed(p, '<layer id="1"', '<layer id="0"'), "two layers have the id '0'"),
        (lambda p: changed(p, "(<edge [^>]*>)", r"\1\1"), "two edges end at one port"),
        (
            lambda p: changed(p, '(<edge from-layer=)"[0-9]+"', r'\1"999"'),
            "damaged, or of another kind: it lacks '999'",
        ),
        (lambda p: changed(p, 'transpose_b="true"', 'transpose_b="false"'), "takes its weights the other way round"),
        (lambda p: p.with_suffix(".bin").write_bytes(p.with_suffix(".bin").read_bytes()[:-4]), "but .*.bin has"),
        (lambda p: p.with_suffix(".bin").write_bytes(p.with_suffix(".bin").read_bytes() + b"1234"), "but .*.bin has"),
        (lambda p: p.with_suffix(".bin").unlink(), "there is no file .*SynthesisNetwork.bin"),
        (lambda p: p.with_name("MappingNetwork.xml").unlink(), "there is no file .*MappingNetwork.xml"),
        (lambda p: p.with_name("MappingNetwork.xml").write_text(p.read_text()), "MappingNetwork.xml has constants"),
    ],
)
def test_what_is_wrong_with_graphs_is_named_in_one_sentence(graphs, harm, message):
    harm(graphs)
    with pytest.raises(ValueError, match=message) as error:
        checkpoints.load_generator(graphs)
    said = str(error.value)
    assert str(graphs.parent) in said
    assert "\n" not in said


def test_numbers_that_no_weights_are_must_be_the_architectures(generator, graphs):
    data = graphs.with_suffix(".bin").read_bytes()
    slope = torch.tensor(0.2).numpy().tobytes()
    assert data.count(slope) == 1
    graphs.with_suffix(".bin").write_bytes(data.replace(slope, torch.tensor(0.3).numpy().tobytes()))
    with pytest.raises(ValueError, match="another network: Const .* is 0.3"):
        checkpoints.load_generator(graphs)
    graphs.with_suffix(".bin").write_bytes(data.replace(slope, torch.tensor(torch.nan).numpy().tobytes()))
    with pytest.raises(ValueError, match="no finite numbers"):
        checkpoints.load_generator(graphs)


def test_large_files_are_not_read(graphs, monkeypatch):
    monkeypatch.setitem(checkpoints.openvino.LONGEST, ".bin", 64)
    with pytest.raises(ValueError, match="MappingNetwork.bin has more than 0 MB"):
        checkpoints.load_generator(graphs)


def lightnings(generator: MobileStyleGAN) -> dict[str, torch.Tensor]:
    """A state dict of random weights in the authors' layout, of the generator's sizes."""
    rng = torch.Generator().manual_seed(1)
    state = {"student.input.input": generator.const, "style_mean": generator.w_avg.expand(1, 9, -1)}
    state["student.idwt.g0_col"] = state["loss.perceptual.weight"] = torch.ones(2)
    for k, (layer, name) in enumerate(zip(generator.layers, mobile_names(generator), strict=True)):
        at, part = f"student.{name}", f"student.{name.removesuffix('.conv')}"
        state |= {f"{at}.modulation.{key}": value for key, value in layer.affine.state_dict().items()}
        if name.endswith("up"):
            continue
        state[f"{part}.bias"] = layer.bias[None, :, None, None]
        if name.endswith("to_img.conv"):
            state[f"{at}.weight"] = layer.weight[..., None, None]
            continue
        state[f"{at}.style_inv"] = torch.randn(1, 1, layer.weight.shape[1], 1, 1, generator=rng)
        state[f"{part}.noise.weight"] = torch.tensor([0.1])
        state[f"{at}.weight_permute" if k else f"{at}.weight"] = layer.weight
        if k:
            state[f"{at}.weight_dw"] = layer.depthwise
    for k, layer in enumerate(generator.mapping_network):
        state[f"mapping_net.layers.{k + 1}.weight"] = layer.weight * 100 * layer.weight.shape[1] ** 0.5
        state[f"mapping_net.layers.{k + 1}.bias"] = layer.bias * 100
    return {name: value.clone() for name, value in state.items()}


def test_a_checkpoint_is_read_and_demodulated(generator, tmp_path):
    theirs = lightnings(generator)
    torch.save({"epoch": 3, "state_dict": theirs, "callbacks": {}}, tmp_path / "mobile.ckpt")
    got = checkpoints.load_generator(tmp_path / "mobile.ckpt")
    assert got.config == TINY
    torch.testing.assert_close(got.w_avg, generator.w_avg)
    z = torch.randn(2, TINY.z_dim)
    torch.testing.assert_close(got.mapping(z), generator.mapping(z), rtol=1e-4, atol=1e-5)
    for k, name in enumerate(mobile_names(generator)):
        ours, layer = generator.layers[k], got.layers[k]
        assert torch.equal(layer.affine.weight, ours.affine.weight)
        if not hasattr(layer, "noise_const"):
            continue
        x = torch.randn(1, ours.weight.shape[1], 6, 6)
        style = torch.randn(1, ours.weight.shape[1])
        whole = ours.weight if not k else ours.weight * ours.depthwise[:, 0]  # (C', C, 3, 3)
        norm = (ours.gain * theirs[f"student.{name}.style_inv"][0] * whole).square().sum((1, 2, 3))
        wanted = F.conv2d(x * style[..., None, None] * ours.gain, whole, padding=1) / norm[:, None, None].sqrt()
        wanted = F.leaky_relu(wanted + ours.bias[:, None, None], 0.2)
        torch.testing.assert_close(layer(x, style, None), wanted, rtol=1e-3, atol=1e-4)
        assert 0.03 < layer.noise_const.std() < 0.3
    again = checkpoints.load_generator(tmp_path / "mobile.ckpt")
    assert again.fingerprint() == got.fingerprint()  # noise is drawn from a seed


def test_an_old_checkpoint_names_a_class_and_runs_nothing(generator, tmp_path):
    whole = {"state_dict": lightnings(generator), "callbacks": {"KEY": {"best": 1.0}}}
    torch.save(whole, tmp_path / "mobile.ckpt", _use_new_zipfile_serialization=False)
    data = (tmp_path / "mobile.ckpt").read_bytes()
    key = b"X\x03\x00\x00\x00KEY"
    assert data.count(key) == 1
    named = b"cpytorch_lightning.callbacks.model_checkpoint\nModelCheckpoint\n"
    (tmp_path / "mobile.ckpt").write_bytes(data.replace(key, named))  # as a key: the class itself, by name
    assert checkpoints.load_generator(tmp_path / "mobile.ckpt").config == TINY
    (tmp_path / "mobile.ckpt").write_bytes(data.replace(key, b"cos\nsystem\n(X\x04\x00\x00\x00exittR"))  # called
    with pytest.raises(ValueError, match="os.system"):
        checkpoints.load_generator(tmp_path / "mobile.ckpt")


def test_other_checkpoints_are_refused(generator, tmp_path):
    path, state = tmp_path / "mobile.ckpt", lightnings(generator)
    for change, message in (
        ({key: None for key in state if key.endswith("style_inv")}, "MobileStyleGAN of another version"),
        ({key: None for key in state if key.startswith("mapping_net")}, "and 0 from z to w"),
        ({"student.conv1.bias": None}, "lacks 'conv1.bias'"),
        ({"student.conv1.bias": torch.zeros(1, 9, 1, 1)}, r"layers.0.bias is \(9,\)"),
        ({"student.layers.0.up.modulation.weight": torch.zeros(9, 8)}, r"affine.weight is \(9, 8\)"),
    ):
        torch.save({"state_dict": {k: v for k, v in {**state, **change}.items() if v is not None}}, path)
        with pytest.raises(ValueError, match=message):
            checkpoints.load_generator(path)
    path.write_bytes(pickle.dumps({"state_dict": {"student.input.input": 1}}))
    with pytest.raises(ValueError, match="another version"):
        checkpoints.load_generator(path)


def test_the_released_mapper_of_stylegan2_is_refused(generator, tmp_path):
    mapper = DeltaMapper(MapperConfig(GeneratorConfig(resolution=64, channel_base=2048, channel_max=16).layout.dims, 6))
    short = {"coarse": "coarse", "medium": "medium", "fine": "fine", "style": "sm", "condition": "cm", "fusion": "fm"}
    state = {}
    for key, value in mapper.state_dict().items():
        if key not in ("s_mean", "s_std"):
            group, module, rest = key.split(".", 2)
            state[f"{short[module]}_{group}.mapping.{rest}"] = value
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(
        ValueError, match=r"net.pth edits groups of \(.*\) style channels, which are not this generator's"
    ):
        checkpoints.load_mapper(tmp_path / "net.pth", generator.layout.dims)


def test_bytes_changed_by_chance_end_in_a_generator_or_one_sentence(graphs):
    rng, whole = random.Random(0), {path: path.read_bytes() for path in graphs.parent.iterdir()}
    refused = []
    for _ in range(60):
        path = rng.choice(sorted(whole))
        content = bytearray(whole[path])
        for _ in range(rng.choice((1, 3))):
            at = rng.randrange(len(content))
            content[at : at + rng.choice((0, 1, 9))] = rng.randbytes(rng.choice((0, 1, 1, 8)))
        path.write_bytes(content)
        try:
            checkpoints.load_generator(graphs)
        except ValueError as error:
            refused.append(str(error))
        path.write_bytes(whole[path])
    assert len(refused) > 30
    starts = (str(graphs), str(graphs.with_name("MappingNetwork.xml")), "there is no file")
    assert [said for said in refused if not said.startswith(starts) or "\n" in said] == []
