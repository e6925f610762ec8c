"""What makes the weights of «faces», on tiny networks and made-up labels: it learns, resumes, leaves cards."""

import csv
import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_sentences import SIZES, bert

from deltaedit.clip import ClipEncoder
from deltaedit.domain import CLIP, GENERATOR, MAPPER, RELEVANCE, Domain
from deltaedit.editor import Editor
from deltaedit.features import FeatureStore, extract_features
from deltaedit.files import read_tensors, write_tensors
from deltaedit.mapper import DeltaMapper, MapperConfig
from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN, fit_preview
from deltaedit.sentences import SENTENCES, VOCABULARY
from deltaedit.training import MapperTraining
from deltaedit.worlds.faces import measured, train
from deltaedit.worlds.faces.captions import content, vocabulary
from deltaedit.worlds.faces.colours import hsv, lab
from deltaedit.worlds.faces.judge import FaceJudge
from deltaedit.worlds.faces.labels import ASKS, LETTERS, Look, agreement, first, latent, read, target
from deltaedit.worlds.faces.measured import POINTS, SHAPES, measure_pool, measures, soft_labels
from deltaedit.worlds.faces.pool import FacePool, Sketch, draw_pool
from deltaedit.worlds.faces.spread import Spread, auc, colour_cells, fit_spread, platt
from deltaedit.worlds.faces.train_clip import FaceClipTraining, embed_captions, train_clip
from deltaedit.worlds.faces.train_encoder import FaceEncoderTraining, as_photographed, train_encoder
from deltaedit.worlds.faces.train_head import HeadTraining
from deltaedit.worlds.faces.words import ATTRIBUTES, PROMPTS, WORDINGS

TINY = MobileConfig(channels=(4, 4, 4, 4, 4, 4), z_dim=6, w_dim=8, mapping_layers=1)  # 256 px
MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "text_cfg": {"context_length": 48, "hidden": 6},
}
RECIPE = FaceClipTraining(steps=8, batch_size=16, warmup=2, keep=4)
RECALLED = FaceEncoderTraining(
    steps=6, batch_size=8, drawn_steps=3, drawn_batch=4, width=8, channel_max=8, code=8, rank=2
)


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    torch.manual_seed(0)
    made = MobileStyleGAN(TINY).eval().requires_grad_(False)
    for layer in made.layers:
        layer.affine.bias += 1
    return fit_preview(made, (16, 128), faces=2)


@pytest.fixture(scope="module")
def pool(generator, tmp_path_factory) -> FacePool:
    return draw_pool(generator, 1, tmp_path_factory.mktemp("pool"), size=16)


@pytest.fixture(scope="module")
def sentences(tmp_path_factory) -> Path:
    """A sentence encoder that has all words of captions and prompts, and understands none."""
    folder = tmp_path_factory.mktemp("sentences")
    asked = [text for prompt, neutral, _ in PROMPTS for text in (prompt, neutral)] + [text for text, _ in WORDINGS]
    words = sorted({*vocabulary(), *content(" ".join(asked))})
    known = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words, *".,-'", "s"])}
    sizes = SIZES | {"vocab_size": len(known), "max_position_embeddings": 48}
    rows = {"word": normal(len(known), 8), "position": normal(48, 8)}
    weights = bert(SIZES) | {f"embeddings.{kind}_embeddings.weight": table for kind, table in rows.items()}
    write_tensors(folder / SENTENCES, weights, {"config": sizes})
    (folder / VOCABULARY).write_text(json.dumps({"model": {"vocab": known}}))
    return folder


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def answers(seed: int) -> dict[str, str]:
    return {name: letters[(seed * 7 + 3 * k) % len(letters)] for k, (name, letters) in enumerate(LETTERS.items())}


def looks_at(n: int) -> list[Look]:
    letters = {name: torch.randint(len(own), (n,)).tolist() for name, own in LETTERS.items()}
    return [Look(k, "editor", "random", {f: LETTERS[f][x[k]] for f, x in letters.items()}) for k in range(n)]


def faceless(picture: torch.Tensor) -> dict[str, torch.Tensor]:
    """Measures without a network: numbers that depend on the picture."""
    rng = torch.Generator().manual_seed(int(picture.sum()))
    draw = {"shapes": (len(SHAPES),), "points": (POINTS, 3), "matrix": (4, 4)}
    return {name: torch.rand(shape, generator=rng) for name, shape in draw.items()}


def test_the_labels_that_ship_are_whole():
    looks = read()
    count = {
        (by, kind): sum(look.by == by and look.sheet == kind for look in looks)
        for by in ("editor", "judge")
        for kind in ("random", "enriched", "second")
    }
    assert list(count.values()) == [1925, 575, 175, 500, 500, 25]
    assert not {look.number for look in first(looks, "editor")} & {look.number for look in first(looks, "judge")}
    assert min(field["kappa"] for field in agreement(looks).values()) > 0.6
    assert set(ASKS) < set(ATTRIBUTES)
    for name in ASKS:
        y = target(first(looks, "editor"), name)
        assert 100 < (y == 1).sum() < (~y.isnan()).sum(), name
    assert latent(1025, 8).shape == (1, 8)
    assert not latent(1025, 8).equal(latent(1, 8))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hat": "q"}, "line 3 of .* has the hat 'q': it must be one of"),
        ({"by": "me"}, "line 3 of .* has the by 'me'"),
        ({"number": "-1"}, "line 3 of .* must begin with the number"),
        ({"number": "0"}, "line 3 of .* has face 0 once more"),
        ({"makeup": None}, "line 3 of .* has the makeup None"),
    ],
)
def test_labels_that_are_wrong_are_refused_by_line(tmp_path, change, said):
    rows = [{"number": str(k), "by": "editor", "sheet": "random", **answers(k)} for k in range(2)]
    rows[1] |= change
    path = tmp_path / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows([value for value in row.values() if value is not None] for row in rows)
    with pytest.raises(ValueError, match=said):
        read(path)
    path.write_text("number,glasses\n1,n\n")
    with pytest.raises(ValueError, match="must have the columns number, by, sheet"):
        read(path)


def test_agreement_is_of_two_looks_at_one_face():
    saw = [{name: letters[0] for name, letters in LETTERS.items()}, {name: own[1] for name, own in LETTERS.items()}]
    looks = [Look(k, "editor", "random", saw[k % 2]) for k in range(4)]
    second = [Look(k, "editor", "second", saw[0] if k == 3 else saw[k % 2]) for k in range(4)]
    found = agreement([*looks, *second, Look(9, "editor", "second", saw[0])])["hat"]
    assert found["same"] == pytest.approx(0.75)
    assert found["kappa"] == pytest.approx(0.5)  # (.75 - .5) / (1 - .5)


def test_colours_are_as_tables_have_them():
    red, grey, teal = (
        torch.tensor(c, dtype=torch.float32) / 127.5 - 1 for c in ([255, 0, 0], [119] * 3, [0, 128, 128])
    )
    image = torch.stack([red, grey, teal])[:, :, None, None]
    wanted = torch.tensor([[53.24, 80.09, 67.20], [50.03, 0.0, 0.0], [48.25, -28.85, -8.48]])
    torch.testing.assert_close(lab(image)[:, :, 0, 0], wanted, atol=0.05, rtol=0)
    assert hsv(image)[[0, 2], 0, 0, 0].tolist() == pytest.approx([0, 180], abs=1e-3)


def test_auc_is_the_share_of_pairs_in_order():
    score, there = normal(40).round(decimals=1), normal(40, seed=1) > 0.3  # with ties
    a, b = score[there], score[~there]
    pairs = (a[:, None] > b).double() + (a[:, None] == b).double() / 2
    assert auc(score, there) == pytest.approx(float(pairs.mean()))


def test_platt_ends_where_nothing_gets_better():
    score = normal(200)
    y = (torch.rand(200, generator=torch.Generator().manual_seed(1)) < (2 * score - 1).sigmoid()).float()
    beta = torch.tensor(platt(score, y), dtype=torch.float64, requires_grad=True)
    logit = beta[0] * score + beta[1]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logit, y.double(), reduction="sum")
    (slope,) = torch.autograd.grad(loss + 0.01 * beta[0] ** 2 / 2, beta)
    assert slope.abs().max() < 1e-5
    assert 1 < beta.tolist()[0] < 3


def test_labels_spread_to_faces_that_nobody_saw(tmp_path):
    torch.manual_seed(0)
    looks, features = looks_at(300), normal(400, 24)
    picture = torch.randint(0, 256, (400, 3, 32, 32), dtype=torch.uint8)
    yes = torch.tensor([look.saw["eyewear"] == "g" for look in looks])
    features[:300, 0] += 4 * yes
    features[300:350, 0] += 4
    spread = fit_spread(looks, features[:300].clone(), picture[:300])
    assert spread.report["glasses"]["auc"] > 0.95
    assert abs(spread.report["hat"]["auc"] - 0.5) < 0.2, "what cannot be told is said to be so"
    spread.save(tmp_path / "spread.safetensors")
    p = Spread.load(tmp_path / "spread.safetensors")(features[300:].half(), picture[300:])["glasses"]
    assert auc(p, torch.arange(100) < 50) > 0.95
    assert colour_cells(picture[:2]).shape == (2, 2800)
    write_tensors(tmp_path / "other.safetensors", {}, {})
    with pytest.raises(ValueError, match="does not spread labels"):
        Spread.load(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no attribute is shown by 5"):
        fit_spread(looks[:6], features[:6], picture[:6])


def test_measures_name_what_the_landmarker_found():
    n = 6
    found = {"shapes": torch.zeros(n, len(SHAPES)), "points": torch.full((n, POINTS, 3), 0.5)}
    turn = torch.tensor([-30.0, 0, 0, 0, 30.0, 0]).deg2rad()
    found["matrix"] = torch.eye(4).repeat(n, 1, 1)
    found["matrix"][:, 0, 2], found["matrix"][:, 2, 2] = turn.sin(), turn.cos()
    found["matrix"][1, 1, 2] = -0.25  # 14.5 degrees down
    found["shapes"][[0, 2, 3], SHAPES.index("eyeBlinkLeft")] = 1.0
    found["points"][5] = torch.nan
    picture = torch.full((n, 3, 128, 128), 128, dtype=torch.uint8)
    picture[2] = 255
    m = measures(found, picture)
    assert m["yaw"].tolist() == pytest.approx([-30, 0, 0, 0, 30, 0], abs=1e-4)
    assert m["bright"].tolist() == [0, 0, 1, 0, 0, 0]
    assert m["skin"].isnan().tolist() == [False] * 5 + [True]
    p = {name: torch.zeros(n) for name in ASKS} | {"squint": torch.full((n,), 0.9)}
    p["squint"][3] = 0.0
    p["bald"], p["hat"] = torch.tensor([1.0, 0, 0, 0, 0, 0]), torch.tensor([0, 1.0, 0, 0, 0, 0])
    p["long_hair"], p["curly_hair"] = torch.ones(n), torch.full((n,), 0.8)
    out = soft_labels(p, m)
    assert set(out) == set(ATTRIBUTES)
    assert out["turned_left"].tolist() == [1, 0, 0, 0, 0, 0]
    assert out["turned_right"].tolist() == [0, 0, 0, 0, 1, 0]
    assert out["looking_down"][1] == 1
    assert out["closed_eyes"].isnan().tolist() == [True, False, False, False, True, False], "turned heads hide eyes"
    assert out["closed_eyes"][2:4].tolist() == [1, 0], "nobody who is said not to squint has eyes closed"
    assert out["squint"][2].isnan()
    assert out["long_hair"].isnan().tolist() == [True, False, False, False, False, False]
    assert out["curly_hair"].isnan().tolist() == [True, True, False, False, False, False]
    assert out["bangs"][0] == 0


def test_a_missing_landmarker_is_said_in_a_sentence(monkeypatch, pool):
    def missing(name: str):
        raise ImportError(name)

    monkeypatch.setattr(measured, "import_module", missing)
    with pytest.raises(ImportError, match="mediapipe is not installed.*pip install"):
        measured.landmarker()
    with pytest.raises(SystemExit, match="mediapipe is not installed"):
        measured.main([str(pool.folder)])


def test_a_pool_goes_on_and_holds_the_faces_of_its_seed(pool, generator, tmp_path):
    assert len(pool) == 1024
    s = generator.styles(generator.mapping(latent(5, 6), 0.9))
    other = generator.styles(generator.mapping(latent(4, 6), 0.9))
    picture, features = Sketch(generator, 16).draw(torch.cat([other, s]))
    assert pool.rows([5], "picture").equal(picture[1:])
    assert pool.rows([5], "features").equal(features[1:])
    assert features.shape == (2, 4 * 64)
    assert pool.rows([9, 3, 9], "picture").equal(pool.read(0, "picture")[[9, 3, 9]])
    before = pool.path(0).stat().st_mtime_ns
    assert draw_pool(generator, 1, pool.folder, size=16).path(0).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="size: 16 there, 128 here"):
        draw_pool(generator, 1, pool.folder, size=128)
    with pytest.raises(ValueError, match="needs a preview"):
        draw_pool(generator, 1, tmp_path / "new", size=32)
    with pytest.raises(ValueError, match="face 1024 is not among the 1024"):
        pool.rows([1024], "picture")
    with pytest.raises(ValueError, match="holds no pool"):
        FacePool.open(tmp_path)


class Mean:
    """A CLIP that sees the mean colour."""

    preprocessing = "clip"

    def encode_image(self, image: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(image.mean((2, 3)) + 2, dim=-1)

    def fingerprint(self) -> str:
        return "mean"


def test_features_are_the_same_from_a_pool_and_drawn_anew(pool, generator, tmp_path):
    options = {"truncation": 0.9, "batch_size": 32}
    kept = extract_features(generator, Mean(), 64, tmp_path / "kept", pictures=pool, **options)
    drawn = extract_features(generator, Mean(), 64, tmp_path / "drawn", pictures=Sketch(generator, 16), **options)
    assert kept.manifest == drawn.manifest
    for name in ("w", "s", "image_feature"):
        assert getattr(kept, name).equal(getattr(drawn, name)), name
    whole = extract_features(generator, Mean(), 4, tmp_path / "whole", **options)
    assert whole.s.equal(kept.s[:4])
    with pytest.raises(ValueError, match="drawn: nothing there, preview-16 here"):
        extract_features(generator, Mean(), 4, whole.folder, pictures=pool, **options)


def faces(n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Pictures of 32 px and labels: what wears glasses is white."""
    picture = torch.randint(0, 100, (n, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(n, len(ATTRIBUTES))
    labels[:, 5:] = torch.nan
    labels[::2, 0] = 1
    picture[::2] += 150
    return picture, labels


def test_clip_goes_on_after_a_kill_and_leaves_milestones(sentences, tmp_path):
    picture, labels = faces()
    embedded = embed_captions(labels, sentences, tmp_path / "captions", longest=48)
    assert embedded.shape == (64, 6, 8)
    given = {"model": MODEL, "held_out": (0, 1, 2)}
    whole, log = train_clip(picture, labels, embedded, sentences, tmp_path / "whole", RECIPE, **given)
    train_clip(picture, labels, embedded, sentences, tmp_path / "parts", RECIPE, stop_after=3, **given)
    parts, _ = train_clip(picture, labels, embedded, sentences, tmp_path / "parts", RECIPE, **given)
    assert whole.fingerprint() == parts.fingerprint()
    assert [path.name for path in sorted((tmp_path / "whole").glob("clip-*"))] == [
        "clip-00004.safetensors",
        "clip-00008.safetensors",
    ]
    last = read_tensors(tmp_path / "whole/clip-00008.safetensors")[0]
    assert last["text.direct.weight"].dtype == torch.float16
    assert not any(name.startswith("text.encoder") for name in last)
    whole.save(tmp_path / CLIP)
    loaded = ClipEncoder.load(tmp_path / CLIP, sentences=sentences)
    assert loaded.fingerprint() == whole.fingerprint()
    assert loaded.encode_text("a face with glasses").shape == (1, 16)
    assert log[-1]["step"] == 8
    with pytest.raises(ValueError, match="pictures must be of 32 px"):
        train_clip(picture[1:], labels, embedded, sentences, tmp_path / "odd", RECIPE, model=MODEL)
    with pytest.raises(ValueError, match="sure of an attribute"):
        train_clip(picture, labels * torch.nan, embedded, sentences, tmp_path / "none", RECIPE, model=MODEL)


def test_clip_never_trains_on_what_is_held_out(sentences, tmp_path):
    picture, labels = faces()
    embedded = embed_captions(labels, sentences, tmp_path / "captions", longest=48)
    held, given = range(10), {"model": MODEL, "held_out": range(10)}
    one, _ = train_clip(picture, labels, embedded, sentences, tmp_path / "one", replace(RECIPE, steps=4), **given)
    picture, embedded = picture.clone(), embedded.clone()
    picture[list(held)], embedded[list(held)] = 255, 1.0
    two, _ = train_clip(picture, labels, embedded, sentences, tmp_path / "two", replace(RECIPE, steps=4), **given)
    assert one.fingerprint() == two.fingerprint()


def test_captions_are_embedded_once(sentences, tmp_path):
    labels = faces()[1]
    first_time = embed_captions(labels, sentences, tmp_path, longest=48)
    path = tmp_path / "captions-00000.safetensors"
    before = path.stat().st_mtime_ns
    assert embed_captions(labels, sentences, tmp_path, longest=48).equal(first_time)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="of another run"):
        embed_captions(1 - labels, sentences, tmp_path, longest=48)


def test_all_parts_one_after_the_other(generator, sentences, tmp_path, monkeypatch):
    torch.manual_seed(0)
    pool = draw_pool(generator, 1, tmp_path / "pool", size=16)
    monkeypatch.setattr(train, "halved", lambda picture: picture[..., :1, :1].expand(-1, -1, 128, 128))
    looks = looks_at(120)
    looks += [replace(look, number=look.number + 200, by="judge") for look in looks_at(60)]
    out, made = tmp_path / "out", []

    def make():
        made.append(1)
        return faceless

    labels = train.make_labels(pool, tmp_path, out, looks, make)
    assert labels.shape == (1024, len(ATTRIBUTES))
    torch.testing.assert_close(train.make_labels(pool, tmp_path, out, looks, make), labels, equal_nan=True)
    assert made == [1], "made once, then read"
    card = json.loads((out / "labels.card.json").read_text())
    assert card["measured"]["held_out"]["hat"].keys() >= {"auc", "auc_random"}

    train.make_clip(pool, labels, looks, tmp_path, out, sentences, RECIPE, MODEL, HeadTraining(steps=3))
    card = json.loads((out / "clip.card.json").read_text())
    assert 0 <= card["measured"]["zero_shot_mean"] <= 1
    assert 0 <= card["measured"]["wordings"] <= 1
    assert card["recipe"]["steps"] == 8
    assert card["data"].startswith("964 faces")

    before = read_tensors(out / CLIP)[0]
    for _ in range(2):
        train.make_head(pool, labels, looks, tmp_path, out, sentences, HeadTraining(steps=2))
    changed = [name for name, x in read_tensors(out / CLIP)[0].items() if not x.equal(before[name])]
    assert changed
    assert all(name.startswith("text.") for name in changed), "the picture tower stays"
    card = json.loads((out / "clip.card.json").read_text())
    assert card["data"].count("text head anew") == 1
    assert (card["recipe"]["steps"], card["recipe"]["head"]["steps"]) == (8, 2)

    recipe = MapperTraining(steps=5, batch_size=16, mapper=MapperConfig(hidden=8))
    train.make_domain(pool, generator, tmp_path, out, sentences, recipe)
    assert DeltaMapper.load(out / MAPPER).layout.dims == generator.layout.dims
    assert json.loads((out / "mapper.card.json").read_text())["curve"][-1]["step"] == 5
    train.make_domain(pool, generator, tmp_path, out, sentences)
    assert DeltaMapper.load(out / MAPPER).config.depth == 0
    relevance = read_tensors(out / RELEVANCE)[0]["relevance"]
    assert relevance.shape == (generator.layout.size, 16)
    assert relevance.dtype == torch.float16
    card = json.loads((out / "mapper.card.json").read_text())
    assert -1 <= card["measured"]["validation_cosine"] <= 1
    assert "one matrix" in card["objective"]
    assert len(FeatureStore.open(next(tmp_path.glob("features-*")))) == 1024

    generator = fit_preview(deepcopy(generator), (8, 16, 128), faces=2)
    generator.save(out / GENERATOR)
    shutil.copytree(sentences, out, dirs_exist_ok=True)
    Domain(align=True).write(out)
    monkeypatch.setattr(train, "INVERTED", (4, 2))
    train.make_encoder(pool, generator, looks, tmp_path, out, FaceJudge.load(), RECALLED, steps=2)
    assert Editor.from_pretrained(out).encoder.config.rank == 2
    measured = json.loads((out / "encoder.card.json").read_text())["measured"]
    assert [(measured[name]["faces"], measured[name]["steps"]) for name in ("encoded", "refined")] == [(4, 0), (2, 2)]
    assert all(0 <= row["same_person"] <= 1 and -1 <= row["clip"] <= 1 for row in measured.values())


def test_a_killed_training_of_an_encoder_goes_on_to_the_same(generator, pool, tmp_path):
    generator = fit_preview(deepcopy(generator), (8,), faces=2)
    whole, log = train_encoder(pool, generator, tmp_path / "whole", RECALLED, held_out=range(9))
    assert [row["step"] for row in log] == [6, 3]
    assert log[0]["held_out"] > 0
    for _ in range(3):
        parts, log = train_encoder(pool, generator, tmp_path / "parts", RECALLED, held_out=range(9), stop_after=4)
    assert [row["step"] for row in log] == [4, 6, 3]
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
    with pytest.raises(ValueError, match="another run"):
        train_encoder(pool, generator, tmp_path / "parts", replace(RECALLED, lr=1.0), held_out=range(9))


def test_an_encoder_learns_and_never_from_what_is_held_out(generator, pool, tmp_path):
    generator, recipe = fit_preview(deepcopy(generator), (8,), faces=2), replace(RECALLED, steps=60, lr=3e-3)
    _, log = train_encoder(pool, generator, tmp_path / "one", recipe)
    _, first = train_encoder(pool, generator, tmp_path / "first", replace(recipe, steps=1))
    assert log[1]["latent"] < 0.9 * first[0]["latent"]
    judged = FacePool(tmp_path / "judged", 1, pool.manifest)
    picture = pool.read(0, "picture").clone()
    picture[:9] = 255
    write_tensors(judged.path(0), {"picture": picture}, {})
    one, two = (
        train_encoder(own, generator, tmp_path / name, RECALLED, held_out=range(9))[0]
        for own, name in ((pool, "plain"), (judged, "painted"))
    )
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_faces_are_disturbed_as_photos_are():
    image = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    smooth = torch.nn.functional.avg_pool2d(image, 9, 1, 4)
    one, same, other = (as_photographed(smooth, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert one.equal(same)
    assert not one.equal(other)
    assert one.shape == image.shape
    assert one.abs().max() <= 1
    assert 0 < (one - smooth).abs().mean() < 0.3


def test_the_command_line_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    with pytest.raises(SystemExit, match="python -m deltaedit.download faces"):
        train.main(["all", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_measuring_is_done_shard_by_shard(pool):
    assert not pool.path(0, "measured").exists()
    measure_pool(pool, lambda: faceless)
    found = read_tensors(pool.path(0, "measured"))[0]
    assert found["points"].shape == (1024, POINTS, 3)
    measure_pool(pool, lambda: pytest.fail("all was measured"))
