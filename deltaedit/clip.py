"""ClipEncoder: any open_clip model, frozen, from pictures and prompts to unit vectors and to differences of them."""

from __future__ import annotations

import inspect
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.func import functional_call

from deltaedit._torchvision import open_clip
from deltaedit.files import fingerprint, read_tensors, write_tensors
from deltaedit.mapper import text_delta
from deltaedit.pictures import PREPROCESSINGS, Picture, average, centre, to_tensor
from deltaedit.sentences import MiniLM, SentenceCLIP, SentenceTower, WordPieces, word_pieces
from deltaedit.untrusted.containers import opened
from deltaedit.untrusted.fitting import misfit, planned
from deltaedit.untrusted.kinds import shown
from deltaedit.untrusted.pickles import Record, RefusedError

TEMPLATES: tuple[str, ...] = (
    *("{}", "a {}", "the {}", "a picture of a {}", "a photo of a {}", "a photograph of one {}", "a portrait of a {}"),
    *("a close view of a {}", "a clear picture of the {}", "an image showing a {}"),
)
"""Sentences that a prompt is put into; their mean feature depends less on wording than any one of them."""

RELEASED_TEMPLATES: tuple[str, ...] = tuple(
    sentence for make in open_clip.OPENAI_IMAGENET_TEMPLATES if (sentence := make("{}")) != "a photo of many {}."
)
"""The 79 that the published DeltaEdit uses: CLIP's own for ImageNet, but for the one of many things."""

MODELS = (open_clip.CLIP, open_clip.CustomTextCLIP, open_clip.CoCa, SentenceCLIP)
TOKENIZERS = (open_clip.SimpleTokenizer, open_clip.tokenizer.HFTokenizer, WordPieces)
LOCKED = "text.encoder."  # of a SentenceCLIP: what others published, and is not written again
TOKENIZER_OPTIONS = ("clean", "strip_sep_token", "language", "reduction_mask")  # others may say to run code of a hub
LARGEST = 2**20  # of the sizes of a CLIP; the largest vocabularies have 256,000 words
CLIP_MARKS = ("logit_scale", "visual.conv1.weight", "visual.proj", "token_embedding.weight")
NO_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # which OpenAI's have beside them
Tokenizer = Callable[..., Tensor]
Sentences = str | Path | Callable[[], Path]


class ClipEncoder(nn.Module):
    """A frozen CLIP: pictures and prompts to unit vectors in one space.

    Args:
        model, name: of open_clip's registry, of any class; it is put in evaluation mode, its parameters are frozen.
        tokenizer: its tokenizer, called as ``tokenizer(texts, context_length=n)``; it gives (N, n) whole numbers.
        pretrained: open_clip's tag of its published weights, if these are its weights: they are then saved by name.
        templates: sentences with one ``{}`` for the prompt, see :meth:`text_feature`.
        token_ids: (T,) the only tokens that training saw; None when all of them may be relied on.
        config: its configuration, as open_clip's registry holds one for ``name``; from there by default.
        preprocessing: "clip" for the model's own, "deltaedit" for what the published DeltaEdit does in its place, and
            what its weights need: the mean over what each of 224 x 224 pixels covers, in [-1, 1] as it is.

    >>> clip = Editor.from_pretrained("portraits").clip
    >>> clip.encode_text(["face with glasses", "old face"]).shape
    torch.Size([2, 128])
    >>> float(clip.text_delta("face with glasses", neutral="face").norm())
    1.0...
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Tokenizer,
        name: str,
        pretrained: str | None = None,
        templates: Sequence[str] = TEMPLATES,
        token_ids: Iterable[int] | None = None,
        config: dict[str, Any] | None = None,
        preprocessing: str = "clip",
    ) -> None:
        super().__init__()
        if preprocessing not in PREPROCESSINGS:
            raise ValueError(f"preprocessing must be one of {PREPROCESSINGS}. Got {preprocessing!r}.")
        self.preprocessing = preprocessing
        self.model, self.tokenizer, self.name, self.pretrained = model, tokenizer, name, pretrained
        self.templates = tuple(templates)
        self.token_ids = None if token_ids is None else torch.as_tensor(sorted(int(t) for t in token_ids))
        self.config = _registered(model, name) if config is None else config
        self.image_size: int = _side(model)
        self.context_length: int = self.config["text_cfg"]["context_length"]
        self.mean = tuple(getattr(model.visual, "image_mean", None) or open_clip.OPENAI_DATASET_MEAN)
        self.std = tuple(getattr(model.visual, "image_std", None) or open_clip.OPENAI_DATASET_STD)
        self.interpolation: str = getattr(model.visual, "preprocess_cfg", {}).get("interpolation", "bicubic")
        self.requires_grad_(False).eval()

    @cached_property
    @torch.no_grad()
    def dim(self) -> int:
        """Length of a feature, as the model's text tower has it."""
        tokens = self.tokenizer(["a"], context_length=self.context_length)
        return self.model.encode_text(tokens.to(self.device)).shape[1]

    @classmethod
    def from_open_clip(
        cls,
        name: str,
        pretrained: str | None = None,
        device: str | torch.device = "cpu",
        templates: Sequence[str] = TEMPLATES,
        preprocessing: str = "clip",
        **options: Any,
    ) -> ClipEncoder:
        """An encoder from open_clip's registry, such as ``("ViT-B-32", "openai")``; this may download its weights.

        SigLIP's tokenizer, and those of some others, are on the Hugging Face hub: they may be downloaded too.

        Args:
            pretrained: one of ``open_clip.list_pretrained_tags_by_model(name)``, a file, or None for random weights. A
                file is open_clip's own, a state dict in any wrapping, or OpenAI's TorchScript archive (``ViT-B-32.pt``
                in ``~/.cache/clip``); none of it is run. That OpenAI's models have QuickGELU is known; a bare state
                dict does not tell, and has the activation of ``name``: say ``ViT-B-32-quickgelu`` for one of those.
            options: passed on to ``open_clip.create_model``, such as ``force_image_size``; with weights in a file also
                ``force_preprocess_cfg``, where mean and deviation are not those of OpenAI's CLIP.

        Raises:
            ValueError: for a name or a tag that open_clip does not know, or a file of something else.
            ImportError: if the tokenizer needs transformers, and that is not installed.
            FileNotFoundError: if weights or tokenizer are neither here nor can be fetched.
        """
        if name not in open_clip.list_models():
            raise ValueError(f"open_clip knows no model {name!r}: choose one of open_clip.list_models().")
        tags = open_clip.list_pretrained_tags_by_model(name)
        if pretrained is not None and pretrained not in tags and not Path(pretrained).is_file():
            raise ValueError(f"{pretrained!r} is neither a file nor weights for {name}: choose one of {tags}.")
        if pretrained in tags and open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu"):
            options.setdefault("force_quick_gelu", True)  # those weights were trained with it, whatever the name says
        tag = pretrained if pretrained in tags and not options.keys() - {"force_quick_gelu"} else None
        options.setdefault("pretrained_text", False)  # else some would fetch half a model for random weights
        tokenizer = _tokenizer(open_clip.get_model_config(name), options.get("force_context_length"))
        with ExitStack() as stack:
            weights = pretrained
            if pretrained is not None and pretrained not in tags and Path(pretrained).suffix not in (".npz", ".npy"):
                weights, quick = stack.enter_context(weights_of_others(pretrained, name))
                if quick:
                    options.setdefault("force_quick_gelu", True)
            try:
                with _fetching(f"{name} {pretrained or ''}".strip(), "give a file of weights instead of the tag"):
                    model = open_clip.create_model(name, pretrained=weights, device=device, **options)
            except (ImportError, OSError):
                raise
            except Exception:  # a damaged file can make anything fail
                if pretrained is None or pretrained in tags:
                    raise
                reason = _misfit(weights, name, options)
                raise ValueError(f"{pretrained} holds no weights for {name} ({reason}): check file and name.") from None
        config = _registered(model, name)
        config |= {key: options[key] for key in inspect.signature(type(model)).parameters if key in options}
        return cls(model, tokenizer, name, tag, templates, config=config, preprocessing=preprocessing)

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: str | torch.device = "cpu",
        preprocessing: str = "clip",
        sentences: Sentences | None = None,
    ) -> ClipEncoder:
        """An encoder that :meth:`save` wrote; ``preprocessing`` is no part of the file, but of the domain.

        ``sentences`` is the folder of the network that reads English, for a CLIP whose text tower is made of one; or
        finds it, and is called for such a CLIP alone.
        Raises ``ValueError`` when the file is missing, damaged or of another kind, or names published weights that
        changed; other errors are those of :meth:`from_open_clip`.
        """
        tensors, about = read_tensors(path)
        if about.get("kind") != "clip":
            raise ValueError(f"{path} holds no CLIP but {shown(about.get('kind', 'something else'))}: check the path.")
        _check_about(path, about)
        if tag := about.get("pretrained"):
            name, templates = about["name"], about["templates"]
            encoder = cls.from_open_clip(name, tag, templates=templates, preprocessing=preprocessing)
            if encoder.fingerprint() != about["fingerprint"]:
                other = f"{path} was saved with other weights than {name} {tag} now has"
                raise ValueError(f"{other}: fetch those it was saved with, or make the domain again.")
            return encoder.to(device)
        ids, config = tensors.pop("token_ids", None), about["config"]
        try:
            if ids is not None and (ids.ndim != 1 or ids.is_floating_point()):
                raise RefusedError("its token_ids are no list of whole numbers")
            if ids is not None and "hidden" not in config["text_cfg"]:
                rows = tensors[key := _embedding(tensors)].float()
                tensors[key] = rows.new_zeros(config["text_cfg"]["vocab_size"], rows.shape[1])
                tensors[key][ids.long()] = rows
            whole = {"timm_model_name", "hf_model_name", "hidden"} & {*config["vision_cfg"], *config["text_cfg"]}
            plan = {} if whole else planned(lambda: build(config), len(tensors)).state_dict()
            if reason := misfit(plan, tensors):
                raise RefusedError(reason)
            model, tokenizer = build(config, sentences), _tokenizer(config, sentences=sentences)
            locked = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(LOCKED)}
            if reason := misfit(model.state_dict(), tensors | locked):
                raise RefusedError(reason)
            model.load_state_dict(tensors | locked)
        except (OSError, ImportError):
            raise
        except Exception as error:  # what is no number where one is meant can make anything fail
            reason = f" ({error})" if isinstance(error, RefusedError) else ""
            raise ValueError(f"{path} does not fit the model it describes{reason}: make it again.") from None
        model.visual.image_mean, model.visual.image_std = about["mean"], about["std"]
        model.visual.preprocess_cfg = {"interpolation": about.get("interpolation", "bicubic")}
        encoder = cls(model, tokenizer, about["name"], None, about["templates"], ids, about["config"], preprocessing)
        return encoder.to(device)

    def save(self, path: str | Path) -> None:
        """Write a safetensors file: matrices in half precision, only the trained tokens; published weights by name.

        Raises ``ValueError`` when model or tokenizer are of a class that open_clip does not have, and not published.
        """
        own = type(self.model) in MODELS and type(self.tokenizer) in TOKENIZERS
        if not (self.pretrained or own):
            got = f"{type(self.model).__name__} and {type(self.tokenizer).__name__}"
            needs = "model and tokenizer must be of open_clip's classes"
            raise ValueError(f"{self.name} with weights of its own cannot be saved: {needs}, got {got}.")
        about = {"kind": "clip", "config": self.config, "fingerprint": self.fingerprint()}
        said = ("name", "pretrained", "mean", "std", "interpolation", "templates")
        about |= {name: getattr(self, name) for name in said}
        write_tensors(path, {} if self.pretrained else self._stored(), about)

    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that tell these weights from others; the same before saving and after loading."""
        return fingerprint(self._stored())

    def _stored(self) -> dict[str, Tensor]:
        tensors = {name: t for name, t in self.model.state_dict().items() if not name.startswith(LOCKED)}
        if self.token_ids is not None:
            tensors["token_ids"] = self.token_ids.int()
            if not isinstance(self.model, SentenceCLIP):
                rows = tensors[key := _embedding(tensors)]
                tensors[key] = rows[self.token_ids.to(rows.device)]
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

        Images are (B, 3, H, W) in [-1, 1].
        """
        image = centre(image)
        side = image.shape[-1]
        if self.preprocessing == "deltaedit":
            return average(image, self.image_size)
        if side != self.image_size:
            size = (self.image_size, self.image_size)
            mode = "bilinear" if self.interpolation == "bilinear" else "bicubic"
            image = F.interpolate(image, size, mode=mode, align_corners=False, antialias=True)
        mean, std = (image.new_tensor(c).view(1, 3, 1, 1) for c in (self.mean, self.std))
        return ((image + 1) / 2 - mean) / std

    def encode_image(self, image: Tensor | Picture) -> Tensor:
        """Image features (B, D), unit norm; gradients flow to the image.

        Images are (B, 3, H, W) in [-1, 1], of any resolution, on the encoder's device; or one that ``to_tensor`` takes.
        Raises ``ValueError`` for another shape or type, or values far outside [-1, 1].
        """
        if not isinstance(image, Tensor):
            image = to_tensor(image).to(self.device)
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"images must have shape (B, 3, H, W), got {tuple(image.shape)}.")
        if not image.is_floating_point():
            raise ValueError(f"images must be floats in [-1, 1], got {image.dtype}: divide bytes by 127.5, subtract 1.")
        if len(image) and not (peak := image.detach().abs().amax().item()) < 8:  # generators overshoot, bytes are more
            raise ValueError(f"images must be in [-1, 1], got up to {peak:g}: divide bytes by 127.5, subtract 1.")
        dtype = next(weight.dtype for weight in self.model.visual.parameters() if weight.ndim > 1)
        feature = self.model.encode_image(self.preprocess(image.float()).to(dtype))
        return F.normalize(feature.float(), dim=-1)

    def encode_text(self, prompts: str | Sequence[str]) -> Tensor:
        """Text features (N, D), unit norm, of prompts as they stand.

        Warns when a prompt is longer than the context, and is cut, or has words that training never saw. Raises
        ``ValueError`` for an empty prompt, or something that is no text.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        for prompt in prompts:
            if not isinstance(prompt, str) or not prompt.strip():
                raise ValueError(f"a prompt must be a text that says something, got {prompt!r}.")
        if not prompts:
            raise ValueError("there must be at least one prompt, got an empty list.")
        if cut := [prompt for prompt, whole in zip(prompts, self.fits(prompts), strict=True) if not whole]:
            start = textwrap.shorten(cut[0], 60, placeholder=" …")
            reason = f"is longer than the context of {self.context_length} tokens and was cut"
            warnings.warn(f"«{start}» {reason}.", stacklevel=2)
        if unknown := self.unknown_words(prompts):
            words = ", ".join(f"«{word}»" for word in unknown)
            expect = "it is read by what it means" if isinstance(self.model, SentenceCLIP) else "expect little of it"
            warnings.warn(f"this CLIP never saw {words}: {expect}.", stacklevel=2)
        tokens = self.tokenizer(prompts, context_length=self.context_length)
        return F.normalize(self._encode_tokens(tokens.to(self.device)).float(), dim=-1)

    def fits(self, prompts: Sequence[str]) -> list[bool]:
        """Which prompts are read to their end; of others, all beyond the context is cut."""
        n = self.context_length
        tokens, longer = (self.tokenizer([*prompts, "a"], context_length=size) for size in (n, n + 1))
        *more, filled = (longer.sum(dim=1) - tokens.sum(dim=1)).tolist()  # the token that had no room; or a filling one
        return [one == filled for one in more]

    def _encode_tokens(self, tokens: Tensor) -> Tensor:
        model = self.model
        if type(model) is not open_clip.CLIP or model.attn_mask is None or model.text_pool_type != "argmax":
            return model.encode_text(tokens)
        n = int(tokens.argmax(dim=1).max()) + 1  # causal attention never looks beyond a prompt's end: spare it the rest
        parts = {"positional_embedding": model.positional_embedding[:n], "attn_mask": model.attn_mask[:n, :n]}
        out = functional_call(model, parts, (None, tokens[:, :n]))
        return out["text_features"] if isinstance(out, dict) else out[1]

    def unknown_words(self, prompts: Sequence[str]) -> list[str]:
        """Words of the prompts with a token that training never saw, in order, each once."""
        if self.token_ids is None:
            return []
        pattern = r"[^\W_]+(?:['-]\w+)*|[^\w\s!-/:-@\[-`{-~]"  # words, and signs that are no punctuation
        words = dict.fromkeys(word for prompt in prompts for word in re.findall(pattern, prompt.lower()))
        if not words:
            return []
        empty, *tokens = self.tokenizer(["", *words], context_length=self.context_length).tolist()
        known = {*self.token_ids.tolist(), *empty}
        return [word for word, own in zip(words, tokens, strict=True) if not known.issuperset(own)]

    def text_feature(self, prompt: str, templates: Sequence[str] | None = None) -> Tensor:
        """Text feature (D,), unit norm: the mean over templates of unit features, made a unit again (CLIP, sec. 3.1.4).

        ``templates`` are sentences with one ``{}``, the encoder's own by default.
        """
        templates = self.templates if templates is None else templates
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(f"a prompt must be a text that says something, got {prompt!r}.")
        return F.normalize(self.encode_text([t.format(prompt.strip()) for t in templates]).mean(dim=0), dim=-1)

    def text_delta(self, target: str, neutral: str, normalize: bool = True) -> Tensor:
        """Where the words point, (D,): see :func:`deltaedit.mapper.text_delta`."""
        return text_delta(self.text_feature, target, neutral, normalize)


@contextmanager
def weights_of_others(path: str | Path, name: str) -> Iterator[tuple[str, bool]]:
    """A safetensors file, there for as long, of the weights in another file; and whether they need QuickGELU.

    ``name`` is open_clip's, for the error. Raises ``ValueError`` if the file is damaged or none of a CLIP's weights.
    """
    with opened(path) as file:
        if file.at("text_model.embeddings.token_embedding.weight") is not None:
            what = "is a CLIP in the layout of Hugging Face's transformers, not open_clip's"
            raise RefusedError(f"{what}; take open_clip's or OpenAI's file, or the tag, as in {name}:openai")
        scripted = isinstance(file.data, Record)
        quick = scripted and (file.at("input_resolution") is not None or "QuickGELU" in file.classes)
        at = next((at for mark in CLIP_MARKS if (at := file.at(mark)) is not None), "")
        state = {key: tensor for key, tensor in file.tensors(file.below(at)).items() if key not in NO_WEIGHTS}
        if not state:
            raise RefusedError("holds no weights of a CLIP")
    with TemporaryDirectory() as folder:
        copy = Path(folder, "weights.safetensors")  # what open_clip reads: numbers, and nothing else
        save_file({key: tensor.clone() for key, tensor in state.items()}, copy)
        yield str(copy), quick


def _misfit(weights: str, name: str, options: dict[str, Any]) -> str:
    """Why weights in a file are not those of a model, as far as it can be told."""
    try:
        config = open_clip.get_model_config(name)
        if size := options.get("force_image_size"):
            config["vision_cfg"]["image_size"] = size
        state = load_file(weights)
        wanted = planned(lambda: build(config), len(state)).state_dict()
        there = {key: tensor for key, tensor in wanted.items() if key in state}
        return misfit(there, state) or misfit(wanted, state) or "it has more than that has"
    except Exception:  # of a class that is not planned
        return "its names or shapes are others"


def _check_about(path: str | Path, about: dict[str, Any]) -> None:
    """Raise ValueError if what a file says of a CLIP cannot be."""
    config, tag = about.get("config"), about.get("pretrained")
    faults = {
        "config": not isinstance(config, dict)
        or not all(isinstance(config.get(part), dict) for part in ("vision_cfg", "text_cfg"))
        or type(config["text_cfg"].get("context_length")) is not int
        or any(isinstance(value, int | float) and not abs(value) <= LARGEST for value in _values(config)),
        "name": not isinstance(about.get("name"), str),
        "pretrained": tag is not None and not isinstance(tag, str),
        "fingerprint": not isinstance(about.get("fingerprint"), str),
        "templates": not isinstance(about.get("templates"), list)
        or not all(isinstance(t, str) and re.fullmatch(r"[^{}]*\{\}[^{}]*", t) for t in about["templates"])
        or not about["templates"],
        **{name: not _three_numbers(about.get(name)) for name in ("mean", "std")},
    }
    if wrong := [name for name, fault in faults.items() if fault]:
        raise ValueError(f"{path} is damaged: {wrong[0]} of its CLIP cannot be {str(about.get(wrong[0]))[:60]!r}.")


def _values(of: Any) -> list[Any]:
    """All that lies in dicts and lists of JSON, those among it."""
    found = [of]
    for value in found:
        found += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return found


def _three_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(x, int | float) for x in value)


def build(config: dict[str, Any], sentences: Sentences | None = None) -> nn.Module:
    """A model with random weights, of a configuration as open_clip's registry holds them, or of a ``SentenceCLIP``.

    For ``sentences`` see ``ClipEncoder.load``.
    """
    text = config["text_cfg"]
    if "hidden" in text:  # of a head on a network that reads sentences
        none = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}  # but one there must be
        visual = open_clip.CLIP(config["embed_dim"], config["vision_cfg"], none).visual
        return SentenceCLIP(
            visual, SentenceTower(MiniLM.load(_english(sentences)), config["embed_dim"], text["hidden"])
        )
    with _fetching(text.get("hf_model_name", ""), "copy it into the cache of Hugging Face"):
        other = config.get("custom_text") or "hf_model_name" in text
        model = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP if other else open_clip.CLIP
        vision, text = config["vision_cfg"] | {"timm_model_pretrained": False}, text | {"hf_model_pretrained": False}
        parts = config | {"vision_cfg": vision, "text_cfg": text}
        return model(**{key: value for key, value in parts.items() if key != "custom_text"})


def _english(sentences: Sentences | None) -> Path:
    if sentences is None:
        raise FileNotFoundError("this CLIP reads by a sentence encoder of others': say in which folder that is.")
    return Path(sentences() if callable(sentences) else sentences)


def _tokenizer(
    config: dict[str, Any], context_length: int | None = None, sentences: Sentences | None = None
) -> Tokenizer:
    text = config["text_cfg"]
    if "hidden" in text:
        return word_pieces(_english(sentences))
    said = {key: value for key, value in text.get("tokenizer_kwargs", {}).items() if key in TOKENIZER_OPTIONS}
    options = {"context_length": context_length or text.get("context_length", 77), **said}
    if not (name := text.get("hf_tokenizer_name")):
        return open_clip.SimpleTokenizer(**options)
    with _fetching(f"the tokenizer {name}", "copy it into the cache of Hugging Face"):
        return open_clip.tokenizer.HFTokenizer(name, tokenizer_mode=text.get("tokenizer_mode"), **options)


@contextmanager
def _fetching(what: str, instead: str) -> Iterator[None]:
    """One kind of error each for software and for files that are not here."""
    try:
        yield
    except (ImportError, OSError, RuntimeError) as error:
        reason = textwrap.shorten(str(error), 160, placeholder=" …").rstrip(".")
        if isinstance(error, ImportError) or "pip install" in reason:
            needs = f"{what} takes a library that is not installed ({reason})"
            raise ImportError(f"{needs}: pip install 'transformers[sentencepiece]'.") from None
        if isinstance(error, OSError) or "download" in reason:
            lacks = f"{what} is neither on this machine nor can it be fetched ({reason})"
            raise FileNotFoundError(f"{lacks}: connect to the network once, or {instead}.") from None
        raise


def _embedding(tensors: Iterable[str]) -> str:
    """Name of the tokens' embeddings: that of the text tower, not of CoCa's decoder."""
    return next(name for name in tensors if name in ("token_embedding.weight", "text.token_embedding.weight"))


def _side(model: nn.Module) -> int:
    size = model.visual.image_size
    return int(size) if isinstance(size, int) else int(size[0])


def _registered(model: nn.Module, name: str) -> dict[str, Any]:
    """The registered configuration, with what may have been overridden when the model was made."""
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip knows no model {name!r}: register it with open_clip.add_model_config.")
    text = {"context_length": 77, "vocab_size": 49408} | config["text_cfg"]
    if "hf_model_name" not in text:  # those name what they could read at most, more than they were trained on
        text["context_length"] = getattr(model, "context_length", text["context_length"])
    made = {"vision_cfg": config["vision_cfg"] | {"image_size": _side(model)}, "text_cfg": text}
    if any(isinstance(part, open_clip.transformer.QuickGELU) for part in model.modules()):
        made["quick_gelu"] = True
    return config | made | {"custom_text": not isinstance(model, open_clip.CLIP)}
