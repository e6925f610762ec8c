"""Pictures in and out."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

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


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "RGBA", "LA"])
def test_every_mode_becomes_rgb(mode: str):
    assert to_tensor(gradient(mode)).shape == (1, 3, 12, 10)


def test_what_is_transparent_is_white():
    assert torch.equal(to_tensor(Image.new("RGBA", (9, 9))), torch.ones(1, 3, 9, 9))


def test_photos_stand_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    gradient().save(tmp_path / "photo.jpg", exif=exif)
    assert to_tensor(tmp_path / "photo.jpg").shape == (1, 3, 10, 12)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (7, 20)), "8 pixels"),
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
