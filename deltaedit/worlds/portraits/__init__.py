"""Portraits: the counterpart of FFHQ."""

from __future__ import annotations

from torch import Tensor

from deltaedit.worlds.portraits.painter import PALETTE, PARTS, Portrait
from deltaedit.worlds.table import EYE_SIZES, THIRDS, UNIFORM, YAW, Binary, Scale, Table, colored, words
from deltaedit.worlds.world import Examples, World, asked

ATTRIBUTES = (
    Scale(
        "smile",
        ((0.42, 0.6, 1.0), (0.26, -0.12, 0.12), (0.32, -1.0, -0.6)),
        words("frowning, sad, unhappy, gloomy"),
        words("smiling, happy, cheerful, smiley"),
        ends=(-0.35, 0.35),
    ),
    Binary(
        "open_mouth", 0.35, words("an open mouth, mouth open, a wide open mouth"), words("a closed mouth, closed lips")
    ),
    Binary("glasses", 0.35, words("glasses, eyeglasses, spectacles"), words("no glasses, no eyewear")),
    Binary("sunglasses", 0.16, words("sunglasses, dark glasses, shades")),
    Binary("beard", 0.3, words("a beard, a full beard, a bearded chin"), words("no beard, a shaved chin")),
    Binary("moustache", 0.27, words("a moustache, a mustache"), words("no moustache, no mustache")),
    colored(
        "hair_color",
        PALETTE["hair_color"],
        "{} hair",
        black="dark",
        blond="blonde, golden",
        red="ginger, orange",
        grey="gray, white, silver",
        brown="chestnut",
        blue="dyed blue",
    ),
    Binary("long_hair", 0.45, words("long hair, hair down to the shoulders"), words("short hair, a short haircut")),
    Binary("curly_hair", 0.4, words("curly hair, curls, wavy hair"), words("straight hair, smooth hair")),
    Binary("bangs", 0.38, words("bangs, a fringe"), words("no bangs, no fringe, a bare forehead")),
    Binary("bald", 0.15, words("bald, hairless, bald headed"), words("hair"), "adjective"),
    Binary("hat", 0.27, words("a hat, a cap, a beanie"), words("no hat, nothing on the head, a bare head")),
    Scale("age", THIRDS, words("young, youthful"), words("old, elderly, aged, wrinkled")),
    Scale(
        "skin",
        ((0.36, 0.0, 0.15), (0.28, 0.4, 0.6), (0.36, 0.82, 1.0)),
        words("pale, light skinned, fair"),
        words("dark skinned, tanned, brown skinned"),
    ),
    colored("eye_color", PALETTE["eye_color"], "{} eyes", brown="dark"),
    Scale("eye_size", THIRDS, *EYE_SIZES, form="with"),
    Binary(
        "thick_brows", 0.4, words("thick eyebrows, bushy eyebrows, heavy brows"), words("thin eyebrows, fine brows")
    ),
    Scale("face_width", THIRDS, words("thin, slim, narrow faced"), words("chubby, fat, round faced, plump")),
    Scale("nose_size", THIRDS, words("a small nose, a tiny nose"), words("a big nose, a large nose"), form="with"),
    Binary("makeup", 0.33, words("makeup, make-up, eyeshadow, rosy cheeks"), words("no makeup, no make-up")),
    Binary("lipstick", 0.35, words("red lipstick, lipstick, red lips"), words("no lipstick, bare lips")),
    Binary("earrings", 0.33, words("earrings, golden earrings, ear rings"), words("no earrings, no jewellery")),
    colored("clothes", PALETTE["clothes"], "a {} shirt, {} clothes, a {} top"),
    colored("background", PALETTE["background"], "a {} background, a {} backdrop, a {} wall"),
    YAW,
    Scale("light", UNIFORM, ends=(0.2, 0.8)),  # which side the light comes from; no caption names it
    Scale("hat_hue", UNIFORM),
    Scale("hair_volume", UNIFORM),
    Scale("jaw", UNIFORM),
)


def resolve(c: dict[str, Tensor]) -> dict[str, Tensor]:
    """Sunglasses replace glasses, and a bald head has no bangs, no curls and no long hair."""
    hair = {name: c[name] * (1 - c["bald"]) for name in ("bangs", "curly_hair", "long_hair")}
    return hair | {"glasses": c["glasses"] * (1 - c["sunglasses"])}


def hidden(c: dict[str, Tensor]) -> dict[str, Tensor]:
    """Eyes behind sunglasses, the hair of the bald, and the colour of a hat that is not there."""
    dark, bald, bare = c["sunglasses"] > 0.5, c["bald"] > 0.5, ~(c["hat"] > 0.5)
    eyes, hair = ("eye_color", "eye_size", "glasses"), ("hair_color", "hair_volume", "long_hair", "curly_hair", "bangs")
    return dict.fromkeys(eyes, dark) | dict.fromkeys(hair, bald) | {"hat_hue": bare}


WORLD = World(
    name="portraits",
    neutral="face",
    nouns=("face", "person", "face", "head", "human", "character"),
    merge=("hair", "eyes"),
    table=Table(ATTRIBUTES, resolve, hidden),
    palette=PALETTE,
    painter=Portrait,
    parts=PARTS,
    asks=asked(
        "smile high, smile low: person looking sad, open_mouth: person with the mouth wide open, glasses, sunglasses, "
        "beard, moustache: person with a moustache on the face, hair_color blond, hair_color blue, long_hair, "
        "curly_hair: head full of curls, bangs: person with a fringe down to the eyes, bald, hat, age high, "
        "age low: youthful looking person, skin high, eye_color blue, eye_size high, "
        "thick_brows: human with bushy brows, face_width high: plump faced person, makeup, lipstick, earrings"
    ),
    coarse=words("hat, hair_color, clothes, background"),
    kept=words("skin, eye_color, face_width, background, clothes"),
    identity=words("yaw, skin, face_width, jaw, nose_size, eye_color, clothes, background"),
    examples=Examples.of(
        first="face with glasses, face with a beard, face with a hat, face with sunglasses, face with long hair, "
        "face with earrings, face with blond hair, face with blue hair, face with big eyes",
        two_way="smiling face, plump faced person, face with big eyes",
        recognised="face with glasses, face with sunglasses, face with a hat, bald face, face with blue hair, "
        "face with long hair",
        channels="face with glasses, smiling face, face with a hat, face with blond hair, dark skinned face",
        learned="smiling face, face with glasses, face with a hat, old face, face with blue hair",
        edits="face with glasses, smiling face, face with a beard, face with a hat, old face, face with long hair, "
        "face with blue hair",
        wordings="face with glasses, person with spectacles, a portrait of a character with eyeglasses, spectacles, "
        "a face behind two lenses, bespectacled scholar",
        pairs="face with glasses + face with a beard, face with a hat + smiling face, "
        "face with blond hair + face with long hair, old face + bald face",
        removable="glasses, beard, hat, long_hair, makeup, earrings",
    ),
    apart=(
        asked("glasses, age high"),
        asked("beard, hair_color blue"),
        asked("earrings, curly_hair"),
        asked("moustache, open_mouth"),
        asked("lipstick, skin high"),
        asked("hat, thick_brows"),
    ),
    known=("eye_color", "eye_size"),
)
