"""MobileStyleGAN's published forms: OpenVINO graphs of its two halves, and its authors' checkpoint, ``.ckpt``.

Both know its layers by the same names. In the graphs the constant demodulation is multiplied into the filters, and the
strength of the noise into noise pictures; a checkpoint has the factors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deltaedit.checkpoints.networks import WIDEST, State, fill
from deltaedit.checkpoints.openvino import Graph
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN
from deltaedit.style_space import sample_w
from deltaedit.untrusted.containers import Checkpoint, refusing
from deltaedit.untrusted.pickles import RefusedError

SYNTHESIS, MAPPING = "SynthesisNetwork.xml", "MappingNetwork.xml"
_OPS = (
    "Add Broadcast Concat Const Convolution Gather GroupConvolution GroupConvolutionBackpropData MatMul Multiply PReLU "
    "Parameter Power ReduceMean Reshape Result ShapeOf Squeeze Tile Unsqueeze VariadicSplit"
)
OPS = frozenset(_OPS.split())
MAPPING_LR_MUL = 0.01


def holds_generator(data: Mapping[Any, Any]) -> bool:
    """Whether what was in a file is a Lightning checkpoint of a MobileStyleGAN."""
    entries = data.get("state_dict")
    return isinstance(entries, dict) and "student.input.input" in entries


def from_openvino(path: Path) -> MobileStyleGAN:
    """The generator of ``SynthesisNetwork.xml`` and the other three files beside it.

    Raises ``ValueError`` if one is missing, damaged, or of another network.
    """
    beside = path.with_name(MAPPING)
    with refusing(beside):
        mapping = _mapping(Graph(beside, OPS))
    with refusing(path):
        return _generator(_synthesis(Graph(path, OPS)) | mapping)


def from_checkpoint(file: Checkpoint) -> MobileStyleGAN:
    """The generator of a Lightning checkpoint; its noise pictures, of which there are none, are drawn from a seed."""
    entries = {key: value for key, value in file.data["state_dict"].items() if isinstance(key, str)}
    ours_of = ("student.", "mapping_net.", "style_mean")  # the others are the teacher's and the losses'
    state = file.tensors({key: value for key, value in entries.items() if key.startswith(ours_of)})
    theirs = {name.removeprefix("student."): value for name, value in state.items()}
    if "conv1.conv.style_inv" not in theirs:
        raise RefusedError("is a MobileStyleGAN of another version: it has no style_inv, the constant demodulation")
    ours = {"const": theirs["input.input"]}
    rng = torch.Generator().manual_seed(0)
    for k, name in enumerate(_names(sum(key.endswith(".up.modulation.bias") for key in theirs))):
        ours |= {f"layers.{k}.affine.{part}": theirs[f"{name}.modulation.{part}"] for part in ("weight", "bias")}
        if name.endswith("up"):
            continue
        layer = name.removesuffix(".conv")
        ours[f"layers.{k}.bias"] = theirs[f"{layer}.bias"].flatten()
        if name.endswith("to_img.conv"):
            ours[f"layers.{k}.weight"] = theirs[f"{name}.weight"].flatten(1)
            continue
        weight = whole = theirs[f"{name}.weight_permute" if k else f"{name}.weight"]  # (C', C, 1, 1) or (C', C, 3, 3)
        if k:
            depthwise = ours[f"layers.{k}.depthwise"] = theirs[f"{name}.weight_dw"]  # (C, 1, 3, 3)
            whole = depthwise.transpose(0, 1) * weight
        scale = theirs[f"{name}.style_inv"][0] / math.sqrt(whole[0].numel())
        ours[f"layers.{k}.weight"] = weight * torch.rsqrt((scale * whole).square().sum((1, 2, 3), True) + 1e-8)
        side = 4 * 2 ** -(-k // 3)
        ours[f"layers.{k}.noise_const"] = theirs[f"{layer}.noise.weight"] * torch.randn(1, 1, side, side, generator=rng)
    k = 0
    while (weight := theirs.get(f"mapping_net.layers.{k + 1}.weight")) is not None:  # the one before them normalises
        ours[f"mapping_network.{k}.weight"] = weight * (MAPPING_LR_MUL / math.sqrt(weight.shape[1]))
        ours[f"mapping_network.{k}.bias"] = theirs[f"mapping_net.layers.{k + 1}.bias"] * MAPPING_LR_MUL
        k += 1
    if "style_mean" in theirs:
        ours["w_avg"] = theirs["style_mean"].flatten(0, -2)[0]  # for each layer, all the same
    return _generator(ours)


def _names(blocks: int) -> list[str]:
    """The authors' names of the layers that have a style, in our order."""
    parts = [f"layers.{k}.{part}" for k in range(blocks) for part in ("up", "conv1.conv", "conv2.conv")]
    return ["conv1.conv", *parts, f"layers.{blocks - 1}.to_img.conv"]


def _synthesis(graph: Graph) -> State:
    def named(name: str) -> torch.Tensor:
        node = graph.named(f"m.{name}")
        if node is None:
            raise RefusedError(f"is no MobileStyleGAN: it has no constant 'm.{name}'")
        return graph.read(node)

    blocks = 0
    while graph.named(f"m.layers.{blocks}.up.modulation.weight"):
        blocks += 1
    ours = {"const": named("input.input")}
    for k, name in enumerate(_names(blocks)):
        ours[f"layers.{k}.affine.weight"] = named(f"{name}.modulation.weight")
        ours[f"layers.{k}.affine.bias"] = named(f"{name}.modulation.bias").flatten()
        if name.endswith("up"):
            continue
        bias = f"{name.removesuffix('.conv')}.bias"
        ours[f"layers.{k}.bias"] = named(bias).flatten()
        end = graph.after(graph.named(f"m.{bias}"), "Add")
        if not name.endswith("to_img.conv"):
            end = graph.before(end, "Add")
            ours[f"layers.{k}.noise_const"] = graph.read(graph.before(end, "Const"))
            if k:
                ours[f"layers.{k}.depthwise"] = named(f"{name}.weight_dw").flatten(0, 1)
        weight = graph.read(graph.before(graph.before(end, "Convolution"), "Const"))
        ours[f"layers.{k}.weight"] = weight.flatten(1) if name.endswith("to_img.conv") else weight
    gains = [
        1 / math.sqrt(n * len(value)) for key, value in ours.items() if key.endswith("affine.bias") for n in (1, 9)
    ]
    _check(graph, [0.2, math.sqrt(0.5), *gains])
    return ours


def _mapping(graph: Graph) -> State:
    layers = []
    end = graph.before(next((node for node in graph.nodes if node.op == "Result"), graph.nodes[0]), "Multiply")
    while any(node.op == "PReLU" for node in end.inputs) and len(layers) < 64:
        total = graph.before(graph.before(end, "PReLU"), "Add")
        product, bias = graph.before(total, "MatMul"), graph.before(total, "Reshape")
        layers.insert(0, [graph.read(graph.before(node, "Const")) for node in (product, bias)])
        end = graph.before(product, "Multiply")
    _check(graph, [0.2, 1e-8, 0.5, 1, 2, math.sqrt(2)])
    parts = ("weight", "bias")
    return {
        f"mapping_network.{k}.{part}": t for k, pair in enumerate(layers) for part, t in zip(parts, pair, strict=True)
    }


def _check(graph: Graph, known: list[float]) -> None:
    """Raise RefusedError if a number that is no weight is another than the architecture has, whatever its sign."""
    for node in graph.nodes:
        if node.op == "MatMul" and (node.about.get("transpose_a"), node.about.get("transpose_b")) != ("false", "true"):
            raise RefusedError(f"is another network: {node} takes its weights the other way round")
    for node in list(graph.unread.values()):
        values = graph.read(node)
        if values.is_floating_point():
            apart = (values.abs().reshape(-1, 1) - torch.tensor(known)).abs().amin(1)
            if (apart > 1e-6).any():
                raise RefusedError(f"is another network: {node} is {values.flatten()[apart.argmax()]:.6g}")


def _generator(state: State) -> MobileStyleGAN:
    widths = [state["const"].shape[1]]
    while f"layers.{3 * len(widths)}.bias" in state:
        widths.append(len(state[f"layers.{3 * len(widths)}.bias"]))
    layers = sum(name.startswith("mapping_network.") for name in state) // 2
    if not 2 <= len(widths) <= 8 or not layers or max(widths) > WIDEST:
        raise RefusedError(f"is no MobileStyleGAN of 16 to 1024 px: it has widths {widths}, and {layers} from z to w")
    w_dim, z_dim = state["mapping_network.0.weight"].shape
    config = MobileConfig(tuple(widths), z_dim, w_dim, layers)
    state = {"w_avg": torch.zeros(config.w_dim)} | state
    generator = fill(
        lambda: MobileStyleGAN(config), state, f"MobileStyleGAN of {config.resolution} px and widths {widths}"
    )
    if not generator.w_avg.any():
        generator.w_avg.copy_(sample_w(generator, 10_000).mean(0))
    return generator.requires_grad_(False)
