"""Trains the head of the text tower once more, on a picture tower that stays as it is.

Features of pictures are then known, so that a step takes a hundredth of the time. And it is known where each attribute
lies among them: its partial effect, by least squares over all attributes at once, is what the feature of a face would
change by if this attribute changed and no other did but what changes with it by nature. Glasses come with age in faces,
but not in their partial effect. The words for an attribute shall point there, and those that deny it the other way.

English is larger than any list of sayings. What they make likely of a common word, by kernel ridge on what the sentence
encoder says of it, is taught as well, as far as it is likely.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from deltaedit.loop import learning_rate
from deltaedit.sentences import SentenceTower, WordPieces
from deltaedit.worlds.faces.rare import sayings
from deltaedit.worlds.faces.words import ATTRIBUTES, DENIED, WORDINGS, bare

FORMS = {
    "{}": "person",
    "a person, {}": "a person",
    "a photo of a face, {}": "a photo of a face",
    "{} person": "person",
    "face with {}": "face",
    "{} face": "face",
    "person with {}": "person",
    "man with {}": "man",
    "woman with {}": "woman",
}
"""Sentences for a saying, and what each says of nobody in particular."""
NATURE = {
    "old": ("grey_hair", "bald"),
    "beard": ("moustache", "stubble", "man"),
    "moustache": ("stubble", "man"),
    "stubble": ("man",),
    "bald": ("man",),
    "smile": ("teeth",),
    "open_mouth": ("teeth",),
    "makeup": ("lipstick", "woman"),
    "earrings": ("woman",),
}
"""What changes with an attribute by nature: hair greys with age."""
OTHERS = {"man": "woman", "woman": "man"}
UNDONE = {name: tuple(one for one in along if one not in OTHERS) for name, along in NATURE.items()}
"""The same where an attribute is denied: who grows a beard is a man, who shaves stays one."""
BESIDES = {"raised_brows": ("open_mouth", re.compile("brow|eye|quizz|question|curious|doubt|dubious|[ck]eptic|puzzl"))}
"""What an attribute's words mean besides, but for some: who is surprised raises the brows and opens the mouth."""
DENIED_BESIDES = {"stubble": "beard"}
"""What is denied besides: who is clean-shaven has no beard either."""
BROAD = ("{}", "a photo of a face, {}", "face with {}")  # forms that common words are taught in
COMMON = 8000  # words of the vocabulary that are taught; they stand in it by how often they are used
INNER, DIRECT = 14.0, 4.0
"""By what the first weights are larger than PyTorch's, which suit larger inputs than unit vectors are."""


@dataclass(frozen=True)
class HeadTraining:
    """How the head is trained.

    >>> HeadTraining(steps=10).captions
    384
    """

    steps: int = 2200
    captions: int = 384  #: in a batch, each with its picture
    sayings: int = 320  #: in a batch, of each attribute as many
    denials: int = 64  #: in a batch
    common: int = 384  #: words in a batch that no saying names
    lr: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.1
    noise: float = 0.015  #: added to what the encoder says: words that no caption had lie a little beside those
    dropout: float = 0.1  #: of the small network's inner layer
    contrast: float = 0.25  #: weight of captions and their pictures
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


def pointed(feature: Tensor, labels: Tensor, nature: Mapping[str, Sequence[str]] = NATURE) -> Tensor:
    """Where the words for each attribute shall point, (A, D), unit norm: partial effects, and what is in ``nature``.

    What changes with an attribute by nature is not held still while it changes: left out of the regression.
    """
    points = partial_effects(feature, labels)
    for name, along in nature.items():
        gone = {ATTRIBUTES.index(one) for one in (*along, *(OTHERS[one] for one in along if one in OTHERS))}
        kept = [k for k in range(len(ATTRIBUTES)) if k not in gone]
        own = ATTRIBUTES.index(name)
        points[own] = partial_effects(feature, labels[:, kept])[kept.index(own)]
    return F.normalize(points, dim=1)


def denials() -> list[tuple[str, str]]:
    """What says that something is not there, each with the attribute that it denies.

    >>> ("clean-shaven", "stubble") in denials(), ("without glasses", "glasses") in denials()
    (True, True)
    """
    said = [(bare(form, phrase), name) for name, own in DENIED.items() for form, phrase in own.phrases()]
    others = [
        (f"{word}{phrase.removeprefix('no')}", name)
        for word in ("without", "not any")
        for phrase, name in said
        if phrase.startswith("no ")
    ]
    return list(dict.fromkeys(said + others))


def meanings(said: Sequence[tuple[str, str]], denied: Sequence[tuple[str, str]] = ()) -> Tensor:
    """What sayings and denials mean, each with its attribute: shares (N, 2 A) of what is there, then of what is not.

    >>> meanings([("surprised", "raised_brows"), ("eyebrows up", "raised_brows")]).amax(1)
    tensor([0.5000, 1.0000])
    """
    shares = torch.zeros(len(said) + len(denied), 2, len(ATTRIBUTES))
    for row, (text, name) in zip(shares[: len(said), 0], said, strict=True):
        other, plain = BESIDES.get(name, (name, re.compile("")))
        row[[ATTRIBUTES.index(one) for one in (name, name if plain.search(text) else other)]] = 1.0
    for row, (_, name) in zip(shares[len(said) :, 1], denied, strict=True):
        row[[ATTRIBUTES.index(one) for one in (name, DENIED_BESIDES.get(name, name))]] = 1.0
    return shares.flatten(1) / shares.sum((1, 2))[:, None]


def common(tokenizer: WordPieces) -> list[str]:
    """The words that a tokenizer keeps whole, the most used first, without those of held-out wordings."""
    held = {word for text, _ in WORDINGS for word in text.lower().split()}
    whole = sorted(tokenizer.vocabulary.items(), key=lambda item: item[1])
    return [word for word, _ in whole if word.isalpha() and word.isascii() and len(word) > 3 and word not in held][
        :COMMON
    ]


def likely(sentence: Tensor, known: Tensor, named: Tensor, sharpness: float = 6.0, ridge: float = 0.3) -> Tensor:
    """How far a sentence says each attribute, (N, A), from 0 on, by kernel ridge on sayings.

    Args:
        sentence, known: what the encoder says of sentences (N, width) and of sayings (n, width), unit norm.
        named: (n,), which attribute each saying names; all attributes weigh the same.
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (-2 * sharpness * (1 - a @ b.T)).exp()

    there = F.one_hot(named, len(ATTRIBUTES)).float()
    rare = (1 / there.sum(0).clamp(min=1))[named]
    weights = torch.linalg.solve(kernel(known, known) + ridge * torch.diag(rare.mean() / rare), there - there.mean(0))
    return (kernel(sentence, known) @ weights).clamp(min=0)


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
    points, said, denied = pointed(feature, labels), sayings(), denials()
    named = torch.tensor([ATTRIBUTES.index(name) for _, name in said], device=device)
    meant = meanings(said, denied).to(device)

    def speak(texts: Sequence[str], forms: Sequence[str] = tuple(FORMS)) -> Tensor:
        bar = tqdm(forms, desc="sayings", unit="form", delay=2)
        return torch.stack([embed(tower, tokenizer, [form.format(text) for text in texts]) for form in bar], dim=1)

    spoken, unspoken = speak([text for text, _ in said]), speak([text for text, _ in denied])
    nobody = embed(tower, tokenizer, list(FORMS.values()))
    words = speak(common(tokenizer), [form for form in FORMS if form in BROAD])
    broad = torch.tensor([k for k, form in enumerate(FORMS) if form in BROAD], device=device)
    score = torch.stack([likely(words[:, k], spoken[:, at], named) for k, at in enumerate(broad.tolist())], dim=1)
    sure, guess = score.amax(-1).clamp(max=1), F.normalize(score**2 @ points, dim=-1)
    layers, scale = (tower.direct, tower.inner, tower.outer), nn.Parameter(torch.tensor(math.log(20.0), device=device))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(config.seed)
        for layer in layers:
            layer.reset_parameters()
        tower.inner.weight *= INNER
        tower.direct.weight *= DIRECT
        nn.init.zeros_(tower.outer.weight)
        nn.init.zeros_(tower.outer.bias)
    parameters = [p.requires_grad_() for layer in layers for p in layer.parameters()]
    groups = [{"params": parameters, "weight_decay": config.weight_decay}, {"params": [scale], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.lr)
    rows_of = [rows for k in range(len(ATTRIBUTES)) if len(rows := (named == k).nonzero()[:, 0])]
    longest = max(map(len, rows_of))
    table = torch.stack([rows.repeat(-(-longest // len(rows)))[:longest] for rows in rows_of])
    signed = torch.cat([points, -pointed(feature, labels, UNDONE)])

    def draw(below: int, n: int) -> Tensor:
        return torch.randint(below, (n,), generator=rng, device=device)

    def read(sentence: Tensor, noise: float = 0.0) -> Tensor:
        """Unit text features, of a head with dropout."""
        if noise:
            shaken = sentence + noise * torch.randn(sentence.shape, generator=rng, device=device)
            sentence = F.normalize(shaken, dim=-1)
        inner = F.gelu(tower.inner(sentence))
        kept = torch.rand(inner.shape, generator=rng, device=device) >= config.dropout
        return F.normalize(tower.direct(sentence) + tower.outer(inner * kept / (1 - config.dropout)), dim=-1)

    def step() -> dict[str, Tensor]:
        rows = draw(len(feature), config.captions)
        caption = embedded[rows, draw(embedded.shape[1], config.captions)].float()
        logits = scale.exp() * read(caption, config.noise) @ feature[rows].T
        own = torch.arange(len(rows), device=device)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        rows, form = (
            table[draw(len(table), config.sayings), draw(longest, config.sayings)],
            draw(len(FORMS), config.sayings),
        )
        no, shape = draw(len(denied), config.denials), draw(len(FORMS), config.denials)
        sentence, form = torch.cat([spoken[rows, form], unspoken[no, shape]]), torch.cat([form, shape])
        asked = meant[torch.cat([rows, len(said) + no])]
        delta = F.normalize(read(sentence, config.noise) - read(nobody[form]), dim=-1)
        away = (1 - (delta * F.normalize(asked @ signed, dim=1)).sum(1)).mean()
        first = F.cross_entropy(config.sharpness * delta @ signed.T, asked)
        rows, form = draw(len(words), config.common), draw(len(broad), config.common)
        delta = F.normalize(read(words[rows, form]) - read(nobody[broad[form]]), dim=-1)
        weight = sure[rows, form]
        astray = (weight * (1 - (delta * guess[rows, form]).sum(1))).sum() / weight.sum().clamp(min=1e-6)
        loss = config.contrast * contrast + config.towards * (away + astray) + config.first * first
        return {"loss": loss, "contrast": contrast, "away": away, "first": first, "astray": astray}

    log = []
    for number in tqdm(range(config.steps), desc="text head", unit="step", delay=2):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, config.steps, config.lr, config.warmup)
        values = step()
        optimizer.zero_grad(set_to_none=True)
        values["loss"].backward()
        optimizer.step()
        if number % 50 == 49 or number == config.steps - 1:
            log.append({"step": number + 1, **{name: float(value.detach()) for name, value in values.items()}})
    for parameter in parameters:
        parameter.requires_grad_(False)
    return log
