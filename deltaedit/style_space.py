"""What a style space is, and what a generator must do to be edited in one (DeltaEdit, section 3).

The style space S holds the modulation vectors of a generator's layers, one after the other. Everything else here, from
features to the live editor, uses a generator by the ``AnyGenerator`` protocol alone: a second architecture is one file.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile
from pathlib import Path
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

Noise = Literal["const", "random", "none"]


@dataclass(frozen=True)
class StyleGroup:
    """A run of the style space that one third of the mapper edits: channels [start, stop) seen as layers x width."""

    name: str
    start: int
    stop: int
    layers: int
    width: int


@dataclass(frozen=True)
class StyleLayout:
    """How the style space is made of layers: ``dims[k]`` channels for layer k, concatenated in order.

    ``cuts`` are the first medium and the first fine layer, where an architecture says them; see ``groups``.
    """

    dims: tuple[int, ...]
    cuts: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.cuts is not None and not 0 < self.cuts[0] < self.cuts[1] < len(self.dims):
            raise ValueError(f"cuts must leave layers to all three groups of {len(self.dims)}. Got {self.cuts}.")

    @property
    def size(self) -> int:
        """S, the number of style channels."""
        return sum(self.dims)

    @property
    def offsets(self) -> tuple[int, ...]:
        """First channel of every layer, and S at the end."""
        return (0, *accumulate(self.dims))

    def split(self, s: Tensor) -> tuple[Tensor, ...]:
        """Cut ``s`` (..., S) into one (..., dims[k]) for each layer; raises ``ValueError`` for another last axis."""
        if s.shape[-1] != self.size:
            raise ValueError(f"s must have {self.size} style channels on its last axis. Got shape {tuple(s.shape)}.")
        return s.split(self.dims, dim=-1)

    @property
    def groups(self) -> tuple[StyleGroup, StyleGroup, StyleGroup]:
        """Coarse, medium and fine layers; those of one group are seen as one, concatenated, if they differ in width.

        Without ``cuts`` they are the paper's (section 3): coarse the first 3 layers, medium up to 4 more of one width,
        fine all others, as one. For FFHQ at 1024 px that is 3 x 512, 4 x 512 and 2464. Raises ``ValueError`` if there
        are fewer than 5 layers then, or the first 3 differ in width.
        """
        if self.cuts is not None:
            edges = pairwise((0, *self.cuts, len(self.dims)))
            return tuple(
                self._group(name, *edge) for name, edge in zip(("coarse", "medium", "fine"), edges, strict=True)
            )
        if len(self.dims) < 5 or len(set(self.dims[:3])) > 1:
            raise ValueError(f"a mapper needs 5 layers or more, the first 3 of one width. Got widths {self.dims}.")
        rest = self.dims[3:-1]  # the last layer is always fine
        medium = len(list(takewhile(lambda d: d == rest[0], rest[:4])))
        a, b = self.offsets[3], self.offsets[3 + medium]
        return (
            StyleGroup("coarse", 0, a, 3, self.dims[0]),
            StyleGroup("medium", a, b, medium, self.dims[3]),
            StyleGroup("fine", b, self.size, 1, self.size - b),
        )

    def _group(self, name: str, first: int, last: int) -> StyleGroup:
        start, stop, widths = self.offsets[first], self.offsets[last], set(self.dims[first:last])
        layers = last - first if len(widths) == 1 else 1
        return StyleGroup(name, start, stop, layers, (stop - start) // layers)


class AnyGenerator(Protocol):
    """What a generator must have, besides being a ``torch.nn.Module``: z -> w -> s -> image.

    Under autocast w, s and image keep float32.
    """

    layout: StyleLayout  #: of its style space
    layer_sizes: tuple[int, ...]  #: pixels at which each of its layers draws
    z_dim: int  #: numbers that a picture is drawn from
    num_ws: int  #: L of ``w_plus``
    w_avg: Tensor  #: (w_dim,), the mean w, on the generator's device
    resolution: int  #: of its pictures, in pixels
    batch_size: int  #: pictures to draw at a time, so that they fit into memory

    def mapping(self, z: Tensor, truncation: float = 1.0) -> Tensor:
        """``w`` (B, w_dim) of ``z`` (B, z_dim), drawn towards ``w_avg`` where ``truncation`` is below 1."""

    def styles(self, w: Tensor) -> Tensor:
        """Style code ``s`` (B, S) of ``w`` (B, w_dim) or ``w_plus`` (B, num_ws, w_dim), affine in either."""

    def synthesize(
        self,
        s: Tensor,
        w: Tensor,
        noise: Noise = "const",
        rng: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """Image (B, 3, resolution, resolution), float32, about [-1, 1], of ``s``, and of ``w`` where S is not all.

        Of the layers whose pictures are large, as many as the architecture bears are computed in ``dtype``.
        """

    def preview(
        self, s: Tensor, size: int = 256, w: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """What ``synthesize`` draws, or nearly, at ``size`` px: (B, 3, size, size), float32, about [-1, 1].

        Sooner where the architecture knows how. Raises ``ValueError`` for a size that it has none of, or without ``w``
        if it needs one.
        """

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that tell these weights from others."""

    def save(self, path: str | Path) -> None:
        """Write weights and configuration to one safetensors file, under a temporary name first."""

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Self:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is missing or another model."""


def as_w_plus(generator: AnyGenerator, w: Tensor) -> Tensor:
    """``w_plus`` (B, num_ws, w_dim) of ``w`` (B, w_dim), or as it is; raises ``ValueError`` for another shape."""
    d = generator.w_avg.shape[-1]
    if w.shape[1:] == (d,):
        return w[:, None].expand(-1, generator.num_ws, -1)
    if w.shape[1:] == (generator.num_ws, d):
        return w
    raise ValueError(f"w must have shape (B, {d}) or (B, {generator.num_ws}, {d}). Got {tuple(w.shape)}.")


def sample_w(generator: AnyGenerator, n: int, seed: int = 0) -> Tensor:
    """``w`` (n, w_dim) of ``n`` random z, on the generator's device; z is drawn on the CPU, the same everywhere."""
    z = torch.randn(n, generator.z_dim, generator=torch.Generator().manual_seed(seed))
    return generator.mapping(z.to(generator.w_avg.device))


def preview_size(generator: AnyGenerator, pixels: int) -> int | None:
    """The smallest size, from ``pixels`` on, that a generator has a faster way to draw at; None if there is none."""
    sizes = map(int, getattr(generator, "previews", ()))
    return min((size for size in sizes if size >= pixels), default=None)
