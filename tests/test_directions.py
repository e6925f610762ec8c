"""Directions that others published: read from where they are, and put on the layers that they are for."""

import re

import numpy as np
import pytest
import torch
from fakes import TINY
from test_baselines import HAT, OLD, editor, latent  # noqa: F401  fixtures

from deltaedit.baselines import PublishedDirections
from deltaedit.directions import COARSE_TO_FINE, PUBLISHED, find_direction, on_layers, read_direction
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN
from deltaedit.style_space import sample_w
from deltaedit.worlds.faces.judge import ASKS


def test_both_formats_are_read(tmp_path):
    direction = torch.randn(18, 512)
    np.save(tmp_path / "a.npy", direction.double().numpy())
    torch.save(direction[None], tmp_path / "a.pt")
    torch.save(direction[:1], tmp_path / "b.pt")
    for name, wanted in (("a.npy", direction), ("a.pt", direction), ("b.pt", direction[:1])):
        assert torch.equal(read_direction(tmp_path / name), wanted)


class Planted:
    """Would write a file if it were unpickled."""

    def __reduce__(self):
        return (open, ("ran", "w"))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (None, r"there is no direction .*a\.{}"),
        (b"damaged", r"a\.{} holds no direction \(.+\): fetch it again"),
        (Planted(), r"a\.{} holds no direction \(.+\): fetch it again"),
        (torch.zeros(3, 512), r"must hold \(1 or 18, 512\) numbers\. Got \(3, 512\)"),
        (torch.ones(18, 512).long(), r"must hold an array of numbers\. Got torch\.int64"),
        (torch.full((1, 512), torch.nan), r"must hold finite numbers, not all of them zero"),
        (torch.zeros(1, 512), r"must hold finite numbers, not all of them zero"),
    ],
)
@pytest.mark.parametrize("ending", ["npy", "pt"])
def test_what_is_none_is_refused(tmp_path, monkeypatch, ending, what, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a.{ending}"
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif what is not None and ending == "pt":
        torch.save(what, path)
    elif what is not None:
        np.save(path, what.numpy() if isinstance(what, torch.Tensor) else np.array(what, dtype=object))
    with pytest.raises(ValueError, match=message.replace("{}", ending)):
        read_direction(path)
    assert not (tmp_path / "ran").exists()


def test_it_is_found_where_data_are(tmp_path, monkeypatch):
    monkeypatch.delenv("DELTAEDIT_DATA", raising=False)
    assert find_direction("a.npy") is None
    monkeypatch.setenv("DELTAEDIT_DATA", str(tmp_path))
    assert find_direction("a.npy") is None
    (tmp_path / "faces").mkdir()
    for folder in (tmp_path, tmp_path / "faces"):
        (folder / "a.npy").touch()
        assert find_direction("a.npy") == folder / "a.npy"


def test_a_direction_says_which_way_it_goes():
    (glasses,) = PUBLISHED["glasses"]
    assert [glasses.toward(x) for x in ("face with glasses", "face without glasses", "old face")] == [-1, 1, 0]
    judged = {prompt for prompt, *_ in ASKS}
    assert all({one.forwards, one.backwards} & judged for many in PUBLISHED.values() for one in many)


def test_eighteen_layers_go_where_the_blocks_are():
    layers = torch.arange(18.0)[:, None].expand(-1, 4)
    assert on_layers(layers, 18)[:, 0].tolist() == list(range(18))
    there = on_layers(layers, 23)[:, 0].tolist()
    assert len(there) == MobileStyleGAN(MobileConfig(channels=(4,) * 8, z_dim=4, w_dim=4, mapping_layers=1)).num_ws
    assert there == list(COARSE_TO_FINE)
    assert (there[0], there[1:4], there[-4:]) == (0, [1, 1, 2], [13, 13, 14, 15])
    coarse = on_layers(1 + layers, 23, 0, 4)[:, 0].tolist()
    assert coarse == [x + 1 if x < 4 else 0 for x in there]
    assert on_layers(layers[5:6], 6, 2)[:, 0].tolist() == [0, 0, 5, 5, 5, 5]
    with pytest.raises(ValueError, match=r"must have 1 layer or 6, for this generator\. Got 18"):
        on_layers(layers, 6)


def test_a_step_is_as_long_as_the_samples_are_spread(editor, latent):  # noqa: F811
    direction = torch.randn(1, TINY.w_dim, generator=torch.Generator().manual_seed(0))
    method = PublishedDirections(editor, {HAT: 7 * direction, OLD: -direction}, alpha=2.0)
    step = method.direction(latent, HAT).delta_w
    spread = (sample_w(editor.generator, 4096) @ torch.nn.functional.normalize(direction[0], dim=0)).std()
    assert torch.allclose(step[2, 3], 2 * spread * torch.nn.functional.normalize(direction[0], dim=0), atol=1e-5)
    assert torch.allclose(method.direction(latent, OLD).delta_w, -step, atol=1e-5)
    some = PublishedDirections(editor, {HAT: direction}, layers=(1, 3)).direction(latent, HAT).delta_w[0]
    assert some.any(1).nonzero()[:, 0].tolist() == [1, 2]
    with pytest.raises(ValueError, match=re.escape(f"no direction is known for 'sad face': choose '{HAT}', '{OLD}'")):
        method.edit(latent, "sad face")
    with pytest.raises(ValueError, match=r"'x' must have width 8\. Got \(1, 512\)"):
        PublishedDirections(editor, {"x": torch.ones(1, 512)})
