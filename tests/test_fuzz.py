"""A slice of ``make fuzz``: a few mutations of every format, none of which may end badly."""

import sys

import fuzz
import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited and measured as Linux does")


def test_a_few_mutations_of_every_format_end_well():
    assert tuple(fuzz.formats()) == fuzz.NAMES
    found = fuzz.run(list(fuzz.NAMES), count=25)
    assert not [example for result in found.values() for example in result["examples"]]
    for name, result in found.items():
        assert sum(result["endings"].values()) == 25, name
        assert result["endings"].get("refused", 0) > 2, name


def test_what_ends_badly_is_told(tmp_path):
    def ended(error: BaseException | None) -> str:
        def read(folder: object) -> None:
            if error is not None:
                raise error

        return fuzz.ending(read, tmp_path)[0]

    def caused() -> ValueError:
        try:
            try:
                raise MemoryError
            except MemoryError:
                raise ValueError(f"{tmp_path} is damaged: download it again.") from None
        except ValueError as error:
            return error

    assert ended(None) == "read"
    assert ended(ValueError(f"{tmp_path} is damaged: download it again.")) == "refused"
    assert ended(caused()) == "too much memory"
    assert ended(ValueError("Weights only load failed; set weights_only to False.")) == "unclear"
    assert ended(ValueError("two\nlines.")) == ended(KeyError("x")) == ended(RecursionError()) == "unclear"
