"""Portraits: the counterpart of FFHQ."""

from __future__ import annotations

from torch import Tensor

from deltaedit.worlds.portraits.painter import PALETTE, PARTS, Portrait
from deltaedit.worlds.table import THIRDS, UNIFORM, Binary, Choice, Scale, Table, colors
from deltaedit.worlds.world import Examples, World

HAIR_COLORS, EYE_COLORS, CLOTHES, BACKGROUNDS = map(tuple, PALETTE.values())

ATTRIBUTES = (
    Scale(
        "smile",
        ((0.42, 0.6, 1.0), (0.26, -0.12, 0.12), (0.32, -1.0, -0.6)),
        ends=(-0.35, 0.35),
        form="adjective",
        high=("smiling", "happy", "cheerful", "smiley"),
        low=("frowning", "sad", "unhappy", "gloomy"),
    ),
    Binary("open_mouth", 0.35, ("an open mouth", "mouth open", "a wide open mouth"), ("a closed mouth", "closed lips")),
    Binary("glasses", 0.35, ("glasses", "eyeglasses", "spectacles"), ("no glasses", "no eyewear")),
    Binary("sunglasses", 0.16, ("sunglasses", "dark glasses", "shades")),
    Binary("beard", 0.3, ("a beard", "a full beard", "a bearded chin"), ("no beard", "a shaved chin")),
    Binary("moustache", 0.27, ("a moustache", "a mustache"), ("no moustache", "no mustache")),
    Choice(
        "hair_color",
        {"black": 1, "brown": 1, "blond": 1, "red": 1, "grey": 1, "blue": 1},
        colors(
            HAIR_COLORS,
            "hair",
            black=("dark",),
            blond=("blonde", "golden"),
            red=("ginger", "orange"),
            grey=("gray", "white", "silver"),
            brown=("chestnut",),
            blue=("dyed blue",),
        ),
    ),
    Binary("long_hair", 0.45, ("long hair", "hair down to the shoulders"), ("short hair", "a short haircut")),
    Binary("curly_hair", 0.4, ("curly hair", "curls", "wavy hair"), ("straight hair", "smooth hair")),
    Binary("bangs", 0.38, ("bangs", "a fringe"), ("no bangs", "no fringe", "a bare forehead")),
    Binary("bald", 0.15, ("bald", "hairless", "bald headed"), ("hair",), form="adjective"),
    Binary("hat", 0.27, ("a hat", "a cap", "a beanie"), ("no hat", "nothing on the head", "a bare head")),
    Scale("age", THIRDS, ("young", "youthful"), ("old", "elderly", "aged", "wrinkled")),
    Scale(
        "skin",
        ((0.36, 0.0, 0.15), (0.28, 0.4, 0.6), (0.36, 0.82, 1.0)),
        ("pale", "light skinned", "fair"),
        ("dark skinned", "tanned", "brown skinned"),
    ),
    Choice("eye_color", {"brown": 1, "blue": 1, "green": 1}, colors(EYE_COLORS, "eyes", brown=("dark",))),
    Scale(
        "eye_size",
        THIRDS,
        ("small eyes", "narrow eyes", "tiny eyes"),
        ("big eyes", "large eyes", "huge eyes"),
        form="with",
    ),
    Binary("thick_brows", 0.4, ("thick eyebrows", "bushy eyebrows", "heavy brows"), ("thin eyebrows", "fine brows")),
    Scale("face_width", THIRDS, ("thin", "slim", "narrow faced"), ("chubby", "fat", "round faced", "plump")),
    Scale("nose_size", THIRDS, ("a small nose", "a tiny nose"), ("a big nose", "a large nose"), form="with"),
    Binary("makeup", 0.33, ("makeup", "make-up", "eyeshadow", "rosy cheeks"), ("no makeup", "no make-up")),
    Binary("lipstick", 0.35, ("red lipstick", "lipstick", "red lips"), ("no lipstick", "bare lips")),
    Binary("earrings", 0.33, ("earrings", "golden earrings", "ear rings"), ("no earrings", "no jewellery")),
    Choice("clothes", dict.fromkeys(CLOTHES, 1), {c: (f"a {c} shirt", f"{c} clothes", f"a {c} top") for c in CLOTHES}),
    Choice(
        "background",
        dict.fromkeys(BACKGROUNDS, 1),
        {c: (f"a {c} background", f"a {c} backdrop", f"a {c} wall") for c in BACKGROUNDS},
    ),
    Scale(
        "yaw",
        ((1.0, -1.0, 1.0),),
        ends=(-0.5, 0.5),
        form="after",
        low=("looking left", "turned to the left"),
        high=("looking right", "turned to the right"),
    ),
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
    asks=(
        ("smile", "high"),
        ("smile", "low", "person looking sad"),
        ("open_mouth", True, "person with the mouth wide open"),
        ("glasses", True),
        ("sunglasses", True),
        ("beard", True),
        ("moustache", True, "person with a moustache on the face"),
        ("hair_color", "blond"),
        ("hair_color", "blue"),
        ("long_hair", True),
        ("curly_hair", True, "head full of curls"),
        ("bangs", True, "person with a fringe down to the eyes"),
        ("bald", True),
        ("hat", True),
        ("age", "high"),
        ("age", "low", "youthful looking person"),
        ("skin", "high"),
        ("eye_color", "blue"),
        ("eye_size", "high"),
        ("thick_brows", True, "human with bushy brows"),
        ("face_width", "high", "plump faced person"),
        ("makeup", True),
        ("lipstick", True),
        ("earrings", True),
    ),
    coarse=("hat", "hair_color", "clothes", "background"),
    kept=("skin", "eye_color", "face_width", "background", "clothes"),
    identity=("yaw", "skin", "face_width", "jaw", "nose_size", "eye_color", "clothes", "background"),
    examples=Examples(
        first=(
            "smiling face",
            "face with glasses",
            "face with sunglasses",
            "face with a hat",
            "face with a beard",
            "old face",
            "bald face",
            "face with blond hair",
            "face with blue hair",
        ),
        two_way=("smiling face", "old face", "face with long hair", "dark skinned face"),
        recognised=(
            "face with glasses",
            "face with sunglasses",
            "face with a hat",
            "bald face",
            "face with blue hair",
            "face with long hair",
        ),
        channels=("face with glasses", "smiling face", "face with a hat", "face with blond hair", "dark skinned face"),
        learned=("smiling face", "face with glasses", "face with a hat", "old face", "face with blue hair"),
        edits=(
            "face with glasses",
            "smiling face",
            "face with a beard",
            "face with a hat",
            "old face",
            "face with long hair",
            "face with blue hair",
        ),
        wordings=(
            "face with glasses",
            "person with spectacles",
            "a portrait of a character with eyeglasses",
            "spectacles",
            "a face behind two lenses",
            "bespectacled scholar",
        ),
        pairs=(
            ("face with glasses", "face with a beard"),
            ("face with a hat", "smiling face"),
            ("face with blond hair", "face with long hair"),
            ("old face", "bald face"),
        ),
        removable=("glasses", "beard", "hat", "long_hair", "makeup", "earrings"),
    ),
    apart=(
        (("glasses", True), ("age", "high")),
        (("beard", True), ("hair_color", "blue")),
        (("earrings", True), ("curly_hair", True)),
        (("moustache", True), ("open_mouth", True)),
        (("lipstick", True), ("skin", "high")),
        (("hat", True), ("thick_brows", True)),
    ),
    known=("eye_color", "eye_size"),
)
