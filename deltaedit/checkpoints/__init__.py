"""Foreign checkpoint formats, read without running any code of theirs.

A checkpoint of PyTorch's is a pickle, and a pickle may run anything; NVIDIA's even bring the source of their classes
along. Here they are taken apart by a machine that imports nothing (see ``pickles``). Whatever is wrong with a file, it
ends in one ValueError that names it. Our own files, ``.safetensors``, are read by the same functions;
``deltaedit.convert`` writes a folder of those, so that a file from elsewhere is opened once. What is read comes in
float32, on the CPU, networks in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deltaedit import style_space
from deltaedit.checkpoints import e4e, mobile, nvidia, released, rosinality
from deltaedit.checkpoints.networks import WIDEST, State, fill
from deltaedit.domain import GENERATOR
from deltaedit.e4e import E4E, Encoder
from deltaedit.e4e import load_encoder as load_our_encoder
from deltaedit.files import read_module, read_tensors
from deltaedit.mapper import DeltaMapper
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN
from deltaedit.stylegan2 import Generator, GeneratorConfig
from deltaedit.untrusted.containers import of_others, opened
from deltaedit.untrusted.kinds import ARRAY, other_kind_of, shown
from deltaedit.untrusted.pickles import RefusedError

__all__ = ["load_encoder", "load_generator", "load_mapper", "load_relevance", "trained_on"]

ARCHITECTURES: dict[str, Callable[[dict], style_space.AnyGenerator]] = {
    "stylegan2": lambda config: Generator(GeneratorConfig(**config)),
    "mobilestylegan": lambda config: MobileStyleGAN(MobileConfig(**config)),
}
"""Makes a generator of the sizes that its ``save`` wrote, by the kind that it wrote beside them."""


def load_generator(path: str | Path) -> style_space.AnyGenerator:
    """Read a StyleGAN2 generator of 8 to 1024 px, or a MobileStyleGAN of 16 to 1024, of any widths.

    ``path`` is rosinality's or BasicSR's ``.pt``; NVIDIA's ``.pkl`` of stylegan2-ada-pytorch or of stylegan3's
    repository, or what PTI or DragGAN saved of one; the ``.pt`` of an e4e encoder, for the generator in it;
    MobileStyleGAN's ``.ckpt``, or its ``SynthesisNetwork.xml`` for OpenVINO, with the other three files or the folder
    they lie in; a domain folder or ``.safetensors`` of ours. The network may lie in dicts or in a module, as state dict
    or whole, under names that begin with ``module.`` for instance; of several the averaged one is read (``g_ema``,
    ``params_ema``). Where a file says no ``w_avg``, it is estimated, and noises that it lacks are drawn, both from a
    seed. Raises ``ValueError`` if the file is missing, damaged, asks for code to be run, or is something else, which is
    named: StyleGAN1, StyleGAN3, class-conditional, a pointer of Git LFS, a web page; and for TensorFlow pickles the
    file to use instead.
    """
    path = Path(path)
    if path.is_dir():
        path /= mobile.SYNTHESIS if (path / mobile.SYNTHESIS).exists() else GENERATOR
    if _ours(path):
        return read_module(path, lambda about: ARCHITECTURES[about.get("kind", "stylegan2")](about["config"]))
    if path.suffix == ".xml":
        return mobile.from_openvino(path)
    with opened(path) as file:
        if isinstance(file.data, dict) and mobile.holds_generator(file.data):
            return mobile.from_checkpoint(file)
        if (at := file.at(nvidia.CONST)) is not None:
            return _generator(*nvidia.read(file, at))
        nvidia.refuse_others(file.entries)
        for marker in (rosinality.CONST, rosinality.BASICSR):
            if (at := file.at(marker)) is not None:
                average = file.beside(at, "latent_avg")
                state = file.tensors({**file.below(at), "latent_avg": average})
                if "latent_avg" in state and state["latent_avg"].ndim > 1:  # one for each layer, all the same
                    state["latent_avg"] = state["latent_avg"][0]
                return _generator(rosinality.to_ours(state))
        guess = rosinality.guess(file.entries) if isinstance(file.data, dict) else f" but a {file.kind}"
        raise RefusedError(f"is no StyleGAN2 generator{guess}")


def load_mapper(path: str | Path, dims: tuple[int, ...] | None = None) -> DeltaMapper:
    """Read DeltaEdit's own mapper, such as ``net_face.pth``, or one of ours.

    ``dims`` are the ``StyleLayout.dims`` of its generator; by default those of the StyleGAN2 that it fits. Raises
    ``ValueError`` if the file is missing or damaged, or the mapper does not fit; the widths of both are named.
    """
    if _ours(path):
        return DeltaMapper.load(path)
    with opened(path) as file:
        at = file.at(released.MARKER)
        if at is None:
            raise RefusedError(f"is no DeltaEdit mapper, of which it has no {released.MARKER}")
        state = released.to_ours(file.tensors(file.below(at)))
        config = released.config(state, dims)
        standard = {"s_mean": torch.zeros(sum(config.dims)), "s_std": torch.ones(sum(config.dims))}
        return fill(lambda: DeltaMapper(config), state | standard, "DeltaEdit mapper")


def load_relevance(path: str | Path) -> Tensor:
    """Read a relevance matrix (S, D): StyleCLIP's ``fs3.npy``, in half or single precision, or one of ours.

    Raises ``ValueError`` if the file is missing or damaged, holds something else, or an estimate that is not finished.
    """
    if Path(path).suffix == ".safetensors":
        return _our_relevance(path)
    if (other := other_kind_of(path)) and other != ARRAY:
        raise ValueError(f"{path} {other}: it was not read.")
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # mapped: what its head promises must be there; no pickles
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}: check the path, or download it first.") from None
    except Exception:  # a damaged file can make anything fail
        raise ValueError(f"{path} is damaged, or no array of NumPy's: it was not read.") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(f"{path} must hold a matrix (S, D) of floats. Got {array.dtype} of shape {array.shape}.")
    matrix = torch.from_numpy(array.astype(np.float32))
    if not matrix.isfinite().all():
        raise ValueError(f"{path} has values that are no finite numbers: download or make it again.")
    return matrix


def load_encoder(path: str | Path) -> Encoder | E4E:
    """Read an encoder from pictures to ``w_plus``: e4e's published ``.pt``, or one of ours.

    Raises ``ValueError`` if the file is missing or damaged, or holds another kind of encoder, which is named.
    """
    if _ours(path):
        return load_our_encoder(path)
    with opened(path) as file:
        state, config = e4e.read(file)
        if config.num_ws > 18:
            raise RefusedError(f"is an encoder for {config.num_ws} layers, more than a StyleGAN2 of 1024 px has")
        return fill(lambda: E4E(config), state, f"e4e encoder for {config.num_ws} layers")


def trained_on(path: str | Path) -> str:
    """What a checkpoint was trained on, as its options say, such as "ffhq_encode" in e4e's; empty where none do.

    Errors are those of ``load_encoder``.
    """
    if Path(path).is_dir() or Path(path).suffix in (".safetensors", ".xml"):
        return ""
    with opened(path) as file:
        options = file.data.get("opts") if isinstance(file.data, dict) else None
        options = getattr(options, "state", options)  # of a Namespace
        name = options.get("dataset_type") if isinstance(options, dict) else None
        return name[:50] if isinstance(name, str) else ""


def _ours(path: str | Path) -> bool:
    """Whether a file is one of ours, or would be if it were there and whole."""
    return Path(path).suffix == ".safetensors" and not (Path(path).is_file() and of_others(path))


def _our_relevance(path: str | Path) -> Tensor:
    tensors, about = read_tensors(path)
    if "relevance" not in tensors:
        raise ValueError(f"{path} holds no relevance but {shown(sorted(tensors)[:3])}: check the path.")
    if not about.get("finished", True):
        raise ValueError(f"{path} holds an unfinished estimate: call estimate_relevance with it once more.")
    matrix = tensors["relevance"].float()
    if matrix.ndim != 2 or not matrix.isfinite().all():
        raise ValueError(f"{path} must hold a matrix (S, D) of finite numbers. Got shape {tuple(matrix.shape)}.")
    return matrix


def _generator(state: State, mapping_lr_mul: float = 0.01) -> Generator:
    widths = []
    while f"to_rgbs.{len(widths)}.weight" in state:
        widths.append(state[f"to_rgbs.{len(widths)}.weight"].shape[1])
    layers = 0
    while f"mapping_network.{layers}.weight" in state:
        layers += 1
    if not 2 <= len(widths) <= 9 or not 1 <= layers <= 64:
        counts = f"it has {len(widths)} toRGB layers, and {layers} from z to w"
        raise RefusedError(f"is no StyleGAN2 generator of 8 to 1024 px: {counts}")
    config = GeneratorConfig(
        resolution=4 * 2 ** (len(widths) - 1),
        z_dim=state["mapping_network.0.weight"].shape[1],
        w_dim=state[f"mapping_network.{layers - 1}.weight"].shape[0],
        mapping_layers=layers,
        channel_base=max(width * 4 * 2**k for k, width in enumerate(widths)),
        channel_max=max(widths),
        mapping_lr_mul=mapping_lr_mul,
    )
    if max(config.z_dim, config.w_dim) > WIDEST:
        raise RefusedError(f"is no StyleGAN2 generator: its latents have {config.z_dim} and {config.w_dim} numbers")
    what = f"StyleGAN2 generator of {config.resolution} px and widths {widths}"
    generator = fill(lambda: Generator(config), {"w_avg": torch.zeros(config.w_dim)} | state, what)
    if "w_avg" not in state:
        generator.estimate_w_avg(rng=torch.Generator().manual_seed(0))
    return generator
