"""Makes the weights that ship with the library: ``python -m deltaedit.worlds.train all``, of every world.

Every part goes on from its last checkpoint in the folder of runs, and leaves its weights with a card beside them:
what data, how many steps and seconds, on what, with which versions, and how good it is on pictures never seen.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deltaedit import effects
from deltaedit.clip import ClipEncoder
from deltaedit.domain import CLIP, ENCODER, GENERATOR, Domain
from deltaedit.domain import MAPPER as MAPPER_FILE
from deltaedit.editor import Editor
from deltaedit.features import extract_features
from deltaedit.files import read_json, write_json, write_tensors
from deltaedit.inversion import EncoderTraining, train_encoder
from deltaedit.metrics import frechet_distance
from deltaedit.pictures import resize
from deltaedit.record import surroundings
from deltaedit.relevance import estimate_relevance
from deltaedit.stylegan2 import Generator
from deltaedit.training import QUICK, train_mapper
from deltaedit.worlds import NAMES, evaluate, named
from deltaedit.worlds.judge import JUDGE, Judge, JudgeConfig, JudgeTraining, accuracy, train_judge
from deltaedit.worlds.pool import Pool, latents, open_pool
from deltaedit.worlds.train_clip import ClipTraining, train_clip
from deltaedit.worlds.train_generator import GeneratorTraining, Stage, train_generator
from deltaedit.worlds.world import World

PICTURES = 102_400
RESOLUTION = 64
"""What the judge and CLIP look at, and the generator's stages up to there; larger pictures are dear to render."""
PERCEPTION = JudgeTraining(model=JudgeConfig(width=24), seed=2000)
"""The network of the generator's perceptual distance: like the judge, but another one, so that none grades itself."""
PARTS = ("judge", "clip", "generator", "domain", "encoder")
MAPPER = QUICK  # a miniature's mapper
DIFFERENCES = "relevance-differences.safetensors"
"""StyleCLIP's estimate, by finite differences: kept for comparison, beside the regression that edits take."""
TAIL = 0.01
"""Of a miniature's styles: an attribute that is there or not is a steep step in s, and an edit can fly far past it."""


def mean(values: dict[str, float], names: tuple[str, ...]) -> float:
    """Mean over attributes."""
    return sum(values[name] for name in names) / len(names)


def rounded(values: dict[str, float]) -> dict[str, float]:
    """To four decimals, as cards hold them."""
    return {name: round(value, 4) for name, value in values.items()}


def write_card(folder: Path, name: str, device: torch.device, log: list[dict[str, float]], **about: Any) -> None:
    """Write ``<name>.card.json``: everything a reader must know to trust a model or to make it again."""
    every = max(1, len(log) // 150)
    thin = [row for k, row in enumerate(log) if not k % every or "binary" in row or row is log[-1]]
    card = {"model": name, **about, "curve": thin, **surroundings(device)}
    write_json(folder / f"{name}.card.json", card)


def make_clip(pool: Pool, runs: Path, out: Path, config: ClipTraining = ClipTraining()) -> None:
    """Train CLIP and write it with its card; only the token embeddings that captions use are kept."""
    import open_clip

    model, log = train_clip(pool, runs / "clip", config)
    tokenizer = open_clip.get_tokenizer(config.model)
    world = pool.world
    words = world.captions(pool.factors[:20_000], random.Random(config.seed))
    words += [template.format(world.neutral) for template in world.templates]
    tokens = tokenizer(words).unique()
    clip = ClipEncoder(model, tokenizer, config.model, templates=world.templates, token_ids=tokens)
    clip.save(out / CLIP)
    clip = ClipEncoder.load(out / CLIP, pool.z.device)
    image, factors = evaluate.held_out(world, 4096, pool.pictures.shape[-1])
    shots = evaluate.zero_shot(world, clip, image, factors)
    data = f"{len(pool)} renders, new captions at every step; pairs seen: {config.steps * config.batch_size}"
    measured: dict[str, Any] = {}
    if world.apart:
        found = evaluate.combinations(world, clip, resolution=pool.pictures.shape[-1])
        measured = {f"combinations_{kind}_mean": round(mean(own, tuple(own)), 4) for kind, own in found.items()}
        measured["combinations"] = {kind: rounded(own) for kind, own in found.items()}
        data += f"; no caption names together what makes a {', a '.join(found['apart'])}"
    measured |= {
        "zero_shot": rounded(shots),
        "zero_shot_binary_mean": round(mean(shots, world.table.binary), 4),
        "retrieval_at_1_of_1000": round(evaluate.retrieval(world, clip, image[:1000], factors[:1000]), 4),
        "held_out_renders": len(image),
        "tokens": len(tokens),
    }
    objective, recipe = "contrastive (open_clip's ClipLoss)", asdict(config) | {"apart": world.apart}
    write_card(out, "clip", pool.z.device, log, data=data, objective=objective, recipe=recipe, measured=measured)


@torch.no_grad()
def drawn_as_asked(
    generator: Generator, judge: Judge, n: int = 2048, real: Tensor | None = None
) -> tuple[dict[str, float], float]:
    """What the judge reads in pictures of held-out latents, against what those stand for; see ``accuracy``.

    The second is the Fréchet distance to the embeddings of pictures in ``real``; 0 without.
    """
    z = latents(n, generator.z_dim, evaluate.HELD_OUT).to(generator.w_avg.device)
    image = torch.cat([generator(block).clamp(-1, 1) for block in z.split(64)])
    seen = accuracy(judge, image, judge.world.factors_from_z(z))
    return seen, 0.0 if real is None else frechet_distance(real, judge.embedding(image))


def make_generator(
    pools: Sequence[Pool], runs: Path, out: Path, config: GeneratorTraining = GeneratorTraining(), go_on: bool = False
) -> None:
    """Train the generator and write it with its card; the judge only looks on, and must be there first.

    With ``go_on`` the generator that is there already goes through those stages only that its card does not list.
    """
    world, device = pools[0].world, pools[0].z.device
    judge = Judge.load(out / JUDGE, device, world)
    perception, _ = train_judge(pools[0], runs / "perception", PERCEPTION)
    real = judge.embedding(evaluate.held_out(world, 4096, pools[0].pictures.shape[-1])[0].to(device))

    def progress(generator: Generator) -> dict[str, float]:
        seen, frechet = drawn_as_asked(generator, judge, 1024, real)
        means = {kind: mean(seen, getattr(world.table, kind)) for kind in ("binary", "choice", "scale")}
        return means | {"frechet": frechet}

    start, before = None, []
    if go_on:
        card = read_json(out / "generator.card.json")
        had = tuple(Stage(**stage) for stage in card["recipe"]["stages"])
        config = replace(config, mapping_steps=card["recipe"]["mapping_steps"], stages=had + config.stages[len(had) :])
        start, before = (Generator.load(out / GENERATOR, device), len(had)), card["curve"]
    perception.requires_grad_(False)
    generator, log = train_generator(pools, runs / "generator", config, perception, progress, start)
    generator.save(out / GENERATOR)
    seen, _ = drawn_as_asked(generator, judge)
    renders = ", ".join(f"{len(pool)} at {pool.pictures.shape[-1]} px" for pool in pools)
    pictures = sum(stage.steps * stage.batch_size for stage in config.stages)
    objective = "regression onto the painter's picture of the same latent"
    if any(stage.adversarial for stage in config.stages):
        objective += ", then non-saturating adversarial loss with lazy R1 and style mixing"
    else:
        objective += "; not adversarial"
    data, binary = f"renders: {renders}; pictures seen: {pictures}", round(mean(seen, world.table.binary), 4)
    measured = {"drawn_as_asked": rounded(seen), "drawn_as_asked_binary_mean": binary}
    log = before + log
    write_card(out, "generator", device, log, data=data, objective=objective, recipe=asdict(config), measured=measured)


def make_judge(pool: Pool, runs: Path, out: Path, config: JudgeTraining = JudgeTraining()) -> None:
    """Train the judge and write it with its card."""
    judge, log = train_judge(pool, runs / "judge", config)
    judge.save(out / JUDGE)
    judge = Judge.load(out / JUDGE, pool.z.device)
    image, factors = evaluate.held_out(pool.world, 4096, pool.pictures.shape[-1])
    right = accuracy(judge, image.to(pool.z.device), factors.to(pool.z.device))
    data = f"{len(pool)} renders; pictures seen: {config.steps * config.batch_size}"
    objective, recipe = "cross entropy and squared error on the attributes that can be seen", asdict(config)
    measured = {
        "held_out": rounded(right),
        "binary_mean": round(mean(right, pool.world.table.binary), 4),
        "scale_r2_mean": round(mean(right, pool.world.table.scale), 4),
        "held_out_renders": len(image),
    }
    write_card(out, "judge", pool.z.device, log, data=data, objective=objective, recipe=recipe, measured=measured)


def make_encoder(pool: Pool, runs: Path, out: Path, config: EncoderTraining = EncoderTraining()) -> None:
    """Train the encoder of a domain that is there already, and write it with its card."""
    editor = Editor.from_pretrained(out, pool.z.device)

    def pictures(n: int, rng: torch.Generator) -> Tensor:
        index = torch.randint(len(pool), (n,), generator=rng, device=pool.z.device)
        return resize(pool.images(index), editor.generator.resolution)

    place, features = runs / f"encoder-{editor.generator.fingerprint()}", editor.clip.encode_image
    editor.encoder, log = train_encoder(editor.generator, place, config, pictures=pictures, features=features)
    editor.encoder.save(out / ENCODER)
    editor = Editor.from_pretrained(out, pool.z.device)
    data = f"{len(pool)} renders and samples of the generator, half of each in every batch"
    objective = "pixels at every scale, CLIP's image feature, w of samples, small differences between layers"
    measured, recipe = rounded(evaluate.score_inversion(editor, Judge.of(editor))), asdict(config)
    write_card(out, "encoder", pool.z.device, log, data=data, objective=objective, recipe=recipe, measured=measured)


def make_domain(world: World, runs: Path, out: Path, device: torch.device) -> None:
    """Extract features, train the mapper, estimate relevance, calibrate, and write the domain with its card."""
    generator = Generator.load(out / GENERATOR, device).to(memory_format=torch.channels_last)
    clip = ClipEncoder.load(out / CLIP, device)
    judge = Judge.load(out / JUDGE, device, world)
    place = runs / f"features-{generator.fingerprint()}-{clip.fingerprint()}"
    store = extract_features(generator, clip, 20_000, place)
    mapper = train_mapper(store, MAPPER, device=device)
    domain = Domain(world.name, world.neutral, tail=TAIL, world=world.name)
    editor = Editor(generator, clip, mapper, estimate_relevance(store), domain)
    grid = effects.calibrate(editor, judge, editor.sample(seed=evaluate.HELD_OUT + 1, n=48), world.goals)
    best = effects.best_setting(grid)
    editor.domain = replace(editor.domain, gain=best["gain"], threshold=best["threshold"])
    editor.save_pretrained(out)
    mapper.save(out / MAPPER_FILE, half=True)  # half the size in the package, and the scores below are of it
    reference = estimate_relevance(generator, clip, out=place / DIFFERENCES)
    write_tensors(out / DIFFERENCES, {"relevance": reference.half()}, {"generator": generator.fingerprint()})
    editor = Editor.from_pretrained(out, device)
    scores = effects.score_edits(editor.edit, judge, editor.sample(seed=evaluate.HELD_OUT, n=200), world.goals)
    data = f"{len(store)} sampled pictures, their styles and image features; no text"
    objective = "mean squared error plus one minus cosine, on standardised style differences"
    kept = ("success", "leakage", "flips", "n")
    edits = {score.goal.prompt: rounded({name: getattr(score, name) for name in kept}) for score in scores}
    measured = {**effects.summary(scores), "leakage": effects.by_attribute(scores), "calibration": grid, "edits": edits}
    recipe, log = asdict(MAPPER), mapper.history
    write_card(out, "mapper", device, log, data=data, objective=objective, recipe=recipe, measured=measured)


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=("all", *PARTS), help="what to train")
    parser.add_argument("--world", choices=NAMES, help="of which world; of all by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and pictures, by world")
    parser.add_argument("--out", type=Path, help="where the weights go, by world; what ships by default")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile the generator: needs a C++ compiler on a CPU")
    parser.add_argument("--go-on", action="store_true", help="the generator goes on from the weights that are there")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="size of the pool of renders")
    arguments = parser.parse_args(argv)
    device, parts = torch.device(arguments.device), PARTS if arguments.part == "all" else (arguments.part,)
    config = replace(GeneratorTraining(), compile=arguments.compile)
    try:
        for name in [arguments.world] if arguments.world else NAMES:
            runs = arguments.runs / name
            out = arguments.out / name if arguments.out else Path(__file__).parent / name / "weights"
            draw = partial(open_pool, named(name), runs / "pool", z_dim=config.model.z_dim, device=device)
            if {"judge", "clip", "generator"} & set(parts):
                pool = draw(arguments.pictures, RESOLUTION)
            if {"generator", "encoder"} & set(parts):
                large = draw(arguments.pictures // 2, config.model.resolution, seed=1)
            if "judge" in parts:
                make_judge(pool, runs, out)
            if "clip" in parts:
                make_clip(pool, runs, out)
            if "generator" in parts:
                make_generator([pool, large], runs, out, config, arguments.go_on)
            if "domain" in parts:
                make_domain(named(name), runs, out, device)
            if "encoder" in parts:
                make_encoder(large, runs, out)
    except (ValueError, FloatingPointError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
