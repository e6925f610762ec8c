"""Faces in pictures: found with OpenCV (``pip install 'deltaedit[faces]'``), and cut out as those of FFHQ were.

OpenCV 4 brings cascades of its own, which find faces seen from the front, and their eyes. YuNet, which also tells where
the mouth is, is taken where it was downloaded: ``python -m deltaedit.download face-finder``.
"""

from __future__ import annotations

import cmath
import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from deltaedit.pictures import Picture, to_pil, to_tensor
from deltaedit.remote import RemoteFile, fetch, kept

YUNET = RemoteFile(
    "faces/face_detection_yunet_2023mar.onnx",
    "https://github.com/opencv/opencv_zoo/raw/966be4cb6eefc2a4f586ed0581bf4bbaa2533070/models/face_detection_yunet/"
    "face_detection_yunet_2023mar.onnx",
    "sha256:8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
    232_589,
    "MIT",
)
SIDE = 512  # pixels on the longer side of what is searched for faces
FACE = 200  # pixels on a side of a face that is searched for eyes
CUT_OUT = "bring it cut out as FFHQ's are (Editor.invert then wants aligned=True)"
EYES = ("eye", "eye_tree_eyeglasses", "lefteye_2splits", "righteye_2splits")

PLACE = (0.14, 0.22, 0.86, 0.94)  # left, top, right, bottom of a face, brows to chin, in a picture that is aligned


@dataclass(frozen=True)
class Face:
    """The square around a face that FFHQ would show."""

    x: float  #: of its centre, like y in pixels from the picture's upper left corner
    y: float
    side: float  #: in pixels
    angle: float  #: by which it is turned clockwise, in degrees


def align(picture: Picture, size: int = 1024) -> Image.Image:
    """The largest face of a picture, upright and in a square, as in FFHQ (Karras et al. 2019, appendix A).

    FFHQ places the square by landmarks of eyes and mouth; by YuNet's, the rule is the same. The cascades know no mouth,
    and the result is approximate: on 69 portraits aligned so, as they were and turned by up to 12 degrees, the side was
    off by 2 % in the median and by 6 % in one of ten, the centre by 0.6 % and 1.2 % of the side, the angle by 0.6 and 2
    degrees. What is outside the picture is mirrored; the result is ``size`` pixels wide. Warns if there are several.

    Raises:
        ValueError: if it is no picture, or shows no face.
        ImportError: if OpenCV is not installed.
    """
    image = to_tensor(picture)
    faces = find_faces(image)
    if not faces:
        raise ValueError(f"no face was found: take one from the front, or {CUT_OUT}.")
    if len(faces) > 1:
        warnings.warn(f"{len(faces)} faces were found, the largest is taken: cut out another to have it.", stacklevel=2)
    return to_pil(cut(image, faces[0], size))[0]


def find_faces(picture: Picture | Tensor) -> list[Face]:
    """The faces of a picture, or of what ``to_tensor`` made of it, the largest first; errors are those of ``align``."""
    image = picture if isinstance(picture, Tensor) else to_tensor(picture)
    cv2 = _opencv()
    pixels = np.asarray(to_pil(image)[0])
    scale = min(1.0, SIDE / max(pixels.shape[:2]))
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = _by_yunet(small, scale, fetch(YUNET)) if kept(YUNET) else _by_cascades(small, scale, pixels)
    return sorted(faces, key=lambda face: -face.side)


def cut(image: Tensor, face: Face, size: int) -> Tensor:
    """The square of a face (1, 3, size, size) out of a picture (1, 3, H, W); both in [-1, 1]."""
    height, width = image.shape[-2:]
    if face.side > size:  # sampling takes single pixels: the others would not count
        small = [max(1, round(n * size / face.side)) for n in (height, width)]
        image = F.interpolate(image, small, mode="bilinear", align_corners=False, antialias=True)
    c, s = (face.side * f(math.radians(face.angle)) for f in (math.cos, math.sin))
    to_picture = [[c / width, -s / width, 2 * face.x / width - 1], [s / height, c / height, 2 * face.y / height - 1]]
    grid = F.affine_grid(image.new_tensor(to_picture)[None], [1, 3, size, size], align_corners=False)
    return F.grid_sample(image, grid, "bicubic", "reflection", align_corners=False).clamp(-1, 1)


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError:
        raise ImportError(f"finding faces takes OpenCV: pip install 'deltaedit[faces]', or {CUT_OUT}.") from None
    return cv2


def _by_yunet(small: np.ndarray, scale: float, model: Path) -> list[Face]:
    """Faces by five landmarks each, and FFHQ's own rule."""
    import cv2

    detector = cv2.FaceDetectorYN.create(str(model), "", small.shape[1::-1], score_threshold=0.8)
    _, rows = detector.detect(np.ascontiguousarray(small[..., ::-1]))
    faces = []
    for row in () if rows is None else rows:
        left, right, _, *mouth = (complex(*point) / scale for point in row[4:14].reshape(5, 2).tolist())
        middle, across = (left + right) / 2, right - left
        down = sum(mouth) / 2 - middle
        side = max(4 * abs(across), 3.6 * abs(down))
        faces.append(_face(middle + 0.1 * down, side, across - 1j * down))
    return faces


def _by_cascades(small: np.ndarray, scale: float, pixels: np.ndarray) -> list[Face]:
    """Faces by their eyes (Viola and Jones 2001), and FFHQ's rule for a mouth in its usual place.

    A head that is turned aside has its eyes nearer to each other, but no smaller a box: hence the mean of two sides.
    """
    import cv2

    least = max(20, min(small.shape[:2]) // 12)
    faces = []
    for box in _cascade("frontalface_alt2").detectMultiScale(small, 1.1, 4, minSize=(least, least)):
        x, y, width, height = (round(value / scale) for value in box.tolist())
        face = cv2.resize(pixels[y : y + height, x : x + width], (FACE, FACE), interpolation=cv2.INTER_AREA)
        left, right = (complex(x, y) + eye * width for eye in _eyes(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)))
        across = right - left
        faces.append(_face((left + right) / 2 + 0.16j * across, (3.92 * abs(across) + 1.49 * width) / 2, across))
    return faces


def _eyes(face: np.ndarray) -> tuple[complex, complex]:
    """Left and right eye in a picture of a face, x + iy, from 0 to 1; in their usual place if no cascade sees them."""
    halves: tuple[list[complex], list[complex]] = ([], [])
    least, most = FACE // 8, FACE * 4 // 10
    for name in EYES:
        boxes, _, sure = _cascade(name).detectMultiScale3(
            face[: FACE * 6 // 10], 1.05, 3, minSize=(least, least), maxSize=(most, most), outputRejectLevels=True
        )
        eyes = [(float(s), (x + w / 2) / FACE, (y + h / 2) / FACE) for (x, y, w, h), s in zip(boxes, sure, strict=True)]
        for half, (low, high) in zip(halves, ((0.13, 0.5), (0.5, 0.87)), strict=True):
            if there := [eye for eye in eyes if low < eye[1] <= high and 0.2 < eye[2] < 0.58]:
                half.append(complex(*max(there)[1:]))
    left, right = (sum(half) / len(half) if half else None for half in halves)
    if left is None and right is None:
        left = 0.32 + 0.4j
    return left or 1 - right.conjugate(), right or 1 - left.conjugate()


def _face(centre: complex, side: float, across: complex) -> Face:
    return Face(centre.real, centre.imag, side, math.degrees(cmath.phase(across)))


@cache
def _cascade(name: str) -> Any:
    import cv2

    return cv2.CascadeClassifier(str(Path(cv2.data.haarcascades, f"haarcascade_{name}.xml")))
