"""An editor for a domain's generator with any CLIP, trained without text: all of it in one command that can be stopped.

``python -m deltaedit.train faces --clip ViT-B-32:openai`` draws pictures, lets that CLIP look at them, trains a mapper,
estimates the relevance, and writes a folder that ``Editor.from_pretrained`` takes.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path

import torch

from deltaedit import checkpoints, domains
from deltaedit.convert import load_clip
from deltaedit.devices import find_device
from deltaedit.domain import CARD, GENERATOR, Domain, save_parts
from deltaedit.download import MINILM
from deltaedit.editor import Editor
from deltaedit.features import SHARD, FeatureStore, ImageEncoder, extract_features, sampled, shard_latents
from deltaedit.mapper import DeltaMapper
from deltaedit.packages import provide
from deltaedit.parameters import refuse
from deltaedit.relevance import estimate_relevance
from deltaedit.style_space import AnyGenerator, preview_size
from deltaedit.training import QUICK, MapperTraining, train_mapper

WORK = "training"  # folder, in the domain's, of what is gone on from
FIRST = 16  # pictures that the time is measured on, and steps of the mapper
TUNE = """\
The threshold and the gain in {card} are defaults: no text was read, so none could be tuned. Try prompts on some
pictures with editor.edit(latent, prompt, strength, threshold): where an edit changes more than it should, raise the
threshold (0.03, 0.1, 0.2, …; 0 lets every channel move); where it does too little, the strength. Then write what you
found into the card, as threshold and as gain."""


def train_domain(
    name: str | Path,
    clip: str,
    out: str | Path,
    *,
    n: int = 30_000,
    steps: int = QUICK.steps,
    seed: int = 0,
    truncation: float | None = None,
    neutral: str | None = None,
    device: str | torch.device = "cpu",
) -> Editor:
    """Make a domain of another's generator and a CLIP: features, mapper, relevance, and a card; see the module.

    Stopped at any time, the same call goes on to the same weights; with more pictures or steps it goes on from what is
    there. A card that is there stays as it is, with what was found and written into it.

    Args:
        name: of a domain, or its folder; the generator is fetched if others publish it and it is not here.
        clip: what ``convert.load_clip`` takes; weights that a tag names may be downloaded.
        out: folder of the new domain; in its ``training`` lies what may be deleted once all is done.
        n, steps: pictures, and batches of the mapper's training, see ``training.QUICK``.
        truncation, neutral: by default those of the domain.

    Raises:
        ValueError: if a part cannot be read, does not fit, or ``out`` is another domain or another run.
        FileNotFoundError: if something must be fetched and cannot be.
        ImportError: if the CLIP needs a library that is not installed.
    """
    out, often = Path(out), max(50, steps // 20)
    recipe = replace(QUICK, steps=steps, warmup=min(QUICK.warmup, steps // 10), evaluate_every=often, seed=seed)
    if (out / CARD).exists() and not (out / WORK).exists():
        raise ValueError(f"{out} is a domain already, with no training to go on with: choose another folder.")
    folder = domains.find(name, download=True, parts=(GENERATOR,))
    card = Domain.read(folder)
    generator = checkpoints.load_generator(domains.locate(folder, GENERATOR, download=True))
    generator = generator.to(device, memory_format=torch.channels_last).requires_grad_(False)
    seeing = load_clip(clip, device=device, sentences=partial(provide, MINILM, "faces"))
    truncation = card.truncation if truncation is None else truncation
    kept = {"align": card.align, "tail": card.tail, "world": card.world}  # of the generator, whatever looks at it
    card = Domain(out.resolve().name, neutral or card.neutral, truncation=truncation, **kept)
    if (out / CARD).exists():
        card = replace(Domain.read(out), truncation=truncation, **({"neutral": neutral} if neutral else {}))
    size = preview_size(generator, seeing.image_size)
    how = {"out": out / WORK / "features", "seed": seed, "truncation": truncation, "size": size}
    print(f"{name} with {clip}: the first pictures tell the time.", flush=True)
    first = extract_features(generator, seeing, min(n, FIRST), **how)  # of another run it is refused here
    picture = _seconds_a_picture(generator, seeing, truncation, size)
    mapper, step = _first_steps(first, recipe, device)
    Editor(generator, seeing, mapper, domain=card)  # what does not fit is refused now, not after hours,
    save_parts(out, clip=seeing)  # and so is what cannot be saved
    done = FeatureStore.open(first.folder).size
    left = 0 if done >= n else n - done // SHARD * SHARD
    took = _duration(left * picture + steps * step)
    print(
        f"{left:,} of {n:,} pictures at {size or generator.resolution} px, {picture:.3f} s each, and at most {steps:,} "
        f"steps of the mapper, {step:.3f} s each: about {took} on {device}. Stop it when you like: the same command "
        "goes on.",
        flush=True,
    )

    store = extract_features(generator, seeing, n, **how)
    mapper = train_mapper(store, recipe, device=device)
    editor = Editor(generator, seeing, mapper, estimate_relevance(store), card)
    editor.save_pretrained(out)
    return editor


def _seconds_a_picture(generator: AnyGenerator, clip: ImageEncoder, truncation: float, size: int | None) -> float:
    z = shard_latents(0, 0, generator.z_dim)[: max(FIRST, 2 * generator.batch_size)].to(generator.w_avg.device)
    sampled(generator, clip, z[: generator.batch_size], truncation, size)["s"].cpu()  # warms up
    begin = time.perf_counter()
    for batch in z.split(generator.batch_size):
        sampled(generator, clip, batch, truncation, size)["s"].cpu()  # waits for a GPU, as writing them does
    return (time.perf_counter() - begin) / len(z)


def _first_steps(store: FeatureStore, recipe: MapperTraining, device: str | torch.device) -> tuple[DeltaMapper, float]:
    """A mapper that has hardly begun, and the seconds of a step."""
    short = replace(recipe, steps=FIRST, warmup=0)
    with tempfile.TemporaryDirectory() as scratch, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        for folder in "ab":  # the first warms up
            mapper = train_mapper(store, short, Path(scratch, folder), device)
    return mapper, mapper.history[-1]["seconds"] / FIRST


def _duration(seconds: float) -> str:
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.{seconds < 10 * size:d}f} {unit}"
    return f"{seconds:.0f} seconds"


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m deltaedit.train", description=__doc__.partition("\n")[0])
    parser.add_argument("domain", help="whose generator is taken: faces, portraits, ffhq, … or a folder")
    parser.add_argument("--clip", required=True, help="NAME:TAG or NAME:FILE of open_clip, or a clip.safetensors")
    parser.add_argument("--out", type=Path, help="folder of the new domain; by default here, named after the two")
    parser.add_argument("--n", type=int, default=30_000, help="pictures to draw; %(default)s by default")
    parser.add_argument("--steps", type=int, default=QUICK.steps, help="of the mapper; %(default)s by default")
    parser.add_argument("--seed", type=int, default=0, help="of pictures, weights and pairs")
    parser.add_argument("--device", default="auto", help="such as cpu or cuda; by default a GPU where there is one")
    parser.add_argument("--truncation", type=float, help="of the pictures; by default the domain's")
    parser.add_argument("--neutral", help="prompt of a picture of which nothing is known; by default the domain's")
    options = vars(parser.parse_args(argv))
    name, out = options.pop("domain"), options.pop("out")
    out = out or Path(_name(name, options["clip"]))
    if options["device"] == "auto":
        options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        find_device(options["device"])
        editor = train_domain(name, out=out, **options)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        refuse(error)
    except KeyboardInterrupt:
        sys.exit(f"Stopped; the same command goes on with what is in {out}.")
    print(f"The domain is in {out}: Editor.from_pretrained({str(out)!r}), neutral prompt {editor.domain.neutral!r}.")
    print(TUNE.format(card=out / CARD))


def _name(domain: str, clip: str) -> str:
    """Of a folder, after a domain and a CLIP: "faces-ViT-B-32-openai"."""
    parts = [Path(domain).name] + [Path(part).stem for part in clip.split(":")]
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


if __name__ == "__main__":
    main()
