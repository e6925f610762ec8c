"""The CLIP features that DeltaEdit's authors published: where they come from, and how to get at them.

They belong to a repository without a licence, so nothing of them ships with this library: they are read from
``$DELTAEDIT_DATA``, or downloaded from the authors where that is asked for.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deltaedit.remote import RemoteFile, fetch, kept

SOURCE = "https://raw.githubusercontent.com/Yueming6568/DeltaEdit/dd6c27c115d0136c6eb606912dbf63d15f9104bd/tSNE"
SHA256 = {
    "celeba/cspace_celeba_i.npy": "7a60b8737d34a9b447f2707bcd528432ca1d126657f93f43216b983f89140a3c",
    "celeba/cspace_celeba_t.npy": "3ee36d4cd49ad699d4eec6df1e3b8a3fffa1cadcfdc1255612ab08aa9b41d27b",
    "celeba/cspace_celeba_deltai.npy": "97926c0b8e04ac7dec5bc36c499580c53528c18f1b8c94003ee39e8c4c7aebb5",
    "celeba/cspace_celeba_deltat.npy": "3221a3435c4a3a593f4a7bd8158f3dea322a12544778f4aadba989ae69f98f4d",
    "cocoval/cspace_cocoval_i.npy": "7c4b4f361c833514d36bf6ec10a7498f706fc5372e5315170646a44ca3d68eb2",
    "cocoval/cspace_cocoval_t.npy": "d46ede4b0b657d8ab7b9759d3be6f86f555c36c4ff66a5bd8ec67975d3442eeb",
    "cocoval/cspace_cocoval_deltai.npy": "2b9784cc4d89c3794a9bfeb27919181a83bfee80ff39f2e3f17bf96b7046bc52",
    "cocoval/cspace_cocoval_deltat.npy": "ea34342ca5e8fe2e76bd145e3e0a6e28f399e9ce629d28ff02a2942a92f7dfdf",
}
NAMES = {"celeba": "celeba", "coco": "cocoval"}


@dataclass(frozen=True)
class OfficialFeatures:
    """CLIP ViT-B/32 features of 1500 captioned photographs and of differences between them, each (1500, 512) float32.

    Row k of ``image`` belongs to row k of ``text``, and row k of ``delta_image`` to row k of ``delta_text``; which
    pictures the differences were taken between is not published.
    """

    image: np.ndarray
    text: np.ndarray
    delta_image: np.ndarray
    delta_text: np.ndarray


def load_official(name: str, download: bool = False, cache: str | Path | None = None) -> OfficialFeatures:
    """The authors' features of "celeba" (Multi-Modal CelebA-HQ) or "coco" (COCO validation).

    With ``download``, what ``$DELTAEDIT_DATA`` and the cache (``remote.cache_folder``) do not hold is fetched, 12 MB.

    Raises:
        ValueError: for another name, or an array that is damaged, of another shape, or not what its authors published.
        FileNotFoundError: when the features are not here and were not, or could not be, downloaded.
    """
    if name not in NAMES:
        raise ValueError(f"the authors published features of {' and '.join(NAMES)}, got {name!r}.")
    stem = f"{NAMES[name]}/cspace_{NAMES[name]}_"
    files = [f"{stem}{part}.npy" for part in ("i", "t", "deltai", "deltat")]
    here = {file: _find(file) for file in files}
    lacks = [file for file in files if here[file] is None]
    rest = {file: RemoteFile(f"official/{file}", f"{SOURCE}/{file}", f"sha256:{SHA256[file]}") for file in lacks}
    if not download and not all(kept(remote, cache) for remote in rest.values()):
        raise FileNotFoundError(f"the authors' features of {name} are not here: set DELTAEDIT_DATA, or download=True.")
    here |= {file: fetch(remote, download, cache) for file, remote in rest.items()}
    return OfficialFeatures(*(_read(here[file]) for file in files))


def _find(file: str) -> Path | None:
    """Where a file lies in ``$DELTAEDIT_DATA``, in one of our layouts or in a clone of the authors' repository."""
    own = os.environ.get("DELTAEDIT_DATA")
    folders = [Path(own), Path(own, "deltaedit-official"), Path(own, "tSNE")] if own else []
    return next((folder / file for folder in folders if (folder / file).is_file()), None)


def _read(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged ({error}): fetch it again.") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ValueError(f"{path} must hold numbers of shape (N, D), got {array.dtype} of shape {array.shape}.")
    return array
