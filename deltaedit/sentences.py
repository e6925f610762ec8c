"""all-MiniLM-L6-v2 in plain PyTorch, a small network that reads English (Wang et al. 2020, arXiv:2002.10957).

It is the locked half of a CLIP's text tower (LiT, Zhai et al. 2022, arXiv:2111.07991): a head of its own turns what
sentences mean to where pictures of it are. Words that no caption had are then read by what they mean.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit.files import read_tensors

SENTENCES, VOCABULARY = "sentences.safetensors", "tokenizer.json"


class WordPieces:
    """BERT's tokenizer: words in lower case, without accents, cut into the longest pieces that the vocabulary has.

    >>> pieces = WordPieces({"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "eye": 4, "##glasses": 5})
    >>> pieces(["Eyeglasses"], context_length=6)
    tensor([[2, 4, 5, 3, 0, 0]])
    """

    def __init__(self, vocabulary: Mapping[str, int]) -> None:
        self.vocabulary = dict(vocabulary)
        special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
        if missing := [token for token in special if token not in self.vocabulary]:
            raise ValueError(f"a vocabulary of word pieces must have {special}. It lacks {missing[0]}.")
        self.pad, self.unknown, self.first, self.last = (self.vocabulary[token] for token in special)

    def __call__(self, texts: Sequence[str], context_length: int) -> Tensor:
        """Tokens (N, context_length) of texts, padded; what is longer is cut."""
        out = torch.full((len(texts), context_length), self.pad)
        for row, text in zip(out, texts, strict=True):
            flat = unicodedata.normalize("NFD", text.lower())
            flat = "".join(c for c in flat if unicodedata.category(c) != "Mn")
            own = [piece for word in re.findall(r"[^\W_]+|[^\w\s]|_", flat) for piece in self.pieces(word)]
            own = [self.first, *own[: context_length - 2], self.last]
            row[: len(own)] = torch.tensor(own)
        return out

    def pieces(self, word: str) -> list[int]:
        """Tokens of one word in lower case; the unknown one if it has a part that the vocabulary lacks."""
        found, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.vocabulary), None)
            if end is None:
                return [self.unknown]
            found.append(self.vocabulary[prefix + word[start:end]])
            start = end
        return found


class MiniLM(nn.Module):
    """A BERT of any size: tokens to unit vectors, the mean of what its last layer says of each.

    >>> MiniLM(vocabulary=100, width=8, layers=1, heads=2, hidden=16)(torch.tensor([[2, 7, 3, 0]])).shape
    torch.Size([1, 8])
    """

    def __init__(
        self,
        vocabulary: int = 30522,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        hidden: int = 1536,
        longest: int = 512,
        pad: int = 0,
    ) -> None:
        super().__init__()
        self.pad = pad
        self.words, self.places = nn.Embedding(vocabulary, width), nn.Embedding(longest, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        options = {"dropout": 0.0, "activation": "gelu", "layer_norm_eps": 1e-12, "batch_first": True}
        layer = nn.TransformerEncoderLayer(width, heads, hidden, **options)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Unit vectors (N, width) of tokens (N, T)."""
        there = tokens != self.pad
        tokens, there = (x[:, : max(1, int(there.sum(1).max()))] for x in (tokens, there))
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        x = self.layers(x, src_key_padding_mask=~there)
        weight = there[..., None].to(x.dtype)
        return F.normalize((x * weight).sum(1) / weight.sum(1), dim=-1)

    @classmethod
    def load(cls, folder: str | Path) -> MiniLM:
        """From the folder that ``python -m deltaedit.download`` makes; raises ``ValueError`` if that is damaged."""
        path = Path(folder) / SENTENCES
        given, about = read_tensors(path)
        try:
            size, given = about["config"], {name.removeprefix("bert."): t.float() for name, t in given.items()}
            names = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
            model = cls(*(size[name] for name in (*names, "max_position_embeddings")))
            model.load_state_dict(_to_ours(given, size["num_hidden_layers"]))
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} holds no sentence encoder ({reason}): download it again.") from None
        return model.requires_grad_(False).eval()


class SentenceTower(nn.Module):
    """Tokens to text features: a locked network that reads English, and a head that is trained.

    The head is a linear map beside a small network: what captions never said keeps the place that the map gives it.
    """

    def __init__(self, encoder: MiniLM, dim: int, hidden: int) -> None:
        super().__init__()
        self.encoder = encoder
        width = encoder.words.weight.shape[1]
        self.direct, self.inner, self.outer = nn.Linear(width, dim), nn.Linear(width, hidden), nn.Linear(hidden, dim)

    def head(self, sentence: Tensor) -> Tensor:
        """Text features (N, dim), of any length, of what the encoder says (N, width)."""
        return self.direct(sentence) + self.outer(F.gelu(self.inner(sentence)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Text features (N, dim), of any length, of tokens (N, T)."""
        return self.head(self.encoder(tokens))


class SentenceCLIP(nn.Module):
    """A CLIP with a picture tower of open_clip's and a text tower that is locked but for its head.

    It is called as open_clip's own are, and its ``visual`` and ``logit_scale`` are theirs.
    """

    def __init__(self, visual: nn.Module, text: SentenceTower) -> None:
        super().__init__()
        self.visual, self.text = visual, text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_image(self, image: Tensor, normalize: bool = False) -> Tensor:
        """Image features (N, D) of pictures as ``visual`` takes them."""
        feature = self.visual(image)
        return F.normalize(feature, dim=-1) if normalize else feature

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Text features (N, D) of tokens (N, T)."""
        feature = self.text(tokens)
        return F.normalize(feature, dim=-1) if normalize else feature


def word_pieces(folder: str | Path) -> WordPieces:
    """The tokenizer in the folder that ``python -m deltaedit.download`` makes; ``ValueError`` if it is damaged."""
    path = Path(folder) / VOCABULARY
    try:
        return WordPieces(json.loads(path.read_bytes())["model"]["vocab"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no tokenizer of word pieces ({error}): download it again.") from None


def _to_ours(given: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """BERT's names to PyTorch's; what kind of sentence a token is in is always the same, so it joins the places."""
    start = "embeddings."
    out: dict[str, Any] = {
        "words.weight": given[f"{start}word_embeddings.weight"],
        "places.weight": given[f"{start}position_embeddings.weight"] + given[f"{start}token_type_embeddings.weight"][0],
    }
    names = {
        "attention.output.dense": "self_attn.out_proj",
        "attention.output.LayerNorm": "norm1",
        "intermediate.dense": "linear1",
        "output.dense": "linear2",
        "output.LayerNorm": "norm2",
    }
    for kind in ("weight", "bias"):
        out[f"norm.{kind}"] = given[f"{start}LayerNorm.{kind}"]
        for k in range(layers):
            theirs, ours = f"encoder.layer.{k}.", f"layers.layers.{k}."
            parts = [given[f"{theirs}attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
            out[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(parts)
            out |= {f"{ours}{own}.{kind}": given[f"{theirs}{name}.{kind}"] for name, own in names.items()}
    return out
