"""The measures of FFHQ's size, on a size that takes no time: what they compare does the same."""

import large
import pytest
from fakes import tiny_generator

from deltaedit import FeatureStore


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
