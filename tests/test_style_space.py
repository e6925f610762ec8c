"""What a style space is; and that all the road takes a generator of any architecture that keeps the protocol."""

import inspect
from dataclasses import asdict, dataclass, replace

import pytest
import torch
from fakes import DIM, FakeClip, tiny_generator
from torch import Tensor, nn

from deltaedit import baselines, checkpoints, style_space
from deltaedit.devices import full_precision
from deltaedit.domain import GENERATOR, Domain, check_fit
from deltaedit.editor import Editor
from deltaedit.features import extract_features
from deltaedit.files import fingerprint, read_module, write_tensors
from deltaedit.inversion import EncoderTraining, train_encoder
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN
from deltaedit.pictures import resize
from deltaedit.relevance import estimate_relevance
from deltaedit.style_space import StyleLayout, as_w_plus, sample_w
from deltaedit.stylegan2 import Generator, GeneratorConfig
from deltaedit.training import MapperTraining, train_mapper

SIDE, Z, W, LAYERS = 16, 5, 6, 6


@dataclass(frozen=True)
class LinearConfig:
    width: int = 4


class Linear(nn.Module):
    """Another architecture: pictures are a linear function of s alone, and nothing of StyleGAN2 is in it."""

    resolution, z_dim, num_ws, batch_size, layer_sizes = SIDE, Z, LAYERS, 8, (SIDE,) * LAYERS

    def __init__(self, config: LinearConfig = LinearConfig()) -> None:
        super().__init__()
        self.config, self.layout = config, StyleLayout((config.width,) * LAYERS)
        self.to_w, self.to_s = nn.Linear(Z, W), nn.Linear(W, config.width)
        self.draw = nn.Linear(self.layout.size, 3 * SIDE**2)
        self.register_buffer("w_avg", torch.zeros(W))

    def mapping(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        with full_precision(z):
            return torch.lerp(self.w_avg, self.to_w(z), truncation)

    def styles(self, w: Tensor) -> Tensor:
        with full_precision(w):
            return self.to_s(as_w_plus(self, w)).flatten(1)

    def synthesize(self, s, w, noise="const", rng=None, dtype=torch.float32) -> Tensor:
        return self.draw(s).unflatten(1, (3, SIDE, SIDE)).float() / 4

    def preview(self, s, size=256, w=None, dtype=torch.float32) -> Tensor:
        return resize(self.synthesize(s, w, dtype=dtype), size)

    def fingerprint(self) -> str:
        return fingerprint(self.state_dict())

    def save(self, path) -> None:
        write_tensors(path, self.state_dict(), {"kind": "linear", "config": asdict(self.config)})

    @classmethod
    def load(cls, path, device="cpu"):
        return read_module(path, lambda about: cls(LinearConfig(**about["config"]))).to(device)


@pytest.fixture
def linear() -> Linear:
    torch.manual_seed(0)
    return Linear().eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [Generator, MobileStyleGAN, Linear])
def test_generators_keep_the_protocol(kind):
    protocol, generator = style_space.AnyGenerator, kind()
    asked = {name for name in dir(protocol) if not name.startswith("_")} | set(protocol.__annotations__)
    assert len(asked) == 14
    for name in asked:
        assert hasattr(generator, name), name
        if callable(getattr(protocol, name, None)):
            wanted, got = (inspect.signature(getattr(x, name)).parameters for x in (protocol, kind))
            assert list(wanted) == list(got), name


def test_a_preview_of_stylegan2_is_the_picture_averaged():
    generator = tiny_generator()
    w = sample_w(generator, 2)
    s = generator.styles(w)
    image = generator.synthesize(s, w)
    assert torch.equal(generator.preview(s, 16, w), image)
    torch.testing.assert_close(generator.preview(s, 4, w)[:, :, 0, 0], image[:, :, :4, :4].mean((2, 3)))
    for size, of, got in ((16, None, "no w"), (5, w, "a size of 5"), (32, w, "a size of 32")):
        with pytest.raises(ValueError, match=f"a preview needs w, and a size that 16 px are a multiple of. Got {got}"):
            generator.preview(s, size, of)


def test_all_the_road_takes_another_architecture(linear, tmp_path):
    clip = FakeClip()
    store = extract_features(linear, clip, 200, tmp_path / "features")
    recipe = MapperTraining(steps=20, batch_size=16, lr=0.1, held_out=20, evaluate_every=20)
    mapper = train_mapper(store, recipe, tmp_path / "mapper")
    relevance = estimate_relevance(linear, clip, n_latents=2)
    assert estimate_relevance(store).shape == relevance.shape == (linear.layout.size, DIM)
    encoder, _ = train_encoder(linear, tmp_path / "encoder", EncoderTraining(steps=2, batch_size=4, width=8))
    editor = Editor(linear, clip, mapper, relevance, Domain("lines", "line", threshold=0.1, tail=0.01), encoder)
    latent = editor.sample(seed=1, n=3)
    edit = editor.edit(latent, "thick line")
    assert edit.tensor.shape == (3, 3, SIDE, SIDE)
    assert not torch.equal(edit.tensor, latent.tensor)
    assert torch.equal(editor.replay(edit.to_json()).tensor, edit.tensor)
    assert editor.invert(latent.tensor, steps=2).w.shape == (3, LAYERS, W)
    short = baselines.LatentMapperTraining(steps=2)
    for method in (
        baselines.GlobalDirections(editor, relevance),
        baselines.LatentOptimization(editor, steps=2),
        baselines.LatentMapper(editor, tmp_path, short),
        baselines.RandomDirection(editor),
    ):
        assert method.edit(latent, "thick line").tensor.shape == latent.tensor.shape


def test_a_file_of_another_architecture_is_read_once_it_has_its_entry(linear, tmp_path, monkeypatch):
    linear.save(path := tmp_path / GENERATOR)
    with pytest.raises(ValueError, match="holds another kind of model .'linear'."):
        checkpoints.load_generator(path)
    monkeypatch.setitem(checkpoints.ARCHITECTURES, "linear", lambda config: Linear(LinearConfig(**config)))
    again = checkpoints.load_generator(tmp_path)
    assert torch.equal(sample_w(again, 3, seed=2), sample_w(linear, 3, seed=2))


def test_what_is_of_another_generator_is_refused(linear):
    mapper = DeltaMapper(MapperConfig(GeneratorConfig().layout.dims))
    with pytest.raises(ValueError, match=r"mapper and generator must have the same style widths. Got \(512, .*\(4, 4"):
        check_fit(linear, mapper=mapper)
    with pytest.raises(ValueError, match=r"w must have shape \(B, 6\) or \(B, 6, 6\). Got \(2, 5\)"):
        linear.styles(torch.zeros(2, 5))


def test_layout_and_mapper_groups():
    ffhq = GeneratorConfig().layout
    assert ffhq.dims == (*[512] * 10, 256, 256, 128, 128, 64, 64, 32)
    assert ffhq.size == 6048
    groups = [(g.layers, g.width, g.start, g.stop) for g in ffhq.groups]
    assert groups == [(3, 512, 0, 1536), (4, 512, 1536, 3584), (1, 2464, 3584, 6048)]
    assert [GeneratorConfig(resolution=r).layout.size for r in (256, 512)] == [5760, 5952]
    small = GeneratorConfig(resolution=64, channel_base=2048, channel_max=128).layout
    assert small.dims == (128, 128, 128, 128, 128, 128, 64, 64, 32)
    assert [(g.layers, g.width) for g in small.groups] == [(3, 128), (3, 128), (1, 160)]
    parts = small.split(torch.randn(2, small.size))
    assert [p.shape[1] for p in parts] == list(small.dims)
    with pytest.raises(ValueError, match=r"928 style channels.*Got shape \(2, 3\)"):
        small.split(torch.randn(2, 3))
    with pytest.raises(ValueError, match="5 layers or more"):
        StyleLayout((8, 8, 8)).groups  # noqa: B018


def test_an_architecture_says_where_its_groups_begin():
    layout = MobileConfig().layout
    assert (len(layout.dims), layout.size, layout.cuts) == (23, 6752, (7, 13))
    groups = [(g.layers, g.width, g.start, g.stop) for g in layout.groups]  # of different widths, each is seen as one
    assert groups == [(1, 2816, 0, 2816), (1, 2304, 2816, 5120), (1, 1632, 5120, 6752)]
    assert [(g.layers, g.width) for g in StyleLayout((4, 4, 2, 2, 2, 1), (2, 5)).groups] == [(2, 4), (3, 2), (1, 1)]
    for count in range(2, 9):
        cuts = MobileConfig(channels=(8,) * count).layout.cuts
        assert 0 < cuts[0] < cuts[1] < 2 + 3 * (count - 1)
    for cuts in ((0, 2), (2, 2), (1, 3)):
        with pytest.raises(ValueError, match="cuts must leave layers to all three groups of 3"):
            StyleLayout((8, 8, 8), cuts)


def test_the_mapper_of_such_an_architecture_has_its_groups(tmp_path):
    torch.manual_seed(0)
    generator = MobileStyleGAN(MobileConfig(channels=(8, 8, 4), z_dim=5, w_dim=6, mapping_layers=2)).eval()
    generator.requires_grad_(False)
    store = extract_features(generator, FakeClip(), 60, tmp_path / "features")
    recipe = MapperTraining(steps=2, batch_size=8, held_out=10, mapper=MapperConfig(hidden=4))
    mapper = train_mapper(store, recipe)
    assert mapper.layout == generator.layout
    assert [g.stop for g in mapper.groups] == [g.stop for g in generator.layout.groups]
    mapper.save(tmp_path / "mapper.safetensors")
    assert DeltaMapper.load(tmp_path / "mapper.safetensors").config == mapper.config
    in_w_plus = train_mapper(store, replace(recipe, space="w_plus"))
    assert in_w_plus.config.dims == (6,) * generator.num_ws
    check_fit(generator, DIM, mapper)
    check_fit(generator, DIM, DeltaMapper(replace(mapper.config, groups=1)))
    stylegan2 = DeltaMapper(MapperConfig(GeneratorConfig().layout.dims))
    with pytest.raises(
        ValueError, match=r"mapper and generator must have the same style widths. Got \(512, .*\(8, 8, 2"
    ):
        check_fit(generator, mapper=stylegan2)
