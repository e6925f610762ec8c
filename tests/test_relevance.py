import pytest
import torch
import torch.nn.functional as F
from fakes import DIM, TINY, FakeClip, tiny_generator

from deltaedit.checkpoints import load_relevance
from deltaedit.features import FeatureStore, extract_features
from deltaedit.files import write_json, write_tensors
from deltaedit.relevance import SIGMA_SAMPLES, estimate_relevance, relevance_mask


@torch.inference_mode()
def test_relevance_equals_one_channel_at_a_time():
    generator, clip = tiny_generator(), FakeClip(text=False)
    relevance = estimate_relevance(generator, clip, n_latents=3, step_size=2.0, batch_size=16, seed=4)
    assert relevance.shape == (TINY.layout.size, DIM)
    z = torch.randn(SIGMA_SAMPLES + 3, TINY.z_dim, generator=torch.Generator().manual_seed(4))
    w = generator.mapping(z)
    sigma, w = generator.styles(w[:SIGMA_SAMPLES]).std(0), w[SIGMA_SAMPLES:]
    s = generator.styles(w)
    for channel in (0, 17, TINY.layout.size - 1):
        change = 0
        for sign in (-1, 1):
            moved = s.clone()
            moved[:, channel] += sign * 2 * sigma[channel]
            change = change + sign * clip.encode_image(generator.synthesize(moved, w).clamp(-1, 1)).mean(0)
        torch.testing.assert_close(relevance[channel], F.normalize(change, dim=0), rtol=1e-3, atol=1e-4)


def test_a_killed_run_goes_on_to_the_same_relevance(tmp_path):
    generator, path = tiny_generator(), tmp_path / "relevance.safetensors"
    whole = estimate_relevance(generator, FakeClip(), 2, out=tmp_path / "whole.safetensors")
    torch.testing.assert_close(load_relevance(tmp_path / "whole.safetensors"), whole)
    saved = {"n_latents": 2, "step_size": 5.0, "seed": 0, "generator": generator.fingerprint(), "clip": "fake"}
    write_tensors(path, {"relevance": whole[:16]}, {**saved, "finished": False})
    with pytest.raises(ValueError, match="unfinished"):
        load_relevance(path)
    clip = FakeClip()
    torch.testing.assert_close(estimate_relevance(generator, clip, 2, out=path), whole)
    assert len(clip.calls) == 3  # 38 channels, 16 at a time
    torch.testing.assert_close(load_relevance(path), whole)
    with pytest.raises(ValueError, match="another run"):
        estimate_relevance(generator, clip, 3, out=path)
    clip.preprocessing = "deltaedit"
    with pytest.raises(ValueError, match="another run.*preprocessing"):
        estimate_relevance(generator, clip, 2, out=path)


def test_regression_equals_its_formula(tmp_path):
    store = extract_features(tiny_generator(), FakeClip(text=False), 60, tmp_path / "store")
    relevance = estimate_relevance(store, ridge=0.5, out=tmp_path / "relevance.safetensors")
    s, feature = store.s.double(), store.image_feature.double()
    rows = []
    for column in feature.T:  # ridge regression as least squares with S more rows
        x, y = (s - s.mean(0)) / s.std(0), column - column.mean()
        x, y = torch.cat([x, (0.5 * len(s)) ** 0.5 * torch.eye(len(x.T)).double()]), F.pad(y, (0, len(x.T)))
        rows.append(torch.linalg.lstsq(x, y[:, None]).solution[:, 0])
    torch.testing.assert_close(relevance, F.normalize(torch.stack(rows, dim=1), dim=1).float(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(load_relevance(tmp_path / "relevance.safetensors"), relevance)
    assert torch.equal(estimate_relevance(store, ridge=0.5, out=tmp_path / "relevance.safetensors"), relevance)


def test_regression_finds_what_channels_do_where_samples_tell_them_apart(tmp_path):
    rng = torch.Generator().manual_seed(0)
    s, effect = torch.randn(1024, 6, generator=rng), F.normalize(torch.randn(6, 4, generator=rng), dim=1)
    s[:, 2] = 0.7  # never moves
    write_tensors(tmp_path / "00000.safetensors", {"w": s, "s": s.half(), "image_feature": (s @ effect).half()}, {})
    write_json(tmp_path / "manifest.json", {"n": 1024})
    relevance = estimate_relevance(FeatureStore.open(tmp_path), ridge=0.01)
    assert relevance[2].abs().max() == 0
    assert F.cosine_similarity(relevance, effect)[[0, 1, 3, 4, 5]].min() > 0.99


def test_an_estimate_made_in_another_way_is_another_run(tmp_path):
    generator, path = tiny_generator(), tmp_path / "relevance.safetensors"
    store = extract_features(generator, FakeClip(), 20, tmp_path / "store")
    estimate_relevance(store, out=path)
    with pytest.raises(ValueError, match="another run.*ridge: 10.0 there, 1.0 here"):
        estimate_relevance(store, ridge=1.0, out=path)
    with pytest.raises(ValueError, match="another run.*method: regression there, nothing here"):
        estimate_relevance(generator, FakeClip(), 2, out=path)


def test_mask_keeps_channels_that_matter():
    relevance = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
    delta = torch.tensor([0.0, 1.0])
    assert relevance_mask(relevance, delta, 0.5).tolist() == [False, True, True]
    assert relevance_mask(relevance, delta, 0.0).all()


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be positive. Got 0"):
        estimate_relevance(tiny_generator(), FakeClip(), 0)
    with pytest.raises(ValueError, match="give the CLIP"):
        estimate_relevance(tiny_generator())
    store = extract_features(tiny_generator(), FakeClip(), 1, tmp_path / "store")
    with pytest.raises(ValueError, match="2 pictures or more and a positive ridge. Got 1"):
        estimate_relevance(store)
    write_tensors(tmp_path / "other.safetensors", {"weight": torch.ones(2)}, {})
    with pytest.raises(ValueError, match="holds no relevance"):
        load_relevance(tmp_path / "other.safetensors")
