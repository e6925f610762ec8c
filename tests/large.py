"""What FFHQ's size costs, on weights and features that nobody trained: a section of ``make bench``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import textbook
import torch
import torch.nn.functional as F

from deltaedit import (
    ClipEncoder,
    DeltaMapper,
    Domain,
    Editor,
    FeatureStore,
    Generator,
    GeneratorConfig,
    MapperConfig,
    MapperTraining,
    train_mapper,
)
from deltaedit.clip import RELEASED_TEMPLATES
from deltaedit.devices import drawing_dtype
from deltaedit.features import MANIFEST, SHARD
from deltaedit.files import write_json, write_tensors
from deltaedit.loop import step_rng
from deltaedit.pictures import to_pil
from deltaedit.stylegan2 import EqualLinear

CONFIG = GeneratorConfig()  # FFHQ's, 1024 px
THINGS = (
    "glasses",
    "a hat",
    "a smile",
    "blue eyes",
    "red hair",
    "a beard",
    "bangs",
    "lipstick",
    "freckles",
    "earrings",
    "wrinkles",
    "a frown",
    "curly hair",
    "a tie",
    "a scarf",
    "pale skin",
)
HELD = """
import resource, sys
from deltaedit import FeatureStore, MapperTraining, train_mapper
train_mapper(FeatureStore.open(sys.argv[1]), MapperTraining(steps=2, evaluate_every=1, standardize=True), sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def seconds(call: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def race(forms: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each form; all take turns, after one turn to warm up."""
    times = [[seconds(call) for call in forms.values()] for _ in range(rounds + 1)][1:]
    return {name: statistics.median(column) for name, column in zip(forms, zip(*times, strict=True), strict=True)}


@torch.inference_mode()
def drawing(rounds: int) -> dict[str, float]:
    """One picture from s, in the textbook's form and in ours."""
    torch.manual_seed(0)
    plain = Generator(CONFIG).eval()
    for conv in plain.convs:
        conv.noise_strength.fill_(0.1)
    ours = Generator(CONFIG).eval()
    ours.load_state_dict(plain.state_dict())
    ours.to(memory_format=torch.channels_last)
    w = plain.mapping(torch.randn(1, CONFIG.z_dim))
    s = plain.styles(w)
    forms = {
        "textbook": lambda: textbook.synthesize(plain, s, w),
        "float32": lambda: ours.synthesize(s, w),
        "fastest": lambda: ours.synthesize(s, w, dtype=drawing_dtype(ours.resolution, "cpu")),
    }
    wanted, full, fast = (call() for call in forms.values())
    spread = wanted.max() - wanted.min()
    spent = race(forms, rounds)
    return {
        "picture from s, textbook (s)": spent["textbook"],
        "picture from s, float32 (s)": spent["float32"],
        "picture from s (s)": spent["fastest"],
        "picture from s, float32, of the textbook's time (%)": 100 * spent["float32"] / spent["textbook"],
        "picture from s, of the textbook's time (%)": 100 * spent["fastest"] / spent["textbook"],
        "picture from s, float32, off by (% of its range)": 100 * float((full - wanted).abs().max() / spread),
        "picture from s, off by (% of its range)": 100 * float((fast - wanted).abs().max() / spread),
    }


@torch.no_grad()
def editing(prompts: int) -> dict[str, float]:
    """One picture and many prompts, none seen before: one by one, together, and as a textbook has it."""
    torch.manual_seed(0)
    generator, clip = Generator(CONFIG), ClipEncoder.from_open_clip("ViT-B-32", templates=RELEASED_TEMPLATES)
    generator.to(memory_format=torch.channels_last)
    editor = Editor(generator, clip, DeltaMapper(MapperConfig(CONFIG.layout.dims, clip.dim)), domain=Domain())
    latent, targets = editor.sample(seed=0), [f"face with {thing}" for thing in THINGS[:prompts]]

    def plain(target: str) -> object:
        with patch.object(EqualLinear, "forward", textbook.linear):
            delta_s = editor.mapper(latent.s, latent.image_feature, clip.text_delta(target, "face"))
        return to_pil(textbook.synthesize(generator, latent.s + delta_s, latent.w))

    def alone() -> object:
        editor._text.clear()  # as if the prompts were new
        return [editor.edit(latent, target).image for target in targets]

    def together() -> object:
        editor._text.clear()
        return [edit.image for edit in editor.edit_each(latent, targets)]

    editor.edit(latent, "warm face").image  # noqa: B018
    spent = {"textbook": statistics.median(seconds(lambda t=t: plain(t)) for t in targets[:3]) * len(targets)}
    spent |= {"alone": seconds(alone), "together": seconds(together)}
    text, n = seconds(lambda: clip.text_feature("face with a monocle")), len(targets)
    return {
        "edit, prompt to picture, textbook (s)": spent["textbook"] / n,
        "edit, prompt to picture (s)": spent["alone"] / n,
        "of it, CLIP reads the prompt (s)": text,
        f"{n} edits together (s)": spent["together"],
        f"{n} edits together, of single ones (%)": 100 * spent["together"] / spent["alone"],
        f"{n} edits together, of the textbook's single ones (%)": 100 * spent["together"] / spent["textbook"],
    }


def fake_store(folder: Path, n: int) -> FeatureStore:
    """Features of FFHQ's shapes, one shard under many names, from which there is something to learn."""
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(SHARD, 512, generator=rng)
    s = z @ torch.randn(512, CONFIG.layout.size, generator=rng) / 512**0.5
    tensors = {"w": z.half(), "s": s.half(), "image_feature": F.normalize(z, dim=1).half()}
    write_json(folder / MANIFEST, {"dims": CONFIG.layout.dims, "n": n})
    write_tensors(folder / "00000.safetensors", tensors, {})
    for k in range(1, -(-n // SHARD)):
        os.link(folder / "00000.safetensors", folder / f"{k:05d}.safetensors")
    return FeatureStore.open(folder)


def learning(counted: int) -> dict[str, float]:
    """The mapper's training: the plain loop, then ours, from the same weights on the same pairs in the same order."""
    warm = 50  # steps until the first row of the log, not counted
    steps = warm + counted
    config = MapperTraining(steps=steps, evaluate_every=steps)
    with tempfile.TemporaryDirectory() as place:
        store = fake_store(Path(place), 4 * SHARD)
        count = len(store) - len(store) // 5
        rows = [torch.randint(count, (2, config.batch_size), generator=step_rng(0, k)) for k in range(steps)]
        torch.manual_seed(0)
        plain = DeltaMapper(MapperConfig(CONFIG.layout.dims))
        pairs = textbook.Pairs(store.s, store.image_feature, torch.cat(rows, dim=1))
        times, losses = [time.perf_counter()], []
        for loss in textbook.train(plain, pairs, config.batch_size, config.lr):
            losses.append(loss)
            times.append(time.perf_counter())
        del plain
        history = train_mapper(store, config, Path(place) / "run").history
    first, last = history  # since its first row the second one counts
    spent = {"plain": (times[-1] - times[warm]) / counted, "ours": (last["seconds"] - first["seconds"]) / counted}
    return {
        "mapper, plain loop (samples/s)": config.batch_size / spent["plain"],
        "mapper, training (samples/s)": config.batch_size / spent["ours"],
        "mapper, training, times the plain loop": spent["plain"] / spent["ours"],
        f"mapper, loss after {steps * config.batch_size} samples, plain loop": statistics.fmean(losses[warm:]),
        f"mapper, loss after {steps * config.batch_size} samples": last["loss"],
    }


def memory(n: int) -> dict[str, float]:
    """The most that a process holds which trains on many features: weights, Adam and checkpoints included."""
    with tempfile.TemporaryDirectory() as place:
        fake_store(Path(place), n)
        command = [sys.executable, "-c", HELD, place, str(Path(place) / "run")]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
    return {f"mapper, training on {n} pictures, held (GB)": int(run.stdout.split()[-1]) / 1e9}


def measure(rounds: int = 5, prompts: int = 16, steps: int = 30, pictures: int = 200_000) -> dict[str, float]:
    """Everything, in about ten minutes on two cores."""
    return drawing(rounds) | editing(prompts) | learning(steps) | memory(pictures)
