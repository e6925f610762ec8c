"""Compares edits of faces with what a user would use instead: ``python -m deltaedit.worlds.faces.compare``.

By the judge of faces, on the same faces, at equal success: published directions for five attributes, StyleCLIP's
three methods on six prompts, and, where one is given, a network in place of the matrix that maps, on all prompts. Knobs
and strengths of all methods, ours too, are tuned on faces that are not compared. All pictures are previews. A
comparison that was finished is read from the folder of runs.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltaedit import domains
from deltaedit.baselines import (
    DeltaEdit,
    GlobalDirections,
    LatentMapper,
    LatentMapperTraining,
    LatentOptimization,
    PublishedDirections,
)
from deltaedit.baselines import Method as Baseline
from deltaedit.directions import PUBLISHED, find_direction, read_direction
from deltaedit.editor import Editor, Latent
from deltaedit.effects import MEASURES, Entry, Method, Witness, contest
from deltaedit.files import fingerprint, write_json
from deltaedit.mapper import DeltaMapper
from deltaedit.metrics import measured
from deltaedit.parameters import refuse
from deltaedit.record import digest, write_record
from deltaedit.worlds.faces.judge import FaceGoal, FaceJudge
from deltaedit.worlds.faces.networks import SAME_PERSON

TUNED, COMPARED = 611_000, 612_000  # seeds of the faces
SIZE, SMALL = 256, 128  # pixels of what the judge sees, and of what is descended for
LEVELS = (0.5, 0.8)  # of success, at which methods are compared; they are tuned for the latter

THRESHOLDS = (0.1, 0.2, 0.3, 0.4)  # of DeltaEdit
RELEVANT = (0.15, 0.3, 0.45)  # of global directions
LAYERS = {"all layers": (0, 18), "coarse and medium": (0, 8), "coarse": (0, 4), "medium": (4, 8)}
L2 = (0.002, 0.02)  # of the descent
L2_MAPPER = (0.8, 3.2)
STRENGTHS = (0.4, 0.7, 1.2, 2.0)  # where methods are tuned
AROUND = (0.5, 0.75, 1.0, 1.35, 1.9)  # times what was tuned, where they are compared

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "smile": ("smiling face",),
    "age": ("old face",),
    "gender": ("male face", "female face"),
    "glasses": ("face with glasses",),
    "beard": ("man with a beard",),
}
"""What there are published directions for, and the prompts that are asked."""
PARTS = ("directions", "styleclip", "network")
PROMPTS = (
    *("smiling face", "old face", "face with glasses", "man with a beard"),
    *("face with blond hair", "woman with red lipstick"),
)
"""What StyleCLIP's methods are compared on."""

Judged = dict[str, Any]


def crowd(editor: Editor, judge: FaceJudge, n: int, seed: int) -> tuple[Latent, Witness]:
    """So many faces, and what the judge saw in them."""
    latent = editor.sample(seed=seed, n=n)
    return latent, Witness(judge, latent.tensor)


def lacking(latent: Latent, witness: Witness, goals: Sequence[FaceGoal], n: int) -> Latent:
    """The first ``n`` faces for each goal that count for it, or as many as there are."""
    rows = torch.cat([row.nonzero()[:n, 0] for row in witness.shared_out(goals)])
    return latent[rows.sort().values]


def ours(editor: Editor) -> dict[str, Method]:
    """DeltaEdit by its threshold."""
    return {f"{x:g}": DeltaEdit(editor, x).edit for x in THRESHOLDS}


def published(editor: Editor, attribute: str) -> dict[str, Method]:
    """The published directions of an attribute by file and layers; none of those whose files are not here."""
    variants: dict[str, Method] = {}
    for one in PUBLISHED[attribute]:
        if (path := find_direction(one.file)) is not None:
            direction = read_direction(path)
            signed = {prompt: one.toward(prompt) * direction for prompt in ATTRIBUTES.get(attribute, (one.forwards,))}
            for name, layers in LAYERS.items():
                variants[f"{path.stem}, {name}"] = PublishedDirections(editor, signed, layers).edit
    return variants


def styleclip(editor: Editor, runs: Path, steps: int, batches: int) -> dict[str, dict[str, Method]]:
    """StyleCLIP's three methods by their knobs; the last two descend for small previews, in few steps."""
    small = editor.at(SMALL)

    def drawn(method: Baseline) -> Method:
        """A method of the small pictures' editor, drawn as all others."""
        return lambda latent, prompt: method.edit(latent, prompt).at(SIZE)

    recipe = partial(LatentMapperTraining, batches, 2)
    return {
        "global directions": {f"{x:g}": GlobalDirections(editor, editor.relevance, x).edit for x in RELEVANT},
        "latent optimization": {f"{x:g}": drawn(LatentOptimization(small, steps, l2=x)) for x in L2},
        "latent mapper": {f"{x:g}": drawn(LatentMapper(small, runs / "mappers", recipe(l2=x))) for x in L2_MAPPER},
    }


def told(entries: Mapping[str, Entry]) -> Judged:
    """What a contest came to: by method its knob, its strength, and its measures at equal success, with intervals.

    ``beyond`` is by how much the method leaks more than DeltaEdit, face by face; ``same person`` a share of the faces.
    """
    first, found = entries["DeltaEdit"].curve, {}
    for name, entry in entries.items():
        curve, same = entry.curve, entry.curve.same_subject(SAME_PERSON)
        row: Judged = {"knob": entry.knob, "strength": entry.strength, "best success": curve.best}
        usual = curve.strengths.index(1.0)
        row["at the tuned strength"] = {m: curve.mean(m)[usual] for m in MEASURES[:4]}
        row["at the tuned strength"]["same person"] = same.mean("likeness")[usual]
        for level in LEVELS:
            at = {m: curve.at(level, m) for m in MEASURES[1:4]} | {"same person": same.at(level, "likeness")}
            if name != "DeltaEdit":
                at["beyond"] = curve.beyond(first, level, "leakage")
                at["beyond in flips"] = curve.beyond(first, level, "flips")
            row[f"at {100 * level:g} %"] = at
        row["curve"] = {m: dict(zip(map(str, curve.strengths), curve.mean(m), strict=True)) for m in MEASURES[:2]}
        found[name] = row
    return found


def kept(path: Path, make: Callable[[], Judged]) -> Judged:
    """What a file holds, or what is made and written to it now, with the seconds that it took."""
    if not path.exists():
        start = time.perf_counter()
        made = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {**made, "seconds": round(time.perf_counter() - start, 1)})
    return json.loads(path.read_text(encoding="utf-8"))


def compare(
    editor: Editor,
    judge: FaceJudge,
    runs: Path,
    n: int = 60,
    n_tuned: int = 16,
    n_dear: int = 6,
    steps: int = 30,
    batches: int = 30,
    network: DeltaMapper | None = None,
    only: Collection[str] = PARTS,
) -> Judged:
    """Comparisons, what is in ``runs`` read: «directions» by attribute, «styleclip», and «network» if there is one.

    Args:
        editor: of faces.
        runs: a folder for these weights alone.
        n, n_tuned: faces for each attribute with published directions, compared and tuned on.
        n_dear: faces for each of ``PROMPTS``; half as many are tuned on. Each takes ``steps`` of descent.
        batches: of two pictures, for each prompt's latent mapper.
        network: a mapper of the same CLIP's features, which decides itself how long its edits are.
        only: some of ``PARTS``.
    """
    editor, goals = editor.at(SIZE), {goal.prompt: goal for goal in judge.goals}
    knobs = (THRESHOLDS, RELEVANT, LAYERS, L2, L2_MAPPER, STRENGTHS, AROUND, PROMPTS, ATTRIBUTES)
    sizes = digest(n, n_tuned, n_dear, steps, batches, *knobs)
    apart = cache(lambda: crowd(editor, judge, 6 * n_tuned, TUNED))  # drawn once, and only where they are needed
    others = cache(lambda: crowd(editor, judge, 5 * n, COMPARED))

    def held(prompts: Sequence[str], tuned: int, compared: int, methods: dict[str, dict[str, Method]]) -> Judged:
        asked = [goals[prompt] for prompt in prompts]
        tuning, faces = lacking(*apart(), asked, tuned), lacking(*others(), asked, compared)
        entries = contest(methods, judge, tuning, faces, asked, STRENGTHS, LEVELS[-1], AROUND)
        return {"faces": len(faces), "tuned on": len(tuning), "prompts": prompts, "methods": told(entries)}

    def one(attribute: str) -> Judged:
        prompts = ATTRIBUTES[attribute]
        methods = {"DeltaEdit": ours(editor), "published direction": published(editor, attribute)}
        return held(prompts, n_tuned // len(prompts), n // len(prompts), methods)

    def three() -> Judged:
        methods = {"DeltaEdit": ours(editor), **styleclip(editor, runs, steps, batches)}
        return held(PROMPTS, math.ceil(n_dear / 2), n_dear, methods)

    def other() -> Judged:
        card = replace(editor.domain, length=None, gain=1.0)
        theirs = Editor(editor.generator, editor.clip, network, editor.relevance, card).at(SIZE)
        methods = {"DeltaEdit": ours(editor), "network": ours(theirs)}
        return held(list(goals), math.ceil(n_tuned / 8), math.ceil(n / 10), methods)

    found: Judged = {}
    if "directions" in only:
        found["directions"] = {
            name: kept(runs / f"directions-{name}-{sizes}.json", partial(one, name))
            for name in ATTRIBUTES
            if published(editor, name)
        }
    if "styleclip" in only:
        dear = kept(runs / f"styleclip-{sizes}.json", three)
        found["styleclip"] = {**dear, "steps": steps, "batches": batches}
    if "network" in only and network is not None:
        found["network"] = kept(runs / f"network-{sizes}-{fingerprint(network.state_dict())}.json", other)
    return found


@torch.no_grad()
def side_by_side(
    editor: Editor, judge: FaceJudge, latent: Latent, attribute: str, found: Judged, n: int = 2
) -> list[Tensor]:
    """The first ``n`` faces that lack an attribute, each as drawn, edited by DeltaEdit and along the direction.

    With the knobs and strengths of ``found``, which ``compare`` gave; nothing where the direction's file is not here.
    """
    prompt, methods = ATTRIBUTES[attribute][0], found["methods"]
    theirs = published(editor, attribute).get(methods["published direction"]["knob"])
    if theirs is None:
        return []
    (goal,) = (goal for goal in judge.goals if goal.prompt == prompt)
    few, images = latent[Witness(judge, latent.tensor).counts(goal).nonzero()[:n, 0]], []
    for name, edit in (("DeltaEdit", ours(editor)[methods["DeltaEdit"]["knob"]]), ("published direction", theirs)):
        images.append(edit(few, prompt).with_strength(methods[name]["strength"]).tensor)
    return list(torch.stack([few.tensor, *images], dim=1).flatten(0, 1))


def less(directions: Mapping[str, Judged], level: float = LEVELS[-1]) -> dict[str, str]:
    """By attribute, whether DeltaEdit leaks "less" than the published direction at equal success, "more", or neither.

    Neither, "undecided", where the interval of the difference holds 0; "alone" where only one of the two gets there.
    """
    words, at = {}, f"at {100 * level:g} %"
    for name, found in directions.items():
        ours, theirs = (measured(found, "methods", m, at, "leakage") for m in ("DeltaEdit", "published direction"))
        if math.isnan(ours.value) or math.isnan(theirs.value):
            reached = not math.isnan(ours.value), not math.isnan(theirs.value)
            words[name] = {(True, False): "alone", (False, True): "not reached"}.get(reached, "neither gets there")
            continue
        beyond = measured(found, "methods", "published direction", at, "beyond")
        words[name] = "less" if beyond.low > 0 else "more" if beyond.high < 0 else "undecided"
    return words


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--domain", default="faces")
    parser.add_argument("--runs", type=Path, default=Path("runs/compare"))
    parser.add_argument("--out", type=Path, default=Path("figures/methods_faces.json"))
    parser.add_argument("--faces", type=int, default=60, help="that are compared, for each attribute")
    parser.add_argument("--network", type=Path, help="a mapper to compare with, of `train domain --network`")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some of the comparisons")
    arguments = parser.parse_args(argv)
    start, weights = time.perf_counter(), domains.weights(arguments.domain)
    try:
        editor = Editor.from_pretrained(arguments.domain)
        network = arguments.network and DeltaMapper.load(arguments.network)
        given = {"n": arguments.faces, "network": network, "only": arguments.only}
        found = compare(editor, FaceJudge.load(), arguments.runs / weights, **given)
    except (ValueError, FileNotFoundError) as error:
        refuse(error)
    if "directions" in arguments.only and not found["directions"]:
        sys.exit("the published directions are not here: set DELTAEDIT_DATA to where they are.")
    directions = found.setdefault("directions", {})
    found["less"] = {f"{100 * level:g} %": less(directions, level) for level in LEVELS}
    seconds = round(time.perf_counter() - start, 1)
    write_record(arguments.out, found, seed=COMPARED, seconds=seconds, domain=arguments.domain, weights=weights)
    print(json.dumps(found["less"], indent=1))


if __name__ == "__main__":
    main()
