"""Makes the judge of faces: converts published networks, and fits heads on them to labels by eye.

    npm pack @vladmandic/face-api@1.7.15
    python -m deltaedit.worlds.faces.train_judge vladmandic-face-api-1.7.15.tgz --pictures folder

Weights are taken out of the package, none of its code is run. Without ``--pictures`` the heads that are there are kept.
A picture is ``<number>.png``: the face of latent ``number`` of seed 0 at truncation 0.9; where ``eyes.csv`` says
``closing``, its eyes were closed by as much of Chunkmogrify's direction in layers 4 to 7.
"""

from __future__ import annotations

import argparse
import csv
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.checkpoints import tfjs
from deltaedit.checkpoints.tfjs import Weight
from deltaedit.files import read_tensors, write_json
from deltaedit.metrics import Interval, bootstrap
from deltaedit.parameters import refuse
from deltaedit.pictures import to_tensor
from deltaedit.remote import checksum
from deltaedit.untrusted.pickles import RefusedError
from deltaedit.worlds.faces.judge import (
    CARD,
    COLOURS,
    FILE,
    HEADS,
    MAPS,
    MEASURED,
    NAMES,
    RAREST,
    THINGS,
    WEIGHTS,
    FaceJudge,
    JudgeCard,
    Reading,
    decided,
    same_person,
    visible,
    write,
)
from deltaedit.worlds.faces.labels import FIELDS, LABELS, first, read
from deltaedit.worlds.faces.networks import PUBLISHED, SAME_PERSON, network

PACKAGE = "sha256:0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
MEMBERS, LARGEST = 2000, 200 << 20  # files in a package, and their bytes, that are looked through
EYES = LABELS.with_name("eyes.csv")
FOLDS = 5  # the first of them is held out
RIDGE = 0.5  # of 0.05 to 1, by AUC on folds

LICENCES = {
    "networks": "MIT: @vladmandic/face-api 1.7.15, after face-api.js by V. Mühler; the recogniser by D. King (dlib)",
    "heads": "MIT, as this project",
    "labels": "MIT, as this project: of generated faces, by eye",
}
NOTES = {
    "auc_held_out": "area under the curve and its 95 % interval, of the heads that ship, on the fifth they never saw",
    "auc": "the same of five fits on all faces, each face by heads that never saw it",
    "random, enriched": "of faces as they come, and of faces chosen for what is rare",
    "missed, seen_wrongly": "at the threshold of equal error, by the five fits",
    "distance": "5, 50 and 95 % of random faces",
}

YEARS = {"c": 7.0, "y": 21.0, "m": 42.0, "o": 65.0}  # about the middle of each age that is labelled
TRUTH: dict[str, tuple[str, dict[str, float]]] = {
    "glasses": ("eyewear", {"n": 0, "g": 1}),
    "sunglasses": ("eyewear", {"n": 0, "g": 0, "s": 1}),
    "beard": ("beard", {"n": 0, "s": 1, "f": 1}),
    "bald": ("length", {"b": 1, "s": 0, "m": 0, "l": 0, "t": 0}),
    "smile": ("smile", {"n": 0, "c": 1, "t": 1}),
    "open_mouth": ("mouth", {"c": 0, "o": 1}),
    "closed_eyes": ("eyes", {"o": 0, "s": 0, "c": 1}),
    "man": ("gender", {"f": 0, "m": 1}),
    **{name: (name, {"n": 0, "y": 1}) for name in ("moustache", "bangs", "hat", "lipstick", "earrings", "makeup")},
    "age": ("age", YEARS),
    "hair_length": ("length", {"b": 0, "s": 0, "m": 1, "l": 2}),
    "curl": ("curl", {"s": 0, "w": 1, "c": 2}),
    **{name: ("colour", {k: float(k == own) for k in "kdbrg"}) for name, own in zip(COLOURS, "kdbrg", strict=True)},
}
"""By head: the column of the labels that it is fitted to, and what the letters there stand for; others cannot tell."""
ENDS: dict[str, tuple[tuple[str, bool, float], ...]] = {
    "age": (("child", False, 14.0), ("low", False, 30.0), ("high", True, 55.0)),
    "hair_length": (("low", False, 0.5), ("high", True, 1.5)),
    "curl": (("low", False, 0.5), ("high", True, 1.5)),
}
"""Of numbers that labels know, the ends: whether one is above, and where it begins among the labels."""


def published(package: str | Path) -> dict[str, dict[str, Weight]]:
    """The weights of ``PUBLISHED`` by network, out of the package of ``@vladmandic/face-api`` 1.7.15.

    Raises ``ValueError`` if it is another package, or damaged.
    """
    if (got := checksum(package)) != PACKAGE:
        raise ValueError(f"{package} should be {PACKAGE} and is {got}: fetch version 1.7.15 again.")
    return taken_out(package)


def taken_out(package: str | Path) -> dict[str, dict[str, Weight]]:
    """As ``published``, of a package of any version."""
    wanted: dict[str, bytes] = {}
    try:
        with tarfile.open(package, "r:gz") as archive:
            size = 0
            for k, member in enumerate(archive):
                size += member.size
                if k >= MEMBERS or size > LARGEST:
                    raise ValueError(f"it has more than {MEMBERS} files or {LARGEST >> 20} MB")
                folder, _, name = member.name.rpartition("/")
                if folder == "package/model" and member.isfile():
                    wanted[name] = archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{package} is no package that can be read ({error}): fetch it again.") from None

    def content(name: str, most: int) -> bytes:
        data = wanted.get(name)
        if data is None or len(data) > most:
            raise RefusedError(f"needs {name[:100]}, which is {'not in the package' if data is None else 'too large'}")
        return data

    return {name: tfjs.parse(f"{name}_model-weights_manifest.json", content) for name in PUBLISHED}


@dataclass(frozen=True, eq=False)
class Labels:
    """What n faces show, by eye."""

    names: tuple[str, ...]  #: of their pictures, without «.png»
    part: tuple[str, ...]  #: how each was chosen: "random", "enriched" by what is rare, or "eyes" for closed ones
    truth: dict[str, Tensor]  #: (n,) by head; not a number where it cannot be told

    @classmethod
    def read(cls, path: str | Path = LABELS, eyes: str | Path = EYES) -> Labels:
        """The judge's own lines of a file of labels, see ``labels.read``, and faces of which eyes alone were looked at.

        Raises ``ValueError`` for a file that is not of this kind.
        """
        rows = [{"number": str(x.number), "part": x.sheet, **x.saw} for x in first(read(path), "judge")]
        with Path(eyes).open(encoding="utf-8", newline="") as file:
            lines = csv.DictReader(file)
            if lines.fieldnames != ["number", "closing", "eyes"]:
                raise ValueError(f"{eyes} must have the columns number, closing, eyes. Got {lines.fieldnames}.")
            unknown = dict.fromkeys(FIELDS, "?")
            rows += [unknown | {"number": line["number"], "part": "eyes", "eyes": line["eyes"]} for line in lines]
        truth = {}
        for name, (column, values) in TRUTH.items():
            truth[name] = torch.tensor([float(values.get(row[column], torch.nan)) for row in rows])
        bald = torch.tensor([row["length"] == "b" for row in rows])
        for name in COLOURS:
            truth[name][bald] = torch.nan
        return cls(tuple(row["number"] for row in rows), tuple(row["part"] for row in rows), truth)

    def folds(self, seed: int = 0) -> Tensor:
        """A fold for each face (n,), 0 to ``FOLDS`` - 1, of every part an equal share."""
        rng, fold = torch.Generator().manual_seed(seed), torch.zeros(len(self.part), dtype=torch.long)
        for part in dict.fromkeys(self.part):
            rows = torch.tensor([k for k, own in enumerate(self.part) if own == part])
            fold[rows[torch.randperm(len(rows), generator=rng)]] = torch.arange(len(rows)) % FOLDS
        return fold


@dataclass(frozen=True, eq=False)
class Linear:
    """Heads (D, K) on features, and their bias (K,)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Scores (n, K) of features (n, D)."""
        return x.float() @ self.weight + self.bias


def fit_heads(x: Tensor, y: Tensor, blocks: Sequence[tuple[int, float]], ridge: float = RIDGE) -> Linear:
    """Ridge regressions of y (n, K), not a number where unknown, on features x (n, D).

    Features are standardised, and come in ``blocks``, of which the width and the weight are given.
    """
    x, known = x.float(), ~y.isnan()
    mean, spread = x.mean(0), x.std(0)
    whole, parts = sum(weight for _, weight in blocks), spread.split([width for width, _ in blocks])
    scale = [
        (own + 0.25 * own.mean() + 1e-6) * (width * whole / weight) ** 0.5
        for own, (width, weight) in zip(parts, blocks, strict=True)
    ]
    scale = torch.cat(scale)
    z = (x - mean) / scale
    middle = y.nanmean(0)
    # One that cannot be told counts as the mean, so that all heads share one system of equations.
    alpha = torch.linalg.solve(z @ z.T + ridge * torch.eye(len(z)), torch.where(known, y - middle, 0.0))
    weight = (z.T @ alpha) / scale[:, None]
    return Linear(weight, middle - mean @ weight)


def equal_error(score: Tensor, there: Tensor) -> float:
    """The threshold at which a thing is as often missed as it is seen wrongly; scores (n,), and whether it is there."""
    order = score.sort().values
    at = (order[1:] + order[:-1]) / 2
    missed = (score[there] <= at[:, None]).float().mean(1)
    wrong = (score[~there] > at[:, None]).float().mean(1)
    return float(at[(missed - wrong).abs().argmin()])


def steepness(beyond: Tensor, there: Tensor) -> float:
    """What to multiply scores beyond a threshold by so that they are log odds, both cases weighing as much."""
    weight = torch.where(there, 0.5 / there.float().mean(), 0.5 / (~there).float().mean())
    sign, slope = torch.where(there, 1.0, -1.0), torch.tensor(1.0 / float(beyond.std()))
    for _ in range(50):  # Newton's method, in one dimension
        p = torch.sigmoid(-slope * sign * beyond)
        first, second = (weight * p * sign * beyond).sum(), (weight * p * (1 - p) * beyond.square()).sum()
        slope = (slope + first / (second + 1e-3)).clamp(0.1 * slope, 3 * slope)
    return float(slope)


def auc(score: Tensor, there: Tensor) -> Interval | None:
    """Area under the curve with its interval over faces; None where fewer than 3 show it, or do not."""
    if min(int(there.sum()), int((~there).sum())) < 3:
        return None
    above = (score[there][:, None] > score[~there]).double() + 0.5 * (score[there][:, None] == score[~there]).double()

    def area(counts: Tensor) -> Tensor:
        yes, no = counts[:, there].double(), counts[:, ~there].double()
        return ((yes @ above) * no).sum(1) / (yes.sum(1) * no.sum(1))

    return bootstrap(area, len(score))[0]


def cases(truth: Mapping[str, Tensor]) -> dict[str, tuple[str, float, Tensor]]:
    """What is decided, by name: the head, 1 or -1 where low scores speak for it, and labels (n,) of 0, 1 or nan."""
    found = {name: (name, 1.0, truth[name]) for name in (*THINGS, *COLOURS)}
    for name, ends in ENDS.items():
        for end, above, at in ends:
            y = (truth[name] > at) if above else (truth[name] < at)
            found[f"{name}: {end}"] = (
                name,
                1.0 if above else -1.0,
                y.float().masked_fill(truth[name].isnan(), torch.nan),
            )
    return found


@dataclass(frozen=True, eq=False)
class Looks:
    """What a judge sees in n faces, and in their mirror images, ``roughened``."""

    cells: Tensor  #: (n, D), half precision, what heads read
    mirrored: Tensor
    blocks: list[tuple[int, float]]  #: the widths that D is made of, and how much each weighs
    descriptor: Tensor  #: (n, 128)
    mirrored_descriptor: Tensor
    plain: dict[str, Tensor]  #: see ``Seen``
    age_gender: Tensor

    @classmethod
    @torch.no_grad()
    def at(cls, judge: FaceJudge, pictures: list[Path]) -> Looks:
        """Look at pictures, one after the other."""
        seen, rng = {False: [], True: []}, torch.Generator().manual_seed(0)
        for path in tqdm(pictures, desc="looking at faces", unit="face"):
            image = to_tensor(path)
            for mirror, own in seen.items():
                own.append(judge.seen(roughened(image.flip(3), rng) if mirror else image))
        one, other = seen.values()
        cells = [torch.stack([torch.cat(face.cells, dim=1)[0].half() for face in own]) for own in (one, other)]
        plain = {name: torch.cat([face.plain[name] for face in one]) for name in one[0].plain}
        descriptors = [torch.cat([face.descriptor for face in own]) for own in (one, other)]
        weights = [weight for *_, weight in MAPS]
        weights += [1] * (len(one[0].cells) - len(weights))
        blocks = [(block.shape[1], weight) for block, weight in zip(one[0].cells, weights, strict=True)]
        return cls(*cells, blocks, *descriptors, plain, torch.cat([face.age_gender for face in one]))


def roughened(image: Tensor, rng: torch.Generator) -> Tensor:
    """A picture (1, 3, H, W) a little brighter or darker, stronger or paler, softer or sharper, as edits make it."""
    gain, shift, soft = (torch.rand(3, generator=rng) * 2 - 1).tolist()
    blurred = F.avg_pool2d(F.pad(image, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return (torch.lerp(image, blurred, soft) * (1 + 0.15 * gain) + 0.1 * shift).clamp(-1, 1)


def fit(looks: Looks, labels: Labels) -> tuple[Linear, Reading, JudgeCard]:
    """Fit heads on four fifths of the labelled faces, and say how well they read the fifth that is held out."""
    y, fold = torch.stack([labels.truth[name] for name in HEADS], dim=1), labels.folds()
    random = torch.tensor([part == "random" for part in labels.part])
    everyone = torch.arange(len(fold))
    learned = everyone[fold > 0]

    def fitted(rows: Tensor) -> Linear:
        x = torch.cat([looks.cells[rows], looks.mirrored[rows]])
        return fit_heads(x, y[rows].repeat(2, 1), looks.blocks)

    def crossed(rows: Tensor) -> Tensor:
        """Scores of all faces in ``rows`` by heads that were fitted to other folds."""
        score = torch.full((len(fold), len(HEADS)), torch.nan)
        for k in tqdm(fold[rows].unique().tolist(), desc="fitting heads", leave=False):
            own = rows[fold[rows] == k]
            score[own] = fitted(rows[fold[rows] != k])(looks.cells[own])
        return score

    heads, inner, score = fitted(learned), crossed(learned), crossed(everyone)
    reading = calibrated(inner, looks.plain, labels, learned, random)
    held_out = heads(looks.cells)
    attributes = {}
    for name, (head, sign, truth) in cases(labels.truth).items():
        known = ~truth.isnan()
        rows = {"": known, "_random": known & random, "_enriched": known & ~random}
        at, own = HEADS.index(head), {"faces": int(known.sum()), "show_it": int((truth > 0.5).sum())}
        own |= {
            f"auc_held_out{part}": _auc(sign * held_out[:, at], truth, mask & (fold == 0))
            for part, mask in rows.items()
        }
        own |= {f"auc{part}": _auc(sign * score[:, at], truth, mask) for part, mask in rows.items()}
        threshold = reading.threshold[name] if name == head else sign * reading.ends[head][name.partition(": ")[2]]
        seen = sign * score[:, at] > threshold
        own["missed"] = round(float((~seen)[known & (truth > 0.5)].float().mean()), 4)
        own["seen_wrongly"] = round(float(seen[known & (truth < 0.5)].float().mean()), 4)
        if (other := rival(head, looks)) is not None:
            own["auc_published"] = _auc(sign * other, truth, known)
        attributes[name] = own
    colour = decided(score, looks.plain, reading)[:, NAMES.index("hair_color")]
    known = ~labels.truth[COLOURS[0]].isnan() & (y[:, [HEADS.index(c) for c in COLOURS]].nansum(1) > 0)
    truth = y[:, [HEADS.index(c) for c in COLOURS]].nan_to_num().argmax(1)
    attributes["hair_color"] = {
        "faces": int(known.sum()),
        "right": round(float((colour == truth)[known].float().mean()), 4),
    }
    counted = {part: labels.part.count(part) for part in dict.fromkeys(labels.part)}
    told = {"faces": counted, "held_out": int((fold == 0).sum()), "folds": FOLDS}
    return heads, reading, JudgeCard(LICENCES, told, attributes, people(looks, random), NOTES)


def calibrated(score: Tensor, plain: Mapping[str, Tensor], labels: Labels, learned: Tensor, random: Tensor) -> Reading:
    """What scores mean, of faces that were ``learned`` from, by heads that did not see them."""
    threshold, scale, ends = {}, {}, {}
    for name, (head, sign, truth) in cases(labels.truth).items():
        known = learned[~truth[learned].isnan()]
        own, there = sign * score[known, HEADS.index(head)], truth[known] > 0.5
        at = equal_error(own, there)
        if name == head:
            threshold[name], scale[name] = at, steepness(own - at, there)
        else:
            ends.setdefault(head, {})[name.partition(": ")[2]] = sign * at
    for name in MEASURED:
        middle, spread = float(plain[name][random].mean()), float(plain[name][random].std())
        ends[name] = {"low": middle - spread, "high": middle + spread}
    known = learned[random[learned]]
    own = {name: x[known] for name, x in plain.items()}
    reading = Reading(threshold, scale, ends, {})
    return Reading(threshold, scale, ends, spreads(decided(score[known], own, reading)))


def spreads(read: Tensor) -> dict[str, float]:
    """Standard deviation of each attribute over faces where it is seen; of colours that of one-hot vectors."""
    seen, out = visible(read), {}
    for k, name in enumerate(NAMES):
        x = read[seen[:, k], k]
        x = F.one_hot(x.long(), len(COLOURS)).float() if name == "hair_color" else x[:, None]
        spread = float((x - x.mean(0)).square().sum(1).mean().sqrt())
        out[name] = max(spread, RAREST) if name in FaceJudge.binary else spread
    return out


def rival(head: str, looks: Looks) -> Tensor | None:
    """What a published network says of the same, (n,), if one does."""
    years, man, woman = looks.age_gender.T
    return {"age": years, "man": man - woman, "smile": looks.plain["happy"]}.get(head)


def people(looks: Looks, rows: Tensor) -> dict[str, Any]:
    """How far descriptors of strangers are apart, and of faces from their mirror images."""
    one, other = looks.descriptor[rows], looks.mirrored_descriptor[rows]
    strangers = torch.pdist(one)
    return {
        "threshold": SAME_PERSON,
        "strangers_taken_for_one": round(float((strangers < SAME_PERSON).float().mean()), 4),
        "mirrored_taken_for_one": round(float(same_person(one, other).float().mean()), 4),
        "distance_of_strangers": _quantiles(strangers),
        "distance_of_mirrored": _quantiles((one - other).norm(dim=1)),
    }


def _quantiles(x: Tensor) -> list[float]:
    return [round(float(q), 3) for q in x.quantile(torch.tensor([0.05, 0.5, 0.95]))]


def _auc(score: Tensor, truth: Tensor, rows: Tensor) -> list[float] | None:
    found = auc(score[rows], truth[rows] > 0.5)
    return None if found is None else [round(x, 4) for x in found]


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path, help="vladmandic-face-api-1.7.15.tgz, as `npm pack` brings it")
    parser.add_argument("--pictures", type=Path, help="folder of the faces that were labelled; else heads are kept")
    parser.add_argument("--labels", type=Path, default=LABELS, help="what they show; what ships by default")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for the judge and its card")
    arguments = parser.parse_args(argv)
    try:
        weights = published(arguments.package)
        judge = FaceJudge({name: network(name, own) for name, own in weights.items()})
        if arguments.pictures is None:
            reading, (there, _) = FaceJudge.load(arguments.out / FILE).reading, read_tensors(arguments.out / FILE)
            heads = {name: own for name, own in there.items() if "/" not in name}
            write(arguments.out / FILE, heads, reading, weights)
            said = f"converted {len(weights)} networks of {arguments.package.name}; the heads are those that were there"
        else:
            labels = Labels.read(arguments.labels)
            looks = Looks.at(judge, [arguments.pictures / f"{name}.png" for name in labels.names])
            heads, reading, card = fit(looks, labels)
            FaceJudge(judge.networks, heads.weight, heads.bias, reading).save(arguments.out / FILE, weights)
            write_json(arguments.out / CARD, asdict(card))
            said = f"converted {len(weights)} networks of {arguments.package.name}; fitted {len(HEADS)} heads"
    except (ValueError, OSError) as error:
        refuse(error)
    print(f"{said}: {arguments.out / FILE}")


if __name__ == "__main__":
    main()
