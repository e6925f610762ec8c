"""Files in the formats of others, made from a generator of ours: for tests of what reads them."""

import math
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.stylegan2 import Generator

SOURCE = "raise SystemExit('the source of a class was run')\n" * 20


@contextmanager
def nvidias_modules() -> Iterator[types.ModuleType]:
    """Modules under NVIDIA's names, there while pickles are written; of those who read them they are no part."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")

    def _reconstruct_persistent_obj(meta: dict) -> None:
        raise SystemExit("an object was reconstructed")

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    util.EasyDict = type("EasyDict", (dict,), {"__module__": "dnnlib.util"})
    modules = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": util,
    }
    sys.modules.update(modules)
    try:
        yield util
    finally:
        for name in modules:
            del sys.modules[name]


class Persistent(nn.Module):
    """A module that is pickled as NVIDIA's are: by the source of its class, and its state."""

    def __init__(self, class_name: str, **attributes: Any) -> None:
        super().__init__()
        self._init_args, self._init_kwargs, self._class_name = (), {}, class_name
        for name, value in attributes.items():
            if isinstance(value, torch.Tensor):
                is_buffer = name in ("w_avg", "noise_const", "resample_filter")
                value = value.detach().clone()
                self.register_buffer(name, value) if is_buffer else self.register_parameter(name, nn.Parameter(value))
            else:
                setattr(self, name, value)

    def __reduce__(self) -> tuple:
        state = {key: value for key, value in self.__dict__.items() if key != "_class_name"}
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self._class_name, "state": state}
        return sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj, (meta,), None


def nvidias(generator: Generator) -> Persistent:
    """The same network in the modules of stylegan2-ada-pytorch."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 64

    def linear(layer: nn.Module, activation: str, lr_mul: float = 1.0) -> Persistent:
        gain = np.float64(lr_mul) / np.sqrt(layer.weight.shape[1])  # a number of NumPy's, as there
        return Persistent(
            "FullyConnectedLayer",
            activation=activation,
            weight=layer.weight,
            bias=layer.bias,
            weight_gain=gain,
            bias_gain=lr_mul,
        )

    def conv(layer: nn.Module) -> Persistent:
        return Persistent(
            "SynthesisLayer",
            activation="lrelu",
            up=1,
            use_noise=True,
            conv_clamp=256,
            resample_filter=fir,
            affine=linear(layer.affine, "linear"),
            weight=layer.weight,
            noise_const=layer.noise_const[0, 0],
            noise_strength=layer.noise_strength,
            bias=layer.bias,
        )

    def block(r: int, k: int) -> Persistent:
        layers = {"conv1": conv(generator.convs[2 * k])}
        if k:
            layers["conv0"] = conv(generator.convs[2 * k - 1])
        rgb = generator.to_rgbs[k]
        layers["torgb"] = Persistent(
            "ToRGBLayer", weight=rgb.weight[..., None, None], bias=rgb.bias, affine=linear(rgb.affine, "linear")
        )
        start = {} if k else {"const": generator.const[0]}
        return Persistent("SynthesisBlock", architecture="skip", resolution=r, resample_filter=fir, **layers, **start)

    c = generator.config
    layers = {f"fc{k}": linear(layer, "lrelu", c.mapping_lr_mul) for k, layer in enumerate(generator.mapping_network)}
    blocks = {f"b{r}": block(r, k) for k, r in enumerate(c.resolutions)}
    mapping = Persistent("MappingNetwork", w_avg=generator.w_avg, c_dim=0, **layers)
    synthesis = Persistent("SynthesisNetwork", img_resolution=c.resolution, **blocks)
    return Persistent("Generator", z_dim=c.z_dim, c_dim=0, mapping=mapping, synthesis=synthesis)


def write_nvidia(path: Path, network: Any, protocol: int = 4) -> Path:
    """A snapshot as its trainers write it: three networks and the options of the data set."""
    with nvidias_modules() as util:
        other = Persistent("Discriminator", weight=torch.zeros(3))
        options = util.EasyDict(class_name="training.dataset.ImageFolderDataset", path="ffhq.zip", xflip=True)
        snapshot = {"training_set_kwargs": options, "G": network, "D": other, "G_ema": network, "augment_pipe": None}
        path.write_bytes(pickle.dumps(snapshot, protocol=protocol))
    return path


def rosinalitys(generator: Generator) -> dict[str, torch.Tensor]:
    """The same network's state dict in rosinality's layout."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    fir = torch.outer(taps, taps) / 16
    state = {"input.input": generator.const}
    for k, layer in enumerate(generator.mapping_network):
        state |= {f"style.{k + 1}.weight": layer.weight, f"style.{k + 1}.bias": layer.bias}
    for k, conv in enumerate(generator.convs):
        at = f"convs.{k - 1}" if k else "conv1"
        state[f"{at}.conv.weight"] = conv.weight[None]
        state[f"{at}.conv.modulation.weight"], state[f"{at}.conv.modulation.bias"] = conv.affine.parameters()
        state[f"{at}.noise.weight"], state[f"{at}.activate.bias"] = conv.noise_strength[None], conv.bias
        state[f"noises.noise_{k}"] = conv.noise_const
        if k % 2:
            state[f"{at}.conv.blur.kernel"] = fir
    for k, rgb in enumerate(generator.to_rgbs):
        at = f"to_rgbs.{k - 1}" if k else "to_rgb1"
        state[f"{at}.conv.weight"] = rgb.weight[None, ..., None, None]
        state[f"{at}.bias"] = rgb.bias[None, :, None, None]
        state[f"{at}.conv.modulation.weight"], state[f"{at}.conv.modulation.bias"] = rgb.affine.parameters()
    return {key: value.detach().clone() for key, value in state.items()}


class Openvino:
    """A graph for OpenVINO, written layer by layer: ``xml`` and ``binary``; equal constants share their bytes."""

    kinds: ClassVar = {torch.float32: "f32", torch.int64: "i64"}

    def __init__(self, name: str) -> None:
        self.name, self.layers, self.edges, self.binary, self.places = name, [], [], b"", {}

    def __call__(self, op: str, *inputs: int, name: str | None = None, **about: Any) -> int:
        number, name = len(self.layers), name or f"{op}_{len(self.layers)}"
        said = " ".join(f'{key}="{value}"' for key, value in about.items())
        self.layers.append(f'<layer id="{number}" name="{name}" type="{op}" version="opset1"><data {said}/></layer>')
        self.edges += [
            f'<edge from-layer="{source}" from-port="9" to-layer="{number}" to-port="{port}"/>'
            for port, source in reversed(list(enumerate(inputs)))
        ]
        return number

    def constant(self, value: torch.Tensor | float, name: str | None = None) -> int:
        value = torch.as_tensor(value).detach()
        numbers = value.contiguous().numpy().tobytes()
        if numbers not in self.places:
            self.places[numbers] = len(self.binary)
            self.binary += numbers
        shape, place = ", ".join(map(str, value.shape)), {"offset": self.places[numbers], "size": len(numbers)}
        return self("Const", name=name, element_type=self.kinds[value.dtype], shape=shape, **place)

    def write(self, folder: Path) -> Path:
        layers, edges = "\n".join(self.layers), "\n".join(self.edges)
        path = folder / f"{self.name}.xml"
        path.write_text(
            f'<?xml version="1.0" ?>\n<net name="{self.name}" version="10"><layers>\n{layers}\n</layers>'
            f"<edges>\n{edges}\n</edges><meta_data><unset/></meta_data></net>"
        )
        path.with_suffix(".bin").write_bytes(self.binary)
        return path


def mobile_names(generator: MobileStyleGAN) -> list[str]:
    """What MobileStyleGAN's authors call its layers, in our order."""
    n = len(generator.config.channels) - 1
    blocks = [f"layers.{k}.{part}" for k in range(n) for part in ("up", "conv1.conv", "conv2.conv")]
    return ["conv1.conv", *blocks, f"layers.{n - 1}.to_img.conv"]


def write_openvino(folder: Path, generator: MobileStyleGAN) -> Path:
    """``SynthesisNetwork`` and ``MappingNetwork`` as OpenVINO's converter left them, what matters of them."""
    graph = Openvino("MappingNetwork")
    x = graph("Parameter", shape="1, 6", element_type="f32")
    square = graph("ReduceMean", graph("Power", x, graph.constant(2.0)), graph.constant(torch.tensor([1])))
    root = graph("Power", graph("Add", square, graph.constant(1e-8)), graph.constant(0.5))
    x = graph("Multiply", x, graph("Power", root, graph.constant(-1.0)))
    for layer in generator.mapping_network:
        product = graph("MatMul", x, graph.constant(layer.weight), transpose_a="false", transpose_b="true")
        shape = graph("Concat", graph.constant(torch.tensor([1])))
        total = graph("Add", product, graph("Reshape", graph.constant(layer.bias), shape))
        x = graph("Multiply", graph("PReLU", total, graph.constant(torch.tensor([0.2]))), graph.constant(math.sqrt(2)))
    graph("Result", x)
    graph.write(folder)

    graph = Openvino("SynthesisNetwork")
    w = graph("Parameter", shape="1, 8", element_type="f32")
    x = graph("Tile", graph.constant(generator.const, "m.input.input"), graph.constant(torch.tensor([1])))
    for layer, name in zip(generator.layers, mobile_names(generator), strict=True):
        weight = graph.constant(layer.affine.weight, f"m.{name}.modulation.weight")
        product = graph("MatMul", w, weight, transpose_a="false", transpose_b="true")
        style = graph("Add", product, graph.constant(layer.affine.bias[None], f"m.{name}.modulation.bias"))
        if not name.endswith("up"):
            style = graph("Multiply", style, graph.constant(layer.gain))
        x = graph("Multiply", x, style)
        if name.endswith("up"):
            wavelet = graph.constant(torch.tensor([math.sqrt(0.5), -math.sqrt(0.5)]).expand(3, 1, 1, 1, 2))
            x = graph("GroupConvolutionBackpropData", x, wavelet)
            continue
        if getattr(layer, "depthwise", None) is not None:
            x = graph("GroupConvolution", x, graph.constant(layer.depthwise[:, None], f"m.{name}.weight_dw"))
        image = name.endswith("to_img.conv")
        x = graph("Convolution", x, graph.constant(layer.weight[..., None, None] if image else layer.weight))
        if not image:
            x = graph("Add", x, graph.constant(layer.noise_const))
        x = graph("Add", x, graph.constant(layer.bias[None, :, None, None], f"m.{name.removesuffix('.conv')}.bias"))
        if not image:
            x = graph("PReLU", x, graph.constant(torch.tensor([0.2])))
    graph("Result", x)
    return graph.write(folder)
