"""The grid of experiments: run once, several at a time, from notebooks that may fail, into one table."""

import json
import math
import shutil
from pathlib import Path

import experiments
import nbformat
import papermill
import pytest
from experiments import FULL, GRID, REDUCED, Experiment, choose, read_csv, rows, run, write_csv
from nbformat.v4 import new_code_cell, new_notebook

from deltaedit.domains import weights

BODY = """
import json
import pathlib

if speed < 0:
    raise SystemError("planted")
with pathlib.Path(log).open("a") as file:
    file.write("ran ")
measures = {"success at strength 1.0": (speed, speed - 0.1, speed + 0.1), "leakage": (float("nan"),) * 3}
pathlib.Path(out).write_text(json.dumps({
    "measures": measures, "seed": seed, "seconds": 1.5, "weights": weights, "device": "cpu",
    "versions": {"torch": "2"}, "parameters": {"domain": domain, "speed": speed},
}))
"""
SLOW, FAST = Experiment("speed", "slow", {}), Experiment("speed", "fast", {"speed": 9.0})


@pytest.fixture
def notebook(tmp_path) -> Path:
    values = {
        "domain": "portraits",
        "seed": 0,
        "out": "",
        "speed": 1.0,
        "log": f"{tmp_path}/log",
        "weights": weights("portraits"),
    }
    parameters = new_code_cell("\n".join(f"{name} = {value!r}" for name, value in values.items()))
    parameters.metadata["tags"] = ["parameters"]
    path = tmp_path / "one.ipynb"
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=[parameters, new_code_cell(BODY)], metadata={"kernelspec": kernelspec}), path)
    return path


def ran(folder: Path) -> int:
    return (folder / "log").read_text().count("ran") if (folder / "log").exists() else 0


def test_what_is_done_is_not_done_again_and_what_failed_is(notebook, tmp_path):
    again = Experiment("model", "as shipped", {})  # of the same parameters as SLOW: one run serves both
    results = run([SLOW, FAST, again], tmp_path / "out", notebook=notebook)
    assert ran(tmp_path) == 2
    assert [(r["question"], r["variant"], r["measures"]["success at strength 1.0"][0]) for r in results] == [
        ("speed", "slow", 1.0),
        ("speed", "fast", 9.0),
        ("model", "as shipped", 1.0),
    ]
    assert run([SLOW, FAST], tmp_path / "out", notebook=notebook) == results[:2]
    assert ran(tmp_path) == 2

    files = sorted((tmp_path / "out" / weights("portraits")).glob("*.json"))
    files[0].write_text(files[0].read_text()[:40])  # half-written
    files[1].unlink()
    assert run([SLOW, FAST], tmp_path / "out", notebook=notebook) == results[:2]
    assert ran(tmp_path) == 4

    broken = Experiment("speed", "broken", {"speed": -1.0})
    with pytest.raises(RuntimeError, match=r"1 of 2 runs failed: see the last cell of .*\.ipynb"):
        run([broken, SLOW], tmp_path / "out", notebook=notebook, seeds=(7,), jobs=1)
    assert ran(tmp_path) == 5  # the other one ran all the same
    assert run([SLOW], tmp_path / "out", notebook=notebook, seeds=(7,))[0]["seed"] == 7
    assert ran(tmp_path) == 5


def test_an_experiment_that_the_notebook_cannot_run_is_refused(notebook, tmp_path):
    with pytest.raises(ValueError, match="one.ipynb has no parameter 'colour', which 'taste' gives; there are .*speed"):
        run([Experiment("taste", "red", {"colour": "red"})], tmp_path, notebook=notebook)
    assert ran(tmp_path) == 0


def test_results_of_other_weights_are_refused(notebook, tmp_path):
    run([SLOW], tmp_path / "out", notebook=notebook)
    file = next((tmp_path / "out").glob("*/*.json"))
    result = json.loads(file.read_text())
    file.write_text(json.dumps({**result, "weights": "0123456789ab"}))
    with pytest.raises(ValueError, match=r"measured on other weights, 0123456789ab, and these are .*move it away"):
        run([SLOW], tmp_path / "out", notebook=notebook)


def test_the_table_is_tidy_and_comes_back_as_it_was(notebook, tmp_path):
    table = rows(run([SLOW], tmp_path / "out", notebook=notebook))
    assert [(row["measure"], row["strength"]) for row in table] == [("success", "1.0"), ("leakage", "")]
    write_csv(tmp_path / "table.csv", table)
    back = read_csv(tmp_path / "table.csv", "portraits")
    assert list(back[0]) == list(experiments.COLUMNS)
    assert (back[0]["value"], back[0]["high"], back[0]["seed"]) == (1.0, 1.1, 0)
    assert math.isnan(back[1]["value"])
    write_csv(tmp_path / "again.csv", back)
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "table.csv").read_bytes()
    assert read_csv(tmp_path / "table.csv", "pets") == read_csv(tmp_path / "none.csv") == []
    write_csv(tmp_path / "old.csv", [{**row, "weights": "0123456789ab"} for row in table])
    with pytest.raises(ValueError, match="measured on other weights, 0123456789ab.*run the experiments again"):
        read_csv(tmp_path / "old.csv", "portraits")


def test_a_damaged_table_is_named(notebook, tmp_path):
    table = tmp_path / "table.csv"
    write_csv(table, rows(run([SLOW], tmp_path / "out", notebook=notebook)))
    whole = table.read_bytes()
    for content in (b"", whole[:-20], whole[: len(whole) // 2], bytes(len(whole)), b"<html></html>\n"):
        table.write_bytes(content)
        with pytest.raises(ValueError, match="table.csv is damaged, or another table: fetch it again, or move it away"):
            read_csv(table)
    table.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert len(read_csv(table)) == 2


def test_half_a_question_is_left_out():
    table = [{"question": e.question, "variant": e.variant, "seed": 0} for e in GRID if e.variant != "cosine"]
    table += [{**row, "seed": 1} for row in table if row["variant"] != "one"]
    whole = {(row["question"], row["seed"]) for row in experiments.complete(table)}
    assert {question for question, seed in whole if seed == 0} == {e.question for e in GRID} - {"loss"}
    assert {question for question, seed in whole if seed == 1} == {
        e.question for e in GRID if e.question not in ("loss", "groups", "templates")
    }
    assert {row["question"] for row in experiments.complete(table, "space", "loss")} == {"space"}
    assert experiments.complete([]) == []


def test_the_grid_is_longer_where_an_experiment_says_so():
    one = Experiment("method", "ours", {"threshold": 0.3}, {"steps": 4000})
    assert experiments.full([one])[0].parameters == {"threshold": 0.3, "steps": 4000}
    assert one.parameters == {"threshold": 0.3}


def test_seeds_are_summed_up_by_variant():
    def row(variant, seed, value, strength="", measure="leakage"):
        return {
            "question": "loss",
            "variant": variant,
            "seed": seed,
            "measure": measure,
            "strength": strength,
            "value": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }

    table = [
        row("mse", 0, 0.3),
        row("mse", 1, 0.5),
        row("cosine", 0, math.nan),
        row("cosine", 1, 0.2),
        row("mse", 0, 9.0, "1.0"),
        row("mse", 0, 7.0, measure="success"),
    ]
    found = experiments.summary(table, "loss", "leakage")
    assert list(found) == ["mse", "cosine"]
    assert found["mse"].value == pytest.approx(0.4)
    assert found["mse"].high - 0.4 == pytest.approx(math.hypot(0.1, 12.706 * 0.1), rel=1e-3)
    assert math.isnan(found["cosine"].value)
    assert experiments.summary(table, "loss", "leakage", 1.0)["mse"].value == 9.0
    assert experiments.summary(table, "space", "leakage") == {}


@pytest.fixture
def command(notebook, tmp_path, monkeypatch):
    """The command line, on a small grid, and the table that it writes."""
    monkeypatch.setattr(experiments, "GRID", (Experiment("loss", "mse", {"speed": 3.0}), Experiment("space", "S", {})))
    monkeypatch.setattr(experiments, "FULL", {})
    table = tmp_path / "table.csv"
    place = ["--notebook", str(notebook), "--out", f"{tmp_path}/out", "--table", str(table), "--seeds", "0"]
    return lambda *more: experiments.main([*place, *more]), table


def test_questions_asked_anew_take_the_place_of_theirs_in_the_table(command, tmp_path):
    main, table = command
    numbers = dict.fromkeys(("value", "low", "high", "seconds"), 1.0)
    other = {**dict.fromkeys(experiments.COLUMNS, ""), **numbers, "domain": "pets", "question": "loss", "seed": 0}
    write_csv(
        table,
        [
            other,
            {**other, "domain": "portraits", "weights": "0123456789ab"},
            {**other, "domain": "portraits", "weights": weights("portraits"), "result": "of another notebook"},
        ],
    )
    main()
    asked = [("pets", "loss"), *[("portraits", "loss")] * 2, *[("portraits", "space")] * 2]
    assert [(r["domain"], r["question"]) for r in read_csv(table)] == asked
    with pytest.raises(SystemExit, match="there is no experiment 'taste'"):
        main("--only", "taste")
    assert len(read_csv(table)) == 5


def test_two_may_add_to_one_table(command, tmp_path, monkeypatch):
    main, table = command
    write = experiments.write_csv
    main("--only", "space")
    theirs = read_csv(table)
    table.unlink()

    def meanwhile(path, rows):
        monkeypatch.setattr(experiments, "write_csv", write)
        write(path, rows)
        write(path, read_csv(path) + theirs)  # as another command

    monkeypatch.setattr(experiments, "write_csv", meanwhile)
    main("--only", "loss")
    assert [row["question"] for row in read_csv(table)] == ["loss", "loss", "space", "space"]


def test_what_the_table_has_is_not_run_again(command, tmp_path):
    main, table = command
    main()
    whole = table.read_text()
    shutil.rmtree(tmp_path / "out")  # on another machine, say
    main("--only", "loss")
    assert ran(tmp_path) == 2
    assert table.read_text() == whole
    main("--seeds", "1")
    assert ran(tmp_path) == 4
    assert [(r["question"], r["seed"]) for r in read_csv(table)[::2]] == [
        ("loss", 0),
        ("space", 0),
        ("loss", 1),
        ("space", 1),
    ]


def test_a_run_in_the_table_answers_every_question_that_asks_for_it(command, tmp_path, monkeypatch):
    main, table = command
    main("--only", "space")
    shutil.rmtree(tmp_path / "out")
    grid = Experiment("method", "other", {"speed": 2.0}), Experiment("method", "ours", {}), Experiment("space", "S", {})
    monkeypatch.setattr(experiments, "GRID", grid)
    main()
    assert ran(tmp_path) == 2
    found = read_csv(table)
    assert [(r["question"], r["variant"]) for r in found[::2]] == [(e.question, e.variant) for e in grid]
    assert {**found[2], "question": "space", "variant": "S"} == pytest.approx(found[4], nan_ok=True)


def test_the_table_has_what_was_done_before_a_run_failed(command, notebook, monkeypatch):
    main, table = command
    broken = Experiment("space", "broken", {"speed": -1.0})
    monkeypatch.setattr(experiments, "GRID", (SLOW, broken, FAST))
    with pytest.raises(SystemExit, match="1 of 3 runs failed"):
        main("--jobs", "1")
    assert [r["variant"] for r in read_csv(table)[::2]] == ["slow", "fast"]


def test_the_grid_can_be_chosen_from():
    assert {experiment.question for experiment in choose(["loss", "space"])} == {"loss", "space"}
    assert choose([]) == list(GRID)
    with pytest.raises(ValueError, match="there is no experiment 'taste': choose among .*space"):
        choose(["taste"])
    assert [experiment.variant for experiment in choose(["loss"], ["mse"])] == ["mse"]
    with pytest.raises(ValueError, match="there is no variant 'huber': choose among both; mse; cosine"):
        choose(["loss"], ["huber"])
    assert len({(e.question, e.variant) for e in GRID}) == len(GRID)


def test_what_another_revision_made_is_made_again(notebook, tmp_path, monkeypatch):
    run([SLOW], tmp_path / "out", notebook=notebook)
    monkeypatch.setattr(experiments, "REVISION", 0)
    run([SLOW], tmp_path / "out", notebook=notebook)
    assert ran(tmp_path) == 2


def test_the_grid_is_made_of_parameters_of_its_notebook():
    known = set(papermill.inspect_notebook(experiments.NOTEBOOK))
    assert {name for experiment in GRID for name in experiment.parameters} | set(FULL) | set(REDUCED) <= known


def test_chapters_share_what_they_run_on_little(tmp_path, monkeypatch):
    asked = []

    def planned(chosen, out, **common):
        asked.append((Path(out), common))
        return []

    monkeypatch.setattr(experiments, "run", planned)
    assert experiments.reduced([SLOW], tmp_path, domain="portraits", seed=3, goals=2) == []
    (out, common), runs = asked[0], str(tmp_path.resolve())
    assert out == tmp_path / "experiments"
    assert common == {
        **{**REDUCED, "goals": 2, "runs": runs, "device": "cpu"},
        **{"domain": "portraits", "seeds": (3,), "jobs": 1},
    }


def test_a_table_of_other_weights_is_left_out_and_says_so(tmp_path, capsys):
    row = dict.fromkeys(experiments.COLUMNS, "") | {"domain": "portraits", "weights": "0123456789ab", "seed": 0}
    write_csv(tmp_path / "table.csv", [row])
    assert experiments.shipped(tmp_path / "table.csv", "portraits", "loss") == []
    assert "left out: " in capsys.readouterr().out
    table = [{**row, "question": "loss", "variant": e.variant, "weights": weights("portraits")} for e in GRID]
    write_csv(tmp_path / "table.csv", table)
    assert {row["variant"] for row in experiments.shipped(tmp_path / "table.csv", "portraits", "loss")} >= {"mse"}


def test_the_best_knob_leaks_least_of_those_that_get_there(monkeypatch):
    nan = math.nan

    def rows_of(question, variant, leaked, success):
        about = {"question": question, "variant": variant, "seed": 0, "strength": ""}
        leaked = leaked if isinstance(leaked, tuple) else (leaked,) * 3
        numbers = {"leakage at 80 % success": leaked, "best success": (success,) * 3}
        return [
            {**about, "measure": name, **dict(zip(("value", "low", "high"), x, strict=True))}
            for name, x in numbers.items()
        ]

    tried = {
        "ours": (0.3, 0.9),
        "ours, 0.2": (0.2, 0.85),
        "ours, 0.4": ((0.1, nan, nan), 0.81),  # not in all draws
        "ours, 0.6": (nan, 0.7),
        "search, 1": (nan, 0.4),
        "search, 2": (nan, 0.6),
    }
    monkeypatch.setattr(experiments, "GRID", [Experiment("knob", variant, {}) for variant in tried])
    table = [row for variant, x in tried.items() for row in rows_of("method", variant, *x)]
    wanted = {"ours": "ours, 0.2", "search": "search, 2"}
    assert experiments.best_knobs(table, 80) == wanted
    apart = {"ours": 0.3, "ours, 0.2": 0.3, "ours, 0.4": 0.2, "ours, 0.6": 0.3, "search, 1": 0.2}
    elsewhere = [row for variant, leaked in apart.items() for row in rows_of("knob", variant, leaked, 0.9)]
    assert experiments.tuned(table + elsewhere) == {"ours"}  # of the other not all was run
    assert experiments.best_knobs(table + elsewhere, 80) == {"ours": "ours, 0.4", "search": "search, 2"}
    assert experiments.tuned(table) == set()


def test_knobs_are_chosen_once_and_on_pictures_that_are_not_compared():
    method, knob = (experiments.choose([question]) for question in ("method", "knob"))
    many = {one.variant for one in method} - {"random direction"}
    assert {one.variant for one in knob} == many
    assert all(one.once and one.parameters["tuning"] for one in knob)
    assert not any("tuning" in one.parameters for one in GRID if one.question != "knob")
    assert len(experiments.plan(knob, seeds=(0, 1))) == len(knob)
