"""From files of others to a domain folder of ours, so that each of them is opened once.

``python -m deltaedit.convert my-faces --generator ffhq.pkl --mapper net_face.pth --clip ViT-B-32:openai``, for example.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from deltaedit import checkpoints
from deltaedit.domain import CARD, CLIP, ENCODER, GENERATOR, MAPPER, RELEASED, RELEVANCE, Domain, check_fit, save_parts
from deltaedit.files import read_tensors
from deltaedit.mobilestylegan import MobileStyleGAN, fit_preview
from deltaedit.parameters import refuse

if TYPE_CHECKING:
    from deltaedit.clip import ClipEncoder

SHOWN = {
    "ffhq": ("face", True),
    "celeb": ("face", True),
    "metfaces": ("face", True),
    "net_face": ("face", True),  # DeltaEdit's own mapper
    "church": ("church", False),
    "horse": ("horse", False),
    "car": ("car", False),
    "cat": ("cat", False),
    "dog": ("dog", False),
    "afhqwild": ("wild animal", False),
}
"""Neutral word, and whether it is faces aligned as FFHQ's, by what published data and files are called."""
NAMED = re.compile(rf"(?<![a-z])(?:afhq|lsun)?({'|'.join(SHOWN)})(?:s|a|ahq)?(?![a-z])")


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
) -> Domain:
    """Read the parts of a domain from files of any format that ``checkpoints`` knows, and write them to a folder.

    Parts that the folder has and that are not given stay; all are checked against each other before anything is
    written. ``Editor.from_pretrained`` takes the folder once it has a generator, a CLIP and a mapper. Returns the card.

    Args:
        clip: a name of open_clip's and the tag of its published weights, such as "ViT-B-32:openai" (the weights are not
            copied, but may be downloaded); a file of weights in place of the tag, such as "ViT-B-32:ViT-B-32.pt"; or a
            file that ``ClipEncoder.save`` wrote.
        domain: name, neutral prompt and defaults; by default what the folder has, or ``card_of`` the files. With a
            mapper in the format of DeltaEdit's released one, what that needs (``domain.RELEASED``) is set in any case.
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
        domain, _ = card_of(folder, encoder, generator, mapper)
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
    return domain


def card_of(folder: str | Path, *files: str | Path | None) -> tuple[Domain, dict[str, str]]:
    """The card for a domain of some checkpoints, and in some words why ``neutral`` and ``align`` are what they are.

    What a file says that it was trained on counts more than what it is called. A card that the folder has stays, but
    photos are aligned once a file says that it is of faces that were. Errors are those of ``checkpoints.trained_on``.
    """
    folder, given = Path(folder), [Path(file) for file in files if file is not None]
    there = Domain.read(folder) if (folder / CARD).exists() else None
    stated = [word for file in given if (word := checkpoints.trained_on(file))]
    for word in (*stated, *(file.stem for file in given if there is None)):
        if match := NAMED.search(word.lower()):
            neutral, align = SHOWN[match[1]]
            said = {"neutral": f"as {word!r} says", "align": f"as {word!r} says"}
            if there is None:
                return Domain(folder.resolve().name, neutral, align=align), said
            if align and not there.align:
                return replace(there, align=True), said | {"neutral": "as it was"}
    why = "as it was" if there else "as no file says what it shows"
    return there or Domain(folder.resolve().name), {"neutral": why, "align": why}


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
    parser.add_argument("--neutral", help="prompt of a picture of which nothing is known, such as 'cat'")
    parser.add_argument(
        "--align", action=argparse.BooleanOptionalAction, help="cut faces out of photos as FFHQ's are, or leave them"
    )
    arguments = vars(parser.parse_args(argv))
    folder = arguments.pop("folder")
    said = {key: value for key in ("name", "neutral", "align") if (value := arguments.pop(key)) is not None}
    try:
        card, why = card_of(folder, *(arguments[part] for part in ("encoder", "generator", "mapper")))
        card = convert(folder, **arguments, domain=replace(card, **said))
    except (ValueError, OSError, ImportError) as error:
        refuse(error, status=1)  # what it is given is files
    why |= dict.fromkeys(said, "as told")
    about = f"neutral prompt {card.neutral!r} ({why['neutral']}) and align {str(card.align).lower()} ({why['align']})"
    print(f"{folder / CARD} has {about}: --neutral, and --align or --no-align, change that.")
    if lacks := [part for part in (CLIP, MAPPER) if not (folder / part).exists()]:
        more = "convert takes --clip ViT-B-32:openai, and a mapper can be trained"
        print(f"{folder} is no editor yet, it lacks {' and '.join(lacks)}: {more}.")


if __name__ == "__main__":
    main()
