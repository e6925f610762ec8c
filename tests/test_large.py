"""The measures of FFHQ's size, on a size that takes no time: what they compare does the same."""

import large
import photoreal
import pytest
import torch
from fakes import tiny_generator

from deltaedit import FeatureStore
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(large, "CONFIG", tiny_generator().config)


def test_the_forms_of_drawing_draw_the_same():
    found = large.drawing(1)
    assert found["picture from s, float32, off by (% of its range)"] < 1e-2
    assert found["picture from s, off by (% of its range)"] < 5
    assert found["picture from s, of the textbook's time (%)"] > 0


def test_the_forms_of_training_learn_the_same():
    found = large.learning(50)
    plain, ours = (found[f"mapper, loss after {100 * 64} samples{form}"] for form in (", plain loop", ""))
    assert ours == pytest.approx(plain, rel=0.1)
    assert found["mapper, training, times the plain loop"] > 0


def test_the_store_is_as_large_as_it_says(tmp_path):
    store = large.fake_store(tmp_path, 3 * large.SHARD - 5)
    assert isinstance(store, FeatureStore)
    assert len(store) == 3 * large.SHARD - 5


def test_faces_are_raced_and_compared(monkeypatch, capsys):
    torch.manual_seed(0)
    faces = MobileStyleGAN(MobileConfig(channels=(8, 8, 4), z_dim=5, w_dim=6, mapping_layers=2)).requires_grad_(False)
    fit_preview(faces, (8,), faces=4)
    monkeypatch.setattr(photoreal, "find_spec", lambda name: None)
    found = photoreal.measure(faces, rounds=1, n=2)
    assert "OpenVINO is not installed" in capsys.readouterr().out
    assert found["preview of 8 px, PSNR (dB)"] > 5
    assert found["preview of 8 px, of the textbook's time (%)"] > 0
    assert photoreal.psnr(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)) == pytest.approx(6.02, abs=0.01)


def test_where_the_generator_is_not_the_bench_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    assert photoreal.generator() is None
    assert "python -m deltaedit.download faces" in capsys.readouterr().out
