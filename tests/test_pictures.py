"""Pictures in and out."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile

from deltaedit.pictures import to_pil, to_tensor


def gradient(mode: str = "RGB") -> Image.Image:
    """A small picture of a given mode."""
    pixels = np.linspace(0, 255, 12 * 10 * 3).reshape(12, 10, 3).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_pictures_are_cut_to_the_range():
    pixels = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(1, 3, 1, 5)
    assert [to_pil(pixels)[0].getpixel((x, 0))[0] for x in range(5)] == [0, 0, 128, 255, 255]


def test_there_and_back(tmp_path: Path):
    picture = gradient()
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 12, 10)
    assert tensor.min() == -1
    assert tensor.max() <= 1
    assert to_pil(tensor)[0].tobytes() == picture.tobytes()
    picture.save(tmp_path / "picture.png")
    assert torch.equal(to_tensor(tmp_path / "picture.png"), tensor)
    assert torch.equal(to_tensor(np.asarray(picture)), tensor)


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA", "PA", "YCbCr", "HSV", "I", "F", "I;16"])
def test_every_mode_becomes_rgb(mode: str):
    assert to_tensor(gradient(mode)).shape == (1, 3, 12, 10)


def test_lab_keeps_its_colours(tmp_path: Path):
    picture = gradient()
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB").save(tmp_path / "picture.tif")
    torch.testing.assert_close(to_tensor(tmp_path / "picture.tif"), to_tensor(picture), atol=0.05, rtol=0)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_not_cut_to_white(mode: str, tmp_path: Path):
    grey = np.linspace(0, 65535, 120).reshape(12, 10).astype("<u2" if mode == "I;16" else ">u2")
    picture = Image.fromarray(grey)
    assert picture.mode == mode
    wanted = torch.linspace(-1, 1, 120).reshape(12, 10).expand(1, 3, 12, 10)
    torch.testing.assert_close(to_tensor(picture), wanted, atol=0.01, rtol=0)
    picture.save(tmp_path / "picture.tif")
    torch.testing.assert_close(to_tensor(tmp_path / "picture.tif"), wanted, atol=0.01, rtol=0)


def test_what_is_transparent_is_white():
    assert torch.equal(to_tensor(Image.new("RGBA", (9, 9))), torch.ones(1, 3, 9, 9))


def test_photos_stand_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    gradient().save(tmp_path / "photo.jpg", exif=exif)
    assert to_tensor(tmp_path / "photo.jpg").shape == (1, 3, 10, 12)
    with Image.open(tmp_path / "photo.jpg") as photo:
        assert to_tensor(photo).shape == (1, 3, 10, 12)


def test_a_print_shop_s_jpeg_keeps_its_colours(tmp_path: Path):
    Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    colour = (to_tensor(tmp_path / "print.jpg")[0, :, 8, 8] + 1) * 127.5
    torch.testing.assert_close(colour, torch.tensor([200.0, 40.0, 90.0]), atol=4, rtol=0)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="bomb.png must have at most 89,478,485 pixels: shrink it .*400000000"):
        to_tensor(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="at most 89,478,485 pixels: shrink it. Got 10000 x 10000"):
        to_tensor(Image.new("1", (10_000, 10_000)))
    with pytest.raises(ValueError, match="Got 20000 x 20000"):
        to_tensor(np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_000, 20_000, 3), (0, 0, 0)))


def test_whatever_is_wrong_with_a_file_is_one_kind_of_error(tmp_path: Path):
    """Files cut off and with bytes changed: each is read, or refused in words of ours."""
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (24, 20, 3), np.uint8))
    refused = []
    for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff"):
        picture.save(tmp_path / f"picture.{kind}")
        whole = np.frombuffer((tmp_path / f"picture.{kind}").read_bytes(), np.uint8)
        for k in range(20):
            content = whole[: random.integers(len(whole))].copy() if k % 4 == 0 else whole.copy()
            content[random.integers(len(content), size=4) if k % 2 else slice(0)] = random.integers(256)
            (tmp_path / "broken").write_bytes(content.tobytes())
            try:
                assert to_tensor(tmp_path / "broken").shape[:2] == (1, 3)
            except ValueError as error:
                refused.append(str(error))
    assert 30 < len(refused) < 120
    assert all(re.search("cannot be read as a picture|pixels", error) for error in refused)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (7, 20)), "8 pixels"),
        (Image.new("RGB", (1, 1)), "8 pixels wide and high, or more. Got 1 x 1"),
        (np.zeros((0, 9, 3), np.uint8), "Got 9 x 0"),
        (np.zeros((20, 20)), "bytes"),
        (np.zeros((20, 20, 4), np.uint8), "bytes"),
        (3, "PIL image"),
        ("nowhere.jpg", "no picture"),
        (__file__, "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(picture: object, message: str):
    with pytest.raises(ValueError, match=message):
        to_tensor(picture)
