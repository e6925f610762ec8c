"""Run notebooks: copies with parameters, whole or not at all, several at a time, each after those that it needs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import nbformat
import papermill
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from deltaedit.files import put

Key = TypeVar("Key", bound=Hashable)
NUMBER = re.compile(r"^\d+[a-z]?_")
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")  # numba's counts for all of a process, see `alignment.project`


def chapters(root: Path) -> dict[str, Path]:
    """The notebooks of a repository by their chapters' names; the number before a name orders the folder alone."""
    return {NUMBER.sub("", path.stem): path for path in sorted((root / "notebooks").glob("*.ipynb"))}


def execute(
    notebook: Path,
    out: Path,
    parameters: Mapping[str, Any],
    *,
    minutes: float | None = None,
    label: str | None = None,
    finish: Callable[[nbformat.NotebookNode], Any] | None = None,
) -> None:
    """Run a copy of a notebook, with its own folder to work in; it takes its place when it ran to its end.

    Args:
        notebook: what is run; it stays as it is.
        out: the copy. One that did not run to its end is kept beside it, as `*.part.ipynb`.
        parameters: of the notebook.
        minutes: that a cell may take; None for as long as it wants.
        label: of a progress bar; None for none.
        finish: changes the copy that ran, before it takes its place.

    Raises:
        RuntimeError: with the copy's name, where a cell fails or takes too long, or the kernel dies.
    """
    part = out.with_suffix(".part.ipynb")
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            notebook,
            part,
            dict(parameters),
            kernel_name="python3",
            resources={"metadata": {"path": str(notebook.parent)}},  # papermill's own `cwd` is that of all threads
            execution_timeout=minutes and round(60 * minutes),
            progress_bar={"desc": label} if label else False,
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
        )
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"{out.name} failed; the copy up to there is {part}.{error}") from error
    except CellTimeoutError as error:
        raise RuntimeError(f"{out.name} failed: a cell took more than {minutes:g} minutes.\n{error}") from error
    except DeadKernelError as error:
        raise RuntimeError(f"{out.name} failed: its kernel died, most likely for want of memory.") from error
    if finish:
        copy = nbformat.read(part, as_version=4)
        finish(copy)
        nbformat.write(copy, part)
    put(part, out)


def several(
    run: Callable[[Key], Any],
    needs: Mapping[Key, Collection[Key]],
    jobs: int,
    *,
    alone: Collection[Key] = (),
    each: Callable[[Key], Any] = lambda key: None,
) -> None:
    """Call ``run`` with each key, ``jobs`` at a time; where one raises, those that run beside it end first.

    Of several at a time each has its share of the processor's cores, where the environment says nothing of threads.

    Args:
        run: executes one notebook.
        needs: by key, those that must have ended before; where several could begin, the first does.
        jobs: at a time.
        alone: those that nothing may run beside; they have all cores.
        each: is called with each key as it ends, never twice at a time.
    """
    waiting, running = list(needs), {}
    share = str(max(1, (os.cpu_count() or 1) // jobs))
    given = {} if jobs == 1 else {name: share for name in THREADS if name not in os.environ}

    def run_and_close(key: Key) -> None:
        try:
            run(key)
        finally:
            ensure_event_loop().close()  # that of the thread, which nbclient leaves open

    def begin(key: Key) -> None:
        for name, value in given.items():  # the kernel inherits it
            if key in alone:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        waiting.remove(key)
        running[pool.submit(run_and_close, key)] = key

    pool, interrupted = ThreadPoolExecutor(jobs), False
    try:
        while waiting or running:
            undone = {*waiting, *running.values()}
            ready = [key for key in waiting if not undone.intersection(needs[key])]
            apart = [key for key in ready if key in alone]
            if apart and not running:
                begin(apart[0])
            elif not any(key in alone for key in running.values()):
                for key in [key for key in ready if key not in alone][: jobs - len(running)]:
                    begin(key)
            for ended in wait(running, return_when=FIRST_COMPLETED).done:
                ended.result()
                each(running.pop(ended))
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        pool.shutdown(wait=not interrupted)
        for name in given:
            os.environ.pop(name, None)
