"""Faces are compared with what a user would use instead: tuned apart, kept, told with intervals, whoever wins."""

import json

import pytest
import torch

from deltaedit.effects import Curve, Entry
from deltaedit.worlds.faces import compare


def entry(success: list[float], leakage: list[float], n: int = 40, knob: str = "0.2") -> Entry:
    values = torch.zeros(5, 1, len(success), n)
    for k, share in enumerate(success):
        values[0, 0, k, : round(share * n)] = 1
    values[1, 0] = torch.tensor(leakage)[:, None] + 0.01 * torch.arange(n) / n
    values[4] = 0.9
    return Entry(knob, 1.3, Curve((0.0, 0.5, 1.0), ("old face",), values, apart=1.0))


OURS, THEIRS, NEVER = ([0, 0.6, 1.0], [0, 0.1, 0.3]), ([0, 0.5, 0.9], [0, 0.4, 0.8]), ([0, 0.1, 0.3], [0, 0.2, 0.3])


def test_what_is_told_compares_at_equal_success():
    found = compare.told({"DeltaEdit": entry(*OURS), "published direction": entry(*THEIRS)})
    theirs = found["published direction"]
    assert (theirs["knob"], theirs["strength"]) == ("0.2", 1.3)
    at = theirs["at 80 %"]
    gap = at["leakage"].value - found["DeltaEdit"]["at 80 %"]["leakage"].value
    assert at["beyond"].value == pytest.approx(gap)
    assert 0 < at["beyond"].low < gap < at["beyond"].high
    assert at["same person"].value == 1  # .1 of a squared distance of 1, within .6
    assert "beyond" not in found["DeltaEdit"]["at 80 %"]


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [
        (OURS, THEIRS, "less"),
        (THEIRS, OURS, "more"),
        (OURS, OURS, "undecided"),
        (OURS, NEVER, "alone"),
        (NEVER, OURS, "not reached"),
        (NEVER, NEVER, "neither gets there"),
    ],
)
def test_who_leaks_less_is_told_in_a_word(ours, theirs, word, tmp_path):
    told = compare.told({"DeltaEdit": entry(*ours), "published direction": entry(*theirs)})
    read = compare.kept(tmp_path / "runs" / "one.json", lambda: {"methods": told})
    assert compare.less({"age": read}) == {"age": word}


def test_what_is_done_is_not_done_again(tmp_path):
    asked: list[int] = []

    def make() -> dict[str, int]:
        asked.append(1)
        return {"a": len(asked)}

    first, again = (compare.kept(tmp_path / "a" / "b.json", make) for _ in range(2))
    assert first == again == json.loads((tmp_path / "a" / "b.json").read_text())
    assert (first["a"], set(first)) == (1, {"a", "seconds"})


def test_without_the_files_nothing_is_compared(monkeypatch, tmp_path):
    monkeypatch.setenv("DELTAEDIT_DATA", str(tmp_path))
    assert all(compare.published(None, name) == {} for name in compare.ATTRIBUTES)
    assert {one.toward(p) for k, ps in compare.ATTRIBUTES.items() for p in ps for one in compare.PUBLISHED[k]} == {
        1,
        -1,
    }
