"""Directions in W that others published for StyleGAN2 of FFHQ faces: where they lie, and what they stand for.

MobileStyleGAN was distilled from that generator and has its W, so that they hold in it, too. They are others' files and
ship with no library of ours: they are read from ``$DELTAEDIT_DATA``, as those publish them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LAYERS = 18  # of W+ of StyleGAN2 at 1024 px, which the directions are for
WIDTH = 512
COARSE_TO_FINE = (0, *(layer for k in range(7) for layer in (1 + 2 * k, 1 + 2 * k, 2 + 2 * k)), 15)
"""Which of the 18 layers each of MobileStyleGAN's 23 takes after: conv1; up, conv1, conv2 of each block; to_img."""


@dataclass(frozen=True)
class Published:
    """A direction as somebody published it."""

    file: str
    source: str  #: who published it, and where
    forwards: str  #: the prompt that asks for what it adds, as it is published
    backwards: str  #: the prompt that asks for what it adds the other way round

    def toward(self, prompt: str) -> int:
        """1 where a prompt asks for it as published, -1 for the other way round, 0 where for neither."""
        return (prompt == self.forwards) - (prompt == self.backwards)


CHUNKMOGRIFY = "Chunkmogrify, github.com/futscdav/Chunkmogrify at efdfdf3, directions/, MIT"
INTERFACEGAN = "InterFaceGAN, as in github.com/omertov/encoder4editing at 99ea505, editings/, MIT"

PUBLISHED: dict[str, tuple[Published, ...]] = {
    "smile": (
        Published("chunkmogrify_smile_styleganv2.npy", CHUNKMOGRIFY, "smiling face", "serious face"),
        Published("interfacegan_smile.pt", INTERFACEGAN, "smiling face", "serious face"),
    ),
    "age": (
        Published("chunkmogrify_age.npy", CHUNKMOGRIFY, "old face", "young face"),
        Published("interfacegan_age.pt", INTERFACEGAN, "old face", "young face"),
    ),
    "gender": (Published("chunkmogrify_gender.npy", CHUNKMOGRIFY, "male face", "female face"),),
    "glasses": (
        Published("chunkmogrify_empirical_glasses.npy", CHUNKMOGRIFY, "face without glasses", "face with glasses"),
    ),
    "beard": (Published("chunkmogrify_beard.npy", CHUNKMOGRIFY, "man with a beard", "clean-shaven man"),),
    "mouth": (
        Published("chunkmogrify_mouth_open.npy", CHUNKMOGRIFY, "face with an open mouth", "face with a closed mouth"),
    ),
    "eyes": (Published("chunkmogrify_eyes_open.npy", CHUNKMOGRIFY, "face with open eyes", "face with closed eyes"),),
    "yaw": (
        Published("chunkmogrify_yaw.npy", CHUNKMOGRIFY, "face turned to the right", "face turned to the left"),
        Published("interfacegan_pose.pt", INTERFACEGAN, "face turned to the right", "face turned to the left"),
    ),
    "pitch": (Published("chunkmogrify_pitch.npy", CHUNKMOGRIFY, "face looking down", "face looking up"),),
}
"""By attribute, what was published for it. Which way each goes was asked of a judge of faces, see ``effects.rises``."""


def find_direction(file: str) -> Path | None:
    """Where a published direction lies in ``$DELTAEDIT_DATA``, or in its folder ``faces``; None if it is not there."""
    own = os.environ.get("DELTAEDIT_DATA")
    folders = [Path(own, "faces"), Path(own)] if own else []
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def read_direction(path: str | Path) -> Tensor:
    """A direction (1 or 18, 512), float32: an array of NumPy (.npy) or a tensor of PyTorch (.pt), no code of it run.

    Raises ``ValueError`` if there is no such file, it is damaged, or holds anything else.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            direction = torch.from_numpy(np.load(path, allow_pickle=False))
        else:
            direction = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"there is no direction {path}: check the path.") from None
    except Exception as error:  # readers of damaged files raise whatever they stumble over
        raise ValueError(f"{path} holds no direction ({str(error).splitlines()[0]}): fetch it again.") from None
    if not isinstance(direction, Tensor) or not direction.is_floating_point():
        raise ValueError(f"{path} must hold an array of numbers. Got {getattr(direction, 'dtype', type(direction))}.")
    if direction.ndim == 3 and len(direction) == 1:  # of one picture
        direction = direction[0]
    if direction.shape not in ((1, WIDTH), (LAYERS, WIDTH)):
        raise ValueError(f"{path} must hold (1 or {LAYERS}, {WIDTH}) numbers. Got {tuple(direction.shape)}.")
    if not direction.isfinite().all() or not direction.any():
        raise ValueError(f"{path} must hold finite numbers, not all of them zero: fetch it again.")
    return direction.float()


def toward(prompt: str) -> Tensor | None:
    """The direction that goes towards a prompt, the first whose file is here; None where there is none.

    Errors are those of ``read_direction``.
    """
    for one in (one for many in PUBLISHED.values() for one in many):
        if (sign := one.toward(prompt)) and (path := find_direction(one.file)) is not None:
            return sign * read_direction(path)
    return None


def on_layers(direction: Tensor, num_ws: int, first: int = 0, stop: int = LAYERS) -> Tensor:
    """A direction (1 or 18, w_dim) as a step (num_ws, w_dim) of a generator's W+, zero but for layers [first, stop).

    They are counted as in StyleGAN2 at 1024 px, whose 18 layers MobileStyleGAN's 23 follow; of a generator with another
    number of layers a direction must have as many, or one for all. Raises ``ValueError`` if it has not.
    """
    counted = LAYERS if num_ws == len(COARSE_TO_FINE) else num_ws
    if len(direction) not in (1, counted):
        raise ValueError(f"the direction must have 1 layer or {counted}, for this generator. Got {len(direction)}.")
    step = direction.expand(counted, -1).clone()
    step[:first], step[stop:] = 0, 0
    return step[list(COARSE_TO_FINE)] if counted != num_ws else step
