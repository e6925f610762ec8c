"""The judge of real faces: what pictures of them show, and whether two are of one person; no editor is trained on it.

It is four published networks, see ``networks``; on what these see, a linear head for each thing that none of them names
or that it names better, fitted to labels of generated faces by eye, which no editor was trained on; and colours, which
are measured where landmarks say that lips, cheeks and hair are.

Pictures must be aligned as FFHQ's: each network looks at a fixed part of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit.checkpoints.tfjs import Weight
from deltaedit.files import read_tensors, write_tensors
from deltaedit.pictures import resize
from deltaedit.worlds.faces.measures import colours, turned
from deltaedit.worlds.faces.networks import EXPRESSIONS, PUBLISHED, SAME_PERSON, Network, network

WEIGHTS = Path(__file__).parent / "weights"
FILE, CARD = "judge.safetensors", "judge.card.json"
KIND = "faces"  # what the file says that it is

DESCRIPTOR = 128  # numbers that tell people apart
BATCH = 16  # pictures at a time: their maps stay in a processor's cache

SEEN = 256  # pixels of a picture that are looked at
FACE = (0.14, 0.22, 0.86, 0.94)  # left, top, right, bottom of a picture: from brows to chin, with a border
CHIP = (0.166, 0.274, 0.824, 0.932)  # as dlib cuts faces out, by where eyes and mouths of FFHQ are

MAPS: tuple[tuple[str, str, str, int, int], ...] = (
    ("whole", "face_recognition", "32_3", 12, 3),
    ("whole", "face_recognition", "64_3", 8, 3),
    ("whole", "face_recognition", "128_2", 8, 3),
    ("chip", "face_recognition", "64_3", 8, 1),
    ("chip", "face_recognition", "128_2", 8, 1),
    ("chip", "face_recognition", "256_2", 3, 1),
    ("face", "age_gender", "exit_reduction_block", 7, 1),
    ("face", "face_expression", "dense2", 7, 1),
    ("face", "face_landmark_68", "dense2", 7, 1),
)
"""What heads read, beside the networks' outputs and a coarse picture: the view, the network, its block, the cells each
way that its maps are averaged in, and how much it weighs when heads are fitted: hats are in the whole picture."""
LAST = "128_2"  # the block after which the whole picture's are not needed
COARSE = 16  # pixels of the picture that heads are given

COLOURS = ("black", "brown", "blond", "red", "grey")
"""Of hair, in the order of ``hair_color``."""
THINGS = (
    *("glasses", "sunglasses", "beard", "moustache", "bald", "bangs", "hat", "lipstick", "earrings", "makeup"),
    *("smile", "open_mouth", "closed_eyes", "man"),
)
"""What is there or not, as heads read it."""
MOODS = ("surprised", "sad", "angry")
"""Expressions besides: there where it is the most probable of ``EXPRESSIONS``. Few generated faces look so; of those
said to be sad half do, of the angry hardly any: no goal asks for these two."""
AMOUNTS = ("age", "hair_length", "curl")
"""What heads read as a number: years; 0 short, 1 medium, 2 long; 0 straight, 1 wavy, 2 curly."""
MEASURED = ("yaw", "pitch", "skin", "background", "lips", "hair_light")
"""What landmarks and pixels tell: how the head is turned, to the right as the viewer sees it, and bent down, see
``measures.turned``; lightness (CIE L*) of cheeks, of the picture's upper corners and of what is above the forehead; and
how much redder (a*) lips are than cheeks."""

HEADS = (*THINGS, *AMOUNTS, *COLOURS)
"""All that has a head of its own."""
NAMES = (*THINGS, *MOODS, "hair_color", *AMOUNTS, *MEASURED)
"""All that is read."""

RAREST = 0.25
"""The least spread of what is there or not: one face in 15. What is rarer would weigh more than all else together."""

COVERED = {
    "hat": ("bald", "bangs", "hair_color", "hair_light"),
    "bald": ("bangs", "hair_color", "hair_light", "hair_length", "curl"),
    "sunglasses": ("glasses", "closed_eyes"),
}
"""What cannot be seen where another thing is."""


@dataclass(frozen=True)
class FaceGoal:
    """What an edit of a face is after: a reading that lies between two numbers; see ``effects.AnyGoal``.

    >>> FaceGoal("old face", "age", above=55.0).reached(torch.tensor([[70.0]]).expand(1, len(NAMES))).tolist()
    [True]
    """

    prompt: str
    name: str
    above: float = -torch.inf
    below: float = torch.inf
    also: tuple[str, ...] = ()
    neutral: str = "face"  #: the prompt that it is told from; one of «man» or «woman» is asked of such

    @property
    def canonical(self) -> str:
        """What it is called."""
        return self.prompt

    def reached(self, read: Tensor) -> Tensor:
        """Where attributes (B, len(NAMES)), as they were read, show it; bool (B,)."""
        own = read[:, NAMES.index(self.name)]
        return (own > self.above) & (own < self.below)

    def suits(self, read: Tensor) -> Tensor:
        """Whom it can be asked of: «bald man» of men; bool (B,)."""
        man = read[:, NAMES.index("man")] > 0.5
        return {"man": man, "woman": ~man}.get(self.neutral, torch.ones_like(man))


ASKS: tuple[tuple[str, str, bool | str, tuple[str, ...]], ...] = (
    ("face with glasses", "glasses", True, ()),
    ("face without glasses", "glasses", False, ()),
    ("face with sunglasses", "sunglasses", True, ("glasses",)),
    ("man with a beard", "beard", True, ("moustache",)),
    ("clean-shaven man", "beard", False, ("moustache",)),
    ("man with a moustache", "moustache", True, ("beard",)),
    ("bald man", "bald", True, ("hair_length", "hair_light")),
    ("face with bangs", "bangs", True, ("hair_light",)),
    ("face with a hat", "hat", True, ("hair_light",)),
    ("woman with red lipstick", "lipstick", True, ("lips", "makeup")),
    ("woman with earrings", "earrings", True, ()),
    ("woman with makeup", "makeup", True, ("lipstick", "lips")),
    ("face with long hair", "hair_length", "high", ()),
    ("face with short hair", "hair_length", "low", ()),
    ("face with curly hair", "curl", "high", ()),
    ("face with straight hair", "curl", "low", ()),
    *((f"face with {colour} hair", "hair_color", colour, ("hair_light",)) for colour in COLOURS),
    ("smiling face", "smile", True, ("open_mouth", *MOODS)),
    ("serious face", "smile", False, ("open_mouth", *MOODS)),
    ("face with an open mouth", "open_mouth", True, ()),
    ("face with a closed mouth", "open_mouth", False, ()),
    ("face with closed eyes", "closed_eyes", True, ()),
    ("surprised face", "surprised", True, ("open_mouth", "smile")),
    ("child's face", "age", "child", ()),
    ("young face", "age", "low", ()),
    ("old face", "age", "high", ()),
    ("male face", "man", True, ()),
    ("female face", "man", False, ()),
    ("face turned to the left", "yaw", "low", ()),
    ("face turned to the right", "yaw", "high", ()),
    ("face looking up", "pitch", "low", ()),
    ("face looking down", "pitch", "high", ()),
    ("face with dark skin", "skin", "low", ()),
    ("face with pale skin", "skin", "high", ()),
    ("face against a dark background", "background", "low", ()),
    ("face against a bright background", "background", "high", ()),
)
"""The edits that are measured: the prompt, the attribute, its value, and what moves with it by its nature."""


@dataclass(frozen=True)
class JudgeCard:
    """What a judge is made of and how well it reads: the content of ``judge.card.json``.

    >>> JudgeCard.read(WEIGHTS / CARD).licences["networks"][:3]
    'MIT'
    """

    licences: dict[str, str]
    labels: dict[str, Any]  #: how many faces were labelled by eye, of which kind, and how many are held out
    attributes: dict[str, dict[str, Any]]
    """By attribute: what reads it, how many faces show it, and AUCs, with 95 % intervals, on faces that were held out:
    on all, on the random and on the enriched part of them."""
    same_person: dict[str, Any]  #: distances of descriptors, of strangers and of one person
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path) -> JudgeCard:
        """Read the card; raises ``ValueError`` if it is missing or damaged."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise ValueError(f"there is no card {path}: check the path.") from None
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is no card of a judge of faces ({error}).") from None


@dataclass(frozen=True)
class Reading:
    """How what heads and landmarks give becomes what a judge reads; all of it was measured on generated faces."""

    threshold: dict[str, float]  #: of the score of each thing and colour: it is as often missed as seen wrongly
    scale: dict[str, float]  #: what a score beyond its threshold is multiplied by to be log odds
    ends: dict[str, dict[str, float]]  #: of numbers: what is below «low» and above «high»; of age also «child»
    spread: dict[str, float]  #: standard deviation of each attribute over generated faces, see ``RAREST``

    def odds(self, score: Tensor, plain: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By thing, mood and colour the log odds (B,), of the scores of heads (B, len(HEADS)) and ``Seen.plain``."""
        known = {name: score[:, HEADS.index(name)] - self.threshold[name] for name in (*THINGS, *COLOURS)}
        return {k: self.scale[k] * x for k, x in known.items()} | {k: plain[k].logit(1e-6) for k in MOODS}


@dataclass(frozen=True, eq=False)
class Seen:
    """What the networks see in B pictures."""

    cells: list[Tensor]  #: what heads read, (B, D'), of each of ``MAPS``, of the coarse picture, and all outputs
    descriptor: Tensor  #: (B, 128)
    plain: dict[str, Tensor]  #: what no head is needed for: how probable each expression is, and ``MEASURED``; (B,)
    age_gender: Tensor  #: (B, 3), years and logits of man and woman, as published; heads read both better


def decided(score: Tensor, plain: Mapping[str, Tensor], reading: Reading) -> Tensor:
    """Attributes (B, len(NAMES)) of pictures, of the scores of heads (B, len(HEADS)) and of ``Seen.plain``."""
    odds = reading.odds(score, plain)
    mood = torch.stack([plain[name] for name in EXPRESSIONS]).argmax(0)
    columns = {name: odds[name] > 0 for name in THINGS}
    columns |= {name: mood == EXPRESSIONS.index(name) for name in MOODS}
    columns["hair_color"] = torch.stack([odds[colour] for colour in COLOURS]).argmax(0)
    columns |= {name: score[:, HEADS.index(name)] for name in AMOUNTS} | {name: plain[name] for name in MEASURED}
    return torch.stack([columns[name].float() for name in NAMES], dim=1)


def visible(read: Tensor) -> Tensor:
    """Which attributes can be seen, bool (B, len(NAMES)), in pictures that were read so: see ``COVERED``."""
    seen = torch.ones_like(read, dtype=torch.bool)
    for name, covered in COVERED.items():
        there = read[:, NAMES.index(name)] > 0.5
        for other in covered:
            seen[:, NAMES.index(other)] &= ~there
    return seen


class FaceJudge(nn.Module):
    """Reads faces, (B, 3, H, W) in [-1, 1], aligned as FFHQ's: see ``effects.AnyJudge``.

    >>> read, descriptor = FaceJudge.load().look(torch.zeros(2, 3, 256, 256))
    >>> descriptor.shape
    torch.Size([2, 128])
    """

    world = None  #: none draws them
    names = NAMES
    binary = (*THINGS, *MOODS)
    choices = ("hair_color",)  #: of several, one
    identity = ("man", "age", "skin")
    kept = ("man", "age", "skin", "background")  #: what an edit should leave alone which does not name them

    def __init__(
        self, networks: Mapping[str, Network], heads: Tensor | None = None, bias: Tensor | None = None,
        reading: Reading | None = None,
    ) -> None:  # fmt: skip
        """From the ``PUBLISHED`` networks; heads (D, len(HEADS)) on ``Seen.cells`` and their bias, if there are any."""
        super().__init__()
        self.networks = nn.ModuleDict(networks).to(memory_format=torch.channels_last).requires_grad_(False)
        self.register_buffer("heads", heads)
        self.register_buffer("bias", bias)
        self.reading = reading
        self.eval()

    def seen(self, image: Tensor) -> Seen:
        """What the networks see in a few pictures."""
        image = resize(image.float(), SEEN)
        views = {"whole": F.interpolate(image, (150, 150), mode="bilinear", antialias=True)}
        views |= {"chip": cut(image, CHIP, 150), "face": cut(image, FACE, 112)}
        maps = {}
        for view, name in dict.fromkeys((view, name) for view, name, *_ in MAPS):
            x = views[view].contiguous(memory_format=torch.channels_last)
            maps[view, name] = self.networks[name].maps(x, LAST if view == "whole" else None)
        out = {name: self.networks[name].head(own) for (view, name), own in maps.items() if view != "whole"}
        cells = [F.adaptive_avg_pool2d(maps[view, name][block], n).flatten(1) for view, name, block, n, _ in MAPS]
        cells += [F.adaptive_avg_pool2d(image, COARSE).flatten(1), *out.values()]
        mood = out["face_expression"].softmax(1)
        plain = {name: mood[:, EXPRESSIONS.index(name)] for name in EXPRESSIONS}
        plain |= measured(image, out["face_landmark_68"])
        return Seen(cells, out["face_recognition"], plain, out["age_gender"])

    @torch.no_grad()
    def look(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What ``read`` says of pictures, and the recogniser's descriptors (B, 128), for ``same_person``."""
        if not len(image):
            return image.new_zeros(0, len(NAMES)), image.new_zeros(0, DESCRIPTOR)
        batches = tqdm(image.split(BATCH), desc=f"judging {len(image)} faces", delay=2, leave=False)
        read, descriptor = zip(*(self._look(batch)[:2] for batch in batches), strict=True)
        return torch.cat(read), torch.cat(descriptor)

    def read(self, image: Tensor) -> Tensor:
        """The attributes of pictures (B, len(names)): 0 or 1, the index of a colour, or a number."""
        return self.look(image)[0]

    def _look(self, image: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Attributes and descriptors of a few pictures, and ``Reading.odds``."""
        if self.reading is None or self.heads is None:
            raise ValueError("this judge has no heads yet: fit them, or take FaceJudge.load().")
        seen = self.seen(image)
        score = torch.cat(seen.cells, dim=1) @ self.heads + self.bias
        return decided(score, seen.plain, self.reading), seen.descriptor, self.reading.odds(score, seen.plain)

    def visible(self, read: Tensor) -> Tensor:
        """Which attributes can be seen, bool (B, len(names)), in pictures that were read so."""
        return visible(read)

    def moved(self, before: Tensor, after: Tensor) -> Tensor:
        """How far attributes are from one reading to another, (B, len(names)), each in its spread over faces.

        Another colour is a root of 2 away, as one-hot vectors are.
        """
        change, colour = (after - before).abs(), self.names.index("hair_color")
        change[:, colour] = 2**0.5 * (change[:, colour] > 0.5)
        return change / after.new_tensor([self.reading.spread[name] for name in self.names])

    @property
    def spread(self) -> dict[str, float]:
        """Standard deviation of each attribute over generated faces; see ``Reading``."""
        return self.reading.spread

    @property
    def goals(self) -> tuple[FaceGoal, ...]:
        """The edits that are measured, ``ASKS``."""
        return tuple(self.goal(*ask) for ask in ASKS)

    def there_and_gone(self, name: str) -> tuple[FaceGoal, FaceGoal]:
        """The two goals of a thing that can be taken off: it, and without it."""
        asks = {ask[2]: ask for ask in ASKS if ask[1] == name}
        return self.goal(*asks[True]), self.goal(*asks[False])

    def goal(self, prompt: str, name: str, value: bool | str, also: Sequence[str] = ()) -> FaceGoal:
        """A prompt that asks for an attribute's value: a truth value, a colour, or an end that ``Reading`` knows.

        A prompt that names a man or a woman is asked of such. Raises ``ValueError`` for what it does not read.
        """
        if name not in self.names:
            raise ValueError(f"the judge reads no {name!r}: choose one of {', '.join(self.names)}.")
        if name in self.binary and isinstance(value, bool):
            bounds = {"above" if value else "below": 0.5}
        elif name == "hair_color" and value in COLOURS:
            index = COLOURS.index(str(value))
            bounds = {"above": index - 0.5, "below": index + 0.5}
        elif value in (ends := self.reading.ends.get(name, {})):
            bounds = {"above" if value == "high" else "below": ends[str(value)]}
        else:
            known = [True, False] if name in self.binary else list(COLOURS if name == "hair_color" else ends)
            raise ValueError(f"{name} has no value {value!r}: choose one of {known}.")
        neutral = next((word for word in prompt.split() if word in ("man", "woman")), "face")
        return FaceGoal(prompt, name, also=tuple(also), neutral=neutral, **bounds)

    @torch.no_grad()
    def readings(self, image: Tensor) -> dict[str, float]:
        """What one picture (1, 3, H, W) in [-1, 1] shows, in words: how likely each thing is, or how much of it.

        Things and colours have a probability; a number has its place between its low end, 0, and its high, 1. What
        cannot be seen is left out.
        """
        read, _, odds = self._look(image)
        said: dict[str, float] = {}
        for name, value, seen in zip(self.names, read[0].tolist(), self.visible(read)[0].tolist(), strict=True):
            words = name.replace("_", " ")
            if seen and name == "hair_color":
                share = torch.stack([odds[colour] for colour in COLOURS])[:, 0].softmax(0).tolist()
                said |= {f"{colour} hair": p for colour, p in zip(COLOURS, share, strict=True)}
            elif seen and name in odds:
                said[words] = float(odds[name][0].sigmoid())
            elif seen:
                low, high = (self.reading.ends[name][end] for end in ("low", "high"))
                said[words] = (value - low) / (high - low)
        return said

    def save(self, path: str | Path, weights: Mapping[str, Mapping[str, Weight]]) -> None:
        """Write the published weights, as they were published, and the heads, quantised in the same way, to one file.

        What was published in float32 is kept in float16.
        """
        size = self.heads.abs() + 1e-12
        rows = (size / size.median(0).values).mean(1)  # of features and of what is said of them each has its own scale
        columns = (size / rows[:, None]).amax(0) / 127
        whole = (self.heads / rows[:, None] / columns).round().to(torch.int8)
        own = {"heads": whole, "heads.rows": rows, "heads.columns": columns, "bias": self.bias}
        write(path, own, self.reading, weights)

    @classmethod
    @torch.no_grad()
    def load(cls, path: str | Path = WEIGHTS / FILE, device: str | torch.device = "cpu") -> FaceJudge:
        """Read what ``save`` wrote, by default the judge that ships with the library; ``ValueError`` if it is none."""
        tensors, about = read_tensors(path)
        try:
            if about.get("kind") != KIND:
                raise ValueError(f"it is of kind {about.get('kind')!r}")
            weights: dict[str, dict[str, Weight]] = {name: {} for name in PUBLISHED}
            for at, (scale, least) in about["quantised"].items():
                name, _, layer = at.partition("/")
                weights[name][layer] = Weight(tensors[at], scale, least)
            networks = {name: network(name, own) for name, own in weights.items()}
            heads = tensors["heads"].float() * tensors["heads.columns"] * tensors["heads.rows"][:, None]
            judge = cls(networks, heads, tensors["bias"], Reading(**about["reading"]))
            wanted = sum(own.shape[1] for own in judge.seen(torch.zeros(1, 3, SEEN, SEEN)).cells), len(HEADS)
            if heads.shape != wanted:
                raise ValueError(f"its heads are {tuple(heads.shape)}, where networks and names make {wanted}")
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ValueError(
                f"{path} holds no judge of faces ({str(error).splitlines()[0]}): check the path."
            ) from None
        return judge.to(device)


def write(
    path: str | Path, heads: Mapping[str, Tensor], reading: Reading, weights: Mapping[str, Mapping[str, Weight]]
) -> None:
    """Write heads as ``FaceJudge.save`` packs them, and published weights by network, to one file."""
    flat = {f"{name}/{at}": weight for name, own in weights.items() for at, weight in own.items()}
    stored = {at: w.stored.half() if w.stored.is_floating_point() else w.stored for at, w in flat.items()}
    quantised = {at: [w.scale, w.least] for at, w in flat.items()}
    write_tensors(path, {**stored, **heads}, {"kind": KIND, "quantised": quantised, "reading": asdict(reading)})


def same_person(one: Tensor, other: Tensor) -> Tensor:
    """Whether descriptors (B, 128), from ``FaceJudge.look``, are of one person, as the recogniser has it; bool (B,).

    >>> same_person(torch.zeros(1, 128), torch.full((1, 128), 0.1))
    tensor([False])
    """
    return (one - other).norm(dim=1) < SAME_PERSON


def cut(image: Tensor, box: tuple[float, float, float, float], size: int) -> Tensor:
    """A part of pictures (B, 3, H, W), ``box`` its left, top, right and bottom from 0 to 1, at ``size`` pixels."""
    left, top, right, bottom = box
    theta = image.new_tensor([[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]])
    grid = F.affine_grid(theta.expand(len(image), 2, 3), [len(image), 3, size, size], align_corners=False)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=False)


def measured(image: Tensor, landmarks: Tensor) -> dict[str, Tensor]:
    """``MEASURED`` of pictures, (B,) each; ``landmarks`` (B, 136) are those found in ``FACE``."""
    left, top, right, bottom = FACE
    corner, side = landmarks.new_tensor([left, top]), landmarks.new_tensor([right - left, bottom - top])
    points = corner + side * landmarks.unflatten(1, (-1, 2))
    return turned(points) | colours(image, points)
