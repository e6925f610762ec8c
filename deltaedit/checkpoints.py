"""Foreign checkpoint formats, read without running any code of theirs.

Two formats so far: generators in rosinality's layout (``.pt``) and DeltaEdit's own mapper (``net_face.pth``).
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import torch
from torch import Tensor

from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.stylegan2 import Generator, GeneratorConfig

State = dict[str, Tensor]


def load_generator(path: str | Path) -> Generator:
    """Read a StyleGAN2 generator from a rosinality ``.pt``: a dict with ``g_ema``, or a bare state dict.

    Returns:
        the generator, float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: if the file is missing, damaged, or holds something else.
    """
    data = _read(path)
    state = data.get("g_ema", data)
    state = {**state, **({"latent_avg": data["latent_avg"]} if "latent_avg" in data else {})}
    try:
        generator = Generator(_rosinality_config(state))
        generator.load_state_dict(rosinality_to_ours(state))
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is no StyleGAN2 generator in rosinality's layout ({_first_line(error)}).") from None
    return generator.eval()


def load_mapper(path: str | Path, dims: tuple[int, ...] | None = None) -> DeltaMapper:
    """Read DeltaEdit's own mapper, ``net_face.pth``: a bare state dict.

    Args:
        path: the file.
        dims: ``StyleLayout.dims`` of its generator; by default those of FFHQ at 1024 px.

    Returns:
        the mapper, float32, on the CPU, in evaluation mode.

    Raises:
        ValueError: if the file is missing, damaged, or does not fit the layout.
    """
    state = _read(path)
    dims = dims or GeneratorConfig().layout.dims
    try:
        mapper = DeltaMapper(MapperConfig(dims, feature_dim=state["cm_coarse.mapping.1.weight"].shape[1] // 2))
        buffers = {name: getattr(mapper, name) for name in ("s_mean", "s_std")}
        mapper.load_state_dict(deltaedit_to_ours(state) | buffers)
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is no DeltaEdit mapper for these style widths ({_first_line(error)}).") from None
    return mapper.eval()


def deltaedit_to_ours(state: State) -> State:
    """Rename a published mapper's state dict for ``DeltaMapper.load_state_dict``."""
    modules = {"sm": "style", "cm": "condition", "fm": "fusion"}
    ours = {}
    for key, value in state.items():
        match = re.fullmatch(r"(sm|cm|fm)_(\w+)\.mapping\.(.+)", key)
        if match is None:
            raise KeyError(key)
        module, group, rest = match.groups()
        ours[f"{group}.{modules[module]}.{rest}"] = value
    return ours


def rosinality_to_ours(state: State) -> State:
    """Rename and reshape a rosinality generator's state dict for ``Generator.load_state_dict``."""
    ours: State = {"const": state["input.input"]}
    for key, value in state.items():
        if match := re.fullmatch(r"style\.(\d+)\.(weight|bias)", key):
            ours[f"mapping_network.{int(match[1]) - 1}.{match[2]}"] = value
    for theirs, k in _numbered(state, "conv1", "convs"):
        ours[f"convs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze(0)
        ours[f"convs.{k}.bias"] = state[f"{theirs}.activate.bias"]
        ours[f"convs.{k}.noise_strength"] = state[f"{theirs}.noise.weight"].squeeze()
        ours[f"convs.{k}.noise_const"] = state[f"noises.noise_{k}"]
        ours |= {f"convs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    for theirs, k in _numbered(state, "to_rgb1", "to_rgbs"):
        ours[f"to_rgbs.{k}.weight"] = state[f"{theirs}.conv.weight"].squeeze((0, 3, 4))
        ours[f"to_rgbs.{k}.bias"] = state[f"{theirs}.bias"].flatten()
        ours |= {f"to_rgbs.{k}.affine.{p}": state[f"{theirs}.conv.modulation.{p}"] for p in ("weight", "bias")}
    ours["w_avg"] = state.get("latent_avg", torch.zeros_like(state["style.1.bias"]))
    return ours


def _numbered(state: State, first: str, others: str) -> list[tuple[str, int]]:
    """(their name, our number) of the layers called ``first``, ``others.0``, ``others.1``, ..."""
    count = len({key.split(".")[1] for key in state if key.startswith(f"{others}.")})
    return [(first, 0), *((f"{others}.{k}", k + 1) for k in range(count))]


def _rosinality_config(state: State) -> GeneratorConfig:
    widths = [state[f"{name}.conv.weight"].shape[2] for name, _ in _numbered(state, "to_rgb1", "to_rgbs")]
    resolution = 4 * 2 ** (len(widths) - 1)
    return GeneratorConfig(
        resolution=resolution,
        z_dim=state["style.1.weight"].shape[1],
        w_dim=state["style.1.weight"].shape[0],
        mapping_layers=sum(bool(re.fullmatch(r"style\.\d+\.weight", key)) for key in state),
        channel_base=max(width * 4 * 2**k for k, width in enumerate(widths)),
        channel_max=max(widths),
    )


def _read(path: str | Path) -> State:
    """The dict in a PyTorch file, of tensors and plain containers only."""
    if not Path(path).is_file():
        raise ValueError(f"there is no file {path}: check the path, or download it first.")
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = _first_line(error)
        raise ValueError(f"{path} is damaged, or holds more than tensors ({reason}): it was not read.") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a dict of tensors. Got {type(data).__name__}.")
    return data


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
