"""Distances of sets of pictures, against what can be worked out by hand."""

import math

import pytest
import torch

from deltaedit import metrics
from deltaedit.metrics import (
    Interval,
    bootstrap,
    difference,
    frechet_distance,
    gap,
    judged,
    measured,
    pooled,
    precision_recall,
)


def test_frechet_distance_of_normal_distributions_is_known():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(20_000, 3, generator=rng)
    scale = torch.tensor([1.0, 2.0, 0.5])
    b = torch.randn(20_000, 3, generator=rng) * scale + 1
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    wanted = 3 + float((scale - 1).square().sum())  # of the means, and of the standard deviations
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=0.03)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=rng)).Q
    assert frechet_distance(a @ turn, b @ turn) == pytest.approx(frechet_distance(a, b), rel=1e-6)


def slow_share(points, centres, k):
    """Ten lines that say what it is."""
    inside = 0
    for p in points:
        for c in centres:
            reach = sorted(float((c - o).norm()) for o in centres)[k]
            if float((p - c).norm()) <= reach:
                inside += 1
                break
    return inside / len(points)


def test_precision_and_recall_are_their_definition():
    rng = torch.Generator().manual_seed(0)
    real, fake = torch.randn(30, 2, generator=rng), 0.5 * torch.randn(25, 2, generator=rng) + 0.5
    precision, recall = precision_recall(real, fake, k=3, rows=7)
    assert precision == pytest.approx(slow_share(fake, real, 3))
    assert recall == pytest.approx(slow_share(real, fake, 3))
    assert precision > recall
    assert precision_recall(real, real) == (1, 1)
    assert precision_recall(real, real + 100) == (0, 0)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="two rows or more"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="two rows or more"):
        precision_recall(torch.zeros(5, 2), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="more than k"):
        precision_recall(torch.zeros(3, 2), torch.zeros(5, 2))


def test_a_covariance_needs_more_pictures_than_features():
    with pytest.raises(ValueError, match=r"40 features needs more than 40 pictures.* Got 40 and 90"):
        frechet_distance(torch.randn(40, 40), torch.randn(90, 40))


def test_an_interval_holds_the_truth_as_often_as_it_says():
    """Of the mean and of the mean square of many samples from a normal distribution."""
    rng = torch.Generator().manual_seed(0)
    samples = torch.randn(200, 60, generator=rng)

    def moments(counts, x):
        return torch.stack([counts @ x, counts @ x.square()], dim=1) / counts.sum(1, keepdim=True)

    found = [bootstrap(lambda counts, x=x: moments(counts, x), 60, times=200) for x in samples]
    for k, truth in enumerate((0, 1)):
        assert sum(row[k].low <= truth <= row[k].high for row in found) / 200 == pytest.approx(0.93, abs=0.05)
    assert found[0][0].value == pytest.approx(float(samples[0].mean()))
    with pytest.raises(ValueError, match="an interval needs 10 pictures"):
        bootstrap(lambda counts: counts.mean(1), 9)


@pytest.mark.parametrize(("often", "ends"), [(3, True), (1, False)])  # in 1.6 or 26 of 100 draws a picture counts more
def test_what_is_no_number_in_some_draws_has_no_ends_unless_they_are_few(often, ends):
    x = torch.arange(20.0)
    value, low, high = bootstrap(lambda counts: torch.where(counts[:, 0] > often, torch.nan, counts @ x / 20), 20)[0]
    assert value == pytest.approx(9.5)
    assert (5 < low < high < 16) if ends else (low != low and high != high)


def test_intervals_of_several_seeds_hold_the_truth_as_often_as_they_say():
    rng, held = torch.Generator().manual_seed(0), 0
    for _ in range(1000):  # seeds differ as much as pictures do, which all seeds share
        values = torch.randn(1, generator=rng) + torch.randn(3, generator=rng)
        _, low, high = pooled([Interval(x, x - 1.96, x + 1.96) for x in values.tolist()])
        held += low <= 0 <= high
    assert held / 1000 == pytest.approx(0.95, abs=0.03)


def test_intervals_of_several_seeds_grow_by_what_differs_between_them():
    same = pooled([Interval(1.0, 0.9, 1.1)] * 3)
    assert same == pytest.approx((1.0, 0.9, 1.1))
    apart = pooled([Interval(x, x - 0.1, x + 0.1) for x in (0.8, 1.0, 1.2)])
    assert apart.value == pytest.approx(1)
    assert apart.high - 1 == pytest.approx((0.1**2 + 4.303**2 * 0.04 / 3) ** 0.5, rel=1e-3)
    assert pooled([Interval(1.0, 0.7, 1.1)]) == pytest.approx((1.0, 0.7, 1.1))
    assert difference(Interval(3, 2.7, 3.4), Interval(1, 0.7, 1.4)) == pytest.approx((2, 1.5, 2.5))


class Colours(torch.nn.Module):
    """Mean colours of bytes, in place of Inception."""

    def forward(self, pictures):
        assert pictures.dtype == torch.uint8
        return pictures.float().mean(dim=(2, 3))


def test_what_the_field_measures_of_photographs():
    rng = torch.Generator().manual_seed(0)
    before = torch.rand(40, 3, 16, 16, generator=rng) * 1.6 - 0.8

    def alike(a, b):
        return (a * b).flatten(1).sum(1)

    same = metrics.picture_metrics(before, before, fid=Colours(), identity=alike, batch_size=7)
    assert same["ssim"] == pytest.approx(1)
    assert same["fid"] == pytest.approx(0, abs=1e-2)
    assert same["identity"] == pytest.approx(float(before.square().flatten(1).sum(1).mean()), rel=1e-4)
    lighter = metrics.picture_metrics(before, before + 0.1, fid=Colours())
    assert lighter["psnr"] == pytest.approx(10 * math.log10(2**2 / 0.1**2), rel=1e-4)
    assert lighter["fid"] == pytest.approx(3 * 12.75**2, rel=0.03)  # three means, each a twentieth of 255 away
    assert 0 < lighter["ssim"] < 1
    assert set(metrics.picture_metrics(before[:2], before[:2] * 0.5)) == {"psnr", "ssim"}
    with pytest.raises(ValueError, match="3 features needs more than 3 pictures.* Got 3"):
        metrics.picture_metrics(before[:3], before[:3], fid=Colours())
    with pytest.raises(ValueError, match=r"of one shape.* Got \(40, 3, 16, 16\) and \(39, 3, 16, 16\)"):
        metrics.picture_metrics(before, before[1:])


@pytest.mark.parametrize(
    ("x", "bars", "says"),
    [
        ((0.3, 0.1, 0.5), (0, 0), "holds"),
        ((0.3, -0.1, 0.5), (0, 0), "undecided"),
        ((-0.1, -0.3, 0.1), (0, 0), "undecided"),
        ((-0.3, -0.5, -0.1), (0, 0), "does not hold"),
        ((0.0, 0.0, 0.0), (0, 0), "does not hold"),
        ((0.3, math.nan, 0.5), (0, 0), "undecided"),
        ((0.3, 0.1, math.nan), (0, 0), "holds"),
        ((3, math.nan, 4), (5, 10), "holds"),
        ((3, 2, math.nan), (5, 10), "holds in part"),
        ((95, 92, 97), (90, 75), "holds"),
        ((88, 85, 92), (90, 75), "holds in part"),
        ((70, 60, 80), (90, 75), "does not hold"),
        ((3, 2, 4), (5, 10), "holds"),
        ((6, 4, 8), (5, 10), "holds in part"),
        ((11, 9, 13), (5, 10), "does not hold"),
        ((0.3, math.nan, math.nan), (0, 0), "undecided"),
        ((math.nan,) * 3, (0, 0), "not measured"),
        (None, (0, 0), "not measured"),
    ],
)
def test_a_claim_holds_with_its_whole_interval(x, bars, says):
    assert judged(x and Interval(*x), *bars) == says


def test_who_never_gets_there_has_lost():
    there, never = Interval(0.1, 0.05, 0.2), Interval(*[math.nan] * 3)
    assert gap(there, Interval(0.3, 0.3, 0.3)).value == pytest.approx(-0.2)
    assert judged(gap(never, there), 0, 0) == "holds"
    assert judged(gap(there, never), 0, 0) == "does not hold"
    assert gap(None, there) is None


def test_intervals_come_out_of_a_record():
    record = {"leakage": {"loss": {"mse": [0.2, 0.1, 0.4], "cosine": [None, None, None]}}, "steps": 3}
    assert measured(record, "leakage", "loss", "mse") == Interval(0.2, 0.1, 0.4)
    assert measured(record, "steps") == Interval(3, 3, 3)
    assert all(map(math.isnan, measured(record, "leakage", "loss", "cosine")))
    assert measured(record, "leakage", "loss") is None  # several
    assert measured(record, "leakage", "space", "S") is measured(None, "steps") is None
