"""Several notebooks at a time: in what order they begin, on how many cores, and what happens where one fails."""

import os
import time

import pytest
import runner


@pytest.fixture(autouse=True)
def free(monkeypatch):
    for name in runner.THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)


def events(needs, jobs, **options):
    """What begins and ends, and on how many threads each runs."""
    said, threads = [], {}

    def run(key):
        said.append(f"begin {key}")
        threads[key] = os.environ.get("OMP_NUM_THREADS")
        time.sleep(0.3 if key == "a" else 0.1)
        said.append(f"end {key}")

    runner.several(run, needs, jobs, **options)
    return said, threads


def test_what_wants_to_be_alone_has_all_cores():
    said, threads = events({"a": (), "b": (), "c": ("a",)}, 2, alone=["b", "c"])
    assert said == ["begin b", "end b", "begin a", "end a", "begin c", "end c"]
    assert threads == {"a": "2", "b": None, "c": None}
    assert "OMP_NUM_THREADS" not in os.environ


def test_threads_that_somebody_asked_for_stay(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert events({"a": (), "b": ()}, 2)[1] == {"a": "3", "b": "3"}
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_where_one_fails_others_end_and_none_begins():
    ended, told = [], []

    def run(key):
        if key == "broken":
            raise RuntimeError("planted")
        time.sleep(0.2)
        ended.append(key)

    with pytest.raises(RuntimeError, match="planted"):
        runner.several(run, {"beside": (), "broken": (), "after": ()}, 2, each=told.append)
    assert ended == ["beside"]
    assert told == []
