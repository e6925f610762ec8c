"""Distances of sets of pictures, against what can be worked out by hand."""

import pytest
import torch

from deltaedit.metrics import frechet_distance, precision_recall


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
