import math
from dataclasses import replace

import pytest
import textbook
import torch
import torch.nn.functional as F
from fakes import DIM, TINY, FakeClip, tiny_generator

from deltaedit import devices, training
from deltaedit.devices import home
from deltaedit.features import FeatureStore, extract_features
from deltaedit.loop import step_rng
from deltaedit.mapper import DeltaMapper, MapperConfig, unit_delta
from deltaedit.training import LOSSES, MapperTraining, mapper_loss, plateau, solve_mapper, train_mapper

SHORT = MapperTraining(steps=60, batch_size=32, lr=0.05, evaluate_every=20, held_out=50)


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> FeatureStore:
    """Made and trained on with a CLIP whose text tower fails the test that uses it."""
    return extract_features(tiny_generator(), FakeClip(text=False), 400, tmp_path_factory.mktemp("features"))


def weights(mapper: DeltaMapper) -> torch.Tensor:
    return torch.cat([p.flatten() for p in mapper.state_dict().values()])


def test_training_needs_features_only_and_learns(store, tmp_path):
    mapper = train_mapper(store, replace(SHORT, steps=200, standardize=True), tmp_path)
    assert mapper.layout == TINY.layout
    validated = [row for row in mapper.history if "validation_loss" in row]
    assert validated[-1]["validation_loss"] < 0.97 * validated[0]["validation_loss"]
    assert validated[-1]["validation_cosine"] > 0.15
    s = store.s.float()
    torch.testing.assert_close(mapper.s_mean, s[:350].mean(0))  # of the rows that are not held out
    again = DeltaMapper.load(tmp_path / "mapper.safetensors")
    assert torch.equal(weights(again), weights(mapper))


@pytest.mark.parametrize("large", [2**24, 1])  # parameters from which on there is half precision
def test_training_equals_the_textbooks(store, tmp_path, monkeypatch, large):
    monkeypatch.setattr(training, "LARGE", large)
    monkeypatch.setattr(devices, "has_bfloat16", lambda _: True)
    mapper = train_mapper(store, replace(SHORT, steps=50), tmp_path)
    rows = [torch.randint(350, (2, 32), generator=step_rng(SHORT.seed, k)) for k in range(50)]
    torch.manual_seed(SHORT.seed)
    plain = DeltaMapper(MapperConfig(TINY.layout.dims, DIM))
    pairs = textbook.Pairs(store.s, store.image_feature, torch.cat(rows, dim=1))
    losses = list(textbook.train(plain, pairs, 32, SHORT.lr))
    assert losses[-1] < losses[0]
    assert math.isclose(mapper.history[-1]["loss"], sum(losses) / 50, rel_tol=1e-4 if large > 1 else 5e-3)


def test_features_that_do_not_fit_the_gpu_stay_in_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10_000, 20_000))
    assert [home(size, "cuda").type for size in (5000, 5001)] == ["cuda", "cpu"]
    assert home(10**12, "cpu").type == "cpu"


def test_trainer_has_no_way_to_text(store):
    clip = FakeClip(text=False)
    with pytest.raises(pytest.fail.Exception, match="text tower"):
        clip.encode_text("face")
    assert {t.dtype for t in (store.s, store.image_feature)} == {torch.float16}  # all that the trainer reads
    assert "clip" not in vars(training)


def test_a_killed_run_goes_on_to_the_same_weights(store, tmp_path, monkeypatch):
    whole = train_mapper(store, SHORT, tmp_path / "whole")
    steps = 0

    def dies(mapper, a, b):
        nonlocal steps
        steps += 1
        if steps == 47:
            raise KeyboardInterrupt
        return unit_delta(a, b)

    monkeypatch.setattr(DeltaMapper, "delta", dies)
    with pytest.raises(KeyboardInterrupt):
        train_mapper(store, SHORT, tmp_path / "killed")
    monkeypatch.undo()
    assert torch.equal(weights(train_mapper(store, SHORT, tmp_path / "killed")), weights(whole))


def test_a_mapper_remembers_how_its_pictures_were_made_ready(tmp_path):
    clip = FakeClip()
    clip.preprocessing = "deltaedit"
    store = extract_features(tiny_generator(), clip, 20, tmp_path / "store")
    mapper = train_mapper(store, MapperTraining(steps=1, mapper=MapperConfig(hidden=4, depth=2)), tmp_path / "mapper")
    assert DeltaMapper.load(tmp_path / "mapper" / "mapper.safetensors").config.preprocessing == "deltaedit"
    assert mapper.config.preprocessing == "deltaedit"


def test_same_seed_same_weights(store, tmp_path):
    first, second, third = (
        weights(train_mapper(store, replace(SHORT, seed=seed), tmp_path / str(k))) for k, seed in enumerate((5, 5, 6))
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


def test_the_linear_mapper_is_the_least_squares_of_pairs(store):
    mapper = solve_mapper(store, ridge=1e-6, held_out=10)
    rows = len(store) - 10
    s, feature = store.s[:rows].double(), store.image_feature[:rows].double()
    x, y = (part[:, None] - part[None] for part in (feature, s / s.std(0, correction=0)))  # of all pairs
    wanted = torch.linalg.lstsq(x.flatten(0, 1), y.flatten(0, 1)).solution
    torch.testing.assert_close(mapper.matrix.double(), wanted, rtol=0.01, atol=0.01 * float(wanted.abs().max()))
    delta = feature[1] - feature[0]
    edit = mapper(store.s[:1].float(), store.image_feature[:1].float(), delta.float())
    torch.testing.assert_close(edit.double(), delta[None] @ wanted * s.std(0, correction=0), rtol=0.01, atol=0.01)
    assert -1 <= mapper.history[-1]["validation_cosine"] <= 1
    assert torch.equal(weights(solve_mapper(store, held_out=10)), weights(solve_mapper(store, held_out=10)))
    with pytest.raises(ValueError, match="positive ridge"):
        solve_mapper(store, ridge=0.0)


def test_default_folder_is_in_the_store_and_named_after_the_run(store):
    train_mapper(store, replace(SHORT, steps=20))
    train_mapper(store, replace(SHORT, steps=20, loss="mse"))
    assert len(list(store.folder.glob("mapper-*/mapper.safetensors"))) == 2


TEXTBOOK = {  # each term of a loss in a line
    "mse": lambda x, y: sum((a - b) ** 2 for a, b in zip(x.flatten(), y.flatten(), strict=True)) / x.numel(),
    "cosine": lambda x, y: 1 - sum(a @ b / (a @ a * (b @ b)) ** 0.5 for a, b in zip(x, y, strict=True)) / len(x),
}


@pytest.mark.parametrize("term", LOSSES)
def test_each_term_of_a_loss_is_the_textbooks_and_learns(store, tmp_path, term):
    """A new term needs its line above: without one, or with one that says something else, this fails."""
    x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mapper_loss(x, y, term), TEXTBOOK[term](x, y))
    torch.testing.assert_close(mapper_loss(x, x, term), torch.tensor(0.0), atol=1e-6, rtol=0)
    history = train_mapper(store, replace(SHORT, steps=100, loss=term), tmp_path).history
    assert history[-1]["validation_loss"] < history[0]["loss"]


def test_terms_add_up(store, tmp_path):
    x, y = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mapper_loss(x, y), TEXTBOOK["mse"](x, y) + TEXTBOOK["cosine"](x, y))
    row = train_mapper(store, replace(SHORT, steps=1), tmp_path).history[-1]
    assert math.isclose(row["loss"], row["mse"] + 1 - row["cosine"], rel_tol=1e-5)


def test_ablations_change_what_the_mapper_is_told(store, tmp_path):
    """What the condition is, what of it, and where the edit is made."""

    def small(**sizes) -> MapperTraining:
        return replace(SHORT, steps=1, mapper=MapperConfig(**sizes))

    feature, s = store.image_feature[:2].float(), store.s[:2].float()
    told = {
        condition: train_mapper(store, small(condition=condition), tmp_path / condition)
        for condition in ("unit delta", "delta", "target")
    }
    a, b = feature
    torch.testing.assert_close(told["unit delta"].delta(a, b), F.normalize(b - a, dim=0))
    torch.testing.assert_close(told["delta"].delta(a, b), b - a)
    assert torch.equal(told["target"].delta(a, b), b)

    blind = train_mapper(store, small(sees_source=False), tmp_path / "blind")
    assert torch.equal(blind(s, feature, a), blind(s, feature.flip(0), a))
    assert not torch.equal(told["delta"](s, feature, a), told["delta"](s, feature.flip(0), a))

    whole = train_mapper(store, small(groups=1), tmp_path / "one")
    whole = DeltaMapper.load(tmp_path / "one" / "mapper.safetensors")
    assert [name for name, _ in whole.named_children()] == ["whole"]
    assert whole(s, feature, a).shape == s.shape

    w_plus = train_mapper(store, replace(SHORT, steps=1, space="w_plus"), tmp_path / "w")
    assert w_plus.config.dims == (TINY.w_dim,) * (len(TINY.layout.dims) + 1)


def test_a_loss_that_is_not_finite_stops_with_the_step(store, tmp_path):
    with pytest.raises(FloatingPointError, match=r"DeltaMapper gave .*nan.* by step 50.*checkpoint.*learning rate"):
        train_mapper(store, replace(SHORT, lr=1e30), tmp_path)


def test_delta_image_is_a_unit_vector_or_zero():
    a, b = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unit_delta(a, b), F.normalize(b - a))
    assert not unit_delta(a, a).any()


def test_plateau_is_announced():
    def row(step, loss):
        return {"step": step, "seconds": 1.0, "validation_loss": loss, "validation_cosine": 0.5}

    flat = [row(100, 2.0), row(200, 1.003), row(300, 1.0)]
    assert plateau(flat).endswith("cosine 0.500; a plateau since step 200.")
    assert "no plateau yet" in plateau([row(100, 2.0), row(200, 1.5)])


def test_bad_input_is_named(store, tmp_path):
    with pytest.raises(ValueError, match="lr must be positive"):
        MapperTraining(lr=float("nan"))
    with pytest.raises(ValueError, match=r"a term of the loss must be 'mse' or 'cosine', with .* Got 'l1'"):
        MapperTraining(loss="mse + l1")
    with pytest.raises(ValueError, match="at least 10 pictures"):
        train_mapper(FeatureStore.open(store.folder, n=5), SHORT, tmp_path)
    train_mapper(store, replace(SHORT, steps=2), tmp_path)
    with pytest.raises(ValueError, match="another run"):
        train_mapper(store, replace(SHORT, steps=2, lr=1.0), tmp_path)
