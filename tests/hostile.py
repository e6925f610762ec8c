"""Reads files one after the other, in a process of its own with little memory, and says how each ended.

``python tests/hostile.py GOOD FOLDER``: GOOD is read first, to import what reading needs. From then on nothing may be
imported or run, no process started, no file written, and 2 GB set aside: any such event is named.
"""

import codecs
import json
import os
import resource
import sys
import warnings
from pathlib import Path

from deltaedit import checkpoints

FORBIDDEN = ("exec", "import", "pickle.find_class", "subprocess", "os.", "shutil", "socket", "ctypes")
LIMIT = 2_000_000_000


def read(path: Path) -> str:
    """How a file ended as what it looks like, unless it ended worse as something else."""
    kinds = "relevance" if path.suffix == ".npy" else "generator", "mapper", "encoder"
    first, *others = (read_as(kind, path) for kind in kinds)
    return next((end for end in others if end.startswith(("CRASHED", "UNCLEAR"))), first)


def read_as(kind: str, path: Path) -> str:
    try:
        getattr(checkpoints, f"load_{kind}")(path)
    except ValueError as error:
        message = str(error)
        return message if message.startswith(str(path)) and "\n" not in message else f"UNCLEAR {message}"
    except BaseException as error:
        return f"CRASHED {error!r}"
    return "read"


def main(good: str, folder: str) -> None:
    warnings.simplefilter("error")
    assert read(Path(good)) == "read"
    read(Path(good).with_name("no such file"))
    codecs.lookup("cp437")  # of names in zip files
    events = []

    def watch(event: str, arguments: tuple) -> None:
        written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
        if written or event.startswith(FORBIDDEN):
            events.append(f"{event} {arguments[:2]}"[:200])

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + LIMIT,) * 2)
    paths = sorted(Path(folder).iterdir())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.addaudithook(watch)
    endings = {}
    for path in paths:
        endings[path.name] = read(path)
        if events:
            endings[path.name] = f"RAN {events}"
            events.clear()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"endings": endings, "grown": grown}))


if __name__ == "__main__":
    main(*sys.argv[1:])
