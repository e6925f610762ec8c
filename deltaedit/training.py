"""Training the DeltaMapper without text (DeltaEdit, section 3)."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.devices import half_precision, home
from deltaedit.features import FeatureStore
from deltaedit.loop import descend, fit, learning_rate
from deltaedit.mapper import DeltaMapper, MapperConfig

LARGE = 2**24  # parameters of a mapper from which on half precision pays; FFHQ's has 83 million, a miniature's two


def cosine_loss(predicted: Tensor, wanted: Tensor) -> Tensor:
    """One minus the cosine of edits (B, S), in the mean over the batch."""
    return 1 - F.cosine_similarity(predicted, wanted).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "cosine": cosine_loss}
"""The terms that a loss can be made of: from predicted and true edits (B, S) to a number to make smaller."""


def mapper_loss(predicted: Tensor, wanted: Tensor, loss: str = "mse + cosine") -> Tensor:
    """The sum of a loss's terms, by default the paper's, ``mean (delta_s' - delta_s)^2 + 1 - cos(delta_s', delta_s)``.

    Edits are (B, S), each channel in the unit that it shall count in; ``loss`` has names of ``LOSSES``, with plus signs
    between them.

    >>> mapper_loss(torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]]))
    tensor(1.0400)
    """
    return torch.stack([LOSSES[term](predicted, wanted) for term in loss.split(" + ")]).sum()


@dataclass(frozen=True)
class MapperTraining:
    """How a mapper is trained; the defaults are those of the published face model.

    >>> MapperTraining(steps=1000, mapper=MapperConfig(hidden=256)).loss
    'mse + cosine'
    """

    steps: int = 201_562  #: batches; these are 50 epochs of 258,000 pictures
    batch_size: int = 64  #: pairs
    lr: float = 0.5  #: of Adam; so high because the layers' own learning rate is a hundredth (``EqualLinear.lr_mul``)
    warmup: int = 0  #: steps over which the learning rate rises; none in the paper
    cooldown: float = 0.0
    """Part of the steps over which it falls to zero; none in the paper. With one, the loss ends on a plateau that is
    lower, after fewer steps."""
    loss: str = "mse + cosine"  #: see ``mapper_loss``
    standardize: bool = False
    """Measure every style channel in its own standard deviation. The paper does not, since FFHQ's are alike in scale.
    Where they are not, a few channels of large scale are all that the loss sees."""
    space: Literal["s", "w_plus"] = "s"
    """Where the edit is made, in style space, as in the paper, or in W+, which a mapper of one width for all layers
    then edits (``baselines.WPlus``)."""
    mapper: MapperConfig = MapperConfig()  #: the store tells its ``dims``, ``feature_dim`` and ``preprocessing``
    held_out: int = 2000  #: pictures at the end of the store kept for validation, at most a fifth of them
    evaluate_every: int = 1000  #: steps between two validations, each of which also writes a checkpoint
    seed: int = 0  #: of weights and of pairs

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "lr", "held_out", "evaluate_every"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive. Got {getattr(self, name)}.")
        if unknown := [term for term in self.loss.split(" + ") if term not in LOSSES]:
            known = " or ".join(map(repr, LOSSES))
            raise ValueError(f"a term of the loss must be {known}, with ' + ' between terms. Got {unknown[0]!r}.")
        if self.space not in ("s", "w_plus"):
            raise ValueError(f'space must be "s" or "w_plus". Got {self.space!r}.')


QUICK = MapperTraining(
    steps=4000,
    batch_size=256,
    lr=0.2,
    warmup=100,
    cooldown=0.5,
    standardize=True,
    mapper=MapperConfig(hidden=256, last_activation=False),
)
"""A mapper from some ten thousand pictures in minutes on a processor: unlike the paper's its last layer is linear, and
channels count in their own spread."""


def train_mapper(
    store: FeatureStore,
    config: MapperTraining = MapperTraining(),
    out: str | Path | None = None,
    device: str | torch.device = "cpu",
) -> DeltaMapper:
    """Train a mapper on pairs of sampled pictures: from the difference of image features to that of style codes.

    Pairs are drawn on the device; the store is all that is read, so that no text can come in. A run that was killed
    goes on from its last checkpoint to the same weights; one that is finished is only read. A large mapper multiplies
    in bfloat16 where the device is made for it; weights, their updates and the loss keep float32. The mapper comes in
    evaluation mode, with its ``history``: a row for every 50 steps, with ``step``, ``seconds``, ``mse``, ``cosine`` and
    ``loss``, and where it was validated ``validation_mse`` and so on.

    Args:
        out: folder for checkpoint and ``mapper.safetensors``; by default one in the store, named after the config.
        device: where to train; style codes and features are kept there, in float16, or streamed where they do not fit.

    Raises:
        ValueError: if the store has fewer than 10 pictures, or ``out`` is of another run.
        FloatingPointError: if the loss is not finite; the step is named, the last good checkpoint stays.

    >>> editor = Editor.from_pretrained("portraits")
    >>> store = extract_features(editor.generator, editor.clip, 64, "features")
    >>> recipe = MapperTraining(steps=5, batch_size=16, mapper=MapperConfig(hidden=16))
    >>> mapper = train_mapper(store, recipe)
    DeltaMapper: 5 steps in 0 s, validation loss ..., cosine ...
    >>> mapper.layout == editor.generator.layout
    True
    """
    if len(store) < 10:
        raise ValueError(f"the store must have at least 10 pictures, better 10,000. Got {len(store)}.")
    describes = {"config": asdict(config), "features": {**store.manifest, "n": len(store)}}
    if out is None:
        digest = hashlib.sha256(json.dumps(describes, sort_keys=True).encode()).hexdigest()
        out = store.folder / f"mapper-{digest[:8]}"
    code = store.s if config.space == "s" else store.w
    place = home(code.nbytes + store.image_feature.nbytes, device)
    s, feature = code.to(place), store.image_feature.to(place)
    compared = store.compared_feature.to(feature)
    rows = len(store) - min(config.held_out, len(store) // 5)  # for training; the rest is for validation
    dims, sizes = tuple(store.manifest["dims"]), config.mapper
    if config.space == "w_plus":  # a sample has one w for the layers of all styles
        dims = (s.shape[-1],) * store.manifest.get("num_ws", len(dims) + 1)
        s = s.repeat(1, len(dims)) if s.ndim == 2 else s.flatten(1)
    elif sizes.groups == 3:
        sizes = replace(sizes, groups=store.manifest.get("cuts", 3))
    preprocessing = store.manifest.get("preprocessing", "clip")
    sizes = replace(sizes, dims=dims, feature_dim=feature.shape[1], preprocessing=preprocessing)
    with torch.random.fork_rng(devices=[]):  # the caller's randomness stays as it is
        torch.manual_seed(config.seed)
        mapper = DeltaMapper(sizes).to(device)
    if config.standardize:
        parts = [torch.std_mean(part[:rows].float(), dim=0) for part in s.split(64, dim=1)]  # not all in float32
        std, mean = (torch.cat(values) for values in zip(*parts, strict=True))
        mapper.s_mean.copy_(mean)
        mapper.s_std.copy_(std.clamp(min=1e-3 * std.mean()))
    precision = half_precision(device, sum(p.numel() for p in mapper.parameters()) >= LARGE)
    optimizer = torch.optim.Adam(mapper.parameters(), lr=config.lr, fused=True)

    def losses(source: Tensor, other: Tensor) -> dict[str, Tensor]:
        places = ((feature, source), (compared, source), (compared, other), (s, source), (s, other))
        i1, t1, t2, s1, s2 = (x[k.to(place)].to(device).float() for x, k in places)
        with precision:
            predicted = mapper(s1, F.normalize(i1, dim=-1), mapper.delta(t1, t2)) / mapper.s_std
        wanted = (s2 - s1) / mapper.s_std
        mse, cosine = F.mse_loss(predicted, wanted), F.cosine_similarity(predicted, wanted).mean()
        return {"loss": mapper_loss(predicted, wanted, config.loss), "mse": mse, "cosine": cosine}

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        source, other = torch.randint(rows, (2, config.batch_size), generator=rng, device=device)
        values = losses(source, other)
        lr = learning_rate(number, config.steps, config.lr, config.warmup, config.cooldown)
        descend(optimizer, values["loss"], lr)
        return values

    @torch.no_grad()
    def evaluate() -> dict[str, float]:
        source = torch.arange(rows, len(s), device=place)
        values = losses(source, source.roll(1))
        return {f"validation_{key}": float(value) for key, value in values.items()}

    run = {"name": "DeltaMapper", "folder": out, "seed": config.seed, "device": device, "describes": describes}
    often, carries = config.evaluate_every, {"mapper": mapper, "optimizer": optimizer}
    mapper.history = fit(step, config.steps, carries=carries, save_every=often, evaluate=evaluate, **run)
    mapper.save(Path(out) / "mapper.safetensors")
    tqdm.write(plateau(mapper.history))
    return mapper.eval()


@torch.no_grad()
def solve_mapper(store: FeatureStore, ridge: float = 0.02, held_out: int = 2000) -> DeltaMapper:
    """The linear mapper of a store, ``MapperConfig.depth`` 0: the edits that differences of features go along with.

    For pairs of pictures the least squares of style differences on feature differences are those of styles on features,
    ``(C + ridge mean(diag C) I)^-1 X`` with the features' covariances C and those X with standardised style channels.
    It is solved in seconds. A network fits pairs better; but the deltas of words are purer than those of any two
    pictures, and there it has seen nothing. The matrix is the same everywhere.

    Args:
        held_out: pictures at the end of the store that the cosine in ``history`` is of, at most a fifth of them.

    Raises ``ValueError`` for fewer than 3 pictures, or a ridge that is not positive.
    """
    if len(store) < 3 or not ridge > 0:
        raise ValueError(f"a linear mapper needs 3 pictures or more, and a positive ridge. Got {len(store)}, {ridge}.")
    start, rows = time.perf_counter(), len(store) - max(2, min(held_out, len(store) // 5))
    feature = store.compared_feature.float()
    centre, blocks = feature[:rows].mean(0), torch.arange(rows).split(4096)
    mean = sum(store.s[block].float().sum(0) for block in blocks) / rows
    std = (sum((store.s[block].float() - mean).square().sum(0) for block in blocks) / rows).sqrt()
    std = std.clamp(min=1e-3 * std.mean())
    seen = feature[:rows] - centre
    shared = sum(seen[block].T @ ((store.s[block].float() - mean) / std) for block in blocks) / rows
    own = seen.T @ seen / rows
    own.diagonal().add_(ridge * own.diagonal().mean())
    manifest = store.manifest
    groups, preprocessing = manifest.get("cuts", 3), manifest.get("preprocessing", "clip")
    sizes = {"dims": tuple(manifest["dims"]), "feature_dim": feature.shape[1], "groups": groups}
    mapper = DeltaMapper(MapperConfig(**sizes, depth=0, preprocessing=preprocessing))
    mapper.matrix.copy_(torch.linalg.solve(own, shared))
    mapper.s_mean.copy_(mean)
    mapper.s_std.copy_(std)
    source = torch.arange(rows, len(store))
    other = source.roll(1)
    wanted = (store.s[other].float() - store.s[source].float()) / std
    predicted = (feature[other] - feature[source]) @ mapper.matrix
    values = {"mse": F.mse_loss(predicted, wanted), "cosine": F.cosine_similarity(predicted, wanted).mean()}
    mapper.history = [{f"validation_{name}": float(value) for name, value in values.items()}]
    mapper.history[0] |= {"step": 1, "seconds": time.perf_counter() - start}
    return mapper.eval()


def plateau_row(history: list[dict[str, float]], tolerance: float = 0.01) -> dict[str, float]:
    """The row of a history since when the validation loss has been within 1 % of its last value."""
    rows = [row for row in history if "validation_loss" in row]
    limit = rows[-1]["validation_loss"] * (1 + tolerance)
    return next(row for k, row in enumerate(rows) if all(r["validation_loss"] <= limit for r in rows[k:]))


def plateau(history: list[dict[str, float]]) -> str:
    """One sentence on how a training ended."""
    last, flat = history[-1], plateau_row(history)["step"]
    state = "no plateau yet: more steps may help" if flat == last["step"] else f"a plateau since step {flat}"
    ended = f"{last['step']} steps in {last['seconds']:.0f} s, validation loss {last['validation_loss']:.4f}"
    return f"DeltaMapper: {ended}, cosine {last['validation_cosine']:.3f}; {state}."
