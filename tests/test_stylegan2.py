import math

import pytest
import torch
import torch.nn.functional as F
from textbook import synthesize

from deltaedit.devices import drawing_dtype, half_dtype
from deltaedit.stylegan2 import Discriminator, Generator, GeneratorConfig, StyledConv, ToRGB, downsample, upsample

TINY = GeneratorConfig(resolution=16, z_dim=6, w_dim=8, mapping_layers=2, channel_base=96, channel_max=12)


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(TINY).eval().requires_grad_(False)
    for conv in generator.convs:
        conv.noise_strength.fill_(0.3)
    return generator


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def reference_fir(x: torch.Tensor) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(taps, taps)
    return torch.stack([F.conv2d(c[:, None], kernel[None, None]) for c in x.unbind(1)], 2).squeeze(1)


def reference_conv(conv: StyledConv, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Each picture with weights of its own, one picture after the other (arXiv:1912.04958, equations 1 and 3)."""
    out = []
    for picture, s in zip(x, style, strict=True):
        weight = conv.weight * s[None, :, None, None] / math.sqrt(x.shape[1] * 9)
        weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        if conv.upsampling:
            big = torch.zeros(1, picture.shape[0], 2 * picture.shape[1] + 1, 2 * picture.shape[2] + 1)
            big[:, :, 1::2, 1::2] = picture  # the pixels with zeros between and around them
            y = 4 * reference_fir(F.pad(F.conv2d(F.pad(big, (1, 1, 1, 1)), weight.flip(2, 3)), (1, 1, 1, 1)))
        else:
            y = F.conv2d(picture[None], weight, padding=1)
        out.append(F.leaky_relu(y + conv.noise_strength * noise + conv.bias[:, None, None], 0.2) * math.sqrt(2))
    return torch.cat(out)


@pytest.mark.parametrize("upsampling", [False, True])
def test_fast_convolution_equals_weights_per_picture(upsampling):
    torch.manual_seed(1)
    conv = StyledConv(5, 7, resolution=8, w_dim=4, upsampling=upsampling).requires_grad_(False)
    conv.bias.normal_()
    conv.noise_strength.fill_(0.7)
    side = 4 if upsampling else 8
    x, style = normal(3, 5, side, side), normal(3, 5, seed=1)
    wanted = reference_conv(conv, x, style, conv.noise_const[0])
    torch.testing.assert_close(conv(x, style, conv.noise_const), wanted, rtol=1e-4, atol=1e-5)
    random = normal(3, 1, 8, 8, seed=2)
    wanted = torch.cat([reference_conv(conv, x[k : k + 1], style[k : k + 1], random[k]) for k in range(3)])
    torch.testing.assert_close(conv(x, style, random), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])  # one picture alone scales the weights, several share them
def test_pictures_equal_the_textbooks(generator, batch):
    w = generator.mapping(normal(batch, TINY.z_dim))
    s = generator.styles(w) * normal(batch, generator.layout.size, seed=1)  # styles of either sign, as edits may be
    wanted = synthesize(generator, s, w)
    torch.testing.assert_close(generator.synthesize(s, w), wanted, rtol=1e-4, atol=1e-5)
    generator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator.synthesize(s, w), wanted, rtol=1e-4, atol=1e-5)


def test_to_rgb_mixes_channels_where_they_lie():
    torch.manual_seed(1)
    layer, w = ToRGB(5, w_dim=4), normal(2, 4)
    layer.bias.data.normal_()
    x = normal(2, 5, 8, 6, seed=1)
    weight = layer.weight * layer.affine(w)[:, None] / math.sqrt(5)
    wanted = torch.einsum("brc,bchw->brhw", weight, x) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x, w), wanted)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    image = layer(x, w)
    torch.testing.assert_close(image, wanted)
    (slope,) = torch.autograd.grad(image.sum(), x)
    for tensor in (image, slope):  # another layout, forwards or backwards, would slow down whatever meets it
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_resampling_keeps_flat_pictures_flat():
    flat = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(upsample(flat)[:, :, 2:-2, 2:-2], torch.ones(1, 2, 12, 12))
    torch.testing.assert_close(downsample(flat)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


def test_style_space_identity(generator):
    z = normal(3, TINY.z_dim)
    w = generator.mapping(z)
    s = generator.styles(w)
    assert s.shape == (3, generator.layout.size)
    image = generator.synthesize(s, w)
    assert image.shape == (3, 3, 16, 16)
    torch.testing.assert_close(image, generator(z))
    w_plus = w[:, None].repeat(1, generator.num_ws, 1)
    torch.testing.assert_close(generator.synthesize(generator.styles(w_plus), w_plus), image)


def test_edited_s_leaves_to_rgb_alone(generator):
    w = generator.mapping(normal(1, TINY.z_dim))
    other = w.clone().requires_grad_()
    generator.synthesize(generator.styles(w), other).sum().backward()
    assert other.grad.abs().sum() > 0  # w reaches the picture by toRGB only: s was fixed


def test_truncation_draws_towards_the_average(generator):
    generator.estimate_w_avg(500, torch.Generator().manual_seed(0))
    z = normal(2, TINY.z_dim)
    w = generator.mapping(z)
    torch.testing.assert_close(generator.mapping(z, truncation=0.0), generator.w_avg.expand(2, -1))
    torch.testing.assert_close(generator.mapping(z, truncation=0.5), (w + generator.w_avg) / 2)


def test_noise_is_fixed_seeded_or_absent(generator):
    z = normal(2, TINY.z_dim)
    assert torch.equal(generator(z), generator(z))
    first, second, third = (generator(z, noise="random", rng=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not torch.equal(generator(z, noise="none"), generator(z))


def test_one_picture_does_not_depend_on_its_batch(generator):
    z = normal(4, TINY.z_dim)
    torch.testing.assert_close(generator(z)[2:3], generator(z[2:3]))


def test_autocast_and_channels_last_change_little(generator):
    z = normal(2, TINY.z_dim)
    image = generator(z)
    torch.testing.assert_close(generator.to(memory_format=torch.channels_last)(z), image, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        w = generator.mapping(z)
        assert w.dtype == generator.styles(w).dtype == torch.float32
        low = generator(z)
    assert low.dtype == torch.float32
    assert (low - image).abs().max() < 0.05 * image.abs().max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 3])
def test_half_precision_is_within_a_hundredth_of_the_range(batch, dtype):
    torch.manual_seed(0)
    config = GeneratorConfig(resolution=64, z_dim=64, w_dim=64, mapping_layers=2, channel_base=4096, channel_max=128)
    generator = Generator(config).requires_grad_(False)
    w = generator.mapping(normal(batch, 64))
    s = generator.styles(w)
    image = generator.synthesize(s, w)
    low = generator.synthesize(s, w, dtype=dtype)
    assert low.dtype == torch.float32
    assert 0 < (low - image).abs().max() < 0.01 * (image.max() - image.min())


@pytest.mark.parametrize("batch", [1, 3])
def test_float16_never_overflows(generator, batch):
    w = generator.mapping(normal(batch, TINY.z_dim))
    s = 1e4 * generator.styles(w)
    generator.const *= 1e6
    for conv in generator.convs:
        conv.weight *= 1e3
        conv.bias.fill_(500.0)
        conv.weight[0] = 0  # a channel that says nothing
    assert generator.synthesize(s, w).abs().max() > 1e3
    image = generator.synthesize(s, w, dtype=torch.float16)
    assert image.isfinite().all()
    with torch.autocast("cpu", dtype=torch.float16):
        assert generator.synthesize(s, w).isfinite().all()


def test_large_pictures_are_drawn_in_what_the_device_is_fast_at(generator):
    assert drawing_dtype(generator.resolution, "cpu") == torch.float32
    assert generator.batch_size == 64
    assert half_dtype("cuda") == torch.float16
    assert half_dtype("meta") == torch.float32
    large = Generator(GeneratorConfig(resolution=1024, w_dim=8, z_dim=8, channel_base=1024, channel_max=8))
    assert drawing_dtype(large.resolution, "cpu") == half_dtype("cpu")
    assert large.batch_size == 1


def test_save_and_load(generator, tmp_path):
    path = tmp_path / "generator.safetensors"
    generator.save(path)
    again = Generator.load(path)
    z = normal(2, TINY.z_dim)
    assert again.config == TINY
    assert torch.equal(again(z), generator(z))
    assert [p.name for p in tmp_path.iterdir()] == ["generator.safetensors"]
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged"):
        Generator.load(path)
    with pytest.raises(ValueError, match="no file"):
        Generator.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"resolution": 48}, "power of two"),
        ({"resolution": 4}, "at least 8"),
        ({"z_dim": 0}, "z_dim must be positive"),
        ({"channel_base": 512}, "at least the resolution"),
    ],
)
def test_bad_configurations_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        GeneratorConfig(**bad)


def test_bad_shapes_are_named(generator):
    w = generator.mapping(normal(2, TINY.z_dim))
    s = generator.styles(w)
    for call, message in [
        (lambda: generator.mapping(normal(2, 5)), r"z must have shape \(B, 6\)"),
        (lambda: generator.styles(normal(2, 5, 8)), r"w must have shape \(B, 8\) or \(B, 6, 8\)"),
        (lambda: generator.synthesize(s[:, 1:], w), "style channels"),
        (lambda: generator.synthesize(s[:1], w), "one batch"),
        (lambda: generator.synthesize(s, w, noise="loud"), "Got 'loud'"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_discriminator():
    torch.manual_seed(0)
    discriminator = Discriminator(TINY)
    images = normal(8, 3, 16, 16).requires_grad_()
    logits = discriminator(images)
    assert logits.shape == (8,)
    (grad,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    grad.square().sum().backward()  # R1 differentiates twice
    assert all(p.grad is not None for p in discriminator.parameters() if p.ndim > 1)
    with pytest.raises(ValueError, match="multiple of the group of 4"):
        discriminator(images[:6])
    with pytest.raises(ValueError, match=r"\(B, 3, 16, 16\)"):
        discriminator(images[:, :, :8])
