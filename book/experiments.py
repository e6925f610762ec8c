"""Experiments as a habit: one notebook, many parameters, one table; what is done is not done again.

    python book/experiments.py --only loss space     two questions of the full grid
    python book/experiments.py --reduced --jobs 1    all of them on little, one after the other

Every run is the notebook with parameters of its own, and leaves one JSON file: parameters, seed, weights, versions,
device, seconds, measures. An experiment is added by adding its parameters to ``GRID``.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import papermill
import runner
from tqdm import tqdm

from deltaedit.domains import weights
from deltaedit.effects import best_knob
from deltaedit.files import locked, write_whole
from deltaedit.metrics import Interval, pooled
from deltaedit.parameters import count, refuse, seed_number
from deltaedit.record import REVISION, digest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = runner.chapters(ROOT)["one_experiment"]
COLUMNS = (
    "question",
    "variant",
    "domain",
    "seed",
    "strength",
    "measure",
    "value",
    "low",
    "high",
    "seconds",
    "device",
    "torch",
    "weights",
    "result",
)
WRITTEN = {"measures", "parameters", "seed", "weights", "seconds", "device", "versions"}
"""What a run writes: see ``record.write_record``. A measure is a value with the ends of its interval."""


@dataclass(frozen=True)
class Experiment:
    """One variant of one question, as parameters of the notebook that differ from its own.

    Attributes:
        question: what is varied.
        variant: how, as a reader sees it.
        parameters: of the notebook; none for the method as it is.
        full: further ones, in the full grid only.
        once: whether it is run with seed 0 alone.
    """

    question: str
    variant: str
    parameters: dict[str, Any]
    full: dict[str, Any] = field(default_factory=dict)
    once: bool = False


def _method(variant: str) -> str:
    """A variant's name without its knob."""
    return variant.split(",")[0]


def varied(question: str, **variants: dict[str, Any]) -> tuple[Experiment, ...]:
    """The experiments of one question, with underscores in the names of its variants for spaces."""
    return tuple(Experiment(question, name.replace("_", " "), parameters) for name, parameters in variants.items())


SHIPPED = 4000  # steps that the mappers which ship were trained for; all but methods are compared at half of it

METHODS: tuple[Experiment, ...] = (
    *(
        Experiment("method", name, parameters, {"steps": SHIPPED})
        for name, parameters in (
            ("DeltaEdit", {}),
            *((f"DeltaEdit, {x:g}", {"threshold": x}) for x in (0.1, 0.3, 0.4, 0.5, 0.6)),
            ("captions", {"supervision": "captions"}),
            *((f"captions, {x:g}", {"supervision": "captions", "threshold": x}) for x in (0.1, 0.3, 0.4, 0.5)),
            ("random direction", {"method": "random direction"}),
        )
    ),
    *(
        Experiment("method", name, {"method": "linear boundary", **knob})
        for name, knob in (("linear boundary", {}), ("linear boundary, conditional", {"knob": 1}))
    ),
    *(
        Experiment("method", f"global directions, {x:g}", {"method": "global directions", "n_latents": 100, "knob": x})
        for x in (0.2, 0.25, 0.3, 0.4, 0.5, 0.6)
    ),
    *(
        Experiment(
            "method", f"latent optimization, {x:g}", {"method": "latent optimization", "knob": x, "n_judged": 240}
        )  # each picture is dear
        for x in (0.0005, 0.002, 0.008)
    ),
    *(Experiment("method", f"latent mapper, {x:g}", {"method": "latent mapper", "knob": x}) for x in (0.8, 3.2, 12.8)),
)
"""Methods have knobs: the best value of each should lie within its range, not at an end."""

KNOBS: dict[str, Any] = {"tuning": True, "n_judged": 240}
"""Where knobs are chosen: on pictures that no method is compared on."""
FEWER: dict[str, dict[str, Any]] = {
    "latent optimization": {"n_judged": 24},
    "latent mapper": {"n_judged": 48, "goals": 3},  # it trains for each goal
}


def tuning(experiments: Sequence[Experiment]) -> tuple[Experiment, ...]:
    """The question "knob": the same methods where knobs are chosen; those only that have several values to choose from.

    >>> [one.variant for one in tuning([Experiment("method", x, {}) for x in ("a", "b", "b, 2")])]
    ['b', 'b, 2']
    """
    many = Counter(map(_method, (one.variant for one in experiments)))
    return tuple(
        Experiment("knob", one.variant, {**one.parameters, **KNOBS, **FEWER.get(name, {})}, one.full, once=True)
        for one in experiments
        if many[name := _method(one.variant)] > 1
    )


GRID: tuple[Experiment, ...] = (
    *varied("condition", unit_delta={}, delta={"condition": "delta"}, target={"condition": "target"}),
    *varied("source in the condition", yes={}, no={"sees_source": False}),
    *varied(
        "space",
        S={},
        S_without_mask={"relevance": "none"},
        W_plus={"space": "w_plus"},
        W_plus_in_one_group={"space": "w_plus", "groups": 1},
    ),
    *varied("groups", three={}, one={"groups": 1}),
    *varied("loss", both={}, mse={"loss": "mse"}, cosine={"loss": "cosine"}),
    *(
        Experiment("pictures", f"{n:,}", {"pictures": n} if n != 20_000 else {})
        for n in (1000, 3000, 10_000, 20_000, 50_000, 200_000)
    ),
    *(Experiment("steps", f"{n:,}", {"steps": n} if n != 2000 else {}) for n in (250, 1000, 2000, 4000, 8000)),
    *(Experiment("threshold", f"{x:g}", {"threshold": x}) for x in (0.0, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)),
    *varied("relevance", regression={}, none={"relevance": "none"}, differences={"relevance": "differences"}),
    Experiment("differences", "none, regression", {}),
    *(
        Experiment("differences", f"{n} pictures, {x:g}", {"relevance": "differences", "n_latents": n, "threshold": x})
        for n in (16, 100)
        for x in (0.2, 0.4)
    ),
    *varied("templates", all={}, one={"templates": 1}),
    *varied("CLIP", medium={}, small={"clip": "small"}, tiny={"clip": "tiny"}),
    *varied("supervision", pictures={}, captions={"supervision": "captions"}),
    *METHODS,
    *tuning(METHODS),
)

FULL: dict[str, Any] = {
    "pictures": 20_000,
    "steps": 2000,
    "n_judged": 1200,
    "goals": 24,
    "strengths": [0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0],
}
"""What all runs have in common where an experiment says nothing else."""
REDUCED: dict[str, Any] = {
    **FULL,
    "pictures": 3000,
    "steps": 250,
    "n_judged": 120,
    "goals": 6,
    "strengths": [0.5, 1.0, 2.0],
}
"""The same, on little: enough to see which way it goes, with wide intervals, in less than a minute each."""


def full(experiments: Iterable[Experiment]) -> list[Experiment]:
    """The same with the parameters that they have in the full grid only."""
    return [replace(one, parameters={**one.parameters, **one.full}) for one in experiments]


def choose(questions: Sequence[str], variants: Sequence[str] = ()) -> list[Experiment]:
    """The grid's experiments of some questions, and of these some variants; all where none is named.

    Raises:
        ValueError: if there is no such question or variant; the message lists those there are.
    """

    def some(of: Sequence[Experiment], field: str, names: Sequence[str]) -> list[Experiment]:
        known = list(dict.fromkeys(getattr(experiment, field) for experiment in of))
        if unknown := [name for name in names if name not in known]:
            raise ValueError(f"there is no {what[field]} {unknown[0]!r}: choose among {'; '.join(known)}.")
        return [experiment for experiment in of if not names or getattr(experiment, field) in names]

    what = {"question": "experiment", "variant": "variant"}
    return some(some(GRID, "question", questions), "variant", variants)


class Planned(NamedTuple):
    """One run: of an experiment, with a seed; ``result`` is twelve digits that tell its parameters and revision."""

    experiment: Experiment
    parameters: dict[str, Any]
    result: str

    @property
    def row(self) -> tuple[str, str, str]:
        """Question, variant and result, by which its rows in a table are known."""
        return self.experiment.question, self.experiment.variant, self.result


def plan(
    experiments: Sequence[Experiment],
    *,
    notebook: str | Path = NOTEBOOK,
    domain: str = "portraits",
    seeds: Sequence[int] = (0,),
    **common: Any,
) -> list[Planned]:
    """The runs of some experiments, all with one seed, then all with the next: a night cut short has finished some.

    Raises:
        ValueError: if the notebook lacks a parameter.
    """
    notebook = Path(notebook)
    known = set(papermill.inspect_notebook(notebook))
    runs = []
    for seed in seeds:
        for experiment in experiments:
            if experiment.once and seed:
                continue
            parameters = {**common, **experiment.parameters, "domain": str(domain), "seed": seed}
            if unknown := set(parameters) - known:
                raise ValueError(
                    f"{notebook.name} has no parameter {min(unknown)!r}, which {experiment.question!r} "
                    f"gives; there are {', '.join(sorted(known))}."
                )
            runs.append(Planned(experiment, parameters, digest(parameters, REVISION)))
    return runs


def run(
    experiments: Sequence[Experiment],
    out: str | Path,
    *,
    notebook: str | Path = NOTEBOOK,
    domain: str = "portraits",
    seeds: Sequence[int] = (0,),
    jobs: int = 2,
    done: Collection[tuple[str, str, str]] = (),
    each: Callable[[list[dict[str, Any]]], None] | None = None,
    **common: Any,
) -> list[dict[str, Any]]:
    """Run what is not done yet, several at a time, and give all results.

    Args:
        experiments: of ``GRID``, or your own.
        out: folder for results, one JSON file each with the notebook that made it, in a folder named after the weights.
        notebook: whose parameters they are; it writes what ``WRITTEN`` names to the file that is its parameter ``out``.
        domain: a registered name or a folder.
        seeds: every experiment is run with each.
        jobs: notebooks at a time, which share the processor's cores.
        done: by ``Planned.row``, what is had already elsewhere: neither run nor given.
        each: is given all results so far, whenever a run has ended.
        common: further parameters of all, below those of an experiment.

    Returns:
        What each run wrote, with ``question``, ``variant`` and ``result`` added; experiments of the same parameters
        share one.

    Raises:
        ValueError: if the notebook lacks a parameter.
        RuntimeError: if runs failed, after the others have ended; the message names them and where their notebooks are.
    """
    notebook, place = Path(notebook).resolve(), Path(out).resolve() / weights(domain)
    wanted = [
        (planned, place / f"{planned.result}.json")
        for planned in plan(experiments, notebook=notebook, domain=domain, seeds=seeds, **common)
        if planned.row not in done
    ]

    def results() -> list[dict[str, Any]]:
        found = [(planned, read(path, place.name)) for planned, path in wanted]
        return [
            {**dict(zip(("question", "variant", "result"), planned.row, strict=True)), **result}
            for planned, result in found
            if result
        ]

    todo = {path: {**planned.parameters, "out": str(path)} for planned, path in wanted if not read(path, place.name)}

    def execute(path: Path) -> None:
        with suppress(RuntimeError), locked(path):  # the others go on
            if not read(path, place.name):  # nobody else has run it meanwhile
                runner.execute(notebook, path.with_suffix(".ipynb"), todo[path])

    with tqdm(total=len(todo), desc="experiments", unit="run") as bar:

        def ended(path: Path) -> None:
            bar.update()
            if each:
                each(results())

        runner.several(execute, dict.fromkeys(todo, ()), jobs, each=ended)
    if failed := [str(path.with_suffix(".part.ipynb")) for path in todo if not read(path)]:
        raise RuntimeError(f"{len(failed)} of {len(todo)} runs failed: see the last cell of {', '.join(failed)}.")
    return results()


def reduced(
    experiments: Sequence[Experiment],
    runs: str | Path,
    *,
    domain: str,
    seed: int = 0,
    device: str = "cpu",
    jobs: int = 1,
    **overrides: Any,
) -> list[dict[str, Any]]:
    """Rows of experiments on little, run here and now; what another chapter has run, with the same parameters, is read.

    Args:
        experiments: of ``GRID``, or your own.
        runs: folder of training sets, mappers and results.
        domain, seed, jobs: as in ``run``.
        device: that the notebook is given.
        overrides: of ``REDUCED``.
    """
    common = {**REDUCED, "runs": str(Path(runs).resolve()), "device": device, **overrides}
    return rows(run(experiments, Path(runs) / "experiments", domain=domain, seeds=(seed,), jobs=jobs, **common))


def read(path: str | Path, made_from: str | None = None) -> dict[str, Any] | None:
    """A result, or None where there is none or only a part of one, which is to be made again.

    Args:
        path: of the JSON file.
        made_from: the weights that it must have been made from, see ``weights``; None for any.

    Raises:
        ValueError: if it was made from other weights.
    """
    try:
        result = json.loads(Path(path).read_bytes())
        if WRITTEN - result.keys():
            return None
    except (OSError, ValueError, AttributeError):
        return None
    if made_from is not None and result["weights"] != made_from:
        raise ValueError(
            f"{path} was measured on other weights, {result['weights']}, and these are {made_from}: move "
            "it away, and it is measured again."
        )
    return result


def rows(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One tidy table of results: a row for each run, measure and, where it is one of a curve, strength; ``COLUMNS``."""
    out = []
    for result in results:
        about = {
            "question": result["question"],
            "variant": result["variant"],
            "seed": result["seed"],
            "domain": result["parameters"]["domain"],
            "seconds": round(result["seconds"], 1),
            "device": result["device"],
            "torch": result["versions"]["torch"],
            "weights": result["weights"],
            "result": result["result"],
        }
        for name, interval in result["measures"].items():
            measure, _, strength = name.partition(" at strength ")
            value, low, high = (float("nan") if x is None else round(x, 4) for x in interval)
            out.append({**about, "strength": strength, "measure": measure, "value": value, "low": low, "high": high})
    return out


def write_csv(path: str | Path, table: Sequence[dict[str, Any]]) -> None:
    """Write the rows of ``rows`` as CSV, whole or not at all; what is no number is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v != v else v for k, v in row.items()} for row in table)
    write_whole(path, lambda p: p.write_text(text.getvalue(), encoding="utf-8"))


def read_csv(path: str | Path, domain: str | None = None) -> list[dict[str, Any]]:
    """The rows that ``write_csv`` wrote, numbers as numbers, NaN where a field is empty.

    Args:
        path: of the table; no rows where there is none.
        domain: take its rows only, if they were measured on the weights that it has now.

    Raises:
        ValueError: if a row of the domain was measured on other weights, or the table is damaged.
    """
    if not Path(path).is_file():
        return []
    text = Path(path).read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    numbers = ("value", "low", "high", "seconds")
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        lines = list(reader) if tuple(reader.fieldnames or ()) == COLUMNS and text.endswith("\n") else [{None: None}]
        if any(None in line or None in line.values() for line in lines):  # a line that is longer or shorter
            raise ValueError
        lines = [
            {**row, **{name: float(row[name] or "nan") for name in numbers}, "seed": int(row["seed"])} for row in lines
        ]
    except (ValueError, csv.Error):
        again = "fetch it again, or move it away, and what the runs have left is written to a new one"
        raise ValueError(f"{path} is damaged, or another table: {again}.") from None
    table = [row for row in lines if domain in (None, row["domain"])]
    made_from = None if domain is None or not table else weights(domain)
    if made_from and (other := {row["weights"] for row in table} - {made_from}):
        raise ValueError(
            f"{path} holds what was measured on other weights, {', '.join(sorted(other))}, and these are "
            f"{made_from}: run the experiments again."
        )
    return table


def shipped(path: str | Path, domain: str, *questions: str) -> list[dict[str, Any]]:
    """The rows that count of a table that is read, see ``complete``; none, and why, where weights are others now."""
    try:
        return complete(read_csv(path, domain), *questions)
    except ValueError as reason:
        print(f"The full table is left out: {reason}")
        return []


def complete(table: Iterable[dict[str, Any]], *questions: str) -> list[dict[str, Any]]:
    """The rows of those questions of which every variant of the grid has been run; of some only, where they are named.

    Half of a question compares nothing, nor do variants with other seeds: of each question, the seeds count that all
    its variants have. A table that is not finished is good for what it has.
    """
    table, grid = list(table), {}
    for experiment in choose(questions):
        grid.setdefault(experiment.question, set()).add(experiment.variant)
    there: dict[tuple[str, int], set[str]] = {}
    for row in table:
        there.setdefault((row["question"], row["seed"]), set()).add(row["variant"])
    whole = {key for key, variants in there.items() if key[0] in grid and not grid[key[0]] - variants}
    return [row for row in table if (row["question"], row["seed"]) in whole]


def summary(
    table: Iterable[dict[str, Any]], question: str, measure: str, strength: float | None = None
) -> dict[str, Interval]:
    """A measure of every variant of a question, the seeds together, see ``metrics.pooled``.

    Args:
        table: what ``rows`` or ``read_csv`` gave.
        question, measure: as in the table.
        strength: of a measure that is one of a curve.

    Returns:
        An interval by variant, in the table's order; not a number where a seed has none, such as the leakage at a
        success that it never reached.
    """
    found: dict[str, list[Interval]] = {}
    for row in table:
        at = float(row["strength"]) if row["strength"] != "" else None
        if (row["question"], row["measure"], at) == (question, measure, strength):
            found.setdefault(row["variant"], []).append(Interval(row["value"], row["low"], row["high"]))
    return {variant: pooled(intervals) for variant, intervals in found.items()}


def best_knobs(table: list[dict[str, Any]], level: int) -> dict[str, str]:
    """By method, the variant whose knob is best at a share of success, in per cent: see ``effects.best_knob``.

    It is best on pictures that are not compared, those of the question "knob", whose rows ``table`` may have. Of
    methods that are not ``tuned`` there it is the best on those that are, which favours them.
    """
    table = list(table)
    apart, found = tuned(table), {}
    for question in ("method", "knob"):
        names = f"leakage at {level} % success", "best success"
        leaked, success = (summary(table, question, name) for name in names)
        tried: dict[str, dict[str, tuple[Interval, Interval]]] = {}
        for variant, x in leaked.items():
            if question == "method" or _method(variant) in apart:
                tried.setdefault(_method(variant), {})[variant] = x, success[variant]
        found |= {method: best_knob(variants) for method, variants in tried.items()}
    return found


def tuned(table: Iterable[dict[str, Any]]) -> set[str]:
    """The methods of which every variant has been run where knobs are chosen."""
    there = {row["variant"] for row in table if row["question"] == "knob"}
    wanted = {one.variant for one in GRID if one.question == "knob"}
    return set(map(_method, wanted)) - set(map(_method, wanted - there))


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="QUESTION", help="some of the grid's questions")
    parser.add_argument("--domain", default="portraits")
    parser.add_argument("--seeds", nargs="+", type=seed_number, default=[0, 1, 2])
    parser.add_argument("--jobs", type=count, default=2, help="notebooks at a time")
    parser.add_argument("--reduced", action="store_true", help="on little: which way it goes, in minutes")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK)
    parser.add_argument("--out", type=Path, default=ROOT / "runs/experiments", help="results, by weights")
    parser.add_argument(
        "--table",
        type=Path,
        help="CSV that every result goes to, in the place of older ones; what it has is not run again",
    )
    arguments = parser.parse_args(argv)
    try:
        chosen, common = choose(arguments.only), REDUCED if arguments.reduced else FULL
        chosen = chosen if arguments.reduced else full(chosen)
        arguments.domain = runner.anchored("domain", arguments.domain)  # notebooks have another folder to work in
        asked = {"notebook": arguments.notebook, "domain": arguments.domain, **common}
        table, now = read_csv(arguments.table) if arguments.table else [], weights(arguments.domain)
        had = [row for row in table if row["domain"] == arguments.domain and row["weights"] == now]

        def planned(seeds: Iterable[int]) -> set[tuple[str, str, str]]:
            return {run.row for run in plan(chosen, seeds=sorted(seeds), **asked)}

        questions = {experiment.question for experiment in chosen}
        valid = planned({row["seed"] for row in had})  # of seeds that are not asked for now, too
        kept = [row for row in had if row["question"] not in questions or _row(row) in valid]
        shared = _shared(had, planned(arguments.seeds) - set(map(_row, kept)))
        done = set(map(_row, kept + shared))
        old = {_key(row) for row in table if row["domain"] == arguments.domain} - set(map(_key, kept))
        place = {(experiment.question, experiment.variant): k for k, experiment in enumerate(GRID)}

        def write(results: list[dict[str, Any]]) -> None:
            if not arguments.table:
                return
            new = shared + rows(results)
            with locked(arguments.table):  # others may be adding to it
                gone = old | set(map(_key, new))
                now_there = [row for row in read_csv(arguments.table) if _key(row) not in gone]
                others = [row for row in now_there if row["domain"] != arguments.domain]
                of_domain = [row for row in now_there if row["domain"] == arguments.domain] + new
                of_domain.sort(key=lambda row: (row["seed"], place.get(_row(row)[:2], len(place))))
                write_csv(arguments.table, others + of_domain)

        write(run(chosen, arguments.out, seeds=arguments.seeds, jobs=arguments.jobs, done=done, each=write, **asked))
    except ValueError as error:
        refuse(error)
    except (RuntimeError, OSError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        os._exit(130)  # kernels end with their parent; the threads would wait for their notebooks


def _shared(had: Sequence[dict[str, Any]], lacking: Iterable[tuple[str, str, str]]) -> list[dict[str, Any]]:
    """Rows for what is lacking where the same run answers another question already."""
    runs: dict[str, dict[tuple[str, str, str], list[dict[str, Any]]]] = {}
    for row in had:
        runs.setdefault(row["result"], {}).setdefault(_row(row), []).append(row)
    return [
        {**row, "question": question, "variant": variant}
        for question, variant, result in lacking
        if result in runs
        for row in next(iter(runs[result].values()))
    ]


def _row(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["question"], row["variant"], row["result"]


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["domain"], row["weights"], *_row(row)


if __name__ == "__main__":
    main()
