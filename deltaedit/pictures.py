"""Pictures in and out: anything a user may hold, as a tensor, and back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

Picture = Image.Image | np.ndarray | bytes | str | Path
Shown = Image.Image | Tensor | np.ndarray
SMALLEST = 8  # pixels on a side; below that there is nothing to see
PREPROCESSINGS = ("clip", "deltaedit")  # how pictures are made ready for CLIP, see ``ClipEncoder``
LARGEST = 89_478_485  # pixels in all, 1 GB as a tensor; beyond, Pillow suspects a bomb


def to_tensor(picture: Picture) -> Tensor:
    """One picture as (1, 3, H, W) in [-1, 1].

    Args:
        picture: a PIL image of any mode (what is transparent becomes white), an array (H, W, 3) of bytes, or the path
            or the content of an image file; a photo is turned upright as its EXIF says.

    Raises:
        ValueError: if it is none of these, cannot be read, is smaller than 8 x 8, or has more than 89 million pixels.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"an array must be (H, W, 3) of bytes. Got {picture.shape} of {picture.dtype}.")
        _check_size(*picture.shape[1::-1])
        pixels = picture.copy()
    elif isinstance(picture, Image.Image):
        pixels = _pixels(picture, "this image")
    elif isinstance(picture, bytes | str | Path):
        name, file = ("this file", BytesIO(picture)) if isinstance(picture, bytes) else (picture, picture)
        if file is picture and not Path(picture).is_file():
            raise ValueError(f"there is no picture {picture}: check the path.")
        with _reading(name):
            image = Image.open(file)
        with image:
            pixels = _pixels(image, name)
    else:
        raise ValueError(f"a picture must be a PIL image, an array or a path. Got {type(picture).__name__}.")
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pil(image: Tensor) -> list[Image.Image]:
    """Pictures of (B, 3, H, W) in [-1, 1]; what is outside the range is cut."""
    pixels = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]


def centre(image: Tensor) -> Tensor:
    """The centre square of images (B, 3, H, W)."""
    height, width = image.shape[-2:]
    side = min(height, width)
    return image[..., (height - side) // 2 :, (width - side) // 2 :][..., :side, :side]


def resize(image: Tensor, side: int) -> Tensor:
    """The centre square of images (B, 3, H, W), ``side`` pixels wide and high, low-pass filtered where it shrinks."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"images must have shape (B, 3, H, W). Got {tuple(image.shape)}.")
    image, square = centre(image), min(image.shape[-2:])
    if square == side:
        return image
    if square % side == 0:
        return F.avg_pool2d(image, square // side)
    return F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)


def average(image: Tensor, side: int) -> Tensor:
    """Square images (B, 3, H, H) at ``side`` pixels: the mean over what each of them covers, also of parts of pixels.

    >>> average(torch.tensor([[[0.0, 3.0, 6.0]] * 3]).expand(1, 3, 3, 3), 2)[0, 0]
    tensor([[1., 5.],
            [1., 5.]])
    """
    before = image.shape[-1]
    edges = torch.arange(before + 1, dtype=torch.float64)[:, None] * side / before  # in the new pixels' measure
    rows = (edges - torch.arange(side)).clamp(0, 1).diff(dim=0).T.to(image)  # (side, H), of sum 1
    return rows @ image @ rows.T


def pixels(picture: Shown) -> np.ndarray:
    """A picture as bytes (H, W, 3), of a PIL image, a tensor (3, H, W) in [-1, 1], or such bytes."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture.convert("RGB"))
    if isinstance(picture, Tensor) and picture.ndim == 3 and picture.shape[0] == 3:
        values = picture.detach().float().cpu().clamp(-1, 1).permute(1, 2, 0).numpy()
        return ((values + 1) * 127.5).round().astype(np.uint8)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    kinds = "a PIL image, a tensor (3, H, W) in [-1, 1] or an array (H, W, 3) of bytes"
    shape = tuple(getattr(picture, "shape", ()))
    raise ValueError(f"a picture must be {kinds}, got {type(picture).__name__} of shape {shape}.")


def _pixels(image: Image.Image, name: str | Path) -> np.ndarray:
    """Bytes (H, W, 3) of an image, upright; one of a wrong size is refused before it is decoded."""
    _check_size(*image.size)
    with _reading(name):
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I;16"):  # Pillow would cut all that is above 255
            return np.repeat((np.asarray(image) // 257).astype(np.uint8)[..., None], 3, axis=2)
        if image.mode == "LAB":  # which `convert` does not know
            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            image = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        if image.has_transparency_data:
            image = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        return np.array(image.convert("RGB"))


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise ValueError(f"a picture must be {SMALLEST} pixels wide and high, or more. Got {width} x {height}.")
    if width * height > LARGEST:
        raise ValueError(f"a picture must have at most {LARGEST:,} pixels: shrink it. Got {width} x {height}.")


@contextmanager
def _reading(name: str | Path) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} must have at most {LARGEST:,} pixels: shrink it ({error}).") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name} cannot be read as a picture (of no known kind): save it as PNG or JPEG.") from None
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise ValueError(f"{name} cannot be read as a picture ({error}): open and save it anew.") from None
