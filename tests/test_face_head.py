"""The head of the text tower, on features and words that the test makes."""

import pytest
import torch
import torch.nn.functional as F

from deltaedit.sentences import MiniLM, SentenceTower, WordPieces
from deltaedit.worlds.faces import train_head
from deltaedit.worlds.faces.train_head import HeadTraining, common, denials, likely, partial_effects, pointed
from deltaedit.worlds.faces.words import ATTRIBUTES

WORDS = ("glasses", "beard", "person", "a", "photo", "of", "face", "no")
TOLD = ("glasses", "beard")


def test_partial_effects_part_what_comes_together():
    rng = torch.Generator().manual_seed(0)
    age = (torch.rand(4000, generator=rng) < 0.5).float()
    glasses = (torch.rand(4000, generator=rng) < 0.2 + 0.6 * age).float()
    labels = torch.stack([glasses, age], dim=1)
    effects = torch.tensor([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    feature = labels @ effects + 0.1 * torch.randn(4000, 3, generator=rng)
    labels[::7, 0] = torch.nan  # not known, and not taken for no
    found = partial_effects(feature, labels, ridge=1.0)
    torch.testing.assert_close(F.normalize(found, dim=1), F.normalize(effects, dim=1), atol=0.08, rtol=0)
    together = feature[glasses > 0.5].mean(0) - feature[glasses < 0.5].mean(0)
    assert F.cosine_similarity(together, effects[0], dim=0) < 0.75, "the plain difference should mix them"


def bag(texts):
    """Instead of the sentence encoder, whose tiny kin reads every text alike: which words a text has."""
    return F.normalize(torch.tensor([[float(word in text.split()) for word in WORDS] for text in texts]), dim=1)


def test_words_come_to_point_where_the_attribute_does(monkeypatch):
    monkeypatch.setattr(train_head, "sayings", lambda: [(name, name) for name in TOLD])
    monkeypatch.setattr(train_head, "denials", lambda: [(f"no {name}", name) for name in TOLD])
    monkeypatch.setattr(train_head, "common", lambda tokenizer: ["glasses", "photo"])
    monkeypatch.setattr(train_head, "embed", lambda tower, tokenizer, texts: bag(texts))
    tower = SentenceTower(MiniLM(vocabulary=10, width=8, layers=1, heads=2, hidden=16), dim=4, hidden=8)
    rng = torch.Generator().manual_seed(0)
    labels = torch.zeros(200, len(ATTRIBUTES))
    columns = [ATTRIBUTES.index(name) for name in TOLD]
    labels[:, columns] = (torch.rand(200, 2, generator=rng) < 0.5).float()
    feature = F.normalize(labels[:, columns] @ torch.eye(2, 4) + torch.tensor([0.0, 0.0, 1.0, 1.0]), dim=1)
    shown = [[name for name, there in zip(TOLD, row, strict=True) if there] for row in labels[:, columns]]
    embedded = bag([" ".join(names) or "person" for names in shown])[:, None]
    recipe = HeadTraining(steps=300, captions=64, sayings=16, lr=0.01, noise=0.0, dropout=0.0, weight_decay=0.0)
    log = train_head.train_head(tower, None, feature, labels, embedded, recipe)
    assert log[-1]["away"] < 0.2
    with torch.no_grad():
        said = bag([*TOLD, "person", "no glasses"])
        glasses, beard, person, without = F.normalize(tower.head(said), dim=1)
    points = pointed(feature, labels)[columns]
    assert F.cosine_similarity(without - person, points[0], dim=0) < -0.7
    cosines = F.normalize(torch.stack([glasses - person, beard - person]), dim=1) @ points.T
    assert cosines.diagonal().min() > 0.85
    assert cosines[0, 1] < 0.3
    assert not any(p.requires_grad for p in tower.direct.parameters())
    with pytest.raises(ValueError, match="as many features as labels"):
        train_head.train_head(tower, None, feature[1:], labels, embedded, recipe)


def test_what_changes_by_nature_is_not_held_still():
    rng = torch.Generator().manual_seed(1)
    labels = torch.zeros(3000, len(ATTRIBUTES))
    old, grey = (ATTRIBUTES.index(name) for name in ("old", "grey_hair"))
    labels[:, old] = (torch.rand(3000, generator=rng) < 0.5).float()
    labels[:, grey] = labels[:, old] * (torch.rand(3000, generator=rng) < 0.8)
    feature = labels[:, [old, grey]] @ torch.eye(2, 4) + 0.01 * torch.randn(3000, 4, generator=rng)
    points = pointed(feature, labels)
    assert points[old, 1] > 0.5 > partial_effects(feature, labels)[old, 1] + 0.4
    assert points[grey, 0] < 0.1


def test_denials_deny_what_is_there_to_be_had():
    found = dict(denials())
    assert found["no hat"] == found["without hat"] == "hat"
    assert len(found) == len(denials())


def test_kernel_ridge_is_the_textbooks():
    rng = torch.Generator().manual_seed(2)
    known, named = F.normalize(torch.randn(20, 6, generator=rng), dim=1), torch.arange(20) % 4
    found = likely(known, known, named, sharpness=3.0, ridge=1e-4)
    assert (found.argmax(1) == named).all()
    assert found.shape == (20, len(ATTRIBUTES))
    assert (found >= 0).all()


def test_common_words_are_whole_and_not_held_out():
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    words = (*special, "##ing", "window", "spectacles", "über", "walking")
    assert common(WordPieces({word: k for k, word in enumerate(words)})) == ["window", "walking"]
