"""Statistics on clouds whose answers are known, and the way to the authors' features."""

import hashlib
import io

import numpy as np
import pytest
import torch
from web import serve

from deltaedit import alignment, official
from deltaedit.alignment import deltas, mean_distance, paired_cosine, probe_auc, project, random_cosine, report


def cloud(n: int = 200, d: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_cosines_against_loops():
    a, b = cloud(30, seed=1), cloud(30, seed=2)
    cosine = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    np.testing.assert_allclose(paired_cosine(a, b), np.diag(cosine))
    for value in random_cosine(a, b, seed=3):
        row, column = np.argwhere(np.isclose(cosine, value))[0]
        assert row != column
    assert np.array_equal(random_cosine(a, b, seed=3), random_cosine(a, b, seed=3))
    assert not np.array_equal(random_cosine(a, b, seed=3), random_cosine(a, b, seed=4))


def test_tensors_are_taken_too():
    a, b = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.eye(20, 8) + 0.1
    np.testing.assert_allclose(paired_cosine(a, b), torch.cosine_similarity(a, b).numpy(), atol=1e-6)


def test_a_shift_is_a_gap_that_the_linear_probe_sees_and_deltas_lose():
    image = cloud()
    text = image + 0.3 * cloud(seed=1)
    shifted = text + 8 * np.eye(16)[0]
    raw = report(image, shifted)
    assert raw.gap > 0.5
    assert raw.auc > 0.95
    assert report(image, shifted, probed=40).kernel_auc == probe_auc(image[:40], shifted[:40], kernel=True)
    steps = report(*deltas(image, shifted))
    assert steps.n == 100
    assert steps.gap < 0.3
    assert steps.paired > raw.paired
    assert steps.random < 0.2


def test_equal_clouds_cannot_be_told_apart():
    for kernel in (False, True):
        assert abs(probe_auc(cloud(seed=1), cloud(seed=2), kernel=kernel) - 0.5) < 0.1


def test_another_shape_is_seen_by_the_kernel_alone():
    thin = cloud() * np.linspace(0.1, 2, 16)
    thick = cloud(seed=1) * np.linspace(2, 0.1, 16)
    assert abs(probe_auc(thin, thick) - 0.5) < 0.15
    assert probe_auc(thin, thick, kernel=True) > 0.95


def test_retrieval_both_ways():
    a = np.eye(4)
    assert alignment.retrieval(a, a[[0, 1, 3, 2]]) == (0.5, 0.5)
    crowded = np.array([[1, 0, 0, 0], [1, 0.1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])  # the second leans to the first
    assert alignment.retrieval(a, crowded) == (1.0, 0.75)


def test_kernel_alignment_is_blind_to_rotation_and_sees_who_is_near_whom():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(400, 6)) * [5, 4, 3, 1, 1, 1]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert alignment.kernel_alignment(a, a) == pytest.approx(1)
    assert alignment.kernel_alignment(a, alignment.unit(a) @ turn) == pytest.approx(1)
    assert alignment.kernel_alignment(a, rng.permutation(a)) < 0.05
    x, y = alignment.unit(a), alignment.unit(rng.normal(size=(400, 6)) + a)
    gram = [(z - z.mean(0)) @ (z - z.mean(0)).T for z in (x, y)]  # the definition, by similarities of rows
    wanted = (gram[0] * gram[1]).sum() / np.sqrt((gram[0] ** 2).sum() * (gram[1] ** 2).sum())
    assert alignment.kernel_alignment(x, y) == pytest.approx(wanted)


def test_the_distance_of_opposite_kinds_is_two():
    a = np.tile([1.0, 0.0], (5, 1))
    assert mean_distance(a, -3 * a) == pytest.approx(2)


def test_deltas_are_the_same_steps_for_both_kinds_and_use_no_row_twice():
    a = cloud(21)
    one, other = deltas(a, 2 * a, seed=5)
    np.testing.assert_allclose(one, other)
    used = np.abs(deltas(np.eye(21), np.eye(21), seed=5)[0]) > 0  # a difference of such rows shows which two they were
    assert used.sum() == 20
    assert used.sum(axis=0).max() == 1


def test_pairs_that_say_the_same_are_no_step():
    image, text = cloud(20), np.ones((20, 16))
    text[:10, 0] = 3
    delta_image, delta_text = deltas(image, text)
    assert 0 < len(delta_image) == len(delta_text) < 10
    assert np.isfinite(delta_text).all()


@pytest.mark.parametrize("method", ["PCA", "t-SNE", "UMAP"])
def test_projections_keep_two_clusters_apart_and_follow_the_seed(method):
    x = np.concatenate([cloud(40) + 9 * np.eye(16)[0], cloud(40, seed=1) - 9 * np.eye(16)[0]])
    y = project(x, method, seed=1)
    assert y.shape == (80, 2)
    spread = max(y[:40].std(axis=0).max(), y[40:].std(axis=0).max())
    assert np.linalg.norm(y[:40].mean(axis=0) - y[40:].mean(axis=0)) > 2 * spread
    np.testing.assert_array_equal(y, project(x, method, seed=1))


def test_bad_features_are_told():
    with pytest.raises(ValueError, match=r"shape \(N, D\), got \(3,\)"):
        report(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"one shape, got \(3, 2\) and \(4, 2\)"):
        paired_cosine(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"norm of 0\.0 in row 1"):
        alignment.unit(np.array([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="got 'MDS'"):
        project(cloud(5), "MDS")


def test_too_few_rows_are_told():
    few = [cloud(n) for n in range(10)]
    for measure in (alignment.random_cosine, alignment.retrieval, alignment.kernel_alignment, alignment.deltas):
        with pytest.raises(ValueError, match="needs 2 pairs or more, better some hundred, got 1"):
            measure(few[1], few[1])
    with pytest.raises(ValueError, match="needs 10 pairs or more, better some hundred, got 9"):
        report(few[9], few[9])
    with pytest.raises(ValueError, match="needs 5 rows or more, better some hundred, got 4"):
        project(few[4], "UMAP")


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Small arrays as the authors lay theirs out, as bytes by file name, and their hashes expected."""
    files = {}
    for k, file in enumerate(official.SHA256):
        buffer = io.BytesIO()
        np.save(buffer, cloud(12, 4, seed=k).astype(np.float32))
        files[file] = buffer.getvalue()
    monkeypatch.setattr(official, "SHA256", {file: hashlib.sha256(c).hexdigest() for file, c in files.items()})
    monkeypatch.delenv("DELTAEDIT_DATA", raising=False)
    return files


def put(files: dict[str, bytes], folder) -> None:
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)


@pytest.mark.parametrize("inside", [".", "deltaedit-official", "tSNE"])
@pytest.mark.parametrize("name", ["celeba", "coco"])
def test_official_features_from_a_folder(published, tmp_path, monkeypatch, inside, name):
    put(published, tmp_path / inside)
    monkeypatch.setenv("DELTAEDIT_DATA", str(tmp_path))
    features = official.load_official(name, cache=tmp_path / "none")
    folder = official.NAMES[name]
    for array, part in ((features.image, "i"), (features.text, "t"), (features.delta_text, "deltat")):
        np.testing.assert_array_equal(array, np.load(io.BytesIO(published[f"{folder}/cspace_{folder}_{part}.npy"])))
    assert report(features.image, features.text).n == 12


def test_official_features_are_downloaded_once_and_only_when_asked(published, tmp_path, monkeypatch):
    with serve({f"/{file}": content for file, content in published.items()}) as web:
        monkeypatch.setattr(official, "SOURCE", web.url)
        with pytest.raises(FileNotFoundError, match="set DELTAEDIT_DATA, or download"):
            official.load_official("coco", cache=tmp_path)
        assert not web.asked
        first = official.load_official("coco", download=True, cache=tmp_path)
        again = official.load_official("coco", cache=tmp_path)
        assert len(web.asked) == 4
        np.testing.assert_array_equal(first.delta_image, again.delta_image)
        web.files = dict.fromkeys(web.files, b"another file")
        with pytest.raises(ValueError, match=r"cspace_celeba_i.npy .* set aside"):
            official.load_official("celeba", download=True, cache=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded .*refused"):
        official.load_official("celeba", download=True, cache=tmp_path)


def test_official_features_that_are_damaged_or_unknown_are_told(published, tmp_path, monkeypatch):
    monkeypatch.setenv("DELTAEDIT_DATA", str(tmp_path))
    put({file: content[:90] for file, content in published.items()}, tmp_path)
    with pytest.raises(ValueError, match="damaged"):
        official.load_official("celeba")
    with pytest.raises(ValueError, match="celeba and coco, got 'ffhq'"):
        official.load_official("ffhq")
