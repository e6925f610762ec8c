"""Trains the head of the text tower once more, on a picture tower that stays as it is.

Features of pictures are then known, so that a step takes a hundredth of the time. And it is known where each attribute
lies among them: its partial effect, by least squares over all attributes at once, is what the feature of a face would
change by if this attribute changed and no other did. Glasses come with age in faces, but not in their partial effect.
The words for an attribute shall point there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.loop import learning_rate
from deltaedit.sentences import SentenceTower, WordPieces
from deltaedit.worlds.faces.rare import sayings
from deltaedit.worlds.faces.words import ATTRIBUTES

FORMS = ("{}", "a person, {}", "a photo of a face, {}", "{} person")
NEUTRAL = ("person", "a person", "a photo of a face", "person")
"""Sentences for a saying, and what each says of nobody in particular."""


@dataclass(frozen=True)
class HeadTraining:
    """How the head is trained.

    >>> HeadTraining(steps=10).captions
    768
    """

    steps: int = 1600
    captions: int = 768  #: in a batch, each with its picture
    sayings: int = 256  #: in a batch
    lr: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.1
    noise: float = 0.04  #: added to what the encoder says: words that no caption had lie a little beside those
    dropout: float = 0.2  #: of the small network's inner layer
    towards: float = 4.0  #: weight of one minus the cosine with the partial effect
    first: float = 3.0  #: weight of the question which of all attributes a saying names
    sharpness: float = 12.0  #: of that question
    seed: int = 0


def partial_effects(feature: Tensor, labels: Tensor, ridge: float = 20.0) -> Tensor:
    """What each attribute alone changes a feature by, (A, D), of features (n, D) and labels (n, A), nan if unknown.

    >>> labels = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    >>> partial_effects(labels @ torch.tensor([[2.0, 0.0], [0.0, 1.0]]), labels, ridge=1e-4).round()
    tensor([[2., 0.],
            [0., 1.]])
    """
    mean = labels.nanmean(0).nan_to_num()
    x = torch.where(labels.isnan(), mean, labels) - mean
    y = feature - feature.mean(0)
    return torch.linalg.solve(x.T @ x + ridge * torch.eye(x.shape[1]).to(x), x.T @ y)


@torch.no_grad()
def embed(tower: SentenceTower, tokenizer: WordPieces, texts: Sequence[str], longest: int = 64) -> Tensor:
    """What the sentence encoder says of texts, (N, width)."""
    device = tower.direct.weight.device
    parts = [tokenizer(texts[k : k + 256], longest).to(device) for k in range(0, len(texts), 256)]
    return torch.cat([tower.encoder(part).float() for part in parts])


def train_head(
    tower: SentenceTower,
    tokenizer: WordPieces,
    feature: Tensor,
    labels: Tensor,
    embedded: Tensor,
    config: HeadTraining = HeadTraining(),
) -> list[dict[str, float]]:
    """Train the head of ``tower`` anew, in place; returns the log, a row for every 50 steps.

    Args:
        feature: (n, D), unit norm, of the faces to train on.
        labels: (n, len(ATTRIBUTES)), probabilities, nan for what is unknown.
        embedded: (n, C, width), what the encoder says of their captions.

    Raises:
        ValueError: if these are not of one length.
    """
    if not len(feature) == len(labels) == len(embedded):
        got = f"{len(feature)} features, {len(labels)} labels and {len(embedded)} faces' captions"
        raise ValueError(f"there must be as many features as labels and captions. Got {got}.")
    device, rng = feature.device, torch.Generator(feature.device).manual_seed(config.seed)
    points = F.normalize(partial_effects(feature, labels), dim=1)
    said = sayings()
    named = torch.tensor([ATTRIBUTES.index(name) for _, name in said], device=device)
    spoken = torch.stack([embed(tower, tokenizer, [form.format(text) for text, _ in said]) for form in FORMS], dim=1)
    nobody = embed(tower, tokenizer, NEUTRAL)
    layers, scale = (tower.direct, tower.inner, tower.outer), nn.Parameter(torch.tensor(math.log(20.0), device=device))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        for layer in layers:
            layer.reset_parameters()
        nn.init.zeros_(tower.outer.weight)
        nn.init.zeros_(tower.outer.bias)
    parameters = [p.requires_grad_() for layer in layers for p in layer.parameters()]
    groups = [{"params": parameters, "weight_decay": config.weight_decay}, {"params": [scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr)

    def draw(below: int, n: int) -> Tensor:
        return torch.randint(below, (n,), generator=rng, device=device)

    def read(sentence: Tensor, noise: Tensor | float) -> Tensor:
        """Unit text features, of a head with dropout."""
        sentence = F.normalize(sentence + noise, dim=-1)
        inner = F.gelu(tower.inner(sentence))
        kept = torch.rand(inner.shape, generator=rng, device=device) >= config.dropout
        return F.normalize(tower.direct(sentence) + tower.outer(inner * kept / (1 - config.dropout)), dim=-1)

    def noise(like: Tensor) -> Tensor:
        return config.noise * torch.randn(like.shape, generator=rng, device=device)

    log = []
    for step in range(config.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config.steps, config.lr, config.warmup)
        rows = draw(len(feature), config.captions)
        caption = embedded[rows, draw(embedded.shape[1], config.captions)].float()
        logits = scale.exp() * read(caption, noise(caption)) @ feature[rows].T
        own = torch.arange(len(rows), device=device)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        rows, form = draw(len(said), config.sayings), draw(len(FORMS), config.sayings)
        sentence = spoken[rows, form]
        delta = F.normalize(read(sentence, noise(sentence)) - read(nobody[form], 0.0), dim=-1)
        away = (1 - (delta * points[named[rows]]).sum(1)).mean()
        first = F.cross_entropy(config.sharpness * delta @ points.T, named[rows])
        loss = contrast + config.towards * away + config.first * first
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 50 == 49 or step == config.steps - 1:
            values = {"loss": loss, "contrast": contrast, "away": away, "first": first}
            log.append({"step": step + 1, **{name: float(value.detach()) for name, value in values.items()}})
    for parameter in parameters:
        parameter.requires_grad_(False)
    return log
