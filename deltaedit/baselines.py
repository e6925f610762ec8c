"""What a user would pick instead of DeltaEdit, in the same interface: from a latent and a prompt to a Direction.

Each method is made from its paper, with its paper's settings by default. They share the editor's generator and CLIP,
its prompts' features (means over templates) and its domain's ``tail``, so that what differs is the method. Strength
multiplies the whole edit, whatever the method; where a method has another knob, its docstring says which.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit.devices import drawing_dtype
from deltaedit.directions import LAYERS, on_layers
from deltaedit.domain import check_fit
from deltaedit.editor import Direction, Edit, Editor, Latent
from deltaedit.features import FeatureStore
from deltaedit.files import fingerprint
from deltaedit.loop import fit, learning_rate, step_rng
from deltaedit.mapper import DeltaMapper
from deltaedit.style_space import AnyGenerator, as_w_plus, sample_w
from deltaedit.stylegan2 import EqualLinear, pixel_norm

Identity = Callable[[Tensor, Tensor], Tensor]
"""How far edited pictures (B, 3, H, W) are from being of the same person as the originals, (B,), with gradients."""


METHODS: dict[str, type[Method]] = {}
"""All methods by their names; those that take no more than an editor and a knob can be made by theirs."""


class Method(ABC):
    """A way to edit from text: gives a Direction for a latent and a prompt, with an editor's models and ``tail``."""

    name: str  #: as a reader sees it
    threshold: float = 0.0  #: what ``Direction.threshold`` says; 0 where the method has none

    def __init__(self, editor: Editor) -> None:
        self.editor = editor

    def __init_subclass__(cls) -> None:
        METHODS[cls.name] = cls

    def direction(self, latent: Latent, prompt: str) -> Direction:
        """The edit at strength 1; raises ``ValueError`` if ``Editor.edit`` would, or the prompt is not known."""
        self.editor.check(latent)
        self.editor.text_delta(prompt)  # refuses what says nothing
        delta_s, delta_w = self._delta(latent, prompt)
        return Direction(prompt, self.editor.domain.neutral, self.threshold, delta_s, delta_w, self.name)

    def edit(self, latent: Latent, prompt: str, strength: float = 1.0) -> Edit:
        """The edit; ``with_strength`` takes it farther without running the method again. Errors as in ``direction``."""
        return Edit(self.editor, latent, (self.direction(latent, prompt),), (1.0,)).with_strength(strength)

    @abstractmethod
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor | None]:
        """``delta_s`` (B, S), and ``delta_w`` (B, L, w_dim) where W+ moves."""

    @torch.no_grad()
    def _in_w_plus(self, latent: Latent, delta_w: Tensor) -> tuple[Tensor, Tensor]:
        """What a step in W+ does to styles: these are affine in ``w_plus``, so that strength scales both alike."""
        generator = self.editor.generator
        w_plus = as_w_plus(generator, latent.w)
        return generator.styles(w_plus + delta_w) - generator.styles(w_plus), delta_w.expand_as(w_plus)


class DeltaEdit(Method):
    """Ours: what ``Editor.edit`` does. Its knob is ``threshold``, by default the domain's."""

    name = "DeltaEdit"

    def __init__(self, editor: Editor, threshold: float | None = None) -> None:
        super().__init__(editor)
        least = 0.0 if editor.relevance is None else editor.domain.threshold
        self.threshold = least if threshold is None else threshold

    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, None]:
        return self.editor.edit(latent, prompt, threshold=self.threshold).directions[0].delta_s, None


class WPlus(Method):
    """DeltaEdit in W+: a mapper trained with ``space="w_plus"`` moves ``w_plus``, of which affine layers make styles.

    DeltaEdit argues for S (Lyu et al. 2023, section 3); this is the other choice. It has no relevance, hence no knob.
    A sample's w is the same for all layers: of it, the mapper's normalisation across the layers of a group leaves only
    signs; with ``groups=1`` all of it is seen.

    ``ValueError`` is raised if the mapper is none for W+ of this generator and this CLIP.
    """

    name = "DeltaEdit in W+"

    def __init__(self, editor: Editor, mapper: DeltaMapper) -> None:
        super().__init__(editor)
        generator, got = editor.generator, (mapper.config.dims, mapper.config.feature_dim)
        fits = ((generator.w_avg.shape[-1],) * generator.num_ws, editor.clip.dim)
        if (tuple(got[0]), got[1]) != fits:
            wanted = f'the mapper must be trained with space="w_plus", for {fits}: widths and feature size'
            raise ValueError(f"{wanted}. Got {got}.")
        self.mapper = mapper.to(editor.device).eval()

    @torch.no_grad()
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor]:
        source, target = (self.editor.text_feature(text) for text in (self.editor.domain.neutral, prompt))
        w_plus = as_w_plus(self.editor.generator, latent.w)
        delta_w = self.mapper(w_plus.flatten(1), latent.image_feature, self.mapper.delta(source, target))
        return self._in_w_plus(latent, delta_w.unflatten(1, w_plus.shape[1:]))


class GlobalDirections(Method):
    """StyleCLIP's global directions (Patashnik et al. 2021, section 6): one step in S for all pictures.

    Channel c moves by its relevance to ``delta_text``, or not at all where that is below ``threshold``, the paper's
    beta. The largest is scaled to 1, each counts in its channel's standard deviation, and strength 1 is ``alpha`` of
    them. Its knob is ``threshold``; 0.15 and 4.1 are what the authors' demonstration starts with.

    Of ``relevance`` (S, D) it wants unit rows, by finite differences: ``estimate_relevance(generator, clip)``. Raises
    ``ValueError`` for another shape, or a threshold not from 0 to 1, and warns if no channel reaches it.
    """

    name = "StyleCLIP global directions"

    def __init__(self, editor: Editor, relevance: Tensor, threshold: float = 0.15, alpha: float = 4.1) -> None:
        super().__init__(editor)
        check_fit(editor.generator, editor.clip.dim, relevance=relevance)
        if not 0 <= threshold <= 1:
            raise ValueError(f"threshold must be from 0 to 1. Got {threshold}.")
        self.relevance, self.threshold, self.alpha = relevance.to(editor.device), threshold, alpha
        self.spread = style_spread(editor.generator)

    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, None]:
        pull = self.relevance @ self.editor.text_delta(prompt)  # (S,)
        pull = pull * (pull.abs() >= self.threshold)
        if not pull.any():
            warnings.warn(f"no channel reaches threshold {self.threshold} for {prompt!r}: lower it.", stacklevel=4)
        delta_s = self.alpha * self.spread * pull / pull.abs().max().clamp(min=1e-8)
        return delta_s.expand(len(latent), -1), None


class LatentOptimization(Method):
    """StyleCLIP's latent optimisation (Patashnik et al. 2021, section 4): a descent for each picture and prompt.

    Minimises ``1 - cos(image_feature, text_feature) + l2 |w_plus - w_s|^2 + identity_weight * identity`` by Adam. The
    learning rate rises over the first 5 % of the steps and falls over the last quarter, as in StyleGAN2's projector.
    Its knob is ``l2``: 0.008 is for FFHQ's 18 x 512 numbers of W+, over which the published code sums, and for OpenAI's
    CLIP.

    The paper takes 200 to 300 steps, and for ``identity`` compares faces by ArcFace; None leaves the term out. In
    ``history`` the last call has a row a step with means over pictures: ``loss``, ``clip``, and in ``moved`` the
    squared distance from where it began.
    """

    name = "StyleCLIP latent optimization"

    def __init__(
        self,
        editor: Editor,
        steps: int = 300,
        lr: float = 0.1,
        l2: float = 0.008,
        identity: Identity | None = None,
        identity_weight: float = 0.005,
    ) -> None:
        super().__init__(editor)
        if steps < 1 or not lr > 0 or not l2 >= 0:
            raise ValueError(f"steps and lr must be positive, and l2 not negative. Got {steps}, {lr} and {l2}.")
        self.steps, self.lr, self.l2, self.identity = steps, lr, l2, identity
        self.identity_weight = identity_weight if identity else 0.0
        self.history: list[dict[str, float]] = []

    @torch.enable_grad()  # it needs gradients, whatever its caller switched off
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor]:
        generator, text = self.editor.generator, self.editor.text_feature(prompt)
        start, log = as_w_plus(generator, latent.w), torch.zeros(self.steps, 3)
        n, parts = generator.batch_size, []
        for w_plus, original in zip(start.split(n), latent.tensor.split(n), strict=True):
            moved = torch.zeros_like(w_plus, requires_grad=True)
            optimizer = torch.optim.Adam([moved], lr=self.lr)
            for step in tqdm(range(self.steps), desc=f"descent: {prompt}", mininterval=1.0):
                optimizer.param_groups[0]["lr"] = learning_rate(step, self.steps, self.lr, round(self.steps / 20), 0.25)
                apart, other = _apart(self.editor, w_plus + moved, text, self.identity, original)
                length = moved.square().sum((1, 2))
                loss = apart + self.l2 * length + self.identity_weight * other  # (B,)
                (moved.grad,) = torch.autograd.grad(loss.sum(), moved)
                log[step] += torch.stack([x.detach().sum() for x in (loss, apart, length)]).cpu() / len(latent)
                optimizer.step()
            parts.append(moved.detach())
        self.history = [dict(zip(("loss", "clip", "moved"), row, strict=True)) for row in log.tolist()]
        return self._in_w_plus(latent, torch.cat(parts))


class LevelsMapper(nn.Module):
    """StyleCLIP's mapper (section 5): ``w_plus`` -> its edit, by three networks for coarse, medium and fine layers.

    Four layers each, built as StyleGAN's mapping network is. FFHQ's 18 layers are cut into 4, 4 and 10; fewer than 12
    into thirds. Inputs are normalised over channels as there; the published code does so across layers, which would
    leave nothing but the signs of a w that all layers share, as that of a sample is.
    """

    def __init__(self, num_ws: int, w_dim: int) -> None:
        super().__init__()
        first = min(4, num_ws // 3)
        self.sizes = (first, first, num_ws - 2 * first)
        self.coarse, self.medium, self.fine = (
            nn.Sequential(*(EqualLinear(w_dim, w_dim, lr_mul=0.01, activate=True) for _ in range(4))) for _ in range(3)
        )

    def forward(self, w_plus: Tensor) -> Tensor:
        """``w_plus`` (B, L, w_dim) -> (B, L, w_dim)."""
        groups = zip((self.coarse, self.medium, self.fine), w_plus.split(self.sizes, dim=1), strict=True)
        return torch.cat([part(pixel_norm(x, dim=-1)) for part, x in groups], dim=1)


@dataclass(frozen=True)
class LatentMapperTraining:
    """How StyleCLIP's mapper is trained for one prompt; the defaults are the paper's and its published code's."""

    steps: int = 50_000  #: ten hours and more on the authors' GPU
    batch_size: int = 2
    lr: float = 0.5  #: of Adam, in place of Ranger; so high because the layers' own is a hundredth
    l2: float = 0.8  #: weight of the mean square of the edit
    identity_weight: float = 0.1
    scale: float = 0.1  #: what the network's output is multiplied by
    seed: int = 0  #: of weights and of samples

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "lr", "scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Got {getattr(self, name)}.")


class LatentMapper(Method):
    """StyleCLIP's latent mapper (Patashnik et al. 2021, section 5): a network trained anew for each prompt.

    Trained on samples, where the paper takes inverted photos, to minimise the distance of ``LatentOptimization`` with
    the weights of ``LatentMapperTraining``. Its knob is ``l2``. Without ``identity`` that term is left out. In
    ``folder`` each prompt has a folder of its own: a mapper that was trained is read, one that was stopped goes on.
    ``history`` is, by prompt, the log of its training, see ``loop.fit``.
    """

    name = "StyleCLIP latent mapper"

    def __init__(
        self,
        editor: Editor,
        folder: str | Path,
        config: LatentMapperTraining = LatentMapperTraining(),
        identity: Identity | None = None,
    ) -> None:
        super().__init__(editor)
        self.folder, self.config, self.identity = Path(folder), config, identity
        self.history: dict[str, list[dict[str, float]]] = {}
        self._mappers: dict[str, LevelsMapper] = {}

    @torch.no_grad()
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor]:
        delta_w = self.config.scale * self.train(prompt)(as_w_plus(self.editor.generator, latent.w))
        return self._in_w_plus(latent, delta_w)

    @torch.enable_grad()
    def train(self, prompt: str) -> LevelsMapper:
        """The mapper of a prompt, remembered, read or trained; ``FloatingPointError`` if its loss is not finite."""
        if prompt in self._mappers:
            return self._mappers[prompt]
        editor, config, generator = self.editor, self.config, self.editor.generator
        text, device = editor.text_feature(prompt), editor.device
        hook = self.identity and getattr(self.identity, "__qualname__", type(self.identity).__qualname__)
        about = asdict(config) | {"prompt": prompt, "truncation": editor.domain.truncation, "identity": hook}
        about |= {"generator": generator.fingerprint(), "clip": editor.clip.fingerprint()}
        place = self.folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:12]
        with torch.random.fork_rng(devices=[]):  # the caller's randomness stays as it is
            torch.manual_seed(config.seed)
            mapper = LevelsMapper(generator.num_ws, generator.w_avg.shape[-1]).to(device)
        weights = list(mapper.parameters())
        optimizer = torch.optim.Adam(weights, lr=config.lr)

        def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
            z = torch.randn(config.batch_size, generator.z_dim, generator=rng, device=device)
            with torch.no_grad():
                w_plus = as_w_plus(generator, generator.mapping(z, editor.domain.truncation))
                original = editor.draw(generator.styles(w_plus), w_plus) if self.identity else None
            delta_w = config.scale * mapper(w_plus)
            apart, other = (x.mean() for x in _apart(editor, w_plus + delta_w, text, self.identity, original))
            moved = delta_w.square().mean()
            loss = apart + config.l2 * moved + config.identity_weight * other
            for weight, grad in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                weight.grad = grad
            optimizer.step()
            return {"loss": loss, "clip": apart, "moved": moved}

        run = {"name": f"mapper: {prompt}", "folder": place, "seed": config.seed, "device": device, "describes": about}
        often, carries = max(1, min(50, config.steps // 10)), {"mapper": mapper, "optimizer": optimizer}
        self.history[prompt] = fit(step, config.steps, carries=carries, log_every=often, **run)
        return self._mappers.setdefault(prompt, mapper.eval())


class LinearBoundary(Method):
    """InterFaceGAN (Shen et al. 2020, section 3): a linear boundary in W for each prompt, which :meth:`fit` finds.

    The edit is ``w + alpha n``, n the boundary's normal. Given ``beside``, n is first made orthogonal to the normals of
    other prompts, so that the edit does not cross those («conditional manipulation»): that is its knob. It reads no
    prompt, they are names of labels to it: by these ``boundaries`` has normals (w_dim,), as long as one standard
    deviation of the samples along them, ``beside`` other prompts, and ``accuracy`` that on labels which ``fit`` kept
    back, as many of the one kind as of the other. For ``alpha`` the paper goes to 3, in a Z of unit spread.
    """

    name = "InterFaceGAN linear boundary"

    def __init__(
        self,
        editor: Editor,
        boundaries: Mapping[str, Tensor],
        alpha: float = 3.0,
        beside: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(editor)
        self.boundaries, self.alpha, self.beside = dict(boundaries), alpha, dict(beside or {})
        self.accuracy: dict[str, float] = {}
        width = editor.generator.w_avg.shape[-1]
        for prompt, normal in self.boundaries.items():
            if normal.shape != (width,):
                raise ValueError(f"the boundary of {prompt!r} must have shape ({width},). Got {tuple(normal.shape)}.")

    @classmethod
    def fit(
        cls,
        editor: Editor,
        w: Tensor,
        labels: Mapping[str, Tensor],
        *,
        alpha: float = 3.0,
        beside: Mapping[str, Sequence[str]] | None = None,
        seed: int = 0,
    ) -> LinearBoundary:
        """Fit a linear support vector machine for each prompt, to as many samples that show it as that do not.

        Seven in ten are for fitting, the others for ``accuracy``, as in the paper. Labels (n,) by prompt are 1 for w
        (n, w_dim) of samples that show it, 0 for those that do not, NaN where it cannot be told. Raises ``ValueError``
        if they are not one for each w, or there are fewer than 10 of either kind.
        """
        from sklearn.svm import SVC

        boundaries, accuracy = {}, {}
        for prompt, label in labels.items():
            if label.shape != w.shape[:1] or w.ndim != 2:
                got = f"{tuple(label.shape)} and {tuple(w.shape)}"
                raise ValueError(f"{prompt!r} needs a label for each w, (n,) for (n, w_dim). Got {got}.")
            kinds = [(label == kind).nonzero()[:, 0].cpu() for kind in (0, 1)]
            if (least := min(map(len, kinds))) < 10:
                counts = f"{len(kinds[1])} and {len(kinds[0])}"
                raise ValueError(f"{prompt!r} needs 10 samples that show it and 10 that do not. Got {counts}.")
            rng, cut = step_rng(seed, zlib.crc32(prompt.encode())), round(0.7 * least)
            rows = torch.stack([kind[torch.randperm(len(kind), generator=rng)[:least]] for kind in kinds], dim=1)
            x, y = w.cpu().float().numpy(), label.cpu().float().numpy()
            train, test = rows[:cut].flatten().numpy(), rows[cut:].flatten().numpy()
            machine = SVC(kernel="linear").fit(x[train], y[train])
            accuracy[prompt] = float(machine.score(x[test], y[test]))
            normal = F.normalize(torch.tensor(machine.coef_[0], dtype=torch.float32), dim=0).to(w.device)
            boundaries[prompt] = normal * (w.float() @ normal).std()
        made = cls(editor, boundaries, alpha, beside)
        made.accuracy = accuracy
        return made

    @torch.no_grad()
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor]:
        names = (prompt, *self.beside.get(prompt, ()))
        if unknown := [name for name in names if name not in self.boundaries]:
            known = ", ".join(map(repr, self.boundaries))
            raise ValueError(f"there is no boundary for {unknown[0]!r}: fit one, or choose {known}.")
        normal, *others = (self.boundaries[name].to(latent.w) for name in names)
        if others:
            basis = torch.linalg.qr(torch.stack(others, dim=1)).Q  # (w_dim, number of others)
            normal = normal - basis @ (basis.T @ normal)
        return self._in_w_plus(latent, self.alpha * normal)


class PublishedDirections(Method):
    """Directions in W that others published, by the prompt that each goes towards: see ``directions``.

    One for all pictures; it reads no prompt, and knows no other. Strength 1 is ``alpha`` standard deviations of the
    samples along it. Its knob is ``layers``, of StyleGAN2's 18 the first that moves and the first again that does not:
    0 to 4 are coarse, 4 to 8 medium.

    A direction has shape (1 or L, w_dim); ``ValueError`` is raised if one does not fit the generator's layers.
    """

    name = "published direction"

    def __init__(
        self,
        editor: Editor,
        directions: Mapping[str, Tensor],
        layers: tuple[int, int] = (0, LAYERS),
        alpha: float = 3.0,
    ) -> None:
        super().__init__(editor)
        self.alpha, self.steps = alpha, {}
        w = sample_w(editor.generator, 4096)
        for prompt, direction in directions.items():
            direction = direction.to(w)
            if direction.shape[-1] != w.shape[-1]:
                wanted = f"the direction of {prompt!r} must have width {w.shape[-1]}"
                raise ValueError(f"{wanted}. Got {tuple(direction.shape)}.")
            along = direction.mean(0)
            unit = (w @ along).std() / along.square().sum()  # samples spread so far along it
            self.steps[prompt] = unit * on_layers(direction, editor.generator.num_ws, *layers)

    @torch.no_grad()
    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, Tensor]:
        if prompt not in self.steps:
            known = ", ".join(map(repr, self.steps))
            raise ValueError(f"no direction is known for {prompt!r}: choose {known}.")
        return self._in_w_plus(latent, self.alpha * self.steps[prompt])


class RandomDirection(Method):
    """The floor: a random direction in S, for each picture as long as DeltaEdit's ``delta_s``.

    Each channel is drawn from a normal distribution of its own standard deviation among samples; one direction for each
    prompt, the same for all pictures but for its length.
    """

    name = "random direction"

    def __init__(self, editor: Editor, seed: int = 0) -> None:
        super().__init__(editor)
        self.seed, self.spread = seed, style_spread(editor.generator)

    def _delta(self, latent: Latent, prompt: str) -> tuple[Tensor, None]:
        wanted = DeltaEdit(self.editor).direction(latent, prompt).delta_s.norm(dim=1, keepdim=True)
        rng = step_rng(self.seed, zlib.crc32(prompt.encode()))
        draw = torch.randn(len(self.spread), generator=rng).to(self.spread) * self.spread
        return wanted * F.normalize(draw, dim=0), None


class Captioned(FeatureStore):
    """A store whose mapper is told where to go by captions: text-supervised training, which DeltaEdit does without.

    ``train_mapper(Captioned(store, text_feature))`` learns from differences of captions' features in the place of
    differences of image features; its mapper goes into an ``Editor`` as any other. The manifest is marked, so that runs
    are told apart.

    ``text_feature`` (n, D) is of one caption a picture, unit norm; ``ValueError`` is raised for another shape.
    """

    def __init__(self, store: FeatureStore, text_feature: Tensor) -> None:
        if text_feature.shape != store.image_feature.shape:
            fits = tuple(store.image_feature.shape)
            raise ValueError(f"there must be a row for each picture, {fits}. Got {tuple(text_feature.shape)}.")
        manifest = {**store.manifest, "captions": fingerprint({"text_feature": text_feature})}
        super().__init__(store.folder, store.size, manifest, store.pictures)
        self.__dict__["text_feature"] = text_feature

    @property
    def compared_feature(self) -> Tensor:
        """(n, D), the features of the captions."""
        return self.__dict__["text_feature"]


@torch.no_grad()
def style_spread(generator: AnyGenerator) -> Tensor:
    """Standard deviation (S,) of each style channel among samples."""
    return generator.styles(sample_w(generator, 4096)).std(0)


def _apart(
    editor: Editor, w_plus: Tensor, text: Tensor, identity: Identity | None, original: Tensor | None
) -> tuple[Tensor, Tensor]:
    """CLIP's distance (B,) of what is drawn from the text, and how far it is from the same person (B,), or 0.

    An editor of previews, see ``Editor.at``, descends for these, as exact as it draws them.
    """
    generator, s = editor.generator, editor.generator.styles(w_plus)
    if editor.size:
        image = generator.preview(s, editor.size, w_plus, drawing_dtype(generator.resolution, s.device))
    else:
        image = generator.synthesize(s, w_plus)
    apart = 1 - editor.clip.encode_image(image.clamp(-1.5, 1.5)) @ text  # as in ``inversion.distance``
    return apart, identity(image, original) if identity else torch.zeros_like(apart)
