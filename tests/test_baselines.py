"""Every method that DeltaEdit is compared with does its own job, and refuses what it cannot do in one sentence."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from fakes import DIM, TINY, FakeClip, tiny_generator

from deltaedit import baselines, loop
from deltaedit.baselines import (
    Captioned,
    DeltaEdit,
    GlobalDirections,
    LatentMapper,
    LatentMapperTraining,
    LatentOptimization,
    LevelsMapper,
    LinearBoundary,
    Method,
    PublishedDirections,
    RandomDirection,
    WPlus,
)
from deltaedit.domain import Domain
from deltaedit.editor import Editor
from deltaedit.features import extract_features
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.style_space import as_w_plus
from deltaedit.training import MapperTraining, train_mapper

HAT, OLD = "face with a hat", "old face"
SHORT = LatentMapperTraining(steps=24, batch_size=4, lr=0.5, l2=0.01)
W_PLUS = MapperConfig((TINY.w_dim,) * (len(TINY.layout.dims) + 1), DIM)


@pytest.fixture
def editor() -> Editor:
    torch.manual_seed(1)
    mapper = DeltaMapper(MapperConfig(TINY.layout.dims, DIM))
    relevance = F.normalize(torch.randn(TINY.layout.size, DIM))
    return Editor(tiny_generator(), FakeClip(), mapper, relevance, Domain(threshold=0.3))


@pytest.fixture
def latent(editor):
    return editor.sample(seed=7, n=3)


def boundaries(editor, n: int = 600) -> tuple[LinearBoundary, torch.Tensor, dict[str, torch.Tensor]]:
    """Boundaries for what one number of w says, and for what the sum of two says."""
    w = editor.generator.mapping(torch.randn(n, TINY.z_dim, generator=torch.Generator().manual_seed(0)))
    scores = {HAT: w[:, 0] - w[:, 0].mean(), OLD: w[:, :2].sum(1) - w[:, :2].sum(1).mean()}
    labels = {prompt: (score > 0).float() for prompt, score in scores.items()}
    return LinearBoundary.fit(editor, w, labels), w, labels


def all_methods(editor, folder) -> list[Method]:
    torch.manual_seed(2)
    return [
        DeltaEdit(editor),
        WPlus(editor, DeltaMapper(W_PLUS)),
        GlobalDirections(editor, editor.relevance),
        LatentOptimization(editor, steps=3),
        LatentMapper(editor, folder, replace(SHORT, steps=3)),
        boundaries(editor)[0],
        PublishedDirections(editor, {HAT: torch.randn(1, TINY.w_dim)}),
        RandomDirection(editor),
    ]


def clip_distance(editor, image, prompt: str) -> torch.Tensor:
    return 1 - editor.clip.encode_image(image) @ editor.text_feature(prompt)


# What all have in common.


def test_all_methods_edit_in_one_interface(editor, latent, tmp_path):
    methods = all_methods(editor, tmp_path)
    assert len({method.name for method in methods}) == len(methods)
    for method in methods:
        edit = method.edit(latent, HAT, strength=0.5)
        direction = method.direction(latent, HAT)
        assert (edit.prompt, edit.strengths) == (HAT, (0.5,))
        assert direction.delta_s.shape == latent.s.shape
        assert direction.delta_s.abs().sum(1).min() > 0, method.name
        torch.testing.assert_close(edit.delta_s, 0.5 * direction.delta_s)  # the same once more
        assert edit.tensor.shape == latent.tensor.shape
        torch.testing.assert_close(edit.with_strength(0.0).tensor, latent.tensor, rtol=1e-4, atol=1e-4)
        assert not direction.delta_s.requires_grad
        one = method.direction(latent[1], HAT)  # pictures do not see each other
        torch.testing.assert_close(one.delta_s, direction.delta_s[1:2], rtol=1e-3, atol=1e-4)


def test_a_step_in_w_plus_draws_what_w_plus_says(editor, latent, tmp_path):
    generator, moving = editor.generator, []
    for method in all_methods(editor, tmp_path):
        direction = method.direction(latent, HAT)
        if direction.delta_w is not None:
            moving.append(type(method))
            w_plus = as_w_plus(generator, latent.w) + 0.7 * direction.delta_w
            wanted = generator.synthesize(generator.styles(w_plus), w_plus)
            torch.testing.assert_close(method.edit(latent, HAT, 0.7).tensor, wanted, rtol=1e-3, atol=1e-4)
    assert moving == [WPlus, LatentOptimization, LatentMapper, LinearBoundary, PublishedDirections]


def test_all_methods_refuse_what_says_nothing(editor, latent, tmp_path):
    stranger = replace(latent, s=latent.s[:, :-1])
    for method in all_methods(editor, tmp_path):
        with pytest.raises(ValueError, match=r"prompt must be some words"):
            method.edit(latent, " ")
        with pytest.raises(ValueError, match=r"there is no difference to follow"):
            method.edit(latent, "face")
        with pytest.raises(ValueError, match=r"of another generator: it has 53 style channels, this one has 54"):
            method.edit(stranger, HAT)
        with pytest.raises(ValueError, match=r"strength must be a finite number. Got nan"):
            method.edit(latent, HAT, float("nan"))


# One by one.


def test_ours_is_the_editors(editor, latent):
    torch.testing.assert_close(DeltaEdit(editor).edit(latent, HAT).tensor, editor.edit(latent, HAT).tensor)
    free = DeltaEdit(editor, threshold=0.0).direction(latent, HAT)
    assert torch.equal(free.delta_s, editor.edit(latent, HAT, threshold=0.0).directions[0].delta_s)
    assert (free.threshold, DeltaEdit(editor).direction(latent, HAT).threshold) == (0.0, 0.3)


def test_w_plus_is_the_mapper_and_the_affine_layers(editor, latent):
    mapper = DeltaMapper(W_PLUS)
    direction = WPlus(editor, mapper).direction(latent, HAT)
    w_plus = as_w_plus(editor.generator, latent.w)
    with torch.no_grad():
        wanted = mapper(w_plus.flatten(1), latent.image_feature, editor.text_delta(HAT))
    torch.testing.assert_close(direction.delta_w.flatten(1), wanted)
    with pytest.raises(ValueError, match=r'trained with space="w_plus".*Got \(\(12, 12, .*, 10\)'):
        WPlus(editor, editor.mapper)


def test_global_direction_is_the_formula(editor, latent):
    relevance, beta, alpha = editor.relevance, 0.3, 2.0
    method = GlobalDirections(editor, relevance, beta, alpha)
    z = torch.randn(20_000, TINY.z_dim, generator=torch.Generator().manual_seed(5))
    sigma = editor.generator.styles(editor.generator.mapping(z)).std(0)
    text = editor.clip.text_feature(HAT) - editor.clip.text_feature("face")
    pull = [float(row @ text / text.norm()) for row in relevance]
    kept = [x if abs(x) >= beta else 0.0 for x in pull]
    assert 0 < sum(x != 0 for x in kept) < len(kept)
    largest = max(abs(x) for x in kept)
    wanted = torch.tensor([alpha * x / largest for x in kept]) * sigma
    delta_s = method.direction(latent, HAT).delta_s
    torch.testing.assert_close(delta_s[0], wanted, rtol=0.05, atol=1e-3)
    assert torch.equal(delta_s[0], delta_s[2])
    with pytest.warns(UserWarning, match="no channel reaches threshold 1"):
        assert not GlobalDirections(editor, relevance, threshold=1).direction(latent, HAT).delta_s.any()
    with pytest.raises(ValueError, match=r"relevance must have shape \(54, 10\). Got \(10, 54\)"):
        GlobalDirections(editor, relevance.T)
    with pytest.raises(ValueError, match=r"threshold must be from 0 to 1. Got 30"):
        GlobalDirections(editor, relevance, threshold=30)


def test_optimization_goes_down_its_objective(editor, latent):
    method = LatentOptimization(editor, steps=40, l2=0.002)
    edit = method.edit(latent, HAT)
    assert method.history[-1]["loss"] < method.history[0]["loss"] - 0.1
    before, after = clip_distance(editor, latent.tensor, HAT), clip_distance(editor, edit.tensor, HAT)
    assert (after < before - 0.1).all()
    row, moved = method.history[-1], edit.directions[0].delta_w.square().sum((1, 2)).mean()
    assert row["loss"] == pytest.approx(row["clip"] + 0.002 * row["moved"], rel=1e-4)
    assert row["moved"] == pytest.approx(float(moved), rel=0.05)
    near = LatentOptimization(editor, steps=40, l2=1.0)
    assert near.edit(latent, HAT).directions[0].delta_w.norm() < 0.5 * edit.directions[0].delta_w.norm()


def test_optimization_works_in_batches_and_without_gradients_around(editor, latent, monkeypatch):
    method = LatentOptimization(editor, steps=8)
    whole, log = method.direction(latent, HAT), method.history
    monkeypatch.setattr(type(editor.generator), "batch_size", 2)
    with torch.no_grad():
        torch.testing.assert_close(method.direction(latent, HAT).delta_w, whole.delta_w, rtol=1e-3, atol=1e-4)
    assert method.history[-1] == pytest.approx(log[-1], rel=1e-3)


def test_optimization_descends_for_previews_where_its_editor_draws_them(editor, monkeypatch):
    generator, sizes = editor.generator, []
    draw = generator.preview

    def preview(s, size, w=None, dtype=torch.float32):
        sizes.append(size)
        return draw(s, size, w, dtype)

    monkeypatch.setattr(generator, "preview", preview)
    editor.size = 8
    latent = editor.sample(seed=7, n=2)
    edit = LatentOptimization(editor, steps=20, l2=0.002).edit(latent, HAT)
    assert edit.tensor.shape[-1] == 8
    assert len(sizes) >= 22
    assert set(sizes) == {8}
    assert (clip_distance(editor, edit.tensor, HAT) < clip_distance(editor, latent.tensor, HAT) - 0.05).all()


def test_identity_is_a_hook_and_holds_back(editor, latent, tmp_path):
    def identity(image, original):
        assert image.shape == original.shape
        return (image - original).square().mean((1, 2, 3))

    free = LatentOptimization(editor, steps=20)
    held = LatentOptimization(editor, steps=20, identity=identity, identity_weight=9)
    assert (free.identity_weight, held.identity_weight) == (0.0, 9)
    changed = [identity(method.edit(latent, HAT).tensor, latent.tensor).mean() for method in (free, held)]
    assert changed[1] < 0.5 * changed[0]
    config = replace(SHORT, identity_weight=9.0)
    changed = [
        identity(LatentMapper(editor, tmp_path, config, one).edit(latent, HAT).tensor, latent.tensor).mean()
        for one in (None, identity)
    ]
    assert changed[1] < changed[0]


def test_latent_mapper_learns_its_prompt(editor, tmp_path):
    method = LatentMapper(editor, tmp_path, replace(SHORT, steps=80))
    others = editor.sample(seed=99, n=8)  # it learned on other samples
    edited = method.edit(others, HAT).tensor
    log = method.history[HAT]
    assert log[-1]["loss"] < log[0]["loss"] - 0.05
    assert clip_distance(editor, edited, HAT).mean() < clip_distance(editor, others.tensor, HAT).mean() - 0.1
    assert log[-1]["loss"] == pytest.approx(log[-1]["clip"] + 0.01 * log[-1]["moved"], rel=1e-3)
    for parameter in editor.generator.parameters():
        assert parameter.grad is None


def test_latent_mapper_keeps_one_network_for_each_prompt_and_resumes(editor, latent, tmp_path, monkeypatch):
    whole = LatentMapper(editor, tmp_path / "whole", SHORT)
    wanted = whole.direction(latent, HAT).delta_w
    assert not torch.allclose(whole.direction(latent, OLD).delta_w, wanted, atol=1e-2)
    assert len(list((tmp_path / "whole").iterdir())) == 2

    monkeypatch.setattr(baselines, "fit", lambda *args, **more: loop.fit(*args, **more, stop_after=11))
    LatentMapper(editor, tmp_path / "killed", SHORT).direction(latent, HAT)
    monkeypatch.undo()
    torch.testing.assert_close(LatentMapper(editor, tmp_path / "killed", SHORT).direction(latent, HAT).delta_w, wanted)

    editor.clip.calls.clear()
    again = LatentMapper(editor, tmp_path / "whole", SHORT)
    torch.testing.assert_close(again.direction(latent, HAT).delta_w, wanted)
    assert editor.clip.calls == []  # it is read
    assert again.history[HAT] == whole.history[HAT]


@pytest.mark.parametrize(("num_ws", "sizes"), [(18, (4, 4, 10)), (14, (4, 4, 6)), (12, (4, 4, 4)), (6, (2, 2, 2))])
def test_levels_have_their_own_layers(num_ws, sizes):
    torch.manual_seed(0)
    mapper, w_plus = LevelsMapper(num_ws, 8), torch.randn(2, num_ws, 8)
    assert mapper.sizes == sizes
    out = mapper(w_plus)
    assert out.shape == w_plus.shape
    for part, layers in zip((mapper.coarse, mapper.medium, mapper.fine), out.split(sizes, dim=1), strict=True):
        before = [row.clone() for row in out.split(sizes, dim=1)]
        bias = part[-1].bias.data
        bias += 100.0  # times a hundredth, the layers' own learning rate
        after = mapper(w_plus).split(sizes, dim=1)
        changed = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
        assert changed == [torch.equal(layers, row) for row in before]
        bias -= 100.0
    one = torch.randn(1, 1, 8).expand(-1, num_ws, -1)  # the same w for all layers
    assert not torch.allclose(mapper(one), mapper(one.sign()))


def test_boundary_separates_and_is_crossed(editor, latent):
    method, w, labels = boundaries(editor)
    assert min(method.accuracy.values()) > 0.9
    for prompt, label in labels.items():
        normal = method.boundaries[prompt]
        far = w @ F.normalize(normal, dim=0)
        assert far[label == 1].mean() > far[label == 0].mean()
        assert float(normal.norm()) == pytest.approx(float(far.std()), rel=1e-4)
    moved = w + method.direction(latent, HAT).delta_w[0, 0]
    assert (moved[:, 0] > w[:, 0].mean()).float().mean() > 0.95
    torch.testing.assert_close(method.direction(latent, HAT).delta_w[2, 4], 3 * method.boundaries[HAT])


def test_boundary_keeps_beside_others(editor, latent):
    method, *_ = boundaries(editor)
    beside = LinearBoundary(editor, method.boundaries, beside={HAT: [OLD]})
    assert abs(F.cosine_similarity(method.boundaries[HAT], method.boundaries[OLD], dim=0)) > 0.1
    step, free = beside.direction(latent, HAT).delta_w[0, 0], method.direction(latent, HAT).delta_w[0, 0]
    assert float(step @ method.boundaries[OLD]) == pytest.approx(0, abs=1e-4)
    assert float(step @ free) > 0
    torch.testing.assert_close(beside.direction(latent, OLD).delta_w, method.direction(latent, OLD).delta_w)


def test_boundary_refuses_what_it_cannot_know(editor, latent):
    method, w, labels = boundaries(editor)
    with pytest.raises(ValueError, match=r"no boundary for 'smiling face': fit one, or choose 'face with a hat', 'old"):
        method.edit(latent, "smiling face")
    with pytest.raises(ValueError, match=r"'old face' needs a label for each w.*Got \(599,\) and \(600, 8\)"):
        LinearBoundary.fit(editor, w, {OLD: labels[OLD][1:]})
    few = torch.full((len(w),), math.nan)
    few[:12], few[12:16] = 0, 1
    with pytest.raises(ValueError, match=r"needs 10 samples that show it and 10 that do not. Got 4 and 12"):
        LinearBoundary.fit(editor, w, {OLD: few})
    with pytest.raises(ValueError, match=r"boundary of 'old face' must have shape \(8,\). Got \(9,\)"):
        LinearBoundary(editor, {OLD: torch.zeros(9)})


def test_random_direction_is_as_long_as_ours(editor, latent):
    ours, random = (m.direction(latent, HAT).delta_s for m in (DeltaEdit(editor), RandomDirection(editor, seed=3)))
    torch.testing.assert_close(random.norm(dim=1), ours.norm(dim=1))
    assert F.cosine_similarity(random, ours).abs().max() < 0.6
    cosines = [
        F.cosine_similarity(random, RandomDirection(editor, seed).direction(latent, prompt).delta_s)[0].abs()
        for seed, prompt in ((3, OLD), (4, HAT))
    ]
    assert max(cosines) < 0.9
    draws = torch.stack(
        [F.normalize(RandomDirection(editor, seed).direction(latent, HAT).delta_s[0], dim=0) for seed in range(200)]
    )
    spread = baselines.style_spread(editor.generator)
    assert torch.corrcoef(torch.stack([draws.std(0), spread]))[0, 1] > 0.8  # each channel by its own


def test_captions_train_a_mapper_that_is_told_by_text(editor, latent, tmp_path):
    store = extract_features(editor.generator, FakeClip(text=False), 200, tmp_path / "store")
    config = MapperTraining(steps=60, batch_size=32, lr=0.05, evaluate_every=20, held_out=50)
    text = F.normalize(torch.randn(200, DIM, generator=torch.Generator().manual_seed(0)))
    captioned = Captioned(store, text)
    assert len(captioned) == 200
    assert torch.equal(captioned.compared_feature, text)
    assert torch.equal(captioned.image_feature, store.image_feature)
    plain, told = train_mapper(store, config), train_mapper(captioned, config)
    assert len(list(store.folder.glob("mapper-*"))) == 2  # runs are told apart
    assert told.history[-1]["validation_loss"] > plain.history[-1]["validation_loss"]  # these captions say nothing
    same = train_mapper(Captioned(store, store.image_feature), config)
    assert same.history[-1]["validation_loss"] == pytest.approx(plain.history[-1]["validation_loss"])
    edit = DeltaEdit(Editor(editor.generator, editor.clip, told, editor.relevance, editor.domain)).edit(latent, HAT)
    assert edit.tensor.shape == latent.tensor.shape
    assert captioned.manifest["captions"] != Captioned(store, text.flip(0)).manifest["captions"]
    with pytest.raises(ValueError, match=r"a row for each picture, \(200, 10\). Got \(199, 10\)"):
        Captioned(store, text[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda e: LatentOptimization(e, steps=0), r"steps and lr must be positive, and l2 not negative. Got 0, 0.1"),
        (lambda e: LatentOptimization(e, l2=-1), r"Got 300, 0.1 and -1"),
        (lambda e: LatentMapperTraining(batch_size=0), r"batch_size must be positive. Got 0"),
    ],
)
def test_settings_out_of_range_are_named(editor, make, message):
    with pytest.raises(ValueError, match=message):
        make(editor)
