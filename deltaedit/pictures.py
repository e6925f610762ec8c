"""Pictures in and out: anything a user may hold, as a tensor, and back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image, ImageCms, TiffImagePlugin, UnidentifiedImageError
from torch import Tensor

Picture = Image.Image | np.ndarray | bytes | str | Path
Shown = Image.Image | Tensor | np.ndarray
SMALLEST = 8  # pixels on a side; below that there is nothing to see
PREPROCESSINGS = ("clip", "deltaedit")  # how pictures are made ready for CLIP, see ``ClipEncoder``
LARGEST = 89_478_485  # pixels in all, 1 GB as a tensor; beyond, Pillow suspects a bomb
WHITES = (1, 255, 65535)  # that greys of no stated depth are taken to go to: those of floats, of 8 and of 16 bits
TURNS = dict(zip(range(2, 9), map(Image.Transpose, (0, 3, 1, 5, 4, 6, 2)), strict=True))
"""What puts a photo upright, by the orientation that its EXIF has; 1 is upright."""
SPACES = {"L": "GRAY", "RGB": "RGB ", "CMYK": "CMYK", "LAB": "Lab "}  # of a colour profile, by the mode it is for
SHADOWS = ("__MACOSX", "@eaDir")  # folders of previews and the like that come along with copied ones


def to_tensor(picture: Picture) -> Tensor:
    """One picture as (1, 3, H, W) in [-1, 1].

    Args:
        picture: a PIL image of any mode, an array (H, W, 3) of bytes, or the path or the content of an image file. It
            is turned upright as its EXIF says, its colours become those of sRGB, and what is transparent becomes white;
            of an animation it is the first picture, or the one that a PIL image stands at.

    Raises:
        ValueError: if it is none of these, cannot be read, is smaller than 8 x 8, has more than 89 million pixels, or
            has greys of which nothing tells how bright they are.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"an array must be (H, W, 3) of bytes. Got {picture.shape} of {picture.dtype}.")
        _check_size(*picture.shape[1::-1])
        pixels = picture.copy()
    elif isinstance(picture, Image.Image):
        pixels = _pixels(picture, "this image")
    elif isinstance(picture, bytes | str | Path):
        name, file = ("this file", BytesIO(picture)) if isinstance(picture, bytes) else (str(picture)[:300], picture)
        if file is picture and not os.path.isfile(picture):  # false too of what can be no path, such as base64
            raise ValueError(f"there is no picture {name}: check the path.")
        with _reading(name):
            image = Image.open(file)
        with image:
            if image.format == "EPS":
                raise ValueError(f"{name} is PostScript, which is a program: save what it draws as PNG.")
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
        with _reading("this image"):
            return np.array(_rgb(picture))
    if isinstance(picture, Tensor) and picture.ndim == 3 and picture.shape[0] == 3:
        values = picture.detach().float().cpu().clamp(-1, 1).permute(1, 2, 0).numpy()
        return ((values + 1) * 127.5).round().astype(np.uint8)
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    kinds = "a PIL image, a tensor (3, H, W) in [-1, 1] or an array (H, W, 3) of bytes"
    shape = tuple(getattr(picture, "shape", ()))
    raise ValueError(f"a picture must be {kinds}, got {type(picture).__name__} of shape {shape}.")


def picture_files(folder: str | Path) -> list[Path]:
    """The image files of a folder and of those in it, by name, but no hidden ones, such as Jupyter's copies."""
    kinds = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}

    def shown(path: Path) -> bool:
        return not any(name.startswith(".") or name in SHADOWS for name in path.relative_to(folder).parts)

    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in kinds)
    return sorted(path for path in found if shown(path) and path.is_file())


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """Bytes (H, W, 3) of an image, upright; one of a wrong size is refused before it is decoded."""
    _check_size(*image.size)
    with _reading(name):
        return np.array(_rgb(image))


def _rgb(image: Image.Image) -> Image.Image:
    """An image upright, in sRGB, before white."""
    image.load()  # which turns a TIFF upright
    turn, profile = _turn(image), image.info.get("icc_profile")
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow would cut all that is above 255
        image = _grey(image)
    elif image.mode == "La":  # which `convert` does not know
        grey, alpha = image.split()
        image = Image.merge("RGBa", (grey, grey, grey, alpha))
    rgb = _in_srgb(image, profile)
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return rgb if turn is None else rgb.transpose(turn)


def _in_srgb(image: Image.Image, embedded: bytes | None) -> Image.Image:
    """Mode RGB, alpha left away; a profile that is damaged, or for other colours than these, does not count."""
    kind = image.mode if image.mode in SPACES else "L" if Image.getmodebase(image.mode) == "L" else "RGB"
    profile = ImageCms.createProfile("LAB") if kind == "LAB" else None
    with suppress(ImageCms.PyCMSError):
        if embedded and not profile:
            profile = ImageCms.getOpenProfile(BytesIO(embedded))
            profile = profile if profile.profile.xcolor_space == SPACES[kind] else None
        if profile:
            intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image.convert(kind), profile, srgb, intent, "RGB", flags=flags)
    return image.convert("RGB")


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # what is wrong with the EXIF does not touch the picture
        return None


def _grey(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits as 8, with alpha where one of them stands for what is transparent."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})  # of a TIFF
    levels = np.rint(values.astype(np.float32) * (255 / _white(image, values, tags))).astype(np.uint8)
    grey = Image.fromarray(255 - levels if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0 else levels)
    if isinstance(clear := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _white(image: Image.Image, values: np.ndarray, tags: Mapping[int, Any]) -> int:
    """Which of the greys is white: what the file says, or the least of ``WHITES`` that they do not exceed.

    Raises ``ValueError`` if there are others, or so few of them that the picture would be all but black.
    """
    low, high = float(values.min()), float(values.max())
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (32,))[0]
    if bits < 32:
        signed = tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))[0] == 2
        white, least = 2 ** (bits - signed) - 1, 0.0
    elif image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        white, least = 65535, 0.0
    else:
        white = next((white for white in WHITES[image.mode == "I" :] if high <= white), 0)
        least = white / 8 if high else 0.0
    if not (low >= 0 and least <= high <= white):
        raise ValueError(f"its greys, {low:g} to {high:g}, are neither those of 8 or 16 bits nor from 0 to 1")
    return white


def _check_size(width: int, height: int) -> None:
    if min(width, height) < SMALLEST:
        raise ValueError(f"a picture must be {SMALLEST} pixels wide and high, or more. Got {width} x {height}.")
    if width * height > LARGEST:
        raise ValueError(f"a picture must have at most {LARGEST:,} pixels: shrink it. Got {width} x {height}.")


@contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, which touch no picture
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} must have at most {LARGEST:,} pixels: shrink it ({error}).") from None
    except UnidentifiedImageError:
        raise ValueError(f"{name} cannot be read as a picture (of no known kind): save it as PNG or JPEG.") from None
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise ValueError(f"{name} cannot be read as a picture ({error}): open and save it anew.") from None
