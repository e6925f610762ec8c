"""The portraits world: the attribute table, the painter and the captions agree with one another."""

import random

import pytest
import torch

from deltaedit.portraits.attributes import (
    ATTRIBUTES,
    BINARY,
    CHOICE,
    INDEX,
    NAMES,
    SCALE,
    attribute,
    column,
    factors_from_uniform,
    factors_from_z,
    replace,
    sample_factors,
    visible,
)
from deltaedit.portraits.captions import captions, facts, negations, prompt
from deltaedit.portraits.pool import latents, open_pool
from deltaedit.portraits.renderer import render


def draw(n: int, seed: int = 0) -> torch.Tensor:
    return sample_factors(n, torch.Generator().manual_seed(seed))


def plain() -> torch.Tensor:
    """One portrait with nothing on: every binary attribute off, every scale in its middle."""
    factors = torch.zeros(1, len(NAMES))
    for name in SCALE:
        factors[:, INDEX[name]] = 0.0 if name in ("smile", "yaw") else 0.5
    return factors


def test_the_table_has_what_people_try_first():
    wanted = {"smile", "glasses", "beard", "hair_color", "bald", "bangs", "curly_hair", "hat", "age", "skin",
              "eye_color", "eye_size", "face_width", "makeup"}  # fmt: skip
    assert wanted <= set(NAMES)
    named = [a for a in ATTRIBUTES if getattr(a, "yes", None) or getattr(a, "words", None) or getattr(a, "high", None)]
    assert len(named) >= 20


def test_frequencies_are_those_of_the_table():
    factors = draw(20_000)
    sole = column(factors, "sunglasses") == 0
    for name in BINARY:
        if name not in ("bangs", "curly_hair", "long_hair"):
            got = column(factors, name)[sole if name == "glasses" else slice(None)].mean().item()
            assert got == pytest.approx(attribute(name).p, abs=0.015), name
    for name in CHOICE:
        shares = torch.bincount(column(factors, name).long()) / len(factors)
        assert shares.sub(1 / len(attribute(name).options)).abs().max() < 0.015
    smile = column(factors, "smile")
    assert (smile > 0.35).float().mean().item() == pytest.approx(0.42, abs=0.015)
    assert not ((smile.abs() > 0.13) & (smile.abs() < 0.59)).any()  # between the bands there is nobody


def test_a_scale_is_the_inverse_of_its_distribution():
    u = torch.full((101, len(NAMES)), 0.5)
    u[:, INDEX["age"]] = torch.linspace(0, 1, 101)
    age = column(factors_from_uniform(u), "age")
    assert (age.diff() >= 0).all()
    assert age[0] == 0
    assert age[-1] == 1
    assert age[35] == pytest.approx(0.2, abs=0.01) or age[35] == pytest.approx(0.4, abs=0.01)


def test_what_excludes_each_other_is_resolved():
    factors = draw(5000)
    assert not (column(factors, "glasses") * column(factors, "sunglasses")).any()
    bald = column(factors, "bald") == 1
    for name in ("bangs", "curly_hair", "long_hair"):
        assert not column(factors, name)[bald].any()
        assert not visible(factors)[bald, INDEX[name]].any()


def test_latents_stand_for_portraits_whatever_their_length():
    z = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(factors_from_z(z), factors_from_z(z * 3), atol=1e-4)
    with pytest.raises(ValueError, match="or more"):
        factors_from_z(torch.randn(2, 5))


def test_latents_and_uniform_numbers_give_the_same_portraits():
    by_z, by_u = factors_from_z(torch.randn(20_000, 64, generator=torch.Generator().manual_seed(1))), draw(20_000)
    assert torch.allclose(by_z.mean(0), by_u.mean(0), atol=0.05)
    assert torch.allclose(by_z.std(0), by_u.std(0), atol=0.05)


def test_an_unknown_attribute_is_named():
    with pytest.raises(ValueError, match=r"no attribute 'nose'.*nose_size"):
        attribute("nose")


@pytest.mark.parametrize("resolution", [16, 64, 96])
def test_pictures_of_any_resolution(resolution):
    image = render(draw(3), resolution)
    assert image.shape == (3, 3, resolution, resolution)
    assert image.min() >= -1
    assert image.max() <= 1
    assert torch.isfinite(image).all()


def test_a_picture_does_not_depend_on_its_batch_nor_much_on_the_resolution():
    factors = draw(4)
    together = render(factors, 64)
    assert torch.allclose(together[2:3], render(factors[2:3], 64), atol=1e-5)
    fine = torch.nn.functional.avg_pool2d(render(factors, 256), 4)
    assert (fine - together).abs().mean() < 0.04


def test_the_painter_is_differentiable_in_every_continuous_factor():
    for name in SCALE:
        factors = draw(16, seed=3).requires_grad_()
        if name == "hat_hue":
            factors = replace(factors, hat=1.0)
        factors.retain_grad()
        weights = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(1))
        (render(factors, 32) * weights).sum().backward()
        assert factors.grad[:, INDEX[name]].abs().max() > 1e-3, name
        assert torch.isfinite(factors.grad).all(), name


NUISANCES = ("hair_volume", "jaw", "light", "hat_hue")  # no word names them


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NUISANCES])
def test_every_attribute_is_unmistakable_at_64_px(name):
    a, base = attribute(name), plain()
    if name in CHOICE:
        values = list(range(len(a.options)))
    elif name in SCALE:
        values = [-1.0, 1.0] if name in ("smile", "yaw") else [0.0, 1.0]
    else:
        values = [0.0, 1.0]
    pictures = [render(replace(base, **{name: value}), 64) for value in values]
    changed = [(pictures[0] - other).abs().amax(1) > 0.2 for other in pictures[1:]]
    for mask in changed:  # an area of at least 5 by 5 pixels in which the picture is clearly another
        assert mask.sum() >= 25, f"{name}: {int(mask.sum())} pixels"


def test_wrong_factors_and_resolutions_are_refused():
    with pytest.raises(ValueError, match="Factors must have shape"):
        render(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="at least 1 pixel"):
        render(plain(), 0)


def test_captions_are_true():
    factors = draw(300)
    for row, seen in zip(factors, visible(factors), strict=True):
        there, absent = facts(row, seen, random.Random(0))
        said = {phrase for phrase, _ in there}
        unsaid = {phrase for phrase, _ in absent}
        for a in ATTRIBUTES:
            value = row[INDEX[a.name]].item()
            if a.name in BINARY:
                assert bool(said & set(a.yes)) == (value == 1 and bool(seen[INDEX[a.name]])), a.name
                assert not (value == 1 and unsaid & set(negations(a))), a.name
            elif a.name in CHOICE:
                others = {w for k, words in enumerate(a.words.values()) if k != value for w in words}
                assert not said & others
            else:
                assert not (value > a.ends[0] and said & set(a.low)), a.name
                assert not (value < a.ends[1] and said & set(a.high)), a.name


def test_captions_vary_and_repeat_with_their_seed():
    factors = draw(200)
    first = captions(factors, random.Random(5))
    assert first == captions(factors, random.Random(5))
    assert first != captions(factors, random.Random(6))
    assert len(set(first)) > 190
    assert all(text and text == text.strip() and "  " not in text for text in first)
    assert max(len(text.split()) for text in captions(factors, random.Random(1), at_most=2)) < 20


def test_the_grammar_has_negations_and_partial_descriptions():
    texts = captions(draw(500), random.Random(0))
    assert any("no glasses" in text for text in texts)
    assert any("without" in text for text in texts)
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 3
    assert max(lengths) >= 15


def test_canonical_prompts():
    assert prompt("glasses", True) == "face with glasses"
    assert prompt("glasses", False) == "face with no glasses"
    assert prompt("bald", True) == "bald face"
    assert prompt("age", "high") == "old face"
    assert prompt("eye_color", "blue") == "face with blue eyes"
    with pytest.raises(ValueError, match="No words"):
        prompt("jaw", "high")


def test_a_pool_is_painted_once_and_goes_on_after_a_kill(tmp_path):
    pool = open_pool(tmp_path, 128, resolution=16, z_dim=50, seed=4)
    assert pool.images(torch.tensor([0, 127])).shape == (2, 3, 16, 16)
    assert torch.allclose(pool.images(torch.arange(8)), render(pool.factors[:8], 16), atol=0.5 / 127)
    (file,) = tmp_path.glob("*.bin")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2 + 100])  # cut within a block
    again = open_pool(tmp_path, 128, resolution=16, z_dim=50, seed=4)
    assert file.read_bytes() == whole
    assert torch.equal(again.pictures, pool.pictures)


def test_more_latents_begin_with_the_same_ones():
    assert torch.equal(latents(200, 40, 1)[:70], latents(70, 40, 1))
    assert not torch.equal(latents(70, 40, 1), latents(70, 40, 2))
