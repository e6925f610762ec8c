"""Pictures in and out: anything a user may hold, as a tensor, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

Picture = Image.Image | np.ndarray | str | Path
SMALLEST = 8  # pixels on a side; below that there is nothing to see


def to_tensor(picture: Picture) -> Tensor:
    """One picture as (1, 3, H, W) in [-1, 1].

    Args:
        picture: a PIL image of any mode (what is transparent becomes white), an array (H, W, 3) of bytes, or the path
            of an image file; a photo is turned upright as its EXIF says.

    Raises:
        ValueError: if it is none of these, cannot be read, or is smaller than 8 x 8.
    """
    if isinstance(picture, str | Path):
        try:
            with Image.open(picture) as file:
                return to_tensor(ImageOps.exif_transpose(file))
        except FileNotFoundError:
            raise ValueError(f"there is no picture {picture}: check the path.") from None
        except (UnidentifiedImageError, OSError) as error:
            raise ValueError(f"{picture} cannot be read as a picture ({error}): open and save it anew.") from None
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise ValueError(f"an array must be (H, W, 3) of bytes. Got {picture.shape} of {picture.dtype}.")
        pixels = picture
    elif isinstance(picture, Image.Image):
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        pixels = np.asarray(picture.convert("RGB"))
    else:
        raise ValueError(f"a picture must be a PIL image, an array or a path. Got {type(picture).__name__}.")
    if min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"a picture must be {SMALLEST} pixels wide and high, or more. Got {pixels.shape[1::-1]}.")
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pil(image: Tensor) -> list[Image.Image]:
    """Pictures of (B, 3, H, W) in [-1, 1]; what is outside the range is cut."""
    pixels = ((image.detach().float().clamp(-1, 1) + 1) * 127.5).round().byte()
    return [Image.fromarray(picture) for picture in pixels.permute(0, 2, 3, 1).cpu().numpy()]
