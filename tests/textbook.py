"""The same computations as textbooks and first versions write them: what the library's forms must equal, and outrun."""

from __future__ import annotations

import math
from collections.abc import Iterator
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from deltaedit.mapper import DeltaMapper
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.stylegan2 import EqualLinear, Generator, StyledConv, ToRGB

FIR = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 4] * 2)  # sums to 4: half of the picture is zeros


def blur(x: Tensor, padding: int) -> Tensor:
    """Each channel of (B, C, H, W) on its own, drawn over with the low-pass filter."""
    return F.conv2d(F.pad(x, [padding] * 4).flatten(0, 1)[:, None], FIR[None, None]).unflatten(0, x.shape[:2])[:, :, 0]


def modulated(layer: StyledConv | ToRGB, x: Tensor, style: Tensor, demodulate: bool, up: bool) -> Tensor:
    """A convolution with weights for every picture, one group each (arXiv:1912.04958, equations 1 and 3)."""
    b, c, h, w = x.shape
    weight = layer.weight.reshape(1, -1, c, *layer.weight.shape[2:] or (1, 1)) * style[:, None, :, None, None]
    weight = weight / math.sqrt(weight[0, 0].numel())
    if demodulate:
        weight = weight * torch.rsqrt(weight.square().sum((2, 3, 4), keepdim=True) + 1e-8)
    x = x.reshape(1, b * c, h, w)
    if up:
        x = F.conv_transpose2d(x, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=b)
        return blur(x.unflatten(1, (b, -1))[0], 1)
    return F.conv2d(x, weight.flatten(0, 1), padding=weight.shape[-1] // 2, groups=b).unflatten(1, (b, -1))[0]


def synthesize(generator: Generator, s: Tensor, w: Tensor) -> Tensor:
    """``Generator.synthesize`` of ``w`` (B, w_dim), with the generator's own noise."""
    x, image = generator.const.repeat(len(s), 1, 1, 1), None
    for k, (conv, style) in enumerate(zip(generator.convs, generator.layout.split(s), strict=True)):
        x = modulated(conv, x, style, demodulate=True, up=conv.upsampling)
        x = x + conv.noise_strength * conv.noise_const
        x = F.leaky_relu(x + conv.bias[:, None, None], 0.2) * math.sqrt(2)
        if not k % 2:
            layer = generator.to_rgbs[k // 2]
            rgb = modulated(layer, x, layer.affine(w), demodulate=False, up=False) + layer.bias[:, None, None]
            if image is not None:
                zeros = torch.zeros(len(s), 3, *rgb.shape[2:])
                zeros[:, :, ::2, ::2] = image
                rgb = rgb + blur(F.pad(zeros, (1, 0, 1, 0)), 1)
            image = rgb
    return image


def mobile(generator: MobileStyleGAN, s: Tensor) -> Tensor:
    """``MobileStyleGAN.synthesize``: modulate, then convolve or double, a pass over the picture for each."""
    x = generator.const.repeat(len(s), 1, 1, 1)
    for layer, style in zip(generator.layers, generator.layout.split(s), strict=True):
        x = x * (style * getattr(layer, "gain", 1))[:, :, None, None]
        if hasattr(layer, "noise_const"):
            if layer.depthwise is not None:
                x = F.conv2d(x, layer.depthwise, padding=1, groups=x.shape[1])
            x = F.conv2d(x, layer.weight, padding=layer.weight.shape[-1] // 2) + layer.noise_const
            x = F.leaky_relu(x + layer.bias[:, None, None], 0.2)
        else:
            if hasattr(layer, "bias"):
                x = F.conv2d(x, layer.weight[:, :, None, None], layer.bias)
            x = inverse_haar(x)
    return x


def inverse_haar(x: Tensor) -> Tensor:
    """A quarter of the channels, twice the size: bands ll, then lh, hl, hh of each channel."""
    c = x.shape[1] // 4
    ll, (lh, hl, hh) = x[:, :c], x[:, c:].unflatten(1, (c, 3)).unbind(2)
    out = torch.zeros(len(x), c, 2 * x.shape[2], 2 * x.shape[3])
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        out[:, :, i::2, j::2] = (ll + (-1) ** i * lh + (-1) ** j * hl + (-1) ** (i + j) * hh) / 2
    return out


def linear(layer: EqualLinear, x: Tensor) -> Tensor:
    """``EqualLinear.forward``, with the weights made ready each time."""
    x = F.linear(x, layer.weight * layer.gain, layer.bias * layer.lr_mul)
    return F.leaky_relu(x, 0.2) * math.sqrt(2) if layer.activate else x


class Pairs(Dataset):
    """Pairs of stored pictures, (2, N) rows of ``s`` and ``feature``; each pair is made ready on its own."""

    def __init__(self, s: Tensor, feature: Tensor, rows: Tensor) -> None:
        self.s, self.feature, self.rows = s, feature, rows

    def __len__(self) -> int:
        return self.rows.shape[1]

    def __getitem__(self, k: int) -> tuple[Tensor, ...]:
        (i1, i2), (s1, s2) = self.feature[self.rows[:, k]].float(), self.s[self.rows[:, k]].float()
        return s1, F.normalize(i1, dim=0), F.normalize(i2 - i1, dim=0), s2 - s1


def train(mapper: DeltaMapper, pairs: Pairs, batch_size: int, lr: float) -> Iterator[float]:
    """The loss of every step, in float32, from PyTorch's own loader and with its default Adam."""
    optimizer = torch.optim.Adam(mapper.parameters(), lr)
    for s, feature, delta, wanted in DataLoader(pairs, batch_size):
        with patch.object(EqualLinear, "forward", linear):
            predicted = mapper(s, feature, delta)
        loss = F.mse_loss(predicted, wanted) + 1 - F.cosine_similarity(predicted, wanted).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()
