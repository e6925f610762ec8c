"""NVIDIA's pickles for TensorFlow: StyleGAN1, and StyleGAN2 before it was published for PyTorch. They are not read."""

from __future__ import annotations

from pathlib import Path

from deltaedit.untrusted.pickles import RefusedError

FOR_PYTORCH = {
    "metfaces": "stylegan2-metfaces-1024x1024.pkl",
    "celebahq": "stylegan2-celebahq-256x256.pkl",
    "afhqcat": "stylegan2-afhqcat-512x512.pkl",
    "afhqdog": "stylegan2-afhqdog-512x512.pkl",
    "afhqwild": "stylegan2-afhqwild-512x512.pkl",
    "ffhq": "stylegan2-ffhq-1024x1024.pkl",
    **{name: f"stylegan2-{name}-config-f.pt" for name in ("church", "horse", "car", "cat")},
}
"""From a word in the name of a pickle to the file that holds a StyleGAN2 of the same pictures for PyTorch: NVIDIA's
``.pkl`` where there is one, else the ``.pt`` in rosinality's layout."""


HEAD = 1 << 24  # bytes, in which the first network says what it is


class TensorFlowError(RefusedError):
    """The file is a TensorFlow pickle."""


def refuse(name: str) -> None:
    """Raise TensorFlowError if a pickle that asks for this class is one."""
    if name.startswith("dnnlib.tflib"):
        raise TensorFlowError("is a TensorFlow pickle")


def advice(path: str | Path) -> str:
    """What such a file is, and which to use in its place, as the rest of a sentence that begins with its name."""
    with Path(path).open("rb") as file:
        content = file.read(HEAD)
    name = Path(path).name
    kind = "StyleGAN1" if b"G_style" in content and b"stylegan2" not in content else "StyleGAN2"
    others = [other for word, other in FOR_PYTORCH.items() if word in name.lower()]
    instead = others[0] if others else "a .pkl of it that stylegan2-ada-pytorch's legacy.py wrote (of StyleGAN2 only)"
    return f"is a TensorFlow pickle of {kind}, which is not read here: use {instead} instead."
