"""What edits did: measures that can be worked out by hand, on pictures that hold their own factors."""

import math
from dataclasses import replace

import pytest
import torch
from test_editor import tiny_editor

from deltaedit.editor import Latent
from deltaedit.metrics import Interval
from deltaedit.worlds import named
from deltaedit.worlds.effects import MEASURES, Curve, Witness, measure
from deltaedit.worlds.world import Goal

WORLD = named("portraits")
TABLE = WORLD.table


class Reader:
    """A judge of pictures whose first pixels are their factors, a tenth of them."""

    world = WORLD

    def read(self, image):
        return (10 * image[:, 0].flatten(1)[:, : len(TABLE.names)]).round(decimals=3)

    def embedding(self, image):
        return image[:, 0].flatten(1)


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


@pytest.mark.parametrize(("goals", "strengths"), [((), (1,)), ((Goal(WORLD, "hat", True),), ()),
                                                  ((Goal(WORLD, "hat", True),), (1, 0.5)),
                                                  ((Goal(WORLD, "hat", True),), (-1, 1))])  # fmt: skip
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
