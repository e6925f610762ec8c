"""DeltaEdit's released weights work as released: the whole road, against its steps written out one by one."""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fakes import FakeClip
from golden_weights import golden_arrays, golden_state, relative_error

from deltaedit import checkpoints
from deltaedit.domain import RELEASED, Domain
from deltaedit.editor import Editor, Latent
from deltaedit.mapper import DeltaMapper
from deltaedit.stylegan2 import Generator, GeneratorConfig

CODES = Path(os.environ.get("DELTAEDIT_DATA", "")) / "deltaedit-official"
HAT = "face with hat"


class WideClip(FakeClip):
    """As wide as ViT-B/32; text differences as long as CLIP's are."""

    dim, preprocessing = 512, "deltaedit"

    def text_feature(self, prompt: str) -> torch.Tensor:
        rng = torch.Generator().manual_seed(len(prompt))
        return F.normalize(torch.ones(512) + 0.4 * torch.randn(512, generator=rng), dim=0)

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return F.normalize(F.interpolate(image, 8).flatten(1).repeat(1, 3)[:, :512], dim=1)


@pytest.fixture(scope="module")
def mapper(tmp_path_factory: pytest.TempPathFactory) -> DeltaMapper:
    path = tmp_path_factory.mktemp("released") / "net_face.pth"
    torch.save(golden_state("delta_mapper_ffhq"), path)
    return checkpoints.load_mapper(path)


@pytest.fixture(scope="module")
def relevance() -> torch.Tensor:
    return F.normalize(torch.randn(6048, 512, generator=torch.Generator().manual_seed(0)), dim=1)


def release(mapper: DeltaMapper, relevance: torch.Tensor, **changes) -> Editor:
    with torch.device("meta"):
        generator = Generator()  # its styles and pictures are given
    domain = Domain("ffhq", "face", **{**RELEASED, **changes})
    return Editor(generator.to_empty(device="cpu"), WideClip(), mapper, relevance, domain)


def one_by_one(state: dict[str, torch.Tensor], *arrays: np.ndarray) -> np.ndarray:
    """The edit of one picture, in NumPy: a group, a layer and a product at a time."""
    (s, c, dt, fs3), edit, start = arrays, [], 0
    for group, layers, width in (("coarse", 3, 512), ("medium", 4, 512), ("fine", 1, 2464)):
        part = s[start : start + layers * width].reshape(layers, width)
        axis = 0 if layers > 1 else 1  # of three axes the second: across the layers
        part = part / np.sqrt((part**2).mean(axis, keepdims=True) + 1e-8)
        condition = np.concatenate([c / np.linalg.norm(c), dt / max(np.linalg.norm(dt), 1e-5)])
        condition = condition / np.sqrt((condition**2).mean() + 1e-8)

        def run(module: str, x: np.ndarray, first: int, group: str = group) -> np.ndarray:
            for k in range(first, first + 4):
                weight, bias = (state[f"{module}_{group}.mapping.{k}.{p}"].numpy() for p in ("weight", "bias"))
                x = x @ (weight.T * (0.01 / np.sqrt(weight.shape[1]))) + bias * 0.01
                x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
            return x

        seen = run("cm", condition[None], 1).repeat(layers, axis=0)
        edit.append(run("fm", np.concatenate([run("sm", part, 1), seen], axis=1), 0).flatten())
        start += layers * width
    edit = np.concatenate(edit)
    edit[np.abs(fs3 @ dt) < 0.03] = 0
    return edit


def check(editor: Editor, s: torch.Tensor, w_plus: torch.Tensor, feature: torch.Tensor) -> None:
    latent = Latent(w_plus, s, F.normalize(feature, dim=1), torch.zeros(len(s), 3, 8, 8))
    edit = editor.edit(latent, HAT)
    dt = (editor.clip.text_feature(HAT) - editor.clip.text_feature("face")).numpy()
    assert 0.1 < np.linalg.norm(dt) < 0.9
    state = golden_state("delta_mapper_ffhq")
    for k in range(len(s)):
        wanted = one_by_one(state, s[k].numpy(), feature[k].numpy(), dt, editor.relevance.numpy())
        assert 0.05 < (wanted != 0).mean() < 0.95
        assert np.array_equal(edit.delta_s[k].numpy() != 0, wanted != 0)
        assert relative_error(edit.delta_s[k], torch.from_numpy(wanted)) < 1e-4
    assert torch.equal(edit.s, s + edit.delta_s)
    assert edit.latent.w is w_plus  # what the toRGB layers take


def test_the_road_of_the_released_weights(mapper, relevance):
    golden = golden_arrays("delta_mapper_ffhq")
    editor = release(mapper, relevance)
    check(editor, golden["s"][:2], torch.zeros(2, 18, 512), 10 * golden["c"][:2, :512])


@pytest.mark.skipif(not CODES.is_dir(), reason="DELTAEDIT_DATA does not hold the authors' codes")
def test_the_road_on_the_authors_codes_of_real_faces(mapper, relevance):
    s, w_plus, feature = (
        torch.from_numpy(np.load(CODES / f"{name}_img_feat.npy")) for name in ("sspace", "wplus", "cspace")
    )
    layout = GeneratorConfig().layout
    assert s.shape == (20, layout.size)
    assert w_plus.shape == (20, 18, 512)
    assert feature.norm(dim=1).mean().item() == pytest.approx(10.36, abs=0.01)
    check(release(mapper, relevance), s, w_plus, feature)


def test_the_threshold_is_for_the_difference_as_it_is(mapper, relevance):
    raw, unit = (release(mapper, relevance, raw_threshold=raw) for raw in (True, False))
    norm = raw.text_delta(HAT, normalize=False).norm().item()
    assert torch.equal(raw.mask(HAT), (relevance @ raw.text_delta(HAT, normalize=False)).abs() >= 0.03)
    assert torch.equal(raw.mask(HAT, threshold=0.03), unit.mask(HAT, threshold=0.03 / norm))
    assert raw.mask(HAT).sum() < unit.mask(HAT).sum()


def test_a_mapper_that_learned_from_other_pictures_is_warned_of(mapper, relevance):
    clip = WideClip()
    clip.preprocessing = "clip"
    with pytest.warns(UserWarning, match="way 'deltaedit', and now gets them in the way 'clip'"):
        Editor(release(mapper, relevance).generator, clip, mapper)
    with pytest.raises(ValueError, match="ready in one way"):
        release(mapper, relevance, preprocessing="clip")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Editor(release(mapper, relevance).generator, WideClip(), mapper).domain.preprocessing == "deltaedit"
