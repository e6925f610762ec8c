"""Networks that others trained to look at faces, as ``@vladmandic/face-api`` publishes them (MIT), in PyTorch.

They are a recogniser, dlib's ResNet (King 2017), whose 128 numbers are close for pictures of one person; two small nets
of depthwise separable convolutions with dense sums (face-api.js, Mühler 2018), one for seven expressions, one for 68
landmarks; and a tiny Xception (Chollet 2017) for age and sex. All take pictures (B, 3, H, W) in [-1, 1] of a face that
fills them, at 150 or 112 px. Layers have the names under which they were published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.checkpoints.networks import State, fill
from deltaedit.checkpoints.tfjs import Weight
from deltaedit.untrusted.pickles import RefusedError

MEAN = (122.782, 117.001, 104.298)  # of red, green and blue, from 0 to 255
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""What ``Dense`` of seven outputs tells apart, in its order."""
SAME_PERSON = 0.6
"""Distance below which two descriptors are of one person: dlib's own; it tells 99.38 % of LFW's pairs right."""


def normal(image: Tensor) -> Tensor:
    """Pictures in [-1, 1] as the networks take them: bytes less ``MEAN``, over 255."""
    return image / 2 + (0.5 - image.new_tensor(MEAN)[:, None, None] / 255)


class Network(nn.Module):
    """Blocks one after the other, on pictures (B, 3, size, size) in [-1, 1]; then ``head``."""

    size: int

    def stem(self, image: Tensor) -> Tensor:
        """What the first block is given."""
        return normal(image)

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """The blocks by name."""
        raise NotImplementedError

    def head(self, maps: Mapping[str, Tensor]) -> Tensor:
        """The outputs (B, out), of all ``maps``."""
        raise NotImplementedError

    def maps(self, image: Tensor, last: str | None = None) -> dict[str, Tensor]:
        """What is seen on the way, (B, C, H', W') each, by block; up to the ``last`` that is wanted."""
        x, out = self.stem(image), {}
        for name, block in self.blocks():
            out[name] = x = block(x)
            if name == last:
                break
        return out

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, size, size) in [-1, 1] → (B, out)."""
        return self.head(self.maps(image))


def padded(x: Tensor, value: float = 0.0) -> Tensor:
    """Maps with a border for 3×3 at stride 2, as TensorFlow's «same» has it: what is odd of it right and below."""
    height, width = (1 if n % 2 == 0 else 2 for n in x.shape[-2:])
    return F.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2), value=value)


class Residual(nn.Module):
    """Two convolutions beside a shortcut; going ``down``, at half the size, the shortcut is pooled and gets zeros."""

    def __init__(self, before: int, after: int, down: bool) -> None:
        super().__init__()
        self.down = down
        self.conv1 = nn.Conv2d(before, after, 3, 2 if down else 1, 0 if down else 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H', W')."""
        out = self.conv2(F.relu_(self.conv1(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            x = F.pad(x, (0, 0, 0, 0, 0, out.shape[1] - x.shape[1]))
            out = F.pad(out, (0, x.shape[3] - out.shape[3], 0, x.shape[2] - out.shape[2]))
        return F.relu_(out + x)


class Recogniser(Network):
    """dlib's ResNet of 29 layers: pictures (B, 3, 150, 150) → descriptors (B, 128)."""

    size = 150
    names = ("32_1", "32_2", "32_3", "64_down", "64_1", "64_2", "64_3", "128_down", "128_1", "128_2")
    names = (*names, "256_down", "256_1", "256_2", "256_down_out")

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.conv32_down = nn.Conv2d(3, width, 7, 2)
        before = width
        for name in self.names:
            after = width * int(name.partition("_")[0]) // 32
            self.add_module(f"conv{name}", Residual(before, after, "down" in name))
            before = after
        self.fc = nn.Linear(before, 4 * width, bias=False)

    def stem(self, image: Tensor) -> Tensor:
        """A convolution and a pooling, to a quarter of the size."""
        return F.max_pool2d(F.relu_(self.conv32_down(normal(image))), 3, 2)

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Those of ``names``."""
        return ((name, getattr(self, f"conv{name}")) for name in self.names)

    def head(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Descriptors (B, 128)."""
        return self.fc(maps["256_down_out"].mean((2, 3)))


class Separable(nn.Module):
    """A 3×3 convolution of each channel for itself, then a 1×1 of all."""

    def __init__(self, before: int, after: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.depthwise = nn.Conv2d(before, before, 3, stride, 2 - stride, groups=before, bias=False)
        self.pointwise = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / stride, W / stride)."""
        return self.pointwise(self.depthwise(padded(x) if self.stride == 2 else x))


class DenseBlock(nn.Module):
    """Four convolutions, the first at stride 2, each fed the sum of those before."""

    def __init__(self, before: int, after: int, first: bool) -> None:
        super().__init__()
        self.conv0: nn.Module = nn.Conv2d(before, after, 3, 2) if first else Separable(before, after, 2)
        self.conv1, self.conv2, self.conv3 = (Separable(after, after) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / 2, W / 2)."""
        x = F.relu_(self.conv0(padded(x) if isinstance(self.conv0, nn.Conv2d) else x))
        for conv in (self.conv1, self.conv2, self.conv3):
            x = x + conv(F.relu(x))
        return F.relu_(x)


class Dense(Network):
    """Expressions (7 outputs, logits) or landmarks (136, x and y from 0 to 1 of each): (B, 3, 112, 112) → (B, out)."""

    size = 112

    def __init__(self, out: int, width: int = 32) -> None:
        super().__init__()
        widths = (3, *(width * 2**k for k in range(4)))
        for k in range(4):
            self.add_module(f"dense{k}", DenseBlock(widths[k], widths[k + 1], first=k == 0))
        self.fc = nn.Linear(widths[-1], out)

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Four, each of half the size."""
        return ((f"dense{k}", getattr(self, f"dense{k}")) for k in range(4))

    def head(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Logits or points (B, out)."""
        return self.fc(maps["dense3"].mean((2, 3)))


class Reduction(nn.Module):
    """Two separable convolutions and a pooling to half the size, beside a 1×1 convolution at stride 2."""

    def __init__(self, before: int, after: int, active: bool = True) -> None:
        super().__init__()
        self.active = active
        self.separable_conv0, self.separable_conv1 = Separable(before, after), Separable(after, after)
        self.expansion_conv = nn.Conv2d(before, after, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → (B, C', H / 2, W / 2)."""
        out = self.separable_conv0(F.relu(x) if self.active else x)
        out = self.separable_conv1(F.relu_(out))
        return F.max_pool2d(padded(out, -torch.inf), 3, 2) + self.expansion_conv(x)


class Middle(nn.Module):
    """Three separable convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.separable_conv0, self.separable_conv1, self.separable_conv2 = (Separable(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) → the same."""
        out = self.separable_conv0(F.relu(x))
        return self.separable_conv2(F.relu_(self.separable_conv1(F.relu_(out)))) + x


class Xception(Network):
    """Age and sex: pictures (B, 3, 112, 112) → years, and logits of man and woman, (B, 3)."""

    size = 112

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w = width
        entry = {"conv_in": nn.Conv2d(3, w, 3, 2), "reduction_block_0": Reduction(w, 2 * w, active=False)}
        self.entry_flow = nn.ModuleDict({**entry, "reduction_block_1": Reduction(2 * w, 4 * w)})
        self.middle_flow = nn.ModuleDict({f"main_block_{k}": Middle(4 * w) for k in range(2)})
        last = {"reduction_block": Reduction(4 * w, 8 * w), "separable_conv": Separable(8 * w, 16 * w)}
        self.exit_flow = nn.ModuleDict(last)
        self.fc = nn.ModuleDict({"age": nn.Linear(16 * w, 1), "gender": nn.Linear(16 * w, 2)})

    def stem(self, image: Tensor) -> Tensor:
        """A convolution, to half the size."""
        return F.relu_(self.entry_flow["conv_in"](padded(normal(image))))

    def blocks(self) -> Iterator[tuple[str, nn.Module]]:
        """Those of the three flows, of the last flow by their names, with ``exit`` before them."""
        yield from (item for item in self.entry_flow.items() if item[0] != "conv_in")
        yield from self.middle_flow.items()
        yield from ((f"exit_{name}", block) for name, block in self.exit_flow.items())

    def head(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Years and two logits (B, 3)."""
        x = F.relu(maps["exit_separable_conv"]).mean((2, 3))
        return torch.cat([head(x) for head in self.fc.values()], dim=1)


PUBLISHED = {
    "face_recognition": Recogniser,
    "face_expression": lambda: Dense(len(EXPRESSIONS)),
    "face_landmark_68": lambda: Dense(2 * 68),
    "age_gender": Xception,
}
"""The networks by their published names, each in its published size."""


def network(name: str, weights: Mapping[str, Weight]) -> nn.Module:
    """A network of ``PUBLISHED``, in evaluation mode, from weights by their published names.

    Raises ``ValueError`` where they are those of another network; it names what differs.
    """
    try:
        return fill(PUBLISHED[name], to_ours(weights), f"{name} network")
    except RefusedError as error:
        raise ValueError(f"the file {error}: check which network it is of.") from None


def to_ours(weights: Mapping[str, Weight]) -> State:
    """Weights of ours from published ones: axes as PyTorch has them, and a scale after a convolution in its weights."""
    values = {name: weight.value for name, weight in weights.items()}
    ours: State = {}
    for name, x in values.items():
        at = name.replace("/", ".")
        if match := re.fullmatch(r"(.+)/conv/filters", name):
            scale, at = values[f"{match[1]}/scale/weights"], match[1].replace("/", ".")
            ours[f"{at}.weight"] = (x * scale).permute(3, 2, 0, 1)
            ours[f"{at}.bias"] = values[f"{match[1]}/conv/bias"] * scale + values[f"{match[1]}/scale/biases"]
        elif name.endswith("/depthwise_filter"):
            ours[f"{at.removesuffix('_filter')}.weight"] = x.permute(2, 3, 0, 1)
        elif name.endswith("/pointwise_filter"):
            ours[f"{at.removesuffix('_filter')}.weight"] = x.permute(3, 2, 0, 1)
            ours[f"{at.removesuffix('_filter')}.bias"] = values[name.replace("pointwise_filter", "bias")]
        elif name.endswith("/filters"):
            ours[f"{at.removesuffix('.filters')}.weight"] = x.permute(3, 2, 0, 1)
        elif x.ndim == 2:
            ours[f"{at.removesuffix('.weights')}.weight"] = x.T
        elif name.endswith("/bias"):
            ours[at] = x
    return {name: x.contiguous() for name, x in ours.items()}
