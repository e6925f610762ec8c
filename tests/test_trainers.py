"""The miniature's trainers on tiny networks: they learn, resume to the same weights, and leave cards."""

import json
from dataclasses import replace

import pytest
import torch

from deltaedit.portraits import train
from deltaedit.portraits.attributes import BINARY, INDEX, NAMES, sample_factors, visible
from deltaedit.portraits.evaluate import GOALS, Goal, best_setting, held_out, retrieval, score, summary, zero_shot
from deltaedit.portraits.judge import Judge, JudgeConfig, JudgeTraining, accuracy, judge_loss, train_judge
from deltaedit.portraits.pool import open_pool
from deltaedit.portraits.train_clip import COARSE, ClipTraining, Lessons, alike, groups_of, train_clip
from deltaedit.portraits.train_generator import GeneratorTraining, Stage, picture_distance, train_generator
from deltaedit.stylegan2 import Generator, GeneratorConfig

TINY = GeneratorConfig(resolution=16, z_dim=48, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16)
JUDGE = JudgeTraining(model=JudgeConfig(resolution=16, width=8), steps=40, batch_size=32)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return open_pool(tmp_path_factory.mktemp("pool"), 256, resolution=16, z_dim=48, seed=1)


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


def test_the_judge_is_graded_only_on_what_can_be_seen():
    factors = sample_factors(64, torch.Generator().manual_seed(0))
    seen = visible(factors)
    right = {}
    for name in NAMES:
        y = factors[:, INDEX[name]]
        right[name] = (y * 2 - 1) * 20 if name in BINARY else y
        if name in ("hair_color", "eye_color", "clothes", "background"):
            right[name] = torch.nn.functional.one_hot(y.long(), 6).float() * 40
    assert judge_loss(right, factors, seen) < 1e-3
    wrong = dict(right, bangs=-right["bangs"])
    hidden = seen.clone()
    hidden[:, INDEX["bangs"]] = False
    assert judge_loss(wrong, factors, seen) > 1
    assert judge_loss(wrong, factors, hidden) < 1e-3


def test_a_judge_is_saved_in_half_and_reads_the_same(tmp_path):
    judge = Judge(JudgeConfig(resolution=16, width=8)).eval()
    judge.save(tmp_path / "judge.safetensors")
    image, factors = held_out(16, 24)
    read = Judge.load(tmp_path / "judge.safetensors").read(image)
    assert read.shape == factors.shape
    assert (read - judge.read(image)).abs().max() < 0.05
    with pytest.raises(ValueError, match="The judge takes images"):
        judge(image[0])
    assert set(accuracy(judge, image, factors)) == set(NAMES)


@pytest.mark.parametrize("adversarial", [0.0, 1.0])
def test_the_generator_grows_and_goes_on_after_a_kill(pool, tmp_path, adversarial):
    stages = (Stage(8, 12, 8), Stage(16, 18, 8, adversarial=adversarial))
    config = GeneratorTraining(model=TINY, stages=stages, r1_every=4)
    whole, log = train_generator(pool, tmp_path / "whole", config)
    paused, _ = train_generator(pool, tmp_path / "parts", config, stop_after=7)
    assert paused.config.resolution == 8
    train_generator(pool, tmp_path / "parts", config, stop_after=7)
    parts, _ = train_generator(pool, tmp_path / "parts", config)
    assert same(whole, parts)
    assert {row["resolution"] for row in log} == {8, 16}
    assert whole(torch.randn(2, 48)).shape == (2, 3, 16, 16)
    assert whole.w_avg.abs().max() > 0


def test_regression_brings_pictures_nearer(pool, tmp_path):
    config = GeneratorTraining(model=TINY, stages=(Stage(16, 60, 16, lr=1e-2),))
    _, log = train_generator(pool, tmp_path / "long", config)
    _, start = train_generator(pool, tmp_path / "short", replace(config, stages=(Stage(16, 1, 16, lr=1e-2),)))
    assert log[-1]["distance"] < 0.9 * start[-1]["distance"]


def test_picture_distance_sees_small_things():
    picture, _ = held_out(1, 64)
    spot, shade = picture.clone(), picture.clone()
    spot[..., 30:34, 24:28] += 1.0  # an eye's size, in the face
    shade += 1.0 * 16 / 4096  # as much, spread over all pixels
    assert picture_distance(picture, picture) == 0
    assert picture_distance(spot, picture) > 2 * picture_distance(shade, picture)


def test_clip_goes_on_after_a_kill(tmp_path):
    pool = open_pool(tmp_path, 64, resolution=32, z_dim=48, seed=1)
    config = ClipTraining(lessons=(Lessons(2, (1, 3), 0.2, False), Lessons(5, (2, 4), 0.0, True)), batch_size=8,
                          group_size=4)  # fmt: skip
    whole, log = train_clip(pool, tmp_path / "whole", config)
    train_clip(pool, tmp_path / "parts", config, stop_after=3)
    parts, _ = train_clip(pool, tmp_path / "parts", config)
    assert same(whole, parts)
    assert log[-1]["step"] == 5


def test_batches_are_made_of_alike_portraits(pool):
    groups = groups_of(pool.factors)
    assert sum(map(len, groups)) == len(pool)
    index = alike(groups, 24, 8, torch.Generator().manual_seed(0))
    columns = [INDEX[name] for name in COARSE]
    for run in index.split(8):
        assert len(pool.factors[run][:, columns].unique(dim=0)) == 1


class Oracle(torch.nn.Module):
    """A CLIP that knows: pictures carry their factors, and a prompt is near those that it is true of."""

    device = torch.device("cpu")

    def __init__(self, goals):
        super().__init__()
        self.rows = {goal.prompt: k for k, goal in enumerate(goals)}
        self.goals = goals

    def encode_image(self, image):
        factors = image[:, 0, 0, : len(NAMES)]
        return torch.stack([goal.reached(factors).float() for goal in self.goals], dim=1)

    def text_feature(self, prompt):
        return torch.nn.functional.one_hot(torch.tensor(self.rows[prompt]), len(self.rows)).float()


def test_zero_shot_is_perfect_for_a_clip_that_knows():
    goals = [Goal(name, value) for name in BINARY for value in (False, True)]
    for name in ("hair_color", "eye_color", "clothes", "background"):
        goals += [Goal(name, option) for option in train.evaluate.attribute(name).options]
    factors = sample_factors(64, torch.Generator().manual_seed(2))
    image = torch.zeros(64, 3, 1, len(NAMES))
    image[:, 0, 0] = factors
    assert set(zero_shot(Oracle(goals), image, factors).values()) == {1.0}


def test_retrieval_of_a_clip_that_knows_nothing_is_chance():
    class Blind(Oracle):
        def encode_image(self, image):
            return torch.randn(len(image), 8, generator=torch.Generator().manual_seed(0))

        def encode_text(self, texts):
            return torch.randn(len(texts), 8, generator=torch.Generator().manual_seed(1))

    assert retrieval(Blind([]), *held_out(64, 8)) < 0.2


def test_goals_ask_for_what_people_try_first():
    prompts = [goal.prompt for goal in GOALS]
    assert len(set(prompts)) == len(prompts) >= 12
    assert {"smiling face", "face with glasses", "bald face", "old face", "face with a beard"} <= set(prompts)


def test_a_score_counts_goals_reached_and_others_flipped():
    goal = Goal("glasses", True)
    before = torch.zeros(10, len(NAMES))
    before[:2, INDEX["glasses"]] = 1  # have it already: not counted
    before[2, INDEX["sunglasses"]] = 1  # glasses could not be seen: not counted
    after = before.clone()
    after[3:9, INDEX["glasses"]] = 1
    after[3, INDEX["hat"]] = 1
    result = score(goal, before, after)
    assert result.n == 7
    assert result.reached == pytest.approx(6 / 7)
    assert result.flipped["hat"] == pytest.approx(1 / 7)
    assert result.flips == pytest.approx(1 / 7 / (len(BINARY) - 1))
    assert summary([result])["reached_worst"] == pytest.approx(0.8571)


def test_the_best_setting_is_the_strongest_of_the_gentle():
    rows = [{"gain": 1.0, "threshold": 0.0, "reached_mean": 0.9, "flips_mean": 0.2},
            {"gain": 1.0, "threshold": 0.1, "reached_mean": 0.8, "flips_mean": 0.05},
            {"gain": 0.5, "threshold": 0.1, "reached_mean": 0.6, "flips_mean": 0.01}]  # fmt: skip
    assert best_setting(rows)["threshold"] == 0.1
    assert best_setting(rows)["gain"] == 1.0
    assert best_setting(rows[:1]) == rows[0]


def test_a_card_tells_how_to_make_a_model_again(pool, tmp_path):
    train.make_judge(pool, tmp_path / "runs", tmp_path / "weights", JUDGE)
    card = json.loads((tmp_path / "weights" / "judge.card.json").read_text())
    assert card["recipe"]["steps"] == 40
    assert card["curve"][-1]["step"] == 40
    assert card["curve"][-1]["seconds"] > 0
    assert 0 <= card["measured"]["binary_mean"] <= 1
    assert card["versions"]["torch"] == torch.__version__
    assert card["device"].startswith("cpu")


def test_torgb_layers_can_be_made_to_forget_w(pool, tmp_path):
    torch.manual_seed(0)
    before = [layer.affine.weight for layer in Generator(TINY).to_rgbs]
    config = GeneratorTraining(model=TINY, stages=(Stage(16, 40, 8, fade_torgb=True),), ema=0.0)
    after = [layer.affine.weight for layer in train_generator(pool, tmp_path, config)[0].to_rgbs]
    for old, new in zip(before, after, strict=True):
        assert torch.allclose(new, old * 0.99**40, rtol=1e-3)
