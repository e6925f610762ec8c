"""Pictures in and out."""

import re
import struct
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageFile

from deltaedit.pictures import TURNS, picture_files, pixels, to_pil, to_tensor


def gradient(mode: str = "RGB") -> Image.Image:
    """A small picture of a given mode."""
    pixels = np.linspace(0, 255, 12 * 10 * 3).reshape(12, 10, 3).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_pictures_are_cut_to_the_range():
    pixels = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0]).expand(1, 3, 1, 5)
    assert [to_pil(pixels)[0].getpixel((x, 0))[0] for x in range(5)] == [0, 0, 128, 255, 255]


def test_there_and_back(tmp_path: Path):
    picture = gradient()
    tensor = to_tensor(picture)
    assert tensor.shape == (1, 3, 12, 10)
    assert tensor.min() == -1
    assert tensor.max() <= 1
    assert to_pil(tensor)[0].tobytes() == picture.tobytes()
    picture.save(tmp_path / "picture.png")
    assert torch.equal(to_tensor(tmp_path / "picture.png"), tensor)
    assert torch.equal(to_tensor(np.asarray(picture)), tensor)


MODES = ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
MODES += ["I;16", "I;16B"]
CONTAINERS = {  # what keeps every pixel, and whose writer in Pillow does
    "PNG": ("1 L LA P RGB RGBA I;16 I;16B", {}),
    "TIFF": ("1 L LA P PA RGB RGBA RGBX CMYK YCbCr LAB I F I;16 I;16B", {}),
    "WEBP": ("1 L LA P PA RGB RGBA RGBa RGBX CMYK YCbCr LAB HSV", {"lossless": True, "exact": True}),
    "JPEG2000": ("L LA RGB RGBA CMYK YCbCr I;16", {"irreversible": False}),
    "GIF": ("1 L P", {}),
    "BMP": ("1 L P RGB", {}),
    "TGA": ("1 L LA P RGB RGBA", {}),
    "PPM": ("1 L RGB I F I;16", {}),
    "PCX": ("1 L P RGB", {}),
    "SGI": ("L RGB RGBA", {}),
    "ICO": ("1 L LA P RGB RGBA I;16", {}),
    "DDS": ("L LA RGB RGBA", {}),
    "QOI": ("RGB RGBA", {}),
    "SPIDER": ("L I F I;16", {}),
}
TURNED = ("PNG", "TIFF", "WEBP")  # those of them that may say how the camera was held


def noise(mode: str) -> Image.Image:
    """A small picture of a given mode, each pixel another."""
    random = np.random.default_rng(0)
    if mode in ("I", "F", "I;16", "I;16B"):
        grey = random.integers(0, 65536, (12, 10))
        grey[0, 0] = 65535
        return Image.fromarray((grey / (65535 if mode == "F" else 1)).astype({"I": "i4", "F": "f4"}.get(mode, "<u2")))
    picture = Image.fromarray(random.integers(0, 256, (12, 10, 3), np.uint8))
    if mode in ("LA", "La", "RGBA", "RGBa"):
        picture.putalpha(Image.fromarray(random.integers(0, 256, (12, 10), np.uint8)))
        return picture.convert("LA").convert("La") if mode == "La" else picture.convert(mode)
    if mode == "LAB":
        return ImageCms.profileToProfile(picture, *map(ImageCms.createProfile, ("sRGB", "LAB")), outputMode="LAB")
    return picture.quantize(200).convert(mode) if mode in ("P", "PA") else picture.convert(mode)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_the_same_pixels_in_every_container_and_however_it_was_held(mode: str):
    picture = noise(mode)
    wanted = to_tensor(picture)
    assert wanted.shape == (1, 3, 12, 10)
    assert len(wanted.unique()) == 2 if mode == "1" else len(wanted.unique()) > 40
    for kind, (modes, how) in CONTAINERS.items():
        if mode not in modes.split():
            continue
        for orientation in range(1, 9) if kind in TURNED else (1,):
            exif = Image.Exif()
            exif[0x0112] = orientation
            turned = {6: 8, 8: 6}.get(orientation, orientation)  # all others are undone by themselves
            stored = picture if turned == 1 else picture.transpose(TURNS[turned])
            content = written(stored, kind, **how, **({"exif": exif} if kind in TURNED else {}))
            assert torch.equal(to_tensor(content), wanted), (kind, orientation)


def written(picture: Image.Image, kind: str, **how: object) -> bytes:
    """The content of a file."""
    file = BytesIO()
    picture.save(file, kind, **how)
    return file.getvalue()


RAMP = np.linspace(0, 1, 120).reshape(12, 10)
SIGNED, FLOAT, WHITE_IS_ZERO = {339: 2}, {339: 3}, {262: 0}


def tiff(values: np.ndarray, bits: int = 0, tags: Mapping[int, int] = {}) -> bytes:
    """A grey TIFF of an array of any type, or of ``bits`` that are packed already."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    default = {256: 10, 257: 12, 258: bits or 8 * values.itemsize, 259: 1, 262: 1, 273: 0, 277: 1, 278: 12, 339: 1}
    tags = dict(sorted({**default, 279: values.nbytes, **tags}.items()))
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(4) + values.tobytes()


def packed_12(values: np.ndarray) -> np.ndarray:
    """Two values of 12 bits in three bytes."""
    a, b = values.astype(int).reshape(-1, 2).T
    return np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8)


def pgm(white: int) -> bytes:
    """A grey PGM."""
    return b"P5\n10 12\n%d\n" % white + (RAMP * white).round().astype(">u2").tobytes()


@pytest.mark.parametrize(
    "content",
    [
        *(tiff((RAMP * 65535).astype(f"{order}u2")) for order in "<>"),
        *(tiff((RAMP * 32767).astype(f"{order}i2"), tags=SIGNED) for order in "<>"),
        *(tiff((RAMP * white).astype("<u4")) for white in (255.5, 65535)),
        *(tiff((RAMP * white).astype(">i4"), tags=SIGNED) for white in (255.5, 65535)),
        *(tiff((RAMP * white).astype("<f4"), tags=FLOAT) for white in (1, 255, 65535)),
        tiff((65535 - RAMP * 65535).astype("<u2"), tags=WHITE_IS_ZERO),
        tiff((1 - RAMP).astype(">f4"), tags=FLOAT | WHITE_IS_ZERO),
        tiff((255.5 - RAMP * 255).astype("u1"), tags=WHITE_IS_ZERO),
        tiff(packed_12(RAMP * 4095), 12),
        *map(pgm, (300, 1023, 4095, 65535)),
        b"P2\n10 12\n1023\n" + " ".join(map(str, (RAMP * 1023).round().astype(int).ravel())).encode(),
        b"Pf\n10 12\n-1.0\n" + RAMP[::-1].astype("<f4").tobytes(),
    ],
)
def test_a_grey_ramp_of_any_depth_goes_from_black_to_white(content: bytes):
    wanted = torch.from_numpy(RAMP * 2 - 1).float().expand(1, 3, 12, 10)
    torch.testing.assert_close(to_tensor(content), wanted, atol=0.009, rtol=0)


@pytest.mark.parametrize(
    ("content", "greys"),
    [
        (tiff((RAMP * 2**31 - 1).astype("<i4"), tags=SIGNED), "-1 to 2.14748e\\+09"),
        (tiff((RAMP * 300).astype("<i4"), tags=SIGNED), "0 to 300"),
        (tiff((RAMP > 0.5).astype("<i4"), tags=SIGNED), "0 to 1"),
        (tiff((RAMP * 1.7).astype("<f4"), tags=FLOAT), "0 to 1.7"),
        (tiff((RAMP - 0.1).astype("<f4"), tags=FLOAT), "-0.1 to 0.9"),
        (tiff((RAMP * 30 - 10).astype("<i2"), tags=SIGNED), "-10 to 20"),
        (tiff((RAMP * np.nan).astype("<f4"), tags=FLOAT), "nan to nan"),
    ],
)
def test_greys_of_an_unknown_depth_are_refused_and_never_all_white_or_black(content: bytes, greys: str):
    with pytest.raises(ValueError, match=rf"its greys, {greys}, are neither those of 8 or 16 bits nor from 0 to 1"):
        to_tensor(content)


def test_nothing_but_black_is_black():
    for mode in ("I", "F", "I;16"):
        assert torch.equal(to_tensor(Image.new(mode, (9, 9))), -torch.ones(1, 3, 9, 9))


def icc(space: str, pcs: str, **tags: bytes) -> bytes:
    """A colour profile, version 2."""
    table, data = b"", b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name.encode(), 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    head = struct.pack(
        ">I4sI4s4s4s", 132 + len(table) + len(data), bytes(4), 0x02400000, b"mntr", *map(str.encode, (space, pcs))
    )
    head = head.ljust(36, b"\0") + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def xyz(*values: float) -> bytes:
    """A colour in a profile."""
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))


GAMMA = b"curv\0\0\0\0" + struct.pack(">IH", 1, 563)  # 2.2
WHITE = xyz(0.9642, 1, 0.8249)
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])  # D50
TO_SRGB = [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
WIDE = icc(
    "RGB ",
    "XYZ ",
    wtpt=WHITE,
    **{f"{c}XYZ": xyz(*ADOBE[:, k]) for k, c in enumerate("rgb")},
    **{f"{c}TRC": GAMMA for c in "rgb"},
)
GREY = icc("GRAY", "XYZ ", wtpt=WHITE, kTRC=b"curv\0\0\0\0" + struct.pack(">IH", 1, 461))  # 1.8
INKS = icc(  # all that is not black is red, by a table with two steps of each ink
    "CMYK",
    "Lab ",
    wtpt=WHITE,
    A2B0=b"mft1\0\0\0\0\4\3\2\0"
    + struct.pack(">9i", *(65536 * (k % 4 == 0) for k in range(9)))
    + bytes(range(256)) * 4
    + b"\x8a\xd1\xc3\0\x80\x80" * 8
    + bytes(range(256)) * 3,
)


def encoded(light: np.ndarray) -> np.ndarray:
    """sRGB of linear light, from 0 to 1."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_colours_of_a_profile_become_those_of_srgb():
    random = np.random.default_rng(0)
    bytes_ = random.integers(0, 256, (12, 10, 3), np.uint8)
    wanted = encoded((bytes_ / 255) ** (563 / 256) @ (np.array(TO_SRGB) @ ADOBE).T)
    for kind in ("PNG", "TIFF", "WEBP"):
        how = {"lossless": True} if kind == "WEBP" else {}
        got = to_tensor(written(Image.fromarray(bytes_), kind, icc_profile=WIDE, **how))[0].permute(1, 2, 0)
        np.testing.assert_allclose((got + 1) / 2, wanted, atol=0.02)
    clear = Image.fromarray(bytes_)
    clear.putalpha(128)
    got = to_tensor(written(clear, "PNG", icc_profile=WIDE))[0].permute(1, 2, 0)
    np.testing.assert_allclose((got + 1) / 2, (128 * wanted + 127) / 255, atol=0.02)
    few = Image.fromarray(bytes_).quantize(20)
    assert torch.equal(
        to_tensor(written(few, "PNG", icc_profile=WIDE)),
        to_tensor(written(few.convert("RGB"), "PNG", icc_profile=WIDE)),
    )


def test_greys_and_inks_of_a_profile_become_those_of_srgb():
    for mode in ("L", "LA", "I;16"):
        grey = Image.fromarray((RAMP * 65535).astype("<u2") if mode == "I;16" else (RAMP * 255).astype("u1"))
        content = written(grey if mode == "I;16" else grey.convert(mode), "PNG", icc_profile=GREY)
        np.testing.assert_allclose((to_tensor(content)[0, 0] + 1) / 2, encoded(RAMP ** (461 / 256)), atol=0.02)
    red, black = Image.new("CMYK", (16, 16), (9, 200, 200, 0)), Image.new("CMYK", (16, 16), (0, 0, 0, 255))
    for kind in ("JPEG", "TIFF"):
        (r, g, b), ink = (to_tensor(written(x, kind, icc_profile=INKS))[0, :, 8, 8] for x in (red, black))
        assert r > 0.9
        assert max(g, b) < -0.7
        assert ink.max() < -0.95


@pytest.mark.parametrize(
    "profile",
    [b"", b"no profile", WIDE[:200], GREY, INKS, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()],
)
def test_a_profile_of_srgb_and_one_that_is_none_change_nothing(profile: bytes):
    picture = noise("RGB")
    assert torch.equal(to_tensor(written(picture, "PNG", icc_profile=profile)), to_tensor(picture))


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0no TIFF",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
        *(b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1" + k + bytes(6) for k in (b"\0\0", b"\0\x09", b"\xff\xff")),
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\2\0\0\0\4six\0" + bytes(4),
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\5\0\0\0\1\xff\xff\xff\xff" + bytes(4),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_odd_metadata_are_harmless(kind: str, exif: bytes):
    picture = noise("L")
    assert torch.equal(to_tensor(written(picture, kind, exif=exif)), to_tensor(written(picture, kind)))
    assert torch.equal(to_tensor(written(picture, "PNG", dpi=(0, 0))), to_tensor(picture))


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_of_an_animation_the_first_picture_is_taken(kind: str):
    colours = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    content = written(colours[0], kind, save_all=True, append_images=colours[1:])
    torch.testing.assert_close(to_tensor(content), to_tensor(colours[0]), atol=0.05, rtol=0)
    with Image.open(BytesIO(content)) as image:
        image.seek(1)
        torch.testing.assert_close(to_tensor(image), to_tensor(colours[1]), atol=0.05, rtol=0)


def test_postscript_is_not_run():
    with pytest.raises(ValueError, match="this file is PostScript, which is a program: save what it draws as PNG"):
        to_tensor(written(noise("RGB"), "EPS"))


def test_a_grey_that_stands_for_clear_is_white():
    for mode in ("L", "I;16"):
        picture = noise(mode)
        content = written(picture, "PNG", transparency=picture.getpixel((3, 4)))
        other = to_tensor(content) != to_tensor(picture)
        assert other[0, :, 4, 3].all()
        assert to_tensor(content)[other].unique().tolist() == [1.0]


def test_what_is_shown_is_what_is_read():
    for mode in MODES:
        assert np.array_equal(pixels(noise(mode)), pixels(to_tensor(noise(mode))[0])), mode


def test_hidden_files_and_copies_are_no_pictures(tmp_path: Path):
    names = ["b.PNG", "a ü 猫.jpg", "in it/c.webp", ".ipynb_checkpoints/b-checkpoint.png", "._b.png", ".hidden/d.png"]
    for name in [*names, "__MACOSX/b.png", "in it/@eaDir/c.webp", "notes.txt", "e.png/inside.tif", "Thumbs.db"]:
        (tmp_path / ".home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".home" / name).touch()
    found = [path.relative_to(tmp_path / ".home").as_posix() for path in picture_files(tmp_path / ".home")]
    assert found == ["a ü 猫.jpg", "b.PNG", "e.png/inside.tif", "in it/c.webp"]


def test_what_is_transparent_is_white():
    assert torch.equal(to_tensor(Image.new("RGBA", (9, 9))), torch.ones(1, 3, 9, 9))


def test_photos_stand_upright(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    gradient().save(tmp_path / "photo.jpg", exif=exif)
    assert to_tensor(tmp_path / "photo.jpg").shape == (1, 3, 10, 12)
    with Image.open(tmp_path / "photo.jpg") as photo:
        assert to_tensor(photo).shape == (1, 3, 10, 12)


def test_a_print_shop_s_jpeg_keeps_its_colours(tmp_path: Path):
    Image.new("RGB", (16, 16), (200, 40, 90)).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    colour = (to_tensor(tmp_path / "print.jpg")[0, :, 8, 8] + 1) * 127.5
    torch.testing.assert_close(colour, torch.tensor([200.0, 40.0, 90.0]), atol=4, rtol=0)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="bomb.png must have at most 89,478,485 pixels: shrink it .*400000000"):
        to_tensor(tmp_path / "bomb.png")
    with pytest.raises(ValueError, match="at most 89,478,485 pixels: shrink it. Got 10000 x 10000"):
        to_tensor(Image.new("1", (10_000, 10_000)))
    with pytest.raises(ValueError, match="Got 20000 x 20000"):
        to_tensor(np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (20_000, 20_000, 3), (0, 0, 0)))


def test_whatever_is_wrong_with_a_file_is_one_kind_of_error(tmp_path: Path):
    """Files cut off and with bytes changed: each is read, or refused in words of ours."""
    random = np.random.default_rng(0)
    picture = Image.fromarray(random.integers(0, 255, (24, 20, 3), np.uint8))
    refused = []
    for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff"):
        picture.save(tmp_path / f"picture.{kind}")
        whole = np.frombuffer((tmp_path / f"picture.{kind}").read_bytes(), np.uint8)
        for k in range(20):
            content = whole[: random.integers(len(whole))].copy() if k % 4 == 0 else whole.copy()
            content[random.integers(len(content), size=4) if k % 2 else slice(0)] = random.integers(256)
            (tmp_path / "broken").write_bytes(content.tobytes())
            try:
                assert to_tensor(tmp_path / "broken").shape[:2] == (1, 3)
            except ValueError as error:
                refused.append(str(error))
    assert 30 < len(refused) < 120
    assert all(re.search("cannot be read as a picture|pixels", error) for error in refused)


@pytest.mark.parametrize(
    ("picture", "message"),
    [
        (Image.new("RGB", (7, 20)), "8 pixels"),
        (Image.new("RGB", (1, 1)), "8 pixels wide and high, or more. Got 1 x 1"),
        (np.zeros((0, 9, 3), np.uint8), "Got 9 x 0"),
        (np.zeros((20, 20)), "bytes"),
        (np.zeros((20, 20, 4), np.uint8), "bytes"),
        (3, "PIL image"),
        ("nowhere.jpg", "there is no picture nowhere.jpg: check the path"),
        ("/9j/4AAQ" * 1000, "there is no picture /9j"),
        ("nul\0.jpg", "no picture"),
        (b"", "cannot be read"),
        (__file__, "cannot be read"),
    ],
)
def test_what_is_no_picture_is_refused(picture: object, message: str):
    with pytest.raises(ValueError, match=message):
        to_tensor(picture)
