"""``make fuzz``: damaged and malicious files of every format, by the thousand, and how reading each of them ended.

Each format starts from whole files, made from tiny networks. Of them mutations are made, from a seed: bytes changed,
cut, put in, swapped, numbers made extreme, and, inside JSON, zip files and lists of contents, values replaced, so that
what is behind a checksum is reached as well. They are read in processes of their own, which may set aside 2 GB and take
10 s a file; nothing may be run, imported, written or connected to. What must not happen is counted, as is what was
refused, and what was read after all: a pickle has no checksum, and a change among the weights changes numbers alone.

    python tests/fuzz.py [--count 10000] [--formats card recipe] [--seed 0] [--write]
"""

from __future__ import annotations

import argparse
import codecs
import json
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS.parent), str(TESTS), str(TESTS.parent / "book")]

MEMORY, SECONDS, WALL = 2_000_000_000, 10, 120  # bytes; of processor, of a clock (others may use the machine) a file
COUNT, KEPT = 10_000, 3  # mutations of a format; examples kept of each kind of end
NAMES = (
    *("generator, NVIDIA's pickle", "generator, PyTorch's zip", "generator, PyTorch's older format"),
    *("generator, safetensors", "generator, OpenVINO", "mapper, DeltaEdit's", "mapper, safetensors"),
    *("encoder, e4e's", "encoder, safetensors", "relevance, StyleCLIP's", "relevance, safetensors"),
    *("CLIP, safetensors", "card", "recipe", "feature store", "results"),
)
BAD = ("ran code", "hung", "too much memory", "unclear", "crashed")
FORBIDDEN = ("exec", "import", "pickle.find_class", "subprocess", "os.", "shutil", "socket", "ctypes")
NOT_OURS = re.compile(  # words of PyTorch's, and of Python's
    r"weights_only|[Ww]eights only|torch\.load|[Uu]npickl|Error\(s\)|size mismatch|(Missing|Unexpected) key|DefaultCPU|"
    r"Traceback|NoneType|unsupported operand|has no attribute|not supported between|codec can't|invalid literal|"
    r"not subscriptable|unhashable|object is not|positional argument|deserializing|recursion depth"
)


@dataclass(frozen=True)
class Format:
    """Files of one kind: what makes whole ones in a folder, which of them change, and what reads them there."""

    make: Callable[[Path], None]
    files: tuple[str, ...]
    read: Callable[[Path], Any]


def mutated(content: bytes, name: str, rng: random.Random, canary: str) -> bytes:
    """The content of a file, changed in one of many ways."""
    structured = {".json": _json, ".safetensors": _safetensors, ".pt": _zip, ".pth": _zip}.get(Path(name).suffix)
    if structured and rng.random() < 0.5:
        try:
            return structured(content, rng, canary)
        except (
            ValueError,
            KeyError,
            IndexError,
            zipfile.BadZipFile,
        ):  # not of that structure: older files of PyTorch's
            pass
    return _bytes(content, rng, canary, text=name.endswith((".json", ".xml", ".csv")))


EXTREME = (
    0,
    1,
    2,
    127,
    255,
    256,
    2**15 - 1,
    2**16 - 1,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63 - 1,
    2**64 - 1,
)


def _bytes(content: bytes, rng: random.Random, canary: str, text: bool = False) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        at, n = _place(len(data), rng), rng.choice((1, 1, 2, 4, 8, 64, 1000))
        there = _place(len(data), rng)
        match rng.randrange(13):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + n] = rng.randbytes(n)
            case 2:
                del data[at : at + n]
            case 3:  # a part of it once more
                data[at:at] = data[there : there + n]
            case 4:
                data[at : at + n], data[there : there + n] = data[there : there + n], data[at : at + n]
            case 5:
                data[at : at + n] = rng.choice((b"\0", b"\xff", b"\x80")) * n
            case 6 | 7 if text:  # a number in letters
                numbers = list(re.finditer(rb"-?\d+(\.\d+)?", data))
                if numbers:
                    number = rng.choice(numbers)
                    data[number.start() : number.end()] = str(rng.choice((-1, 1e308, "1e999", "", *EXTREME))).encode()
            case 6 | 7:  # a length, or an offset
                form = rng.choice(("<B", "<H", "<I", "<Q", ">I"))
                number = rng.choice(EXTREME) % 256 ** struct.calcsize(form)
                data[at : at + struct.calcsize(form)] = struct.pack(form, number)
            case 8:
                del data[rng.randrange(len(data)) :]
            case 9:
                data += rng.randbytes(n)
            case 10:  # a call, for those who make them
                data[at:at] = f"cos\nsystem\n(S'touch {canary}'\ntR".encode()
            case 11:
                data[at:at] = rng.choice((b"(", b"}", b"]", b"\x85", b"h\0", b"q\0", b"R", b"b", b"\x81", b"2")) * n
            case 12:
                del data[:n]
    return bytes(data)


def _place(size: int, rng: random.Random) -> int:
    """Where to change: half of the time where a file says what it holds, at its beginning or its end."""
    share = rng.random()
    edge = min(size, 6000)
    return (
        rng.randrange(size) if share < 0.5 else rng.randrange(edge) if share < 0.8 else size - 1 - rng.randrange(edge)
    )


STRANGE = (
    *(None, True, False, 0, 1, -1, 2, 0.5, 1e308, float("nan"), float("inf"), 10**400, *EXTREME),
    *("", "x", "x" * 5000, "../../etc/passwd", "{0.__class__}", "{:999999999}", "\0", "\ud800", "1", "true"),
    *([], {}, [[]], [None], {"": {}}, [0] * 1000, [1e9] * 3, [2**31] * 8, "clip", "mobilestylegan", "e4e"),
)


def _json(content: bytes, rng: random.Random, canary: str) -> bytes:
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        value = _changed(value, rng)
    if rng.random() < 0.02:
        return b"[" * 100_000 if rng.random() < 0.5 else b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    return json.dumps(value).encode("utf-8")


def _changed(value: Any, rng: random.Random) -> Any:
    """The same JSON with one entry, anywhere in it, replaced, removed, put in or named otherwise."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    for inner in waiting:
        keys = inner if isinstance(inner, dict) else range(len(inner)) if isinstance(inner, list) else ()
        places += [(inner, key) for key in keys]
        waiting += [inner[key] for key in keys]
    if not places or rng.random() < 0.03:
        return deepcopy(rng.choice(STRANGE))
    inside, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del inside[key]
        case 1 if isinstance(inside, dict):
            inside[rng.choice(("", "x", "kind", "config", "__class__", "a" * 1000))] = inside.pop(key)
        case 2:
            other, there = rng.choice(places)
            inside[key] = json.loads(json.dumps(other[there])) if there in other or isinstance(other, list) else None
        case 3 if isinstance(inside[key], int | float):
            inside[key] = rng.choice((inside[key] * 2, -inside[key], inside[key] + 1, str(inside[key]), [inside[key]]))
        case 4 if isinstance(inside[key], str):
            inside[key] = _bytes(inside[key].encode(), rng, "", text=True).decode("utf-8", "replace")
        case _:
            inside[key] = deepcopy(rng.choice(STRANGE))  # or a list changed later holds itself
    return value


def _safetensors(content: bytes, rng: random.Random, canary: str) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    ours = header.get("__metadata__", {}).get("deltaedit")
    if ours and rng.random() < 0.7:  # what it says of itself, JSON within JSON
        header["__metadata__"]["deltaedit"] = _json(ours.encode(), rng, canary).decode()
    else:
        header = _changed(header, rng)
    packed = json.dumps(header).encode()
    return len(packed).to_bytes(8, "little") + packed + content[8 + size :]


def _zip(content: bytes, rng: random.Random, canary: str) -> bytes:
    import io

    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    chosen = next(name for name in members if name.endswith("data.pkl")) if rng.random() < 0.7 else None
    chosen = chosen or rng.choice(list(members))
    match rng.randrange(10):
        case 0:
            del members[chosen]
        case 1:
            members[rng.choice(("archive/data.pkl", "../x", "/etc/x", "archive/data/0"))] = members.pop(chosen)
        case _:
            members[chosen] = _bytes(members[chosen], rng, canary)
    out = io.BytesIO()
    packing = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", packing) as file:
        for name, data in members.items():
            file.writestr(zipfile.ZipInfo(name), data, packing)
    return out.getvalue()


def formats() -> dict[str, Format]:
    """Every format that files from elsewhere come in, by name."""
    import numpy as np
    import torch
    from experiments import read_csv, write_csv
    from fakes import tiny_generator
    from foreign import nvidias, rosinalitys, write_nvidia, write_openvino
    from test_convert import write_mapper

    from deltaedit import checkpoints
    from deltaedit.clip import ClipEncoder
    from deltaedit.domain import Domain
    from deltaedit.e4e import E4E, E4EConfig, Encoder, EncoderConfig
    from deltaedit.features import FeatureStore
    from deltaedit.files import write_json, write_tensors
    from deltaedit.mapper import DeltaMapper, MapperConfig
    from deltaedit.mobilestylegan import MobileConfig, MobileStyleGAN
    from deltaedit.recipes import Recipe, encode
    from deltaedit.record import read_record, write_record

    generator = tiny_generator()
    dims = generator.layout.dims

    def e4e(folder: Path) -> None:
        names = {"stem": "input_layer", "shortcut": "shortcut_layer", "residual": "res_layer", "squeeze": "fc1"}
        names |= {"excite": "fc2", "heads": "styles", "lateral.0": "latlayer1", "lateral.1": "latlayer2"}
        state = {}
        for key, value in E4E(E4EConfig(128, 1, 16, (1, 1, 1, 1))).state_dict().items():
            for ours, theirs in names.items():
                key = key.replace(f"{ours}.", f"{theirs}.")
            state[f"encoder.{key}"] = value
        average = state.pop("encoder.w_avg")
        torch.save(
            {"state_dict": state, "latent_avg": average, "opts": {"encoder_type": "Encoder4Editing"}}, folder / "e.pt"
        )

    def recipe(folder: Path) -> None:
        edit = {"prompt": "face with a hat", "neutral": "face", "strength": 1.0, "threshold": 0.1}
        models = dict.fromkeys(("generator", "clip", "mapper", "relevance"), "0" * 12)
        about = {"domain": "faces", "models": models, "settings": {"gain": 1.0}, "edits": [edit, edit]}
        seeded = about | {"latent": {"seed": 7, "n": 4, "truncation": 0.7, "rows": [2, 1]}}
        given = about | {"latent": {"w": encode(torch.randn(1, 8)), "image_feature": encode(torch.randn(1, 10))}}
        write_json(folder / "seeded.json", seeded)
        write_json(folder / "given.json", given)

    def store(folder: Path) -> None:
        manifest = {"dims": list(dims), "seed": 0, "truncation": 1.0, "generator": "a", "clip": "b", "n": 5}
        write_json(folder / "manifest.json", manifest)
        rows = {"w": torch.randn(5, 8), "s": torch.randn(5, sum(dims)), "image_feature": torch.randn(5, 10)}
        write_tensors(folder / "00000.safetensors", {name: rows[name].half() for name in rows}, manifest)

    def results(folder: Path) -> None:
        write_record(folder / "figure.json", {"accuracy": 0.5, "by": {"hat": [1.0, 2.0]}}, seed=0, weights="a")
        about = {"question": "loss", "variant": "l2", "seed": 0, "domain": "pets", "seconds": 1.0, "device": "cpu"}
        about |= {"torch": "2", "weights": "a", "result": "1", "strength": "", "measure": "share"}
        write_csv(folder / "experiments.csv", [{**about, "value": 0.5, "low": 0.4, "high": float("nan")}] * 3)

    def clip(folder: Path) -> None:
        from test_clip import CONFIG

        from deltaedit._torchvision import open_clip
        from deltaedit.clip import build

        text = CONFIG["text_cfg"] | {"vocab_size": 49408, "width": 4, "heads": 1, "context_length": 4}
        vision = CONFIG["vision_cfg"] | {"width": 2, "head_width": 64}
        config = {"embed_dim": 4, "vision_cfg": vision, "text_cfg": text}
        made = ClipEncoder(
            build(config), open_clip.SimpleTokenizer(context_length=4), "tiny", token_ids=range(9), config=config
        )
        made.save(folder / "clip.safetensors")

    def each(read: Callable[[Path], Any], *names: str) -> Callable[[Path], Any]:
        return lambda folder: [read(folder / name) for name in names]

    def all_rows(folder: Path) -> None:
        store = FeatureStore.open(folder)
        assert len(store) == len(store.w) == len(store.s) == len(store.image_feature), "rows are missing"

    def save(data: Callable[[], Any], name: str, older: bool = False) -> Callable[[Path], None]:
        return lambda folder: torch.save(data(), folder / name, _use_new_zipfile_serialization=not older)

    rosinality = lambda: {"g_ema": rosinalitys(generator), "latent_avg": generator.w_avg}  # noqa: E731
    return {
        "generator, NVIDIA's pickle": Format(
            lambda folder: write_nvidia(folder / "g.pkl", nvidias(generator)),
            ("g.pkl",),
            each(checkpoints.load_generator, "g.pkl"),
        ),
        "generator, PyTorch's zip": Format(
            save(rosinality, "g.pt"), ("g.pt",), each(checkpoints.load_generator, "g.pt")
        ),
        "generator, PyTorch's older format": Format(
            save(rosinality, "g.pt", older=True), ("g.pt",), each(checkpoints.load_generator, "g.pt")
        ),
        "generator, safetensors": Format(
            lambda folder: generator.save(folder / "g.safetensors"),
            ("g.safetensors",),
            each(checkpoints.load_generator, "g.safetensors"),
        ),
        "generator, OpenVINO": Format(
            lambda folder: write_openvino(folder, MobileStyleGAN(MobileConfig((12, 8), 6, 8, 2))),
            ("SynthesisNetwork.xml", "SynthesisNetwork.bin", "MappingNetwork.xml", "MappingNetwork.bin"),
            checkpoints.load_generator,
        ),
        "mapper, DeltaEdit's": Format(
            lambda folder: write_mapper(folder / "net.pth", dims, 4),
            ("net.pth",),
            each(lambda path: checkpoints.load_mapper(path, dims), "net.pth"),
        ),
        "mapper, safetensors": Format(
            lambda folder: DeltaMapper(MapperConfig(dims, 4)).save(folder / "m.safetensors"),
            ("m.safetensors",),
            each(checkpoints.load_mapper, "m.safetensors"),
        ),
        "encoder, e4e's": Format(e4e, ("e.pt",), each(checkpoints.load_encoder, "e.pt")),
        "encoder, safetensors": Format(
            lambda folder: Encoder(EncoderConfig(8, 5, 16, 8, code=8)).save(folder / "e.safetensors"),
            ("e.safetensors",),
            each(checkpoints.load_encoder, "e.safetensors"),
        ),
        "relevance, StyleCLIP's": Format(
            lambda folder: np.save(folder / "fs3.npy", np.ones((20, 8), np.float32)),
            ("fs3.npy",),
            each(checkpoints.load_relevance, "fs3.npy"),
        ),
        "relevance, safetensors": Format(
            lambda folder: write_tensors(
                folder / "r.safetensors", {"relevance": torch.ones(20, 8)}, {"finished": True}
            ),
            ("r.safetensors",),
            each(checkpoints.load_relevance, "r.safetensors"),
        ),
        "CLIP, safetensors": Format(clip, ("clip.safetensors",), each(ClipEncoder.load, "clip.safetensors")),
        "card": Format(lambda folder: Domain("pets").write(folder), ("domain.json",), Domain.read),
        "recipe": Format(
            recipe,
            ("seeded.json", "given.json"),
            each(lambda path: Recipe.read(path.read_bytes().decode("utf-8", "replace")), "seeded.json", "given.json"),
        ),
        "feature store": Format(store, ("manifest.json", "00000.safetensors"), all_rows),
        "results": Format(
            results,
            ("figure.json", "experiments.csv"),
            lambda folder: (read_record(folder / "figure.json", ["a"]), read_csv(folder / "experiments.csv")),
        ),
    }


def ending(read: Callable[[Path], Any], folder: Path) -> tuple[str, str]:
    """How reading ended: "read", "refused" or one of ``BAD``; and what was said."""
    try:
        read(folder)
    except MemoryError as error:
        return "too much memory", repr(error)
    except (ValueError, FileNotFoundError) as error:
        said, causes = str(error), []
        while error := error.__cause__ or error.__context__:
            causes.append(repr(error))
        if any("MemoryError" in cause or "can't allocate" in cause for cause in causes):
            return "too much memory", f"{causes} {said}"
        ours = (
            "\n" not in said
            and len(said) < 1000
            and said.endswith(".")
            and not NOT_OURS.search(said.replace(str(folder), ""))
        )
        return "refused" if ours else "unclear", said
    except BaseException as error:
        return "unclear", repr(error)
    return "read", ""


def worker(names: list[str], first: int, count: int, seed: int, root: Path) -> None:
    """Make and read mutations ``first`` to ``count`` of formats; says on standard output how each ended, and before."""
    warnings.simplefilter("error")
    for name in ("cp437", *(f"utf-{bits}-{end}" for bits in (16, 32) for end in ("le", "be")), "utf-16", "utf-32"):
        codecs.lookup(name)  # of names in zip files, and of JSON: what Python has, imported once
    known, chosen = formats(), {}
    for name in names:
        folder = root / re.sub(r"\W+", "-", name)
        if not folder.exists():
            folder.mkdir()
            known[name].make(folder)
        chosen[name] = {file: (folder / file).read_bytes() for file in known[name].files}
        end = ending(known[name].read, folder)
        assert end == ("read", ""), f"the whole files of {name} are not read: {end}"
        file, whole = next(iter(chosen[name].items()))
        for content in (b"", b"x", b"{}", *(whole[:n] for n in (40, 1000))):  # for what is imported then
            (folder / file).write_bytes(content)
            ending(known[name].read, folder)
        (folder / file).write_bytes(whole)
    events: list[str] = []
    watching = False

    def watch(event: str, arguments: tuple) -> None:
        if watching:
            written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
            if written or event.startswith(FORBIDDEN):
                events.append(f"{event} {arguments[:2]}"[:200])

    sys.addaudithook(watch)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + MEMORY,) * 2)
    canary = root / "canary"
    for k in range(first, count):
        for name in names:
            folder, whole = root / re.sub(r"\W+", "-", name), chosen[name]
            rng = random.Random(f"{seed} {name} {k}")
            file = rng.choice(list(whole))
            (folder / file).write_bytes(mutated(whole[file], file, rng, str(canary)))
            print(json.dumps([name, k]), flush=True)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # the signals end this process; whoever reads it goes on
            signal.alarm(WALL)
            watching = True
            end, said = ending(known[name].read, folder)
            watching = False
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if events or canary.exists():
                end, said = "ran code", f"{events[:3]}"
                events.clear()
                canary.unlink(missing_ok=True)
            print(json.dumps([name, k, end, said[:300]]), flush=True)
            (folder / file).write_bytes(whole[file])


def run(names: list[str], count: int, seed: int = 0, first: int = 0) -> dict[str, dict[str, Any]]:
    """How the mutations of each format ended: counts, and some examples of what must not be."""
    endings: dict[str, Counter] = {name: Counter() for name in names}
    examples: dict[str, list[str]] = {name: [] for name in names}
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}

    def note(name: str, k: int, end: str, said: str) -> None:
        endings[name][end] += 1
        if name == names[-1] and k and not k % 500:
            print(f"{k} of {count} mutations of each format are read", file=sys.stderr, flush=True)
        if end in BAD and sum(example.startswith(end) for example in examples[name]) < KEPT:
            examples[name].append(f"{end}, number {k}: {said}")

    todo = first
    while todo < count:
        last = None
        with tempfile.TemporaryDirectory() as root:
            command = [sys.executable, __file__, "--worker", json.dumps([names, todo, count, seed, root])]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
                for line in process.stdout:
                    last = json.loads(line)
                    if len(last) == 4:
                        note(*last)
                said, code = process.stderr.read(), process.wait()
        if code == 0:
            break
        if last is None or len(last) == 4:
            raise RuntimeError(f"the worker failed ({code}): {said[-2000:]}")
        name, k = last
        hung = code in (-signal.SIGPROF, -signal.SIGALRM)
        note(name, k, "hung" if hung else "crashed", f"signal {-code} {said[-200:]}")
        if rest := names[names.index(name) + 1 :]:  # of the same number
            for part, result in run(rest, k + 1, seed, k).items():
                endings[part].update(result["endings"])
                examples[part] += result["examples"]
        todo = k + 1
    return {name: {"endings": dict(endings[name]), "examples": examples[name]} for name in names}


def main(argv: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=COUNT, help="mutations of each format")
    parser.add_argument("--formats", nargs="*", default=[], help="words of their names; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="into figures/trust.json")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        names, first, count, seed, root = json.loads(arguments.worker)
        return worker(names, first, count, seed, Path(root))
    names = [name for name in NAMES if not arguments.formats or any(word in name for word in arguments.formats)]
    start = time.monotonic()
    found = run(names, arguments.count, arguments.seed)
    for name, result in found.items():
        print(f"{name}: {', '.join(f'{n} {end}' for end, n in sorted(result['endings'].items()))}")
        for example in result["examples"]:
            print(f"    {example}")
    if arguments.write:
        from trust import write_trust

        columns = (*BAD, "refused", "read")
        measures = {name: {end: found[name]["endings"].get(end, 0) for end in columns} for name in found}
        about = {"count": arguments.count, "seed": arguments.seed, "seconds": round(time.monotonic() - start)}
        write_trust("fuzz", measures, **about)
    return sys.exit(any(end in BAD for name in found for end in found[name]["endings"]))


if __name__ == "__main__":
    main()
