import pytest
import torch
import torch.nn.functional as F
from fakes import DIM, TINY, FakeClip, tiny_generator

from deltaedit.files import write_tensors
from deltaedit.relevance import SIGMA_SAMPLES, estimate_relevance, load_relevance, relevance_mask


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


def test_mask_keeps_channels_that_matter():
    relevance = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, -0.8]])
    delta = torch.tensor([0.0, 1.0])
    assert relevance_mask(relevance, delta, 0.5).tolist() == [False, True, True]
    assert relevance_mask(relevance, delta, 0.0).all()


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="must be positive. Got 0"):
        estimate_relevance(tiny_generator(), FakeClip(), 0)
    write_tensors(tmp_path / "other.safetensors", {"weight": torch.ones(2)}, {})
    with pytest.raises(ValueError, match="holds no relevance"):
        load_relevance(tmp_path / "other.safetensors")
