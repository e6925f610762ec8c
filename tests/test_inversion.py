"""From pictures to latents: the encoder learns, goes on after a kill, and editors invert with it or without."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import DIM, TINY, FakeClip, tiny_generator
from matplotlib.cbook import get_sample_data
from PIL import Image

from deltaedit.domain import Domain
from deltaedit.e4e import E4E, E4EConfig, Encoder, EncoderConfig, load_encoder
from deltaedit.editor import Editor
from deltaedit.files import write_tensors
from deltaedit.inversion import EncoderTraining, inside, refine, train_encoder
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview
from deltaedit.pictures import resize
from deltaedit.stylegan2 import Generator

CONFIG = EncoderTraining(steps=60, batch_size=16, lr=3e-3, width=8)


def editor(encoder: Encoder | None = None) -> Editor:
    generator = tiny_generator()
    return Editor(generator, FakeClip(), DeltaMapper(MapperConfig(generator.layout.dims, DIM)), encoder=encoder)


def test_an_encoder_learns_the_generators_own_pictures(tmp_path: Path):
    generator = tiny_generator()
    encoder, log = train_encoder(generator, tmp_path, CONFIG, features=FakeClip().encode_image)
    _, first = train_encoder(generator, tmp_path / "one", replace(CONFIG, steps=1))
    assert log[-1]["latent"] < 0.8 * first[0]["latent"]
    assert encoder(torch.zeros(2, 3, 16, 16)).shape == (2, generator.num_ws, generator.w_avg.shape[-1])
    encoder.save(tmp_path / "encoder.safetensors")
    image = torch.rand(2, 3, 16, 16)
    again = load_encoder(tmp_path / "encoder.safetensors")(image)
    torch.testing.assert_close(again, encoder(image), atol=1e-2, rtol=1e-2)


def test_a_killed_training_goes_on_to_the_same_encoder(tmp_path: Path):
    def pictures(n: int, rng: torch.Generator) -> torch.Tensor:
        return torch.rand(n, 3, 16, 16, generator=rng) * 2 - 1

    generator = tiny_generator()
    config = replace(CONFIG, steps=8)
    whole, _ = train_encoder(generator, tmp_path / "whole", config, pictures=pictures)
    train_encoder(generator, tmp_path / "parts", config, pictures=pictures, stop_after=3)
    parts, _ = train_encoder(generator, tmp_path / "parts", config, pictures=pictures)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_refining_brings_the_picture_nearer():
    generator = tiny_generator()
    w = generator.mapping(torch.randn(2, 6))[:, None].expand(-1, generator.num_ws, -1)
    image = generator.synthesize(generator.styles(w), w)
    start = w + 0.3 * torch.randn_like(w)
    for steps, smaller in ((0, False), (40, True)):
        found = refine(generator, image, start, steps)
        error = (generator.synthesize(generator.styles(found), found) - image).abs().mean()
        before = (generator.synthesize(generator.styles(start), start) - image).abs().mean()
        assert bool(error < 0.8 * before) == smaller


def test_refining_ends_when_it_gains_no_more_and_keeps_the_best():
    generator, drawn = tiny_generator(), []
    synthesize = generator.synthesize
    generator.synthesize = lambda s, w: drawn.append(w.detach()) or synthesize(s, w)
    w = generator.mapping(torch.randn(1, 6))[:, None].expand(-1, generator.num_ws, -1)
    image = synthesize(generator.styles(w), w)
    with torch.no_grad():  # as notebooks have it
        assert torch.equal(refine(generator, image, w, 1000, patience=7), w)  # nothing is nearer than itself
    assert len(drawn) == 8
    looks = []
    features = FakeClip().encode_image
    refine(generator, image, w + 0.1, 5, features=lambda picture: looks.append(picture) or features(picture))
    assert sum(picture is image for picture in looks) == 1
    assert len(looks) == 6
    far = refine(generator, image, w + 0.1, 9, lr=100.0)
    assert torch.equal(far, w + 0.1)  # each step led away


@pytest.fixture(scope="module")
def mobile() -> MobileStyleGAN:
    torch.manual_seed(0)
    made = MobileStyleGAN(MobileConfig(channels=(8, 8, 8), z_dim=6, w_dim=8, mapping_layers=1)).eval()
    return fit_preview(made.requires_grad_(False), (16,), faces=4)


def test_previews_are_refined_and_layers_stay_near_each_other(mobile):
    w = mobile.mapping(torch.randn(1, 6, generator=torch.Generator().manual_seed(1)))
    image = resize(mobile.synthesize(mobile.styles(w)), 16)
    start = w[:, None].expand(-1, mobile.num_ws, -1) + 0.5

    def found(apart: float | None) -> tuple[float, float]:
        code = refine(mobile, image, start, 30, lr=0.05, size=16, apart=apart)
        again = mobile.preview(mobile.styles(code), 16)
        return float((again - image).abs().mean()), float((code - code.mean(1, keepdim=True)).square().mean())

    before = float((mobile.preview(mobile.styles(start), 16) - image).abs().mean())
    free, near, alone = found(None), found(1.0), found(1e4)
    assert max(free[0], near[0]) < 0.8 * before
    assert alone[1] < near[1] < free[1]
    corner = (0.0, 0.0, 0.5, 0.25)
    assert inside(image, corner).shape == (1, 3, 4, 8)
    code = refine(mobile, image, start, 30, lr=0.05, size=16, apart=1.0, window=corner)
    again = mobile.preview(mobile.styles(code), 16)
    assert (
        inside(again - image, corner).abs().mean()
        < inside(mobile.preview(mobile.styles(start), 16) - image, corner).abs().mean()
    )


def test_an_editor_inverts_by_previews_where_there_are_some(mobile, monkeypatch):
    monkeypatch.setattr("deltaedit.editor.SKETCHED", 10)
    encoder = Encoder(EncoderConfig(8, mobile.num_ws, 16, 8, code=8, rank=2), mobile.w_avg)
    config = MapperConfig(mobile.layout.dims, DIM, groups=mobile.layout.cuts)
    faces = Editor(mobile, FakeClip(), DeltaMapper(config), encoder=encoder)
    sizes = []
    preview = mobile.preview
    monkeypatch.setattr(mobile, "preview", lambda s, size, *a: sizes.append(size) or preview(s, size, *a))
    faces.domain = Domain(steps=3)
    latent = faces.invert(Image.new("RGB", (40, 30), "red"))
    assert sizes == [16, 16, 16]
    faces.invert(Image.new("RGB", (40, 30), "red"), steps=0)
    assert len(sizes) == 3
    assert latent.tensor.shape == (1, 3, 32, 32)
    assert latent.w.shape == (1, mobile.num_ws, 8)


def test_differences_of_low_rank_are_saved_and_files_of_old_are_read(tmp_path):
    torch.manual_seed(0)
    few = Encoder(EncoderConfig(8, 5, 16, 8, code=12, rank=2))
    torch.nn.init.normal_(few.to_delta.weight)
    _, delta = few.parts(torch.rand(4, 3, 16, 16))
    assert torch.linalg.matrix_rank(delta.flatten(0, 1)) == 2
    few.save(tmp_path / "few.safetensors")
    assert load_encoder(tmp_path / "few.safetensors").config == few.config
    old = Encoder(EncoderConfig(8, 5, 16, 8))
    config = {"w_dim": 8, "num_ws": 5, "resolution": 16, "width": 8, "channel_max": 256}
    write_tensors(tmp_path / "old.safetensors", old.state_dict(), {"kind": "encoder", "config": config})
    again = load_encoder(tmp_path / "old.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), old.parameters(), strict=True))


def test_a_picture_without_a_face_is_refused_where_faces_are_aligned(monkeypatch):
    monkeypatch.setattr("deltaedit.faces.find_faces", lambda image: [])
    faces = editor()
    faces.domain = Domain(align=True)
    with pytest.raises(ValueError, match="^no face was found: take one from the front, or bring it cut out"):
        faces.invert(Image.new("RGB", (40, 30)), steps=1)
    assert faces.invert(Image.new("RGB", (40, 30)), steps=1, aligned=True).tensor.shape == (1, 3, 16, 16)


def test_resize_keeps_the_centre():
    wide = torch.arange(32.0).expand(1, 3, 16, 32)
    assert resize(wide, 16).shape == (1, 3, 16, 16)
    assert torch.equal(resize(wide, 16), wide[..., 8:24])
    torch.testing.assert_close(resize(wide, 8), (wide[..., 8:24:2] + 0.5)[..., ::2, :])
    assert resize(wide, 11).shape == (1, 3, 11, 11)


def test_editors_invert_what_a_user_holds(tmp_path: Path):
    generator = tiny_generator()
    encoder = Encoder(EncoderConfig(generator.w_avg.shape[-1], generator.num_ws, 16, 8), generator.w_avg)
    with_encoder = editor(encoder)
    latent = with_encoder.invert(Image.new("L", (40, 30), 128))
    assert latent.tensor.shape == (1, 3, 16, 16)
    assert latent.w.shape == (1, generator.num_ws, generator.w_avg.shape[-1])
    assert with_encoder.edit(latent, "face with a hat").tensor.shape == (1, 3, 16, 16)
    assert with_encoder.invert(torch.zeros(3, 3, 20, 20)).tensor.shape == (3, 3, 16, 16)
    with_encoder.clip.save = lambda path: path.touch()
    with_encoder.save_pretrained(tmp_path)
    assert (tmp_path / "encoder.safetensors").exists()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "I;16"])
def test_any_mode_and_size_can_be_inverted(mode: str, tmp_path: Path):
    encoder = Encoder(EncoderConfig(TINY.w_dim, tiny_generator().num_ws, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    picture = Image.new(mode, (300, 9))
    picture.save(tmp_path / "picture.tif", exif=exif)
    upright = editor(encoder).invert(tmp_path / "picture.tif")
    assert upright.source == {"picture": str(tmp_path / "picture.tif")}
    torch.testing.assert_close(upright.w, editor(encoder).invert(picture.transpose(Image.Transpose.ROTATE_270)).w)


def test_what_cannot_be_inverted_is_refused_in_a_sentence(tmp_path: Path):
    faces = editor(Encoder(EncoderConfig(TINY.w_dim, tiny_generator().num_ws, 16, 8)))
    faces.domain = Domain(align=True)
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "wall.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "wall.png").read_bytes()[:60])
    for name, message in (("huge", "at most"), ("cut", "cannot be read"), ("wall", "no face was found")):
        with pytest.raises(ValueError, match=message):
            faces.invert(tmp_path / f"{name}.png")
    with pytest.raises(ValueError, match="8 pixels wide"):
        faces.invert(Image.new("RGB", (1, 1)))
    photo = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False))
    two = Image.new("CMYK", (768, 600))
    two.paste(photo.convert("CMYK"))
    two.paste(photo.resize((256, 300)).convert("CMYK"), (512, 0))
    with pytest.warns(UserWarning, match="2 faces were found, the largest is taken"):
        assert faces.invert(two).tensor.shape == (1, 3, 16, 16)


def test_faces_are_aligned_where_the_domain_wants_them(monkeypatch):
    asked = []
    monkeypatch.setattr("deltaedit.editor.align", lambda picture, size: asked.append(size) or picture.resize((16, 16)))
    faces = editor()
    picture = Image.new("RGB", (40, 30))
    faces.invert(picture, steps=1)
    faces.domain = Domain(align=True)
    faces.invert(torch.zeros(1, 3, 16, 16), steps=1)
    faces.invert(picture, steps=1, aligned=True)
    assert not asked
    assert faces.invert(picture, steps=1).source == {"picture": "given"}
    assert asked == [16]


def test_e4es_network_is_an_encoder_too():
    torch.manual_seed(0)
    generator = Generator(replace(TINY, w_dim=128)).eval().requires_grad_(False)
    encoder = E4E(E4EConfig(w_dim=128, num_ws=generator.num_ws, width=16, units=(1, 1, 1, 1))).eval()
    mapper = DeltaMapper(MapperConfig(generator.layout.dims, DIM))
    latent = Editor(generator, FakeClip(), mapper, encoder=encoder).invert(Image.new("RGB", (40, 30), "red"))
    assert latent.w.shape == (1, generator.num_ws, 128)
    cars = E4E(replace(encoder.config, height=192)).eval()
    cars.load_state_dict(encoder.state_dict())
    image = torch.rand(1, 3, 256, 256)
    black = image.clone()
    black[:, :, :32] = black[:, :, -32:] = -1
    assert torch.equal(cars(image), cars(black))  # of cars, the middle rows are what counts
    assert not torch.equal(encoder(image), encoder(black))
    with pytest.raises(ValueError, match="4 stages"):
        E4EConfig(units=(1, 2))


def test_without_an_encoder_steps_are_needed():
    plain = editor()
    with pytest.raises(ValueError, match="without an encoder, steps"):
        plain.invert(torch.zeros(1, 3, 16, 16))
    assert plain.invert(torch.zeros(1, 3, 16, 16), steps=3).tensor.shape == (1, 3, 16, 16)
    with pytest.raises(ValueError, match="w_plus of one shape"):
        editor(Encoder(EncoderConfig(4, 2, 16, 8)))
    with pytest.raises(ValueError, match="shape"):
        Encoder(EncoderConfig(4, 2, 16, 8))(torch.zeros(3, 16, 16))
