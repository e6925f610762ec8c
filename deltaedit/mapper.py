"""DeltaMapper: style code and condition -> edit of the style code (DeltaEdit, Lyu et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.files import read_module, write_tensors
from deltaedit.style_space import StyleGroup, StyleLayout
from deltaedit.stylegan2 import EqualLinear, pixel_norm
from deltaedit.untrusted.kinds import shown

Condition = Literal["unit delta", "delta", "target"]


@dataclass(frozen=True)
class MapperConfig:
    """Sizes of a DeltaMapper; the defaults, with FFHQ's layout, are those of the published face model.

    >>> MapperConfig(dims=(8, 8, 8, 8, 4), feature_dim=16, hidden=4).depth
    4
    """

    dims: tuple[int, ...] = ()  #: ``StyleLayout.dims`` of the generator whose styles are edited; `train_mapper` knows
    feature_dim: int = 512  #: D of the CLIP model
    hidden: int | None = None  #: width of the hidden layers; None for the width of the group itself, as in the paper
    depth: int = 4
    """Layers in each of the nine modules. 0 for no network: one matrix takes the delta to the edit, whatever the
    picture; ``solve_mapper`` finds it."""
    last_activation: bool = True
    """Whether the last layer too ends in a leaky ReLU, as published; without it styles fall as easily as they rise."""
    preprocessing: str = "clip"  #: how the pictures that it learned from were made ready for CLIP; see ``ClipEncoder``
    condition: Condition = "unit delta"
    """What tells where to go, the difference of two CLIP features, at unit norm (the paper's) or as it is, or the
    feature to arrive at (what the paper argues against)."""
    sees_source: bool = True  #: whether the feature of the picture itself is part of the condition, as in the paper
    groups: int | tuple[int, int] = 3
    """One module each for coarse, medium and fine layers, as in the paper; 1 for all layers together; or 3 that begin
    elsewhere: ``StyleLayout.cuts`` of the generator, which `train_mapper` knows."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "dims", tuple(self.dims))  # a file has a list
        if isinstance(self.groups, list | tuple):
            object.__setattr__(self, "groups", tuple(self.groups))
        elif self.condition not in get_args(Condition) or self.groups not in (1, 3):
            wanted = f"condition must be one of {get_args(Condition)}, and groups 3 or 1"
            raise ValueError(f"{wanted}. Got {shown(self.condition)} and {shown(self.groups)}.")
        for name in ("feature_dim", "hidden"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive. Got {value}.")
        if self.depth < 0:
            raise ValueError(f"depth must be 0 or more. Got {self.depth}.")


def unit_delta(source: Tensor, target: Tensor) -> Tensor:
    """``delta_image`` or ``delta_text`` (..., D): the difference of two CLIP features, unit norm, or 0."""
    return F.normalize(target - source, dim=-1, eps=1e-5)


def text_delta(feature: Callable[[str], Tensor], target: str, neutral: str, normalize: bool = True) -> Tensor:
    """Where the words point: the target's text feature less the neutral one's, (D,) (DeltaEdit, section 3).

    ``feature`` gives the text feature (D,), unit norm, of a prompt; the difference too has unit norm where asked.
    ``ValueError`` is raised when there is none to follow.
    """
    delta = feature(target) - feature(neutral)
    if target.split() == neutral.split() or delta.norm() < 1e-4:
        raise ValueError(f"target {target!r} and neutral {neutral!r} say the same: there is no difference to follow.")
    return F.normalize(delta, dim=-1) if normalize else delta


class PixelNorm(nn.Module):
    """Root-mean-square norm over dimension 1: across the layers of (B, L, W), across the channels of (B, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, W) or (B, L, W) -> the same shape."""
        return pixel_norm(x)


class GroupMapper(nn.Module):
    """Style, condition and fusion modules of one group of layers; the layers of a group share all weights."""

    def __init__(self, group: StyleGroup, config: MapperConfig) -> None:
        super().__init__()
        inner = [config.hidden or group.width] * config.depth
        self.group = group
        self.style = nn.Sequential(PixelNorm(), *_layers([group.width, *inner]))
        self.condition = nn.Sequential(PixelNorm(), *_layers([(1 + config.sees_source) * config.feature_dim, *inner]))
        self.fusion = nn.Sequential(*_layers([2 * inner[-1], *inner[1:], group.width], config.last_activation))

    def forward(self, s: Tensor, condition: Tensor) -> Tensor:
        """s (B, S), condition (B, 2 D) -> delta_s of this group, (B, stop - start)."""
        x = s[:, self.group.start : self.group.stop]
        if self.group.layers > 1:
            x = x.unflatten(1, (self.group.layers, self.group.width))
        x, c = self.style(x), self.condition(condition)
        if self.group.layers > 1:
            c = c[:, None].expand(-1, self.group.layers, -1)
        return self.fusion(torch.cat([x, c], dim=-1)).flatten(1)


def _layers(widths: list[int], last_activation: bool = True) -> list[EqualLinear]:
    last = len(widths) - 2
    pairs = enumerate(pairwise(widths))
    return [EqualLinear(a, b, lr_mul=0.01, activate=k < last or last_activation) for k, (a, b) in pairs]


class DeltaMapper(nn.Module):
    """Predicts the style edit that moves a picture along a difference of CLIP features (DeltaEdit, section 3).

    It is trained with differences of image features and used with differences of text features. Style codes are
    standardised by the buffers ``s_mean`` and ``s_std`` on the way in, and edits scaled back by ``s_std`` on the way
    out; they are 0 and 1 in the published model, which takes style codes as they are.

    >>> mapper = DeltaMapper(MapperConfig(dims=(8, 8, 8, 8, 4), feature_dim=16, hidden=4))
    >>> s, image_feature, delta_image = torch.randn(2, 36), torch.randn(2, 16), torch.randn(2, 16)
    >>> mapper(s, image_feature, delta_image).shape
    torch.Size([2, 36])
    """

    s_mean: Tensor
    s_std: Tensor

    def __init__(self, config: MapperConfig) -> None:
        super().__init__()
        cuts = config.groups if isinstance(config.groups, tuple) else None
        self.config, self.layout = config, StyleLayout(config.dims, cuts)
        size = self.layout.size
        self.groups = self.layout.groups if config.groups != 1 else (StyleGroup("whole", 0, size, 1, size),)
        if config.depth:
            for group in self.groups:
                self.add_module(group.name, GroupMapper(group, config))
        else:
            self.matrix = nn.Parameter(torch.zeros(config.feature_dim, size))
        self.register_buffer("s_mean", torch.zeros(self.layout.size))
        self.register_buffer("s_std", torch.ones(self.layout.size))
        self.history: list[dict[str, float]] = []  # what ``train_mapper`` measured on the way

    def delta(self, source: Tensor, target: Tensor) -> Tensor:
        """What ``forward`` takes to go from one CLIP feature (..., D) to another, of pictures both or of texts both."""
        if self.config.condition == "target":
            return target
        return target - source if self.config.condition == "delta" else unit_delta(source, target)

    def forward(self, s: Tensor, image_feature: Tensor, delta: Tensor) -> Tensor:
        """``delta_s`` (B, S) for pictures and the directions they shall take.

        Args:
            s: (B, S), style codes.
            image_feature: (B, D), CLIP features of the pictures of ``s``, unit norm.
            delta: (B, D) or (D,), ``delta_image`` or ``delta_text``, unit norm; see :meth:`delta`.

        Raises:
            ValueError: if a shape does not fit.
        """
        batch, dim = len(s), self.config.feature_dim
        if s.shape != (batch, self.layout.size) or image_feature.shape != (batch, dim):
            wanted = f"s and image_feature must have shapes (B, {self.layout.size}) and (B, {dim})"
            raise ValueError(f"{wanted}. Got {tuple(s.shape)} and {tuple(image_feature.shape)}.")
        if delta.shape not in ((dim,), (batch, dim)):
            raise ValueError(f"delta must have shape ({dim},) or ({batch}, {dim}). Got {tuple(delta.shape)}.")
        condition = delta.expand(batch, dim)
        if not self.config.depth:
            return condition @ self.matrix * self.s_std
        if self.config.sees_source:
            condition = torch.cat([image_feature, condition], dim=1)
        x = (s - self.s_mean) / self.s_std
        return torch.cat([self.get_submodule(g.name)(x, condition) for g in self.groups], dim=1) * self.s_std

    def save(self, path: str | Path, half: bool = False, **metadata: str) -> None:
        """Write weights, ``half`` the size if asked, and configuration to one safetensors file, whole or not at all."""
        write_tensors(path, self.state_dict(), {"config": asdict(self.config), **metadata}, half)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> DeltaMapper:
        """Read what ``save`` wrote, in evaluation mode; raises ``ValueError`` if it is missing or another model."""
        return read_module(path, lambda about: cls(MapperConfig(**about["config"]))).to(device)
