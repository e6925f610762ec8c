"""Pets, cats and dogs: the counterpart of AFHQ."""

from __future__ import annotations

from torch import Tensor

from deltaedit.worlds.pets.painter import PALETTE, PARTS, PATTERNS, Pet
from deltaedit.worlds.table import THIRDS, UNIFORM, Binary, Choice, Scale, Table, colors
from deltaedit.worlds.world import Examples, World

FUR_COLORS, EYE_COLORS, NOSE_COLORS, COLLARS, SCARVES, BACKGROUNDS = map(tuple, PALETTE.values())

ATTRIBUTES: tuple[Binary | Choice | Scale, ...] = (
    Choice("species", {"cat": 1, "dog": 1}, {"cat": ("cat",), "dog": ("dog",)}, form="noun"),
    Choice(
        "fur_color",
        dict.fromkeys(FUR_COLORS, 1),
        colors(
            FUR_COLORS,
            "fur",
            orange=("ginger",),
            black=("jet black",),
            white=("snow white",),
            brown=("chocolate",),
            grey=("gray", "silver"),
            cream=("blond", "beige"),
        ),
        adjectives={c: (c,) for c in FUR_COLORS} | {"white": ("white", "snow white")},
    ),
    Choice(
        "pattern",
        {"plain": 0.34, "striped": 0.22, "spotted": 0.22, "patched": 0.22},
        {
            "plain": ("plain fur", "fur of one colour", "no markings"),
            "striped": ("striped fur", "stripes", "tabby stripes"),
            "spotted": ("spotted fur", "spots", "dotted fur"),
            "patched": ("patched fur", "a patch around one eye", "patches"),
        },
        adjectives={"striped": ("striped", "tabby"), "spotted": ("spotted", "dotted"), "patched": ("patched",)},
    ),
    Binary("fluffy", 0.4, ("fluffy fur", "long fur", "shaggy fur"), ("smooth fur", "short fur")),
    Binary("floppy_ears", 0.42, ("floppy ears", "hanging ears", "droopy ears"), ("pointed ears", "ears up")),
    Scale("ear_size", THIRDS, ("small ears", "tiny ears"), ("big ears", "large ears", "huge ears"), form="with"),
    Choice(
        "eye_color",
        dict.fromkeys(EYE_COLORS, 1),
        colors(EYE_COLORS, "eyes", yellow=("amber", "golden"), brown=("dark",)),
    ),
    Scale(
        "eye_size",
        THIRDS,
        ("small eyes", "narrow eyes", "tiny eyes"),
        ("big eyes", "large eyes", "huge eyes"),
        form="with",
    ),
    Binary("closed_eyes", 0.17, ("closed eyes", "eyes shut", "sleepy eyes"), ("open eyes", "eyes wide open")),
    Scale(
        "mood",
        ((0.4, 0.6, 1.0), (0.24, -0.12, 0.12), (0.36, -1.0, -0.6)),
        ends=(-0.35, 0.35),
        low=("sad", "unhappy", "gloomy"),
        high=("happy", "smiling", "cheerful"),
    ),
    Binary("open_mouth", 0.25, ("an open mouth", "mouth open"), ("a closed mouth", "mouth shut")),
    Binary("tongue", 0.25, ("its tongue out", "a tongue hanging out", "tongue out"), ("no tongue out",)),
    Binary("whiskers", 0.45, ("whiskers", "long whiskers"), ("no whiskers",)),
    Choice("nose_color", dict.fromkeys(NOSE_COLORS, 1), {c: (f"a {c} nose",) for c in NOSE_COLORS}),
    Scale("age", THIRDS, ("young", "baby", "little"), ("old", "elderly", "aged")),
    Scale("head_width", THIRDS, ("slim", "thin", "narrow faced"), ("chubby", "fat", "round faced", "plump")),
    Binary("white_muzzle", 0.35, ("a white muzzle", "a white blaze", "a white mouth")),
    Binary("white_chest", 0.35, ("a white chest", "a white bib")),
    Binary("collar", 0.3, ("a collar",), ("no collar", "a bare neck")),
    Choice("collar_color", dict.fromkeys(COLLARS, 1), {c: (f"a {c} collar",) for c in COLLARS}),
    Binary("bell", 0.2, ("a bell", "a golden bell", "a bell on its collar"), ("no bell",)),
    Binary("scarf", 0.22, ("a scarf", "a shawl", "a scarf around the neck"), ("no scarf",)),
    Choice("scarf_color", dict.fromkeys(SCARVES, 1), {c: (f"a {c} scarf",) for c in SCARVES}),
    Binary("hat", 0.25, ("a hat", "a party hat", "a pointed hat"), ("no hat", "a bare head")),
    Binary("bow", 0.27, ("a bow", "a hair bow", "a ribbon"), ("no bow", "no ribbon")),
    Binary("glasses", 0.25, ("glasses", "eyeglasses", "spectacles"), ("no glasses", "no eyewear")),
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
    Scale("light", UNIFORM),  # which side the light comes from; no caption names this nor what follows
    Scale("hat_hue", UNIFORM),
    Scale("bow_hue", UNIFORM),
    Scale("marking", UNIFORM),  # where stripes, spots and patches lie
    Scale("jaw", UNIFORM),
)


def resolve(c: dict[str, Tensor]) -> dict[str, Tensor]:
    """A tongue out opens the mouth, a bell needs a collar, a scarf covers it, and a hat leaves no place for a bow."""
    bell = c["bell"] * (1 - c["scarf"])
    return {
        "open_mouth": c["open_mouth"].maximum(c["tongue"]),
        "bell": bell,
        "collar": c["collar"].maximum(bell) * (1 - c["scarf"]),
        "bow": c["bow"] * (1 - c["hat"]),
    }


def hidden(c: dict[str, Tensor]) -> dict[str, Tensor]:
    """Closed eyes, white on white, what is below a scarf or a hat or not there, and what goes without saying."""
    on = {name: column > 0.5 for name, column in c.items()}
    white = c["fur_color"].round() == FUR_COLORS.index("white")
    return {
        "eye_color": on["closed_eyes"],
        "eye_size": on["closed_eyes"],
        "open_mouth": on["tongue"],
        "white_muzzle": white,
        "white_chest": white | on["scarf"],
        "collar": on["bell"] | on["scarf"],
        "collar_color": ~on["collar"],
        "bell": on["scarf"],
        "scarf_color": ~on["scarf"],
        "bow": on["hat"],
        "hat_hue": ~on["hat"],
        "bow_hue": ~on["bow"],
        "marking": c["pattern"].round() == PATTERNS.index("plain"),
    }


def nouns(values: dict[str, float]) -> tuple[str, ...]:
    """What one pet can truly be called, as often as listed."""
    cat, young = values["species"] < 0.5, values["age"] < 0.25
    name = "cat" if cat else "dog"
    return ("pet", "animal", name, name, ("kitten" if cat else "puppy") if young else name)


WORLD = World(
    name="pets",
    neutral="pet",
    nouns=nouns,
    merge=("fur", "eyes", "ears"),
    table=Table(ATTRIBUTES, resolve, hidden),
    palette=PALETTE,
    painter=Pet,
    parts=PARTS,
    asks=(
        ("species", "cat"),
        ("species", "dog"),
        ("mood", "high"),
        ("mood", "low", "pet looking sad"),
        ("fur_color", "orange"),
        ("fur_color", "white", "animal of snow white colour"),
        ("pattern", "striped"),
        ("pattern", "spotted", "animal with spots on its fur"),
        ("fluffy", True),
        ("floppy_ears", True),
        ("ear_size", "high"),
        ("eye_color", "blue"),
        ("eye_size", "high", "animal with huge round eyes"),
        ("closed_eyes", True, "pet with the eyes shut"),
        ("open_mouth", True, "pet with the mouth open"),
        ("tongue", True),
        ("whiskers", True),
        ("age", "low"),
        ("age", "high", "elderly looking animal"),
        ("collar", True, "pet with a collar around the neck"),
        ("scarf", True),
        ("hat", True),
        ("bow", True),
        ("glasses", True),
    ),
    coarse=("species", "fur_color", "pattern", "background"),
    kept=("fur_color", "eye_color", "nose_color", "head_width", "background"),
    identity=("yaw", "species", "fur_color", "pattern", "head_width", "jaw", "eye_color", "nose_color", "background"),
    examples=Examples(
        first=(
            "cat",
            "dog",
            "happy pet",
            "pet with floppy ears",
            "pet with blue eyes",
            "pet with orange fur",
            "pet with striped fur",
            "pet with its tongue out",
            "pet with a hat",
        ),
        two_way=("happy pet", "young pet", "pet with big ears", "pet with fluffy fur"),
        recognised=(
            "kitten",
            "pet with spotted fur",
            "pet with a hat",
            "dog with floppy ears",
            "pet with glasses",
            "sad pet",
        ),
        channels=("pet with floppy ears", "happy pet", "pet with a hat", "pet with orange fur", "pet with blue eyes"),
        learned=("happy pet", "dog", "pet with floppy ears", "pet with a hat", "pet with orange fur"),
        edits=(
            "pet with glasses",
            "happy pet",
            "cat",
            "pet with floppy ears",
            "pet with a hat",
            "pet with a scarf",
            "pet with orange fur",
        ),
        wordings=(
            "pet with glasses",
            "animal with spectacles",
            "a portrait of a dog with eyeglasses",
            "spectacles",
            "a pet behind two lenses",
            "bespectacled hound",
        ),
        pairs=(
            ("pet with glasses", "pet with a bow"),
            ("pet with a hat", "happy pet"),
            ("pet with orange fur", "pet with striped fur"),
            ("cat", "young pet"),
        ),
        removable=("glasses", "scarf", "hat", "whiskers", "fluffy", "bow"),
    ),
    apart=(
        (("glasses", True), ("floppy_ears", True)),
        (("scarf", True), ("fur_color", "orange")),
        (("tongue", True), ("eye_color", "blue")),
        (("whiskers", True), ("pattern", "spotted")),
        (("hat", True), ("fluffy", True)),
        (("bow", True), ("mood", "high")),
    ),
    known=("eye_color", "eye_size", "open_mouth"),
)
