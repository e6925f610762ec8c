"""The same computations as textbooks and first versions write them: what the library's forms must equal, and outrun."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from deltaedit.stylegan2 import Generator, StyledConv, ToRGB

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
