"""MobileStyleGAN: its fast forms equal the textbook's, and previews are what its features tell of a picture."""

import pytest
import torch
import torch.nn.functional as F
from golden_weights import golden_arrays
from textbook import inverse_haar, mobile

from deltaedit import domains, mobilestylegan
from deltaedit.domain import GENERATOR
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, Up, fit_preview
from deltaedit.style_space import sample_w

TINY = MobileConfig(channels=(16, 12, 8, 4), z_dim=6, w_dim=8, mapping_layers=2)  # 64 px


@pytest.fixture
def generator() -> MobileStyleGAN:
    torch.manual_seed(0)
    generator = MobileStyleGAN(TINY).eval().requires_grad_(False)
    for layer in generator.layers:
        layer.affine.bias += 1
        if hasattr(layer, "bias"):
            layer.bias.normal_()
    return generator


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_dense_wavelet_is_the_strided_one_and_keeps_the_norm():
    x, up = normal(2, 12, 3, 3), Up(12, w_dim=4)
    got = up(x, torch.ones(2, 12))
    torch.testing.assert_close(got, inverse_haar(x))
    torch.testing.assert_close(got.norm(), x.norm())
    with torch.device("meta"):
        assert torch.equal(Up(12, w_dim=4).weight, up.weight)


@pytest.mark.parametrize("batch", [1, 3])  # one picture scales the weights where they are smaller, several share them
def test_pictures_equal_the_textbooks(generator, batch):
    s = normal(batch, generator.layout.size)  # styles of either sign, as edits may be
    wanted = mobile(generator, s)
    assert wanted.shape == (batch, 3, 64, 64)
    torch.testing.assert_close(generator.synthesize(s), wanted, rtol=1e-4, atol=1e-4)
    features, _ = generator._features(s, 32, torch.float32)
    assert features.is_contiguous(
        memory_format=torch.channels_last
    )  # four times as fast, of whatever layout weights are
    generator.to(memory_format=torch.channels_last)
    torch.testing.assert_close(generator.synthesize(s), wanted, rtol=1e-4, atol=1e-4)


def test_mapping_and_styles(generator):
    z = normal(3, TINY.z_dim)
    w = z / z.square().mean(1, keepdim=True).sqrt()
    for layer in generator.mapping_network:
        w = F.leaky_relu(w @ layer.weight.T + layer.bias, 0.2) * 2**0.5
    torch.testing.assert_close(generator.mapping(z), w, rtol=1e-4, atol=1e-5)
    generator.w_avg.copy_(normal(TINY.w_dim))
    torch.testing.assert_close(generator.mapping(z, 0.5), (w + generator.w_avg) / 2, rtol=1e-4, atol=1e-5)
    w_plus = normal(3, generator.num_ws, TINY.w_dim)
    parts = generator.layout.split(generator.styles(w_plus))
    for k, (layer, part) in enumerate(zip(generator.layers, parts, strict=True)):
        torch.testing.assert_close(part, layer.affine(w_plus[:, k]))
    same = w[:, None].expand(-1, generator.num_ws, -1)
    torch.testing.assert_close(generator.styles(same), generator.styles(w))


def test_noise_is_fixed_seeded_or_absent(generator):
    s = normal(2, generator.layout.size)
    assert torch.equal(generator.synthesize(s), generator.synthesize(s, noise="const"))
    first, again, other = (
        generator.synthesize(s, noise="random", rng=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    silent = generator.synthesize(s, noise="none")
    for layer in generator.layers:
        if hasattr(layer, "noise_const"):
            layer.noise_const.zero_()
    assert torch.equal(generator.synthesize(s), silent)
    assert torch.equal(generator.synthesize(s, noise="random"), silent)  # as strong as the fixed one


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("batch", [1, 3])
def test_half_precision_is_near_and_never_overflows(generator, batch, dtype):
    s = generator.styles(sample_w(generator, batch))
    image, low = generator.synthesize(s), generator.synthesize(s, dtype=dtype)
    assert low.dtype == torch.float32
    assert 0 < (low - image).abs().max() < 0.03 * (image.max() - image.min())
    assert generator.synthesize(100 * s, dtype=dtype).isfinite().all()
    fit_preview(generator, (16,), faces=2)
    assert generator.preview(100 * s, 16, dtype=dtype).isfinite().all()


def test_a_preview_is_the_best_linear_map_of_the_features(generator, monkeypatch):
    monkeypatch.setattr(mobilestylegan, "PIXELS", 100)
    fit_preview(generator, (8, 32), faces=8)
    assert generator.config.previews == (8, 32)
    s = generator.styles(sample_w(generator, 8, seed=0))
    for size in (8, 32):
        x, style = generator._features(s, size, torch.float32)
        x = torch.cat([x, x * style[:, :, None, None], torch.ones(8, 1, size, size)], 1).movedim(1, -1).flatten(0, 2)
        wanted = F.avg_pool2d(generator.synthesize(s), 64 // size)
        got = generator.preview(s, size)
        assert got.shape == wanted.shape
        best = x @ torch.linalg.lstsq(x.double(), wanted.movedim(1, -1).flatten(0, 2).double()).solution.float()
        error = (got - wanted).square().mean()
        least = (best.unflatten(0, (8, size, size)).movedim(-1, 1) - wanted).square().mean()
        assert least * 0.99 < error < least * 1.5 + 1e-4
        torch.testing.assert_close(generator.preview(s[:1], size), got[:1], rtol=1e-4, atol=1e-4)
    assert torch.equal(generator.preview(s, 64), generator.synthesize(s))


def test_previews_are_the_same_again_and_in_the_file(generator, tmp_path):
    plain = generator.fingerprint()
    fit_preview(generator, (16, 8), faces=3, seed=1)
    generator.save(tmp_path / "generator.safetensors")
    again = MobileStyleGAN.load(tmp_path / "generator.safetensors")
    assert again.config == generator.config
    assert not again.training
    s = generator.styles(sample_w(generator, 2))
    assert torch.equal(again.preview(s, 16), generator.preview(s, 16))
    first = {name: value.clone() for name, value in generator.previews.state_dict().items()}
    fit_preview(generator, (16, 8), faces=3, seed=1)
    assert all(torch.equal(first[name], value) for name, value in generator.previews.state_dict().items())
    generator.w_avg += 1
    assert again.fingerprint() == generator.fingerprint() == plain  # of what was estimated nothing is counted
    generator.layers[2].bias += 1
    assert generator.fingerprint() != plain


def test_autocast_changes_little(generator):
    fit_preview(generator, (16,), faces=2)
    w = sample_w(generator, 2)
    s = generator.styles(w)
    image, preview = generator.synthesize(s), generator.preview(s, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(generator.styles(w), s)
        for low, high in ((generator.synthesize(s), image), (generator.preview(s, 16), preview)):
            assert low.dtype == torch.float32
            assert (low - high).abs().max() < 0.1 * high.abs().max()


def test_edits_have_a_slope_in_preview_and_picture(generator):
    fit_preview(generator, (16,), faces=2)
    s = generator.styles(sample_w(generator, 1)).requires_grad_()
    for image in (generator.preview(s, 16), generator.synthesize(s)):
        (slope,) = torch.autograd.grad(image.square().sum(), s)
        assert slope.isfinite().all()
        assert slope.any()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"channels": (8,)}, "channels must be two or more multiples of 4"),
        ({"channels": (8, 6)}, "channels must be two or more multiples of 4"),
        ({"z_dim": 0}, "z_dim must be positive"),
        ({"channels": (8, 8, 8), "previews": (4,)}, r"previews must be of \(8, 16\) px. Got 4"),
    ],
)
def test_bad_configurations_are_named(bad, message):
    with pytest.raises(ValueError, match=message):
        MobileConfig(**bad)


def test_bad_input_is_named(generator):
    s = generator.styles(sample_w(generator, 2))
    calls = [
        (lambda: generator.mapping(normal(2, 5)), r"z must have shape \(B, 6\)"),
        (lambda: generator.styles(normal(2, 5, 8)), r"w must have shape \(B, 8\) or \(B, 11, 8\)"),
        (lambda: generator.synthesize(s[:, 1:]), "style channels"),
        (lambda: generator.synthesize(s[0]), r"s must have shape \(B, "),
        (lambda: generator.synthesize(s, noise="loud"), "Got 'loud'"),
        (
            lambda: generator.preview(s, 16),
            "this generator has no previews: fit_preview.* makes them. Got a size of 16",
        ),
        (lambda: fit_preview(generator, (12,)), r"previews must be of \(8, 16, 32\) px. Got 12"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
    fit_preview(generator, (8,), faces=2)
    with pytest.raises(ValueError, match="this generator has previews of 8 px: .* Got a size of 16"):
        generator.preview(s, 16)


@pytest.fixture(scope="module")
def faces() -> MobileStyleGAN:
    """The published generator, where it is in the cache; nothing is fetched."""
    try:
        return MobileStyleGAN.load(domains.locate(domains.find("faces"), GENERATOR)).requires_grad_(False)
    except FileNotFoundError as error:
        pytest.skip(f"the published outputs were not compared: {error}")


def test_the_published_generator_gives_the_published_outputs(faces):
    golden = golden_arrays("mobilestylegan_ffhq")  # computed by OpenVINO in float32; pictures averaged to 64 px
    w = faces.mapping(golden["z"])
    s = faces.styles(w)
    torch.testing.assert_close(w, golden["w"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(s, golden["s"], rtol=1e-4, atol=1e-4 * float(s.abs().max()))
    for styles, name in ((s, "image_64"), (s + golden["delta_s"], "edited_64")):
        image = torch.cat([faces.synthesize(style) for style in styles.split(1)])
        assert (F.avg_pool2d(image, 16) - golden[name].float()).abs().max() < 2e-3  # a thousandth of the range
        if name == "image_64":
            assert (image[..., 480:544, 480:544] - golden["image_crop"]).abs().max() < 1e-4


def test_previews_of_faces_are_near_and_half_precision_nearer(faces):
    for truncation, least in ((0.7, 27.0), (1.0, 24.0)):
        s = faces.styles(faces.w_avg.lerp(sample_w(faces, 6, seed=1), truncation))
        psnr = []
        for style in s.split(1):
            image = faces.synthesize(style)
            wanted = F.avg_pool2d(image, 4).clamp(-1, 1)
            preview = faces.preview(style, 256, dtype=torch.bfloat16).clamp(-1, 1)
            psnr.append(-10 * ((preview - wanted) / 2).square().mean().log10())
            assert ((faces.synthesize(style, dtype=torch.bfloat16) - image) / 2).square().mean() < 10**-4.5
        assert torch.stack(psnr).mean() > least
