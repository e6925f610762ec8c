"""ClipEncoder: any open_clip model, frozen, from pictures and prompts to unit vectors and to differences of them."""

from __future__ import annotations

import hashlib
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deltaedit._torchvision import open_clip
from deltaedit.domains import PREPROCESSINGS
from deltaedit.files import read_tensors, write_tensors
from deltaedit.pictures import Picture, to_tensor

TEMPLATES: tuple[str, ...] = (
    "{}",
    "a {}",
    "the {}",
    "a picture of a {}",
    "a photo of a {}",
    "a photograph of one {}",
    "a portrait of a {}",
    "a close view of a {}",
    "a clear picture of the {}",
    "an image showing a {}",
)
"""Sentences that a prompt is put into; their mean feature depends less on wording than any one of them."""

RELEASED_TEMPLATES: tuple[str, ...] = tuple(
    sentence for make in open_clip.OPENAI_IMAGENET_TEMPLATES if (sentence := make("{}")) != "a photo of many {}."
)
"""The 79 that the published DeltaEdit uses: CLIP's own for ImageNet, but for the one of many things."""

EMBEDDING = "token_embedding.weight"
Tokenizer = Callable[..., Tensor]


class ClipEncoder(nn.Module):
    """A frozen CLIP: pictures and prompts to unit vectors in one space.

    Args:
        model: an open_clip model; it is put in evaluation mode and its parameters are frozen.
        tokenizer: its tokenizer, called as ``tokenizer(texts, context_length=n)``.
        name: its name in open_clip's registry.
        pretrained: open_clip's tag of its published weights, if these are its weights: they are then saved by name.
        templates: sentences with one ``{}`` for the prompt, see :meth:`text_feature`.
        token_ids: (T,) the only tokens that training saw; None when all of them may be relied on.
        config: its configuration, as open_clip's registry holds one for ``name``; from there by default.
        preprocessing: "clip" for the model's own, "deltaedit" for what the published DeltaEdit does in its place, and
            what its weights need: the mean over what each of 224 x 224 pixels covers, in [-1, 1] as it is.

    Raises:
        ValueError: for another preprocessing.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, name: str, pretrained: str | None = None,
                 templates: Sequence[str] = TEMPLATES, token_ids: Iterable[int] | None = None,
                 config: dict[str, Any] | None = None, preprocessing: str = "clip") -> None:  # fmt: skip
        super().__init__()
        if preprocessing not in PREPROCESSINGS:
            raise ValueError(f"preprocessing must be one of {PREPROCESSINGS}. Got {preprocessing!r}.")
        self.preprocessing = preprocessing
        self.model, self.tokenizer, self.name, self.pretrained = model, tokenizer, name, pretrained
        self.templates = tuple(templates)
        self.token_ids = None if token_ids is None else torch.as_tensor(sorted(int(t) for t in token_ids))
        self.config = _registered(model, name) if config is None else config
        self.dim: int = self.config["embed_dim"]
        self.image_size: int = _side(model)
        self.context_length: int = self.config["text_cfg"].get("context_length", 77)
        self.mean = tuple(getattr(model.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN)
        self.std = tuple(getattr(model.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD)
        self.requires_grad_(False).eval()

    @classmethod
    def from_open_clip(cls, name: str, pretrained: str | None = None, device: str | torch.device = "cpu",
                       templates: Sequence[str] = TEMPLATES, preprocessing: str = "clip",
                       **options: Any) -> ClipEncoder:  # fmt: skip
        """An encoder from open_clip's registry, such as ``("ViT-B-32", "openai")``; this may download its weights.

        Args:
            name: one of ``open_clip.list_models()``.
            pretrained: one of ``open_clip.list_pretrained_tags_by_model(name)``, a file, or None for random weights.
            preprocessing: see the class.
            options: passed on to ``open_clip.create_model``, such as ``force_image_size``.

        Raises:
            ValueError: for a name or a tag that open_clip does not know.
        """
        if name not in open_clip.list_models():
            raise ValueError(f"open_clip knows no model {name!r}: choose one of open_clip.list_models().")
        tags = open_clip.list_pretrained_tags_by_model(name)
        if pretrained is not None and pretrained not in tags and not Path(pretrained).is_file():
            raise ValueError(f"{pretrained!r} is neither a file nor weights for {name}: choose one of {tags}.")
        if pretrained in tags and open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"):
            options.setdefault("force_quick_gelu", True)  # those weights were trained with it, whatever the name says
        model = open_clip.create_model(name, pretrained=pretrained, device=device, **options)
        tag = pretrained if pretrained in tags and not options.keys() - {"force_quick_gelu"} else None
        return cls(model, open_clip.get_tokenizer(name), name, tag, templates, preprocessing=preprocessing)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu", preprocessing: str = "clip") -> ClipEncoder:
        """An encoder that :meth:`save` wrote; ``preprocessing`` is no part of the file, but of the domain.

        Raises:
            ValueError: when the file is missing, damaged or of another kind, or names published weights that changed.
        """
        tensors, about = read_tensors(path)
        if about.get("kind") != "clip":
            raise ValueError(f"{path} holds no CLIP but {about.get('kind', 'something else')!r}: check the path.")
        if about["pretrained"]:
            encoder = cls.from_open_clip(about["name"], about["pretrained"], templates=about["templates"],
                                         preprocessing=preprocessing)  # fmt: skip
            if encoder.fingerprint() != about["fingerprint"]:
                raise ValueError(f"{path} was saved with other weights than {about['name']} {about['pretrained']} now "
                                 "has: fetch those it was saved with, or make the domain again.")  # fmt: skip
            return encoder.to(device)
        ids = tensors.pop("token_ids", None)
        if ids is not None:
            rows = tensors[EMBEDDING].float()
            tensors[EMBEDDING] = rows.new_zeros(about["config"]["text_cfg"]["vocab_size"], rows.shape[1])
            tensors[EMBEDDING][ids.long()] = rows
        try:
            model = _build(about["config"])
            model.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"{path} does not fit the model it describes ({reason}): make it again.") from None
        model.visual.image_mean, model.visual.image_std = about["mean"], about["std"]
        tokenizer = open_clip.SimpleTokenizer(context_length=about["config"]["text_cfg"]["context_length"])
        return cls(model, tokenizer, about["name"], None, about["templates"], ids, about["config"],
                   preprocessing).to(device)  # fmt: skip

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: matrices in half precision, only the trained tokens; published weights by name.

        Raises:
            ValueError: when the model is not of open_clip's own CLIP class with its own tokenizer, nor published.
        """
        own = isinstance(self.model, open_clip.CLIP) and isinstance(self.tokenizer, open_clip.SimpleTokenizer)
        if not (self.pretrained or own):
            raise ValueError(f"{self.name} with weights of its own cannot be saved: only open_clip's CLIP class "
                             f"with its own tokenizer can, got {type(self.model).__name__}.")  # fmt: skip
        about = {"kind": "clip", "name": self.name, "pretrained": self.pretrained, "config": self.config,
                 "mean": self.mean, "std": self.std, "templates": self.templates,
                 "fingerprint": self.fingerprint()}  # fmt: skip
        write_tensors(path, {} if self.pretrained else self._stored(), about)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that tell these weights from others; the same before saving and after loading."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._stored().items()):
            digest.update(name.encode())
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def _stored(self) -> dict[str, Tensor]:
        tensors = dict(self.model.state_dict())
        if self.token_ids is not None:
            tensors[EMBEDDING] = tensors[EMBEDDING][self.token_ids.to(tensors[EMBEDDING].device)]
            tensors["token_ids"] = self.token_ids.int()
        return {k: t.half() if t.is_floating_point() and t.ndim > 1 else t for k, t in tensors.items()}

    def train(self, mode: bool = True) -> ClipEncoder:
        """Stays in evaluation mode, whatever the model it is part of does."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def preprocess(self, image: Tensor) -> Tensor:
        """What the model takes: the centre square, resized with antialiasing, with the model's own mean and deviation.

        With ``preprocessing="deltaedit"``, the centre square is averaged to the model's size and nothing else is done.
        For 1024 px and 224 px that is the published enlargement to 7168 px and pooling by 32.

        Args:
            image: (B, 3, H, W) in [-1, 1].
        """
        height, width = image.shape[-2:]
        side = min(height, width)
        if height != width:
            image = image[..., (height - side) // 2 :, (width - side) // 2 :][..., :side, :side]
        if self.preprocessing == "deltaedit":
            rows = _coverage(side, self.image_size, image)
            return rows @ image @ rows.T
        if side != self.image_size:
            size = (self.image_size, self.image_size)
            image = F.interpolate(image, size, mode="bicubic", align_corners=False, antialias=True)
        mean, std = (image.new_tensor(c).view(1, 3, 1, 1) for c in (self.mean, self.std))
        return ((image + 1) / 2 - mean) / std

    def encode_image(self, image: Tensor | Picture) -> Tensor:
        """Image features (B, D), unit norm; gradients flow to the image.

        Args:
            image: (B, 3, H, W) in [-1, 1], of any resolution, on the encoder's device; or one picture as ``to_tensor``
                takes it.

        Raises:
            ValueError: for another shape or type, or values far outside [-1, 1].
        """
        if not isinstance(image, Tensor):
            image = to_tensor(image).to(self.device)
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(image.shape)}.")
        if not image.is_floating_point():
            raise ValueError(f"images must be floats in [-1, 1], got {image.dtype}: divide bytes by 127.5, subtract 1.")
        if len(image) and not (peak := image.detach().abs().amax().item()) < 8:  # generators overshoot, bytes are more
            raise ValueError(f"images must be in [-1, 1], got up to {peak:g}: divide bytes by 127.5, subtract 1.")
        feature = self.model.encode_image(self.preprocess(image.to(self.model.logit_scale.dtype)))
        return F.normalize(feature.float(), dim=-1)

    def encode_text(self, prompts: str | Sequence[str]) -> Tensor:
        """Text features (N, D), unit norm, of prompts as they stand.

        Warns when a prompt is longer than the context, and is cut, or has words that training never saw.

        Raises:
            ValueError: for an empty prompt, or something that is no text.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        for prompt in prompts:
            if not isinstance(prompt, str) or not prompt.strip():
                raise ValueError(f"a prompt must be a text that says something, got {prompt!r}.")
        if not prompts:
            raise ValueError("there must be at least one prompt, got an empty list.")
        n = self.context_length
        tokens = self.tokenizer(prompts, context_length=n)
        longer = self.tokenizer(prompts, context_length=n + 1)
        cut = (longer[:, :n] != tokens).any(dim=1)  # where room for one more token makes a difference
        if cut.any():
            start = textwrap.shorten(prompts[int(cut.nonzero()[0])], 60, placeholder=" …")
            warnings.warn(f"«{start}» is longer than the context of {n} tokens and was cut.", stacklevel=2)
        if unknown := self.unknown_words(prompts):
            words = ", ".join(f"«{word}»" for word in unknown)
            warnings.warn(f"this CLIP never saw {words}: expect little of it.", stacklevel=2)
        return F.normalize(self.model.encode_text(tokens.to(self.device)).float(), dim=-1)

    def unknown_words(self, prompts: Sequence[str]) -> list[str]:
        """Words of the prompts with a token that training never saw, in order, each once."""
        if self.token_ids is None:
            return []
        known = set(self.token_ids.tolist())
        pattern = r"[^\W_]+(?:['-]\w+)*|[^\w\s!-/:-@\[-`{-~]"  # words, and signs that are no punctuation
        words = dict.fromkeys(word for prompt in prompts for word in re.findall(pattern, prompt.lower()))
        return [word for word in words if not known.issuperset(self.tokenizer.encode(word))]

    def text_feature(self, prompt: str, templates: Sequence[str] | None = None) -> Tensor:
        """Text feature (D,), unit norm: the mean over templates of unit features, made a unit again (CLIP, sec. 3.1.4).

        Args:
            prompt: what is to be seen, such as ``"face with glasses"``.
            templates: sentences with one ``{}``; the encoder's own by default.
        """
        templates = self.templates if templates is None else templates
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"a prompt must be a text that says something, got {prompt!r}.")
        return F.normalize(self.encode_text([t.format(prompt.strip()) for t in templates]).mean(dim=0), dim=-1)

    def text_delta(self, target: str, neutral: str, normalize: bool = True) -> Tensor:
        """Where the words point: the target's text feature less the neutral one's, (D,) (DeltaEdit, sec. 3).

        Args:
            target: what is wanted, such as ``"face with glasses"``.
            neutral: what there is, such as ``"face"``.
            normalize: to unit norm, as the mapper takes it.

        Raises:
            ValueError: when there is no difference to follow.
        """
        delta = self.text_feature(target) - self.text_feature(neutral)
        if delta.norm() < 1e-4:
            raise ValueError(f"target {target!r} and neutral {neutral!r} say the same: no difference to follow.")
        return F.normalize(delta, dim=-1) if normalize else delta


def _coverage(before: int, after: int, like: Tensor) -> Tensor:
    """(after, before), rows of sum 1: what share each pixel has in each of the larger or smaller ones in its place."""
    edges = torch.arange(before + 1, dtype=torch.float64)[:, None] * after / before  # in the new pixels' measure
    inside = (edges - torch.arange(after)).clamp(0, 1).diff(dim=0)  # (before, after)
    return inside.T.to(like)


def _build(config: dict[str, Any]) -> open_clip.CLIP:
    return open_clip.CLIP(**{key: value for key, value in config.items() if key != "custom_text"})


def _side(model: nn.Module) -> int:
    size = model.visual.image_size
    return int(size) if isinstance(size, int) else int(size[0])


def _registered(model: nn.Module, name: str) -> dict[str, Any]:
    """The registered configuration, with what may have been overridden when the model was made."""
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip knows no model {name!r}: register it with open_clip.add_model_config.")
    text = {"context_length": 77, "vocab_size": 49408} | config["text_cfg"]
    text["context_length"] = getattr(model, "context_length", text["context_length"])
    return config | {"vision_cfg": config["vision_cfg"] | {"image_size": _side(model)}, "text_cfg": text}
