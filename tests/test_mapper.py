import math

import pytest
import torch
import torch.nn.functional as F
from golden_weights import golden_arrays, golden_state, relative_error
from torch import nn

from deltaedit import checkpoints
from deltaedit.mapper import DeltaMapper, MapperConfig

TINY = MapperConfig(dims=(8, 8, 8, 8, 8, 4, 4), feature_dim=6)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def mapper() -> DeltaMapper:
    torch.manual_seed(0)
    return DeltaMapper(TINY).eval().requires_grad_(False)


@torch.inference_mode()
def test_mapper_gives_the_published_outputs(tmp_path):
    torch.save(golden_state("delta_mapper_ffhq"), tmp_path / "net_face.pth")
    mapper = checkpoints.load_mapper(tmp_path / "net_face.pth")
    golden = golden_arrays("delta_mapper_ffhq")
    assert sum(p.numel() for p in mapper.parameters()) == 82_760_576
    out = mapper(golden["s"], golden["c"][:, :512], golden["c"][:, 512:])
    assert relative_error(out, golden["out"]) < 1e-4


def test_mapper_equals_one_layer_at_a_time(mapper):
    s, i, delta = normal(3, 48), F.normalize(normal(3, 6, seed=1)), F.normalize(normal(3, 6, seed=2))

    def run(layers, x):
        for layer in layers:
            weight, bias = layer.weight * 0.01 / math.sqrt(x.shape[-1]), layer.bias * 0.01
            x = torch.where((y := x @ weight.T + bias) > 0, y, 0.2 * y) * math.sqrt(2)
        return x

    layers = torch.stack(s[:, :24].split(8, dim=1), dim=1)  # the coarse group, (B, 3, 8)
    layers = layers / (layers.square().mean(1, keepdim=True) + 1e-8).sqrt()
    c = torch.cat([i, delta], 1)
    c = run(mapper.coarse.condition[1:], c / (c.square().mean(1, keepdim=True) + 1e-8).sqrt())
    styles = run(mapper.coarse.style[1:], layers)
    wanted = [run(mapper.coarse.fusion, torch.cat([styles[:, k], c], 1)) for k in range(3)]
    torch.testing.assert_close(mapper(s, i, delta)[:, :24], torch.cat(wanted, 1))


def test_one_direction_serves_a_batch(mapper):
    s, i, delta = normal(3, 48), normal(3, 6), normal(6)
    torch.testing.assert_close(mapper(s, i, delta), mapper(s, i, delta.repeat(3, 1)))


def test_standardising_changes_units_only(mapper):
    s, i, delta = normal(3, 48), normal(3, 6), normal(6)
    plain = mapper(s, i, delta)
    mapper.s_mean.fill_(5.0)
    mapper.s_std.fill_(2.0)
    torch.testing.assert_close(mapper(2 * s + 5, i, delta), 2 * plain)


def test_depth_0_is_one_matrix_whatever_the_picture():
    mapper = DeltaMapper(MapperConfig(dims=TINY.dims, feature_dim=6, depth=0))
    mapper.matrix.data.normal_()
    mapper.s_std.fill_(2.0)
    s, i, delta = normal(3, 48), normal(3, 6), normal(6)
    moved = mapper(s, i, delta)
    assert moved.shape == s.shape
    torch.testing.assert_close(moved, (2 * delta @ mapper.matrix).expand(3, -1))
    torch.testing.assert_close(mapper(s, i, -3 * delta), -3 * moved)


@pytest.mark.parametrize("depth", [0, 2])
def test_save_and_load(tmp_path, depth):
    torch.manual_seed(0)
    config = MapperConfig(dims=TINY.dims, feature_dim=6, hidden=5, depth=depth, last_activation=False)
    mapper = DeltaMapper(config)
    nn.init.normal_(next(mapper.parameters()))
    mapper.save(tmp_path / "mapper.safetensors")
    again = DeltaMapper.load(tmp_path / "mapper.safetensors")
    assert again.config == config
    args = normal(2, 48), normal(2, 6), normal(6)
    assert torch.equal(again(*args), mapper(*args))


def test_bad_shapes_and_sizes_are_named(mapper, tmp_path):
    s, i, delta = normal(3, 48), normal(3, 6), normal(6)
    for bad in [(s[:, 1:], i, delta), (s, i[:2], delta), (s, i[:, :5], delta), (s, i, delta[:5])]:
        with pytest.raises(ValueError, match="must have shape"):
            mapper(*bad)
    with pytest.raises(ValueError, match="hidden must be positive"):
        MapperConfig(dims=TINY.dims, hidden=0)
    with pytest.raises(ValueError, match="depth must be 0 or more"):
        MapperConfig(dims=TINY.dims, depth=-1)
    torch.save({"sm_coarse.weight": normal(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="no DeltaEdit mapper"):
        checkpoints.load_mapper(tmp_path / "other.pth")
