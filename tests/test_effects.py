"""What edits did: measures that can be worked out by hand, on pictures that hold what is to be read off them."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from test_editor import tiny_editor

from deltaedit import effects
from deltaedit.editor import Latent
from deltaedit.effects import (
    MEASURES,
    Curve,
    EditScore,
    Witness,
    best_setting,
    contest,
    measure,
    rises,
    score_edits,
    summary,
)
from deltaedit.metrics import Interval
from deltaedit.worlds import named
from deltaedit.worlds.judge import Judge, JudgeConfig
from deltaedit.worlds.world import Goal

WORLD = named("portraits")
TABLE = WORLD.table
GLASSES = Goal(WORLD, "glasses", True)


class Reader(Judge):
    """A judge of pictures whose first pixels are their factors, a tenth of them."""

    def __init__(self):
        super().__init__(WORLD, JudgeConfig(16, 1))

    def read(self, image):
        return (10 * image[:, 0].flatten(1)[:, : len(TABLE.names)]).round(decimals=3)

    def look(self, image):
        return self.read(image), image[:, 0].flatten(1)


def picture(factors: torch.Tensor) -> torch.Tensor:
    image = torch.zeros(len(factors), 3, 16, 16)
    image[:, 0].flatten(1)[:, : len(TABLE.names)] = factors / 10
    return image


def people(n: int) -> torch.Tensor:
    """Bareheaded, with hair and without glasses, so that all of a person can be seen, and all a little different."""
    factors = WORLD.sample(n, torch.Generator().manual_seed(0))
    for name in (*TABLE.binary, "hat_hue"):
        factors[:, TABLE.index[name]] = 0.0
    return factors.round(decimals=2)


def changed(factors: torch.Tensor, **values: float) -> torch.Tensor:
    out = factors.clone()
    for name, value in values.items():
        out[:, TABLE.index[name]] = value
    return out


def effect(before: torch.Tensor, after: torch.Tensor, goal: Goal) -> dict[str, torch.Tensor]:
    witness = Witness(Reader(), picture(before))
    rows = witness.counts(goal)
    return dict(zip(MEASURES, witness.effect(goal, *witness.look(picture(after[rows]))), strict=True))


def test_an_edit_that_does_what_is_asked_and_nothing_else():
    before = people(20)
    got = effect(before, changed(before, glasses=1), Goal(WORLD, "glasses", True))
    assert (got["success"] == 1).all()
    assert not got["leakage"].any()
    assert not got["flips"].any()
    assert (got["identity"] == 1).all()
    assert (got["likeness"] < 1).all()  # it sees the glasses


def test_what_leaks_is_counted_in_the_spread_of_each():
    before = changed(people(20), skin=0.2)
    got = effect(before, changed(before, glasses=1, beard=1, skin=0.5), Goal(WORLD, "glasses", True))
    seen = TABLE.visible(before)[0] & TABLE.visible(changed(before, glasses=1, beard=1))[0]
    others = int(seen.sum()) - 1
    binary = sum(bool(seen[TABLE.index[name]]) for name in TABLE.binary) - 1
    wanted = (1 / WORLD.spread["beard"] + 0.3 / WORLD.spread["skin"]) / others
    torch.testing.assert_close(got["leakage"], torch.full((20,), wanted), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(got["flips"], torch.full((20,), 1 / binary))


def test_pictures_that_have_it_or_cannot_show_it_do_not_count():
    before = people(20)
    before[:5, TABLE.index["glasses"]] = 1  # have it
    before[5:9, TABLE.index["sunglasses"]] = 1  # hide it
    assert Witness(Reader(), picture(before)).counts(Goal(WORLD, "glasses", True)).tolist() == [False] * 9 + [True] * 11


def test_identity_is_one_for_the_same_and_zero_for_another():
    before = people(400)
    goal = Goal(WORLD, "glasses", True)
    other = effect(before, changed(before.roll(7, 0), glasses=1), goal)
    assert float(other["identity"].mean()) == pytest.approx(0, abs=0.06)
    assert float(other["likeness"].mean()) == pytest.approx(0, abs=0.06)
    named_by_goal = effect(before, changed(before, skin=1.0), Goal(WORLD, "skin", "high"))
    assert float(named_by_goal["identity"].mean()) == 1


def score(goal: Goal, before: torch.Tensor, after: torch.Tensor) -> EditScore:
    witness = Witness(Reader(), picture(before))
    return witness.score(goal, picture(after[witness.counts(goal)]))


def test_a_score_counts_goals_that_came_and_others_that_flipped():
    goal = Goal(WORLD, "glasses", True)
    before = torch.zeros(10, len(TABLE.names))
    before[:2, TABLE.index["glasses"]] = 1  # have it already: not counted
    before[2, TABLE.index["sunglasses"]] = 1  # glasses could not be seen: not counted
    after = before.clone()
    after[3:9, TABLE.index["glasses"]] = 1
    after[3, TABLE.index["beard"]] = 1
    result = score(goal, before, after)
    assert result.n == 7
    assert result.success == pytest.approx(6 / 7)
    assert result.by_attribute["beard"] == pytest.approx(1 / 7 / WORLD.spread["beard"])
    assert result.flips == pytest.approx(1 / 7 / (len(TABLE.binary) - 1))
    assert "glasses" not in result.by_attribute
    assert summary([result])["success_worst"] == pytest.approx(0.8571)


@pytest.mark.parametrize("goal", WORLD.goals, ids=lambda goal: goal.prompt)
def test_a_score_is_that_of_counting_one_by_one(goal):
    """Also what the book counted before it had one measure: success, flips and what leaks, attribute by attribute."""
    before, other = (WORLD.sample(60, torch.Generator().manual_seed(k)).round(decimals=2) for k in (0, 1))
    after = torch.where(torch.rand(before.shape, generator=torch.Generator().manual_seed(2)) < 0.3, other, before)
    came, flipped, leaked = [], [], []
    for a, b in zip(before, after, strict=True):
        seen, still = TABLE.visible(a[None])[0], TABLE.visible(b[None])[0]
        if seen[TABLE.index[goal.name]] and not goal.reached(a[None]):
            came.append(float(goal.reached(b[None])))
            both = [name for k, name in enumerate(TABLE.names) if seen[k] and still[k] and name != goal.name]
            change = {name: abs(float(b[TABLE.index[name]] - a[TABLE.index[name]])) for name in both}
            flipped += [float(change[name] > 0) for name in both if name in TABLE.binary]
            far = [2**0.5 * (x > 0.5) if name in TABLE.choice else x for name, x in change.items()]
            leaked.append(sum(x / WORLD.spread[name] for x, name in zip(far, both, strict=True)) / len(both))
    result = score(goal, before, after)
    wanted = [sum(x) / len(x) for x in (came, flipped, leaked)]
    assert result.n == len(came) > 10
    assert [result.success, result.flips, result.leakage] == pytest.approx(wanted, abs=1e-3)


def test_leakage_by_attribute_is_in_standard_deviations_of_what_can_be_seen():
    before = WORLD.sample(2000, torch.Generator().manual_seed(1))
    before = TABLE.replace(before, sunglasses=0, glasses=0).round(decimals=3)
    after = TABLE.replace(before, glasses=1)
    assert set(score(GLASSES, before, after).by_attribute.values()) == {0.0}
    after[:, TABLE.index["age"]] += 0.5 * before[:, TABLE.index["age"]].std()
    after[:500, TABLE.index["hair_color"]] = (before[:500, TABLE.index["hair_color"]] + 1) % 6
    after[:, TABLE.index["sunglasses"]] = 1  # eyes cannot be compared
    moved = score(GLASSES, before, after).by_attribute
    assert moved["age"] == pytest.approx(0.5, abs=0.01)
    assert moved["hair_color"] == pytest.approx(0.25 * (2 / (1 - 1 / 6)) ** 0.5, abs=0.03)
    assert "eye_color" not in moved
    shuffled = before[torch.randperm(len(before), generator=torch.Generator().manual_seed(0))]
    strangers = score(GLASSES, before, shuffled).by_attribute
    degrees = [strangers[name] for name in (*TABLE.scale, *TABLE.choice) if name in strangers]
    assert all(1.0 < x < 1.4 for x in degrees)


def test_a_summary_is_of_the_goals_that_some_picture_lacked():
    before = people(20)
    scores = [
        score(Goal(WORLD, name, True), before, changed(before, glasses=1, skin=before[:, TABLE.index["skin"]] / 2))
        for name in ("glasses", "hat")
    ]
    means = summary([*scores, replace(scores[0], success=math.nan, leakage=math.nan, flips=math.nan, n=0)])
    assert means["success_mean"] == 0.5
    assert means["success_worst"] == 0
    assert means["prompts"] == 3
    assert means["leakage_mean"] == pytest.approx((scores[0].leakage + scores[1].leakage) / 2, abs=1e-4)
    assert effects.by_attribute(scores)["glasses"] == pytest.approx(scores[1].by_attribute["glasses"], abs=1e-4)
    assert math.isnan(summary([])["success_mean"])


def test_what_is_hardly_ever_seen_does_not_weigh_as_much_as_the_rest():
    before, after = torch.zeros(20, len(TABLE.names)), torch.zeros(20, len(TABLE.names))
    after[1:, TABLE.index["bald"]] = 1
    after[0, TABLE.index["long_hair"]] = 1  # the only one whose hair is still to be seen
    result = score(Goal(WORLD, "bald", True), before, after)
    assert "long_hair" not in result.by_attribute
    assert result.flips < 1 / 200


def test_every_goal_is_asked_of_all_that_count_for_it():
    editor, goals = tiny_editor(), (Goal(WORLD, "hat", True), Goal(WORLD, "beard", True))
    latent = editor.sample(seed=3, n=12)
    witness = Witness(Reader(), latent.tensor)
    for goal, found in zip(goals, score_edits(editor.edit, Reader(), latent, goals, 2.0), strict=True):
        rows = witness.counts(goal)
        edited = editor.edit(latent[rows], goal.prompt, strength=2.0).tensor
        assert found == witness.score(goal, edited)
        assert found.n == int(rows.sum())


def test_edits_can_be_compared_with_other_pictures_than_the_latents_own():
    editor, goal = tiny_editor(), Goal(WORLD, "hat", True)
    latent, given = editor.sample(seed=3, n=12), editor.sample(seed=4, n=12).tensor
    witness = Witness(Reader(), given)
    (found,) = score_edits(editor.edit, Reader(), latent, [goal], before=given)
    assert found == witness.score(goal, editor.edit(latent[witness.counts(goal)], goal.prompt).tensor)


def test_a_goal_that_every_picture_has_already_has_no_score():
    editor = tiny_editor()
    always = Goal(WORLD, "hat", True)
    object.__setattr__(always, "reached", lambda read: torch.ones(len(read), dtype=torch.bool))
    (found,) = score_edits(editor.edit, Reader(), editor.sample(seed=3, n=4), [always])
    assert found.n == 0
    assert math.isnan(found.success)
    assert math.isnan(found.flips)
    assert found.by_attribute == {}


class Photographs:
    """A judge of no world: it reads how bright a picture is, and whether it is warm, and its goals are its own."""

    names, binary, identity = ("bright", "warm"), ("warm",), ("bright",)

    def read(self, image):
        return torch.stack([image.mean((1, 2, 3)), (image[:, 0] > image[:, 2]).float().mean((1, 2)).round()], dim=1)

    def visible(self, read):
        return torch.ones_like(read, dtype=torch.bool)

    def moved(self, before, after):
        return (after - before).abs() / torch.tensor([0.2, 0.5])

    def look(self, image):
        return self.read(image), image.mean((2, 3))


class Warm:
    """What they are asked for."""

    prompt, name, also = "a warm picture", "warm", ()

    def suits(self, read):
        return torch.ones(len(read), dtype=torch.bool)

    def reached(self, read):
        return read[:, 1] > 0.5


def test_a_judge_of_photographs_measures_as_well():
    before = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    before[:, 0], before[:, 2] = before[:, 0] - 0.4, before[:, 2] + 0.4  # cold
    witness = Witness(Photographs(), before)
    found = witness.score(Warm(), before.flip(1) + 0.1)
    assert found.success == 1
    assert found.leakage == pytest.approx(0.1 / 0.2, abs=1e-4)
    assert found.by_attribute == {"bright": pytest.approx(0.5, abs=1e-4)}
    editor = tiny_editor()
    measured = measure(editor.edit, Photographs(), editor.sample(seed=0, n=12), [Warm()], [1.0])
    assert measured.values.shape == (5, 1, 2, 12)


def test_the_best_setting_is_the_strongest_of_the_gentle():
    def row(gain, threshold, mean, worst, flips):
        return {"gain": gain, "threshold": threshold, "success_mean": mean, "success_worst": worst, "flips_mean": flips}

    rows = [
        row(1.0, 0.0, 0.9, 0.5, 0.2),
        row(1.0, 0.1, 0.8, 0.5, 0.03),
        row(0.5, 0.1, 0.6, 0.5, 0.01),
        row(1.0, 0.2, 0.82, 0.1, 0.03),
    ]
    assert best_setting(rows) == rows[1]  # not the last, which gives one goal up
    assert best_setting(rows[:1]) == rows[0]


def test_settings_are_tried_one_by_one():
    editor, goals = tiny_editor(), (Goal(WORLD, "hat", True), Goal(WORLD, "beard", True))
    latent = editor.sample(seed=3, n=12)
    rows = effects.calibrate(editor, Reader(), latent, goals, gains=(1.0, 2.0), thresholds=(0.0, 0.1))
    assert [(row["gain"], row["threshold"]) for row in rows] == [(1, 0), (2, 0), (1, 0.1), (2, 0.1)]
    edit = lambda latent, prompt: editor.edit(latent, prompt, threshold=0.1)  # noqa: E731
    found = summary(score_edits(edit, Reader(), latent, goals, 2.0))
    assert {name: rows[3][name] for name in found} == pytest.approx(found, nan_ok=True)


def curve(success: list[float], leakage: list[float], n: int = 50) -> Curve:
    values = torch.zeros(len(MEASURES), 1, len(success), n)
    for k, share in enumerate(success):
        values[0, 0, k, : round(share * n)] = 1
    values[1, 0] = torch.tensor(leakage)[:, None]
    return Curve(tuple(float(k) for k in range(len(success))), ("face with a hat",), values)


def test_methods_are_compared_at_equal_success():
    steep, slow = curve([0, 0.6, 1.0], [0, 0.3, 0.9]), curve([0, 0.4, 0.6], [0, 0.1, 0.2])
    assert steep.at(0.8, "leakage").value == pytest.approx(0.6)
    assert steep.strength_at(0.8) == pytest.approx(1.5)
    assert math.isnan(slow.at(0.8, "leakage").value)
    assert math.isnan(slow.strength_at(0.8))
    assert slow.best.value == pytest.approx(0.6)
    interval = slow.mean("success")[1]
    assert interval.value == pytest.approx(0.4)
    assert interval.low < 0.4 < interval.high
    # Of 50 pictures that succeed or not: the normal approximation.
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * math.sqrt(0.4 * 0.6 / 50), rel=0.2)
    assert slow.mean("leakage")[2] == pytest.approx(Interval(0.2, 0.2, 0.2))


def test_a_difference_is_of_the_same_pictures():
    ours, theirs = curve([0, 0.8], [0, 0.2]), curve([0, 0.8], [0, 0.5])
    noise = torch.rand(50, generator=torch.Generator().manual_seed(0))
    for one in (ours, theirs):
        one.values[1, 0, 1] += noise  # what pictures differ by is no difference of methods
    gap = theirs.beyond(ours, 0.5, "leakage")
    assert gap.value == pytest.approx(0.3 * 0.5 / 0.8)
    assert gap.high - gap.low < 0.5 * (theirs.at(0.5, "leakage").high - theirs.at(0.5, "leakage").low)
    assert math.isnan(curve([0, 0.4], [0, 0.2]).beyond(ours, 0.5, "leakage").value)
    ours.values[:, :, :, 0] = torch.nan
    with pytest.raises(ValueError, match="asked of the same pictures"):
        theirs.beyond(ours, 0.5, "leakage")


def test_one_subject_is_one_within_a_distance():
    one = replace(curve([0, 1], [0, 0]), apart=2.0)
    one.values[4, 0, 1, :30] = 1 - 0.3**2 / 2  # .3 away
    one.values[4, 0, 1, 30:] = 1 - 0.9**2 / 2
    one.values[:, 0, :, 40:] = torch.nan
    same = one.same_subject(0.6)
    assert same.mean("likeness")[1].value == pytest.approx(0.75)
    assert torch.equal(same.values[:4].nan_to_num(), one.values[:4].nan_to_num())


def test_a_contest_tunes_every_method_on_pictures_that_are_not_compared():
    editor, goals, asked = tiny_editor(), (Goal(WORLD, "hat", True),), {}
    tuning, compared = editor.sample(seed=3, n=12), editor.sample(seed=4, n=14)

    def variant(name: str, threshold: float):
        def edit(latent: Latent, prompt: str):
            asked.setdefault(name, []).append(latent)
            return editor.edit(latent, prompt, threshold=threshold)

        return edit

    methods = {"one": {"a": variant("a", 0.0), "b": variant("b", 0.2)}, "other": {"": variant("other", 0.0)}}
    entries = contest(methods, Reader(), tuning, compared, goals, (0.5, 1.0), around=(0.5, 1.0))
    assert list(entries) == ["one", "other"]
    loser = next(name for name in "ab" if name != entries["one"].knob)
    assert {name: len(latents) for name, latents in asked.items()} == {loser: 1, entries["one"].knob: 2, "other": 2}
    for latents in asked.values():
        assert set(latents[0].source["rows"]) <= set(range(12))
        assert latents[0].source["seed"] == 3
        assert all(latent.source["seed"] == 4 for latent in latents[1:])
    one = entries["other"]
    assert one.curve.strengths == (0.0, 0.5, 1.0)
    assert one.strength in (0.5, 1.0)
    direct = measure(partial(editor.edit, threshold=0.0), Reader(), compared, goals, (one.strength / 2, one.strength))
    torch.testing.assert_close(one.curve.values[1, :, 1:], direct.values[1, :, 1:], equal_nan=True)


def test_an_edit_stands_for_what_is_there_oftener_after_it():
    editor, before = tiny_editor(), people(6)
    latent = replace(editor.sample(seed=0, n=6), tensor=picture(before))
    edit = editor.edit(latent, "face with a hat")
    edit.__dict__["tensor"] = picture(changed(before, hat=1.0))
    found = rises(edit, Reader(), [Goal(WORLD, name, value) for name in ("glasses", "hat") for value in (True, False)])
    assert list(found.values()) == [1.0, 0.0, 0.0, -1.0]
    assert (next(iter(found)), list(found)[-1]) == (Goal(WORLD, "hat", True).prompt, Goal(WORLD, "hat", False).prompt)


def test_goals_count_alike_however_many_pictures_lack_them():
    values = torch.full((len(MEASURES), 2, 2, 20), torch.nan)
    values[:, 0], values[:, 1, :, :2] = 1.0, 0.0
    assert Curve((0.0, 1.0), ("a", "b"), values).mean("success")[1].value == 0.5


def test_measuring_asks_the_method_once_for_a_goal_and_moves_its_strength():
    editor, goals = tiny_editor(), (Goal(WORLD, "hat", True), Goal(WORLD, "beard", True))
    latent, asked = editor.sample(seed=3, n=12), []

    def edit(latent: Latent, prompt: str):
        asked.append(prompt)
        return editor.edit(latent, prompt)

    got = measure(edit, Reader(), latent, goals, (0.5, 2))
    assert asked == [goal.prompt for goal in goals] == list(got.goals)
    assert got.strengths == (0, 0.5, 2)
    assert got.values.shape == (5, 2, 3, 12)
    assert int((~got.values[0, :, 1].isnan()).sum(0).max()) == 1  # a picture is asked for one thing
    still = got.values[:, :, 0]
    assert not still[:3].nan_to_num().any()
    assert (still[3:].nan_to_num(1) == 1).all()
    reads = Reader().read(editor.edit(latent, goals[1].prompt, strength=2).tensor.clamp(-1, 1))
    counts = ~got.values[0, 1, 2].isnan()
    assert torch.equal(got.values[0, 1, 2][counts], goals[1].reached(reads)[counts].float())


@pytest.mark.parametrize(
    ("goals", "strengths"),
    [
        ((), (1,)),
        ((Goal(WORLD, "hat", True),), ()),
        ((Goal(WORLD, "hat", True),), (1, 0.5)),
        ((Goal(WORLD, "hat", True),), (-1, 1)),
    ],
)
def test_nothing_to_measure_is_refused(goals, strengths):
    editor = tiny_editor()
    with pytest.raises(ValueError, match="give one goal or more, and strengths that rise"):
        measure(editor.edit, Reader(), editor.sample(seed=0, n=2), goals, strengths)


def test_each_picture_is_asked_for_one_goal_that_it_lacks_and_goals_for_as_many():
    before = people(30)
    before[:25, TABLE.index["glasses"]] = 1
    goals = [Goal(WORLD, name, True) for name in ("glasses", "hat", "beard")]
    witness = Witness(Reader(), picture(before))
    shared = witness.shared_out(goals)
    assert not (shared & ~torch.stack([witness.counts(goal) for goal in goals])).any()
    assert (shared.sum(0) == 1).all()
    assert shared.sum(1).tolist() == [5, 13, 12]


def test_realism_needs_as_many_different_pictures_as_it_has_features():
    editor = tiny_editor()
    goals = [Goal(WORLD, name, True) for name in ("glasses", "hat", "beard")]
    with pytest.raises(ValueError, match="more than 256 edited pictures, better 1,000. Got .* of 100"):
        measure(editor.edit, Reader(), editor.sample(seed=0, n=100), goals, (1,), torch.randn(300, 256))


def test_realism_is_compared_at_equal_success_as_well():
    steep = curve([0, 0.6, 1.0], [0, 0.3, 0.9])
    assert replace(steep, frechet=(1.0, 3.0, 7.0)).at(0.8, "frechet").value == pytest.approx(5)
    with pytest.raises(ValueError, match="no Fréchet distances here"):
        steep.at(0.8, "frechet")


def test_one_picture_is_like_no_other():
    with pytest.raises(ValueError, match="give 2 or more, better 100. Got 1"):
        Witness(Reader(), picture(people(1)))


def test_few_pictures_make_no_interval():
    with pytest.raises(ValueError, match="an interval needs 10 pictures or more.* Got 9"):
        replace(curve([0, 1], [0, 0], n=9)).mean("success")


def test_what_moves_with_a_goal_by_its_nature_is_no_leak_and_it_is_asked_of_those_whom_it_suits():
    before = torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5
    before[:, 0], before[:, 2] = before[:, 0] - 0.4, before[:, 2] + 0.4  # cold
    goal = Warm()
    goal.also = ("bright",)
    goal.suits = lambda read: read[:, 0] > read[:, 0].median()
    witness = Witness(Photographs(), before)
    rows = witness.counts(goal)
    assert int(rows.sum()) == 6
    assert witness.score(goal, before.flip(1)[rows] + 0.1).by_attribute == {}
