"""Captions of generated faces: true, in good English, with words kept from them, and broad phrases."""

import json
import re
from collections import Counter
from random import Random

import pytest
import torch

from deltaedit.worlds.faces.captions import THERE, captions, content, english, phrases, settled, vocabulary
from deltaedit.worlds.faces.rare import RARE, agrees, sayings
from deltaedit.worlds.faces.words import ATTRIBUTES, CARRIERS, DENIED, PROMPTS, SAID, WORDINGS

INDEX = {name: k for k, name in enumerate(ATTRIBUTES)}
SAYS = {  # written apart from the grammar: what a reader takes a caption to say
    "glasses": r"(?<!dark )\bglasses",
    "sunglasses": r"sunglasses|dark glasses",
    "beard": r"\bbeard(ed)?\b",
    "stubble": r"stubbl|unshaven",
    "moustache": r"m(o)?ustache",
    "bald": r"\bbald|no hair",
    "short_hair": r"\bshort\b",
    "long_hair": r"\blong\b|shoulder",
    "tied_hair": r"\b(tied|pulled)\b",
    "black_hair": r"\bblack\b(?! background| (green|blue) back|\.)|dark-haired|dark hair",
    "brown_hair": r"\bbrown\b",
    "blond_hair": r"\bblonde?\b|fair-haired|fair hair",
    "red_hair": r"\bred(dish)?\b(?! lip)",
    "grey_hair": r"\bgr[ae]y\b|white-haired|white hair",
    "straight_hair": r"\bstraight\b",
    "wavy_hair": r"\bwav",
    "curly_hair": r"\bcurl",
    "bangs": r"\bbangs",
    "hat": r"\b(hat|cap)\b",
    "lipstick": r"lipstick|\b(red|painted) lips",
    "earrings": r"earring",
    "makeup": r"make-?up|made-up",
    "smile": r"\bsmil|\bhappy",
    "teeth": r"teeth",
    "open_mouth": r"open mouth|mouth( is)?( wide)? open|open-mouthed",
    "closed_eyes": r"eyes( are)? (closed|shut)|closed eyes",
    "squint": r"squint|narrowed",
    "raised_brows": r"brows( are)? raised|raised (eye)?brows|raising|surprised",
    "frown": r"frown|angry|unhappy",
    "pucker": r"pout|pursed|pucker",
    "child": r"\b(child|kid|toddler)\b|(?<!teenage )\b(boy|girl)\b",
    "young": r"young (?!child|boy|girl)|teenage|twenties",
    "middle_aged": r"middle|forties|fifties",
    "old": r"\b(old|older|elderly|grandmother|granny)\b|seventies",
    "man": r"\b(man|guy|gentleman|male|boy|he|his)\b",
    "woman": r"\b(woman|lady|female|girl|she|her|grandmother|granny)\b",
    "turned_left": r"\bleft\b",
    "turned_right": r"\bright\b",
    "looking_up": r"looking up|tilted up",
    "looking_down": r"looking down|lowered",
    "pale_skin": r"\bpale\b|(fair|light)[ -]skin",
    "dark_skin": r"dark[ -]skin|dark complexion",
    "tanned_skin": r"\btan",
    "round_face": r"\bround|wide face|chubby",
    "thin_face": r"\bthin|narrow\b",
    "bright_background": r"(bright|light|white) ((green|blue) )?background|background is (bright|light|white)",
    "dark_background": r"(dark|black) ((green|blue) )?background|background is (dark|black)",
    "green_background": r"\bgreen\b",
    "blue_background": r"\bblue\b",
    "bright_light": r"(bright|strong) light|brightly|well lit|light is (bright|strong)",
    "dim_light": r"(dim|low) light|dimly|poorly|light is (dim|low)",
}
DENIAL = r"(?:without|not wearing) (?:an? )?[\w-]+(?: or (?:an? )?[\w-]+)?|\bno (?!hair)[\w-]+|not smiling|unsmiling"
DENIES = {
    "smile": r"serious",
    "open_mouth": r"closed (mouth|lips)|mouth( is)? (closed|shut)",
    "closed_eyes": r"open eyes|eyes( are)? open",
    "hat": "nothing on (their |his |her )?head",
    "bangs": "forehead bare",
} | dict.fromkeys(("beard", "stubble", "moustache"), "clean-shaven")


def random_labels(n: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, len(ATTRIBUTES), generator=generator)
    labels[::2] **= 3  # faces that have little, as most
    return labels.where(torch.rand(labels.shape, generator=generator) > 0.1, float("nan"))


@pytest.fixture(scope="module")
def told() -> tuple[torch.Tensor, list[str]]:
    labels = random_labels(5000)
    return settled(labels), captions(labels, Random(0), negation=0.25, rare=0)


@pytest.fixture(scope="module")
def many(told) -> list[str]:
    rng = Random(1)
    return told[1] + [text for k in range(9) for text in captions(random_labels(5000, k + 1), rng)]


def test_attributes_that_exclude_each_other_are_never_both_there():
    labels = settled(torch.ones(1, len(ATTRIBUTES)))[0]
    there = {name for name, k in INDEX.items() if labels[k] > 0.5}
    assert len(there & {"man", "woman"}) <= 1
    assert len(there & {"child", "young", "middle_aged", "old"}) <= 1
    assert len(there & {"smile", "frown", "pucker"}) <= 1
    assert len(there & {name for name in ATTRIBUTES if name.endswith("_hair")} | (there & {"bald"})) <= 4
    sure = torch.full((1, len(ATTRIBUTES)), 0.1)
    sure[0, [INDEX["bald"], INDEX["curly_hair"]]] = torch.tensor([0.9, 0.8])
    kept = settled(sure)[0]
    assert kept[INDEX["bald"]] == pytest.approx(0.9)
    assert kept[INDEX["curly_hair"]].isnan()
    assert not sure.isnan().any(), "the labels given were changed"


def test_captions_are_true(told):
    assert set(SAYS) == set(ATTRIBUTES)
    found = Counter()
    for row, caption in zip(*told, strict=True):
        text = caption.lower()
        denied = re.findall(DENIAL, text)
        text = re.sub(DENIAL, "", text)
        for name, pattern in SAYS.items():
            if re.search(pattern, text):
                found[name] += 1
                assert row[INDEX[name]] > 0.7, (name, caption)
            if any(re.search(pattern, part) for part in denied):
                found[f"no {name}"] += 1
                assert row[INDEX[name]] < 0.3, (name, caption)
        for name, pattern in DENIES.items():
            if re.search(pattern, text):
                found[f"no {name}"] += 1
                assert row[INDEX[name]] < 0.3, (name, caption)
    seldom = [name for name in (*ATTRIBUTES, *(f"no {name}" for name in DENIED)) if found[name] < 10]
    assert not seldom, f"hardly ever told: {seldom}"


def test_rare_wordings_are_true_and_said_as_often_as_asked():
    sure = torch.eye(len(ATTRIBUTES)).repeat_interleave(60, 0)
    of = {phrase.lower(): name for phrase, name in sayings()}
    common = []
    for rare in (0.0, 1 / 3, 1.0):
        texts = [text.lower() for text in captions(sure, Random(0), 1, 1, negation=0, blank=0, rare=rare)]
        names = [ATTRIBUTES[k // 60] for k in range(len(texts))]
        wrong = [(text, name) for text, name in zip(texts, names, strict=True) if of.get(text, name) != name]
        assert not [(text, name) for text, name in wrong if name not in ("man", "woman")]  # «boy» says both
        common.append(sum(bool(re.search(SAYS[name], text)) for text, name in zip(texts, names, strict=True)))
    assert common[0] > 0.95 * len(sure) > common[1] > common[2]


def test_a_phrase_is_not_said_against_what_else_it_tells():
    assert agrees("laughing", {"teeth": float("nan")})
    assert not agrees("laughing", {"teeth": 0.1})
    assert not agrees("wide-eyed", {"closed_eyes": 0.8})
    labels = torch.zeros(400, len(ATTRIBUTES))
    labels[:, INDEX["smile"]] = 1
    texts = captions(labels, Random(0), low=1, high=1, negation=0, blank=0, rare=1)
    assert not re.search("laugh|giggl|chuckl", " ".join(texts))
    labels[:, INDEX["teeth"]] = 1
    assert re.search("laugh|giggl|chuckl", " ".join(captions(labels, Random(0), negation=0, rare=1)))


def test_every_attribute_has_many_wordings():
    told = Counter(name for _, name in sayings())
    assert set(RARE) == set(told) == set(ATTRIBUTES)
    assert min(told.values()) >= 20
    assert not {phrase for phrase, _ in sayings()} & {phrase for phrase, _ in WORDINGS}
    held = set(content(" ".join(phrase for phrase, _ in WORDINGS))) - CARRIERS
    assert not [(phrase, name) for phrase, name in sayings() if held & set(content(phrase))]


def test_nobody_denies_what_nobody_expects(told):
    for caption in told[1]:
        if re.search(r"\b(woman|lady|girl|grandmother)\b", caption):
            assert not re.search(r"(no|without a) (beard|m(o)?ustache)|clean-shaven", caption), caption
        if re.search(r"\b(man|guy|boy)\b", caption):
            assert not re.search(r"(no|without|not wearing) (lipstick|earrings|make-?up)", caption), caption


def test_captions_are_english(many):
    for caption in many:
        assert re.fullmatch(r"[A-Za-z][A-Za-z,.' -]*", caption), caption
        assert not re.search(r"  | [,.]|,[^ ]|\.[^ ]|\b(\w+) \1\b|\ba [aeiou]|\ban [^aAeiou]", caption), caption
        assert not re.search(r"-haired.*-haired", caption) or re.search("^[^.]*,", caption), caption
        assert not re.search(r"\b(a|an|the|this) some(body|one)\b", caption), caption
        for sentence in caption.split(". "):
            assert not caption.endswith(".") or sentence[0].isupper(), caption
    assert len({*many}) > 0.7 * len(many)


def test_what_is_uncertain_is_not_told():
    unsure = torch.full((500, len(ATTRIBUTES)), 0.5)
    unsure[250:] = float("nan")
    words = set(content(" ".join(captions(unsure, Random(0), low=7))))
    assert words <= set(content("a photo picture image of photograph close-up portrait headshot an the face")) | set(
        content("somebody someone person human individual being")
    )


def test_surer_labels_are_told_more_often():
    labels = torch.zeros(2000, len(ATTRIBUTES))
    labels[:1000, INDEX["hat"]], labels[1000:, INDEX["hat"]] = 0.75, 1.0
    texts = [bool(re.search(SAYS["hat"], text)) for text in captions(labels, Random(0), negation=0, rare=0)]
    assert sum(texts[:1000]) < 650 < 950 < sum(texts[1000:])


def test_age_and_gender_are_often_left_out():
    """Of faces of which as much is known as of real ones."""
    labels = torch.zeros(3000, len(ATTRIBUTES))
    sure = "man old short_hair grey_hair straight_hair beard glasses smile teeth pale_skin dark_background dim_light"
    labels[:, [INDEX[name] for name in sure.split()]] = 0.95
    texts = captions(labels, Random(0))
    share = {
        name: sum(bool(re.search(SAYS[name], text)) for text in texts) / 3000 for name in ("man", "old", "glasses")
    }
    assert 0.25 < share["man"] < 0.65
    assert 0.15 < share["old"] < 0.5
    assert 0.3 < share["glasses"] < 0.7


def test_numbers_of_facts():
    labels = torch.zeros(400, len(ATTRIBUTES))
    labels[:, [INDEX[name] for name in ("smile", "hat", "earrings", "lipstick")]] = 1
    one = captions(labels, Random(0), low=1, high=1, negation=0, blank=0, rare=0)
    four = captions(labels, Random(0), low=4, high=4, negation=0, blank=0, rare=0)
    none = captions(labels, Random(0), low=1, high=1, negation=0, blank=1)

    def count(text: str) -> int:
        return sum(bool(re.search(SAYS[name], text.lower())) for name in SAYS)

    assert {count(text) for text in one} <= {0, 1}  # «smile on her face» may fall away where the noun is a face
    assert sum(map(count, four)) > 3.9 * len(four)
    assert not sum(map(count, none))


def test_captions_are_the_same_for_a_seed():
    labels = random_labels(200)
    assert captions(labels, Random(3)) == captions(labels, Random(3))
    assert captions(labels, Random(3)) != captions(labels, Random(4))


def test_every_attribute_can_be_told_of_a_person_and_of_a_face():
    nouns = {"child", "young", "middle_aged", "old", "man", "woman"}
    for of_face in (False, True):
        assert {INDEX[name] for name in ATTRIBUTES if name not in nouns} <= set(THERE[of_face])
    assert set(SAID) == set(ATTRIBUTES)


@pytest.mark.parametrize(
    ("labels", "numbers", "message"),
    [
        (torch.zeros(2, 3), (1, 7), r"one column an attribute, \(n, 51\). Got \(2, 3\)"),
        (torch.full((2, 51), 1.5), (1, 7), "from 0 to 1, or nan. Got 1.5 to 1.5"),
        (torch.zeros(2, 51), (3, 2), "0 ≤ low ≤ high. Got 3 and 2"),
    ],
)
def test_bad_labels_are_refused(labels, numbers, message):
    with pytest.raises(ValueError, match=message):
        captions(labels, Random(0), *numbers)


def test_no_caption_holds_a_word_that_is_kept_from_them(many):
    known = vocabulary()
    assert {word for caption in many for word in content(caption)} <= known
    assert len(known) > 150
    assert len({text for text, _ in WORDINGS}) == len(WORDINGS) >= 100
    assert {name for _, name in WORDINGS} == set(ATTRIBUTES)
    for text, name in WORDINGS:
        kept = set(content(text)) - CARRIERS
        assert kept, f"{text} ({name}) holds no word of its own"
        assert not kept & known, f"captions may hold {kept & known}, see {text} ({name})"


def test_prompts_ask_for_attributes_in_a_few_words():
    assert len({prompt for prompt, _, _ in PROMPTS}) == len(PROMPTS) >= 40
    assert len({name for _, _, name in PROMPTS}) >= 25
    for prompt, neutral, name in PROMPTS:
        assert name in ATTRIBUTES
        assert neutral in ("face", "person", "man", "woman")
        assert re.search(SAYS[name], prompt), prompt


def test_broad_phrases_take_any_word():
    texts = phrases(Random(0), 6000, ["zither", "marble"])
    assert len(texts) == 6000
    assert texts == phrases(Random(0), 6000, ["zither", "marble"])
    said = " ".join(texts)
    for words in ("zither hair", "with marble", "bespectacled", "hair tied back", "a photo of a", "glasses", "grandpa"):
        assert words in said
    assert not re.search(r"[{}]|  |\ba [aeiou]", said)
    with pytest.raises(ValueError, match="Got none"):
        phrases(Random(0), 1, [])


def test_english_reads_whole_words(tmp_path):
    path = tmp_path / "tokenizer.json"
    words = dict.fromkeys(("[PAD]", "face", "##ing", "a", "naïve", "3d", "glasses"), 0)
    path.write_text(json.dumps({"model": {"vocab": words}}), encoding="utf-8")
    assert english(path) == ["face", "glasses"]
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="no vocabulary"):
        english(path)
