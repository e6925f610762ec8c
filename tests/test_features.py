import json

import pytest
import torch
from fakes import DIM, TINY, FakeClip, tiny_generator

from deltaedit import features
from deltaedit.features import FeatureStore, extract_features


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(features, "SHARD", 16)


def arrays(store: FeatureStore) -> tuple[torch.Tensor, ...]:
    return store.w, store.s, store.image_feature


def same(a: FeatureStore, b: FeatureStore) -> bool:
    return all(torch.equal(x, y) for x, y in zip(arrays(a), arrays(b), strict=True))


def test_store_holds_what_the_models_say(tmp_path):
    generator, clip = tiny_generator(), FakeClip(text=False)
    store = extract_features(generator, clip, 40, tmp_path, seed=3, batch_size=16)
    assert len(store) == 40
    assert store.complete
    assert [x.shape[1] for x in arrays(store)] == [TINY.w_dim, TINY.layout.size, DIM]
    z = features.shard_latents(3, 1, TINY.z_dim)  # pictures 16 to 31
    w = generator.mapping(z)
    torch.testing.assert_close(store.w[16:32], w.half())
    torch.testing.assert_close(store.s[16:32], generator.styles(w).half())
    torch.testing.assert_close(store.image_feature[16:32], clip.encode_image(generator(z).clamp(-1, 1)).half())


def test_a_killed_run_goes_on_to_the_same_store(tmp_path, monkeypatch):
    generator = tiny_generator()
    whole = extract_features(generator, FakeClip(), 40, tmp_path / "whole")

    class Dies(FakeClip):
        def encode_image(self, image):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().encode_image(image)

    with pytest.raises(KeyboardInterrupt):
        extract_features(generator, Dies(), 40, tmp_path / "killed")
    half = FeatureStore.open(tmp_path / "killed")
    assert len(half) == 32
    assert not half.complete
    assert torch.equal(half.s, whole.s[:32])
    clip = FakeClip()
    assert same(extract_features(generator, clip, 40, tmp_path / "killed"), whole)
    assert len(clip.calls) == 1


def test_a_full_disk_leaves_what_was_written(tmp_path, monkeypatch):
    write = features.write_tensors

    def full(path, *args):
        if path.name.startswith("00001"):
            path.with_name(path.name + ".part").write_bytes(b"half a shard")
            raise OSError(28, "No space left on device")
        write(path, *args)

    monkeypatch.setattr(features, "write_tensors", full)
    with pytest.raises(OSError, match="No space left"):
        extract_features(tiny_generator(), FakeClip(), 40, tmp_path)
    assert len(FeatureStore.open(tmp_path)) == 16
    monkeypatch.setattr(features, "write_tensors", write)
    assert len(extract_features(tiny_generator(), FakeClip(), 40, tmp_path)) == 40


def test_a_store_is_never_held_twice(tmp_path, monkeypatch):
    store = extract_features(tiny_generator(), FakeClip(), 200, tmp_path)
    monkeypatch.setattr(torch, "cat", None)
    read, names = features.read_tensors, []
    monkeypatch.setattr(features, "read_tensors", lambda path, only: names.extend(only) or read(path, only))
    store = FeatureStore.open(tmp_path, 197)
    assert store.s.shape == (197, TINY.layout.size)
    assert names == ["image_feature"] * 13 + ["s"] * 13  # a shard at a time, and of it no more than is asked for


def test_a_store_can_grow_and_be_used_in_part(tmp_path):
    generator = tiny_generator()
    small = extract_features(generator, FakeClip(), 20, tmp_path / "grown")
    assert len(small) == 20
    grown = extract_features(generator, FakeClip(), 40, tmp_path / "grown")
    assert same(grown, extract_features(generator, FakeClip(), 40, tmp_path / "whole"))
    clip = FakeClip()
    part = extract_features(generator, clip, 20, tmp_path / "grown")
    assert same(part, small)
    assert clip.calls == []
    assert len(FeatureStore.open(tmp_path / "grown")) == 40


def test_another_run_is_refused(tmp_path):
    extract_features(tiny_generator(), FakeClip(), 20, tmp_path)
    for generator, options in [(tiny_generator(), {"seed": 1}), (tiny_generator(1), {})]:
        with pytest.raises(ValueError, match="another run"):
            extract_features(generator, FakeClip(), 20, tmp_path, **options)
    other = FakeClip()
    other.preprocessing = "deltaedit"
    for clip, folder in ((other, tmp_path), (FakeClip(), tmp_path / "other")):
        extract_features(tiny_generator(), other, 1, tmp_path / "other")
        with pytest.raises(ValueError, match="another run.*preprocessing"):
            extract_features(tiny_generator(), clip, 20, folder)


def test_bad_input_is_named(tmp_path):
    with pytest.raises(ValueError, match="holds no features"):
        FeatureStore.open(tmp_path)
    with pytest.raises(ValueError, match="at least 1. Got 0"):
        extract_features(tiny_generator(), FakeClip(), 0, tmp_path)
    store = extract_features(tiny_generator(), FakeClip(), 20, tmp_path)
    shard = tmp_path / "00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-50])
    with pytest.raises(ValueError, match="damaged"):
        FeatureStore.open(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(store.manifest)[:20])
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        FeatureStore.open(tmp_path)


def test_features_that_are_not_finite_stop_the_run(tmp_path):
    class Broken(FakeClip):
        def encode_image(self, image):
            return super().encode_image(image) * float("nan")

    with pytest.raises(FloatingPointError, match="not finite"):
        extract_features(tiny_generator(), Broken(), 20, tmp_path)
