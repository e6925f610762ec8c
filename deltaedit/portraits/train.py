"""Makes the weights that ship with the library: ``python -m deltaedit.portraits.train all``.

Every part goes on from its last checkpoint in the folder of runs, and leaves its weights with a card beside them:
what data, how many steps and seconds, on what, with which versions, and how good it is on portraits never seen.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from deltaedit.clip import ClipEncoder
from deltaedit.domains import CLIP, GENERATOR, Domain, find
from deltaedit.editor import Editor
from deltaedit.features import extract_features
from deltaedit.files import write_json
from deltaedit.portraits import evaluate
from deltaedit.portraits.attributes import BINARY, SCALE, factors_from_z
from deltaedit.portraits.captions import NEUTRAL, TEMPLATES, captions
from deltaedit.portraits.judge import Judge, JudgeTraining, accuracy, train_judge
from deltaedit.portraits.pool import Pool, latents, open_pool
from deltaedit.portraits.train_clip import ClipTraining, train_clip
from deltaedit.portraits.train_generator import GeneratorTraining, train_generator
from deltaedit.record import surroundings
from deltaedit.relevance import estimate_relevance
from deltaedit.stylegan2 import Generator
from deltaedit.training import MapperTraining, train_mapper

PICTURES = 102_400
PARTS = ("clip", "generator", "judge", "domain")
MAPPER = MapperTraining(steps=4000, batch_size=256, lr=0.2, warmup=100, cooldown=0.5, standardize=True, hidden=256,
                        last_activation=False)  # fmt: skip
"""The miniature's mapper: unlike the paper's its last layer is linear, and channels count in their own spread."""


def mean(values: dict[str, float], names: tuple[str, ...] = BINARY) -> float:
    """Mean over attributes."""
    return sum(values[name] for name in names) / len(names)


def rounded(values: dict[str, float]) -> dict[str, float]:
    """To four decimals, as cards hold them."""
    return {name: round(float(value), 4) for name, value in values.items()}


def write_card(folder: Path, name: str, *, data: str, objective: str, recipe: dict[str, Any],
               log: list[dict[str, float]], measured: dict[str, Any], device: torch.device) -> None:  # fmt: skip
    """Write ``<name>.card.json``: everything a reader must know to trust a model or to make it again."""
    thin = log[:: max(1, len(log) // 150)]
    write_json(folder / f"{name}.card.json", {
        "model": name, "data": data, "objective": objective, "recipe": recipe, "measured": measured,
        "curve": thin if not log or thin[-1] is log[-1] else [*thin, log[-1]], **surroundings(device),
    })  # fmt: skip


def make_clip(pool: Pool, runs: Path, out: Path, config: ClipTraining = ClipTraining()) -> None:
    """Train CLIP and write it with its card; only the token embeddings that captions use are kept."""
    import open_clip

    model, log = train_clip(pool, runs / "clip", config)
    tokenizer = open_clip.get_tokenizer(config.model)
    words = captions(pool.factors[:20_000], random.Random(config.seed))
    words += [template.format(NEUTRAL) for template in TEMPLATES]
    tokens = tokenizer(words).unique()
    clip = ClipEncoder(model, tokenizer, config.model, templates=TEMPLATES, token_ids=tokens)
    clip.save(out / CLIP)
    clip = ClipEncoder.load(out / CLIP, pool.z.device)
    image, factors = evaluate.held_out(4096, pool.pictures.shape[-1])
    shots = evaluate.zero_shot(clip, image, factors)
    write_card(out, "clip", data=f"{len(pool)} renders, new captions at every step; pairs seen: "
               f"{config.steps * config.batch_size}", objective="contrastive (open_clip's ClipLoss)",
               recipe=asdict(config), log=log, device=pool.z.device, measured={
                   "zero_shot": rounded(shots), "zero_shot_binary_mean": round(mean(shots), 4),
                   "retrieval_at_1_of_1000": round(evaluate.retrieval(clip, image[:1000], factors[:1000]), 4),
                   "held_out_renders": len(image), "tokens": len(tokens)})  # fmt: skip


@torch.no_grad()
def make_generator(pool: Pool, runs: Path, out: Path, config: GeneratorTraining = GeneratorTraining()) -> None:
    """Train the generator and write it with its card; the judge, if there, reads whether it draws as asked."""
    with torch.enable_grad():
        generator, log = train_generator(pool, runs / "generator", config)
    generator.save(out / GENERATOR)
    z = latents(2048, config.model.z_dim, evaluate.HELD_OUT).to(pool.z.device)
    image = torch.cat([generator(block) for block in z.split(64)])
    factors = factors_from_z(z)
    real = evaluate.paint(factors, image.shape[-1])
    measured: dict[str, Any] = {"mean_absolute_difference": round(float((image - real).abs().mean()), 4)}
    if (out / "judge.safetensors").exists():
        seen = accuracy(Judge.load(out / "judge.safetensors", pool.z.device), image.clamp(-1, 1), factors)
        measured |= {"drawn_as_asked": rounded(seen), "drawn_as_asked_binary_mean": round(mean(seen), 4)}
    pictures = sum(stage.steps * stage.batch_size for stage in config.stages)
    adversarial = any(stage.adversarial for stage in config.stages)
    objective = "regression onto the painter's picture of the same latent" + (
        ", then non-saturating adversarial loss with lazy R1 and style mixing" if adversarial else "; not adversarial")
    write_card(out, "generator", data=f"{len(pool)} renders; pictures seen: {pictures}", objective=objective,
               recipe=asdict(config), log=log, measured=measured, device=pool.z.device)  # fmt: skip


def make_judge(pool: Pool, runs: Path, out: Path, config: JudgeTraining = JudgeTraining()) -> None:
    """Train the judge and write it with its card."""
    judge, log = train_judge(pool, runs / "judge", config)
    judge.save(out / "judge.safetensors")
    judge = Judge.load(out / "judge.safetensors", pool.z.device)
    image, factors = evaluate.held_out(4096, pool.pictures.shape[-1])
    right = accuracy(judge, image.to(pool.z.device), factors.to(pool.z.device))
    write_card(out, "judge", data=f"{len(pool)} renders; pictures seen: {config.steps * config.batch_size}",
               objective="cross entropy and squared error on the attributes that can be seen", recipe=asdict(config),
               log=log, device=pool.z.device, measured={
                   "held_out": rounded(right), "binary_mean": round(mean(right), 4),
                   "scale_r2_mean": round(mean(right, SCALE), 4), "held_out_renders": len(image)})  # fmt: skip


def make_domain(runs: Path, out: Path, device: torch.device, pictures: int = 20_000,
                config: MapperTraining = MAPPER) -> None:  # fmt: skip
    """Extract features, train the mapper, estimate relevance, calibrate, and write the domain with its card."""
    generator = Generator.load(out / GENERATOR, device).to(memory_format=torch.channels_last)
    clip = ClipEncoder.load(out / CLIP, device)
    judge = Judge.load(out / "judge.safetensors", device)
    place = runs / f"features-{generator.fingerprint()}-{clip.fingerprint()}"
    store = extract_features(generator, clip, pictures, place)
    mapper = train_mapper(store, config, device=device)
    relevance = estimate_relevance(generator, clip, out=place / "relevance.safetensors")
    editor = Editor(generator, clip, mapper, relevance, Domain("portraits", NEUTRAL))
    grid = evaluate.calibrate(editor, judge)
    best = evaluate.best_setting(grid)
    editor.domain = replace(editor.domain, gain=best["gain"], threshold=best["threshold"])
    editor.save_pretrained(out)
    scores = evaluate.score_edits(Editor.from_pretrained(out, device), judge)
    write_card(out, "mapper", data=f"{len(store)} sampled pictures, their styles and image features; no text",
               objective="mean squared error plus one minus cosine, on standardised style differences",
               recipe=asdict(config), log=mapper.history, device=device, measured={
                   **evaluate.summary(scores), "calibration": grid,
                   "edits": {score.goal.prompt: {"reached": round(score.reached, 4), "flips": round(score.flips, 4),
                                                 "n": score.n} for score in scores}})  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=("all", *PARTS), help="what to train")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and pictures, kept between runs")
    parser.add_argument("--out", type=Path, default=find("portraits"), help="where the weights go")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="size of the pool of renders")
    arguments = parser.parse_args(argv)
    device, parts = torch.device(arguments.device), PARTS if arguments.part == "all" else (arguments.part,)
    if set(parts) - {"domain"}:
        model = GeneratorTraining().model
        pool = open_pool(arguments.runs / "pool", arguments.pictures, model.resolution, model.z_dim, device=device)
        for part in ("judge", "clip", "generator"):
            if part in parts:
                globals()[f"make_{part}"](pool, arguments.runs, arguments.out)
    if "domain" in parts:
        make_domain(arguments.runs, arguments.out, device)


if __name__ == "__main__":
    main()
