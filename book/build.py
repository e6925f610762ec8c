"""Run every notebook of the book, then build its pages.

    python book/build.py                             all of it; the last line printed is the page to open
    python book/build.py -p device cuda -p seed 3    with other parameters
    python book/build.py --fresh --no-html           run every notebook again, draw no pages
    python book/build.py --jobs 1 --brief            one notebook at a time, on fewer pictures
    python book/build.py --quick -p domain pets      see every notebook run in another domain, on little, elsewhere
    python book/build.py --publish                   keep what takes models of others, for those who cannot get these

The notebooks that `book/_toc.yml` names run in its order, as copies, with `notebooks/` as their working directory: what
is stored stays without outputs. The copies land in `_build/src`, a mirror of the repository from which Jupyter Book
builds `_build/html`. A notebook is not run again while it, its parameters, the library, the pins and the files that it
reads are what they were. Where a page's domain needs what others publish as Python packages, as real faces do, `pip`
fetches it first, once; where that fails, the page shows the last published run, from `figures/published`. What a
notebook wants to be known of it is in its metadata, under `deltaedit`:

    reads           files, such as `figures/experiments.csv`; those who write them run before it
    needs           further chapters that must have run before it
    quick, brief    what its parameters are with `--quick` and `--brief`, where nothing else is said: enough to see that
                    it runs, too little to mean anything; and enough to say what it says, in half the time
    alone           that nothing may run beside it, for it measures seconds
"""

import argparse
import hashlib
import importlib.util
import io
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
import runner
import yaml
from PIL import Image

import deltaedit
from deltaedit import domains
from deltaedit.domain import Domain
from deltaedit.download import COMPLETED
from deltaedit.files import locked, read_json, write_json, write_whole
from deltaedit.packages import provide
from deltaedit.parameters import check, count, declared, literal, refuse
from deltaedit.record import write_record
from deltaedit.show import DARK

ROOT = Path(__file__).resolve().parents[1]
# Jupyter Book, which ends with the build that started it: where that is killed, the next would draw beside it.
JUPYTER_BOOK = """import os, threading, time
def watch(parent=os.getppid()):
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
threading.Thread(target=watch, daemon=True).start()
from jupyter_book.cli.main import main
main()"""
ELSEWHERE = {name: str(ROOT / "_build/quick" / name) for name in ("figures", "runs")}  # what `--quick` writes
PUBLISHED = "figures/published"  # runs of pages that take what others publish, for who cannot get it
JPEG, WEBP = 76, 40  # the quality of photographs and of readers' sliders in them
PROMPTS = {"prompts", "two_way", "wordings"}  # parameters that are lists of such
ADVICE = 3  # of a page's, which are told
CELL_MINUTES = 20  # no cell takes five on two quiet cores; one that hangs must not hang the build
WIDGET = "application/vnd.jupyter.widget-view+json"
# Names of figures, equations and sections: where they are given, and where they are referred to.
GIVEN = re.compile(r"\$\$ *\(([\w-]+)\)|^\(([\w-]+)\)=$|^:(?:name|label): *([\w-]+)$", re.MULTILINE)
REFERRED = re.compile(r"\{(?:numref|eq|ref)\}`[^`]+`")
# What a browser would fetch from elsewhere while it shows a page: links that a reader clicks are not among them.
FETCHED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\ssrc\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\srel\s*=\s*["']?[^"'>]*(?:stylesheet|icon|load|prefetch|connect))"""
    r"""[^>]*?\shref\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""",
    re.IGNORECASE,
)
FETCHED_BY_CSS = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
FORMULA = re.compile(r'class="(?:[^"]* )?math[ "]')
MATHJAX = re.compile(r"<script\b[^>]*/mathjax/[^>]*></script>")
PICTURE = re.compile(r'<img\b[^>]*\ssrc="[^"]*_images/([^"/]+)\.png"[^>]*>')


def toc_files(toc: object) -> list[str]:
    """The pages that a parsed `_toc.yml` names, in reading order, root first."""
    if isinstance(toc, list):
        return [file for item in toc for file in toc_files(item)]
    if not isinstance(toc, dict):
        return []
    own = [str(toc[key]) for key in ("root", "file") if key in toc]
    return own + [file for key in ("parts", "chapters", "sections") for file in toc_files(toc.get(key))]


class Page(NamedTuple):
    """A page that a notebook makes: its chapter's name, the notebook, and the domain that it is run for, if one alone.

    A page of one domain is called `chapter-domain` in the table of contents.
    """

    chapter: str
    notebook: Path
    domain: str | None = None

    @property
    def name(self) -> str:
        """That of its file."""
        return self.chapter if self.domain is None else f"{self.chapter}-{self.domain}"


def toc_notebooks(root: Path) -> list[Page]:
    """The notebooks of the table of contents, in order, by chapter or by file; FileNotFoundError for one not there."""
    toc, chapters = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8")), runner.chapters(root)
    chapters, pages = chapters | {path.stem: path for path in chapters.values()}, []
    for file in toc_files(toc):
        if file.startswith("notebooks/"):
            chapter, domain = file.removeprefix("notebooks/"), None
            if chapter not in chapters:
                chapter, _, domain = chapter.partition("-")
                if not domain or chapter not in chapters:
                    raise FileNotFoundError(f"book/_toc.yml names {file}, but no file in notebooks/ is called so.")
            pages.append(Page(chapter, chapters[chapter], domain))
    return pages


def types_of(notebook: Path) -> dict[str, str]:
    """The types that a notebook declares of its parameters, by name."""
    cells = nbformat.read(notebook, as_version=4).cells
    return declared("\n".join(cell.source for cell in cells if "parameters" in cell.metadata.get("tags", ())))


def asked_of(page: Page, given: dict[str, object]) -> dict[str, object]:
    """What is given to a page's notebook, by the names that it may have; what is given to it alone goes first."""
    place = f"{page.chapter}."
    return given | {name.removeprefix(place): value for name, value in given.items() if name.startswith(place)}


def as_declared(page: Page, given: dict[str, object]) -> dict[str, object]:
    """What is given to a page, as its notebook declares it; paths count from where the command was given."""
    types, found = types_of(page.notebook), {}
    for name, value in given.items():
        if name in types:
            found[name] = runner.anchored(name, check(name, value, types[name]))
        else:
            found[name] = literal(value) if isinstance(value, str) else value
    return found


def parameters_of(pages: list[Page], given: dict[str, object], form: str | None = None) -> list[dict[str, object]]:
    """For each page, those of the given parameters that its notebook has; the domain in a page's name goes first.

    ``n`` is given to every notebook that has one, ``training_set.n`` to that chapter alone, whatever the others get. In
    a ``form``, "quick" or "brief", a notebook's own come below what is given.
    Raises ValueError where no notebook has one of them (papermill alone would only warn), and for a value of a type
    that a notebook does not take.
    """
    known = [set(papermill.inspect_notebook(page.notebook)) for page in pages]
    alone = ({f"{page.chapter}.{name}" for name in names} for page, names in zip(pages, known, strict=True))
    if unknown := set(given).difference(*known, *alone):
        names = ", ".join(sorted(set().union(*known))) or "none"
        raise ValueError(f"No notebook has the parameter {', '.join(sorted(unknown))}; there are: {names}.")
    for page, names in zip(pages, known, strict=True):
        if page.domain and "domain" not in names:
            raise ValueError(f"book/_toc.yml names {page.name}, but {page.notebook.name} has no parameter domain.")
    parameters = []
    for page, names in zip(pages, known, strict=True):
        own = about(page.notebook).get(form, {}) | (ELSEWHERE if form == "quick" else {})
        mine = as_declared(page, {name: value for name, value in asked_of(page, given).items() if name in names})
        wanted = {**own, **mine, **({"domain": page.domain} if page.domain else {})}
        parameters.append({name: value for name, value in wanted.items() if name in names})
    return parameters


def library_files(root: Path) -> list[Path]:
    """What a notebook's result depends on besides itself: the library, its weights and the pins."""
    package = Path(importlib.util.find_spec("deltaedit").submodule_search_locations[0])
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(files) + [path for path in [root / "requirements.lock"] if path.exists()]


def about(notebook: Path) -> dict[str, object]:
    """What a notebook's metadata say of it, see above."""
    return nbformat.read(notebook, as_version=4).metadata.get("deltaedit", {})


def read_files(root: Path, notebook: Path, figures: object) -> list[Path]:
    """Those of the files it reads that are there; figures from where the parameter of that name puts them."""
    place = root / "figures" if figures is None else root / "notebooks" / str(figures)
    names = map(Path, about(notebook).get("reads", []))
    paths = [place / name.relative_to("figures") if name.parts[0] == "figures" else root / name for name in names]
    return [path for path in paths if path.exists()]


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts; their borders count."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def done_key(executed: Path) -> str | None:
    """The key under which a copy was run to its end, or None, also where it is damaged."""
    try:
        return about(executed).get("key")
    except (FileNotFoundError, ValueError):
        return None


def rename_labels(notebook: nbformat.NotebookNode, suffix: str) -> None:
    """Add a suffix to the names of a page's figures, equations and sections, where given and where referred to.

    Names must be unique in the book, and the same notebook may make several of its pages.
    """
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    figures = [cell.metadata.mystnb.figure for cell in notebook.cells if "figure" in cell.metadata.get("mystnb", {})]
    given = {name for cell in texts for match in GIVEN.findall(cell.source) for name in match if name}
    given |= {figure.name for figure in figures}

    def renamed(match: re.Match) -> str:
        return re.sub(r"[\w-]+", lambda word: word[0] + suffix if word[0] in given else word[0], match[0])

    for cell in texts:
        cell.source = GIVEN.sub(renamed, REFERRED.sub(renamed, cell.source))
    for figure in figures:
        figure.name += suffix
        figure.caption = REFERRED.sub(renamed, figure.caption)


def run_notebook(page: Page, executed: Path, parameters: dict[str, object], key: str, label: str) -> None:
    """Run a copy of a page's notebook, see `runner.execute`, and make a page of it."""

    def finish(copy: nbformat.NotebookNode) -> None:
        for cell in copy.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.metadata.tags.append("hide-input")
        if page.domain:
            rename_labels(copy, f"-{page.domain}")
        copy.metadata["deltaedit"] = {"key": key}

    runner.execute(page.notebook, executed, parameters, minutes=CELL_MINUTES, label=label, finish=finish)


def domain_of(page: Page, parameters: dict[str, object]) -> object:
    """The domain that a page is run for, or None if its notebook has no such parameter."""
    known = papermill.inspect_notebook(page.notebook)
    default = literal(known["domain"]["default"]) if "domain" in known else None
    return parameters.get("domain", default)


def card_of(domain: object) -> Domain | None:
    """The card of a domain; None where there is none to read."""
    try:
        return Domain.read(domains.find(str(domain))) if domain else None
    except (ValueError, FileNotFoundError):  # its notebook will say so
        return None


def needs_of(domain: object) -> str | None:
    """The name in `download` of what a domain takes of others beside what ships with the library; None for nothing."""
    return (card := card_of(domain)) and card.needs


def check_prompts(page: Page, parameters: dict[str, object]) -> None:
    """Raise ValueError where one of a page's prompts is the neutral one of its domain: it asks for nothing."""
    card = card_of(domain_of(page, parameters))
    for name in PROMPTS & parameters.keys() if card else ():
        if card.neutral.casefold() in {str(text).casefold() for text in parameters[name] or ()}:
            nothing = f"{card.neutral!r} is what {card.name} shows already, and asks for nothing"
            raise ValueError(f"{name} of {page.name} must each ask for something: {nothing}.")


def fetch_parts(names: Collection[str]) -> dict[str, str]:
    """Fetch what is not here of others' packages, by these names in `download`; returns why some cannot be had."""
    lacking = {}
    for name in sorted(names):
        for package in COMPLETED.get(name, ()):
            try:
                provide(package, name, download=True)
            except (FileNotFoundError, ValueError) as error:
                lacking[name] = str(error)
                print(f"{name} cannot be had: {error}", flush=True)
                break
    return lacking


def show_published(published: Path, executed: Path, reason: str, key: str) -> None:
    """Let a page show a run of before, and say in one sentence why."""
    try:
        copy = nbformat.read(published, as_version=4)
    except ValueError:
        raise RuntimeError(f"{published} is damaged: get it again from the repository.") from None
    told = f"This page shows the last published run, for what it takes of others is not here: {reason}"
    note = nbformat.v4.new_markdown_cell(f"```{{admonition}} As published\n{told}\n```", id="as-published")
    copy.cells.insert(1, note)
    copy.metadata["deltaedit"] = {"key": key}
    executed.parent.mkdir(parents=True, exist_ok=True)
    write_whole(executed, lambda part: nbformat.write(copy, part))


def publish(executed: Path, published: Path) -> None:
    """Keep a page that was run, with its pictures small: photographs as JPEG, nothing for dark pages."""
    copy = nbformat.read(executed, as_version=4)
    copy.metadata = {name: copy.metadata[name] for name in ("kernelspec", "language_info") if name in copy.metadata}
    for cell in copy.cells:
        if cell.cell_type != "code":
            continue
        cell.metadata.pop("papermill", None)
        hidden = {"remove-output", "remove-cell"} & set(cell.metadata.get("tags", []))
        cell.outputs = [
            output
            for output in cell.outputs
            if "scrapbook" in output.get("metadata", ()) or not (hidden or output.get("name") == "stderr")
        ]
        for output in cell.outputs:
            if "data" in output:
                output.metadata.pop(DARK, None)
                smaller(output.data)
    published.parent.mkdir(parents=True, exist_ok=True)
    write_whole(published, lambda part: nbformat.write(copy, part))


def smaller(data: dict[str, str]) -> None:
    """Pictures of an output at a fraction of their bytes, photographs only."""
    if (png := data.get("image/png")) and not is_drawing(raw := b64decode(png)):
        file = io.BytesIO()
        Image.open(io.BytesIO(raw)).convert("RGB").save(file, "JPEG", quality=JPEG)
        data["image/jpeg"] = b64encode(file.getvalue()).decode()
        del data["image/png"]

    def again(match: re.Match) -> str:
        file = io.BytesIO()
        Image.open(io.BytesIO(b64decode(match[1]))).save(file, "WEBP", quality=WEBP)
        return f"data:image/webp;base64,{b64encode(file.getvalue()).decode()}"

    for mime in [mime for mime in data if mime.endswith("text/html")]:  # what is glued has a longer name
        data[mime] = re.sub(r"data:image/webp;base64,([\w+/=]+)", again, "".join(data[mime]))


def advice(notebook: nbformat.NotebookNode) -> list[str]:
    """What a page's cells advise their reader of: the texts of their ``UserWarning``s, each once."""
    said = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", ()) if output.get("name") == "stderr"
    )
    return list(dict.fromkeys(re.findall(r"\bUserWarning: (.*)", said)))


def output_faults(notebook: nbformat.NotebookNode, advised: bool = False) -> list[str]:
    """What no page should show: pictures without alternative text, widgets without a kernel, warnings.

    Where a reader gave what a page was run with, who is ``advised`` then, what advises its user is no fault of it.
    """
    faults, warns = [], r"\b(?!UserWarning)\w*Warning: .*" if advised else r"\w*Warning: .*"
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or {"remove-output", "remove-cell"} & set(cell.metadata.get("tags", [])):
            continue
        data = [output.data for output in cell.outputs if "data" in output]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        said = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
        html = " ".join("".join(bundle.get("text/html", "")) for bundle in data)
        if any(WIDGET in bundle for bundle in data):
            faults.append(f"cell {number} shows a live widget: tag it remove-output, or show a still")
        if warning := re.search(warns, said):
            faults.append(f"cell {number} warns: {warning[0]}")
        if not alt and any(mime.startswith("image/") for bundle in data for mime in bundle):
            faults.append(f"cell {number} shows a picture without alternative text (metadata mystnb.image.alt)")
        if re.search(r"<img\b(?![^>]*\salt\s*=)", html, re.IGNORECASE):
            faults.append(f"cell {number} shows an <img> without alt")
    return faults


def peak_memory() -> float:
    """Peak resident memory in GB of the largest notebook run so far; not a number where the system does not tell."""
    try:
        import resource  # not on Windows
    except ImportError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9


def needed_pages(pages: list[Page]) -> dict[Page, set[Page]]:
    """For each page those before it that it needs, or that name a file which it reads: who writes it."""
    texts = {page: page.notebook.read_text(encoding="utf-8") for page in pages}
    needed = {}
    for number, page in enumerate(pages):
        files, needs = ([*about(page.notebook).get(what, [])] for what in ("reads", "needs"))
        needed[page] = {
            before
            for before in pages[:number]
            if before.name in needs or any(Path(name).name in texts[before] for name in files)
        }
    return needed


def longest_first(needed: dict[Page, set[Page]], times: dict[str, float]) -> list[Page]:
    """Pages by the seconds that they and what waits for them take, one after the other; as they were where unknown."""
    left: dict[Page, float] = {}
    for page in reversed(needed):
        after = [left[other] for other in left if page in needed[other]]
        left[page] = times.get(page.name, 0.0) + max(after, default=0.0)
    return sorted(needed, key=lambda page: -left[page])


def run_notebooks(
    root: Path,
    stage: Path,
    given: dict[str, object],
    fresh: bool,
    jobs: int = 1,
    form: str | None = None,
    keep: bool = False,
) -> dict[str, float]:
    """Run what changed, some at a time, the longest first; returns the seconds of each page that was run.

    The seconds of each page, as they last were, are kept in `times.json` beside the stage. With ``keep``, pages that
    take what others publish are kept in `figures/published`.
    Raises ValueError for an unknown parameter or one of another type, RuntimeError where a page fails, after those that
    run beside it have ended, or for an output that no page can show.
    """
    pages = toc_notebooks(root)
    parameters = dict(zip(pages, parameters_of(pages, given, form), strict=True))
    for page in pages:
        check_prompts(page, parameters[page])
    data = os.environ.get("DELTAEDIT_DATA", "")
    library = digest(*(path.read_bytes() for path in library_files(root)), data.encode())
    places = {page: stage / f"notebooks/{page.name}.ipynb" for page in pages}
    times, seconds = read_times(stage.with_name("times.json")), {}
    needs = {page: needs_of(domain_of(page, parameters[page])) for page in pages}
    lacking = fetch_parts({name for name in needs.values() if name})

    def run(page: Page) -> None:
        own, executed, published = parameters[page], places[page], root / PUBLISHED / f"{page.name}.ipynb"
        label = f"{pages.index(page) + 1}/{len(pages)} {executed.relative_to(stage)}"
        if needs[page] in lacking and published.exists():
            reason = lacking[needs[page]]
            show_published(published, executed, reason, digest(published.read_bytes(), reason.encode()))
            print(f"{label}: as published", flush=True)
            return
        asked = repr(sorted(own.items())).encode()
        read = [path.read_bytes() for path in read_files(root, page.notebook, own.get("figures"))]
        key = digest(page.notebook.read_bytes(), asked, library.encode(), sys.version.encode(), *read)
        if not fresh and done_key(executed) == key:
            print(f"{label}: unchanged", flush=True)
            return
        start = time.perf_counter()
        run_notebook(page, executed, own, key, label)
        seconds[page.name] = round(time.perf_counter() - start, 1)
        print(f"{label}: {seconds[page.name]:.0f} s, peak memory so far {peak_memory():.1f} GB", flush=True)

    needed, known = needed_pages(pages), read_times(root / "figures/book.json") | times
    order = {page: needed[page] for page in longest_first(needed, known)}
    alone = [page for page in pages if about(page.notebook).get("alone")]
    try:
        runner.several(run, order, jobs, alone=alone)
    finally:
        last = times | seconds
        write_json(stage.with_name("times.json"), {page.name: last[page.name] for page in pages if page.name in last})
    faults = []
    for page, executed in places.items():
        copy = nbformat.read(executed, as_version=4)
        asked = not parameters[page].keys().isdisjoint(asked_of(page, given))
        faults += [f"{executed.relative_to(stage)}: {fault}" for fault in output_faults(copy, advised=asked)]
        if asked and (told := advice(copy)):
            more = f" And {len(told) - ADVICE} more." if len(told) > ADVICE else ""
            print(f"{page.name}, on what it was given: {' '.join(told[:ADVICE])}{more}", flush=True)
    if faults:
        raise RuntimeError("\n".join(faults))
    for page in pages:
        if keep and needs[page] and needs[page] not in lacking:
            publish(places[page], root / PUBLISHED / f"{page.name}.ipynb")
    return seconds


def read_times(path: Path) -> dict[str, float]:
    """Seconds by page, of a file of times or of a record of them; none where there is no file, or a damaged one."""
    try:
        found = read_json(path)
        return dict(found["measures"]["seconds"] if "measures" in found else found)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def table_of_times(times: dict[str, float], now: Collection[str]) -> str:
    """The pages and their seconds, the longest first; those that were not run now are in brackets."""
    lines = [
        f"{f'{x:.0f} s' if name in now else f'({x:.0f} s)':>8}  {name}"
        for name, x in sorted(times.items(), key=lambda item: -item[1])
    ]
    return "\n".join([*lines, f"{sum(times.values()):>6.0f} s  one after the other"])


def public_modules() -> list[str]:
    """The library's modules by name, but for those that begin with an underscore."""
    names = (module.name for module in pkgutil.walk_packages(deltaedit.__path__, "deltaedit."))
    return sorted(name for name in names if not any(part.startswith("_") for part in name.split(".")))


def api_sections(worlds: bool) -> str:
    """What an API page says of each public module, by its docstrings: those of the worlds, or all others."""
    section = "\n## `{}`\n\n```{{eval-rst}}\n.. automodule:: {}\n   :members:\n```\n"
    names = [name for name in public_modules() if name.startswith("deltaedit.worlds") == worlds]
    return "".join(section.format(name.removeprefix("deltaedit."), name) for name in names)


def markdown_table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; what is no text is written as a number or as a list of such, "–" for nothing."""

    def said(value: object) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(said, value)) or "–"
        if isinstance(value, dict):
            return ", ".join(f"{name}: {said(own)}" for name, own in value.items()) or "–"
        if isinstance(value, bool | str) or value is None:
            return {None: "–", True: "yes", False: "no"}.get(value, value)
        return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"

    def line(cells: Iterable[object]) -> str:
        return "| " + " | ".join(re.sub(r"\s+", " ", said(cell)).replace("|", "\\|") for cell in cells) + " |\n"

    columns = list(columns)
    return line(columns) + line("---" for _ in columns) + "".join(map(line, rows))


def trust_sections(path: Path) -> str:
    """What `figures/trust.json` holds, as a table for each kind of trial; that there is nothing, where there is not."""
    trials = read_json(path) if path.exists() else {}
    text = "" if trials else "\n*Nothing was measured here yet.*\n"
    for name, trial in trials.items():
        measures = trial.get("measures", {})
        jobs = {job: own for job, own in measures.items() if isinstance(own, dict)}
        plain = [(what, value) for what, value in measures.items() if what not in jobs]
        text += f"\n### {name}\n\n"
        if jobs:
            columns = list(dict.fromkeys(what for own in jobs.values() for what in own))
            rows = ([job, *(own.get(what) for what in columns)] for job, own in jobs.items())
            text += markdown_table(["", *columns], rows) + "\n"
        if plain:
            text += markdown_table(["", "measured"], plain) + "\n"
        torch = trial.get("versions", {}).get("torch", "–")
        text += f"*On {trial.get('device', '–')}, with PyTorch {torch}.*\n"
    return text


def stage_pages(root: Path, stage: Path) -> None:
    """Mirror what the pages are made of, beside the notebooks that were run; list the library, and trials of trust, on
    their pages.
    """
    stage.mkdir(parents=True, exist_ok=True)
    for name in ("book", "figures"):
        shutil.rmtree(stage / name, ignore_errors=True)
        if (root / name).is_dir():
            left = shutil.ignore_patterns("*.py", "*.ipynb", "__pycache__", ".*")
            shutil.copytree(root / name, stage / name, ignore=left)
    for name in ("method", "worlds"):
        if (page := stage / f"book/api/{name}.md").exists():
            with page.open("a", encoding="utf-8") as file:
                file.write(api_sections(worlds=name == "worlds"))
    if (page := stage / "book/what-is-promised.md").exists():
        with page.open("a", encoding="utf-8") as file:
            file.write(trust_sections(root / "figures/trust.json"))
    shutil.copy(root / "_config.yml", stage)


def external_requests(html: Path) -> list[str]:
    """What a browser would fetch from the network for the pages of a folder, as «file: address»."""
    found = []
    for pattern, suffix in ((FETCHED, "*.html"), (FETCHED_BY_CSS, "*.html"), (FETCHED_BY_CSS, "*.css")):
        for path in sorted(html.rglob(suffix)):
            for match in pattern.finditer(path.read_text(encoding="utf-8")):
                found.append(f"{path.relative_to(html)}: {next(filter(None, match.groups()))}")
    return found


def is_drawing(png: bytes) -> bool:
    """Whether a picture is one, and no photo: PNG is good at them, by its bytes per pixel."""
    image = Image.open(io.BytesIO(png))
    return len(png) < 0.25 * image.width * image.height


def as_webp(png: bytes) -> bytes:
    """A picture at a fraction of its bytes: drawings exactly, photos and the like as good as."""
    image, file = Image.open(io.BytesIO(png)), io.BytesIO()
    image.save(file, "WEBP", **({"lossless": True} if is_drawing(png) else {"quality": 74}))
    return file.getvalue()


def dark_pictures(stage: Path) -> dict[str, bytes]:
    """What dark pages show instead of the notebooks' figures, by the name that Jupyter Book gives to these."""
    outputs = (
        output
        for path in sorted((stage / "notebooks").glob("*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", ())
    )
    return {
        hashlib.sha256(b64decode(output.data["image/png"])).hexdigest(): b64decode(output.metadata[DARK])
        for output in outputs
        if DARK in output.get("metadata", ())
    }


def lighten(html: Path, dark: dict[str, bytes]) -> None:
    """Let pages load less, and show figures in light ink where they are dark."""
    pages = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    for png in (html / "_images").glob("*.png"):
        try:
            png.with_suffix(".webp").write_bytes(as_webp(png.read_bytes()))
        except (OSError, SyntaxError) as error:  # so Pillow calls what is wrong with a PNG
            raise RuntimeError(f"{png.name} is no whole picture ({error}): draw it again, with --fresh.") from None
        if png.stem in dark:
            png.with_name(f"{png.stem}-dark.webp").write_bytes(as_webp(dark[png.stem]))
        png.unlink()

    def both(image: re.Match) -> str:
        if image[1] not in dark:
            return image[0]
        other = image[0].replace(f"{image[1]}.png", f"{image[1]}-dark.png").replace("<img", '<img loading="lazy"')
        return f'<span class="for-light">{image[0]}</span><span class="for-dark">{other}</span>'

    for path, text in pages.items():
        text = PICTURE.sub(both, text)
        if not FORMULA.search(text):  # Sphinx loads MathJax on all pages above one with formulas
            text = MATHJAX.sub("", text)
        path.write_text(re.sub(r"(_images/[\w.-]+)\.png\b", r"\1.webp", text), encoding="utf-8")


def build_pages(root: Path, stage: Path) -> Path:
    """Build the pages afresh, warnings as errors, and return the one to open.

    Raises RuntimeError where Jupyter Book warns, or where a page would need the network.
    """
    stage_pages(root, stage)
    html = root / "_build/html"
    shutil.rmtree(html, ignore_errors=True)
    options = ["--toc", str(stage / "book/_toc.yml"), "--path-output", str(root), "--all", "-W", "-n", "--keep-going"]
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(stage), *options]
    if subprocess.run(command, cwd=root).returncode != 0:
        raise RuntimeError("Jupyter Book warned or failed; its own words are above.")
    lighten(html, dark_pictures(stage))
    requests = external_requests(html)
    if requests:
        raise RuntimeError("The book must read with the network off, but would fetch:\n" + "\n".join(requests))
    return html / "index.html"


def main(argv: list[str] | None = None) -> int:
    """The command line. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="as in papermill"
    )
    parser.add_argument(
        "--jobs",
        type=count,
        default=min(2, os.cpu_count() or 1),
        help="notebooks at a time, which share the processor's cores",
    )
    parser.add_argument("--fresh", action="store_true", help="run every notebook, changed or not")
    parser.add_argument("--no-html", action="store_true", help="run the notebooks only")
    parser.add_argument("--quick", action="store_true", help="run them on little, into _build/quick; draw no pages")
    parser.add_argument("--brief", action="store_true", help="make the whole book, from fewer pictures")
    parser.add_argument("--publish", action="store_true", help=f"keep pages that take models of others in {PUBLISHED}")
    arguments = parser.parse_args(argv)
    stage = ROOT / ("_build/quick/src" if arguments.quick else "_build/src")
    given = dict(arguments.parameters)
    form = "quick" if arguments.quick else "brief" if arguments.brief else None
    start = time.perf_counter()
    try:
        with locked(stage):  # a second build waits
            seconds = run_notebooks(ROOT, stage, given, arguments.fresh, arguments.jobs, form, arguments.publish)
            if len(seconds) == len(toc_notebooks(ROOT)) and not given and not form:  # all of it, as it is stored
                measures = {
                    "seconds": seconds,
                    "all notebooks (s)": round(time.perf_counter() - start),
                    "peak memory of a notebook (GB)": round(peak_memory(), 2),
                }
                write_record(ROOT / "figures/book.json", measures, jobs=arguments.jobs)
            page = None if arguments.no_html or arguments.quick else build_pages(ROOT, stage)
    except ValueError as error:
        refuse(f"The book was not built. {error}")
    except (OSError, RuntimeError) as error:
        print(f"The book was not built. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        os._exit(130)  # kernels end with their parent; the threads would wait for their notebooks
    print(table_of_times(read_times(stage.with_name("times.json")), seconds), flush=True)
    if page:
        print(page, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
