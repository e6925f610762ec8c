"""Faces of a photo that everybody has: found, turned upright, and cut out as FFHQ's were."""

import hashlib
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image

from deltaedit import faces
from deltaedit.faces import Face, align, cut, find_faces
from deltaedit.pictures import to_pil, to_tensor

PHOTO = Path(matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))  # 512 x 600
# By hand: eyes at (222.7, 189.8) and (305.1, 186.2), mouth at (267.5, 276.5).
TRUTH = Face(264.3, 196.9, 330.0, -2.5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    return tmp_path


def assert_near(face: Face, truth: Face) -> None:
    assert math.hypot(face.x - truth.x, face.y - truth.y) < 0.03 * truth.side
    assert face.side == pytest.approx(truth.side, rel=0.08)
    assert face.angle == pytest.approx(truth.angle, abs=2.5)


def test_the_face_of_a_photo_is_found():
    (face,) = find_faces(PHOTO)
    assert_near(face, TRUTH)


@pytest.mark.parametrize(("angle", "scale"), [(-10, 0.4), (8, 2.5)])
def test_a_turned_face_is_put_upright(angle, scale):
    photo = Image.open(PHOTO)
    turned = photo.rotate(-angle, Image.Resampling.BICUBIC, center=(TRUTH.x, TRUTH.y))  # Pillow turns to the left
    (face,) = find_faces(turned.resize([round(scale * n) for n in photo.size]))
    assert_near(face, Face(TRUTH.x * scale, TRUTH.y * scale, TRUTH.side * scale, TRUTH.angle + angle))
    upright = find_faces(align(turned, 300))[0]
    assert_near(upright, Face(150, 150, 300, 0))


def test_of_two_faces_the_larger_is_taken_and_said():
    photo = Image.open(PHOTO)
    both = Image.new("RGB", (900, 600))
    both.paste(photo, (388, 0))
    both.paste(photo.resize((256, 300)), (60, 200))
    large, small = find_faces(both)
    assert_near(large, Face(TRUTH.x + 388, TRUTH.y, TRUTH.side, TRUTH.angle))
    assert_near(small, Face(TRUTH.x / 2 + 60, TRUTH.y / 2 + 200, TRUTH.side / 2, TRUTH.angle))
    with pytest.warns(UserWarning, match="2 faces were found, the largest is taken"):
        picture = align(both, 200)
    assert picture == to_pil(cut(to_tensor(both), large, 200))[0]


def test_no_face_is_said():
    wall = Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 300, 3), np.uint8))
    assert find_faces(wall) == []
    with pytest.raises(ValueError, match="no face was found: take one from the front, or bring it cut out"):
        align(wall)


def test_eyes_that_are_not_seen_are_where_they_usually_are(monkeypatch):
    blind = SimpleNamespace(detectMultiScale3=lambda *a, **k: ((), (), ()))
    monkeypatch.setattr(faces, "_cascade", lambda name: blind)
    left, right = faces._eyes(np.zeros((200, 200), np.uint8))
    assert (left + right, (right - left).imag) == (pytest.approx(1 + 0.8j), 0)
    sees = SimpleNamespace(detectMultiScale3=lambda *a, **k: ([(50, 60, 40, 40)], (), [1.0]))
    monkeypatch.setattr(faces, "_cascade", lambda name: sees)
    assert faces._eyes(np.zeros((200, 200), np.uint8)) == (pytest.approx(0.35 + 0.4j), pytest.approx(0.65 + 0.4j))


def test_five_landmarks_follow_the_rule_of_ffhq(cache, monkeypatch):
    """In a picture of FFHQ the eyes are a quarter of its side apart, and the square is the picture itself."""
    points = np.array([[0.375, 0.4725], [0.625, 0.4725], [0.5, 0.6], [0.42, 0.7475], [0.58, 0.7475]])
    turn = np.array([[math.cos(0.2), math.sin(0.2)], [-math.sin(0.2), math.cos(0.2)]])
    points = (points - 0.5) @ turn * 300 + (500, 400)

    class Detector:
        @staticmethod
        def create(model, config, size, score_threshold):
            assert Path(model).read_bytes() == b"network"
            assert size == (512, 410)
            return Detector()

        def detect(self, image):
            return 1, np.concatenate([[0, 0, 9, 9], points.ravel() / 2, [0.9]]).astype(np.float32)[None]

    model = cache / faces.YUNET.name
    model.parent.mkdir()
    model.write_bytes(b"network")
    model.with_name(model.name + ".sha256").write_text(hashlib.sha256(b"network").hexdigest())
    monkeypatch.setattr(cv2, "FaceDetectorYN", Detector)
    (face,) = find_faces(Image.new("RGB", (1024, 820)))
    assert_near(face, Face(500, 400, 300, math.degrees(0.2)))
    assert face.side == pytest.approx(300, abs=0.01)
    far = points.copy()
    far[3:] += (points[3:] - points[:2]) * 0.2  # a longer face: now the mouth says how large
    points = far
    assert find_faces(Image.new("RGB", (1024, 820)))[0].side == pytest.approx(3.6 * 1.2 * 0.275 * 300, rel=1e-3)
    monkeypatch.setattr(Detector, "detect", lambda self, image: (1, None))
    assert find_faces(Image.new("RGB", (1024, 820))) == []


def test_cutting_keeps_turns_mirrors_and_shrinks():
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(cut(image, Face(10, 10, 20, 0), 20), image, atol=1e-4, rtol=0)
    torch.testing.assert_close(cut(image, Face(10, 10, 20, 90), 20), image.rot90(1, (2, 3)), atol=1e-4, rtol=0)
    torch.testing.assert_close(cut(image, Face(0, 10, 20, 0), 20)[..., :10], image[..., :10].flip(3), atol=1e-4, rtol=0)
    smooth = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    small = cut(smooth, Face(10, 10, 20, 0), 10)
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(smooth, 2), atol=0.1, rtol=0)


def test_without_opencv_an_aligned_picture_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install 'deltaedit\[faces\]', or bring it cut out as FFHQ's are"):
        align(PHOTO)


def test_opencv_is_not_imported_before_it_is_used():
    code = "import sys, deltaedit.editor, deltaedit.faces; assert 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_a_camera_that_was_turned_says_so_in_the_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(PHOTO).transpose(Image.Transpose.ROTATE_90).save(tmp_path / "photo.jpg", exif=exif, quality=95)
    assert to_tensor(tmp_path / "photo.jpg").shape == (1, 3, 600, 512)
    assert_near(find_faces(tmp_path / "photo.jpg")[0], TRUTH)
    assert_near(find_faces(Image.open(tmp_path / "photo.jpg"))[0], TRUTH)
