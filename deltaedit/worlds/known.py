"""Pictures of which something is known, with captions: what the chapters on CLIP look at, in any domain.

A world of ours draws them from its table, so that all is known. Faces are photographs that somebody has labelled. Where
nothing is known of a domain's pictures, those of a world stand in for them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from deltaedit import worlds
from deltaedit.clip import ClipEncoder
from deltaedit.editor import Editor
from deltaedit.worlds import evaluate
from deltaedit.worlds.faces import labels
from deltaedit.worlds.faces.captions import captions
from deltaedit.worlds.faces.examples import EXAMPLES
from deltaedit.worlds.faces.labels import ASKS, LABELS, Look
from deltaedit.worlds.faces.spread import auc
from deltaedit.worlds.faces.words import ATTRIBUTES, PROMPTS
from deltaedit.worlds.table import Binary
from deltaedit.worlds.world import Examples, World

FEWEST = 10  # labelled faces that show an attribute, and that lack it, for something to be said of it
RIDGE = 1.0  # faces that each attribute is held back by, in the regression on all of them
LOOKED_AT = 256  # pixels of a face that is shown


class Shots(NamedTuple):
    """How well CLIP tells what pictures show, by attribute; shares from 0 to 1."""

    right: dict[str, float]
    kinds: dict[str, str]  #: of the attribute, in words
    guess: dict[str, float]  #: what is right by guessing


class Switch(NamedTuple):
    """What a prompt asks for, and the step of image features where that is the one thing that changes."""

    prompt: str
    neutral: str  #: prompt of a picture without it
    name: str  #: of the attribute
    step: Tensor  #: (D,), unit norm, on the CPU


class Known(Protocol):
    """Pictures that CLIP was not trained on, and what is known of them."""

    neutral: str  #: prompt of a picture of which nothing is known
    examples: Examples
    image: Tensor  #: (n, 3, H, W) in [-1, 1]
    world: World | None  #: that drew them, if one did
    origin: str  #: in a sentence, where pictures and captions come from
    counting: str  #: in a few sentences, how ``zero_shot`` counts
    switching: str  #: in a few sentences, what the steps of ``switches`` are

    def shown(self, rows: Sequence[int] | Tensor) -> Tensor:
        """Some of the pictures (m, 3, H', W'), to be looked at."""

    def captions(self, seed: int = 0, at_most: int = 5) -> list[str]:
        """A caption for each picture, of so many facts at most."""

    def zero_shot(self, clip: ClipEncoder) -> Shots:
        """How well CLIP tells by prompts what the pictures show."""

    def switches(self, clip: ClipEncoder, n: int) -> list[Switch]:
        """Prompts and their steps; on ``n`` pictures, where a picture can be had with a thing and without it."""

    def removable(self) -> list[tuple[str, str]]:
        """Things that can be taken off: the names of their attributes, and words for them."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Renders of a world that no trainer saw; see ``Known``."""

    world: World
    image: Tensor
    factors: Tensor  #: (n, len(names))

    origin = (
        "The renderer draws pictures that no model was trained on, and the caption grammar says a few true things "
        "about each."
    )
    counting = (
        "Because everything about these pictures is known, the same can be counted. For an attribute that is there or "
        "not, the two sentences are the ones with and without it; for a colour, one sentence for each. To guess is to "
        "say the commonest value always."
    )
    switching = (
        "In the miniature the true step can be had: draw a picture with and without the thing, all else equal, and "
        "subtract the features."
    )

    @classmethod
    def of(cls, world: World, n: int, seed: int = 0) -> Drawn:
        """``n`` pictures of a world."""
        return cls(world, *evaluate.held_out(world, n, seed=evaluate.HELD_OUT + seed))

    @property
    def neutral(self) -> str:
        """The world's."""
        return self.world.neutral

    @property
    def examples(self) -> Examples:
        """The world's."""
        return self.world.examples

    def shown(self, rows: Sequence[int] | Tensor) -> Tensor:
        """See ``Known``."""
        return self.image[rows]

    def captions(self, seed: int = 0, at_most: int = 5) -> list[str]:
        """See ``Known``."""
        return self.world.captions(self.factors, random.Random(seed), at_most=at_most)

    def zero_shot(self, clip: ClipEncoder) -> Shots:
        """Accuracy, by attribute, at telling its values apart, where it can be seen."""
        right, table = evaluate.zero_shot(self.world, clip, self.image, self.factors), self.world.table
        seen, kinds, guess = self.world.visible(self.factors), {}, {}
        for name in right:
            k = table.index[name]
            values = self.factors[seen[:, k], k].long()
            kinds[name] = "there or not" if name in table.binary else "one of several"
            guess[name] = float(values.bincount().max() / len(values))
        return Shots(right, kinds, guess)

    def switches(self, clip: ClipEncoder, n: int) -> list[Switch]:
        """Of goals that put a thing on, or bring a scale from its middle to its high end."""
        table, found = self.world.table, []
        people = table.replace(self.factors[:n], **dict.fromkeys(table.binary, 0))  # nothing that would hide a change

        def look(**values: float) -> Tensor:
            return evaluate.image_features(clip, self.world.render(table.replace(people, **values)))

        plain = look()
        for goal in self.world.goals:
            if goal.value not in (True, "high"):
                continue
            a = table.attribute(goal.name)
            before, after = (0, 1) if isinstance(a, Binary) else (sum(a.range) / 2, a.range[1])
            one = look(**{a.name: before}) if before else plain
            step = F.normalize((look(**{a.name: after}) - one).mean(dim=0), dim=0)
            found.append(Switch(goal.canonical, self.neutral, a.name, step))
        return found

    def removable(self) -> list[tuple[str, str]]:
        """See ``Known``."""
        return [(name, self.world.table.attribute(name).yes[0]) for name in self.examples.removable]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Generated faces that somebody labelled by eye, for a judge, and that CLIP was not trained on; see ``Known``.

    Half of them were chosen for what is rare.
    """

    editor: Editor
    looks: list[Look]  #: one for each face
    image: Tensor

    world = None
    neutral = "face"
    examples = EXAMPLES
    origin = (
        "The generator draws faces that this CLIP was not trained on. Somebody looked at each and noted what is there; "
        "the caption grammar makes sentences of a few such notes."
    )
    counting = (
        "Because somebody noted what these faces show, the same can be counted. Of two faces, one that shows a thing "
        "and one that does not, the cosine with the step from a neutral prompt to the thing's is right if it is higher "
        "for the first: the area under the ROC curve. To guess is to be right in half of the pairs."
    )
    switching = (
        "Nobody can photograph a face with and without the thing, all else equal. The next best are labels: a "
        "regression of the features on all that was noted tells what each thing adds while the others stay."
    )

    @classmethod
    @torch.no_grad()
    def of(cls, editor: Editor, n: int, seed: int = 0) -> Labelled:
        """``n`` faces, or all there are, in an order that the seed says."""
        looks = labels.first(labels.read(LABELS), "judge")
        random.Random(seed).shuffle(looks)
        small = editor.at(editor.clip.image_size)
        return cls(editor, looks[:n], _faces(small, looks[:n]))

    def shown(self, rows: Sequence[int] | Tensor) -> Tensor:
        """See ``Known``; they are drawn larger."""
        return _faces(self.editor.at(LOOKED_AT), [self.looks[k] for k in torch.as_tensor(rows).tolist()])

    def captions(self, seed: int = 0, at_most: int = 5) -> list[str]:
        """See ``Known``."""
        told = torch.full((len(self.looks), len(ATTRIBUTES)), torch.nan)
        for name in ASKS.keys() & set(ATTRIBUTES):
            told[:, ATTRIBUTES.index(name)] = labels.target(self.looks, name)
        told[:, ATTRIBUTES.index("woman")] = 1 - told[:, ATTRIBUTES.index("man")]
        return captions(told, random.Random(seed), low=1, high=at_most, blank=0)

    def zero_shot(self, clip: ClipEncoder) -> Shots:
        """Area under the ROC curve, by attribute: how far a face lies towards the first prompt that asks for it."""
        feature, right = evaluate.image_features(clip, self.image), {}
        for prompt, neutral, name in self._asked():
            y = labels.target(self.looks, name)
            known = ~y.isnan()
            right[name] = auc((feature @ clip.text_delta(prompt, neutral).cpu())[known], y[known])
        return Shots(right, dict.fromkeys(right, "there or not"), dict.fromkeys(right, 0.5))

    def switches(self, clip: ClipEncoder, n: int) -> list[Switch]:
        """Partial effects: least squares of all faces' features over all attributes at once, ``n`` is not looked at."""
        asked = self._asked()
        x = torch.stack([labels.target(self.looks, name) for _, _, name in asked], dim=1)
        x = x - x.nanmean(0)
        x = x.nan_to_num()  # what is unknown says nothing
        feature = evaluate.image_features(clip, self.image).float()
        ridge = RIDGE * torch.eye(len(asked))
        effect = torch.linalg.solve(x.T @ x + ridge, x.T @ (feature - feature.mean(0)))
        return [Switch(*prompt, F.normalize(row, dim=0)) for prompt, row in zip(asked, effect, strict=True)]

    def removable(self) -> list[tuple[str, str]]:
        """See ``Known``."""
        words = {name: prompt.partition(f"{self.neutral} with ")[2] for prompt, _, name in self._asked()}
        return [(name, words[name]) for name in ("glasses", "beard", "hat", "earrings", "makeup") if words.get(name)]

    def _asked(self) -> list[tuple[str, str, str]]:
        """The first of ``PROMPTS`` of each attribute that enough faces show and lack, with its neutral one."""
        first = {name: (prompt, neutral, name) for prompt, neutral, name in reversed(PROMPTS)}
        targets = {name: labels.target(self.looks, name) for name in ATTRIBUTES if name in ASKS and name in first}
        enough = min(FEWEST, max(1, len(self.looks) // 10))
        return [first[name] for name, y in targets.items() if min((y == 0).sum(), (y == 1).sum()) >= enough]


def _faces(editor: Editor, looks: Sequence[Look]) -> Tensor:
    """What an editor's generator draws of labelled faces, (n, 3, H, W) in [-1, 1]."""
    generator = editor.generator
    z = torch.cat([labels.latent(look.number, generator.z_dim) for look in looks]).to(editor.device)
    w = generator.mapping(z, labels.TRUNCATION)
    return editor.draw(generator.styles(w), w).clamp(-1, 1).cpu()


def of(editor: Editor, n: int, seed: int = 0, instead: str = "portraits") -> Known:
    """Up to ``n`` pictures of an editor's domain; of the world ``instead``, where nothing is known of the domain's."""
    if editor.domain.world is None and editor.generator.fingerprint() == labels.GENERATOR:
        return Labelled.of(editor, n, seed)
    world = editor.domain.world
    if world is None:
        print(f"{editor.domain.name} is drawn by no world of ours: what takes one is shown on {instead}.")
        world = instead
    return Drawn.of(worlds.named(world), n, seed)
