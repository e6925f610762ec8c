import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from fakes import DIM, TINY, FakeClip, tiny_generator
from PIL import Image

from deltaedit import features
from deltaedit.e4e import Encoder, EncoderConfig
from deltaedit.faces import align
from deltaedit.features import FeatureStore, add_pictures, extract_features
from deltaedit.pictures import resize, to_tensor
from deltaedit.training import MapperTraining, train_mapper


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


def test_clip_may_look_at_previews(tmp_path):
    generator, clip = tiny_generator(), FakeClip()
    store = extract_features(generator, clip, 5, tmp_path, size=8)
    w = generator.mapping(features.shard_latents(0, 0, TINY.z_dim)[:5])
    image = generator.preview(generator.styles(w), 8, w).clamp(-1, 1)
    torch.testing.assert_close(store.image_feature, clip.encode_image(image).half())
    assert store.manifest["size"] == 8
    with pytest.raises(ValueError, match="another run.*size: 8 there, nothing here"):
        extract_features(generator, clip, 5, tmp_path)
    with pytest.raises(ValueError, match="Got a size of 7"):
        extract_features(generator, clip, 5, tmp_path / "other", size=7)
    assert not (tmp_path / "other").exists()
    extract_features(generator, clip, 5, tmp_path / "other")
    assert "size" not in FeatureStore.open(tmp_path / "other").manifest  # as stores that were made before


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


@pytest.mark.parametrize("damage", [lambda whole: whole[: len(whole) // 2], lambda whole: b"", lambda whole: bytes(90)])
def test_damaged_files_are_named_and_made_again(tmp_path, capsys, damage):
    generator = tiny_generator()
    whole = extract_features(generator, FakeClip(), 40, tmp_path / "whole")
    store = tmp_path / "store"
    extract_features(generator, FakeClip(), 40, store)
    shard = store / "00001.safetensors"
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.raises(ValueError, match="00001.safetensors is damaged .*: delete it, then download or make it again"):
        FeatureStore.open(store)
    clip = FakeClip()
    assert same(extract_features(generator, clip, 40, store), whole)
    assert len(clip.calls) == 1, "the others were whole"
    assert f"{shard} is damaged: its pictures are drawn again." in capsys.readouterr().err

    manifest = store / "manifest.json"
    manifest.write_bytes(damage(manifest.read_bytes()))
    with pytest.raises(ValueError, match="manifest.json is damaged: delete it, and run extract_features again"):
        FeatureStore.open(store)
    with pytest.raises(ValueError, match="another run"):
        extract_features(generator, FakeClip(), 40, store, seed=1)
    assert same(extract_features(generator, clip, 40, store), whole)
    assert len(clip.calls) == 1


def test_of_two_runs_at_once_one_draws(tmp_path):
    generator, clip = tiny_generator(), FakeClip()
    whole = extract_features(generator, FakeClip(), 40, tmp_path / "whole")
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: extract_features(generator, clip, 40, tmp_path / "both"), range(2)))
    assert all(same(store, whole) for store in both)
    assert len(clip.calls) == 3


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


@pytest.fixture
def encoder() -> Encoder:
    generator = tiny_generator()
    encoder = Encoder(EncoderConfig(TINY.w_dim, generator.num_ws, 16, 8), generator.w_avg).eval()
    torch.nn.init.normal_(encoder.to_delta.weight, std=0.05)  # as after training: each layer has a w of its own
    return encoder


@pytest.fixture
def folder(tmp_path):
    """Twenty pictures of several sizes, two of them in a folder below, beside what is no picture."""
    (tmp_path / "photos/more").mkdir(parents=True)
    for k, rng in enumerate(torch.Generator().manual_seed(k) for k in range(20)):
        pixels = torch.randint(256, (16 + k // 8, 20, 3), generator=rng, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).save(tmp_path / f"photos{'/more' * (k > 17)}/{k:02d}.png")
    (tmp_path / "photos/notes.txt").write_text("three cats")
    return tmp_path / "photos"


def test_pictures_of_a_folder_come_before_the_samples(tmp_path, folder, encoder):
    generator, clip = tiny_generator(), FakeClip(text=False)
    sampled = extract_features(generator, clip, 40, tmp_path / "store")
    store = add_pictures(sampled, folder, generator, clip, encoder, batch_size=4)
    assert (len(store), store.pictures, store.complete) == (60, (16, 4), True)
    picture = to_tensor(folder / "09.png")
    w_plus = encoder(resize(picture, 16))
    assert store.w.shape == (60, *w_plus.shape[1:])
    torch.testing.assert_close(store.w[9:10], w_plus.half(), atol=1e-2, rtol=0)
    torch.testing.assert_close(store.s[9:10], generator.styles(w_plus).half(), atol=1e-2, rtol=0)
    torch.testing.assert_close(store.image_feature[9:10], clip.encode_image(picture).half())  # not of the redrawn
    assert torch.equal(store.s[20:], sampled.s)
    assert torch.equal(store.w[20:], sampled.w[:, None].expand(-1, generator.num_ws, -1))
    assert store.manifest["pictures"]["files"] == 20
    mapper = train_mapper(store, MapperTraining(steps=2, batch_size=4, held_out=10, standardize=True))
    torch.testing.assert_close(mapper.s_mean, store.s[:50].float().mean(0))  # trained on all but samples held out


def test_a_killed_run_goes_on_with_the_pictures_too(tmp_path, folder, encoder):
    generator, wholes = tiny_generator(), []
    for name in ("whole", "killed"):
        wholes.append(extract_features(generator, FakeClip(), 20, tmp_path / name))
    whole = add_pictures(wholes[0], folder, generator, FakeClip(), encoder)
    reads = []

    def dies(path):
        reads.append(path)
        if len(reads) == 18:
            raise KeyboardInterrupt
        return to_tensor(path)

    with pytest.raises(KeyboardInterrupt):
        add_pictures(wholes[1], folder, generator, FakeClip(), encoder, read=dies)
    half = FeatureStore.open(tmp_path / "killed")
    assert (half.pictures, half.complete) == ((16,), False)
    grown = extract_features(generator, FakeClip(), 40, tmp_path / "killed")  # more samples, too
    reads.clear()
    store = add_pictures(grown, folder, generator, FakeClip(), encoder, read=lambda p: reads.append(p) or to_tensor(p))
    assert len(reads) == 4
    assert torch.equal(store.s[:40], whole.s)
    assert (len(store), store.complete) == (60, True)
    assert same(FeatureStore.open(tmp_path / "killed", 20), whole)


def test_pictures_that_cannot_be_read_are_named(tmp_path, folder, encoder):
    (folder / "03.png").write_bytes(b"no picture")
    Image.new("RGB", (1, 1)).save(folder / "05.png")
    generator, clip = tiny_generator(), FakeClip()
    store = extract_features(generator, clip, 20, tmp_path / "store")
    with pytest.warns(UserWarning, match=r"2 files are left out: 03\.png \(.*cannot be read.*; 05\.png \(.*1 x 1\)"):
        store = add_pictures(store, folder, generator, clip, encoder)
    assert (store.pictures, store.complete) == ((14, 4), True)

    walls = extract_features(generator, clip, 20, tmp_path / "faces")
    with pytest.raises(ValueError, match="no picture can be read"), pytest.warns(UserWarning, match="and 11 more"):
        add_pictures(walls, folder, generator, clip, encoder, read=lambda path: to_tensor(align(path)))


def test_other_pictures_are_refused(tmp_path, folder, encoder):
    generator, clip = tiny_generator(), FakeClip()
    store = extract_features(generator, clip, 20, tmp_path / "store")
    with pytest.raises(ValueError, match="holds no pictures"):
        add_pictures(store, tmp_path / "store", generator, clip, encoder)
    with pytest.raises(ValueError, match="another run.*generator"):
        add_pictures(store, folder, tiny_generator(1), clip, encoder)
    store = add_pictures(store, folder, generator, clip, encoder)
    (folder / "03.png").unlink()
    with pytest.raises(ValueError, match="another run.*files: 20 there, 19 here"):
        add_pictures(store, folder, generator, clip, encoder)
