"""ClipEncoder with a tiny random CLIP: no downloads."""

import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from deltaedit._torchvision import open_clip
from deltaedit.clip import RELEASED_TEMPLATES, TEMPLATES, ClipEncoder
from deltaedit.files import read_tensors, write_tensors
from deltaedit.pictures import to_tensor

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


TEXT = CONFIG["text_cfg"] | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "vocab_size": 99}
HUB = {"hf_tokenizer_name": "somebody/t5", "tokenizer_kwargs": {"clean": "canonicalize"}}
OTHERS = {
    "tiny-gelu": CONFIG | {"quick_gelu": True},
    "tiny-bias": CONFIG | {"init_logit_bias": -10},
    "tiny-custom": CONFIG | {"custom_text": True},
    "tiny-siglip": {  # a network of timm's, and a tokenizer of the Hugging Face hub
        "embed_dim": 64,
        "init_logit_bias": -10,
        "custom_text": True,
        "text_cfg": TEXT | HUB,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "none"},
    },
    "tiny-coca": CONFIG
    | {
        "custom_text": True,
        "vision_cfg": {
            "image_size": 32,
            "patch_size": 8,
            "layers": 1,
            "width": 64,
            "attentional_pool": True,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        "text_cfg": CONFIG["text_cfg"] | {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
}


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("config")
    for name, config in {"tiny-clip": CONFIG, **OTHERS}.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)


class T5:
    """A tokenizer as those of the hub are: words, one end, and filled up with ends."""

    @classmethod
    def from_pretrained(cls, name: str, **options: object) -> "T5":
        assert name == "somebody/t5"
        return cls()

    def __call__(self, texts: list[str], max_length: int, **options: object) -> SimpleNamespace:
        rows = [[2 + sum(map(ord, word)) % 97 for word in text.split()][: max_length - 1] for text in texts]
        return SimpleNamespace(input_ids=torch.tensor([row + [1] * (max_length - len(row)) for row in rows]))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> type[T5]:
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=T5))
    return T5


@pytest.fixture
def clip() -> ClipEncoder:
    torch.manual_seed(0)
    return ClipEncoder.from_open_clip("tiny-clip")


def image(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_torchvision_imports_in_a_fresh_process():
    code = "from deltaedit._torchvision import open_clip; import torchvision.transforms"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_features_are_unit_vectors_of_any_resolution(clip):
    for shape in ((2, 3, 32, 32), (1, 3, 80, 80), (3, 3, 20, 28)):
        feature = clip.encode_image(image(*shape))
        assert feature.shape == (shape[0], clip.dim)
        torch.testing.assert_close(feature.norm(dim=1), torch.ones(shape[0]))
    torch.testing.assert_close(clip.encode_text(["face", "old face"]).norm(dim=1), torch.ones(2))


@pytest.mark.parametrize("side", [32, 64, 256, 1024])
def test_preprocess_of_the_published_deltaedit(side):
    """What its code does to pictures of 1024 px: nearest neighbours to 7168, the mean of 32 x 32; nothing else."""
    torch.manual_seed(0)
    clip = ClipEncoder.from_open_clip("tiny-clip", preprocessing="deltaedit", force_image_size=224)
    picture = image(1, 3, side, side)
    wanted = F.avg_pool2d(F.interpolate(picture, scale_factor=7, mode="nearest"), side // 32)
    torch.testing.assert_close(clip.preprocess(picture), wanted)
    assert torch.equal(clip.preprocess(F.pad(picture, (4, 4))), clip.preprocess(picture))


def test_preprocessing_is_the_domains_affair(clip, tmp_path):
    clip.save(tmp_path / "clip.safetensors")
    again = ClipEncoder.load(tmp_path / "clip.safetensors", preprocessing="deltaedit")
    assert (clip.preprocessing, again.preprocessing) == ("clip", "deltaedit")
    assert again.fingerprint() == clip.fingerprint()
    with pytest.raises(ValueError, match="preprocessing must be one of .*'other'"):
        ClipEncoder.load(tmp_path / "clip.safetensors", preprocessing="other")


def test_published_templates():
    assert len(set(RELEASED_TEMPLATES)) == 79
    assert all(template.count("{}") == 1 for template in RELEASED_TEMPLATES)
    assert {"a photo of a {}.", "a {} in a video game."} <= set(RELEASED_TEMPLATES)
    assert not any("many" in template for template in RELEASED_TEMPLATES)


def test_preprocess_is_open_clips_own(clip):
    """On a picture of another size: what open_clip's transform does to the same picture as PIL would hold it."""
    pixels = torch.randint(0, 256, (3, 50, 50), generator=torch.Generator().manual_seed(2)).float()
    smooth = F.avg_pool2d(pixels[None], 7, 1, 3)
    ours = clip.preprocess(smooth / 127.5 - 1)[0]
    transform = open_clip.image_transform(32, is_train=False, mean=clip.mean, std=clip.std)
    from torchvision.transforms.functional import to_pil_image

    theirs = transform(to_pil_image(smooth[0].round().byte()))
    torch.testing.assert_close(ours, theirs, atol=0.03, rtol=0)


def test_the_centre_of_a_wide_picture_counts(clip):
    wide = image(1, 3, 32, 48)
    torch.testing.assert_close(clip.encode_image(wide), clip.encode_image(wide[..., 8:40]))


def test_gradients_reach_the_image_and_no_weight(clip):
    picture = image(1, 3, 40, 40).requires_grad_()
    clip.encode_image(picture)[0, 0].backward()
    assert picture.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in clip.parameters())
    assert not clip.train().model.training


def test_a_prompts_feature_is_the_models_own_of_the_whole_context(clip):
    for prompts in (["face"], ["face", "old face with glasses", "a photo of a face " * 2]):
        whole = clip.model.encode_text(clip.tokenizer(prompts, context_length=12), normalize=True)
        with warnings.catch_warnings(action="ignore"):
            torch.testing.assert_close(clip.encode_text(prompts), whole)


def test_text_feature_is_the_mean_over_templates(clip):
    each = [F.normalize(clip.model.encode_text(clip.tokenizer([t.format("old face")], 12)), dim=-1) for t in TEMPLATES]
    mean = torch.cat(each).mean(0)
    torch.testing.assert_close(clip.text_feature("old face"), mean / mean.norm())
    delta = clip.text_feature("old face") - clip.text_feature("face")
    torch.testing.assert_close(clip.text_delta("old face", "face", normalize=False), delta)
    torch.testing.assert_close(clip.text_delta("old face", "face"), delta / delta.norm())


@pytest.mark.parametrize("token_ids", [None, (320, 1710, 49406, 49407)])
def test_saved_and_loaded_it_is_the_same(clip, tmp_path, token_ids):
    clip = ClipEncoder(clip.model, clip.tokenizer, clip.name, templates=("{}", "a {}"), token_ids=token_ids)
    clip.name = "a name that no registry knows where it is loaded"
    clip.save(tmp_path / "clip.safetensors")
    again = ClipEncoder.load(tmp_path / "clip.safetensors")
    assert again.fingerprint() == clip.fingerprint()
    assert again.templates == clip.templates
    assert (again.mean, again.std, again.image_size) == (clip.mean, clip.std, clip.image_size)
    torch.testing.assert_close(again.text_feature("face"), clip.text_feature("face"), atol=2e-3, rtol=0)
    torch.testing.assert_close(
        again.encode_image(image(2, 3, 32, 32)), clip.encode_image(image(2, 3, 32, 32)), atol=2e-3, rtol=0
    )
    if token_ids:
        assert (tmp_path / "clip.safetensors").stat().st_size < 750_000  # all 49,408 tokens would be 790,000 more


@pytest.mark.parametrize("name", OTHERS)
def test_any_class_of_open_clip_can_be_used_and_saved(name, tmp_path, hub):
    torch.manual_seed(0)
    clip = ClipEncoder.from_open_clip(name)
    assert clip.dim == OTHERS[name]["embed_dim"] == clip.text_delta("old face", "face").shape[0]
    assert clip.encode_image(image(2, 3, 40, 40)).shape == (2, clip.dim)
    clip.save(tmp_path / "clip.safetensors")
    again = ClipEncoder.load(tmp_path / "clip.safetensors")
    assert (type(again.model), type(again.tokenizer)) == (type(clip.model), type(clip.tokenizer))
    assert (again.fingerprint(), again.dim, again.image_size) == (clip.fingerprint(), clip.dim, clip.image_size)
    for encode in ("encode_text", "encode_image"):
        what = ["face", "old face"] if encode == "encode_text" else image(2, 3, 32, 32)
        torch.testing.assert_close(getattr(again, encode)(what), getattr(clip, encode)(what), atol=4e-3, rtol=0)


def test_what_the_model_was_built_with_is_what_counts(tmp_path):
    """And not what the registry says of its name."""
    options = {"embed_dim": 24, "force_quick_gelu": True, "force_custom_text": True, "force_context_length": 9}
    clip = ClipEncoder.from_open_clip("tiny-clip", **options)
    clip.save(tmp_path / "clip.safetensors")
    again = ClipEncoder.load(tmp_path / "clip.safetensors")
    assert (clip.dim, clip.context_length) == (again.dim, again.context_length) == (24, 9)
    torch.testing.assert_close(again.text_feature("hat"), clip.text_feature("hat"), atol=4e-3, rtol=0)


def test_a_tokenizer_of_the_hub_warns_as_well(hub):
    clip = ClipEncoder.from_open_clip("tiny-siglip")
    known = clip.tokenizer(["a face with one hat"]).unique()
    clip = ClipEncoder(clip.model, clip.tokenizer, clip.name, templates=("{}",), token_ids=known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip.text_feature("A face with one hat")
        clip.encode_text("hat " * 11)  # and an end, 12
    with pytest.warns(UserWarning, match="longer than the context of 12"):
        clip.encode_text("hat " * 12)
    assert clip.fits(["hat", "hat " * 11, "hat " * 12]) == [True, True, False]
    with pytest.warns(UserWarning, match="never saw «zebra»"):
        clip.text_feature("a face with one zebra")


def test_what_a_tokenizer_of_the_hub_lacks_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"tokenizer somebody/t5 takes .*'transformers\[sentencepiece\]'"):
        ClipEncoder.from_open_clip("tiny-siglip")

    def offline(*args: object, **options: object) -> None:
        raise OSError("We couldn't connect to 'https://huggingface.co'.")

    monkeypatch.setattr(T5, "from_pretrained", offline)
    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(AutoTokenizer=T5))
    with pytest.raises(FileNotFoundError, match="tokenizer somebody/t5 is neither on this machine nor .* copy it"):
        ClipEncoder.from_open_clip("tiny-siglip")


def test_weights_that_cannot_be_fetched_are_named(monkeypatch):
    def offline(*args: object, **options: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("open_clip.factory.download_pretrained", offline)
    with pytest.raises(FileNotFoundError, match="ViT-B-32 openai is neither on this machine nor .* a file of weights"):
        ClipEncoder.from_open_clip("ViT-B-32", "openai")


@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b79k", False)])
def test_published_weights_get_the_activation_that_they_were_trained_with(monkeypatch, tag, quick):
    given = {}

    def create(name: str, **options: object) -> None:
        given.update(options)
        raise OSError("enough seen")

    monkeypatch.setattr("open_clip.create_model", create)
    with pytest.raises(FileNotFoundError):
        ClipEncoder.from_open_clip("ViT-B-32", tag)
    assert given.get("force_quick_gelu", False) is quick


def test_pictures_are_made_ready_as_the_model_wants_them(tmp_path):
    """SigLIP's mean, CLIPA's interpolation: they come with published weights, and are kept with one's own."""
    wants = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "interpolation": "bilinear"}
    clip = ClipEncoder.from_open_clip("tiny-clip", force_preprocess_cfg=wants)
    clip.save(tmp_path / "clip.safetensors")
    small = F.interpolate(picture := image(1, 3, 50, 50), (32, 32), mode="bilinear", antialias=True)
    for encoder in (clip, ClipEncoder.load(tmp_path / "clip.safetensors")):
        torch.testing.assert_close(encoder.preprocess(picture), ((small + 1) / 2 - 0.5) / 0.25)


def test_a_model_of_nobodys_class_is_not_saved(clip, tmp_path):
    clip.model = clip.model.visual
    with pytest.raises(ValueError, match="must be of open_clip's classes, got ModifiedResNet and SimpleTokenizer"):
        clip.save(tmp_path / "clip.safetensors")


def test_other_weights_have_another_fingerprint(clip):
    before = clip.fingerprint()
    clip.model.text_projection.data[0, 0] += 1
    assert clip.fingerprint() != before


def test_the_resolution_is_a_parameter(tmp_path):
    clip = ClipEncoder.from_open_clip("tiny-clip", force_image_size=64)
    clip.save(tmp_path / "clip.safetensors")
    assert ClipEncoder.load(tmp_path / "clip.safetensors").image_size == clip.image_size == 64


def test_published_weights_are_saved_by_name(clip, tmp_path, monkeypatch):
    published = ClipEncoder(clip.model, clip.tokenizer, clip.name, pretrained="tag")
    published.save(tmp_path / "clip.safetensors")
    monkeypatch.setattr(ClipEncoder, "from_open_clip", lambda *args, **options: published)
    assert ClipEncoder.load(tmp_path / "clip.safetensors") is published
    published.model.text_projection.data += 1
    with pytest.raises(ValueError, match="other weights"):
        ClipEncoder.load(tmp_path / "clip.safetensors")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.zeros(3, 32, 32), r"shape \(B, 3, H, W\), got \(3, 32, 32\)"),
        (torch.zeros(1, 4, 32, 32), r"got \(1, 4, 32, 32\)"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "floats in"),
        (torch.full((1, 3, 32, 32), 255.0), "up to 255"),
        (torch.full((1, 3, 32, 32), torch.nan), "up to nan"),
        (3, "must be a PIL image"),
    ],
)
def test_bad_pictures_stop_at_the_door(clip, bad, message):
    with pytest.raises(ValueError, match=message):
        clip.encode_image(bad)


def test_a_picture_may_be_pils(clip):
    picture = Image.new("L", (40, 30), 200)
    torch.testing.assert_close(clip.encode_image(picture), clip.encode_image(to_tensor(picture)))


@pytest.mark.parametrize("prompt", ["", "  ", None, 3])
def test_a_prompt_must_say_something(clip, prompt):
    for call in (clip.text_feature, lambda p: clip.encode_text([p]), lambda p: clip.text_delta(p, "face")):
        with pytest.raises(ValueError, match="says something"):
            call(prompt)


@pytest.mark.parametrize("target", ["face", "Face ", " face"])
def test_target_and_neutral_must_differ(clip, target):
    with pytest.raises(ValueError, match="no difference to follow"):
        clip.text_delta(target, "face")


def test_a_long_prompt_is_cut_with_a_warning(clip):
    with pytest.warns(UserWarning, match="longer than the context of 12"):
        long = clip.encode_text("one two three four five six seven eight nine ten eleven twelve")
    fits = clip.encode_text("one two three four five six seven eight nine ten")  # 10, a start and an end: 12
    torch.testing.assert_close(long, fits)


def test_words_never_seen_are_named(clip):
    known = clip.tokenizer.encode("a face with glasses, and a hat")
    clip = ClipEncoder(clip.model, clip.tokenizer, clip.name, templates=("{}",), token_ids=[*known, 49406, 49407])
    with pytest.warns(UserWarning, match="never saw «zebra», «stripes»"):
        clip.text_feature("zebra face with stripes, zebra")
    with pytest.warns(UserWarning, match="never saw «☺»"):
        clip.text_feature("☺ face")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clip.text_feature("Face with glasses, a hat")


def test_unknown_names_are_told(clip):
    with pytest.raises(ValueError, match="knows no model 'no-clip'"):
        ClipEncoder.from_open_clip("no-clip")
    with pytest.raises(ValueError, match="neither a file nor weights"):
        ClipEncoder.from_open_clip("ViT-B-32", "no-tag")


def test_a_file_of_something_else_is_told(clip, tmp_path):
    (tmp_path / "cut.pt").write_bytes(b"no weights")
    state = clip.model.state_dict()
    for name, data in {
        "other.pt": state | {"visual.conv1.weight": torch.zeros(2, 2)},
        "less.pt": {"visual.proj": torch.zeros(2, 2)},
        "face.pt": {"text_model.embeddings.token_embedding.weight": torch.zeros(2, 2)},
        "list.pt": [1, 2],
    }.items():
        torch.save(data, tmp_path / name)
    for name, message in (
        ("cut.pt", "is a text, not a checkpoint"),
        ("other.pt", r"holds no weights for tiny-clip \(visual.conv1.weight is \(2, 2\) of float32, where that has"),
        ("less.pt", r"holds no weights for tiny-clip \(it lacks"),
        ("face.pt", "is a CLIP in the layout of Hugging Face's transformers.* tiny-clip:openai"),
        ("list.pt", "holds no weights of a CLIP"),
    ):
        with pytest.raises(ValueError, match=f"{name} {message}") as caught:
            ClipEncoder.from_open_clip("tiny-clip", str(tmp_path / name))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-gelu"])
@pytest.mark.parametrize("wrapping", ["bare", "state_dict", "module.", "safetensors", "program"])
def test_weights_in_a_file_are_read_in_any_wrapping(tmp_path, name, wrapping):
    torch.manual_seed(1)
    clip = ClipEncoder.from_open_clip(name)
    path, state = tmp_path / "weights.pt", clip.model.state_dict()
    match wrapping:
        case "bare":
            torch.save(state, path)
        case "state_dict":
            torch.save({"epoch": 3, "state_dict": state, "optimizer": {"state": {0: torch.ones(3)}}}, path)
        case "module.":
            torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}}, path)
        case "safetensors":
            save_file(state, path := tmp_path / "weights.safetensors")
        case "program":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that TorchScript is old
                script(clip.model, path)
    got = ClipEncoder.from_open_clip("tiny-clip" if wrapping == "program" else name, str(path))
    assert got.fingerprint() == clip.fingerprint()
    torch.testing.assert_close(got.encode_text("old face"), clip.encode_text("old face"))


def script(model: torch.nn.Module, path: Path) -> None:
    """Save a model as a TorchScript archive: its parts by their names, and QuickGELU where it has one."""

    class Empty(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    class QuickGELU(Empty):
        pass

    def copied(part: torch.nn.Module) -> torch.nn.Module:
        made = QuickGELU() if type(part).__name__ == "QuickGELU" else Empty()
        for name, inner in part.named_children():
            made.add_module(name, copied(inner))
        for name, parameter in part._parameters.items():
            made.register_parameter(name, parameter)
        for name, buffer in part._buffers.items():
            if name not in part._non_persistent_buffers_set:
                made.register_buffer(name, buffer)
        return made

    torch.jit.script(copied(model)).save(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"templates": ["{:9999999999}"]}, "templates of its CLIP cannot be"),
        ({"templates": ["{0.__class__}"]}, "templates of its CLIP cannot be"),
        ({"mean": [0, 1]}, "mean of its CLIP cannot be"),
        ({"name": None}, "name of its CLIP cannot be"),
        ({"config": CONFIG | {"embed_dim": 2**40}}, "config of its CLIP cannot be"),
        ({"config": CONFIG | {"embed_dim": 2**19}}, "does not fit the model it describes"),
        ({"config": CONFIG | {"vision_cfg": CONFIG["vision_cfg"] | {"layers": [2**19] * 4}}}, "far more than its"),
    ],
)
def test_what_a_file_says_of_a_clip_is_checked(clip, tmp_path, change, message):
    path = tmp_path / "clip.safetensors"
    clip.save(path)
    tensors, about = read_tensors(path)
    write_tensors(path, tensors, about | change)
    with pytest.raises(ValueError, match=message):
        ClipEncoder.load(path)


def test_a_file_cannot_ask_a_tokenizer_to_run_code(tmp_path, hub, monkeypatch):
    clip = ClipEncoder.from_open_clip("tiny-siglip")
    clip.save(path := tmp_path / "clip.safetensors")
    tensors, about = read_tensors(path)
    about["config"]["text_cfg"]["tokenizer_kwargs"] |= {"trust_remote_code": True}
    write_tensors(path, tensors, about)
    given = {}
    monkeypatch.setattr(
        hub, "from_pretrained", classmethod(lambda cls, name, **options: given.update(options) or cls())
    )
    ClipEncoder.load(path)
    assert "trust_remote_code" not in given


def test_bad_files_are_told(clip, tmp_path):
    path = tmp_path / "clip.safetensors"
    with pytest.raises(ValueError, match="no file"):
        ClipEncoder.load(path)
    write_tensors(path, {}, {"kind": "mapper"})
    with pytest.raises(ValueError, match="holds no CLIP but 'mapper'"):
        ClipEncoder.load(path)
    clip.save(path)
    tensors, about = read_tensors(path)
    write_tensors(path, tensors | {"visual.conv1.weight": torch.zeros(1)}, about)
    with pytest.raises(ValueError, match="does not fit"):
        ClipEncoder.load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="damaged"):
        ClipEncoder.load(path)
