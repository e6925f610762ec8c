"""Files of others become a domain of ours."""

import json
from argparse import Namespace

import numpy as np
import pytest
import torch
from fakes import tiny_generator
from foreign import nvidias, rosinalitys, write_nvidia

from deltaedit import checkpoints, convert
from deltaedit.domain import RELEASED, RELEVANCE, Domain
from deltaedit.e4e import E4E, E4EConfig
from deltaedit.editor import Editor
from deltaedit.files import read_tensors
from deltaedit.mapper import DeltaMapper, MapperConfig


@pytest.fixture
def clip_file(tmp_path) -> str:
    from test_clip import CONFIG

    from deltaedit._torchvision import open_clip
    from deltaedit.clip import ClipEncoder

    (tmp_path / "tiny-clip.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(tmp_path / "tiny-clip.json")
    ClipEncoder.from_open_clip("tiny-clip").save(tmp_path / "clip.safetensors")
    return str(tmp_path / "clip.safetensors")


def write_mapper(path, dims: tuple[int, ...], feature_dim: int) -> None:
    """A mapper in the layout of the released one."""
    names = {"style": "sm", "condition": "cm", "fusion": "fm"}
    state = {}
    for key, value in DeltaMapper(MapperConfig(dims, feature_dim)).state_dict().items():
        if not key.startswith("s_"):
            group, module, rest = key.split(".", 2)
            state[f"{names[module]}_{group}.mapping.{rest}"] = value
    torch.save(state, path)


def test_files_become_a_domain(tmp_path, clip_file):
    tmp_path /= "Meine Gesichter – 猫 100% #1"
    tmp_path.mkdir()
    generator = tiny_generator()
    dims = generator.layout.dims
    write_nvidia(tmp_path / "g.pkl", nvidias(generator))
    write_mapper(tmp_path / "net.pth", dims, 16)
    np.save(tmp_path / "fs3.npy", np.random.default_rng(0).normal(size=(sum(dims), 16)).astype(np.float16))
    folder = tmp_path / "faces"
    convert.main(
        [
            str(folder),
            "--generator",
            str(tmp_path / "g.pkl"),
            "--mapper",
            str(tmp_path / "net.pth"),
            "--relevance",
            str(tmp_path / "fs3.npy"),
            "--clip",
            clip_file,
            "--neutral",
            "portrait",
        ]
    )
    editor = Editor.from_pretrained(folder)
    assert editor.domain == Domain("faces", "portrait", **RELEASED)
    assert editor.clip.preprocessing == "deltaedit"
    assert len(editor.clip.templates) == 79
    mapper = checkpoints.load_mapper(tmp_path / "net.pth", dims)
    assert all(torch.equal(a, b) for a, b in zip(editor.mapper.parameters(), mapper.parameters(), strict=True))
    assert np.array_equal(editor.relevance.numpy(), np.load(tmp_path / "fs3.npy").astype(np.float32))
    z = torch.randn(1, 6)
    torch.testing.assert_close(editor.generator(z), generator(z))
    photo = torch.rand(1, 3, 40, 40) * 2 - 1
    latent = editor.invert(photo, steps=1)
    torch.testing.assert_close(latent.image_feature, editor.clip.encode_image(photo))  # the photo's own


def test_parts_may_come_later_and_must_fit(tmp_path):
    generator = tiny_generator()
    torch.save(rosinalitys(generator), tmp_path / "g.pt")
    folder = tmp_path / "faces"
    with pytest.raises(ValueError, match="no generator yet"):
        convert.convert(folder, relevance=tmp_path / "fs3.npy")
    convert.convert(folder, generator=tmp_path / "g.pt", domain=Domain("faces", "portrait", gain=2.0))
    np.save(tmp_path / "fs3.npy", np.ones((generator.layout.size, 4), np.float32))
    convert.convert(folder, relevance=tmp_path / "fs3.npy")
    assert read_tensors(folder / RELEVANCE)[0]["relevance"].shape == (generator.layout.size, 4)
    assert Domain.read(folder) == Domain("faces", "portrait", gain=2.0)
    before = sorted(path.name for path in folder.iterdir())
    np.save(tmp_path / "fs3.npy", np.ones((generator.layout.size + 1, 4), np.float32))
    with pytest.raises(ValueError, match=rf"relevance must have shape \({generator.layout.size}, D\). Got \(55, 4\)"):
        convert.convert(folder, relevance=tmp_path / "fs3.npy")
    encoder = E4E(E4EConfig(w_dim=128, num_ws=generator.num_ws, width=16, units=(1, 1, 1, 1)))
    encoder.save(tmp_path / "encoder.safetensors")
    with pytest.raises(ValueError, match=r"w_plus of one shape. Got \(6, 128\) and \(6, 8\)"):
        convert.convert(folder, encoder=tmp_path / "encoder.safetensors")
    DeltaMapper(MapperConfig((12, 12, 12, 12, 12, 6, 6), 4)).save(tmp_path / "mapper.safetensors")
    with pytest.raises(ValueError, match=r"same style widths. Got \(12, 12, 12, 12, 12, 6, 6\) and \(12"):
        convert.convert(folder, mapper=tmp_path / "mapper.safetensors")
    with pytest.raises(ValueError, match="such as 'ViT-B-32:openai'"):
        convert.convert(folder, clip="ViT-B-32")
    assert before == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("name", "options", "neutral", "align"),
    [
        ("ffhq.pkl", None, "face", True),
        ("stylegan2-ffhq-config-f.pt", None, "face", True),
        ("net_face.pth", None, "face", True),
        ("CelebAHQ_256.pt", None, "face", True),
        ("afhqcat.pkl", None, "cat", False),
        ("stylegan2-afhqwild-512x512.pkl", None, "wild animal", False),
        ("stylegan2-car-config-f.pt", None, "car", False),
        ("network.pt", {"dataset_type": "ffhq_encode"}, "face", True),
        ("network.pt", Namespace(dataset_type="ffhq_encode"), "face", True),
        ("my-ffhq.pt", {"dataset_type": "church_encode"}, "church", False),
        ("network.pt", {"dataset_type": "cars_encode"}, "car", False),
        ("network.pt", {"dataset_type": 3}, "face", False),
        ("network.pt", "no options", "face", False),
        ("concatenated-scars.pt", None, "face", False),
        ("anime-faces.pt", {}, "face", False),
    ],
)
def test_a_card_says_what_the_files_do(name, options, neutral, align, tmp_path):
    torch.save({"state_dict": {}, "opts": options}, tmp_path / name)
    card, why = convert.card_of(tmp_path / "faces-of-ffhq", None, tmp_path / name)
    assert card == Domain("faces-of-ffhq", neutral, align=align)
    words = (getattr(options, "dataset_type", None), name.partition(".")[0], "no file says what it shows")
    assert any(str(word) in why["align"] for word in [*words, *(options if isinstance(options, dict) else {}).values()])


def test_a_converted_domain_of_faces_aligns_photos_unless_told_otherwise(tmp_path, capsys):
    files = {"one.pt": None, "two.pt": "ffhq_encode"}
    for name, data in files.items():
        torch.save({**rosinalitys(tiny_generator()), "opts": {"dataset_type": data}}, tmp_path / name)

    def aligned(name, *options):
        convert.main([str(tmp_path / "mine"), "--generator", str(tmp_path / name), *options])
        said = capsys.readouterr().out.partition("\n")[0].partition(" has neutral prompt ")[2]
        about, _, change = said.partition(": ")
        assert change == "--neutral, and --align or --no-align, change that."
        return Domain.read(tmp_path / "mine").align, about

    unsaid = "as no file says what it shows"
    assert aligned("one.pt") == (False, f"'face' ({unsaid}) and align false ({unsaid})")
    assert aligned("one.pt", "--neutral", "cat") == (False, "'cat' (as told) and align false (as it was)")
    assert aligned("two.pt") == (True, "'cat' (as it was) and align true (as 'ffhq_encode' says)")
    assert aligned("one.pt") == (True, "'cat' (as it was) and align true (as it was)")
    assert aligned("two.pt", "--no-align") == (False, "'cat' (as it was) and align false (as told)")
    assert convert.convert(tmp_path / "other", generator=tmp_path / "two.pt").align
    card = Domain("other")
    assert convert.convert(tmp_path / "other", generator=tmp_path / "two.pt", domain=card) == card


def test_the_command_says_what_is_missing(tmp_path, clip_file, capsys):
    write_nvidia(tmp_path / "g.pkl", nvidias(tiny_generator()))
    folder = str(tmp_path / "faces")
    convert.main([folder, "--generator", str(tmp_path / "g.pkl")])
    said = capsys.readouterr().out
    assert "lacks clip.safetensors and mapper.safetensors: convert takes --clip ViT-B-32:openai" in said
    convert.main([folder, "--clip", clip_file])
    assert "lacks mapper.safetensors: " in capsys.readouterr().out


def test_the_command_says_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match="there is no file .*g.pkl"):
        convert.main([str(tmp_path / "faces"), "--generator", str(tmp_path / "g.pkl")])
    assert not (tmp_path / "faces").exists()
