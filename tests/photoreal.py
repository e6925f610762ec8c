"""What faces cost on a processor, and how near their previews are: a section of ``make bench``.

They are raced against the textbook's form, and against OpenVINO, for which they were published, where that is
installed (``pip install openvino``); of it too the fastest precision counts, and that of each form of ours.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import large
import textbook
import torch
from torch import Tensor

from deltaedit import domains
from deltaedit.checkpoints.mobile import SYNTHESIS
from deltaedit.devices import drawing_dtype
from deltaedit.domain import GENERATOR
from deltaedit.download import MOBILESTYLEGAN
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.packages import take_out
from deltaedit.pictures import resize
from deltaedit.style_space import sample_w


def generator() -> MobileStyleGAN | None:
    """The faces' own, where it is in the cache."""
    try:
        path = domains.locate(domains.find("faces"), GENERATOR)
    except FileNotFoundError as error:
        print(f"\nFaces were not measured: {error}")
        return None
    return MobileStyleGAN.load(path).requires_grad_(False)


def openvino(w: Tensor, folder: Path) -> dict[str, Callable[[], object]]:
    """One picture of ``w`` by the graph in a folder, in float32, and in bfloat16 where the processor has it."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(folder / SYNTHESIS)
    forms = {}
    for dtype, hint in {torch.float32: "f32", drawing_dtype(1024, "cpu"): "bf16"}.items():
        options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        options["INFERENCE_PRECISION_HINT"] = "f32" if dtype == torch.float32 else hint
        request = core.compile_model(graph, "CPU", options).create_infer_request()
        forms[f"OpenVINO, {dtype}"] = lambda request=request: request.infer({0: w.numpy()})
    return forms


def psnr(picture: Tensor, wanted: Tensor) -> float:
    """Decibels, of pictures as they are shown."""
    error = (picture.clamp(-1, 1) - wanted.clamp(-1, 1)).square().mean((1, 2, 3)) / 4
    return float(-10 * error.log10().mean())


@torch.inference_mode()
def speed(faces: MobileStyleGAN, rounds: int, graphs: Path | None = None) -> dict[str, float]:
    """Seconds of one picture from s, or from w for OpenVINO, which has no other way; all forms take turns."""
    w = sample_w(faces, 1)
    s, half = faces.styles(w), drawing_dtype(faces.resolution, "cpu")
    names = {f"preview of {size} px": size for size in faces.config.previews}
    forms = {
        "textbook": lambda: textbook.mobile(faces, s),
        f"ours, {torch.float32}": lambda: faces.synthesize(s),
        f"ours, {half}": lambda: faces.synthesize(s, dtype=half),
        **{name: lambda size=size: faces.preview(s, size, dtype=half) for name, size in names.items()},
        **(openvino(w, graphs) if graphs else {}),
    }
    spent = large.race(forms, rounds)
    found = {f"face, {name.replace('torch.', '')} (s)": value for name, value in spent.items()}
    for name in names:
        found[f"{name}, of the textbook's time (%)"] = 100 * spent[name] / spent["textbook"]
    if graphs:
        for dtype in {torch.float32: 0, half: 0}:
            share = spent[f"ours, {dtype}"] / spent[f"OpenVINO, {dtype}"]
            found[f"face, {str(dtype)[6:]}, of OpenVINO's time (%)"] = 100 * share
    return found


@torch.inference_mode()
def likeness(faces: MobileStyleGAN, n: int) -> dict[str, float]:
    """Previews, and pictures in half precision, beside those in float32; of faces that no preview was fitted to."""
    half = drawing_dtype(faces.resolution, "cpu")
    w = faces.w_avg.lerp(sample_w(faces, n, seed=1), 0.8)
    styles = faces.styles(w).split(1)
    whole = torch.cat([faces.synthesize(s) for s in styles])
    found = {
        "face, PSNR in half precision (dB)": psnr(torch.cat([faces.synthesize(s, dtype=half) for s in styles]), whole)
    }
    for size in faces.config.previews:
        seen = torch.cat([faces.preview(s, size, dtype=half) for s in styles])
        found[f"preview of {size} px, PSNR (dB)"] = psnr(seen, resize(whole, size))
    return found


def measure(faces: MobileStyleGAN, rounds: int = 9, n: int = 8) -> dict[str, float]:
    """Everything, in half a minute on two cores."""
    found = likeness(faces, n)
    if not find_spec("openvino"):
        print("\nOpenVINO is not installed: faces are raced against the textbook's form alone.")
        return found | speed(faces, rounds)
    with tempfile.TemporaryDirectory() as place:
        path = domains.locate(domains.find("faces"), GENERATOR)
        take_out(MOBILESTYLEGAN, Path(place), path.parent)
        return found | speed(faces, rounds, Path(place))
