"""The judge of faces: published networks as published, heads that say what labels by eye say, goals, one person."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_editor import tiny_editor

from deltaedit.checkpoints.tfjs import Weight
from deltaedit.domain import Domain
from deltaedit.editor import Latent
from deltaedit.effects import score_edits
from deltaedit.files import read_tensors
from deltaedit.worlds.faces import networks, train_judge
from deltaedit.worlds.faces.judge import (
    ASKS,
    CARD,
    COLOURS,
    COVERED,
    FILE,
    HEADS,
    MEASURED,
    MOODS,
    NAMES,
    THINGS,
    WEIGHTS,
    FaceJudge,
    JudgeCard,
    Reading,
    cut,
    decided,
    same_person,
)
from deltaedit.worlds.faces.measures import colours, turned
from deltaedit.worlds.judge import Judge

SPOTS = (  # hair, face, eyes, nose, mouth: the middle, the radii, the colour
    ((0, -0.25, 0.95, 0.9), (-0.7, -0.8, -0.85)),
    ((0, 0.05, 0.7, 0.85), (0.7, 0.3, 0.1)),
    ((-0.28, -0.15, 0.13, 0.07), (-0.8, -0.8, -0.7)),
    ((0.28, -0.15, 0.13, 0.07), (-0.8, -0.8, -0.7)),
    ((0, 0.15, 0.08, 0.2), (0.5, 0.1, -0.1)),
    ((0, 0.5, 0.25, 0.09), (0.5, -0.5, -0.5)),
)


def drawn(size: int) -> torch.Tensor:
    """A face of six spots, (1, 3, size, size)."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, size, dtype=torch.float64)] * 2, indexing="ij")
    picture = torch.stack([0.1 * x - 0.2, 0.2 * y - 0.1, 0.3 * x * y])
    for (cx, cy, w, h), colour in SPOTS:
        spot = torch.sigmoid(12 * (1 - ((x - cx) / w) ** 2 - ((y - cy) / h) ** 2))
        colour = torch.tensor(colour, dtype=torch.float64)[:, None, None]
        picture = torch.lerp(picture, colour.expand_as(picture), spot)
    return picture.float()[None]


@pytest.fixture(scope="module")
def judge() -> FaceJudge:
    return FaceJudge.load()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    """What the package's own code gave for these pictures, in TensorFlow.js."""
    return dict(np.load(Path(__file__).parent / "golden" / "face_networks.npz"))


@pytest.mark.parametrize("name", networks.PUBLISHED)
def test_networks_give_the_numbers_of_their_publishers(judge, golden, name):
    network = judge.networks[name]
    out = network(drawn(network.size))[0]
    if name == "face_expression":
        out = out.softmax(0)
    if name == "age_gender":
        out = torch.cat([out[:1] / 100, out[1:].softmax(0)])
        golden = {name: golden[name] / np.array([100, 1, 1])}
    torch.testing.assert_close(out.double(), torch.tensor(golden[name]).double(), rtol=0, atol=1e-3)


def test_a_border_is_where_tensorflow_has_it():
    x = torch.arange(6.0).reshape(1, 1, 1, 6).expand(1, 1, 6, 6)
    even, odd = networks.padded(x), networks.padded(x[..., :5, :5])
    assert even.shape[-2:] == odd.shape[-2:] == (7, 7)
    assert even[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 0]  # one, on the right
    assert odd[0, 0, 1].tolist() == [0, 0, 1, 2, 3, 4, 0]  # one on each side


@pytest.mark.parametrize("build", [networks.Recogniser, networks.Xception, lambda width: networks.Dense(5, width)])
def test_maps_end_where_they_are_told_to(build):
    torch.manual_seed(0)
    network = build(4).eval()
    image = torch.rand(2, 3, network.size, network.size) * 2 - 1
    whole = network.maps(image)
    names = list(whole)
    part = network.maps(image, names[2])
    assert list(part) == names[:3]
    assert torch.equal(part[names[2]], whole[names[2]])
    assert torch.equal(network(image), network.head(whole))


def test_weights_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"is no age_gender network: it lacks entry_flow\.conv_in\.weight"):
        networks.network("age_gender", {"conv/filters": Weight(torch.zeros(3, 3, 3, 32))})


def test_a_scale_after_a_convolution_is_taken_into_it():
    rng = torch.Generator().manual_seed(0)
    filters, bias, scale, shift = (torch.randn(*s, generator=rng) for s in ((3, 3, 2, 4), (4,), (4,), (4,)))
    parts = {"conv/filters": filters, "conv/bias": bias, "scale/weights": scale, "scale/biases": shift}
    ours = networks.to_ours({f"a/{name}": Weight(x) for name, x in parts.items()})
    x = torch.randn(1, 2, 5, 5, generator=rng)
    plain = F.conv2d(x, filters.permute(3, 2, 0, 1), bias) * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(F.conv2d(x, ours["a.weight"], ours["a.bias"]), plain)


def test_a_part_of_a_picture_is_cut_out():
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cut(image, (0.25, 0.5, 0.75, 1.0), 16), image[..., 16:, 8:24])


def points() -> torch.Tensor:
    """Landmarks of a face that looks straight ahead, (1, 68, 2)."""
    t = torch.linspace(0, 1, 17)
    jaw = torch.stack([0.2 + 0.6 * t, 0.45 + 1.6 * t * (1 - t)], dim=1)
    brows = torch.stack([torch.linspace(0.3, 0.7, 10), torch.full((10,), 0.4)], dim=1)
    nose = torch.stack([torch.full((9,), 0.5), torch.linspace(0.45, 0.62, 9)], dim=1)
    nose[4:, 0], nose[4:, 1] = torch.linspace(0.45, 0.55, 5), 0.62
    nose[3] = torch.tensor([0.5, 0.6])
    eyes = torch.stack([torch.linspace(0.35, 0.65, 12), torch.full((12,), 0.47)], dim=1)
    mouth = torch.stack([torch.linspace(0.42, 0.58, 20), torch.full((20,), 0.73)], dim=1)
    return torch.cat([jaw, brows, nose, eyes, mouth])[None]


def test_a_head_turns_to_where_its_nose_goes():
    ahead = points()
    right, down = ahead.clone(), ahead.clone()
    right[:, 27:36, 0] += 0.05
    down[:, 27:36, 1] += 0.05
    assert float(turned(ahead)["yaw"]) == pytest.approx(0, abs=1e-4)
    assert float(turned(right)["yaw"]) > 0.1
    assert float(turned(ahead.flip(0))["pitch"]) < float(turned(down)["pitch"])


def test_colours_are_those_of_the_parts():
    image = torch.zeros(1, 3, 64, 64)
    image[..., :11] = image[..., 53:] = 1.0  # beside the head
    image[:, 1:, 44:50, 24:40] = -1.0  # lips
    before = colours(image, points())
    assert float(before["background"]) > 90
    assert float(before["lips"]) > 30
    image[:, :, 8:20] = -1.0  # above the forehead
    after = colours(image, points())
    assert float(after["hair_light"]) < float(before["hair_light"]) - 30
    assert float(after["skin"]) == pytest.approx(float(before["skin"]))


def test_what_is_read_can_be_asked_for(judge):
    goals = judge.goals
    assert len(goals) == len(ASKS) >= 30
    assert len({goal.name for goal in goals}) >= 20
    assert set(judge.binary) | set(judge.identity) <= set(judge.names)
    assert {name for goal in goals for name in goal.also} <= set(judge.names)
    assert {goal.neutral for goal in goals} == {"face", "man", "woman"}
    assert len({goal.prompt for goal in goals}) == len(goals)
    for goal in goals:  # what is asked for can be, and can fail to be
        read = torch.zeros(2, len(NAMES))
        low, high = max(goal.above, -1000), min(goal.below, 1000)
        read[:, NAMES.index(goal.name)] = torch.tensor([(low + high) / 2, high + 1 if high < 1000 else low - 1])
        assert goal.reached(read).tolist() == [True, False], goal


def test_a_prompt_that_names_a_man_is_asked_of_men(judge):
    read = torch.zeros(2, len(NAMES))
    read[1, NAMES.index("man")] = 1
    suits = {goal.prompt: goal.suits(read).tolist() for goal in judge.goals}
    assert suits["bald man"] == [False, True]
    assert suits["woman with earrings"] == [True, False]
    assert suits["male face"] == suits["old face"] == [True, True]


def test_what_cannot_be_asked_for_is_refused(judge):
    with pytest.raises(ValueError, match="reads no 'wings'"):
        judge.goal("face with wings", "wings", True)
    for name, value in (("glasses", "high"), ("age", True), ("hair_color", "green"), ("yaw", "child")):
        with pytest.raises(ValueError, match=f"{name} has no value"):
            judge.goal("a face", name, value)


def test_what_is_covered_is_not_seen(judge):
    read = torch.zeros(4, len(NAMES))
    for row, name in enumerate(COVERED):
        read[row, NAMES.index(name)] = 1
    seen = judge.visible(read)
    for row, hidden in enumerate(COVERED.values()):
        assert {NAMES[k] for k in (~seen[row]).nonzero().flatten().tolist()} == set(hidden)
    assert seen[3].all()


def test_what_moved_is_in_standard_deviations(judge):
    read = torch.zeros(1, len(NAMES))
    after = read.clone()
    after[0, NAMES.index("glasses")], after[0, NAMES.index("age")] = 1, 10
    after[0, NAMES.index("hair_color")] = 3
    moved = dict(zip(NAMES, judge.moved(read, after)[0].tolist(), strict=True))
    spread = judge.reading.spread
    assert moved["glasses"] == pytest.approx(1 / spread["glasses"])
    assert moved["age"] == pytest.approx(10 / spread["age"])
    assert moved["hair_color"] == pytest.approx(2**0.5 / spread["hair_color"])
    assert sum(moved.values()) == pytest.approx(moved["glasses"] + moved["age"] + moved["hair_color"])


def test_scores_are_decided_at_thresholds():
    names = (*THINGS, *COLOURS)
    reading = Reading(dict.fromkeys(names, 0.5), dict.fromkeys(names, 2.0), {}, {})
    score = torch.zeros(2, len(HEADS))
    score[0, HEADS.index("hat")], score[1, HEADS.index("hat")] = 0.6, 0.4
    score[:, HEADS.index("grey")] = 0.3
    score[:, HEADS.index("age")] = torch.tensor([10.0, 60.0])
    plain = dict.fromkeys(networks.EXPRESSIONS, torch.tensor([0.1, 0.1])) | {"sad": torch.tensor([0.4, 0.1])}
    plain |= {name: torch.zeros(2) for name in NAMES if name not in (*HEADS, *MOODS, "hair_color")}
    read = dict(zip(NAMES, decided(score, plain, reading).T.tolist(), strict=True))
    assert read["hat"] == [1, 0]
    assert read["sad"] == [1, 0]
    assert read["hair_color"] == [4, 4]
    assert read["age"] == [10, 60]


def test_it_looks_at_pictures_of_any_size_one_as_well_as_many(judge):
    image = torch.cat([drawn(256), drawn(256).flip(3), drawn(256) / 2])
    read, descriptor = judge.look(image)
    assert read.shape == (3, len(NAMES))
    assert descriptor.shape == (3, 128)
    torch.testing.assert_close(judge.read(image[1:2])[0], read[1], rtol=1e-3, atol=1e-3)
    large = F.interpolate(image, scale_factor=2)
    torch.testing.assert_close(judge.look(large)[1], descriptor, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="B, 3, H, W"):
        judge.read(image[0])


def test_a_mirror_shows_the_same_person(judge):
    image = torch.cat([drawn(256), drawn(256).flip(3)])
    descriptor = judge.look(image)[1]
    assert same_person(*descriptor[:, None]).all()
    assert not same_person(descriptor[:1], descriptor[:1] + 0.1).any()


def test_a_judge_is_kept_whole(judge, tmp_path):
    tensors, about = read_tensors(WEIGHTS / FILE)
    weights = {name: {} for name in networks.PUBLISHED}
    for at, numbers in about["quantised"].items():
        name, _, layer = at.partition("/")
        weights[name][layer] = Weight(tensors[at], *numbers)
    rng = torch.Generator().manual_seed(0)  # heads as fitted: of features small and large, for numbers small and large
    features = 10 ** (2 * torch.randn(len(judge.heads), 1, generator=rng))
    heads = torch.randn(judge.heads.shape, generator=rng) / features * 10 ** torch.linspace(-2, 2, len(HEADS))
    FaceJudge(judge.networks, heads, judge.bias, judge.reading).save(tmp_path / FILE, weights)
    again = FaceJudge.load(tmp_path / FILE)
    x = torch.randn(50, len(heads), generator=rng) * features.T
    wanted, found = x @ heads, x @ again.heads
    assert ((found - wanted).std(0) / wanted.std(0)).max() < 0.02
    assert again.reading == judge.reading
    assert torch.equal(again.networks["age_gender"].fc["age"].weight, judge.networks["age_gender"].fc["age"].weight)


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        FaceJudge.load(tmp_path / FILE)
    portraits = Path(WEIGHTS).parents[1] / "portraits" / "weights" / "judge.safetensors"
    with pytest.raises(ValueError, match="holds no judge of faces"):
        FaceJudge.load(portraits)
    with pytest.raises(ValueError, match="has no heads yet"):
        FaceJudge(dict(FaceJudge.load().networks)).read(drawn(64))


def test_faces_get_this_judge():
    editor = tiny_editor()
    editor.domain = Domain("mine", align=True)
    assert isinstance(Judge.of(editor), FaceJudge)


def test_the_card_says_what_it_is_made_of_and_how_well_it_reads(judge, tmp_path):
    card = JudgeCard.read(WEIGHTS / CARD)
    assert "MIT" in card.licences["networks"]
    assert (WEIGHTS / "judge.LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    for name in THINGS:
        assert card.attributes[name]["auc"][0] > 0.8, name
    with pytest.raises(ValueError, match="there is no card"):
        JudgeCard.read(tmp_path / CARD)
    (tmp_path / CARD).write_text("[]")
    with pytest.raises(ValueError, match="no card of a judge"):
        JudgeCard.read(tmp_path / CARD)


def test_labels_are_read_and_shared_out():
    labels = train_judge.Labels.read()
    assert len(set(labels.names)) == len(labels.names) > 1000
    assert set(labels.truth) == set(HEADS)
    assert labels.truth["bald"].nansum() > 30
    assert labels.truth["black"][labels.truth["bald"] == 1].isnan().all()
    assert (labels.truth["sunglasses"][labels.truth["glasses"].isnan()].nan_to_num(1) == 1).all()
    fold, part = labels.folds(), np.array(labels.part)
    for name in set(labels.part):
        counts = fold[torch.from_numpy(part == name)].bincount()
        assert counts.max() - counts.min() <= 1


def test_labels_that_lack_a_column_are_refused(tmp_path):
    path = tmp_path / "eyes.csv"
    path.write_text("number,eyes\n1,c\n")
    with pytest.raises(ValueError, match=r"must have the columns number, closing, eyes. Got \['number', 'eyes'\]"):
        train_judge.Labels.read(eyes=path)
    with pytest.raises(ValueError, match="must have the columns number, by, sheet"):
        train_judge.Labels.read(path)


def test_heads_are_ridge_regressions():
    rng = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 7, generator=rng), torch.randn(30, 2, generator=rng)
    blocks = [(3, 3), (4, 1)]
    found = train_judge.fit_heads(x, y, blocks, ridge=0.5)
    std = torch.cat([s + 0.25 * s.mean() + 1e-6 for s in x.std(0).split([3, 4])])
    z = (x - x.mean(0)) / std / torch.tensor([4.0, 4, 4, 16, 16, 16, 16]).sqrt()
    weight = torch.linalg.solve(z.T @ z + 0.5 * torch.eye(7), z.T @ (y - y.mean(0)))
    torch.testing.assert_close(found(x), z @ weight + y.mean(0), rtol=1e-3, atol=1e-4)


def test_a_label_that_cannot_be_told_teaches_nothing():
    x, y = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(40, 1)
    y[:10], y[20:] = 1, torch.nan
    found = train_judge.fit_heads(x, y, [(3, 1)])
    assert torch.isfinite(found(x)).all()
    assert float(found.bias + x.mean(0) @ found.weight) == pytest.approx(0.5, abs=0.05)


def test_errors_are_equal_at_the_threshold():
    score = torch.arange(100.0)
    there = (score > 60) | (score % 10 == 3)
    at = train_judge.equal_error(score, there)
    missed, wrong = (score[there] <= at).float().mean(), (score[~there] > at).float().mean()
    assert abs(float(missed - wrong)) < 0.05
    assert train_judge.steepness(score - at, there) > 0


def test_the_area_under_the_curve_is_that_of_counting():
    rng = torch.Generator().manual_seed(0)
    score, there = torch.randn(60, generator=rng).round(decimals=1), torch.rand(60, generator=rng) > 0.7
    pairs = [(a > b) + 0.5 * (a == b) for a in score[there] for b in score[~there]]
    found = train_judge.auc(score, there)
    assert found.value == pytest.approx(float(sum(pairs)) / len(pairs))
    assert found.low < found.value < found.high
    assert train_judge.auc(score, torch.zeros(60, dtype=torch.bool)) is None


def package(path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_another_package_is_refused(tmp_path):
    other = package(tmp_path / "other.tgz", {"package/README.md": b"hello"})
    with pytest.raises(ValueError, match="should be sha256:0d77"):
        train_judge.published(other)
    with pytest.raises(ValueError, match="manifest.json, which is not in the package"):
        train_judge.taken_out(other)
    name = "package/model/face_recognition_model"
    manifest = json.dumps([{"paths": ["x.bin"], "weights": [{"name": "fc", "shape": [2], "dtype": "float32"}]}])
    files = {f"{name}-weights_manifest.json": manifest.encode(), "package/model/x.bin": bytes(9)}
    large = package(tmp_path / "large.tgz", files)
    with pytest.raises(ValueError, match=r"x\.bin, which is too large"):
        train_judge.taken_out(large)
    for content in (b"", b"hello", other.read_bytes()[:60]):
        (tmp_path / "broken.tgz").write_bytes(content)
        with pytest.raises(ValueError, match="no package that can be read|not in the package"):
            train_judge.taken_out(tmp_path / "broken.tgz")
    with pytest.raises(SystemExit, match="should be sha256"):
        train_judge.main([str(other)])


def test_readings_are_shares_and_places(judge):
    image = drawn(256)
    read, said = dict(zip(NAMES, judge.read(image)[0].tolist(), strict=True)), judge.readings(image)
    seen = dict(zip(NAMES, judge.visible(judge.read(image))[0].tolist(), strict=True))
    assert all(np.isfinite(value) for value in said.values())
    for name in THINGS:
        words = name.replace("_", " ")
        assert (words in said) == seen[name]
        if seen[name]:  # it is said to be there where it is likelier than not
            assert 0 <= said[words] <= 1
            assert (said[words] > 0.5) == bool(read[name])
    if seen["hair_color"]:
        shares = [said[f"{colour} hair"] for colour in COLOURS]
        assert sum(shares) == pytest.approx(1)
        assert shares.index(max(shares)) == read["hair_color"]
    ends = judge.reading.ends["background"]
    place = (read["background"] - ends["low"]) / (ends["high"] - ends["low"])
    assert said["background"] == pytest.approx(place, abs=1e-3)


class Darkened:
    """An edit that darkens what is beside a face, as it is told how strongly."""

    def __init__(self, picture: torch.Tensor, strength: float = 1.0) -> None:
        self.picture, self.tensor = picture, picture.clone()
        self.tensor[..., :96, :30] -= 1.5 * strength
        self.tensor[..., :96, -30:] -= 1.5 * strength

    def with_strength(self, strength: float) -> "Darkened":
        return Darkened(self.picture, strength)


def test_edits_are_measured_by_it(judge):
    picture = torch.cat([drawn(256), drawn(256).flip(3), 0.8 * drawn(256)])
    nothing = torch.zeros(3, 1)
    goals = [goal for goal in judge.goals if goal.name == "background"]
    strong, none = (
        score_edits(
            lambda some, prompt: Darkened(some.tensor),
            judge,
            Latent(nothing, nothing, nothing, picture),
            goals,
            strength,
        )
        for strength in (1.0, 0.0)
    )
    dark, bright = strong
    assert (dark.goal.prompt, dark.n, dark.success) == ("face against a dark background", 3, 1)
    assert bright.success == 0
    assert 0 < dark.leakage < 0.5  # the face is as it was
    assert dark.identity > 0.5  # against faces that are nearly the same
    assert none[0].success == none[0].leakage == none[0].flips == 0
    assert none[0].identity == 1


def test_it_is_fitted_to_a_few_labels():
    n, rng = 150, torch.Generator().manual_seed(0)
    truth = {name: (torch.arange(n) % 3 == k % 3).float() for k, name in enumerate(HEADS)}
    truth |= {"age": torch.tensor([7.0, 21, 42, 65])[torch.arange(n) % 4]}
    truth |= {name: torch.arange(n) % 3.0 for name in ("hair_length", "curl")}
    truth["beard"][:9] = torch.nan
    labels = train_judge.Labels(tuple(map(str, range(n))), ("random", "enriched") * (n // 2), truth)
    y = torch.stack([truth[name] for name in HEADS], dim=1).nan_to_num()
    y = (y - y.mean(0)) / y.std(0)
    cells, mirrored = ((y + 0.3 * torch.randn(y.shape, generator=rng)).half() for _ in range(2))
    descriptor = F.normalize(torch.randn(n, 128, generator=rng))
    plain = {name: torch.rand(n, generator=rng) for name in (*networks.EXPRESSIONS, *MEASURED)}
    looks = train_judge.Looks(
        cells, mirrored, [(len(HEADS), 1)], descriptor, descriptor + 0.01, plain, torch.rand(n, 3, generator=rng)
    )
    heads, reading, card = train_judge.fit(looks, labels)
    assert heads.weight.shape == (len(HEADS), len(HEADS))
    assert reading.threshold.keys() == {*THINGS, *COLOURS}
    assert reading.ends["age"]["child"] < reading.ends["age"]["low"] < reading.ends["age"]["high"]
    assert reading.spread.keys() == set(NAMES)
    assert card.labels["held_out"] == n // train_judge.FOLDS
    assert card.attributes["beard"]["faces"] == n - 9
    assert min(card.attributes[name]["auc_held_out"][0] for name in THINGS) > 0.9
    assert card.same_person["mirrored_taken_for_one"] == 1
    assert card.same_person["strangers_taken_for_one"] == 0


@pytest.mark.parametrize(
    "image",
    [torch.zeros(1, 3, 256, 256), torch.full((1, 3, 64, 64), -1.0), torch.rand(1, 3, 6, 5) * 2 - 1],
    ids=["grey", "black", "tiny"],
)
def test_a_picture_without_a_face_is_read_all_the_same(judge, image):
    read, descriptor = judge.look(image)
    assert read.isfinite().all()
    assert descriptor.isfinite().all()
    assert all(np.isfinite(value) for value in judge.readings(image).values())


def test_what_is_no_picture_is_refused_by_the_judge(judge):
    with pytest.raises(ValueError, match="B, 3, H, W"):
        judge.look(torch.zeros(1, 1, 64, 64))


def test_what_can_be_taken_off_has_two_goals(judge):
    there, gone = judge.there_and_gone("glasses")
    assert (there.prompt, gone.prompt) == ("face with glasses", "face without glasses")
    read = judge.read(torch.zeros(2, 3, 64, 64))
    assert torch.equal(there.reached(read), ~gone.reached(read))
    with pytest.raises(KeyError):
        judge.there_and_gone("hat")


def test_of_no_pictures_nothing_is_read(judge):
    assert [len(part) for part in judge.look(torch.zeros(0, 3, 64, 64))] == [0, 0]
