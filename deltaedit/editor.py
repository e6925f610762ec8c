"""The whole road: from a latent and a prompt to an edited picture (DeltaEdit, section 3)."""

from __future__ import annotations

import copy
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import Tensor

from deltaedit import checkpoints, domains
from deltaedit.devices import drawing_dtype
from deltaedit.domain import ENCODER, MAPPER, RELEVANCE, Domain, check_fit, save_parts
from deltaedit.e4e import E4E, Encoder
from deltaedit.faces import PLACE, align
from deltaedit.files import fingerprint
from deltaedit.inversion import Progress, refine
from deltaedit.mapper import DeltaMapper, text_delta
from deltaedit.pictures import Picture, resize, to_pil, to_tensor
from deltaedit.recipes import Recipe, encode
from deltaedit.relevance import relevance_mask
from deltaedit.style_space import AnyGenerator, preview_size, sample_w

if TYPE_CHECKING:
    from deltaedit.clip import ClipEncoder

BATCH = 32  # pictures at a time, where the generator asks for no fewer
REFINED = 2**20  # pixels that an inversion optimises at a time: 64 pictures of 128 px, one of 1024 px
SKETCHED = 128  # pixels of the previews that it looks at instead, where the generator has them
NEAR = {"lr": 0.08, "keep": 0.005, "apart": 0.25, "weight": 5.0, "patience": 50}
"""How it goes by them, see ``refine``: a generator that has previews learned from one w for all layers."""
RANGE_SAMPLES = 4096  # for the range of each style channel


class Pictures:
    """What latents and edits have in common: a batch of pictures in ``tensor``."""

    tensor: Tensor

    @property
    def images(self) -> list[Image.Image]:
        """All pictures."""
        return to_pil(self.tensor)

    @property
    def image(self) -> Image.Image:
        """The picture; raises ``ValueError`` if there are several."""
        if len(self.tensor) != 1:
            raise ValueError(f"there are {len(self.tensor)} pictures: use .images.")
        return to_pil(self.tensor)[0]


@dataclass(frozen=True, eq=False)
class Latent(Pictures):
    """Pictures as the editor holds them, one or a batch.

    >>> latent = Editor.from_pretrained("portraits").sample(seed=7, n=3)
    >>> len(latent), latent[0].image.size
    (3, (128, 128))
    """

    w: Tensor  #: (B, w_dim) or (B, L, w_dim); the toRGB layers take it
    s: Tensor  #: (B, S), style codes
    image_feature: Tensor  #: (B, D), unit norm
    tensor: Tensor  #: (B, 3, H, W), the pictures themselves, about [-1, 1]
    source: dict[str, Any] = field(default_factory=dict)  #: where they come from, such as seed and truncation

    def __len__(self) -> int:
        return len(self.s)

    def __getitem__(self, index: int | slice | Tensor) -> Latent:
        """One picture, or some, as a Latent of their own; a tensor of numbers, or of truth values, picks them too."""
        rows = torch.arange(len(self))[index].reshape(-1)
        parts = {name: getattr(self, name)[rows] for name in ("w", "s", "image_feature", "tensor")}
        before = self.source.get("rows", range(len(self)))  # some of some: say which of all
        return replace(self, **parts, source={**self.source, "rows": [before[k] for k in rows.tolist()]})


@dataclass(frozen=True, eq=False)
class Direction:
    """What one prompt asks of a latent."""

    prompt: str
    neutral: str
    threshold: float  #: relevance below which channels stay
    delta_s: Tensor  #: (B, S), the edit at strength 1
    delta_w: Tensor | None = None
    """(B, L, w_dim), what ``w_plus`` moves by besides, for the toRGB layers, which take no style code; for methods that
    edit W+, see ``baselines``. None where they stay as they are, as in DeltaEdit."""
    method: str | None = None  #: what gave it, if not the editor; then no recipe makes it again


@dataclass(frozen=True, eq=False)
class Edit(Pictures):
    """An edit of a latent: one direction or several, each with its strength; drawn when first looked at.

    Edits of the same latent add up: ``editor.edit(x, "face with hat") + editor.edit(x, "old face")``.

    >>> editor = Editor.from_pretrained("portraits")
    >>> latent = editor.sample(seed=7)
    >>> edit = editor.edit(latent, "face with hat") + editor.edit(latent, "old face", strength=0.5)
    >>> edit.prompt, edit.strengths
    ('face with hat + old face', (1.0, 0.5))
    >>> edit.with_strength(0.0).delta_s.any()
    tensor(False)
    """

    editor: Editor
    latent: Latent
    directions: tuple[Direction, ...]
    strengths: tuple[float, ...]

    @cached_property
    def delta_s(self) -> Tensor:
        """(B, S), the sum of all directions times their strengths: how far the edit asks the styles to go."""
        parts = (x * d.delta_s for x, d in zip(self.strengths, self.directions, strict=True))
        return sum(parts, start=torch.zeros_like(self.latent.s))

    @cached_property
    def s(self) -> Tensor:
        """(B, S), the edited style codes; the domain's ``tail`` says how far they may go."""
        edited = self.latent.s + self.delta_s
        if not self.editor.domain.tail:
            return edited
        low, high = self.editor.style_range  # a code that lies outside already stays, and can come back
        return edited.clamp(torch.minimum(low, self.latent.s), torch.maximum(high, self.latent.s))

    @cached_property
    def w(self) -> Tensor:
        """What the toRGB layers take: ``latent.w``, unless a direction has a ``delta_w``."""
        w = self.latent.w
        for strength, direction in zip(self.strengths, self.directions, strict=True):
            if direction.delta_w is not None:
                w = (w if w.ndim == 3 else w[:, None]) + strength * direction.delta_w
        return w

    @cached_property
    def tensor(self) -> Tensor:
        """(B, 3, H, W), the edited pictures, about [-1, 1]."""
        return self.editor.draw(self.s, self.w)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The targets, in order."""
        return tuple(d.prompt for d in self.directions)

    @property
    def prompt(self) -> str:
        """The targets in one line."""
        return " + ".join(self.prompts)

    def at(self, size: int | None) -> Edit:
        """The same edit, drawn as ``Editor.at`` says."""
        return replace(self, editor=self.editor.at(size))

    def with_strength(self, strength: float | Sequence[float]) -> Edit:
        """The same edit, farther or less far; neither mapper nor CLIP runs again.

        One strength for all prompts, or one for each; negative ones go the other way, and ``ValueError`` is raised for
        another number of them, or if one is not finite.
        """
        return replace(self, strengths=_strengths(strength, len(self.directions)))

    def __add__(self, other: Edit) -> Edit:
        if not isinstance(other, Edit):
            return NotImplemented
        if other.latent is not self.latent and not torch.equal(other.latent.s, self.latent.s):
            raise ValueError("only edits of the same latent can be added: edit one latent with both prompts.")
        return replace(self, directions=self.directions + other.directions, strengths=self.strengths + other.strengths)

    def to_json(self) -> str:
        """The recipe, from which ``Editor.replay`` makes the same edit: which picture, which prompts, how strong.

        It names the models by their fingerprints, and tells how many channels each prompt moved, and how far. A picture
        from outside is in it as its latent. Raises ``ValueError`` if a direction is of another method.
        """
        if others := [d.method for d in self.directions if d.method]:
            raise ValueError(f"only edits that Editor.edit made have a recipe, not those of {others[0]}.")
        parts = []
        for d, strength in zip(self.directions, self.strengths, strict=True):
            asked = {"prompt": d.prompt, "neutral": d.neutral, "strength": strength, "threshold": d.threshold}
            norm = round(float(d.delta_s.norm(dim=1).mean()) * abs(strength), 4)
            parts.append({**asked, "channels": int((d.delta_s != 0).any(0).sum()), "norm": norm})
        latent, editor = self.latent, self.editor
        if {"seed", "n", "truncation"} <= latent.source.keys():
            where = latent.source
        else:
            where = {"w": encode(latent.w)}
            if editor.domain.photo_feature:
                where["image_feature"] = encode(latent.image_feature)
        return json.dumps({**editor.identity, "latent": where, "edits": parts})


class Editor:
    """Edits pictures of one domain from text; its models are used as they are, none is trained.

    Args:
        clip, mapper: on the generator's device; the mapper was trained on that generator and that CLIP.
        relevance: (S, D), unit rows, or None: then every channel may move.
        domain: name, neutral prompt and defaults; those of ``Domain()`` if there is none.
        encoder: picture -> ``w_plus`` for ``invert``, or None.

    Warns if the mapper learned from pictures that were made ready for CLIP in another way. Raises ``ValueError`` if the
    parts do not fit each other.

    >>> editor = Editor.from_pretrained("portraits")
    >>> edit = editor.edit(editor.sample(seed=7), "face with glasses", strength=1.0)
    >>> edit.image.size
    (128, 128)
    >>> editor.replay(edit.to_json()).prompt
    'face with glasses'
    """

    def __init__(
        self,
        generator: AnyGenerator,
        clip: ClipEncoder,
        mapper: DeltaMapper,
        relevance: Tensor | None = None,
        domain: Domain | None = None,
        encoder: Encoder | E4E | None = None,
    ) -> None:
        domain = domain or Domain(preprocessing=clip.preprocessing)
        check_fit(generator, clip.dim, mapper, relevance, encoder)
        theirs, ours, learned = domain.preprocessing, clip.preprocessing, mapper.config.preprocessing
        if theirs != ours:
            wanted = "domain and CLIP must make pictures ready in one way: give ClipEncoder the domain's preprocessing"
            raise ValueError(f"{wanted}. Got {theirs!r} and {ours!r}.")
        if learned != ours:
            now = f"and now gets them in the way {ours!r}: its edits will be off"
            told = f"the mapper learned from pictures made ready for CLIP in the way {learned!r}"
            warnings.warn(f"{told}, {now}.", stacklevel=2)
        self.encoder = encoder
        self.generator, self.clip, self.mapper, self.domain = generator.eval(), clip, mapper.eval(), domain
        self.relevance = None if relevance is None else relevance.to(self.device)
        self.home: str | None = None  # what from_pretrained found it by
        self.size: int | None = None  # of the previews that are drawn in place of pictures, see ``at``
        self._text: dict[str, Tensor] = {}  # features of the prompts so far

    @property
    def device(self) -> torch.device:
        """Where the generator is."""
        return self.generator.w_avg.device

    @cached_property
    @torch.no_grad()
    def style_range(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest value (S,) of each style channel among samples, without the domain's ``tail`` at each end.

        Beyond it the generator is asked for what it never drew: lips turn red, and one step further blue.
        """
        s = self.generator.styles(sample_w(self.generator, RANGE_SAMPLES)).sort(0).values
        cut = round(self.domain.tail * (RANGE_SAMPLES - 1))
        return s[cut], s[-1 - cut]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a recipe says of the editor: the domain's name, its settings, and fingerprints of the models."""
        relevance = self.relevance
        settings = ("gain", "length", "tail", "preprocessing", "raw_threshold", "photo_feature")
        models = {
            "generator": self.generator.fingerprint(),
            "clip": self.clip.fingerprint(),
            "mapper": fingerprint(self.mapper.state_dict()),
            "relevance": None if relevance is None else fingerprint({"relevance": relevance}),
        }
        how = {name: getattr(self.domain, name) for name in settings}
        return {"domain": self.domain.name, "models": models, "settings": how}

    @classmethod
    def from_pretrained(
        cls, name_or_folder: str | Path, device: str | torch.device = "cpu", download: bool = False
    ) -> Editor:
        """Load a domain: a name such as "faces", "portraits" or "ffhq", or a folder that ``save_pretrained`` wrote.

        With ``download``, what others publish of it and is not here is fetched; otherwise nothing is.

        Raises:
            ValueError: if there is no such domain (the message lists those there are), or a file is missing or damaged.
            FileNotFoundError: if it is published, and not here; the message says which files to put where.
        """
        folder = domains.find(name_or_folder, download)
        domain = Domain.read(folder)
        generator = domains.load_generator(folder, device, download)
        clip = domains.load_clip(folder, device, download)
        if not (path := folder / MAPPER).exists():
            raise ValueError(f"there is no file {path}: train a mapper for the generator beside it, and save it there.")
        mapper = DeltaMapper.load(path, device)
        relevance = checkpoints.load_relevance(path) if (path := folder / RELEVANCE).exists() else None
        encoder = checkpoints.load_encoder(path).to(device) if (path := folder / ENCODER).exists() else None
        editor = cls(generator, clip, mapper, relevance, domain, encoder)
        editor.home = str(folder.absolute()) if isinstance(name_or_folder, Path) else name_or_folder
        return editor

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the domain to a folder that ``from_pretrained`` reads; each file is whole or not there."""
        models = {"generator": self.generator, "clip": self.clip, "mapper": self.mapper}
        save_parts(Path(folder), **models, relevance=self.relevance, encoder=self.encoder)
        self.domain.write(folder)  # last: without it the folder is no domain yet

    def at(self, size: int | None) -> Editor:
        """The same editor, with previews in place of pictures: the smallest from ``size`` px on, in a part of the time.

        It is an editor like any other: what is looked at many times, or judged, is drawn by it. Where the generator has
        no such previews its pictures stay as they are; with None they are whole again. The models are shared.

        >>> editor = Editor.from_pretrained("portraits")
        >>> editor.at(256).sample(seed=7).image.size
        (128, 128)
        """
        other = copy.copy(self)
        other.size = None if size is None else preview_size(self.generator, size)
        return other

    @torch.no_grad()
    def sample(
        self, seed: int, n: int = 1, truncation: float | None = None, rows: Sequence[int] | None = None
    ) -> Latent:
        """Pictures that nobody took.

        Args:
            seed: of z; the same on every device.
            truncation: 1 for the generator's full variety, 0 for its average; by default the domain's.
            rows: which of the ``n`` to draw; all by default.

        Raises:
            ValueError: if the seed is no whole number, n below 1, truncation not finite, or a row not among the ``n``.
        """
        if not isinstance(seed, Integral) or not -(2**63) <= seed < 2**63:
            raise ValueError(f"seed must be a whole number of 64 bits. Got {seed!r}.")
        truncation = self.domain.truncation if truncation is None else truncation
        if not isinstance(n, Integral) or n < 1 or not _finite(truncation):
            raise ValueError(f"n must be at least 1 and truncation finite. Got {n!r} and {truncation!r}.")
        if rows is not None and not all(isinstance(row, Integral) and -n <= row < n for row in rows):
            raise ValueError(f"rows must be whole numbers below n, {n}. Got {rows!r}.")
        z = torch.randn(n, self.generator.z_dim, generator=torch.Generator().manual_seed(int(seed)))
        source = {"seed": int(seed), "n": n, "truncation": truncation}
        if rows is not None:
            z, source = z[list(rows)], source | {"rows": list(rows)}
        return self.latent(self.generator.mapping(z.to(self.device), truncation), source)

    def invert(
        self,
        picture: Tensor | Picture,
        steps: int | None = None,
        aligned: bool = False,
        progress: Progress | None = None,
    ) -> Latent:
        """Latent of a picture from outside, so that it can be edited: what the generator draws instead of it.

        Args:
            picture: what ``to_tensor`` takes, or a tensor (B, 3, H, W) in [-1, 1]; the centre square is what counts.
                Where the domain has ``align``, it is the largest face, but a tensor is taken to be aligned.
            steps: of optimisation at most after the encoder's look, for a closer likeness; by default the domain's, and
                needed without an encoder. Where the generator has previews, it is these that are compared.
            aligned: that the picture already is what ``faces.align`` would make of it.
            progress: see ``inversion.refine``.

        Raises:
            ValueError: if it is no picture, shows no face where one is looked for, or steps are needed.
            ImportError: if a face is looked for, and OpenCV is not installed.
        """
        steps = self.domain.steps if steps is None else steps
        if not isinstance(steps, Integral) or steps < 0:
            raise ValueError(f"steps must be a whole number, 0 or more. Got {steps!r}.")
        if self.encoder is None and steps == 0:
            raise ValueError(f"without an encoder, steps must be at least 1, better 300. Got {steps}.")
        source = {"picture": str(picture) if isinstance(picture, str | Path) else "given"}
        if self.domain.align and not aligned and not isinstance(picture, Tensor):
            picture = align(picture, self.generator.resolution)
        image = picture if isinstance(picture, Tensor) else to_tensor(picture)
        with torch.no_grad():
            feature = self.clip.encode_image(image.to(self.device))  # refuses what is no picture
            image = resize(
                image.to(self.device), (size := preview_size(self.generator, SKETCHED)) or self.generator.resolution
            )
            if self.encoder is None:
                w_plus = self.generator.w_avg.expand(len(image), self.generator.num_ws, -1)
            else:
                w_plus = torch.cat([self.encoder(part) for part in image.split(BATCH)])
        if steps:
            n = 1 if size else max(1, REFINED // image[0, 0].numel())
            given = {"features": self.clip.encode_image, "progress": progress, "size": size} | (NEAR if size else {})
            given["window"] = PLACE if size and self.domain.align else None
            parts = zip(image.split(n), w_plus.split(n), strict=True)
            w_plus = torch.cat([refine(self.generator, *part, steps, **given) for part in parts])
        latent = self.latent(w_plus, source)
        return replace(latent, image_feature=feature) if self.domain.photo_feature else latent

    @torch.no_grad()
    def latent(self, w: Tensor, source: dict[str, Any] | None = None) -> Latent:
        """Latent of ``w`` (B, w_dim) or ``w_plus`` (B, L, w_dim): its styles, its pictures and their features."""
        s = self.generator.styles(w)
        image = self.draw(s, w)
        feature = torch.cat([self.clip.encode_image(part.clamp(-1, 1)) for part in image.split(BATCH)])
        return Latent(w, s, feature, image, source or {})

    @torch.no_grad()
    def draw(self, s: Tensor, w: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) of style codes, with the generator's fixed noise; large ones in half precision.

        They are previews where ``at`` says so.
        """
        batch, size = min(BATCH, self.generator.batch_size), self.size
        dtype = drawing_dtype(self.generator.resolution, self.device)
        parts = zip(s.split(batch), w.split(batch), strict=True)
        if size:
            return torch.cat([self.generator.preview(s, size, w, dtype) for s, w in parts])
        return torch.cat([self.generator.synthesize(*part, dtype=dtype) for part in parts])

    @torch.no_grad()
    def edit(
        self,
        latent: Latent,
        target: str | Sequence[str],
        strength: float | Sequence[float] = 1.0,
        threshold: float | None = None,
        neutral: str | None = None,
    ) -> Edit:
        """Edit a latent towards a prompt, or towards several at once (section 3).

        ``delta_s = gain * mask * mapper(s, image_feature, delta_text)`` for each prompt, where ``mask`` is that of
        ``mask``; they are added up. Where the domain has a ``length``, each is scaled to that instead. Where it has a
        ``tail``, no channel is pushed beyond ``style_range``.

        Args:
            target: what the picture shall show, such as "face with glasses".
            strength: 1 for the domain's usual edit, more to go farther, below 0 the other way; one or one per prompt.
            threshold: 0 lets all channels move; by default the domain's.
            neutral: what the picture shows now, as far as the edit is concerned; by default the domain's.

        Raises:
            ValueError: for a prompt that is empty or the neutral one, a number not finite, or another editor's latent.
        """
        targets = list(target) if isinstance(target, list | tuple) else [target]
        strengths = _strengths(strength, len(targets))
        return Edit(self, latent, self._directions(latent, targets, neutral, threshold), strengths)

    @torch.no_grad()
    def edit_each(
        self,
        latent: Latent,
        targets: Sequence[str],
        strength: float | Sequence[float] = 1.0,
        threshold: float | None = None,
        neutral: str | None = None,
    ) -> list[Edit]:
        """One edit for each prompt: what ``edit`` gives one by one, sooner, since mapper and generator run on all."""
        targets = [targets] if isinstance(targets, str) else list(targets)
        strengths = _strengths(strength, len(targets))
        directions = self._directions(latent, targets, neutral, threshold)
        edits = [Edit(self, latent, (part,), (x,)) for part, x in zip(directions, strengths, strict=True)]
        s, w = torch.cat([edit.s for edit in edits]), torch.cat([edit.w for edit in edits])
        for edit, tensor in zip(edits, self.draw(s, w).split(len(latent)), strict=True):
            edit.__dict__["tensor"] = tensor  # where the cached property keeps it
        return edits

    def replay(self, recipe: str | Mapping[str, Any] | Recipe, anyway: bool = False) -> Edit:
        """Make an edit again from what ``Edit.to_json`` wrote: to the bit on the same machine with the same versions.

        A recipe is JSON, or what it holds; nothing in it is run, opened or fetched.

        Raises:
            ValueError: if an entry cannot be right; unless ``anyway``, also saying what would be different here.
        """
        recipe = Recipe.read(recipe)
        if not anyway and (lines := recipe.differences(self.identity)):
            raise ValueError(f"the recipe is not of this editor ({'; '.join(lines)}): give anyway=True to use it here.")
        if recipe.w is None:
            latent = self.sample(recipe.seed, recipe.n, recipe.truncation, recipe.rows)
        else:
            latent = self.latent(recipe.w.to(self.device))
            if (feature := recipe.image_feature) is not None:
                if feature.shape != latent.image_feature.shape:
                    fits = tuple(latent.image_feature.shape)
                    raise ValueError(f"the recipe's image_feature must have shape {fits}. Got {tuple(feature.shape)}.")
                latent = replace(latent, image_feature=feature.to(self.device))
        with torch.no_grad():
            parts = [self._directions(latent, [p.prompt], p.neutral, p.threshold)[0] for p in recipe.parts]
        return Edit(self, latent, tuple(parts), tuple(p.strength for p in recipe.parts))

    def text_delta(self, target: str, neutral: str | None = None, normalize: bool = True) -> Tensor:
        """``delta_text`` (D,), of unit norm where ``normalize``; raises ``ValueError`` if the prompts say the same."""
        return text_delta(self.text_feature, target, self.domain.neutral if neutral is None else neutral, normalize)

    def text_feature(self, prompt: str) -> Tensor:
        """Text feature (D,) of a prompt, unit norm, remembered; raises ``ValueError`` if the prompt is empty."""
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f'a prompt must be some words, such as "face with glasses". Got {prompt!r}.')
        if prompt not in self._text:
            self._text[prompt] = self.clip.text_feature(prompt)
        return self._text[prompt]

    def mask(self, target: str, neutral: str | None = None, threshold: float | None = None) -> Tensor:
        """Which style channels (S,) an edit may move: those whose relevance to the prompt reaches the threshold.

        That is relevance to ``delta_text`` as it is where the domain has ``raw_threshold``, else to it at unit norm;
        without relevance, all may move.
        """
        delta = self.text_delta(target, neutral, normalize=not self.domain.raw_threshold)
        if self.relevance is None:
            return torch.ones(self.generator.layout.size, dtype=torch.bool, device=self.device)
        return relevance_mask(self.relevance, delta, self._threshold(threshold))

    def scaled(self, delta_s: Tensor) -> Tensor:
        """What the mapper said (B, S), of those channels that may move, as long as strength 1 is in this domain.

        That is ``gain`` times as long, or of the domain's ``length``.
        """
        if self.domain.length is None:
            return self.domain.gain * delta_s
        norm = (delta_s / self.mapper.s_std).norm(dim=1, keepdim=True)
        return delta_s * (self.domain.length / norm.clamp(min=1e-12))

    def check(self, latent: Latent) -> None:
        """Raise ValueError if a latent is none of this editor's."""
        if not isinstance(latent, Latent):
            raise ValueError(f"latent must come from Editor.sample. Got {type(latent).__name__}.")
        if (got := latent.s.shape[1]) != (size := self.generator.layout.size):
            raise ValueError(f"the latent is of another generator: it has {got} style channels, this one has {size}.")

    def _directions(
        self, latent: Latent, targets: list[str], neutral: str | None, threshold: float | None
    ) -> tuple[Direction, ...]:
        self.check(latent)
        neutral, threshold = self.domain.neutral if neutral is None else neutral, self._threshold(threshold)
        masks, deltas = [], []
        for target in targets:
            masks.append(self.mask(target, neutral, threshold))  # refuses what says nothing
            deltas.append(self.mapper.delta(self.text_feature(neutral), self.text_feature(target)))
            if not masks[-1].any():
                warnings.warn(f"no channel reaches threshold {threshold} for {target!r}: lower it.", stacklevel=4)
        n, p = len(latent), len(targets)  # all prompts of all pictures at once: the mapper's weights are read once
        delta = torch.stack(deltas).repeat_interleave(n, dim=0)
        delta_s = self.mapper(latent.s.repeat(p, 1), latent.image_feature.repeat(p, 1), delta).split(n)
        parts = zip(targets, delta_s, masks, strict=True)
        return tuple(Direction(t, neutral, threshold, self.scaled(d * mask)) for t, d, mask in parts)

    def _threshold(self, threshold: float | None) -> float:
        if threshold is None:
            return self.domain.threshold if self.relevance is not None else 0.0
        if not _finite(threshold) or threshold < 0:
            raise ValueError(f"threshold must be 0 or more, and finite. Got {threshold!r}.")
        if threshold and self.relevance is None:
            raise ValueError("this editor has no relevance: give it estimate_relevance's, or leave threshold out.")
        return threshold


def _finite(value: object) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def _strengths(strength: float | Sequence[float], count: int) -> tuple[float, ...]:
    if isinstance(strength, Tensor):
        strength = strength.tolist()
    values = list(strength) if isinstance(strength, list | tuple) else [strength] * count
    if len(values) != count or not count:
        wanted = "give one prompt or more, and one strength for all or for each"
        raise ValueError(f"{wanted}. Got {count} prompts and {len(values)} strengths.")
    if not all(map(_finite, values)):
        raise ValueError(f"strength must be a finite number. Got {strength!r}.")
    return tuple(float(value) for value in values)
