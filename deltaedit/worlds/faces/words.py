"""What is told of a generated face: its attributes, the words that captions have for each, and words kept from them.

Every phrase stands where its form says, see ``Said``; ``{their}`` and a blank is «his », «her », «their » or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, fields

from deltaedit.worlds.table import words

ATTRIBUTES: tuple[str, ...] = words(
    "glasses, sunglasses, beard, stubble, moustache, bald, short_hair, long_hair, tied_hair, black_hair, brown_hair, "
    "blond_hair, red_hair, grey_hair, straight_hair, wavy_hair, curly_hair, bangs, hat, lipstick, earrings, makeup, "
    "smile, teeth, open_mouth, closed_eyes, squint, raised_brows, frown, pucker, child, young, middle_aged, old, man, "
    "woman, turned_left, turned_right, looking_up, looking_down, pale_skin, dark_skin, tanned_skin, round_face, "
    "thin_face, bright_background, dark_background, green_background, blue_background, bright_light, dim_light"
)
"""The columns of a tensor of labels; left and right as the viewer sees them."""


@dataclass(frozen=True)
class Said:
    """Phrases for one attribute, separated by commas, by where they stand in a sentence."""

    adjectives: str = ""  #: before a noun or after «is»: «bearded»
    things: str = ""  #: after «with» or «has»: «a beard», «{their} eyes closed»
    worn: str = ""  #: after «wearing» too: «a hat»
    doing: str = ""  #: after a noun or after «is»: «looking up»
    part: str = ""  #: after «whose» or «her»: «eyes are closed»
    hair: str = ""  #: before «hair», or after it for what is done with it: «long», «tied back»
    ground: str = ""  #: before «background»
    light: str = ""  #: at the end: «in dim light»
    lacking: str = ""  #: after «without»: «a beard»
    nouns: str = ""  #: a person who is so: «grandmother»

    def phrases(self) -> Iterator[tuple[str, str]]:
        """All phrases, each with its form."""
        for form in fields(self):
            yield from ((form.name, phrase) for phrase in getattr(self, form.name).split(", ") if phrase)


SAID: dict[str, Said] = {
    "glasses": Said(worn="glasses, glasses, a pair of glasses"),
    "sunglasses": Said(worn="sunglasses, sunglasses, a pair of sunglasses, dark glasses"),
    "beard": Said("bearded", "a beard, a beard, a full beard"),
    "stubble": Said("unshaven, stubbly", "stubble, some stubble, stubble on {their} chin"),
    "moustache": Said("moustached", "a moustache, a mustache, a moustache"),
    "bald": Said("bald, bald, bald-headed, balding", "a bald head, no hair"),
    "short_hair": Said("short-haired", hair="short"),
    "long_hair": Said("long-haired", hair="long, long, long, shoulder-length, down to {their} shoulders"),
    "tied_hair": Said(hair="tied back, pulled back, tied up"),
    "black_hair": Said("black-haired, dark-haired", hair="black, black, dark"),
    "brown_hair": Said("brown-haired", hair="brown"),
    "blond_hair": Said("blond, blonde, fair-haired, blond-haired", hair="blond, blonde, fair"),
    "red_hair": Said("red-haired", hair="red, red, reddish"),
    "grey_hair": Said("grey-haired, gray-haired, white-haired", hair="grey, gray, white"),
    "straight_hair": Said("straight-haired", hair="straight"),
    "wavy_hair": Said("wavy-haired", hair="wavy"),
    "curly_hair": Said("curly-haired", hair="curly"),
    "bangs": Said(things="bangs, bangs, bangs over {their} forehead"),
    "hat": Said(things="a hat on {their} head", worn="a hat, a hat, a cap"),
    "lipstick": Said(things="red lips, painted lips", worn="lipstick, lipstick, red lipstick"),
    "earrings": Said(things="earrings in {their} ears", worn="earrings, earrings, an earring, a pair of earrings"),
    "makeup": Said(things="a made-up face", worn="makeup, makeup, make-up, eye makeup"),
    "smile": Said("smiling, smiling, happy", "a smile, a happy smile, a smile on {their} face", doing="smiling"),
    "teeth": Said(
        things="{their} teeth showing", doing="showing {their} teeth, showing teeth", part="teeth are showing"
    ),
    "open_mouth": Said(
        "open-mouthed", "an open mouth, {their} mouth open, {their} mouth wide open", part="mouth is open"
    ),
    "closed_eyes": Said(
        things="closed eyes, {their} eyes closed, {their} eyes shut", part="eyes are closed, eyes are shut"
    ),
    "squint": Said("squinting", "narrowed eyes, {their} eyes narrowed", doing="squinting", part="eyes are narrowed"),
    "raised_brows": Said(
        "surprised",
        "raised eyebrows, {their} eyebrows raised, raised brows",
        doing="raising {their} eyebrows, looking surprised",
        part="eyebrows are raised",
    ),
    "frown": Said("frowning, angry, unhappy", "a frown, a frown on {their} face", doing="frowning, looking angry"),
    "pucker": Said(
        "pouting",
        "puckered lips, pursed lips, {their} lips pursed, {their} lips puckered",
        doing="pouting, puckering {their} lips",
        part="lips are puckered, lips are pursed",
    ),
    # Ages and genders are told by nouns, see ``PEOPLE``, ages here and there by a phrase after them.
    "child": Said(),
    "young": Said(doing="in {their} twenties"),
    "middle_aged": Said(doing="in {their} forties, in {their} fifties"),
    "old": Said(doing="in {their} seventies"),
    "man": Said(),
    "woman": Said(),
    "turned_left": Said(
        things="{their} head turned to the left",
        doing="turned to the left, looking to the left, facing left, looking left",
        part="head is turned to the left",
    ),
    "turned_right": Said(
        things="{their} head turned to the right",
        doing="turned to the right, looking to the right, facing right, looking right",
        part="head is turned to the right",
    ),
    "looking_up": Said(things="{their} head tilted up", doing="looking up, looking up, looking upwards"),
    "looking_down": Said(things="{their} head lowered", doing="looking down, looking down, looking downwards"),
    "pale_skin": Said("pale, fair-skinned, light-skinned", "pale skin, fair skin, a pale complexion"),
    "dark_skin": Said("dark-skinned", "dark skin, a dark complexion"),
    "tanned_skin": Said("tanned", "tanned skin, a tan"),
    "round_face": Said("round-faced, chubby", "a round face, a wide face, chubby cheeks"),
    "thin_face": Said("thin-faced", "a thin face, a narrow face"),
    "bright_background": Said(ground="bright, light, white"),
    "dark_background": Said(ground="dark, dark, black"),
    "green_background": Said(ground="green"),
    "blue_background": Said(ground="blue"),
    "bright_light": Said(light="in bright light, in strong light, brightly lit, well lit"),
    "dim_light": Said(light="in dim light, in low light, dimly lit, poorly lit"),
}

DENIED: dict[str, Said] = {
    "glasses": Said(lacking="glasses"),
    "beard": Said(lacking="a beard"),
    "stubble": Said("clean-shaven"),
    "moustache": Said(lacking="a moustache, a mustache"),
    "bangs": Said(things="{their} forehead bare", lacking="bangs, bangs"),
    "hat": Said(things="nothing on {their} head", lacking="a hat, a hat, a hat"),
    "lipstick": Said(lacking="lipstick"),
    "earrings": Said(lacking="earrings"),
    "makeup": Said(lacking="makeup, make-up"),
    "smile": Said("serious, unsmiling", "a serious look", doing="not smiling, looking serious", lacking="a smile"),
    "open_mouth": Said(
        things="a closed mouth, {their} mouth closed, {their} mouth shut, closed lips", part="mouth is closed"
    ),
    "closed_eyes": Said(things="open eyes, {their} eyes open", part="eyes are open"),
}
"""What captions call it that something is not there, for what one could well expect."""

NEEDS: dict[str, str] = {
    "glasses": "sunglasses",
    "beard": "stubble",
    "stubble": "beard moustache woman child",
    "bangs": "bald hat",
    "smile": "frown pucker teeth raised_brows",
    "open_mouth": "teeth pucker",
    "closed_eyes": "squint sunglasses",
}
"""What else must not be there before a denial is said."""

UNASKED: dict[str, str] = {
    "man": "lipstick earrings makeup bangs",
    "woman": "beard stubble moustache",
    "child": "beard stubble moustache lipstick earrings makeup",
}
"""What is denied of nobody who is called so: no person writes «a woman without a beard»."""

APART: tuple[str, ...] = (
    "child young middle_aged old",
    "man woman",
    "black_hair brown_hair blond_hair red_hair grey_hair",
    "straight_hair wavy_hair curly_hair",
    "short_hair long_hair",
    "short_hair tied_hair",
    "glasses sunglasses",
    "beard stubble",
    "smile frown pucker",
    "pale_skin dark_skin tanned_skin",
    "round_face thin_face",
    "bright_background dark_background",
    "green_background blue_background",
    "bright_light dim_light",
    "turned_left turned_right",
    "looking_up looking_down",
    *(f"bald {name}" for name in ATTRIBUTES if name.endswith("_hair")),
    "bald bangs",
    "sunglasses closed_eyes",
    "squint closed_eyes",
    "sunglasses squint",
    *(f"closed_eyes {name}" for name in ATTRIBUTES if name.startswith(("turned_", "looking_"))),
    "pucker open_mouth",
    "pucker teeth",
    "frown raised_brows",
    *(f"{who} {name}" for who in ("child", "woman") for name in ("beard", "stubble", "moustache")),
    "child bald",
    "child grey_hair",
)
"""Attributes of which one face has at most one."""

AGES = ("child", "young", "middle_aged", "old")
GENDERS = ("man", "woman")

PEOPLE: dict[tuple[str, str], str] = {
    ("", ""): "person, person, person, somebody, someone, human, individual",
    ("", "man"): "man, man, man, man, man, guy, gentleman, male",
    ("", "woman"): "woman, woman, woman, woman, woman, woman, lady, female",
    ("child", ""): "child, child, kid, little child, young child, toddler",
    ("child", "man"): "boy, boy, little boy, small boy, young boy",
    ("child", "woman"): "girl, girl, little girl, small girl, young girl",
    ("young", ""): "young person, young person, young adult, teenager",
    ("young", "man"): "young man, young man, young man, young guy, teenage boy",
    ("young", "woman"): "young woman, young woman, young woman, young lady, teenage girl",
    ("middle_aged", ""): "middle-aged person, person of middle age",
    ("middle_aged", "man"): "middle-aged man, middle-aged man, middle-aged gentleman, man of middle age",
    ("middle_aged", "woman"): "middle-aged woman, middle-aged woman, middle-aged lady, woman of middle age",
    ("old", ""): "old person, elderly person, older person",
    ("old", "man"): "old man, old man, elderly man, older man, old gentleman, elderly gentleman",
    ("old", "woman"): "old woman, old woman, elderly woman, older woman, old lady, elderly lady, grandmother, granny",
}
"""What captions call a person, by the age and the gender that they tell."""

FACES: dict[tuple[str, str], str] = {
    ("", ""): "face",
    ("", "man"): "male face, man's face, face of a man",
    ("", "woman"): "female face, woman's face, face of a woman",
    ("child", ""): "child's face, face of a child",
    ("child", "man"): "boy's face, face of a boy",
    ("child", "woman"): "girl's face, face of a girl",
    ("young", ""): "young face, face of a young person",
    ("young", "man"): "young man's face, young male face, face of a young man",
    ("young", "woman"): "young woman's face, young female face, face of a young woman",
    ("middle_aged", ""): "middle-aged face, face of a middle-aged person",
    ("middle_aged", "man"): "middle-aged man's face, face of a middle-aged man",
    ("middle_aged", "woman"): "middle-aged woman's face, face of a middle-aged woman",
    ("old", ""): "old face, elderly face, face of an old person",
    ("old", "man"): "old man's face, old male face, face of an elderly man",
    ("old", "woman"): "old woman's face, old female face, face of an elderly woman",
}
"""What captions call a face."""

HELD_OUT: dict[str, Said] = {
    "glasses": Said("bespectacled", worn="spectacles, eyeglasses, prescription lenses"),
    "sunglasses": Said(worn="shades, aviators, tinted lenses, ray-bans"),
    "beard": Said(things="facial hair, a goatee, a hairy chin"),
    "stubble": Said(things="a five o'clock shadow, a bristly chin, bristles on the cheeks"),
    "moustache": Said("mustachioed", "hair above the upper lip"),
    "bald": Said("hairless", "a shiny scalp, a shaved scalp"),
    "short_hair": Said(things="cropped hair, a buzzcut, a crew cut, a pixie cut"),
    "long_hair": Said(things="flowing tresses, a great mane of hair, hair cascading to the waist"),
    "tied_hair": Said(things="a ponytail, hair in a bun, hair in a topknot, braids"),
    "black_hair": Said("raven-haired", "raven hair, ebony hair"),
    "brown_hair": Said(things="chestnut hair, chocolate hair, hazelnut hair", nouns="brunette"),
    "blond_hair": Said("flaxen-haired", "golden hair, platinum hair"),
    "red_hair": Said(things="ginger hair, auburn hair, copper hair", nouns="redhead"),
    "grey_hair": Said("silver-haired", "silver hair, salt-and-pepper hair"),
    "straight_hair": Said(things="sleek hair, smooth hair, flat-ironed hair"),
    "wavy_hair": Said(things="undulating hair, rippling hair, crimped hair"),
    "curly_hair": Said("frizzy-haired", "ringlets, an afro"),
    "bangs": Said(things="a fringe, a forelock, hair hanging into the eyes"),
    "hat": Said(worn="a beanie, headwear, a fedora, a beret, a sombrero"),
    "lipstick": Said(things="scarlet lips, crimson lips, glossy lips", worn="lip gloss"),
    "earrings": Said(things="pierced ears, hoops in the ears", worn="ear studs, dangling ear jewellery"),
    "makeup": Said(worn="cosmetics, mascara, eyeshadow, eyeliner"),
    "smile": Said("grinning, beaming, cheerful, joyful, delighted, jolly"),
    "teeth": Said("toothy", "exposed incisors, dentures on display"),
    "open_mouth": Said("gaping, yawning, screaming, shouting", "a dropped jaw, parted lips"),
    "closed_eyes": Said("sleeping, asleep, dozing, napping"),
    "squint": Said("peering", "slitted eyes, screwed-up eyes, scrunched eyes"),
    "raised_brows": Said("astonished, amazed, startled", "lifted brows"),
    "frown": Said("scowling, glowering, grumpy", "a furrowed brow"),
    "pucker": Said("kissing, whistling, smooching", "a duck face", doing="blowing a kiss"),
    "child": Said(nouns="infant, baby, preschooler, schoolboy, schoolgirl"),
    "young": Said("youthful, adolescent", nouns="college student, undergraduate"),
    "middle_aged": Said("fortysomething, fiftysomething", doing="in midlife"),
    "old": Said("wrinkled, ancient, geriatric", nouns="grandfather, pensioner, senior citizen, grandpa"),
    "man": Said("masculine", nouns="bloke, dude, chap, fellow, father"),
    "woman": Said("feminine", nouns="gal, mother, madam, duchess"),
    "turned_left": Said(doing="gazing leftwards, rotated leftward"),
    "turned_right": Said(doing="gazing rightwards, rotated rightward"),
    "looking_up": Said(doing="gazing skyward, staring at the ceiling"),
    "looking_down": Said("downcast", doing="staring at the floor, gazing at the ground"),
    "pale_skin": Said("pallid", "porcelain skin, ivory skin, milky skin"),
    "dark_skin": Said(things="cocoa skin, mahogany skin, skin rich in melanin"),
    "tanned_skin": Said("sunburnt, bronzed, sun-kissed, suntanned"),
    "round_face": Said("plump, moon-faced, pudgy, overweight"),
    "thin_face": Said("gaunt, skinny, slender, bony", "hollow cheeks"),
    "bright_background": Said(ground="luminous, glowing, dazzling"),
    "dark_background": Said(ground="shadowy, murky, gloomy"),
    "green_background": Said(things="foliage in the background, a forest in the background, a lawn in the background"),
    "blue_background": Said(things="the ocean in the background, the sky in the background", ground="azure, turquoise"),
    "bright_light": Said("sunlit, floodlit, overexposed", light="in sunshine"),
    "dim_light": Said("underexposed", light="in candlelight, in twilight, at dusk"),
}
"""English that no caption holds, each phrase for one attribute: what a text tower makes of it was not learnt here."""

CARRIERS: frozenset[str] = frozenset(
    words("a, an, the, of, in, on, at, to, up, and, hair, haired, eyes, brows, lips, ears, skin, face, faced, chin")
    + words("cheeks, background")
)
"""Words of held-out phrases that tell no attribute by themselves, which captions may hold too."""


_HANGS = re.compile(r"(in|down|past|over|below|to|out|worn|falling) .*|.* (back|up|{their} \w+)")


def hangs(phrase: str) -> bool:
    """Whether a phrase of the form "hair" is said after «hair».

    >>> hangs("tied back"), hangs("down to {their} shoulders"), hangs("long")
    (True, True, False)
    """
    return bool(_HANGS.fullmatch(phrase))


def bare(form: str, phrase: str) -> str:
    """A phrase as a tag: «a beard» → «beard», «{their} eyes closed» → «eyes closed», «tied back» → «hair tied back».

    >>> bare("things", "{their} eyes closed"), bare("lacking", "a beard"), bare("hair", "long")
    ('eyes closed', 'no beard', 'long hair')
    """
    if form == "hair":
        phrase = f"hair {phrase}" if hangs(phrase) else f"{phrase} hair"
    elif form == "ground":
        phrase = f"{phrase} background"
    if form in ("things", "worn", "lacking"):
        phrase = re.sub(r"^(an?|the) ", "", phrase)
    elif form == "light":
        phrase = phrase.removeprefix("in ")
    elif form == "part":
        phrase = re.sub(r" (is|are) ", " ", phrase)
    return f"{'no ' if form == 'lacking' else ''}{phrase.replace('{their} ', '')}"


WORDINGS: tuple[tuple[str, str], ...] = tuple(
    (bare(form, phrase), name) for name, said in HELD_OUT.items() for form, phrase in said.phrases()
)
"""Held-out wordings as a user would type them, each with the attribute that it asks for."""

ASKED: dict[str, dict[str, str]] = {
    "face": {
        "glasses": "face with glasses",
        "sunglasses": "face with sunglasses",
        "beard": "face with a beard",
        "stubble": "unshaven face",
        "moustache": "face with a moustache",
        "short_hair": "face with short hair",
        "long_hair": "face with long hair",
        "black_hair": "face with black hair",
        "brown_hair": "face with brown hair",
        "blond_hair": "face with blond hair",
        "red_hair": "face with red hair",
        "grey_hair": "face with grey hair",
        "straight_hair": "face with straight hair",
        "wavy_hair": "face with wavy hair",
        "curly_hair": "face with curly hair",
        "bangs": "face with bangs",
        "hat": "face with a hat",
        "lipstick": "face with lipstick, face with red lips",
        "earrings": "face with earrings",
        "makeup": "face with makeup",
        "smile": "smiling face, happy face",
        "open_mouth": "face with an open mouth",
        "closed_eyes": "face with closed eyes",
        "squint": "squinting face",
        "raised_brows": "surprised face",
        "frown": "angry face, frowning face",
        "pucker": "face with pursed lips",
        "child": "child's face",
        "young": "young face",
        "old": "old face",
        "man": "male face",
        "woman": "female face",
        "turned_left": "face turned to the left",
        "looking_down": "face looking down",
        "pale_skin": "face with pale skin",
        "dark_skin": "dark-skinned face",
        "tanned_skin": "tanned face",
        "round_face": "chubby face",
        "bright_background": "face against a white background",
        "dark_background": "face against a dark background",
    },
    "person": {
        "glasses": "person wearing glasses",
        "bald": "bald person",
        "curly_hair": "person with curls",
        "hat": "person wearing a hat",
        "teeth": "person showing their teeth",
        "child": "little child",
        "young": "young person",
        "old": "elderly person",
        "man": "man",
        "woman": "woman",
        "thin_face": "person with a thin face",
    },
    "man": {
        "beard": "man with a full beard",
        "bald": "bald man",
        "long_hair": "man with long hair",
    },
    "woman": {
        "tied_hair": "woman with her hair tied back",
        "blond_hair": "blonde woman",
    },
}

PROMPTS: tuple[tuple[str, str, str], ...] = tuple(
    (prompt, neutral, name)
    for neutral, asked in ASKED.items()
    for name, prompts in asked.items()
    for prompt in words(prompts)
)
"""Edits that a user would type: the prompt, the neutral one, the attribute that is to change."""
