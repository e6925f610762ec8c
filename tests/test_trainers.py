"""The miniature's trainers on tiny networks: they learn, resume to the same weights, and leave cards."""

import json
import shutil
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from deltaedit import Domain, Editor, domains
from deltaedit.files import read_tensors, write_tensors
from deltaedit.inversion import EncoderTraining
from deltaedit.stylegan2 import Generator, GeneratorConfig
from deltaedit.worlds import NAMES, captions, evaluate, named, train
from deltaedit.worlds.evaluate import frequencies, held_out, paint, retrieval, score_inversion, score_samples, zero_shot
from deltaedit.worlds.judge import JUDGE as FILE
from deltaedit.worlds.judge import Judge, JudgeConfig, JudgeTraining, accuracy, judge_loss, train_judge
from deltaedit.worlds.pool import latents, open_pool
from deltaedit.worlds.table import Choice
from deltaedit.worlds.train_clip import ClipTraining, Lessons, alike, groups_of, train_clip
from deltaedit.worlds.train_generator import (
    GeneratorTraining,
    PathLength,
    Stage,
    perceptual_distance,
    picture_distance,
    teach_mapping,
    train_generator,
)
from deltaedit.worlds.world import Goal, World

WORLDS = [named(name) for name in NAMES]
each_world = pytest.mark.parametrize("world", WORLDS, ids=NAMES)
PORTRAITS = named("portraits")
TINY = GeneratorConfig(resolution=16, z_dim=64, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
JUDGE = JudgeTraining(model=JudgeConfig(resolution=16, width=8), steps=40, batch_size=32)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return open_pool(PORTRAITS, tmp_path_factory.mktemp("pool"), 256, resolution=16, z_dim=64, seed=1)


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_the_judge_learns_and_goes_on_after_a_kill(pool, tmp_path):
    whole, log = train_judge(pool, tmp_path / "whole", JUDGE)
    train_judge(pool, tmp_path / "parts", JUDGE, stop_after=17)
    parts, _ = train_judge(pool, tmp_path / "parts", JUDGE)
    assert same(whole, parts)
    fresh = train_judge(pool, tmp_path / "fresh", replace(JUDGE, steps=1))[1]
    assert log[-1]["loss"] < fresh[-1]["loss"]
    assert not same(whole, train_judge(pool, tmp_path / "other", replace(JUDGE, seed=1))[0])


@each_world
def test_the_judge_is_graded_only_on_what_can_be_seen(world: World):
    table, right = world.table, {}
    factors = world.sample(64, torch.Generator().manual_seed(0))
    seen = world.visible(factors)
    for name, y in table.columns(factors).items():
        right[name] = (y * 2 - 1) * 20 if name in table.binary else y
        if name in table.choice:
            right[name] = F.one_hot(y.long(), len(table.attribute(name).options)).float() * 40
    assert judge_loss(table, right, factors, seen) < 1e-3
    name = table.binary[0]
    wrong = dict(right, **{name: -right[name]})
    hidden = seen.clone()
    table.column(hidden, name)[:] = False
    assert judge_loss(table, wrong, factors, seen) > 1
    assert judge_loss(table, wrong, factors, hidden) < 1e-3


@each_world
def test_a_judge_is_saved_in_half_and_reads_the_same(world: World, tmp_path):
    judge = Judge(world, JudgeConfig(resolution=16, width=8)).eval()
    judge.save(tmp_path / FILE)
    image, factors = held_out(world, 16, 24)
    loaded = Judge.load(tmp_path / FILE)
    assert loaded.world is world
    read = loaded.read(image)
    assert read.shape == factors.shape
    assert (read - judge.read(image)).abs().max() < 0.05
    with pytest.raises(ValueError, match="The judge takes images"):
        judge(image[0])
    assert set(accuracy(judge, image, factors)) == set(world.table.names)


@each_world
def test_readings_of_the_judge_are_in_words(world: World):
    torch.manual_seed(0)
    judge = Judge(world, JudgeConfig(resolution=16, width=8)).eval()
    image = torch.rand(1, 3, 32, 32) * 2 - 1
    said, factors, table = judge.readings(image), judge.read(image), world.table
    seen = dict(zip(table.names, world.visible(factors)[0].tolist(), strict=True))
    for name in table.binary:
        phrase = table.attribute(name).yes[0]
        assert (phrase in said) == seen[name]
        assert not seen[name] or (said[phrase] > 0.5) == bool(table.column(factors, name)[0])
    name = next(name for name in table.choice if seen[name])
    options = [table.attribute(name).facts(option)[0][0] for option in table.attribute(name).options]
    assert sum(said[option] for option in options) == pytest.approx(1, abs=1e-5)


def test_a_judge_of_another_world_is_refused(tmp_path):
    path = tmp_path / FILE
    Judge(PORTRAITS, JudgeConfig(resolution=16, width=8)).save(path)
    other = replace(PORTRAITS, name="others")
    with pytest.raises(ValueError, match="reads portraits, not others: load the one of others"):
        Judge.load(path, world=other)
    tensors, _ = read_tensors(path)
    write_tensors(path, tensors, {"config": {"resolution": 16, "width": 8}})  # as the first ones were written
    assert Judge.load(path).world is PORTRAITS


def test_a_judge_belongs_to_its_domain(tmp_path):
    shipped = Editor.from_pretrained("portraits")
    judge = Judge.of(shipped)
    assert judge.world is PORTRAITS
    assert same(judge, Judge.load(domains.find("portraits") / FILE))
    parts = shipped.generator, shipped.clip, shipped.mapper, shipped.relevance
    assert same(Judge.of(Editor(*parts, shipped.domain)), judge)  # made by hand, of a world
    assert Judge.of(Editor(*parts, Domain("mine"))) is None  # of no world
    for name, world, found in (("theirs", None, False), ("ours", "portraits", True)):
        Editor(*parts, Domain(name, world=world)).save_pretrained(tmp_path / name)
        assert bool(Judge.of(Editor.from_pretrained(tmp_path / name))) == found  # a folder without a judge
    Judge(PORTRAITS, JudgeConfig(16, 8)).save(tmp_path / "ours" / FILE)
    assert Judge.of(Editor.from_pretrained(tmp_path / "ours")).config.width == 8  # its own, before its world's


@pytest.mark.parametrize("adversarial", [0.0, 1.0])
def test_the_generator_grows_and_goes_on_after_a_kill(pool, tmp_path, adversarial):
    stages = (Stage(8, 12, 8), Stage(16, 18, 8, adversarial=adversarial))
    config = GeneratorTraining(model=TINY, mapping_steps=6, stages=stages, r1_every=4, path_length_every=5)
    whole, log = train_generator([pool], tmp_path / "whole", config)
    paused, _ = train_generator([pool], tmp_path / "parts", config, stop_after=7)
    assert paused.config.resolution == 8
    train_generator([pool], tmp_path / "parts", config, stop_after=7)
    parts, _ = train_generator([pool], tmp_path / "parts", config)
    assert same(whole, parts)
    assert [row["stage"] for row in log] == ["mapping", 0, 1]
    assert whole(torch.randn(2, 64)).shape == (2, 3, 16, 16)
    assert whole.w_avg.abs().max() > 0


def test_a_generator_goes_on_with_the_stages_that_are_left(pool, tmp_path):
    config = GeneratorTraining(model=TINY, mapping_steps=6, stages=(Stage(8, 4, 8), Stage(16, 4, 8)))
    whole, _ = train_generator([pool], tmp_path / "whole", config)
    half, _ = train_generator([pool], tmp_path / "half", replace(config, stages=config.stages[:1]))
    rest, log = train_generator([pool], tmp_path / "rest", config, start=(half, 1))
    assert same(whole, rest)
    assert [row["stage"] for row in log] == [1]


def test_regression_brings_pictures_nearer(pool, tmp_path):
    config = GeneratorTraining(model=TINY, mapping_steps=0, stages=(Stage(16, 60, 16, lr=1e-2),))
    _, log = train_generator([pool], tmp_path / "long", config)
    _, start = train_generator([pool], tmp_path / "short", replace(config, stages=(Stage(16, 1, 16, lr=1e-2),)))
    assert log[-1]["distance"] < 0.9 * start[-1]["distance"]


def test_path_length_is_the_slope_of_the_picture():
    torch.manual_seed(0)
    generator, z, penalty = Generator(replace(TINY, resolution=8)), torch.randn(2, 64), PathLength()
    assert penalty(generator, z, torch.Generator().manual_seed(1)) >= 0
    first = penalty.mean.clone()
    w = generator.mapping(z)[:, None].repeat(1, generator.num_ws, 1)
    rng = torch.Generator().manual_seed(1)
    jacobian = torch.autograd.functional.jacobian(
        lambda w: generator.synthesize(generator.styles(w), w, noise="random", rng=torch.Generator().manual_seed(1)), w
    )
    generator.synthesize(generator.styles(w), w, noise="random", rng=rng)  # draws the same noise first
    direction = torch.randn(2, 3, 8, 8, generator=rng) / 8
    slope = torch.einsum("bchw,bchwdlk->dlk", direction, jacobian)
    torch.testing.assert_close(first, slope.square().sum(2).mean(1).sqrt().mean())


def test_picture_distance_sees_small_things():
    picture, _ = held_out(PORTRAITS, 1, 64)
    spot, shade = picture.clone(), picture.clone()
    spot[..., 30:34, 24:28] += 1.0  # an eye's size, in the face
    shade += 1.0 * 16 / 4096  # as much, spread over all pixels
    assert picture_distance(picture, picture) == 0
    assert picture_distance(spot, picture) > 2 * picture_distance(shade, picture)


def test_clip_goes_on_after_a_kill(tmp_path):
    pool = open_pool(PORTRAITS, tmp_path, 64, resolution=32, z_dim=64, seed=1)
    config = ClipTraining(
        lessons=(Lessons(2, (1, 3), 0.2, False), Lessons(5, (2, 4), 0.0, True)), batch_size=8, group_size=4
    )
    whole, log = train_clip(pool, tmp_path / "whole", config)
    train_clip(pool, tmp_path / "parts", config, stop_after=3)
    parts, _ = train_clip(pool, tmp_path / "parts", config)
    assert same(whole, parts)
    assert log[-1]["step"] == 5
    free = replace(pool, world=replace(PORTRAITS, apart=()))
    with pytest.raises(ValueError, match="apart"):
        train_clip(free, tmp_path / "parts", config)


@each_world
def test_batches_are_made_of_alike_pictures(world: World):
    factors = world.sample(256, torch.Generator().manual_seed(0))
    groups = groups_of(world, factors)
    assert sum(map(len, groups)) == len(factors)
    index = alike(groups, 24, 8, torch.Generator().manual_seed(0))
    columns = [world.table.index[name] for name in world.coarse]
    for run in index.split(8):
        assert len(factors[run][:, columns].unique(dim=0)) == 1


class Oracle(torch.nn.Module):
    """A CLIP that knows: pictures carry their factors, and a prompt is near those that it is true of."""

    device = torch.device("cpu")

    def __init__(self, goals):
        super().__init__()
        self.rows = {goal.prompt: k for k, goal in enumerate(goals)}
        self.goals = goals

    def encode_image(self, image):
        factors = image[:, 0, 0]
        return torch.stack([goal.reached(factors).float() for goal in self.goals], dim=1)

    def text_feature(self, prompt):
        return F.one_hot(torch.tensor(self.rows[prompt]), len(self.rows)).float()


@each_world
def test_zero_shot_is_perfect_for_a_clip_that_knows(world: World):
    table = world.table
    goals = [Goal(world, name, value) for name in table.binary for value in (False, True)]
    goals += [Goal(world, name, option) for name in table.choice for option in table.attribute(name).options]
    factors = world.sample(64, torch.Generator().manual_seed(2))
    image = torch.zeros(64, 3, 1, len(table.names))
    image[:, 0, 0] = factors
    assert set(zero_shot(world, Oracle(goals), image, factors).values()) == {1.0}


@each_world
def test_combinations_are_told_by_a_clip_that_knows_and_guessed_by_one_that_does_not(world: World, monkeypatch):
    first, second = zip(*world.apart, strict=True)
    goals = [Goal(world, *value) for value in (*first, *second)]
    knowing = Oracle([*goals, *(goal.opposite for goal in goals)])
    for one in knowing.goals:
        for two in knowing.goals:
            rows = torch.tensor([knowing.goals.index(goal) for goal in (one, two)])
            prompt = captions.prompt(world, (one.name, one.value), (two.name, two.value))
            knowing.rows[prompt] = F.one_hot(rows, len(knowing.goals)).sum(0).float()
    knowing.text_feature = knowing.rows.get
    table = len(world.table.names)
    monkeypatch.setattr(evaluate, "paint", lambda world, rows, _: rows[:, None, None].expand(-1, 3, 1, table))
    found = evaluate.combinations(world, knowing, n=4)
    assert set(found) == {"apart", "together"}
    assert len(found["apart"]) == len(found["together"]) == len(world.apart)
    assert not set(found["apart"]) & set(found["together"])
    assert {share for shares in found.values() for share in shares.values()} == {1.0}
    knowing.text_feature = lambda prompt: torch.zeros(len(knowing.goals))
    assert set(evaluate.combinations(world, knowing, n=4)["apart"].values()) == {0.25}
    with pytest.raises(ValueError, match="keeps no attributes apart"):
        evaluate.combinations(replace(world, apart=()), knowing)


def test_retrieval_of_a_clip_that_knows_nothing_is_chance():
    class Blind(Oracle):
        def encode_image(self, image):
            return torch.randn(len(image), 8, generator=torch.Generator().manual_seed(0))

        def encode_text(self, texts):
            return torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(1))

    assert retrieval(PORTRAITS, Blind([]), *held_out(PORTRAITS, 64, 8)) < 0.2


@each_world
def test_frequencies_count_where_a_thing_can_be_seen(world: World):
    factors = world.sample(400, torch.Generator().manual_seed(0))
    seen, shares = world.visible(factors), frequencies(world, factors)
    named = [a for a in world.table.attributes if a.name in world.table.binary + world.table.choice or a.low or a.high]
    assert list(shares) == [a.name for a in named]
    for a in named:
        k, counted = world.table.index[a.name], dict.fromkeys(shares[a.name], 0)
        for row in factors[seen[:, k]]:
            value = row[k].item()
            if isinstance(a, Choice):
                counted[list(a.options)[int(value)]] += 1
            elif a.name in world.table.binary:
                counted["there"] += value == 1
            else:
                counted["low"] += value < a.ends[0]
                counted["high"] += value > a.ends[1]
        for value, times in counted.items():
            assert shares[a.name][value] == pytest.approx(times / int(seen[:, k].sum()), abs=1e-6)


class Drawer:
    """In a generator's place: what ``draw`` makes of latents; counts how many it was asked for at once."""

    z_dim, resolution, device, domain = 64, 16, torch.device("cpu"), Domain(truncation=0.5)

    def __init__(self, draw):
        self.draw, self.asked, self.generator = draw, [], self

    def __call__(self, z, truncation):
        assert truncation == 0.5
        self.asked.append(len(z))
        return self.draw(z)


def test_samples_are_scored_against_renders(pool, tmp_path):
    judge, _ = train_judge(pool, tmp_path, JUDGE)
    perfect = Drawer(lambda z: PORTRAITS.render(PORTRAITS.factors_from_z(z), 16))
    scored = score_samples(perfect, judge, n=300, seed=0)
    assert sum(perfect.asked) == 300
    assert max(perfect.asked) < 100, "all pictures were held at once"
    for name in ("precision", "recall"):
        assert scored.likeness[name] == pytest.approx(scored.ceiling[name], abs=0.12)
    assert scored.likeness["frechet"] < 2 * scored.ceiling["frechet"]
    asked = PORTRAITS.factors_from_z(latents(300, 64, seed=0))
    renders = paint(PORTRAITS, asked, 16)
    for name, shares in frequencies(PORTRAITS, judge.read(renders)).items():
        assert scored.renders[name] == pytest.approx(shares, abs=0.02)
    assert scored.samples == scored.renders
    assert scored.as_asked == pytest.approx(accuracy(judge, renders, asked), abs=0.02)
    somebody = PORTRAITS.sample(1, torch.Generator().manual_seed(5))
    always_one = Drawer(lambda z: PORTRAITS.render(somebody.expand(len(z), -1), 16))
    narrow = score_samples(always_one, judge, n=300, seed=0)
    assert narrow.likeness["recall"] < 0.05 < scored.likeness["recall"]
    assert narrow.likeness["frechet"] > 5 * scored.likeness["frechet"]
    assert narrow.ceiling == scored.ceiling


def test_goals_ask_for_what_people_try_first():
    prompts = [goal.prompt for goal in PORTRAITS.goals]
    assert len(set(prompts)) == len(prompts) >= 12
    assert {"smiling face", "face with glasses", "bald face", "old face", "face with a beard"} <= set(prompts)


def test_labels_are_of_what_can_be_seen():
    factors = torch.zeros(3, len(PORTRAITS.table.names))
    factors[1:, PORTRAITS.table.index["hat"]] = 1
    factors[2, PORTRAITS.table.index["sunglasses"]] = 1
    labels = evaluate.labels([Goal(PORTRAITS, "hat", True), Goal(PORTRAITS, "eye_color", "brown")], factors)
    assert list(labels) == ["face with a hat", "face with brown eyes"]
    assert labels["face with a hat"].tolist() == [0, 1, 1]
    assert labels["face with brown eyes"].isnan().tolist() == [False, False, True]


@each_world
def test_switched_latents_stand_for_pictures_without_a_goal_and_with_it(world: World):
    for goal in world.goals:
        without, there = (world.factors_from_z(z) for z in evaluate.switched(goal, 24, 64))
        assert len(without) == len(there) > 16
        assert not goal.reached(without).any()
        assert goal.reached(there).all()
        assert world.table.column(world.visible(without) & world.visible(there), goal.name).all()


def test_a_card_tells_how_to_make_a_model_again(pool, tmp_path):
    train.make_judge(pool, tmp_path / "runs", tmp_path / "weights", JUDGE)
    card = json.loads((tmp_path / "weights" / "judge.card.json").read_text())
    assert card["recipe"]["steps"] == 40
    assert card["curve"][-1]["step"] == 40
    assert card["curve"][-1]["seconds"] > 0
    assert 0 <= card["measured"]["binary_mean"] <= 1
    assert torch.__version__.startswith(card["versions"]["torch"])  # which may leave out the build, such as +cu130
    assert card["device"].startswith("cpu")


@pytest.mark.filterwarnings("ignore:this CLIP never saw")
def test_the_card_of_a_clip_says_what_its_captions_kept_apart(tmp_path, monkeypatch):
    pool = open_pool(PORTRAITS, tmp_path, 64, resolution=32, z_dim=64, seed=1)
    monkeypatch.setattr(train.evaluate, "held_out", lambda world, _, size: held_out(world, 16, size))
    monkeypatch.setattr(train.evaluate, "combinations", partial(evaluate.combinations, n=2))
    config = ClipTraining(lessons=(Lessons(2, (1, 3), 0.2, False),), batch_size=8, group_size=4)
    train.make_clip(pool, tmp_path / "runs", tmp_path, config)
    card = json.loads((tmp_path / "clip.card.json").read_text())
    assert "old face with glasses" in card["data"]
    assert len(card["recipe"]["apart"]) == len(card["measured"]["combinations"]["apart"]) == 6
    assert 0 <= card["measured"]["combinations_together_mean"] <= 1


def test_all_of_the_picture_is_in_s(pool, tmp_path):
    config = GeneratorTraining(model=TINY, mapping_steps=0, stages=(Stage(16, 3, 8),))
    generator, _ = train_generator([pool], tmp_path, config)
    s = generator.styles(generator.mapping(torch.randn(2, 64)))
    images = [generator.synthesize(s, torch.randn(2, TINY.w_dim)) for _ in range(2)]
    assert torch.equal(*images)


@each_world
def test_the_mapping_learns_what_latents_stand_for(world: World, tmp_path):
    torch.manual_seed(0)
    generator = Generator(TINY)
    log = teach_mapping(world, generator, tmp_path, 150, batch_size=128)
    assert log[-1]["loss"] < 0.8 * log[0]["loss"]


def test_perception_weighs_features_not_pixels(pool, tmp_path):
    judge, _ = train_judge(pool, tmp_path, JUDGE)
    picture, _ = held_out(PORTRAITS, 2, 16)
    assert perceptual_distance(judge, picture, picture) == 0
    near, far = (perceptual_distance(judge, picture, picture + x * torch.randn_like(picture)) for x in (0.05, 0.5))
    assert 0 < near < far
    with pytest.raises(ValueError, match="give train_generator a network"):
        train_generator([pool], tmp_path, GeneratorTraining(model=TINY, stages=(Stage(16, 1, 8, perceptual=1.0),)))
    config = GeneratorTraining(model=TINY, mapping_steps=0, stages=(Stage(16, 2, 8, perceptual=1.0),))
    _, log = train_generator([pool], tmp_path / "seen", config, perception=judge)
    assert log[-1]["perceptual"] > 0


def test_an_encoder_is_trained_for_a_domain_and_scored(tmp_path, monkeypatch):
    out = tmp_path / "weights"
    shutil.copytree(domains.find("portraits"), out, ignore=shutil.ignore_patterns("encoder*"))
    pool = open_pool(PORTRAITS, tmp_path, 64, seed=1)
    scored = partial(score_inversion, n=4)
    monkeypatch.setattr(train.evaluate, "score_inversion", scored)
    train.make_encoder(pool, tmp_path / "runs", out, EncoderTraining(steps=2, batch_size=4, width=8))
    card = json.loads((out / "encoder.card.json").read_text())
    assert 0 < card["measured"]["kept"] < 1
    assert card["measured"]["kept_glasses"] in (0.25, 0.5, 0.75, 0.0, 1.0)
    assert card["measured"]["prompts"] == len(PORTRAITS.goals)
    assert 0 < card["measured"]["success_mean"] <= 1
    editor = Editor.from_pretrained(out)
    px = editor.generator.resolution
    assert editor.invert(torch.zeros(1, 3, 30, 40)).tensor.shape == (1, 3, px, px)
