"""How edits of faces go, as their judge sees them; length and threshold are tuned on other faces than are measured.

No trainer sees any of these faces: they have a seed of their own. Previews are compared with previews. A face is asked
only for what it lacks, «man with a beard» only of men, and from «man».
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from deltaedit.editor import Editor, Latent
from deltaedit.effects import MEASURES, Witness
from deltaedit.features import shard_latents
from deltaedit.files import fingerprint, read_tensors, write_tensors
from deltaedit.record import digest
from deltaedit.worlds.evaluate import HELD_OUT
from deltaedit.worlds.faces.judge import FaceGoal, FaceJudge, same_person
from deltaedit.worlds.faces.pool import FacePool, as_image

SEED = HELD_OUT  # of faces that no trainer sees
TUNING, SHARDS = 1, 2  # of 1024 faces: the first tunes, the others are measured on
FACES = 100  # that a prompt is measured on
EACH = 20  # that a prompt is tuned on
FURTHER, FEW = 1.5, 30  # a strength besides 1, on fewer of them: whether what fails is asked for too softly
LENGTHS, THRESHOLDS = (36.0, 38.0, 40.0), (0.1, 0.15)  # that are tried
KEPT = 0.9  # least share of edits that leave the same person: 90 % are wanted, and the best of many flatters itself
CHANGES_PERSON = ("age", "man")  # attributes of edits after which nobody need be the same
BATCH = 64  # pictures at a time

Look = tuple[Tensor, Tensor]  # attributes (n, A) and descriptors (n, E) of pictures, from FaceJudge.look


def judged(judge: FaceJudge, pool: FacePool) -> Look:
    """What the judge sees in all faces of a pool; kept beside them."""
    looks, own = [], told_apart(judge)
    for shard in range(pool.shards):
        if not (path := pool.path(shard, f"judged-{own}")).exists():
            write_look(path, judge.look(as_image(pool.read(shard, "picture"))))
        looks.append(read_look(path))
    return tuple(map(torch.cat, zip(*looks, strict=True)))


def told_apart(judge: FaceJudge) -> str:
    """Digits that tell a judge from others."""
    return digest(fingerprint(judge.state_dict()), asdict(judge.reading))


def write_look(path: Path, look: Look) -> None:
    """Keep what a judge saw."""
    write_tensors(path, dict(zip(("read", "descriptor"), look, strict=True)), {})


def read_look(path: Path) -> Look:
    """What ``write_look`` kept."""
    kept = read_tensors(path)[0]
    return kept["read"], kept["descriptor"]


@torch.no_grad()
def latents(editor: Editor, pool: FacePool) -> Latent:
    """The latents of all faces of a pool, with CLIP's features of their previews; without pictures."""
    parts = []
    for shard in tqdm(range(pool.shards), desc="features", unit="shard", delay=2):
        z = shard_latents(pool.manifest["seed"], shard, editor.generator.z_dim).to(editor.device)
        w = editor.generator.mapping(z, pool.manifest["truncation"])
        pictures = pool.read(shard, "picture").split(BATCH)
        feature = torch.cat([editor.clip.encode_image(as_image(part).to(editor.device)) for part in pictures])
        parts.append((w, editor.generator.styles(w), feature))
    w, s, feature = map(torch.cat, zip(*parts, strict=True))
    return Latent(w, s, feature, w.new_empty(len(w), 0))


@dataclass(frozen=True, eq=False)
class Trial:
    """An editor, faces to edit, and what a judge saw in them; what it sees in edits is kept in a folder."""

    editor: Editor
    latent: Latent
    witness: Witness
    folder: Path

    @classmethod
    def on(cls, editor: Editor, judge: FaceJudge, pool: FacePool, folder: Path) -> Trial:
        """A trial on all faces of a pool, of previews of its size."""
        witness, folder = Witness(judge, judged(judge, pool)), folder / told_apart(judge)
        return cls(editor.at(pool.manifest["size"]), latents(editor, pool), witness, folder)

    def some(self, rows: slice) -> Trial:
        """The same on some of the faces."""
        told = self.witness.before[rows], self.witness.embedding[rows]
        return replace(self, latent=self.latent[rows], witness=Witness(self.witness.judge, told))

    @torch.no_grad()
    def look(
        self, goal: FaceGoal, rows: Tensor, strengths: Sequence[float], threshold: float | None = None
    ) -> list[Look]:
        """What is seen, at each strength, in those faces edited of which ``rows`` (n,), bool, is true."""
        editor, judge, latent = self.editor, self.witness.judge, self.latent[rows]
        threshold = editor.domain.threshold if threshold is None else threshold
        said = goal.prompt, goal.neutral, list(strengths), threshold, fingerprint({"s": latent.s}), editor.identity
        path = self.folder / f"{digest(*said)}.safetensors"
        if not path.exists():
            edit = editor.edit(latent, goal.prompt, threshold=threshold, neutral=goal.neutral)
            s, w = torch.cat([edit.with_strength(x).s for x in strengths]), latent.w.repeat(len(strengths), 1)
            parts = zip(s.split(BATCH), w.split(BATCH), strict=True)
            seen = [judge.look(editor.draw(*part).clamp(-1, 1)) for part in parts]
            write_look(path, tuple(map(torch.cat, zip(*seen, strict=True))))
        return list(zip(*(part.to(latent.s).split(len(latent)) for part in read_look(path)), strict=True))

    def outcome(self, goal: FaceGoal, rows: Tensor, look: Look) -> dict[str, Any]:
        """``MEASURES``, means over edited faces, the share of them that are the same person, and how many they are."""
        effect = self.witness.effect(goal, *look, rows).nanmean(1).tolist()
        same = share(same_person(look[1], self.witness.embedding[rows]))
        own = rounded(dict(zip(MEASURES, effect, strict=True)) | {"same_person": same})
        return {"attribute": goal.name, **own, "n": len(look[0])}


def tune(trial: Trial, goals: Sequence[FaceGoal], each: int = EACH) -> list[dict[str, float]]:
    """``summary`` at each of ``LENGTHS`` and ``THRESHOLDS``; a face is asked for one goal, ``each`` for every one."""
    trial = tuned(trial, length=1.0)  # then strengths are lengths
    asked = trial.witness.shared_out(goals)
    asked &= asked.cumsum(1) <= each
    parts = [(threshold, goal, rows) for threshold in THRESHOLDS for goal, rows in zip(goals, asked, strict=True)]
    scores: dict[tuple[float, float], list[dict[str, Any]]] = {}
    for threshold, goal, rows in tqdm(parts, desc="tuning edits", unit="prompt"):
        if rows.any():
            for length, look in zip(LENGTHS, trial.look(goal, rows, LENGTHS, threshold), strict=True):
                scores.setdefault((length, threshold), []).append(trial.outcome(goal, rows, look))
    return [{"length": length, "threshold": at, **summary(own)} for (length, at), own in scores.items()]


def best(grid: Sequence[dict[str, float]]) -> dict[str, float]:
    """The setting that reaches most of those that leave ``KEPT`` the same person, or the one that leaves most so."""
    gentle = [row for row in grid if row["same_person_mean"] >= KEPT]
    if gentle:
        return max(gentle, key=lambda row: row["success_mean"])
    return max(grid, key=lambda row: row["same_person_mean"])


def summary(scores: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means over prompts, success of the worst; of the same person over edits that need change neither age nor sex."""
    same = fmean(own["same_person"] for own in scores if own["attribute"] not in CHANGES_PERSON)
    found = {f"{name}_mean": fmean(own[name] for own in scores) for name in MEASURES}
    found |= {"same_person_mean": same, "success_worst": min(own["success"] for own in scores)}
    return rounded(found) | {"prompts": len(scores), "attributes": len({own["attribute"] for own in scores})}


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """To four decimals, as cards hold them."""
    return {name: round(value, 4) for name, value in values.items()}


def tuned(trial: Trial, **settings: float) -> Trial:
    """The same trial at another length or threshold."""
    one = trial.editor
    domain = replace(one.domain, **settings)
    editor = Editor(one.generator, one.clip, one.mapper, one.relevance, domain, one.encoder)
    return replace(trial, editor=editor.at(one.size))


def score(trial: Trial, goals: Sequence[FaceGoal], faces: int = FACES) -> dict[str, Any]:
    """How edits at strength 1 go, each prompt on as many faces that lack it; and what was asked for × what changed.

    «changed» has by prompt how far each attribute moved on average, with its sign, in standard deviations over faces
    (another hair colour has no sign); «flipped» on what share of faces what is there or not, or the hair's colour, is
    not as before. Attributes are left out that fewer than a tenth of the faces show, before and after.
    """
    scores, changed, flipped = {}, {}, {}
    for goal in tqdm(goals, desc="judging edits", unit="prompt"):
        rows = trial.witness.counts(goal)
        rows &= rows.cumsum(0) <= faces
        if rows.any():
            few = rows & (rows.cumsum(0) <= FEW)
            [look], [further] = trial.look(goal, rows, (1.0,)), trial.look(goal, few, (FURTHER,))
            own = {"neutral": goal.neutral, "success_further": round(share(goal.reached(further[0])), 4)}
            scores[goal.prompt] = trial.outcome(goal, rows, look) | own
            changed[goal.prompt], flipped[goal.prompt] = map(rounded, matrix_row(trial.witness, look[0], rows))
    return {**summary(list(scores.values())), "edits": scores, "changed": changed, "flipped": flipped}


def matrix_row(witness: Witness, after: Tensor, rows: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """What ``score`` says of one prompt: «changed» and «flipped», by attribute; ``after`` (m, A) was read of edits."""
    names, moved = witness.judge.names, witness.moved(after, rows)
    shown = (~moved.isnan()).float().mean(0) >= 0.1
    sign = torch.where(after < witness.before[rows], -1.0, 1.0)
    sign[:, names.index("hair_color")] = 1.0
    other = (moved > 0).float().masked_fill(moved.isnan(), torch.nan)
    changed, flipped = ((x.nanmean(0)).tolist() for x in (sign * moved, other))
    kept = [(name, k) for k, name in enumerate(names) if shown[k]]
    discrete = (*witness.judge.binary, "hair_color")
    return {name: changed[k] for name, k in kept}, {name: flipped[k] for name, k in kept if name in discrete}


def share(there: Tensor) -> float:
    """Of what is true."""
    return float(there.float().mean())
