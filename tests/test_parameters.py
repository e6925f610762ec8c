"""What readers give is read as it was declared, or refused in a sentence; never letter by letter."""

import pytest

from deltaedit.parameters import check, check_parameters, count, declared, refuse, seed_number

PROMPTS = "list[str, 20] or None"


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [
        (PROMPTS, "face with a hat", ["face with a hat"]),
        (PROMPTS, '["face with glasses", "face with a hat"]', ["face with glasses", "face with a hat"]),
        (PROMPTS, "['old face']", ["old face"]),
        (PROMPTS, "old face, smiling", ["old face, smiling"]),
        (PROMPTS, "'old face', 'smiling face'", ["old face", "smiling face"]),
        (PROMPTS, "(old) face", ["(old) face"]),
        (PROMPTS, "3", ["3"]),
        (PROMPTS, ("a", " b ", "a"), ["a", "b"]),
        (PROMPTS, [str(k) for k in range(20)], [str(k) for k in range(20)]),
        (PROMPTS, "None", None),
        (PROMPTS, None, None),
        ("list[float]", "0.5, 1", [0.5, 1]),
        ("list[float]", 2, [2]),
        ("list[int] or None", "[0, 3]", [0, 3]),
        *(("bool", given, True) for given in (True, 1, "true", "True", "yes", "on", "1")),
        *(("bool", given, False) for given in (False, 0, "false", "False", "No", "off", "0")),
        ("int", "12", 12),
        ("int", 2e3, 2000),
        ("float", "1e-3", 1e-3),
        ("float", 1, 1),
        ("float or None", "none", "refused"),
        ("float or None", "null", None),
        ("str", "pets", "pets"),
        ("str", '"pets"', "pets"),
        ("str", 2024, "2024"),
        ("str", "007", "007"),
        ("str or None", "None", None),
        ("dict", '{"steps": 60, "on": true}', {"steps": 60, "on": True}),
        ("dict", {}, {}),
    ],
)
def test_what_can_be_read(kind: str, given: object, read: object):
    if read == "refused":
        with pytest.raises(ValueError, match="x must be"):
            check("x", given, kind)
    else:
        found = check("x", given, kind)
        assert found == read
        assert type(found) is type(read)


@pytest.mark.parametrize(
    ("kind", "given", "wanted"),
    [
        *((PROMPTS, given, "a list of 1 to 20 texts") for given in ("", [], "[", [3], ["a", ""], 3, {"a": 1}, "{'a'}")),
        (PROMPTS, [str(k) for k in range(21)], "a list of 1 to 20 texts"),
        ("list[str]", None, "a list of 1 or more texts"),
        *(("list[float]", given, "1 or more numbers") for given in ("far", [], "[1, true]", [float("nan")], None)),
        ("list[int] or None", [1.5], "whole numbers, 0 or more, such as '[3, 1]', or None"),
        *(("bool", given, "true or false") for given in ("maybe", 2, "", None, 0.0)),
        *(("int", given, "a whole number, 1 or more") for given in ("many", 2.5, "2.5", 0, -1, True, None, 10**400)),
        *(("float", given, "a number") for given in ("far", float("inf"), "nan", "NaN", True, None, [1])),
        *(("str", given, "some words") for given in ("", "  ", None, 1.5, True, ["a"])),
        *(("dict", given, "values by name") for given in ("[[", "3", None, {1: 2})),
    ],
)
def test_what_is_refused(kind: str, given: object, wanted: str):
    with pytest.raises(ValueError, match="^x must be ") as refused:
        check("x", given, kind)
    assert wanted in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 250


def test_names_that_say_more():
    assert check("seed", "0", "int") == check("crowd", 0, "int") == 0
    with pytest.raises(ValueError, match="seed must be a whole number, 0 or more"):
        check("seed", -1, "int")
    with pytest.raises(ValueError, match="there is no device 'gpu' on this machine: choose 'cpu'"):
        check("device", "gpu", "str")
    for kind in ("path", "list", "int[str]", "str | None"):
        with pytest.raises(TypeError, match="which is no type of a parameter"):
            check("x", 1, kind)


def test_a_cell_declares_and_its_namespace_is_put_right():
    cell = f'n: int = 80\nprompts: "{PROMPTS}" = None\nstrengths: list[float] = [0.5]\nfree = 3'
    kinds = {"n": "int", "prompts": PROMPTS, "strengths": "list[float]"}
    assert declared(cell) == kinds
    namespace: dict = {}
    exec(cell, namespace)
    namespace |= {"n": "3", "prompts": "old face", "strengths": 2, "free": "4"}
    check_parameters(namespace)
    assert [namespace[name] for name in (*kinds, "free")] == [3, ["old face"], [2], "4"]
    namespace["n"] = "many"
    with pytest.raises(ValueError, match="n must be a whole number"):
        check_parameters(namespace)
    check_parameters({})


def test_a_command_that_is_refused_says_why_and_ends_with_2(capsys):
    with pytest.raises(SystemExit, match="so it is") as stop:
        refuse(ValueError("so it is."))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "so it is.\n"
    assert (count("2"), seed_number("0")) == (2, 0)
