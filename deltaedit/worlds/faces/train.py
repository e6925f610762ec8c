"""Makes the weights of «faces»: ``python -m deltaedit.worlds.faces.train all``.

Every part goes on where it was, in the folder of runs, and leaves its weights with a card beside them: what data, how
many steps and seconds, on what, with which versions, and how good it is on faces never seen. The generator and the
sentence encoder are others'; they come by ``python -m deltaedit.download faces``.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from deltaedit.clip import ClipEncoder
from deltaedit.domain import CARD as DOMAIN
from deltaedit.domain import CLIP, ENCODER, GENERATOR, MAPPER, RELEVANCE, Domain
from deltaedit.download import MINILM, MOBILESTYLEGAN
from deltaedit.editor import Editor
from deltaedit.features import SHARD, extract_features
from deltaedit.files import read_json, read_tensors, write_json, write_tensors
from deltaedit.mapper import MapperConfig
from deltaedit.mobilestylegan import MobileStyleGAN
from deltaedit.packages import provide
from deltaedit.parameters import refuse
from deltaedit.pictures import average
from deltaedit.record import digest
from deltaedit.relevance import estimate_relevance
from deltaedit.training import QUICK, MapperTraining, solve_mapper, train_mapper
from deltaedit.worlds.faces import edits
from deltaedit.worlds.faces.captions import SURE
from deltaedit.worlds.faces.judge import FaceJudge
from deltaedit.worlds.faces.labels import ASKS, SEED, TRUNCATION, Look, agreement, first, read, target
from deltaedit.worlds.faces.measured import Measure, landmarker, measure_pool, measures, soft_labels
from deltaedit.worlds.faces.pool import FacePool, as_image, draw_pool, halved
from deltaedit.worlds.faces.spread import Spread, auc, fit_spread
from deltaedit.worlds.faces.train_clip import CONFIG, FaceClipTraining, embed_captions, even_out, train_clip
from deltaedit.worlds.faces.train_encoder import FaceEncoderTraining, likeness, train_encoder
from deltaedit.worlds.faces.train_head import HeadTraining, train_head
from deltaedit.worlds.faces.words import ATTRIBUTES, PROMPTS, WORDINGS
from deltaedit.worlds.train import rounded, write_card

PARTS = ("pool", "labels", "clip", "domain", "encoder", "measure")
HEAD = "head"  # the text head alone: not of «all», for «clip» trains it as well
SHARDS = 31  # of 1024 faces
WEIGHTS = Path(__file__).parent / "weights"
CPU = torch.device("cpu")
RECIPE = replace(QUICK, steps=3000, mapper=MapperConfig(hidden=160, last_activation=False))
BATCH = 32  # pictures that CLIP looks at at a time
INVERTED = (200, 6)  # held-out faces that an encoder is measured on, alone and with optimisation
STEPS = 100  # of that


def make_labels(
    pool: FacePool, runs: Path, out: Path, looks: list[Look], make: Callable[[], Measure] = landmarker
) -> Tensor:
    """Soft labels (n, len(ATTRIBUTES)) of a pool, by eye and by measure, kept in ``runs`` with a card in ``out``.

    ``make`` makes what measures a picture. What was made of the same labels and as many faces is only read.
    """
    own = [look for look in first(looks, "editor") if look.number < len(pool)]
    numbers, said = [look.number for look in own], digest([asdict(look) for look in own], pool.manifest)
    path, fitted = runs / f"labels-{len(pool)}-{said}.safetensors", runs / f"spread-{said}.safetensors"
    if path.exists():
        return read_tensors(path)[0]["labels"]
    start = time.perf_counter()
    measure_pool(pool, make)
    if not fitted.exists():
        fit_spread(own, pool.rows(numbers, "features"), halved(pool.rows(numbers, "picture"))).save(fitted)
    spread, told = Spread.load(fitted), []
    for shard in tqdm(range(pool.shards), desc="labels", unit="shard", delay=2):
        picture = halved(pool.read(shard, "picture"))
        found = read_tensors(pool.path(shard, "measured"))[0]
        told.append((spread(pool.read(shard, "features"), picture), measures(found, picture)))
    p, m = ({name: torch.cat([part[name] for part in parts]) for name in parts[0]} for parts in zip(*told, strict=True))
    whole = soft_labels(p, m)
    labels = torch.stack([whole[name] for name in ATTRIBUTES], dim=1)
    write_tensors(path, {"labels": labels}, {"attributes": ATTRIBUTES})
    shares = (labels > SURE).float().mean(0).tolist()
    write_card(
        out,
        "labels",
        CPU,
        [],
        data=f"{len(own)} faces labelled by eye, of {len(pool)} drawn with seed {SEED} and truncation {TRUNCATION}",
        objective="kernel ridge on the generator's features and colours; expression, pose and colours are measured",
        seconds=round(time.perf_counter() - start, 1),
        measured={
            "held_out": {name: rounded(values) for name, values in spread.report.items()},
            "second_opinions": {name: rounded(values) for name, values in agreement(looks).items()},
            "share_of_faces": rounded(dict(zip(ATTRIBUTES, shares, strict=True))),
        },
    )
    return labels


def directions(clip: ClipEncoder) -> dict[str, Tensor]:
    """Where CLIP's words for each attribute point, (D,), the mean over its ``PROMPTS``."""
    deltas: dict[str, list[Tensor]] = {}
    for prompt, neutral, name in PROMPTS:
        deltas.setdefault(name, []).append(clip.text_delta(prompt, neutral))
    return {name: F.normalize(torch.stack(own).mean(0), dim=0) for name, own in deltas.items()}


def zero_shot(clip: ClipEncoder, feature: Tensor, looks: list[Look]) -> dict[str, float]:
    """By attribute the AUC of what prompts say of faces, image features (n, D), against labels by eye of them.

    Those that fewer than 5 of the faces show, or lack, are left out.
    """
    points, found = directions(clip), {}
    for name in ASKS.keys() & points.keys():
        y = target(looks, name)
        known = ~y.isnan()
        if min((y == 0).sum(), (y == 1).sum()) >= 5:
            found[name] = auc((feature @ points[name]).cpu()[known], y[known])
    return {name: found[name] for name in ATTRIBUTES if name in found}


def wordings(clip: ClipEncoder, among: int = 1) -> float:
    """On what share of wordings that no caption used CLIP points most of all where the attribute's prompts do.

    Or more than to all attributes but ``among - 1``.
    """
    points = directions(clip)
    names, neutral = list(points), clip.text_feature("person")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these words are new is the point
        asked = [(clip.text_feature(text) - neutral, name) for text, name in WORDINGS if name in points]
    whole = torch.stack(list(points.values()))
    return sum(names.index(name) in (whole @ delta).topk(among).indices for delta, name in asked) / len(asked)


def make_clip(
    pool: FacePool,
    labels: Tensor,
    looks: list[Look],
    runs: Path,
    out: Path,
    sentences: Path,
    config: FaceClipTraining = FaceClipTraining(),
    model: dict[str, Any] = CONFIG,
    head: HeadTraining = HeadTraining(),
    go_on: bool = False,
    device: torch.device = CPU,
) -> None:
    """Train CLIP on all faces but the judge's, then its text head once more, and write it with its card.

    With ``go_on`` it begins with the weights that are in ``out``.
    """
    embedded = embed_captions(labels, sentences, runs / "captions", config.seed, device, longest_of(model))
    judged = [look.number for look in first(looks, "judge") if look.number < len(pool)]
    start = ClipEncoder.load(out / CLIP, device, sentences=sentences) if go_on else None
    given = {"held_out": judged, "model": model, "start": start, "device": device}
    picture = seen_by(pool, model)
    clip, log = train_clip(picture, labels, embedded, sentences, runs / "clip", config, **given)
    kept = torch.ones(len(picture), dtype=torch.bool)
    kept[judged] = False
    feature = even_out(clip.model.visual, looked_at(clip, picture[kept]), labels[kept].to(device))
    train_head(clip.model.text, clip.tokenizer, feature, labels[kept].to(device), embedded[kept].to(device), head)
    clip.save(out / CLIP)
    write_card(
        out,
        "clip",
        device,
        log,
        data=f"{len(feature)} faces, {embedded.shape[1]} captions each; faces seen: {config.steps * config.batch_size}",
        objective="contrastive, and attributes asked of the picture's feature; then this is evened out, and the text "
        "head alone is trained towards the partial effect of each attribute; the sentence encoder is locked",
        recipe=asdict(config) | {"model": model, "head": asdict(head)},
        measured=told_by(ClipEncoder.load(out / CLIP, device, sentences=sentences), pool, looks),
    )


def make_head(
    pool: FacePool,
    labels: Tensor,
    looks: list[Look],
    runs: Path,
    out: Path,
    sentences: Path,
    head: HeadTraining = HeadTraining(),
    device: torch.device = CPU,
) -> None:
    """Train the text head of the CLIP in ``out`` anew, on all faces but the judge's; its picture tower stays.

    What is on its card of the picture tower stays as well. What was made of image features alone, the mapper and the
    relevance matrix, fits as before.
    """
    clip = ClipEncoder.load(out / CLIP, device, sentences=sentences)
    embedded = embed_captions(labels, sentences, runs / "captions", head.seed, device, longest_of(clip.config))
    kept = torch.ones(len(pool), dtype=torch.bool)
    kept[[look.number for look in first(looks, "judge") if look.number < len(pool)]] = False
    feature = F.normalize(looked_at(clip, seen_by(pool, clip.config)[kept]), dim=1)
    train_head(clip.model.text, clip.tokenizer, feature, labels[kept].to(device), embedded[kept].to(device), head)
    clip.save(out / CLIP)
    card = read_json(out / "clip.card.json")
    data = f"{card['data'].partition('; then the text head')[0]}; then the text head anew, on {len(feature)} faces"
    card |= {"data": data, "recipe": card["recipe"] | {"head": asdict(head)}}
    card["measured"] = told_by(ClipEncoder.load(out / CLIP, device, sentences=sentences), pool, looks)
    write_json(out / "clip.card.json", card)


def longest_of(model: dict[str, Any]) -> int:
    """Tokens that the text tower of a configuration reads."""
    return model["text_cfg"]["context_length"]


def seen_by(pool: FacePool, model: dict[str, Any]) -> Tensor:
    """The pictures of a pool, bytes, of the size that a configuration's picture tower takes."""
    size = model["vision_cfg"]["image_size"]
    parts = [halved(pool.read(shard, "picture")).split(256) for shard in range(pool.shards)]
    return torch.cat([average(part.float(), size).round().byte() for part in chain(*parts)])


@torch.no_grad()
def looked_at(clip: ClipEncoder, picture: Tensor) -> Tensor:
    """What a picture tower says of pictures (n, 3, H, W), bytes: (n, D), not yet unit vectors."""
    visual, device = clip.model.visual, clip.model.logit_scale.device
    return torch.cat([visual(clip.preprocess(as_image(part).to(device))).float() for part in picture.split(BATCH)])


def told_by(clip: ClipEncoder, pool: FacePool, looks: list[Look]) -> dict[str, Any]:
    """What a CLIP's card says that it knows: wordings, and the labels of those of the judge's faces that are here."""
    asked = {name for _, _, name in PROMPTS}
    measured: dict[str, Any] = {"wordings": round(wordings(clip), 4)}
    measured["wordings_asked"] = sum(name in asked for _, name in WORDINGS)
    measured["wordings_first_three"] = round(wordings(clip, 3), 4)
    if judged := [look for look in first(looks, "judge") if look.number < len(pool)]:
        images = as_image(pool.rows([look.number for look in judged], "picture")).split(BATCH)
        device = clip.model.logit_scale.device
        with torch.inference_mode():
            feature = torch.cat([clip.encode_image(image.to(device)) for image in images])
        shots = zero_shot(clip, feature, judged)
        measured |= {"zero_shot": rounded(shots), "zero_shot_mean": round(sum(shots.values()) / max(1, len(shots)), 4)}
        measured["held_out_faces"] = len(judged)
    return measured


def make_domain(
    pool: FacePool,
    generator: MobileStyleGAN,
    runs: Path,
    out: Path,
    sentences: Path,
    config: MapperTraining | None = None,
    device: torch.device = CPU,
) -> None:
    """Features of a pool, the mapper and the relevance matrix that they give, with the mapper's card; no text.

    The mapper is linear; with a ``config`` it is a network that is trained so.
    """
    clip = ClipEncoder.load(out / CLIP, device, sentences=sentences)
    place = runs / f"features-{generator.fingerprint()}-{clip.fingerprint()}"
    drawn = {"seed": pool.manifest["seed"], "truncation": pool.manifest["truncation"], "pictures": pool}
    store = extract_features(generator, clip, len(pool), place, batch_size=BATCH, **drawn)
    mapper = solve_mapper(store) if config is None else train_mapper(store, config, device=device)
    mapper.save(out / MAPPER, half=True)
    write_tensors(out / RELEVANCE, {"relevance": estimate_relevance(store)}, {}, half=True)
    last = {name: value for name, value in mapper.history[-1].items() if name.startswith("validation_")}
    data = f"{len(store)} sampled faces, their styles and image features; no text"
    objective = "mean squared error plus one minus cosine, on standardised style differences"
    if config is None:
        objective = "least squares of style differences, standardised, on feature differences: one matrix, solved"
    recipe, measured = asdict(config or mapper.config), rounded(last)
    write_card(out, "mapper", device, mapper.history, data=data, objective=objective, recipe=recipe, measured=measured)


def make_edits(generator: MobileStyleGAN, runs: Path, out: Path, device: torch.device = CPU) -> None:
    """Tune length and threshold by the judge, write them into ``domain.json``, and a card of how edits go with them.

    Faces are drawn once; with other weights they are only edited again. A killed run goes on where it was.
    """
    start = time.perf_counter()
    if not (out / DOMAIN).exists():
        Domain.read(WEIGHTS).write(out)
    editor, judge = Editor.from_pretrained(out, device), FaceJudge.load(device=device)
    pool = draw_pool(generator, edits.SHARDS, runs / "held-out", edits.SEED, editor.domain.truncation)
    trial = edits.Trial.on(editor, judge, pool, runs / "edits")
    grid = edits.tune(trial.some(slice(edits.TUNING * SHARD)), judge.goals)
    chosen = edits.best(grid)
    setting = {name: chosen[name] for name in ("length", "threshold")}
    trial = edits.tuned(trial.some(slice(edits.TUNING * SHARD, None)), **setting)
    measured = edits.score(trial, judge.goals)
    trial.editor.domain.write(out)
    write_card(
        out,
        "edits",
        device,
        [],
        data=f"{len(trial.latent)} faces that no trainer saw, truncation {editor.domain.truncation}, "
        f"{edits.FACES} for a prompt, of those that lack it; {edits.TUNING * SHARD} others to tune on; previews",
        objective="length and threshold: most edits reached of the settings that leave the same person",
        recipe=setting | {"same_person_at_least": edits.KEPT, "further": edits.FURTHER},
        seconds=round(time.perf_counter() - start, 1),
        models=editor.identity["models"] | {"judge": edits.told_apart(judge)},
        measured=measured | {"tuning": grid},
    )


def make_encoder(
    pool: FacePool,
    generator: MobileStyleGAN,
    looks: list[Look],
    runs: Path,
    out: Path,
    judge: FaceJudge,
    config: FaceEncoderTraining = FaceEncoderTraining(),
    steps: int = STEPS,
) -> None:
    """Train the encoder of photos on all faces but the judge's, and write it with its card: what is kept of these."""
    asked = [look.number for look in first(looks, "judge") if look.number < len(pool)]
    editor, place = Editor.from_pretrained(out, generator.w_avg.device), runs / "encoder"
    given = {"features": editor.clip.encode_image, "held_out": asked}
    editor.encoder, log = train_encoder(pool, generator, place, config, **given)
    editor.encoder.save(out / ENCODER)
    editor = Editor.from_pretrained(out, generator.w_avg.device)
    measured: dict[str, Any] = {}
    for name, n, most in zip(("encoded", "refined"), INVERTED, (0, steps), strict=True):
        image = as_image(pool.rows(asked[:n], "picture"))
        measured[name] = {**rounded(likeness(editor, judge, image, most)), "faces": len(image), "steps": most}
    seen = config.steps * config.batch_size + config.drawn_steps * config.drawn_batch
    data = f"{len(pool) - len(asked)} faces, disturbed as photos are; seen: {seen}"
    objective = "the w that faces were drawn from; then what is drawn, too: pixels at every scale, CLIP's image feature"
    recipe = asdict(config)
    write_card(out, "encoder", editor.device, log, data=data, objective=objective, recipe=recipe, measured=measured)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m deltaedit.worlds.faces.train", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "part", choices=("all", *PARTS, HEAD), help="what to make; it needs what stands before it; head: CLIP's alone"
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/faces"), help="faces, labels and checkpoints")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go; what ships by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shards", type=int, default=SHARDS, help="of 1024 faces")
    parser.add_argument("--steps", type=int, default=FaceClipTraining.steps, help="of CLIP's training")
    parser.add_argument("--go-on", action="store_true", help="CLIP goes on from the weights that are there")
    parser.add_argument("--network", action="store_true", help="a network as mapper, the paper's, instead of a matrix")
    parser.add_argument("--download", action="store_true", help="get what others publish, where it is not here yet")
    arguments = parser.parse_args(argv)
    parts = PARTS if arguments.part == "all" else (arguments.part,)
    device, runs, out = torch.device(arguments.device), arguments.runs, arguments.out
    try:
        path = provide(MOBILESTYLEGAN, "faces", arguments.download) / GENERATOR
        generator = MobileStyleGAN.load(path, device).requires_grad_(False)
        looks = read()
        if parts != ("measure",):
            pool = draw_pool(generator, arguments.shards, runs / "pool")
        if {"labels", "clip", HEAD} & set(parts):
            labels = make_labels(pool, runs, out, looks, partial(landmarker, arguments.download))
        if {"clip", HEAD, "domain"} & set(parts):
            sentences = provide(MINILM, "faces", arguments.download)
        if "clip" in parts:
            config = FaceClipTraining(steps=arguments.steps)
            make_clip(pool, labels, looks, runs, out, sentences, config, go_on=arguments.go_on, device=device)
        if HEAD in parts:
            make_head(pool, labels, looks, runs, out, sentences, device=device)
        if "domain" in parts:
            make_domain(pool, generator, runs, out, sentences, RECIPE if arguments.network else None, device)
        if "encoder" in parts:
            make_encoder(pool, generator, looks, runs, out, FaceJudge.load(device=device))
        if "measure" in parts:
            make_edits(generator, runs, out, device)
    except (ImportError, ValueError, FloatingPointError, OSError) as error:
        refuse(error)


if __name__ == "__main__":
    main()
