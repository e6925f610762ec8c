"""What is measured in faces, not looked at: expression and pose by Google's face landmarker, colours by pixels.

    python -m deltaedit.worlds.faces.measured runs/faces/pool

measures the shards of a pool that were not yet. That takes mediapipe, which nothing else of this library needs: 1.2.3,
or 0.10.21 with an older numpy.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.files import write_tensors
from deltaedit.parameters import refuse
from deltaedit.remote import RemoteFile, fetch
from deltaedit.worlds.faces.colours import hsv, lab
from deltaedit.worlds.faces.pool import FacePool

LANDMARKER = RemoteFile(
    "faces/face_landmarker.task",
    "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
    "sha256:64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    3_758_596,
    "Apache 2.0",
)
NEEDS = "mediapipe is not installed, which measures expression and pose"
POINTS = 478
SHAPES = (
    *("_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff"),
    *("cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight"),
    *("eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel"),
    *("mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker"),
    *("mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft"),
    *("mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    *("noseSneerLeft", "noseSneerRight"),
)
"""The blendshapes, in the landmarker's order."""
SIDE = 128  # pixels of a picture whose colours are measured
CHEEKS = (50, 280, 205, 425, 151)  # landmarks on bare skin: cheeks and forehead
EARS, HEIGHT = (234, 454), (10, 152)  # and those that width and height of a face lie between
FORWARD = 22.0  # degrees; what is turned farther shows too little of lids, brows and lips

Measure = Callable[[Tensor], dict[str, Tensor]]


def landmarker(download: bool = False, cache: str | Path | None = None) -> Measure:
    """Measures one picture as bytes (3, H, W): "shapes" (52,), "points" (478, 3), "matrix" (4, 4); nan without a face.

    Raises ``ImportError`` where mediapipe, ``FileNotFoundError`` where its model is missing.
    """
    try:
        mediapipe, vision = import_module("mediapipe"), import_module("mediapipe.tasks.python.vision")
        options = import_module("mediapipe.tasks.python").BaseOptions
    except ImportError:
        raise ImportError(f"{NEEDS}: pip install mediapipe==1.2.3.") from None
    options = vision.FaceLandmarkerOptions(
        base_options=options(model_asset_path=str(fetch(LANDMARKER, download, cache))),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
        num_faces=1,
        min_face_detection_confidence=0.2,
        min_face_presence_confidence=0.2,
    )
    model = vision.FaceLandmarker.create_from_options(options)

    def measure(picture: Tensor) -> dict[str, Tensor]:
        pixels = picture.permute(1, 2, 0).contiguous().numpy()
        found = model.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels))
        if not found.face_landmarks:
            return {
                "shapes": torch.full((len(SHAPES),), torch.nan),
                "points": torch.full((POINTS, 3), torch.nan),
                "matrix": torch.full((4, 4), torch.nan),
            }
        return {
            "shapes": torch.tensor([shape.score for shape in found.face_blendshapes[0]]),
            "points": torch.tensor([(point.x, point.y, point.z) for point in found.face_landmarks[0]]),
            "matrix": torch.from_numpy(found.facial_transformation_matrixes[0]).float(),
        }

    return measure


def measure_pool(pool: FacePool, make: Callable[[], Measure] = landmarker) -> None:
    """Measure those shards of a pool that were not yet, a file each; ``make`` is called only if there are such.

    A shard that is drawn later is measured by the next call.
    """
    todo = [k for k in range(pool.shards) if not pool.path(k, "measured").exists()]
    measure = make() if todo else None
    for k in todo:
        rows = [measure(picture) for picture in tqdm(pool.read(k, "picture"), desc=f"measuring shard {k}", unit="face")]
        found = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        found["points"] = found["points"].half()
        write_tensors(pool.path(k, "measured"), found, {"kind": "measured", "by": LANDMARKER.checksum})


def soft(value: Tensor, low: float, high: float) -> Tensor:
    """0 up to ``low``, 1 from ``high`` on, straight between them; what is unknown stays so.

    >>> soft(torch.tensor([1.0, 3.0, 9.0]), 2, 4)
    tensor([0.0000, 0.5000, 1.0000])
    """
    return ((value - low) / (high - low)).clamp(0, 1)


def where(condition: Tensor, value: Tensor) -> Tensor:
    """``value`` where the condition holds, else unknown."""
    return value.masked_fill(~condition, torch.nan)


def measures(found: dict[str, Tensor], picture: Tensor) -> dict[str, Tensor]:
    """Plain numbers, (n,) each, of what ``measure_pool`` found and of pictures as bytes (n, 3, 128, 128).

    In degrees "yaw" to the right and "pitch" down; "blink", "brows", "frown" and "pucker" of blendshapes; "ratio" of a
    face's width to its height; "skin" (lightness) and "chroma" of bare skin; "face", lightness of the middle of the
    picture; "bright", "dark", "green" and "blue", shares of its upper corners. Unknown is nan.
    """
    shape = dict(zip(SHAPES, found["shapes"].unbind(1), strict=True))
    turn, points = found["matrix"][:, :3, :3], found["points"][..., :2].float()
    yaw = torch.atan2(turn[:, 0, 2], turn[:, 2, 2]).rad2deg()
    pitch = turn[:, 1, 2].neg().clamp(-1, 1).asin().rad2deg()
    width, height = ((points[:, a] - points[:, b]).norm(dim=1) for a, b in (EARS, HEIGHT))

    image = picture.float() / 127.5 - 1
    around = torch.arange(-3, 4)
    place = (points[:, list(CHEEKS)].nan_to_num() * SIDE).long()
    x, y = (place[..., axis, None] + around for axis in (0, 1))  # (n, 5, 7) each
    x, y = x.clamp(0, SIDE - 1)[:, :, None, :], y.clamp(0, SIDE - 1)[..., None]
    rows = torch.arange(len(image))[:, None, None, None]
    skin = lab(image[rows, :, y, x].flatten(1, 3).mT[..., None]).median(2).values[..., 0]  # (n, 3)
    skin = where(~points[:, :1, 0].isnan(), skin)

    corners = torch.cat([image[:, :, :44, :18], image[:, :, :44, -18:]], dim=3)
    hue, saturation, value = hsv(corners).flatten(2).unbind(1)
    green = (hue > 65) & (hue < 165) & (saturation > 0.2) & (value > 0.15)
    blue = (hue > 185) & (hue < 260) & (saturation > 0.22) & (value > 0.2)
    shares = {"bright": value > 0.75, "dark": value < 0.25, "green": green, "blue": blue}
    return {
        "yaw": yaw,
        "pitch": pitch,
        "blink": (shape["eyeBlinkLeft"] + shape["eyeBlinkRight"]) / 2,
        "brows": shape["browOuterUpLeft"] + shape["browOuterUpRight"] + shape["browInnerUp"],
        "frown": (shape["browDownLeft"] + shape["browDownRight"]) / 2,
        "pucker": shape["mouthPucker"],
        "ratio": where(yaw.abs() < 13, width / height),
        "skin": skin[:, 0],
        "chroma": skin[:, 1:].norm(dim=1),
        "face": lab(image[:, :, 40:104, 36:92])[:, 0].mean((1, 2)),
        **{name: share.float().mean(1) for name, share in shares.items()},
    }


def soft_labels(p: dict[str, Tensor], m: dict[str, Tensor]) -> dict[str, Tensor]:
    """All attributes, (n,) each, probabilities or nan: by what ``Spread`` says and what ``measures`` gave of n faces.

    What hides something makes it unknown: hats hair, sunglasses eyes, a turned head its lids and brows. Where nothing
    says what is much or little, the faces' own distribution does: n must be many.
    """
    out = dict(p)
    bald, hidden = p["bald"] > 0.6, p["hat"] > 0.7
    for name in [name for name in out if name.endswith("_hair")]:
        out[name] = where(~bald, out[name])
        if name != "long_hair":
            out[name] = where(~hidden | (out[name] > 0.85), out[name])
    out["bangs"] = p["bangs"].masked_fill(bald, 0.0)
    out["glasses"] = where(p["sunglasses"] <= 0.5, p["glasses"])
    out["middle_aged"] = (1 - p["child"] - p["young"] - p["old"]).clamp(0, 1)
    out["woman"] = 1 - p["man"]

    forward = m["yaw"].abs() < FORWARD
    seen = forward & (p["sunglasses"] < 0.4)
    closed = soft(where(seen, m["blink"]), 0.22, 0.42) * (p["squint"] >= 0.2)
    out["closed_eyes"] = closed
    out["squint"] = where((p["sunglasses"] <= 0.4) & ~(closed > 0.6), p["squint"])
    out["raised_brows"] = soft(where(seen, m["brows"]), 0.25, 1.3)
    out["frown"] = soft(where(seen, m["frown"]), 0.12, 0.62)
    out["pucker"] = soft(where(forward, m["pucker"]), 0.02, 0.4) * (p["smile"] <= 0.6)
    out["turned_right"], out["turned_left"] = soft(m["yaw"], 5, 17), soft(-m["yaw"], 5, 17)
    out["looking_down"], out["looking_up"] = soft(m["pitch"], 3, 14), soft(-m["pitch"], 3, 14)
    for name in ("bright", "dark"):
        out[f"{name}_background"] = soft(m[name], 0.25, 0.75)
    for name in ("green", "blue"):
        out[f"{name}_background"] = soft(m[name], 0.15, 0.55)

    def much(value: Tensor, low: float, high: float) -> Tensor:
        return soft(value, *value.nanquantile(value.new_tensor([low, high])).tolist())

    out["pale_skin"], out["dark_skin"] = much(m["skin"], 0.60, 0.86), much(-m["skin"], 0.68, 0.92)
    out["tanned_skin"] = where(out["dark_skin"] <= 0.8, much(m["chroma"], 0.60, 0.88))
    out["round_face"], out["thin_face"] = much(m["ratio"], 0.60, 0.88), much(-m["ratio"], 0.60, 0.88)
    out["bright_light"], out["dim_light"] = much(m["face"], 0.65, 0.90), much(-m["face"], 0.65, 0.90)
    return out


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deltaedit.worlds.faces.measured", description="Measures a pool.")
    parser.add_argument("pool", type=Path, help="folder of the pool")
    parser.add_argument("--download", action="store_true", help="get the landmarker, where it is not here yet")
    arguments = parser.parse_args(argv)
    try:
        measure_pool(FacePool.open(arguments.pool), lambda: landmarker(arguments.download))
    except (ImportError, OSError, ValueError) as error:
        refuse(error)


if __name__ == "__main__":
    main()
