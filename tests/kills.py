"""Kills work at random moments and runs it again: what is lost goes into ``figures/trust.json``, under "kills".

    python tests/kills.py --times 100 --write                every job, for an hour or two
    python tests/kills.py --times 5 --only training grid     two of them, as a rehearsal

Each time a job begins in an empty folder, is killed by SIGKILL, as by a system that has no memory left, and the same
command is run again: it must end as if nothing had been. A job runs in a process of its own, forked from one that has
imported what it needs, so that a kill costs no more than the job. Where file systems can be mounted, each is also run
where the disk is full, and then goes on where there is room; and where nothing can be written at all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import nbformat
import torch
from fakes import FakeClip, tiny_generator
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tqdm import tqdm
from trust import TRUST, write_trust
from web import serve

from deltaedit import features
from deltaedit.domains import weights
from deltaedit.features import FeatureStore, extract_features
from deltaedit.files import read_json, read_tensors, write_whole
from deltaedit.mapper import MapperConfig
from deltaedit.remote import RemoteFile, fetch
from deltaedit.training import MapperTraining, train_mapper

ROOT = Path(__file__).resolve().parents[1]
SEED = 25  # of the moments
PATIENCE = 600  # seconds that a job may take
CONTENT = random.Random(SEED).randbytes(24 << 20)  # of what is downloaded
FILES = {"known": f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", "unknown": None}


# The jobs: each makes something in a folder, and what it made is told by something that can be compared.


def extract(folder: Path, size: int = 384) -> FeatureStore:
    """Features in small files."""
    features.SHARD = 64
    return extract_features(tiny_generator(), FakeClip(), size, folder / "features")


def train(folder: Path) -> None:
    """A mapper with a checkpoint at every fifty steps, on features that are made first."""
    recipe = MapperTraining(steps=200, batch_size=16, evaluate_every=50, mapper=MapperConfig(hidden=16))
    train_mapper(extract(folder, 64), recipe, folder / "mapper")


def download(folder: Path) -> None:
    """Files with and without a checksum that is known."""
    for name, checksum in FILES.items():
        fetch(RemoteFile(f"some/{name}", f"{os.environ['KILLS_URL']}/file", checksum), True, folder)


def book(folder: Path) -> None:
    """Two chapters, of which the second reads what the first measured."""
    if not (toc := folder / "book/_toc.yml").exists():
        measure = 'write_record("../figures/first.json", {"sum": sum(range(seed, 100))}, seed=seed)'
        first = ["seed = 3", f"from deltaedit.record import write_record\n\n{measure}"]
        read = 'print(json.loads(Path("../figures/first.json").read_text())["measures"])'
        second = ["seed = 3", f"import json\nfrom pathlib import Path\n\n{read}"]
        write_notebook(folder / "notebooks/01_first.ipynb", *first)
        write_notebook(folder / "notebooks/02_second.ipynb", *second, reads=["figures/first.json"])
        write_whole(toc, lambda part: part.write_text("root: notebooks/first\nchapters:\n- file: notebooks/second\n"))
    make(folder, "--no-html")


def pages(folder: Path) -> None:
    """One chapter and its page, by the book's own configuration."""
    if not (toc := folder / "book/_toc.yml").exists():
        for name in ("_static", "references.bib"):
            own, there = ROOT / "book" / name, folder / "book" / name
            shutil.copytree(own, there, dirs_exist_ok=True) if own.is_dir() else shutil.copy(own, there)
        shutil.copy(ROOT / "_config.yml", folder)
        write_notebook(folder / "notebooks/01_first.ipynb", "seed = 3", "print(seed)")
        write_whole(toc, lambda part: part.write_text("format: jb-book\nroot: notebooks/first\n"))
    make(folder)


def make(folder: Path, *arguments: str) -> None:
    """Make the book of a folder."""
    import build  # from another folder: see Killer

    build.ROOT = folder
    if build.main(["--jobs", "1", *arguments]):
        raise SystemExit(1)


def grid(folder: Path) -> None:
    """Two experiments and their table."""
    import experiments

    experiments.GRID = (
        experiments.Experiment("speed", "slow", {}),
        experiments.Experiment("speed", "fast", {"speed": 9.0}),
    )
    experiments.FULL = {}
    notebook = folder / "one.ipynb"
    if not notebook.exists():
        values = {"domain": "portraits", "seed": 0, "out": "", "speed": 1.0, "made_from": weights("portraits")}
        body = (
            "from deltaedit.files import write_json\n\n"
            'about = {"seed": seed, "seconds": 1.5, "weights": made_from, "device": "cpu"}\n'
            'measures = {"success": (speed, speed - 0.1, speed + 0.1)}\n'
            'about |= {"parameters": {"domain": domain}, "versions": {"torch": "2"}}\n'
            'write_json(out, {"measures": measures, **about})'
        )
        write_notebook(notebook, "\n".join(f"{name} = {value!r}" for name, value in values.items()), body)
    place = ["--notebook", str(notebook), "--out", f"{folder}/out", "--table", f"{folder}/table.csv"]
    experiments.main([*place, "--seeds", "0", "--jobs", "1"])


def write_notebook(path: Path, parameters: str, body: str, **about: Any) -> None:
    """A notebook of two cells under a title."""
    cells = [new_markdown_cell("# A chapter")]
    cells += [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(body)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=cells, metadata={"kernelspec": kernel, "deltaedit": about})
    write_whole(path, lambda part: nbformat.write(notebook, part))


def digests(folder: Path) -> dict[str, str]:
    """The bytes of all files but hidden ones."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    seen = {name: path for name, path in files.items() if not any(part.startswith(".") for part in Path(name).parts)}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in seen.items()}


def trained(folder: Path) -> Any:
    """The mapper's weights; its log has seconds."""
    tensors = read_tensors(folder / "mapper/mapper.safetensors")[0]
    return {name: tensor.tolist() for name, tensor in tensors.items()}


def built(folder: Path) -> Any:
    """What the chapters say and what they measured; copies have times."""
    copies = [nbformat.read(folder / f"_build/src/notebooks/{name}.ipynb", 4) for name in ("first", "second")]
    said = [[output.text for output in cell.get("outputs", ())] for copy in copies for cell in copy.cells]
    return said, json.loads((folder / "figures/first.json").read_text())["measures"]


def drawn(folder: Path) -> Any:
    """The pages, all but what the search knows by a number drawn anew."""
    return {name: own for name, own in digests(folder / "_build/html").items() if name.endswith((".html", ".css"))}


def measured(folder: Path) -> Any:
    """The table and the results."""
    results = {path.name: path.read_text() for path in sorted((folder / "out").glob("*/*.json"))}
    return (folder / "table.csv").read_text(), results


@dataclass(frozen=True)
class Job:
    """Work in a folder, and what it made there."""

    run: Callable[[Path], Any]
    made: Callable[[Path], Any]


JOBS = {
    "extraction": Job(extract, lambda folder: digests(folder / "features")),
    "training": Job(train, trained),
    "download": Job(download, digests),
    "book": Job(book, built),
    "pages": Job(pages, drawn),
    "grid": Job(grid, measured),
}


# How they are run, killed, and run again.


def log_of(folder: Path) -> Path:
    """What a job said, beside its folder."""
    return folder.with_name(f"{folder.name}.log")


def work(name: str, folder: Path, url: str) -> None:
    """One process: what it says goes to a file; where it ends with one sentence that names a place, its status is 2."""
    log = os.open(log_of(folder), os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ["KILLS_URL"] = url
    torch.set_num_threads(1)
    tqdm.set_lock(threading.RLock())  # not one of several processes, which a kill would leave
    try:
        JOBS[name].run(folder)
    except (OSError, ValueError) as error:
        print(f"\n{type(error).__name__}: {error}", flush=True)
        os._exit(2 if str(folder) in str(error) and "\n" not in str(error) else 1)


def offer(there: Connection) -> None:
    """Serve what is downloaded, until the other end of the pipe is gone."""
    with serve({"/file": CONTENT}) as web, suppress(EOFError):
        there.send(web.url)
        there.recv()


class Killer:
    """Runs jobs in processes that are forked from one which has imported what they need."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["kills", "build", "experiments"])
        before = dict(os.environ)
        paths = [ROOT, ROOT / "tests", ROOT / "book", os.environ.get("PYTHONPATH", "")]
        os.environ |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}  # forks have no threads
        try:
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ |= before

    @contextmanager
    def serving(self) -> Iterator[Killer]:
        """Have a server of what is downloaded until the block ends."""
        here, there = self.context.Pipe()
        server = self.context.Process(target=offer, args=(there,))
        server.start()
        there.close()
        self.url = here.recv()
        try:
            yield self
        finally:
            here.close()
            server.join()

    def run(self, name: str, folder: Path, moment: float = PATIENCE) -> int:
        """Run a job, and kill it at a moment, in seconds; its exit status, below 0 for one that was killed."""
        folder.mkdir(exist_ok=True)
        process = self.context.Process(target=work, args=(name, folder, self.url))
        process.start()
        process.join(moment)
        process.kill()
        process.join()
        return process.exitcode

    def undisturbed(self, name: str, folder: Path) -> tuple[Any, float]:
        """What a job makes where nobody kills it, and its seconds."""
        begin = time.perf_counter()
        if self.run(name, folder):
            raise RuntimeError(f"{name} fails where nobody kills it:\n{log_of(folder).read_text()}")
        return JOBS[name].made(folder), time.perf_counter() - begin

    def trial(self, name: str, times: int, seed: int = SEED) -> dict[str, Any]:
        """Kill a job some times, each in a folder of its own, and compare what the second run made."""
        rng, faults, same, missed = random.Random(f"{seed} {name}"), [], 0, 0
        with tempfile.TemporaryDirectory() as place:
            wanted, seconds = self.undisturbed(name, Path(place, "whole"))
            while same + len(faults) < times:
                folder = Path(place, f"{same + len(faults)}-{missed}")
                if self.run(name, folder, moment := rng.uniform(0, seconds)) >= 0:  # it had ended before
                    missed += 1
                elif (status := self.run(name, folder)) == 0 and JOBS[name].made(folder) == wanted:
                    same += 1
                else:
                    said = log_of(folder).read_text().strip()[-300:]
                    faults.append(f"killed after {moment:.3f} s, then status {status}: {said}")
                shutil.rmtree(folder, ignore_errors=True)
        return {"kills": times, "same": same, "undisturbed (s)": round(seconds, 2), "faults": faults[:3]}

    def cramped(self, name: str, shares: tuple[float, ...] = (0.05, 0.3, 0.6, 0.9)) -> dict[str, Any]:
        """Run a job where the disk is full, then where there is room; then where nothing can be written."""
        faults, same = [], 0
        notebooks = (1,) if name in ("book", "pages", "grid") else ()  # whose own errors are longer than a sentence
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place, "whole")
            wanted, _ = self.undisturbed(name, folder)
            used = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

            def ends(what: str, *statuses: int) -> None:
                status, said = self.run(name, folder), log_of(folder).read_text().strip()
                if status not in statuses or ("Traceback" in said and not notebooks):
                    faults.append(f"{what}: status {status}, {said[-300:]}")

            for share in shares:
                folder = Path(place, f"full-{share}")
                with mounted(folder, size=max(4096, int(share * used))):
                    ends(f"room for {share:g} of it", 2, *notebooks)
                    remount(folder, f"size={used + (64 << 20)}")
                    if self.run(name, folder) == 0 and JOBS[name].made(folder) == wanted:
                        same += 1
                    remount(folder, "ro")
                    ends("read-only, all is there", 0, 2, *notebooks)
            folder = Path(place, "nothing")
            with mounted(folder, size=1 << 20):
                remount(folder, "ro")
                ends("read-only, nothing is there", 2, *notebooks)
        return {"full": len(shares), "same afterwards": same, "faults": faults[:3]}


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """A small file system in a folder."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, options: str) -> None:
    """Change it."""
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def mounts() -> bool:
    """Whether file systems can be mounted here."""
    try:
        with tempfile.TemporaryDirectory() as place, mounted(Path(place, "x"), 4096):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def main() -> None:
    """Kill, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--times", type=int, default=100, help="kills of each job; %(default)s by default")
    parser.add_argument("--only", nargs="+", choices=list(JOBS), help="some jobs; with --write others stay")
    parser.add_argument("--write", action="store_true", help="into figures/trust.json")
    parser.add_argument("--seed", type=int, default=SEED, help="of the moments")
    arguments = parser.parse_args()
    start, measures, room = time.perf_counter(), {}, mounts()
    with Killer().serving() as killer:
        for name in arguments.only or JOBS:
            measures[name] = killer.trial(name, arguments.times, arguments.seed)
            if room:
                measures[name]["disk"] = killer.cramped(name)
            print(f"{name}: {json.dumps(measures[name], indent=1)}", flush=True)
    if arguments.write:
        kept = read_json(TRUST).get("kills", {}).get("measures", {}) if TRUST.exists() else {}
        seconds = round(time.perf_counter() - start)
        write_trust("kills", kept | measures, times=arguments.times, seed=arguments.seed, seconds=seconds)
    lost = [name for name, one in measures.items() if one["same"] < one["kills"] or one.get("disk", one)["faults"]]
    sys.exit(f"\nlost something: {', '.join(lost)}" if lost else 0)


if __name__ == "__main__":
    import kills  # under its own name: what other processes are given must have one

    kills.main()
