"""Trains the CLIP that knows faces: a small picture tower, and a head on a network that reads English already.

Beside the contrastive loss the picture's feature is asked for every attribute: with tens of thousands of faces captions
alone teach what is seen first, and little else. What comes together in faces, such as earrings and women, is parted by
how batches are drawn: as many of each attribute, and of those as many of each gender and age.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit._torchvision import open_clip
from deltaedit.clip import ClipEncoder, build
from deltaedit.devices import half_precision
from deltaedit.features import SHARD
from deltaedit.files import read_tensors, refuse_other_run, write_tensors
from deltaedit.loop import Step, fit, learning_rate
from deltaedit.record import digest
from deltaedit.sentences import MiniLM, SentenceCLIP, word_pieces
from deltaedit.worlds.faces.captions import SURE, captions, vocabulary
from deltaedit.worlds.faces.words import AGES, ATTRIBUTES

NAME = "faces-clip"
CONFIG: dict[str, Any] = {
    "embed_dim": 256,
    "vision_cfg": {"image_size": 96, "layers": [1, 1, 1, 1], "width": 32, "head_width": 64},
    "text_cfg": {"context_length": 64, "hidden": 640},
}
"""As open_clip's registry holds one, but for the text: of a head of ``hidden`` width on a sentence encoder."""
TEMPLATES = ("{}", "a photo of a {}", "a picture of a {}", "a portrait of a {}", "a close-up of a {}")
KINDS = ((1, 2, 0.1), (1, 3, 0.15), (2, 5, 0.15), (3, 7, 0.15), (1, 1, 0.05), (1, 4, 0.1))
"""The captions that every face has: least and most facts, and how probably one is a denial."""
FEWEST = 3  # faces that are worth being drawn from, of one attribute, gender and age


@dataclass(frozen=True)
class FaceClipTraining:
    """How it is trained; one recipe for CPU and CUDA.

    >>> FaceClipTraining(steps=10).batch_size
    256
    """

    steps: int = 1100
    batch_size: int = 256  #: half of it balanced, the other half as faces come
    attributes: float = 8.0  #: weight of the loss by attributes, beside the contrastive one
    lr: float = 1e-3
    warmup: int = 60
    weight_decay: float = 0.05
    ema: float = 0.995  #: of the weights' moving average, once it has seen enough steps
    shift: int = 3  #: pixels by which the pictures of a batch are moved at most
    light: float = 0.12  #: by how much a picture is made brighter or darker at most
    tint: float = 0.03  #: and of what each colour is given more or less, of 1
    keep: int = 200  #: steps between two milestones
    seed: int = 0


class Balanced:
    """Draws faces so that every attribute comes as often as any other, and in it every gender and age.

    >>> labels = torch.zeros(9, len(ATTRIBUTES))
    >>> labels[:3, 0] = labels[3:, 1] = 1
    >>> (Balanced(labels).draw(1000, torch.Generator().manual_seed(0)) < 3).sum() > 400
    tensor(True)
    """

    def __init__(self, labels: Tensor) -> None:
        labels = labels.cpu()
        age = torch.stack([labels[:, ATTRIBUTES.index(name)] for name in AGES], dim=1).nan_to_num().argmax(1)
        kind = (labels[:, ATTRIBUTES.index("man")] > 0.5) * len(AGES) + age
        self.groups: list[list[Tensor]] = []
        for column in labels.unbind(1):
            shown = (column > SURE).nonzero()[:, 0]
            parts = [shown[kind[shown] == k] for k in range(2 * len(AGES))]
            if parts := [part for part in parts if len(part) >= FEWEST]:
                self.groups.append(parts)
        if not self.groups:
            raise ValueError(
                f"labels must be sure of an attribute on {FEWEST} faces that are alike. Got none: draw more."
            )

    def draw(self, n: int, rng: torch.Generator) -> Tensor:
        """Rows (n,), with randomness of the CPU's."""

        def pick(things: Sequence[Any], u: float) -> Any:
            return things[min(int(u * len(things)), len(things) - 1)]

        chances = torch.rand(n, 3, generator=rng, dtype=torch.float64).tolist()
        return torch.stack([pick(pick(pick(self.groups, a), b), c) for a, b, c in chances])


@torch.no_grad()
def embed_captions(
    labels: Tensor,
    sentences: str | Path,
    folder: str | Path,
    seed: int = 0,
    device: str | torch.device = "cpu",
    longest: int = CONFIG["text_cfg"]["context_length"],
) -> Tensor:
    """What the sentence encoder makes of captions, (n, len(KINDS), width), float16; a file for every 1024 faces.

    Captions are new for another ``seed``. A run that was stopped goes on where it was. ``sentences`` is the folder of
    the encoder, which reads ``longest`` tokens; raises ``ValueError`` if ``folder`` has captions of other labels.
    """
    encoder, tokenizer, parts = None, word_pieces(sentences), []
    for number, part in enumerate(tqdm(labels.split(SHARD), desc="captions", unit="shard", delay=2)):
        path = Path(folder) / f"captions-{number:05d}.safetensors"
        about = {"labels": digest(part.nan_to_num(-1).tolist()), "seed": seed, "kinds": [list(kind) for kind in KINDS]}
        if path.exists():
            refuse_other_run(path, read_tensors(path)[1], about)
            parts.append(read_tensors(path)[0]["captions"])
            continue
        encoder = encoder or MiniLM.load(sentences).to(device)
        texts = []
        for k, (low, high, negation) in enumerate(KINDS):
            texts += captions(part, random.Random(f"{seed}/{number}/{k}"), low, high, negation)
        unlike = sorted(set(texts), key=lambda text: (len(text), text))  # alike in length, to be padded little
        batches = [tokenizer(unlike[k : k + 256], longest).to(device) for k in range(0, len(unlike), 256)]
        with half_precision(device):
            found = [encoder(tokens).half().cpu() for tokens in batches]
        row = {text: k for k, text in enumerate(unlike)}
        embedded = torch.cat(found)[[row[text] for text in texts]]
        embedded = embedded.unflatten(0, (len(KINDS), len(part))).transpose(0, 1)
        write_tensors(path, {"captions": embedded}, about)
        parts.append(embedded)
    return torch.cat(parts)


def fresh(config: dict[str, Any], sentences: str | Path, seed: int) -> SentenceCLIP:
    """A CLIP with random weights, but for the sentence encoder's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(config, sentences)


def trained_parts(model: SentenceCLIP, attributes: int) -> nn.ModuleDict:
    """What of a CLIP is trained, and what asks its picture features for attributes."""
    text = model.text
    parts = nn.ModuleDict({"visual": model.visual, "direct": text.direct, "inner": text.inner, "outer": text.outer})
    parts["attributes"] = nn.Linear(text.direct.out_features, attributes)
    parts["scales"] = nn.ParameterDict({"logit": model.logit_scale, "attribute": torch.tensor(math.log(12.0))})
    return parts


def as_encoder(model: SentenceCLIP, config: dict[str, Any], sentences: str | Path) -> ClipEncoder:
    """The CLIP as it is used, with the words that captions have."""
    tokenizer = word_pieces(sentences)
    model.visual.image_mean, model.visual.image_std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD
    tokens = tokenizer([*sorted(vocabulary()), *TEMPLATES, "man's"], config["text_cfg"]["context_length"]).unique()
    return ClipEncoder(model, tokenizer, NAME, templates=TEMPLATES, token_ids=tokens, config=config)


def varied(image: Tensor, config: FaceClipTraining, rng: torch.Generator) -> Tensor:
    """Images (B, 3, H, W) from 0 to 1, moved, lit and tinted a little."""
    n, device = len(image), image.device
    right, down = torch.randint(-config.shift, config.shift + 1, (2,), generator=rng, device=device).tolist()
    light = 1 + (2 * torch.rand(n, 1, 1, 1, generator=rng, device=device) - 1) * config.light
    tint = (2 * torch.rand(n, 3, 1, 1, generator=rng, device=device) - 1) * config.tint
    return image.roll((down, right), (2, 3)) * light + tint


def train_clip(
    picture: Tensor,
    labels: Tensor,
    embedded: Tensor,
    sentences: str | Path,
    folder: str | Path,
    config: FaceClipTraining = FaceClipTraining(),
    *,
    held_out: Collection[int] = (),
    model: dict[str, Any] = CONFIG,
    start: ClipEncoder | None = None,
    device: str | torch.device = "cpu",
    stop_after: int | None = None,
) -> tuple[ClipEncoder, list[dict[str, float]]]:
    """Train on faces; returns the moving average, as it is used, and the log.

    A run that was killed goes on from the checkpoint in ``folder`` to the same result. Every ``keep`` steps the moving
    average is written beside it, in half precision and whole, as ``clip-00200.safetensors``.

    Args:
        picture: bytes (n, 3, H, H), of the size that the model takes.
        labels: (n, len(ATTRIBUTES)), probabilities; of nan, and of those between .3 and .7, nothing is asked.
        embedded: (n, C, width), see ``embed_captions``.
        sentences: folder of the sentence encoder.
        held_out: rows that are never trained on.
        start: what to go on from, of the same ``model``; by default nothing has been learnt yet.

    Raises:
        ValueError: if sizes do not fit, no attribute is sure, or ``folder`` has another run.
    """
    if not len(picture) == len(labels) == len(embedded) or picture.shape[-1] != model["vision_cfg"]["image_size"]:
        got = f"{tuple(picture.shape)}, {len(labels)} labels and {len(embedded)} faces' captions"
        raise ValueError(
            f"pictures must be of {model['vision_cfg']['image_size']} px, as many as labels and captions. Got {got}."
        )
    torch.set_flush_denormal(True)  # numbers so small that they are nothing slow a processor down a hundred times
    clip, kept = fresh(model, sentences, config.seed).to(device), fresh(model, sentences, config.seed).to(device)
    kept.text.encoder = clip.text.encoder
    if start is not None:
        learnt = start.model.state_dict()
        clip.load_state_dict(learnt)
        kept.load_state_dict(learnt)
    step_fn, carries = clip_step(picture, labels, embedded, (clip, kept), config, held_out)
    folder = Path(folder)

    def step(number: int, rng: torch.Generator) -> dict[str, Tensor]:
        scalars = step_fn(number, rng)
        if (number + 1) % config.keep == 0:
            path = folder / f"clip-{number + 1:05d}.safetensors"
            whole = {name: x for name, x in kept.state_dict().items() if not name.startswith("text.encoder.")}
            write_tensors(path, whole, {"step": number + 1, **asdict(config)}, half=True)
        return scalars

    describes = {"recipe": asdict(config), "model": model, "labels": digest(labels.nan_to_num(-1).sum(0).tolist())}
    describes |= {"faces": len(picture), "held_out": digest(sorted(held_out))}
    describes |= {"start": start and start.fingerprint()}
    run = {"name": "CLIP", "folder": folder, "seed": config.seed, "device": device, "stop_after": stop_after}
    log = fit(step, config.steps, carries=carries, describes=describes, save_every=100, log_every=25, **run)
    return as_encoder(kept, model, sentences), log


@torch.no_grad()
def even_out(visual: nn.Module, seen: Tensor, labels: Tensor, least: float = 0.3, ridge: float = 20.0) -> Tensor:
    """Let a picture tower say as much in every direction of what no attribute explains; returns image features so.

    What attributes leave of features, by least squares over all of them, spreads far in few directions, and drowns
    attributes that lie there. A linear map before features are made unit vectors takes the root of its covariance away
    (linear discriminant analysis, Fisher 1936), and the mean of faces: words for «old» and for «grey hair» then point
    farther apart. The map becomes part of the last layer.

    Args:
        visual: a ResNet of open_clip's; changed in place.
        seen: (n, D), what it says of pictures, not yet unit vectors.
        labels: (n, A), probabilities, nan if unknown.
        least: added to each variance, of which the mean is 1, so that what hardly varies is not blown up.

    >>> from open_clip.modified_resnet import ModifiedResNet
    >>> tower = ModifiedResNet((1, 1, 1, 1), 8, heads=4, image_size=32, width=4).eval()
    >>> picture, labels = 9 * torch.randn(20, 3, 32, 32), torch.rand(20, 2)
    >>> feature = even_out(tower, tower(picture).detach(), labels)
    >>> torch.allclose(F.normalize(tower(picture), dim=1), feature, atol=1e-3)
    True
    """
    mean, middle = labels.nanmean(0).nan_to_num(), seen.mean(0)
    x, u = (torch.where(labels.isnan(), mean, labels) - mean).double(), (seen - middle).double()
    left = u - x @ torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]).to(x), x.T @ u)
    variance, axes = torch.linalg.eigh(left.T @ left / len(left))
    scale = (variance / variance.mean() + least) ** -0.5
    even = (axes * scale @ axes.T).to(seen)
    last = visual.attnpool.c_proj
    last.weight.copy_(even @ last.weight)
    last.bias.copy_(even @ (last.bias - middle))
    return F.normalize((seen - middle) @ even, dim=1)


def clip_step(
    picture: Tensor,
    labels: Tensor,
    embedded: Tensor,
    models: tuple[SentenceCLIP, SentenceCLIP],
    config: FaceClipTraining,
    held_out: Collection[int] = (),
) -> tuple[Step, dict[str, Any]]:
    """The step of ``train_clip``, for ``fit``, and what it carries; ``models``: one to train, its moving average."""
    device = models[0].logit_scale.device
    mine = torch.ones(len(labels), dtype=torch.bool)
    mine[list(held_out)] = False
    rows = mine.nonzero()[:, 0]
    balanced = Balanced(labels.masked_fill(~mine[:, None], torch.nan))
    known = ((labels < 1 - SURE) | (labels > SURE)).to(device)
    labels = labels.nan_to_num().to(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model, average = (trained_parts(one, labels.shape[1]).to(device) for one in models)
    average.load_state_dict(model.state_dict())
    average.requires_grad_(False)
    model.visual.to(memory_format=torch.channels_last)
    head, scales = models[0].text.head, model["scales"]
    mean, std = (
        torch.tensor(values, device=device)[:, None, None]
        for values in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    parameters = list(model.parameters())
    decays = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
    groups = [{"params": own, "weight_decay": d} for own, d in zip(decays, (config.weight_decay, 0.0), strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)
    here, half = torch.arange(config.batch_size, device=device), config.batch_size // 2

    def step_fn(step: int, rng: torch.Generator) -> dict[str, Tensor]:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config.lr, config.warmup, cooldown=1.0)
        cpu = torch.Generator().manual_seed(rng.initial_seed())
        chosen = [balanced.draw(half, cpu), rows[torch.randint(len(rows), (config.batch_size - half,), generator=cpu)]]
        index = torch.cat(chosen)
        which = torch.randint(embedded.shape[1], (len(index),), generator=cpu)
        image = (varied(picture[index].to(device).float() / 255, config, rng) - mean) / std
        with half_precision(device):
            seen = models[0].visual(image.contiguous(memory_format=torch.channels_last))
        feature = F.normalize(seen.float(), dim=-1)
        text = F.normalize(head(embedded[index, which].to(device).float()), dim=-1)
        logits = scales["logit"].exp() * feature @ text.T
        contrast = (F.cross_entropy(logits, here) + F.cross_entropy(logits.T, here)) / 2
        index = index.to(device)
        asked, sure = model["attributes"](feature) * scales["attribute"].exp(), known[index].float()
        telling = F.binary_cross_entropy_with_logits(asked, labels[index], reduction="none")
        telling = (telling * sure).sum() / sure.sum().clamp(min=1)
        optimizer.zero_grad(set_to_none=True)
        (contrast + config.attributes * telling).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            scales["logit"].clamp_(0, math.log(100))
            ema = min(config.ema, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.parameters()), parameters, 1 - ema)
            for a, b in zip(average.buffers(), model.buffers(), strict=True):
                a.copy_(b)
            hit = (logits.argmax(1) == here).float().mean()
        return {"contrast": contrast, "attributes": telling, "retrieval": hit, "scale": scales["logit"].exp()}

    return step_fn, {"model": model, "average": average, "optimizer": optimizer}
