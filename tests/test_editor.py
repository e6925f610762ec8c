import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fakes import DIM, TINY, FakeClip, tiny_generator
from PIL import Image

import deltaedit
from deltaedit import domains
from deltaedit.domain import Domain
from deltaedit.editor import Editor
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview

HAT, OLD = "face with a hat", "old face"


def tiny_editor(**domain) -> Editor:
    torch.manual_seed(1)
    mapper = DeltaMapper(MapperConfig(TINY.layout.dims, DIM))
    relevance = torch.nn.functional.normalize(torch.randn(TINY.layout.size, DIM))
    return Editor(tiny_generator(), FakeClip(), mapper, relevance, Domain(**domain))


def tiny_faces() -> Editor:
    """An editor whose generator has previews, of 8 of its 16 px."""
    torch.manual_seed(0)
    config = MobileConfig(channels=(8, 8, 4), z_dim=5, w_dim=6, mapping_layers=2)
    generator = fit_preview(MobileStyleGAN(config).eval().requires_grad_(False), (8,), faces=4)
    return Editor(
        generator,
        FakeClip(),
        DeltaMapper(MapperConfig(generator.layout.dims, DIM, hidden=8, groups=generator.layout.cuts)),
    )


@pytest.fixture
def editor() -> Editor:
    return tiny_editor()


def test_previews_in_place_of_pictures(editor):
    faces = tiny_faces()
    whole, quick = faces.generator.resolution, faces.at(7)
    latent = quick.sample(seed=1, n=2)
    assert latent.tensor.shape == (2, 3, 8, 8)
    torch.testing.assert_close(latent.tensor, faces.generator.preview(latent.s, 8, latent.w))
    one, other = quick.edit_each(latent, [HAT, OLD])
    assert one.tensor.shape == other.tensor.shape == latent.tensor.shape
    assert quick.at(None).sample(seed=1).image.size == faces.at(1000).sample(seed=1).image.size == (whole, whole)
    edit = faces.edit(faces.sample(seed=1), HAT)
    assert (edit.image.size, edit.at(8).image.size) == ((whole, whole), (8, 8))
    assert torch.equal(edit.at(8).s, edit.s)
    assert editor.at(8).sample(seed=1).image.size == (16, 16)  # StyleGAN2 has none


def test_sample(editor):
    latent = editor.sample(seed=7, n=3)
    assert len(latent) == 3
    assert latent.tensor.shape == (3, 3, 16, 16)
    torch.testing.assert_close(latent.s, editor.generator.styles(latent.w))
    torch.testing.assert_close(latent.image_feature, editor.clip.encode_image(latent.tensor.clamp(-1, 1)))
    assert torch.equal(editor.sample(seed=7, n=3).s, latent.s)
    assert not torch.equal(editor.sample(seed=8, n=3).s, latent.s)
    assert [picture.size for picture in latent.images] == [(16, 16)] * 3
    assert torch.equal(latent[1].s, latent.s[1:2])
    assert torch.equal(latent[torch.tensor([True, False, True])].s, latent.s[[0, 2]])
    assert latent[1].image == latent.images[1]
    with pytest.raises(ValueError, match=r"3 pictures: use \.images"):
        latent.image  # noqa: B018


def test_edit_is_the_equation(editor):
    latent = editor.sample(seed=7, n=2)
    edit = editor.edit(latent, HAT, strength=0.5, threshold=0.3)
    delta = editor.clip.text_delta(HAT, "face")
    mask = (editor.relevance @ delta).abs() >= 0.3
    assert 0 < mask.sum() < len(mask)
    wanted = 0.5 * mask * editor.mapper(latent.s, latent.image_feature, delta)
    torch.testing.assert_close(edit.delta_s, wanted.detach())
    torch.testing.assert_close(edit.tensor, editor.generator.synthesize(latent.s + wanted, latent.w).detach())
    assert edit.prompt == HAT


def test_edits_together_are_the_edits_one_by_one(editor):
    latent, prompts = editor.sample(seed=7, n=2), (HAT, OLD, "face with glasses")
    together = editor.edit_each(latent, prompts, strength=(1.0, -0.5, 2.0), threshold=0.2)
    editor.clip.calls.clear()
    for edit, prompt, strength in zip(together, prompts, (1.0, -0.5, 2.0), strict=True):
        alone = editor.edit(latent, prompt, strength, threshold=0.2)
        assert edit.prompt == prompt
        assert edit.strengths == alone.strengths
        torch.testing.assert_close(edit.delta_s, alone.delta_s)
        torch.testing.assert_close(edit.tensor, alone.tensor, rtol=1e-4, atol=1e-5)
        assert edit.with_strength(0).tensor is not edit.tensor
    assert editor.clip.calls == []  # prompts, the neutral one too, are remembered
    with pytest.raises(ValueError, match="one prompt or more"):
        editor.edit_each(latent, [])


def test_strength_zero_is_the_picture_and_gain_is_strength(editor):
    latent = editor.sample(seed=7)
    torch.testing.assert_close(editor.edit(latent, HAT, strength=0).tensor, latent.tensor)
    strong = tiny_editor(gain=2.0)
    torch.testing.assert_close(strong.edit(latent, HAT).delta_s, editor.edit(latent, HAT, strength=2.0).delta_s)


def test_edits_of_a_domain_with_a_length_are_as_long(editor):
    long, latent = tiny_editor(length=3.0, gain=7.0), editor.sample(seed=7, n=2)
    for prompt in (HAT, OLD):
        edit, free = (one.edit(latent, prompt, threshold=0.2).delta_s for one in (long, editor))
        torch.testing.assert_close((edit / editor.mapper.s_std).norm(dim=1), torch.full((2,), 3.0))
        torch.testing.assert_close(F.normalize(edit, dim=1), F.normalize(free, dim=1))
    torch.testing.assert_close(long.edit(latent, HAT, strength=-2.0).delta_s, -2 * long.edit(latent, HAT).delta_s)
    assert not long.edit(latent, HAT, strength=0.0).delta_s.any()
    with pytest.raises(ValueError, match="length of a domain must be a positive number, or none. Got 0"):
        Domain(length=0)


def test_styles_stay_where_samples_are(editor):
    kept = tiny_editor(tail=0.01)
    latent = editor.sample(seed=7, n=2)
    low, high = kept.style_range
    outside = (latent.s < low) | (latent.s > high)
    for strength in (100.0, -100.0):
        s = kept.edit(latent, HAT, strength=strength, threshold=0.3).s
        free = editor.edit(latent, HAT, strength=strength, threshold=0.3).s
        assert ((s >= low) & (s <= high) | outside).all()
        torch.testing.assert_close(s, torch.where(outside, s, free.clamp(low, high)))
        assert ((s - latent.s) * (free - latent.s) >= 0).all(), "a channel went the other way"
        assert torch.equal(s[free == latent.s], latent.s[free == latent.s])
    inside = tiny_editor(tail=0.0)
    torch.testing.assert_close(inside.edit(latent, HAT, strength=3).s, latent.s + 3 * editor.edit(latent, HAT).delta_s)
    some = editor.generator.styles(editor.generator.mapping(torch.randn(2000, TINY.z_dim)))
    assert ((some >= low) & (some <= high)).float().mean() == pytest.approx(0.98, abs=0.005)


def test_strength_moves_without_mapper_and_clip(editor, monkeypatch):
    latent = editor.sample(seed=7)
    edit = editor.edit(latent, HAT)
    editor.clip.calls.clear()
    monkeypatch.setattr(editor, "mapper", None)
    far = edit.with_strength(2.5)
    torch.testing.assert_close(far.delta_s, 2.5 * edit.delta_s)
    assert far.image.size == (16, 16)
    assert editor.clip.calls == []


def test_prompts_and_edits_add_up(editor):
    latent = editor.sample(seed=7)
    both = editor.edit(latent, [HAT, OLD], strength=[1.0, -0.5])
    hat, old = editor.edit(latent, HAT), editor.edit(latent, OLD, strength=-0.5)
    torch.testing.assert_close(both.delta_s, hat.delta_s + old.delta_s)
    torch.testing.assert_close((hat + old).tensor, both.tensor)
    assert (hat + old).prompts == (HAT, OLD)
    torch.testing.assert_close(both.with_strength(1.0).delta_s, (hat + old.with_strength(1.0)).delta_s)
    with pytest.raises(ValueError, match="same latent"):
        hat + editor.edit(editor.sample(seed=8), OLD)


def test_to_json_says_what_was_done(editor):
    edit = editor.edit(editor.sample(seed=7), [HAT, OLD], strength=0.5, threshold=0.2)
    said = json.loads(edit.to_json())
    assert said["latent"] == {"seed": 7, "n": 1, "truncation": 1.0}
    assert [(e["prompt"], e["strength"], e["threshold"]) for e in said["edits"]] == [(HAT, 0.5, 0.2), (OLD, 0.5, 0.2)]
    assert said["edits"][0]["channels"] == int((edit.directions[0].delta_s != 0).sum())


def test_a_prompt_is_read_once(editor):
    latent = editor.sample(seed=7)
    editor.edit(latent, HAT)
    editor.clip.calls.clear()
    editor.edit(latent, HAT, strength=2.0, threshold=0.0)
    assert editor.clip.calls == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": ""}, "prompt must be some words"),
        ({"target": "  "}, "prompt must be some words"),
        ({"target": None}, "Got None"),
        ({"target": []}, "Got 0 prompts"),
        ({"target": "face "}, "no difference to follow"),
        ({"target": HAT, "neutral": HAT}, "no difference to follow"),
        ({"target": HAT, "strength": float("nan")}, "strength must be a finite number. Got nan"),
        ({"target": HAT, "strength": float("inf")}, "Got inf"),
        ({"target": HAT, "strength": "much"}, "strength"),
        ({"target": HAT, "strength": None}, "finite number. Got None"),
        ({"target": HAT, "strength": [1.0, 2.0]}, "Got 1 prompts and 2 strengths"),
        ({"target": HAT, "threshold": -1.0}, "threshold must be 0 or more"),
        ({"target": HAT, "threshold": float("nan")}, "threshold must be 0 or more"),
    ],
)
def test_bad_requests_are_refused_at_the_door(editor, options, message):
    with pytest.raises(ValueError, match=message):
        editor.edit(editor.sample(seed=7), **options)


def test_strengths_may_be_tensors(editor):
    latent = editor.sample(seed=7)
    assert editor.edit(latent, HAT, strength=torch.tensor(0.5)).strengths == (0.5,)
    assert editor.edit(latent, [HAT, OLD], strength=torch.tensor([0.5, 2.0])).strengths == (0.5, 2.0)


@pytest.mark.parametrize("seed", ["x", 1.5, None])
def test_a_seed_is_a_whole_number(editor, seed):
    with pytest.raises(ValueError, match="whole number"):
        editor.sample(seed)


def test_what_is_no_latent_is_refused(editor):
    with pytest.raises(ValueError, match=r"Editor\.sample. Got Image"):
        editor.edit(Image.new("RGB", (16, 16)), HAT)
    latent = editor.sample(seed=7)
    with pytest.raises(ValueError, match="another generator"):
        editor.edit(replace(latent, s=latent.s[:, 1:]), HAT)
    with pytest.raises(ValueError, match="n must be at least 1"):
        editor.sample(seed=0, n=0)


def test_a_threshold_that_nothing_reaches_is_said(editor):
    with pytest.warns(UserWarning, match="no channel reaches threshold 1.0"):
        edit = editor.edit(editor.sample(seed=7), HAT, threshold=1.0)
    assert not edit.delta_s.any()


def test_without_relevance_all_channels_move(editor):
    bare = Editor(editor.generator, editor.clip, editor.mapper)
    assert bare.edit(bare.sample(seed=7), HAT).delta_s.all()
    with pytest.raises(ValueError, match="no relevance"):
        bare.edit(bare.sample(seed=7), HAT, threshold=0.1)


def test_parts_that_do_not_fit_are_refused(editor):
    generator, clip, mapper = editor.generator, editor.clip, editor.mapper
    with pytest.raises(ValueError, match="same style widths"):
        Editor(generator, clip, DeltaMapper(MapperConfig((12, 12, 12, 12, 7), DIM)))
    with pytest.raises(ValueError, match="feature size. Got 4 and 10"):
        Editor(generator, clip, DeltaMapper(MapperConfig(TINY.layout.dims, 4)))
    with pytest.raises(ValueError, match=r"relevance must have shape \(54, 10\)"):
        Editor(generator, clip, mapper, editor.relevance[1:])


def test_domain_folder(editor, tmp_path):
    Domain("cats", "cat", threshold=0.1, gain=1.5).write(tmp_path / "cats")
    assert Domain.read(tmp_path / "cats") == Domain("cats", "cat", threshold=0.1, gain=1.5)
    (tmp_path / "cats" / "domain.json").write_text('{"name": ')
    with pytest.raises(ValueError, match="damaged"):
        Domain.read(tmp_path / "cats")
    with pytest.raises(ValueError, match=r"no domain: it has no domain\.json"):
        Domain.read(tmp_path)


@pytest.mark.parametrize(
    "values",
    [
        {"neutral": 3},
        {"neutral": " "},
        {"gain": float("nan")},
        {"threshold": "low"},
        {"preprocessing": "none"},
        {"raw_threshold": 1},
        {"photo_feature": "no"},
        {"align": 1},
        {"steps": -1},
        {"steps": 0.5},
    ],
)
def test_a_domain_card_must_make_sense(tmp_path, values):
    (tmp_path / "domain.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"damaged.*{next(iter(values))}"):
        Domain.read(tmp_path)


def test_unknown_domains_are_answered_with_the_known(monkeypatch, tmp_path):
    monkeypatch.setattr(domains, "FOLDERS", dict(domains.FOLDERS))
    with pytest.raises(ValueError, match="no domain 'unicorns': choose .*'portraits', or the path of a folder"):
        Editor.from_pretrained("unicorns")
    domains.register("unicorns", tmp_path)
    assert domains.find("unicorns") == tmp_path
    assert domains.find(tmp_path) == tmp_path


def test_save_and_load_a_domain(tmp_path):
    from test_clip import CONFIG

    from deltaedit._torchvision import open_clip
    from deltaedit.clip import ClipEncoder

    (tmp_path / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    torch.manual_seed(0)
    clip = ClipEncoder.from_open_clip("tiny-clip")
    mapper = DeltaMapper(MapperConfig(TINY.layout.dims, clip.dim))
    relevance = torch.randn(TINY.layout.size, clip.dim)
    editor = Editor(tiny_generator(), clip, mapper, relevance, Domain("tiny", threshold=0.0))
    editor.save_pretrained(tmp_path / "tiny")
    again = Editor.from_pretrained(tmp_path / "tiny")
    assert again.domain == editor.domain
    wanted = editor.edit(editor.sample(seed=1), HAT).tensor
    got = again.edit(again.sample(seed=1), HAT).tensor
    torch.testing.assert_close(got, wanted, rtol=0, atol=0.02 * wanted.abs().max().item())  # CLIP is kept in float16
    (tmp_path / "tiny" / "mapper.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no file .*mapper\.safetensors"):
        Editor.from_pretrained(tmp_path / "tiny")


def test_package_names_come_when_asked_for():
    assert deltaedit.Editor is Editor
    assert deltaedit.checkpoints.load_mapper
    assert "Editor" in dir(deltaedit)
    with pytest.raises(AttributeError, match="nothing"):
        deltaedit.nothing  # noqa: B018
