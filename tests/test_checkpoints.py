"""Files of others, in each format; what is wrong with them is named. Hostile ones: see test_hostile_files.py."""

import argparse
import pickle
import types

import numpy as np
import pytest
import torch
from fakes import tiny_generator
from foreign import Persistent, nvidias, nvidias_modules, rosinalitys, write_nvidia
from golden_weights import golden_arrays, golden_state, relative_error

from deltaedit import checkpoints
from deltaedit.checkpoints import released
from deltaedit.checkpoints.networks import fill
from deltaedit.e4e import E4E, E4EConfig
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.stylegan2 import Generator, GeneratorConfig


@pytest.fixture
def generator() -> Generator:
    generator = tiny_generator()
    for tensor in (*(conv.noise_strength for conv in generator.convs), generator.w_avg):
        tensor.normal_()
    return generator


def assert_same(got: Generator, wanted: Generator) -> None:
    theirs = wanted.state_dict()
    assert got.state_dict().keys() == theirs.keys()
    for name, tensor in got.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    z = torch.randn(2, wanted.config.z_dim)
    torch.testing.assert_close(got(z), wanted(z))


@torch.inference_mode()
def test_generator_gives_the_published_outputs(tmp_path):
    torch.save({"g_ema": golden_state("rosinality_64"), "latent_avg": torch.ones(512)}, tmp_path / "generator.pt")
    generator = checkpoints.load_generator(tmp_path / "generator.pt")
    golden = golden_arrays("rosinality_64")
    w = generator.mapping(golden["z"])
    s = generator.styles(w)
    assert generator.layout.dims == tuple(golden["dims"].tolist())
    assert torch.equal(generator.w_avg, torch.ones(512))
    assert relative_error(w, golden["w"]) < 1e-4
    assert relative_error(s, golden["s"]) < 1e-4
    assert relative_error(generator.synthesize(s, w), golden["image"]) < 1e-4
    assert relative_error(generator.synthesize(s + golden["delta_s"], w), golden["image_edited"]) < 1e-4


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_nvidias_pickles_are_read_to_the_bit(generator, tmp_path, protocol):
    path = write_nvidia(tmp_path / "network-snapshot.pkl", nvidias(generator), protocol)
    got = checkpoints.load_generator(path)
    assert_same(got, generator)
    assert got.config == GeneratorConfig(16, 6, 8, 2, channel_base=96, channel_max=12)
    assert not got.training
    assert all(parameter.requires_grad for parameter in got.parameters())


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_rosinalitys_files_are_read_to_the_bit(generator, tmp_path, older, bare):
    state = rosinalitys(generator)
    training = {"g_ema": state, "g": {"x": torch.ones(10**5)}, "args": argparse.Namespace(iter=3, path="ffhq")}
    data = {**state, "latent_avg": generator.w_avg} if bare else {**training, "latent_avg": generator.w_avg}
    torch.save(data, tmp_path / "generator.pt", _use_new_zipfile_serialization=not older)
    assert_same(checkpoints.load_generator(tmp_path / "generator.pt"), generator)


def test_a_generator_may_lie_in_other_files(generator, tmp_path):
    flat = {
        f"{at}.{name}".lstrip("."): tensor
        for at, module in nvidias(generator).named_modules()
        for part in (module._parameters, module._buffers)
        for name, tensor in part.items()
    }
    decoder = {f"decoder.{key}": value for key, value in rosinalitys(generator).items()}
    average = generator.w_avg.repeat(generator.num_ws, 1)
    torch.save(flat, tmp_path / "state.pt")
    torch.save({"state_dict": decoder, "latent_avg": average, "opts": {}}, tmp_path / "e4e.pt")
    generator.save(tmp_path / "generator.safetensors")
    for name in ("state.pt", "e4e.pt", "generator.safetensors", ""):
        assert_same(checkpoints.load_generator(tmp_path / name), generator)


def test_half_precision_and_views_are_read(generator, tmp_path):
    state = {key: value.half() for key, value in rosinalitys(generator).items()}
    state["conv1.conv.weight"] = torch.randn(12, 1, 3, 3, 12).half().permute(1, 4, 0, 2, 3)
    torch.save(state, tmp_path / "generator.pt")
    got = checkpoints.load_generator(tmp_path / "generator.pt")
    assert torch.equal(got.convs[0].weight, state["conv1.conv.weight"][0].float())
    assert got.convs[0].weight.is_contiguous()
    w_avg = got.mapping(torch.randn(4000, 6)).mean(0)
    torch.testing.assert_close(got.w_avg, w_avg, rtol=0, atol=0.1)  # the file says none: estimated


@torch.inference_mode()
def test_e4e_gives_the_published_outputs(tmp_path):
    theirs = {f"encoder.{key}": value for key, value in golden_state("e4e_small").items()}
    theirs |= {key[:-12] + "num_batches_tracked": torch.tensor(0) for key in theirs if key.endswith("running_mean")}
    average = torch.randn(8, 128)
    torch.save(
        {"state_dict": theirs, "latent_avg": average, "opts": {"encoder_type": "Encoder4Editing"}}, tmp_path / "e4e.pt"
    )
    encoder = checkpoints.load_encoder(tmp_path / "e4e.pt")
    assert encoder.config == E4EConfig(w_dim=128, num_ws=8, width=16)
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    wanted = golden_arrays("e4e_small")["w_plus"] + average
    assert relative_error(encoder(image), wanted) < 1e-4
    encoder.save(tmp_path / "encoder.safetensors")
    again = checkpoints.load_encoder(tmp_path / "encoder.safetensors")
    assert torch.equal(again(image), encoder(image))
    assert encoder(image.expand(2, -1, -1, -1)[..., :200]).shape == (2, 8, 128)
    with pytest.raises(ValueError, match="shape"):
        encoder(image[0])


def test_published_e4e_has_the_published_sizes():
    with torch.device("meta"):
        encoder = E4E()
    # The published file has 1,201,649,680 bytes, at four a number: the encoder's, and those of the generator beside it.
    with torch.device("meta"):
        generator = Generator()
    numbers = sum(t.numel() for part in (encoder, generator) for t in part.state_dict().values())
    assert 0 < 1_201_649_680 - 4 * numbers < 1_000_000


def test_other_encoders_are_named(tmp_path):
    torch.save(
        {"state_dict": {"encoder.x": torch.ones(1)}, "opts": {"encoder_type": "GradualStyleEncoder"}},
        tmp_path / "psp.pt",
    )
    with pytest.raises(ValueError, match="GradualStyleEncoder"):
        checkpoints.load_encoder(tmp_path / "psp.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="no encoder of e4e's"):
        checkpoints.load_encoder(tmp_path / "other.pt")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_relevance_of_styleclip(tmp_path, dtype):
    matrix = np.random.default_rng(0).normal(size=(54, 10)).astype(dtype)
    np.save(tmp_path / "fs3.npy", matrix)
    got = checkpoints.load_relevance(tmp_path / "fs3.npy")
    assert got.dtype == torch.float32
    assert np.array_equal(got.numpy(), matrix.astype(np.float32))


def test_bad_relevance_is_named(tmp_path):
    path = tmp_path / "fs3.npy"
    with pytest.raises(ValueError, match="there is no file"):
        checkpoints.load_relevance(path)
    for array, message in (
        (np.zeros(3), "float64 of shape"),
        (np.zeros((2, 2), int), "int64"),
        (np.full((2, 2), np.nan), "no finite numbers"),
        (np.array([[print]], dtype=object), "damaged"),
    ):
        np.save(path, array)
        with pytest.raises(ValueError, match=message):
            checkpoints.load_relevance(path)
    np.save(path, np.zeros((100, 100)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load_relevance(path)
    path.write_bytes(path.read_bytes().replace(b"(100, 100)", b"(9**9, 9 )"))
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load_relevance(path)


@pytest.mark.parametrize(
    ("resolution", "base"), [(1024, 32768), (1024, 16384), (512, 32768), (256, 32768), (256, 16384)]
)
def test_a_mapper_says_for_which_generator_it_is(resolution, base):
    layout = GeneratorConfig(resolution, channel_base=base).layout
    with torch.device("meta"):
        state = DeltaMapper(MapperConfig(layout.dims)).state_dict()
    config = released.config(state, None)
    assert config.dims == layout.dims
    assert config.preprocessing == "deltaedit"


def test_a_mapper_that_does_not_fit_is_named_with_the_generator(tmp_path):
    state = {
        f"{m}_{g}.mapping.{k}.{p}": torch.zeros((6, 6) if p == "weight" else 6)
        for m, first in (("sm", 1), ("cm", 1), ("fm", 0))
        for g in ("coarse", "medium", "fine")
        for k in range(first, first + 4)
        for p in ("weight", "bias")
    }
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"groups of \(6, 6, 6\) style channels, which are those of no StyleGAN2"):
        checkpoints.load_mapper(tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"groups of \(6, 6, 6\) .* not this generator's \(12, 12, 6\)"):
        checkpoints.load_mapper(tmp_path / "net.pth", tiny_generator().layout.dims)


def test_bad_files_are_named(generator, tmp_path):
    path = tmp_path / "generator.pt"
    with pytest.raises(ValueError, match="there is no file"):
        checkpoints.load_generator(path)
    torch.save({"g_ema": rosinalitys(generator)}, path)
    whole = path.read_bytes()
    for content in (whole[:300], whole[:-300], whole[:4000] + b"x" + whole[4001:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            checkpoints.load_generator(path)
    path.write_bytes(b"<!DOCTYPE html><title>Google Drive: virus scan warning</title>")
    with pytest.raises(ValueError, match="a web page"):
        checkpoints.load_generator(path)
    for data, message in (
        ({"weight": torch.ones(3)}, "no StyleGAN2 generator .*weight"),
        ([1, 2], "no StyleGAN2 generator but a list"),
        ({"g_ema": {**rosinalitys(generator), "conv1.activate.bias": torch.full((12,), torch.nan)}}, "finite"),
        ({"generator.progression.0.conv.weight": torch.ones(3)}, "StyleGAN1"),
    ):
        torch.save(data, path)
        with pytest.raises(ValueError, match=message):
            checkpoints.load_generator(path)
        with pytest.raises(ValueError, match="no DeltaEdit mapper"):
            checkpoints.load_mapper(path)


def test_other_widths_and_resolutions_are_named(generator, tmp_path):
    state = rosinalitys(generator)
    torch.save({**state, "convs.1.conv.weight": torch.zeros(1, 12, 9, 3, 3)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"convs.2.weight is \(12, 9, 3, 3\).*where that has \(12, 12, 3, 3\)"):
        checkpoints.load_generator(tmp_path / "a.pt")
    rgb = {
        f"to_rgbs.{k}.{rest}": state[f"to_rgbs.1.{rest}"]
        for k in range(2, 12)
        for rest in ("conv.weight", "bias", "conv.modulation.weight", "conv.modulation.bias")
    }
    torch.save({**state, **rgb}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match="of 8 to 1024 px: it has 13 toRGB layers"):
        checkpoints.load_generator(tmp_path / "b.pt")
    del state["noises.noise_2"]
    torch.save(state, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="lacks 'noises.noise_2'"):
        checkpoints.load_generator(tmp_path / "c.pt")


def test_other_architectures_of_nvidia_are_named(generator, tmp_path):
    def with_(change) -> Persistent:
        network = nvidias(generator)
        change(network)
        return network

    def stylegan3(network):
        network.synthesis = Persistent(
            "SynthesisNetwork",
            input=Persistent("SynthesisInput", freqs=torch.ones(3)),
            L0_36_512=Persistent("SynthesisLayer", cutoffs=np.ones(3)),
        )

    def conditional(network):
        network.mapping.embed = Persistent("FullyConnectedLayer", weight=torch.ones(2, 2))

    def resnet(network):
        network.synthesis.b8.architecture = "resnet"

    def linear(network):
        network.synthesis.b8.conv1.activation = "linear"

    def blurred(network):
        network.synthesis.b8.resample_filter = torch.ones(4, 4) / 16

    for change, message in (
        (stylegan3, "is a StyleGAN3"),
        (conditional, "class-conditional"),
        (resnet, "architecture 'resnet'"),
        (linear, "'linear' activations"),
        (blurred, "another filter"),
        (lambda network: delattr(network, "synthesis"), "no StyleGAN2 generator .it has"),
        (lambda network: delattr(network.synthesis.b8.conv0, "noise_strength"), "lacks convs.1.noise_strength"),
    ):
        path = write_nvidia(tmp_path / "network.pkl", with_(change))
        with pytest.raises(ValueError, match=message):
            checkpoints.load_generator(path)


def test_tensorflow_pickles_are_answered_with_the_file_to_use(tmp_path):
    def write(name: str, source: str) -> None:
        with nvidias_modules():
            import sys

            network = types.ModuleType("dnnlib.tflib.network")
            network.Network = type("Network", (), {"__module__": "dnnlib.tflib.network"})
            sys.modules |= {"dnnlib.tflib": types.ModuleType("dnnlib.tflib"), "dnnlib.tflib.network": network}
            try:
                parts = [network.Network() for _ in range(3)]
                for part in parts:
                    part.build_module_src, part.variables = source, [("w", np.ones(3))]
                (tmp_path / name).write_bytes(pickle.dumps(tuple(parts)))
            finally:
                del sys.modules["dnnlib.tflib"], sys.modules["dnnlib.tflib.network"]

    for name, source, message in (
        ("stylegan2-ffhq-config-f.pkl", "G_main stylegan2", "StyleGAN2, .* use stylegan2-ffhq-1024x1024.pkl instead"),
        ("stylegan2-church-config-f.pkl", "G_main stylegan2", "StyleGAN2, .* use stylegan2-church-config-f.pt instead"),
        ("karras2019stylegan-ffhq-1024x1024.pkl", "G_style", "StyleGAN1, .* use stylegan2-ffhq-1024x1024.pkl"),
        ("mine.pkl", "G_main stylegan2", "StyleGAN2, .*legacy.py"),
    ):
        write(name, source)
        with pytest.raises(ValueError, match=f"is a TensorFlow pickle of {message}"):
            checkpoints.load_generator(tmp_path / name)


def test_nothing_is_set_aside_for_a_network_before_its_tensors_fit():
    huge = GeneratorConfig(1024, channel_base=2**30, channel_max=2**20)
    with pytest.raises(ValueError, match="lacks"):
        fill(lambda: Generator(huge), {}, "generator")
