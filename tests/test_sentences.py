"""The network that reads English, and a CLIP whose text tower it is; tiny ones, with weights that the tests make."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from deltaedit._torchvision import open_clip
from deltaedit.clip import ClipEncoder
from deltaedit.files import write_tensors
from deltaedit.sentences import SENTENCES, VOCABULARY, MiniLM, SentenceCLIP, SentenceTower, WordPieces, word_pieces

WORDS = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "face": 5, "with": 6, "glass": 7, "##es": 8, ",": 9}
SIZES = {"vocab_size": 10, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES |= {"intermediate_size": 16, "max_position_embeddings": 12}
VISION = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64}
TEXT = {"context_length": 10, "hidden": 6}
CONFIG = {"embed_dim": 5, "vision_cfg": VISION, "text_cfg": TEXT}


def bert(config: dict) -> dict[str, torch.Tensor]:
    """Weights as BERT's files name them."""
    d, inner, rng = config["hidden_size"], config["intermediate_size"], torch.Generator().manual_seed(0)
    shapes = {f"embeddings.{kind}_embeddings.weight": (n, d) for kind, n in (("word", 10), ("position", 12))}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, d)}
    for name, (out, into) in {"attention.output.dense": (d, d), "intermediate.dense": (inner, d)}.items():
        shapes |= {f"encoder.layer.{k}.{name}.weight": (out, into) for k in range(2)}
        shapes |= {f"encoder.layer.{k}.{name}.bias": (out,) for k in range(2)}
    for k in range(2):
        at = f"encoder.layer.{k}."
        shapes |= {f"{at}output.dense.weight": (d, inner), f"{at}output.dense.bias": (d,)}
        for name in ("query", "key", "value"):
            shapes |= {f"{at}attention.self.{name}.weight": (d, d), f"{at}attention.self.{name}.bias": (d,)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{at}{name}.weight": (d,), f"{at}{name}.bias": (d,)}
    shapes |= {"embeddings.LayerNorm.weight": (d,), "embeddings.LayerNorm.bias": (d,)}
    return {name: torch.randn(shape, generator=rng) for name, shape in shapes.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tensors(tmp_path / SENTENCES, bert(SIZES), {"config": SIZES})
    (tmp_path / VOCABULARY).write_text(json.dumps({"model": {"vocab": WORDS}}))
    return tmp_path


def textbook(weights: dict[str, torch.Tensor], tokens: torch.Tensor) -> torch.Tensor:
    """BERT by the book, of one sentence without padding (Devlin et al. 2018, section 3)."""

    def norm(x, name):
        return nn.functional.layer_norm(x, (8,), weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-12)

    def linear(x, name):
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    x = weights["embeddings.word_embeddings.weight"][tokens]
    x = x + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm(x + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for k in range(2):
        at = f"encoder.layer.{k}."
        q, key, v = (linear(x, f"{at}attention.self.{name}") for name in ("query", "key", "value"))
        heads = [
            (q[:, h] @ key[:, h].T / 2).softmax(-1) @ v[:, h]  # 2 is the root of a head's width
            for h in (slice(0, 4), slice(4, 8))
        ]
        x = norm(x + linear(torch.cat(heads, -1), f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        inner = nn.functional.gelu(linear(x, f"{at}intermediate.dense"))
        x = norm(x + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    return nn.functional.normalize(x.mean(0), dim=0)


def test_reads_as_the_textbook_does_whatever_the_padding(folder: Path):
    pieces, model = word_pieces(folder), MiniLM.load(folder)
    tokens = pieces(["a face with glasses", "face"], context_length=12)
    assert tokens[0].tolist() == [2, 4, 5, 6, 7, 8, 3, 0, 0, 0, 0, 0]
    wanted = [textbook(bert(SIZES), row[row > 0]) for row in tokens]
    torch.testing.assert_close(model(tokens), torch.stack(wanted), atol=1e-5, rtol=1e-5)


def test_cuts_words_into_pieces():
    pieces = WordPieces(WORDS)
    assert pieces(["A  Façe, FACE"], context_length=8)[0].tolist() == [2, 4, 5, 9, 5, 3, 0, 0]
    assert pieces(["glasses hat 你"], context_length=8)[0].tolist() == [2, 7, 8, 1, 1, 3, 0, 0]
    assert pieces(["face face face"], context_length=4)[0].tolist() == [2, 5, 5, 3]  # cut, and ended


def test_a_clip_of_it_is_saved_without_what_others_published(folder: Path, tmp_path: Path):
    none = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    visual = open_clip.CLIP(5, VISION, none).visual
    model = SentenceCLIP(visual, SentenceTower(MiniLM.load(folder), 5, 6))
    clip = ClipEncoder(model, word_pieces(folder), "tiny", config=CONFIG, token_ids=[2, 3, 4, 5])
    clip.save(tmp_path / "clip.safetensors")
    again = ClipEncoder.load(tmp_path / "clip.safetensors", sentences=lambda: folder)
    assert again.fingerprint() == clip.fingerprint()
    assert again.dim == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(again.encode_text(["a face"]), clip.encode_text("a face"), atol=2e-3, rtol=0)
    with pytest.warns(UserWarning, match="never saw «glasses»: it is read by what it means"):
        clip.encode_text("a face glasses")
    with pytest.warns(UserWarning, match="was cut"):
        clip.encode_text("face face face face face face face face face face")
    image = torch.rand(2, 3, 40, 40)
    torch.testing.assert_close(again.encode_image(image), clip.encode_image(image), atol=2e-2, rtol=0)


def test_says_what_is_missing_or_damaged(folder: Path, tmp_path: Path):
    none = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    model = SentenceCLIP(open_clip.CLIP(5, VISION, none).visual, SentenceTower(MiniLM.load(folder), 5, 6))
    path = tmp_path / "clip.safetensors"
    ClipEncoder(model, word_pieces(folder), "tiny", config=CONFIG).save(path)
    with pytest.raises(FileNotFoundError, match="say in which folder that is"):
        ClipEncoder.load(path)
    (folder / VOCABULARY).write_text("{}")
    with pytest.raises(ValueError, match="no tokenizer of word pieces"):
        word_pieces(folder)
    write_tensors(folder / SENTENCES, {"embeddings.LayerNorm.bias": torch.zeros(8)}, {"config": SIZES})
    with pytest.raises(ValueError, match="holds no sentence encoder"):
        MiniLM.load(folder)
    with pytest.raises(ValueError, match=r"It lacks \[UNK\]"):
        WordPieces({"[PAD]": 0})
