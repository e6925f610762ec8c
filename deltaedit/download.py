"""What others have published for this method: where it is, under which licence, and what is left to be trained.

``python -m deltaedit.download`` lists it, ``python -m deltaedit.download ffhq`` fetches some of it.

Checksums are those that a publisher gives, or those of public copies of a file. NVIDIA released its LSUN networks for
TensorFlow only: those named here were converted by others, for PyTorch.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltaedit.convert import convert
from deltaedit.domain import CARD, CLIP, ENCODER, GENERATOR, MAPPER, RELEVANCE, Domain
from deltaedit.faces import YUNET
from deltaedit.remote import RemoteFile, cache_folder, fetch

NC = "NVIDIA Source Code License, no commercial use"
ADA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/"
NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files/"
LSUN = "https://huggingface.co/aaronb/StyleGAN2/resolve/5fde0cdb3664b04e8126dc6b0cab010e7813c18b/"
E4E = "https://huggingface.co/public-data/e4e/resolve/fdd18714fc6b639487adbd901f16f67eb24ba786/"
STYLECLIP = "https://raw.githubusercontent.com/orpatashnik/StyleCLIP/f87a47f7fc39e19a1f6c88293875692b303bf168/"

OPENAI = RemoteFile(
    "clip/open_clip_model.safetensors",
    "https://huggingface.co/timm/vit_base_patch32_clip_224.openai/resolve/ab5b8ef490e86faa07d3523926b842c765de1de5/"
    "open_clip_model.safetensors",
    size=605_000_000,
    licence="MIT",
)  # CLIP's ViT-B/32, from where open_clip takes it


@dataclass(frozen=True)
class Published:
    """A domain of which others publish the generator.

    Attributes:
        card: neutral word and defaults.
        resolution: of the generator, in pixels.
        generator: a file that ``checkpoints.load_generator`` reads.
        mapper: the same for ``load_mapper``; None where none is released and one must be trained.
        relevance: the same for ``load_relevance``; None where it must be estimated, or left out.
        encoder: the same for ``load_encoder``; without it ``Editor.invert`` takes its time.
        clip: name in open_clip's registry of the model whose features the mapper takes, or is to take.
        clip_weights: of that model.
    """

    card: Domain
    resolution: int
    generator: RemoteFile
    mapper: RemoteFile | None = None
    relevance: RemoteFile | None = None
    encoder: RemoteFile | None = None
    clip: str = "ViT-B-32-quickgelu"
    clip_weights: RemoteFile = OPENAI


def _drive(name: str, identity: str, **about: Any) -> RemoteFile:
    """A file on Google Drive, which without ``confirm`` answers with a page that asks whether one is sure."""
    url = f"https://drive.usercontent.google.com/download?id={identity}&export=download&confirm=t"
    return RemoteFile(name, url, **about, page=f"https://drive.google.com/file/d/{identity}/view")


def _nvidia(name: str, url: str, size: int, sha256: str | None = None) -> RemoteFile:
    return RemoteFile(f"{name}/{url.rpartition('/')[2]}", url, sha256 and f"sha256:{sha256}", size, NC)


def _lsun(name: str, word: str, size: int, sha256: str) -> RemoteFile:
    return _nvidia(name, f"{LSUN}stylegan2-{word}-config-f.pt", size, sha256)


def _e4e(name: str, word: str, size: int, sha256: str) -> RemoteFile:
    return RemoteFile(f"{name}/e4e_{word}_encode.pt", f"{E4E}e4e_{word}_encode.pt", f"sha256:{sha256}", size, "MIT")


_ALL = (
    Published(
        Domain("ffhq", "face", align=True),
        1024,
        _drive(
            "ffhq/stylegan2-ffhq-config-f.pt",
            "1EM87UquaoQmk17Q8d5kYIAHqu0dkYqdT",
            size=381_462_551,
            licence=NC,
            checksum="sha256:bae494ef77e32a9cd1792a81a3c167692a0e64f6bcd8b06592ff42917e2ed46e",
        ),
        _drive(
            "ffhq/net_face.pth",
            "1Mb2WiELoVDPDIi24tIfoWsjn1l2xTjtZ",
            size=331_066_573,
            checksum="sha256:f71dc9c1e1dfc29409a80d0f8c35c11f80ab503c79e43fb7e73f7ba3c27a75e2",
        ),
        RemoteFile(
            "ffhq/fs3.npy",
            f"{STYLECLIP}global_directions/npy/ffhq/fs3.npy",
            "git:ef9dc0a49a4e2ffe1c81b8632baab6e3a4466726",
            6_193_280,
            "MIT",
        ),
        _e4e("ffhq", "ffhq", 1_201_649_680, "2ace1d9a8c05c10a399bcd500b8dda118f759ff1aac89dbdab7435f2136a0999"),
    ),
    Published(
        Domain("ffhq512", "face", align=True),
        512,
        _nvidia(
            "ffhq512",
            f"{NGC}stylegan2-ffhq-512x512.pkl",
            364_000_000,
            "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
        ),
    ),
    Published(
        Domain("ffhq256", "face", align=True),
        256,
        _nvidia("ffhq256", f"{NGC}stylegan2-ffhq-256x256.pkl", 0),
    ),
    Published(
        Domain("metfaces", "face", align=True),
        1024,
        _nvidia(
            "metfaces",
            f"{ADA}metfaces.pkl",
            382_000_000,
            "880a460d011a3696c088f58f5844b44271b17903963f2671f96f72dfbce5f76f",
        ),
    ),
    # StyleCLIP's relevance of afhqcat and afhqdog is of the TensorFlow networks, and its script stops at 128 px.
    Published(
        Domain("afhqcat", "cat"),
        512,
        _nvidia(
            "afhqcat",
            f"{NGC}stylegan2-afhqcat-512x512.pkl",
            364_000_000,
            "17a83abee464242f8bb40dc6363d33c2fb087066b68fc0147677fdbf21f7a7a9",
        ),
    ),
    Published(
        Domain("afhqdog", "dog"),
        512,
        _nvidia(
            "afhqdog",
            f"{ADA}afhqdog.pkl",
            364_000_000,
            "f124ff3f23206052473a7212cbc1f4e095a73c231500411e9c3b81a11eac3662",
        ),
    ),
    Published(Domain("afhqwild", "wild animal"), 512, _nvidia("afhqwild", f"{ADA}afhqwild.pkl", 364_000_000)),
    Published(
        Domain("lsuncat", "cat"),
        256,
        _lsun("lsuncat", "cat", 120_878_283, "ff1036877c8964ba7c9e84316e67ea26bea64bbfcf6bd6c645f45589d248727f"),
    ),
    Published(
        Domain("lsunchurch", "church"),
        256,
        _lsun("lsunchurch", "church", 120_878_283, "596f59f0ab72d3d5e821846dbf53fff0406c0103ff4fa46ae0a2508d80b3a2d0"),
        encoder=_e4e(
            "lsunchurch", "church", 959_033_364, "590f00e84b6461ba05467f7b0c705972f0ed729f4e399d3e21bfdb1b781e1c93"
        ),
    ),
    Published(
        Domain("lsunhorse", "horse"),
        256,
        _lsun("lsunhorse", "horse", 120_878_283, "894bc6a08a6bbe4c22bf91195dd4fdd4ee7f6859e06ce3517e7b3bfa9a8b2565"),
        encoder=_e4e(
            "lsunhorse", "horse", 959_033_364, "bfcd7ac19571fab277d933d3133a1249d89f49ba948cfcc399ea271201f5c95f"
        ),
    ),
    Published(
        Domain("lsuncar", "car"),
        512,
        _lsun("lsuncar", "car", 123_949_595, "c69f161fd576801027cbaa8b09142b5dd9f508034b2d0f4a2a0cdcbc1d587c9c"),
        encoder=_e4e(
            "lsuncar", "cars", 1_077_493_298, "f1743d4a9fe701643916062d7c40a4ec3d5daaa153de1ef941285d3ed3758330"
        ),
    ),
)
PUBLISHED: dict[str, Published] = {entry.card.name: entry for entry in _ALL}
"""The domains that others publish, by name."""


def prepare(name: str, download: bool = False, cache: str | Path | None = None) -> Path:
    """Folder of a published domain in our own format, made from its files where that is not done yet.

    What is converted is not read again: the published files may then be deleted.

    Args:
        name: one of ``PUBLISHED``.
        download: get what is missing; otherwise the encoder may be missing.
        cache: see ``remote.cache_folder``.

    Raises:
        ValueError: if there is no such domain, or a file is not what it should be.
        FileNotFoundError: if files are missing; it says, in one sentence, which to put where.
        OSError: if there is no space left.
    """
    if name not in PUBLISHED:
        raise ValueError(f"nobody publishes a domain {name!r}: choose one of {', '.join(PUBLISHED)}.")
    entry, cache = PUBLISHED[name], cache_folder(cache)
    folder = cache / name
    todo = {target: file for target, file in _parts(entry).items() if not (folder / target).exists()}
    missing = {target: file for target, file in todo.items() if not (cache / file.name).is_file()}
    if not download:
        if wanted := [str(file) for target, file in missing.items() if target != ENCODER]:
            raise FileNotFoundError(
                f"{name} is not on this machine: say download=True, run "
                f"«python -m deltaedit.download {name}», or put {', '.join(wanted)} "
                f"below {cache}."
            )
        todo = {target: file for target, file in todo.items() if target not in missing}
    paths = {target: fetch(file, download, cache) for target, file in todo.items()}
    if paths:
        given = {Path(target).stem: path for target, path in paths.items()}
        if "clip" in given:
            given["clip"] = f"{entry.clip}:{given['clip']}"
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
    parts = {
        GENERATOR: entry.generator,
        CLIP: entry.clip_weights,
        MAPPER: entry.mapper,
        RELEVANCE: entry.relevance,
        ENCODER: entry.encoder,
    }
    return {target: file for target, file in parts.items() if file is not None}


def main(arguments: list[str] | None = None) -> None:
    """``python -m deltaedit.download``: list what is published, or fetch some of it."""
    parser = argparse.ArgumentParser(prog="python -m deltaedit.download", description="Fetch what others publish.")
    parser.add_argument("names", nargs="*", help="domains, such as ffhq, or faces; without any, all are listed")
    parser.add_argument("--cache", help="where to keep the files, instead of $DELTAEDIT_CACHE or ~/.cache/deltaedit")
    options = parser.parse_args(arguments)
    if not options.names:
        print("\n".join(describe(name) for name in PUBLISHED))
        print(f"faces: a network that finds faces, to align pictures by ({YUNET.licence})")
    try:
        for name in options.names:
            if name == "faces":
                print(f"faces: in {fetch(YUNET, True, options.cache)}")
                continue
            folder = prepare(name, download=True, cache=options.cache)
            print(f"{describe(name)}: in {folder}")
    except (OSError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
