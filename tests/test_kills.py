"""A few of the kills of ``kills.py``: work that is killed and run again ends as if nothing had been."""

from collections.abc import Iterator

import pytest
from kills import Killer


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with Killer().serving() as killer:
        yield killer


@pytest.mark.parametrize(("job", "times"), [("extraction", 3), ("training", 3), ("download", 3), ("book", 1)])
def test_a_kill_loses_nothing(killer: Killer, job: str, times: int):
    found = killer.trial(job, times)
    assert (found["same"], found["faults"]) == (times, [])
