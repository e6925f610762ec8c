"""The smallest generator, and a CLIP that answers at once, for tests of what stands on them."""

import hashlib

import pytest
import torch
import torch.nn.functional as F

from deltaedit.stylegan2 import Generator, GeneratorConfig

TINY = GeneratorConfig(resolution=16, z_dim=6, w_dim=8, mapping_layers=2, channel_base=96, channel_max=12)
DIM = 10


def tiny_generator(seed: int = 0) -> Generator:
    torch.manual_seed(seed)
    return Generator(TINY).eval().requires_grad_(False)


class FakeClip:
    """A random projection of the picture, and of the prompt's digest; its text half fails where it must not be used."""

    dim, preprocessing = DIM, "clip"

    def __init__(self, text: bool = True) -> None:
        self.text, self.calls = text, []
        self.projection = torch.randn(3 * 64, DIM, generator=torch.Generator().manual_seed(0))

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        self.calls.append("image")
        return F.normalize(F.interpolate(image, 8).flatten(1) @ self.projection, dim=1)

    def text_feature(self, prompt: str) -> torch.Tensor:
        if not self.text:
            pytest.fail("the text tower was used")
        self.calls.append("text")
        seed = int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big")
        return F.normalize(torch.randn(DIM, generator=torch.Generator().manual_seed(seed)), dim=0)

    encode_text = text_feature

    def text_delta(self, target: str, neutral: str, normalize: bool = True) -> torch.Tensor:
        delta = self.text_feature(target) - self.text_feature(neutral)
        return F.normalize(delta, dim=0) if normalize else delta

    def fingerprint(self) -> str:
        return "fake"
