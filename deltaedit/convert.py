"""From files of others to a domain folder of ours, so that each of them is opened once.

``python -m deltaedit.convert my-faces --generator ffhq.pkl --mapper net_face.pth --clip ViT-B-32:openai``, for example.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deltaedit import checkpoints
from deltaedit.domain import CARD, CLIP, ENCODER, GENERATOR, MAPPER, RELEASED, RELEVANCE, Domain, check_fit, save_parts
from deltaedit.files import read_tensors
from deltaedit.mobilestylegan import MobileStyleGAN, fit_preview

if TYPE_CHECKING:
    from deltaedit.clip import ClipEncoder


def convert(
    folder: str | Path,
    *,
    generator: str | Path | None = None,
    mapper: str | Path | None = None,
    relevance: str | Path | None = None,
    encoder: str | Path | None = None,
    clip: str | None = None,
    domain: Domain | None = None,
    sentences: Callable[[], Path] | None = None,
) -> None:
    """Read the parts of a domain from files of any format that ``checkpoints`` knows, and write them to a folder.

    Parts that the folder has and that are not given stay; all are checked against each other before anything is
    written. ``Editor.from_pretrained`` takes the folder once it has a generator, a CLIP and a mapper.

    Args:
        clip: a name of open_clip's and the tag of its published weights, such as "ViT-B-32:openai" (the weights are not
            copied, but may be downloaded); a file of weights in place of the tag, such as "ViT-B-32:ViT-B-32.pt"; or a
            file that ``ClipEncoder.save`` wrote.
        domain: name, neutral prompt and defaults; by default what the folder has. With a mapper in the format of
            DeltaEdit's released one, what that needs (``domain.RELEASED``) is set in any case.
        sentences: finds the network that reads English, for a CLIP that is made of one; see ``ClipEncoder.load``.

    Raises:
        ValueError: if a file cannot be read, or the parts do not fit each other.
    """
    folder = Path(folder)
    given = {GENERATOR: generator, MAPPER: mapper, RELEVANCE: relevance, ENCODER: encoder}
    there = {name: path or (folder / name if (folder / name).exists() else None) for name, path in given.items()}
    if there[GENERATOR] is None:
        raise ValueError(f"{folder} has no generator yet: give one too.")
    model = checkpoints.load_generator(there[GENERATOR])
    if generator is not None and isinstance(model, MobileStyleGAN) and not model.config.previews:
        fit_preview(model)
    mapping = (path := there[MAPPER]) and checkpoints.load_mapper(path, dims=model.layout.dims)
    matrix = (path := there[RELEVANCE]) and checkpoints.load_relevance(path)
    inverse = (path := there[ENCODER]) and checkpoints.load_encoder(path)
    if domain is None:
        domain = Domain.read(folder) if (folder / CARD).exists() else Domain(folder.resolve().name)
    if mapper is not None:
        ours = Path(mapper).suffix == ".safetensors"
        domain = replace(domain, **({"preprocessing": mapping.config.preprocessing} if ours else RELEASED))
    seeing = None if clip is None else load_clip(clip, domain.preprocessing, sentences=sentences)
    dim = None if seeing is None else seeing.dim
    if seeing is None and (folder / CLIP).exists():
        dim = read_tensors(folder / CLIP)[1]["config"]["embed_dim"]
    check_fit(model, dim, mapping, matrix, inverse)
    read = {"generator": model, "mapper": mapping, "relevance": matrix, "encoder": inverse}
    new = {name: part for name, part in read.items() if given[f"{name}.safetensors"] is not None}
    domain.write(folder)  # first: after a kill a part that is lacking is converted again, a card that is lacking is not
    save_parts(folder, **new, clip=seeing)


def load_clip(
    name: str,
    preprocessing: str = "clip",
    device: str | torch.device = "cpu",
    sentences: Callable[[], Path] | None = None,
) -> ClipEncoder:
    """The CLIP that a command line names: "ViT-B-32:openai", with a file in place of the tag, or a file of ours.

    For ``sentences`` see ``ClipEncoder.load``. Raises ``ValueError`` if it is none of these, and otherwise as
    ``ClipEncoder.from_open_clip`` and ``load`` do.
    """
    from deltaedit.clip import RELEASED_TEMPLATES, ClipEncoder  # here: open_clip takes seconds to import

    model, _, tag = name.partition(":")
    tag = str(Path(tag).expanduser()) if tag.startswith("~") else tag
    if Path(name).is_file():
        encoder = ClipEncoder.load(name, device, preprocessing, sentences)
    elif tag:
        encoder = ClipEncoder.from_open_clip(model, tag, device, preprocessing=preprocessing)
    else:
        raise ValueError(f"clip must be a name and a tag, such as 'ViT-B-32:openai', or a .safetensors. Got {name!r}.")
    if preprocessing == "deltaedit":
        encoder.templates = RELEASED_TEMPLATES
    return encoder


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deltaedit.convert", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path, help="of the domain; what it has already stays")
    parser.add_argument(
        "--generator",
        help="StyleGAN2: NVIDIA's .pkl or PTI's, rosinality's or BasicSR's .pt; MobileStyleGAN: .xml or .ckpt",
    )
    parser.add_argument("--mapper", help="DeltaEdit's, such as net_face.pth")
    parser.add_argument("--relevance", help="StyleCLIP's, such as fs3.npy")
    parser.add_argument("--encoder", help="e4e's .pt")
    parser.add_argument(
        "--clip", help="of open_clip, such as ViT-B-32:openai or ViT-B-32:FILE; or a .safetensors of ours"
    )
    parser.add_argument("--name", help="of the domain; the folder's by default")
    parser.add_argument("--neutral", help="prompt of a picture of which nothing is known; 'face' by default")
    arguments = vars(parser.parse_args(argv))
    folder = arguments.pop("folder")
    said = {key: value for key in ("name", "neutral") if (value := arguments.pop(key))}
    try:
        if said:
            here = (folder / CARD).exists()
            arguments["domain"] = replace(Domain.read(folder) if here else Domain(folder.resolve().name), **said)
        convert(folder, **arguments)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(str(error))
    if lacks := [part for part in (CLIP, MAPPER) if not (folder / part).exists()]:
        more = "convert takes --clip ViT-B-32:openai, and a mapper can be trained"
        print(f"{folder} is no editor yet, it lacks {' and '.join(lacks)}: {more}.")


if __name__ == "__main__":
    main()
