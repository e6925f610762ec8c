"""Captions of generated faces, as people write them, from soft labels; and broad English about faces.

What is told is true as far as the labels are sure. Age and gender are left out more often than not, and so is much
else, so that a model learns each attribute for itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path
from random import Random

from torch import Tensor

from deltaedit.worlds.faces.rare import RARE, RARE_PEOPLE, agrees
from deltaedit.worlds.faces.words import (
    AGES,
    APART,
    ATTRIBUTES,
    DENIED,
    FACES,
    GENDERS,
    HELD_OUT,
    NEEDS,
    PEOPLE,
    SAID,
    UNASKED,
    Said,
    bare,
    hangs,
)
from deltaedit.worlds.table import words

Fact = tuple[str, str, str]  # attribute, form (see ``Said``), phrase
Told = dict[str, list[str]]  # phrases by form

SURE = 0.7  # what is told has at least this probability, what is denied at most the rest
STRIKING = words(
    "glasses, sunglasses, beard, moustache, bald, tied_hair, red_hair, grey_hair, curly_hair, bangs, hat, lipstick, "
    "earrings, closed_eyes, pucker, man, woman"
)
DULL = words("short_hair, straight_hair, bright_background, dark_background, bright_light, dim_light")
APPEAL = dict.fromkeys(ATTRIBUTES, 1.0) | dict.fromkeys(STRIKING, 2.0) | dict.fromkeys(DULL, 0.5)
ORDER = (  # of adjectives; those of the moment, «smiling», stand before all of these
    *("round_face", "thin_face", "pale_skin", "dark_skin", "tanned_skin", "bald", "short_hair", "long_hair"),
    *("straight_hair", "wavy_hair", "curly_hair", "black_hair", "brown_hair", "blond_hair", "red_hair", "grey_hair"),
    *("beard", "stubble", "moustache", "hat", "bright_background", "dark_background"),
    *("green_background", "blue_background"),
)
LEADS = (
    *("a photo of", "a picture of", "an image of", "a photograph of", "photo of", "picture of", "close-up of"),
    *("a close-up of", "a close-up photo of", "", "", "", "", "", ""),
)
OF_PEOPLE = ("portrait of", "a portrait of", "headshot of", "a portrait photo of", "the face of")
SETTINGS = ("against a", "in front of a", "on a", "with a")
SHOWN = ("this is", "there is", "here we see", "we see")
ARTICLELESS = ("photo", "picture", "close-up", "portrait", "headshot", "")
NAMELESS = ("somebody", "someone")  # these take no article, and adjectives only after them
GLUE = (
    "is has wears wearing with without and or no who that whose his her their he she a an the this hair curls waves "
    "background at camera face person portrait was taken"
)

INDEX = {name: k for k, name in enumerate(ATTRIBUTES)}
RANK = {name: rank for rank, name in enumerate(ORDER, start=1)}
LIKING = [1 / APPEAL[name] for name in ATTRIBUTES]
PAIRS = [(INDEX[a], INDEX[b]) for group in APART for a, b in combinations(group.split(), 2)]
NEED = {INDEX[name]: [INDEX[other] for other in NEEDS.get(name, "").split()] for name in DENIED}
OFTEN = {INDEX[name]: 3 for name in ("glasses", "beard", "hat", "smile", "open_mouth")}  # denied
AVERTED = [INDEX[name] for name in ("turned_left", "turned_right", "looking_up", "looking_down")]


def _fits_face(name: str, form: str, phrase: str) -> bool:
    """Whether it can be said of what is called a face: not «long-haired face», nor «face with a round face»."""
    of_hair = form == "adjectives" and (name.endswith("_hair") or name == "bald")
    belongs = "{their} " in (phrase.removeprefix("{their} ") if form == "things" else phrase)
    return not (of_hair or belongs or re.search(r"\b(face|head)\b", phrase))


def _facts(table: dict[str, Said], of_face: bool) -> dict[int, list[Fact]]:
    """All that can be said of each attribute, of a person or of what is called a face."""
    found: dict[int, list[Fact]] = {}
    for name, row in table.items():
        for form, phrase in row.phrases():
            phrase = phrase.removesuffix("-faced") if of_face else phrase
            if not of_face or _fits_face(name, form, phrase):
                found.setdefault(INDEX[name], []).append((name, form, phrase))
    return found


THERE = {of_face: _facts(SAID, of_face) for of_face in (False, True)}
RARELY = {of_face: _facts(RARE, of_face) for of_face in (False, True)}
ABSENT = {of_face: _facts(DENIED, of_face) for of_face in (False, True)}


def captions(
    labels: Tensor,
    rng: Random,
    low: int = 1,
    high: int = 7,
    negation: float = 0.15,
    blank: float = 0.02,
    rare: float = 1 / 3,
) -> list[str]:
    """A caption in English for every face, true where the labels are sure of it.

    ``labels`` (n, len(ATTRIBUTES)) are probabilities, nan for what is unknown. A caption tells ``low`` to ``high``
    facts where there are as many, each with a probability of ``negation`` something that is not there; a share of
    ``blank`` tells none. Each is told with a probability of ``rare`` in one of the many rare wordings. Of attributes
    that exclude each other only the likelier is told. Raises ``ValueError`` for labels of another shape or range, and
    for numbers of facts out of order.

    >>> labels = torch.zeros(1, len(ATTRIBUTES))
    >>> labels[0, ATTRIBUTES.index("glasses")] = 1
    >>> captions(labels, Random(1), high=1, negation=0, blank=0, rare=0)
    ['...glasses...']
    """
    if labels.ndim != 2 or labels.shape[1] != len(ATTRIBUTES):
        raise ValueError(f"labels have one column an attribute, (n, {len(ATTRIBUTES)}). Got {tuple(labels.shape)}.")
    if ((labels < 0) | (labels > 1)).any():
        got = f"{labels[~labels.isnan()].min():g} to {labels[~labels.isnan()].max():g}"
        raise ValueError(f"labels are probabilities from 0 to 1, or nan. Got {got}.")
    if not 0 <= low <= high:
        raise ValueError(f"a caption tells low to high facts, 0 ≤ low ≤ high. Got {low} and {high}.")
    return [_caption(row, rng, low, high, negation, blank, rare) for row in settled(labels).tolist()]


def settled(labels: Tensor) -> Tensor:
    """Labels (n, len(ATTRIBUTES)) without contradictions: of what excludes each other the less likely becomes nan.

    >>> labels = torch.zeros(1, len(ATTRIBUTES))
    >>> labels[0, ATTRIBUTES.index("man")], labels[0, ATTRIBUTES.index("woman")] = 0.9, 0.8
    >>> settled(labels)[0, ATTRIBUTES.index("man") :][:2]
    tensor([0.9000,    nan])
    """
    labels = labels.detach().cpu().clone()
    for a, b in PAIRS:
        both = (labels[:, a] > 0.5) & (labels[:, b] > 0.5)
        first = labels[:, a] > labels[:, b]
        labels[both & ~first, a] = float("nan")
        labels[both & first, b] = float("nan")
    return labels


def _fact(k: int, of_face: bool, rare: float, labels: dict[str, float], rng: Random) -> list[Fact]:
    """What is said of an attribute: one fact, or none where there is no phrase for it."""
    for table in (RARELY, THERE) if rng.random() < rare else (THERE,):
        fact = rng.choice(table[of_face].get(k) or [None])
        if fact and (table is THERE or agrees(fact[2], labels)):
            return [fact]
    return []


def _caption(row: list[float], rng: Random, low: int, high: int, negation: float, blank: float, rare: float) -> str:
    random = rng.random
    count = 0 if random() < blank else rng.randint(low, high)
    few = min(2, sum(random() < negation for _ in range(count)))
    there = [(random() ** LIKING[k], k) for k, p in enumerate(row) if p > SURE and random() < 2 * p - 1]
    chosen = [k for _, k in sorted(there, reverse=True)[: count - few]]
    told = {ATTRIBUTES[k] for k in chosen}
    age = next((name for name in AGES if name in told), "")
    gender = next((name for name in GENDERS if name in told), "")
    of_face = random() < (0.12 if age or gender else 0.35)

    labels = dict(zip(ATTRIBUTES, row, strict=True))
    nouns = (*AGES, *GENDERS)
    facts = [fact for k in chosen if ATTRIBUTES[k] not in nouns for fact in _fact(k, of_face, rare, labels, rng)]
    if few:
        odd = f"{UNASKED.get(age, '')} {UNASKED.get(gender, '')}".split()
        absent = [
            k
            for k in ABSENT[of_face]
            if row[k] < 1 - SURE
            and random() < 1 - 2 * row[k]
            and ATTRIBUTES[k] not in odd
            and all(row[need] < 1 - SURE for need in NEED[k])
        ]
        absent = sorted(absent, key=lambda k: random() ** (1 / OFTEN.get(k, 1)))[-few:]
        if INDEX["stubble"] in absent:  # «clean-shaven» says it all
            absent = [k for k in absent if ATTRIBUTES[k] not in ("beard", "moustache")]
        facts += [rng.choice(ABSENT[of_face][k]) for k in absent]
    rng.shuffle(facts)

    style = random()
    if style < 0.2 and facts:
        return _tags(facts, age, gender, _person(age, gender, rare, labels, rng), rng)
    if age and not of_face and random() < 0.15:  # «a woman in her forties»
        late = _fact(INDEX[age], False, rare, labels, rng)
        facts, age = facts + late, "" if late else age
    if gender and not of_face and random() < 0.1 * rare:  # «a manly person»
        facts, gender = facts + _fact(INDEX[gender], False, 1, labels, rng), ""
    noun = rng.choice(FACES[age, gender].split(", ")) if of_face else _person(age, gender, rare, labels, rng)
    said = _sorted(facts, noun in NAMELESS, rng)
    if style < 0.5 and said and not of_face:
        straight = all(row[k] < 1 - SURE for k in AVERTED)
        text = _sentence(noun, said, {"man": "he", "woman": "she"}.get(gender, ""), straight, rng)
    else:
        lead = rng.choice(LEADS if of_face or random() < 0.65 else OF_PEOPLE)
        brief = lead.split(" ")[0] in ARTICLELESS and random() < 0.35  # «photo of young man with a beard»
        text = f"{lead} {_named(noun, said, rng, '' if brief else 'a')}".lstrip()
        if random() < 0.2:
            text = text[0].upper() + text[1:] + ("." if random() < 0.5 else "")
    their = "" if of_face else {"man": "his ", "woman": "her "}.get(gender, "their ")
    return text.replace("{their} ", their).replace("{Their} ", their.capitalize() or "The ")


def _person(age: str, gender: str, rare: float, labels: dict[str, float], rng: Random) -> str:
    """A noun; one that is rare tells of nobody who may be a child that it is not."""
    if rng.random() < rare and (age or not labels["child"] > 0.3):
        return rng.choice(RARE_PEOPLE[age, gender].split(", "))
    return rng.choice(PEOPLE[age, gender].split(", "))


def _tags(facts: list[Fact], age: str, gender: str, noun: str, rng: Random) -> str:
    """«glasses, short brown hair, woman»."""
    hair = [fact for fact in facts if fact[1] == "hair" and not hangs(fact[2])]
    tags = []
    if len(hair) > 1 and rng.random() < 0.6:
        tags = [f"{' '.join(word for _, _, word in sorted(hair, key=lambda fact: RANK[fact[0]]))} hair"]
        facts = [fact for fact in facts if fact not in hair]
    tags += [bare(form, phrase) for _, form, phrase in facts]
    rng.shuffle(tags)
    if age or gender:
        tags.insert(0 if rng.random() < 0.7 else len(tags), noun)
    elif rng.random() < 0.15:
        tags.insert(0, rng.choice(("face", "person", "portrait")))
    return ", ".join(tags)


def _sorted(facts: list[Fact], bare_noun: bool, rng: Random) -> Told:
    """The facts by form, adjectives in their order, and all that is told of the hair as one thing."""
    told: Told = {}
    haired = not bare_noun  # room for one «long-haired»
    for _, form, phrase in sorted(facts, key=lambda fact: RANK.get(fact[0], 0)):
        if phrase.endswith("-haired"):
            form, phrase, haired = (form, phrase, False) if haired else ("hair", phrase.removesuffix("-haired"), False)
        told.setdefault(form, []).append(phrase)
    if words := told.pop("hair", []):
        hanging = [word for word in words if hangs(word)][-1:]  # never two: «tied back down to her shoulders»
        words = [word for word in words if not hangs(word)]
        if not hanging and rng.random() < 0.1:
            told.setdefault("part", []).append(f"hair is {_listed(words)}")
            return told
        noun = "hair"
        for word, instead in (("curly", "curls"), ("wavy", "waves")):
            if word in words and len(words) > 1 and not hanging and rng.random() < 0.25:
                noun = instead
                words.remove(word)
        whose = "{their} " if hanging and hanging[0] in TIED and rng.random() < 0.5 else ""
        told.setdefault("things", []).append(whose + " ".join((*words, noun, *hanging)))
    if "things" in told:
        rng.shuffle(told["things"])
    return told


TIED = (SAID["tied_hair"].hair + ", " + RARE["tied_hair"].hair).split(", ")


def _named(noun: str, told: Told, rng: Random, article: str = "a", comma: float = 0.5) -> str:
    """«a smiling woman with long hair wearing glasses who is pale»."""
    face = noun.startswith("face") or noun.endswith("face")
    adjectives, things, worn = told.get("adjectives", []), told.get("things", []), told.get("worn", [])
    room = 0 if noun in NAMELESS else 3 if face else 2
    cut = max(0, len(adjectives) - room)
    late, adjectives = adjectives[:cut], adjectives[cut:]
    if worn and rng.random() < (0.8 if face else 0.5):
        things, worn = things + worn, []
    also = f"{'that' if face else 'who'} is {_listed(late)}" if late else ""
    tails = [also] if late and noun in NAMELESS else []
    if things:
        tails.append(f"with {_listed(things)}")
    if worn:
        tails.insert(rng.randint(0, len(tails)), f"wearing {_listed(worn)}")
    if lacking := told.get("lacking"):
        word = "not wearing" if not worn and rng.random() < 0.35 and WEARABLE.issuperset(lacking) else "without"
        tails.append(f"{', ' if things and comma else ''}{word} {_listed(lacking, 'or')}")
    if doing := told.get("doing"):
        tails.insert(0, _listed(doing)) if rng.random() < 0.5 or not tails else tails.append(f", {_listed(doing)}")
    whose = [f"whose {part}" for part in told.get("part", ())]
    if clauses := [also, *whose] if also not in ("", *tails) else whose:
        tails.append(" and ".join(clauses))
    text = " ".join((*adjectives, noun))
    for k, tail in enumerate(tails):
        text += (
            tail
            if tail[0] == ","
            else f", {tail}"
            if k and (rng.random() < comma or tail[:5] == "whose")
            else f" {tail}"
        )
    if ground := told.get("ground"):
        text += f"{',' if clauses else ''} {_setting(_color(ground), things, rng)} background"
    for light in told.get("light", ()):
        text += f"{'' if light.startswith('in ') else ','} {light}"
    if noun in NAMELESS or not article:
        return text
    if article == "a":
        article = "the" if noun.startswith("face of") else "an" if text[0].lower() in "aeiou" else "a"
    return f"{article} {text}"


def _setting(color: str, things: list[str], rng: Random) -> str:
    """«against an emerald»."""
    return f"{rng.choice(SETTINGS[: 3 if things else 4])}{'n' if color[0] in 'aeiou' else ''} {color}"


def _color(ground: list[str]) -> str:
    """«bright green»; «white green» is no colour."""
    return " ".join(word for word in ground if len(ground) == 1 or not COLORED.search(word)) or ground[-1]


COLORED = re.compile("white|black|cream|grey|charcoal|snow|coloured|pitch|inky|sunny|night|nocturnal|dusky|lit$")


def _clause(told: Told, rng: Random) -> str:
    """«is smiling, has a beard and wears glasses»; empty where there is nothing to say."""
    being, having = told.get("adjectives", []) + told.get("doing", []), told.get("things", [])
    worn, lacking, verbs = told.get("worn", []), told.get("lacking", []), []
    if lacking and rng.random() < 0.4 and WEARABLE.issuperset(lacking):
        verbs = [f"is not wearing {_listed(lacking, 'or')}"]
    else:
        having = having + [f"no {re.sub('^an? ', '', word)}" for word in lacking]
    if worn and rng.random() < 0.7:
        verbs.insert(0, f"{rng.choice(('wears', 'is wearing'))} {_listed(worn)}")
    else:
        having = worn + having
    if having:
        verbs.insert(0, f"has {_listed(having)}")
    if being:
        verbs.insert(rng.choice((0, 0, len(verbs))), f"is {_listed(being)}")
    return _listed(verbs) if verbs else ""


WEARABLE = frozenset(("glasses", "a hat", "lipstick", "earrings", "makeup", "make-up"))


def _sentence(noun: str, told: Told, pronoun: str, straight: bool, rng: Random) -> str:
    """«A young woman with long blond hair is smiling at the camera.»"""
    if straight and "smiling" in told.get("doing", ()) and rng.random() < 0.4:
        told = told | {"doing": ["smiling at the camera" if word == "smiling" else word for word in told["doing"]]}
    ends = [f"{{Their}} {' and {their} '.join(told['part'])}"] if "part" in told else []
    if "ground" in told:
        ends.append(f"The background is {_color(told['ground'])}")
    for light in told.get("light", ()):
        how = re.fullmatch("in (.*) light", light)
        ends.append(
            f"The light is {how[1]}" if how else f"The picture {'is' if light[-3:] == 'lit' else 'was taken'} {light}"
        )
    adjectives, things = told.get("adjectives", []), told.get("things", [])
    early = [word for word in adjectives if noun not in NAMELESS and (word.endswith("-haired") or rng.random() < 0.4)]
    cut = rng.randint(0, min(2, len(things)))
    subject = {"adjectives": early[-2:], "things": things[:cut]}
    rest = {form: told[form] for form in ("worn", "doing", "lacking") if form in told}
    rest |= {"adjectives": [word for word in adjectives if word not in early[-2:]], "things": things[cut:]}
    roll, clause = rng.random(), _clause(rest, rng)
    if not clause:
        if not (early or things):  # «This is someone whose hair is curly.»
            subject["part"], ends = told.get("part", []), ends["part" in told :]
        text = f"{rng.choice(SHOWN)} {_named(noun, subject, rng, comma=0)}"
    elif pronoun and roll < 0.25 and noun in ("man", "woman") and not early:
        text = f"{pronoun} {_clause(told, rng)}"
    elif pronoun and roll < 0.5 and (early or cut):
        text = f"{_named(noun, subject, rng, comma=0)}. {pronoun.capitalize()} {clause}"
    else:
        text = f"{_named(noun, subject, rng, rng.choice(('a', 'a', 'a', 'this', 'the')), comma=0)} {clause}"
    return " ".join(f"{part[0].upper()}{part[1:]}." for part in (text, *ends))


def _listed(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def vocabulary() -> frozenset[str]:
    """Every word that a caption can hold, in lower case; compounds are parted at their hyphens.

    >>> "glasses" in vocabulary(), "spectacles" in vocabulary()
    (True, False)
    """
    said = [phrase for table in (SAID, RARE, DENIED) for row in table.values() for _, phrase in row.phrases()]
    texts = [
        *said,
        *PEOPLE.values(),
        *RARE_PEOPLE.values(),
        *FACES.values(),
        *LEADS,
        *OF_PEOPLE,
        *SETTINGS,
        *SHOWN,
        GLUE,
    ]
    return frozenset(content(" ".join(texts).replace("{their}", "")))


def content(text: str) -> list[str]:
    """The words of a text in lower case, without «'s» and parted at hyphens.

    >>> content("A middle-aged man's face.")
    ['a', 'middle', 'aged', 'man', 'face']
    """
    return re.findall(r"[a-z]+(?:'(?!s\b)[a-z]+)?", text.lower().replace("'s ", " "))


SHAPES: dict[str, tuple[str, ...]] = {
    "adjectives": ("{}", "a {} face", "{} face", "a {} person", "a {} man", "a {} woman", "somebody {}", "{} people"),
    "things": ("{}", "a face with {}", "face with {}", "a person with {}", "a man who has {}", "a woman with {}"),
    "worn": ("{}", "a face with {}", "a person wearing {}", "a man in {}", "a woman who wears {}", "wearing {}"),
    "doing": ("{}", "a person {}", "a face {}", "a man who is {}", "she is {}", "somebody {}"),
    "part": ("{}", "a person whose {}", "a face whose {}"),
    "hair": ("{} hair", "a person with {} hair", "face with {} hair", "her hair is {}", "a {}-haired person"),
    "ground": ("{} background", "a face against a {} background", "a person in front of a {} wall"),
    "light": ("{}", "a face {}", "a portrait {}"),
    "lacking": ("no {}", "a face without {}", "face with no {}", "a person without {}"),
    "nouns": ("{}", "a {}", "the face of a {}", "the {} looks at us", "a {} with a smile", "like a {}"),
}
"""Where a phrase or a word stands in broad descriptions, by its form."""


def phrases(rng: Random, n: int, words: Sequence[str]) -> list[str]:
    """``n`` broad descriptions of faces, to distil a sentence encoder on: any phrase known here, and any English word.

    Half hold phrases of the captions or of those kept from them, half hold the ``words`` given, in every place that
    a phrase can take. No picture goes with them: that the held-out wordings are among them tells nothing of what they
    look like, only how the teacher reads them. Raises ``ValueError`` if there are no words.

    >>> phrases(Random(0), 2, ["marble"])
    ['...', '...']
    """
    if not words:
        raise ValueError("broad descriptions take any English words. Got none: see english().")
    known = [said for table in (SAID, DENIED, HELD_OUT) for row in table.values() for said in row.phrases()]
    seldom = [said for row in RARE.values() for said in row.phrases()]
    for nouns, pool in ((PEOPLE, known), (RARE_PEOPLE, seldom)):
        pool += [("nouns", noun) for row in nouns.values() for noun in dict.fromkeys(row.split(", "))]
    forms = list(SHAPES)

    def one(share: float) -> str:
        if rng.random() < share:
            form, phrase = rng.choice(known if rng.random() < 2 / 3 else seldom)
        else:
            form, phrase = rng.choice(forms), rng.choice(words)
        if hangs(phrase) and form == "hair":
            form, phrase = "things", bare("hair", phrase)
        phrase = re.sub(r"^an? ", "", phrase) if form == "lacking" else phrase
        return rng.choice(SHAPES[form]).format(phrase.replace("{their} ", rng.choice(("", "his ", "her "))))

    texts = []
    for _ in range(n):
        text = one(0.5)
        if rng.random() < 0.3:
            text = f"{text}{rng.choice((', ', ' and '))}{one(0.5)}"
        if text.startswith(("a ", "face", "somebody")) and rng.random() < 0.5:
            text = f"{rng.choice(LEADS[:9])} {text}"
        texts.append(re.sub(r"\ba (?=[aeiou])", "an ", text.replace(" a a ", " a ").replace(" a an ", " an ")))
    return texts


def english(tokenizer: Path) -> list[str]:
    """The whole words of a WordPiece vocabulary, of three letters a to z or more, as its ``tokenizer.json`` has them.

    Raises ``ValueError`` if the file has no vocabulary.
    """
    try:
        vocab: Iterable[str] = json.loads(Path(tokenizer).read_text("utf-8"))["model"]["vocab"]
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{tokenizer} has no vocabulary: give the tokenizer.json of a sentence encoder.") from error
    return [word for word in vocab if word.isascii() and word.isalpha() and word.islower() and len(word) > 2]
