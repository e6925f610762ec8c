"""Run every notebook of the book, then build its pages.

    python book/build.py                             all of it; the last line printed is the page to open
    python book/build.py -p device cuda -p seed 3    with other parameters
    python book/build.py --fresh --no-html           run every notebook again, draw no pages
    python book/build.py --jobs 2 --brief            two notebooks at a time, which share the cores, on fewer pictures
    python book/build.py --quick -p domain pets      see every notebook run in another domain, on little, elsewhere

The notebooks that `book/_toc.yml` names run in its order, as copies, with `notebooks/` as their working directory: what
is stored stays without outputs. The copies land in `_build/src`, a mirror of the repository from which Jupyter Book
builds `_build/html`. A notebook is not run again while it, its parameters, the library, the pins and the files are what
they were that its metadata name under `deltaedit.reads`, such as `figures/experiments.csv`. Of several at a time none
begins before those that it needs: the writers of what it reads, and those under `deltaedit.needs`.
"""

import argparse
import ast
import hashlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import nbformat
import papermill
import runner
import yaml
from PIL import Image

from deltaedit.record import write_record
from deltaedit.show import DARK

ROOT = Path(__file__).resolve().parents[1]
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"
# What `--quick` gives notebooks where nothing else is said: enough to see that they run, too little to mean anything.
QUICK = {"n": 200, "n_map": 60, "n_pairs": 12, "n_toggle": 16, "n_tried": 1, "n_steps": 24, "steps": 60, "n_judged": 16,
         "steps_ablation": 12, "n_crowd": 16, "n_sweep": 8, "n_drawn": 64, "n_compared": 400, "n_inverted": 16,
         "n_captions": 300, "n_labelled": 200, "n_channels": 3, "n_latents": 4, "rounds": 2, "steps_prompt": 10,
         "pictures": 200,
         "full_size": 64, "steps_full": 2, "compiled": False, "download": False,
         "overrides": {"pictures": 200, "steps": 60, "n_judged": 16, "goals": 3, "strengths": [0.5, 1.0, 2.0]},
         "questions_live": ["loss"], "editing_from_text.n": 60, "where_it_fails.n": 60, "speed_of_training.batch": 8,
         "figures": str(ROOT / "_build/quick/figures"), "runs": str(ROOT / "_build/quick/runs")}  # fmt: skip
# What `--brief` gives them: every page still says what it says, from fewer pictures, in half the time.
BRIEF = {"style_space.n_tried": 2, "training_set.n": 6000, "training_the_mapper.n": 6000,
         "training_the_mapper.steps": 1000, "training_the_mapper.steps_ablation": 150, "editing_from_text.n": 150,
         "editing_from_text.n_sweep": 16, "model_card.n_compared": 2000, "where_it_fails.n": 150,
         "where_it_fails.n_pairs": 60, "speed_of_training.rounds": 3, "speed_of_training.batch": 8,
         "speed_of_training.batch_perception": 32, "success_and_leakage.n_judged": 480,
         "success_and_leakage.n_renders": 1000,
         "transfer.n_judged": 480, "ablations.questions_live": ["loss"]}  # fmt: skip
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
# An icon in the theme's script, which brings two thousand, and where a page or script names one.
ICON = re.compile(r'(?:"([\w-]+)"|\b(\w+)):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
ICON_USED = re.compile(r"\bfa-([\w-]+)")
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
    """The notebooks of the table of contents, in order. Raises FileNotFoundError for one that is not there."""
    toc, chapters = yaml.safe_load((root / "book/_toc.yml").read_text(encoding="utf-8")), runner.chapters(root)
    pages = []
    for file in toc_files(toc):
        if file.startswith("notebooks/"):
            chapter, domain = file.removeprefix("notebooks/"), None
            if chapter not in chapters:
                chapter, _, domain = chapter.partition("-")
                if not domain or chapter not in chapters:
                    raise FileNotFoundError(f"book/_toc.yml names {file}, but no file in notebooks/ is called so.")
            pages.append(Page(chapter, chapters[chapter], domain))
    return pages


def parse_value(text: str) -> object:
    """A parameter as typed: a Python literal where it is one (`3`, `1e-3`, `[1, 2]`, `True`), else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def parameters_of(pages: list[Page], given: dict[str, object]) -> list[dict[str, object]]:
    """For each page, those of the given parameters that its notebook has; the domain in a page's name goes first.

    ``n`` is given to every notebook that has one, ``training_set.n`` to that chapter alone, whatever the others get.
    Raises ValueError where no notebook has one of them (papermill alone would only warn).
    """
    known = [set(papermill.inspect_notebook(page.notebook)) for page in pages]
    places = [f"{page.chapter}." for page in pages]
    unknown = set(given).difference(*known, *({place + name for name in names}
                                              for place, names in zip(places, known, strict=True)))  # fmt: skip
    if unknown:
        names = ", ".join(sorted(set().union(*known))) or "none"
        raise ValueError(f"No notebook has the parameter {', '.join(sorted(unknown))}; there are: {names}.")
    for page, names in zip(pages, known, strict=True):
        if page.domain and "domain" not in names:
            raise ValueError(f"book/_toc.yml names {page.name}, but {page.notebook.name} has no parameter domain.")
    parameters = []
    for page, place, names in zip(pages, places, known, strict=True):
        alone = {name.removeprefix(place): value for name, value in given.items() if name.startswith(place)}
        wanted = {**given, **alone, **({"domain": page.domain} if page.domain else {})}
        parameters.append({name: value for name, value in wanted.items() if name in names})
    return parameters


def library_files(root: Path) -> list[Path]:
    """What a notebook's result depends on besides itself: the library, its weights and the pins."""
    package = Path(importlib.util.find_spec("deltaedit").submodule_search_locations[0])
    files = [path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(files) + [path for path in [root / "requirements.lock"] if path.exists()]


def named(notebook: Path, what: str) -> list[str]:
    """What a notebook's metadata name: the files of numbers that it ``reads``, the pages that it ``needs`` before."""
    return nbformat.read(notebook, as_version=4).metadata.get("deltaedit", {}).get(what, [])


def read_files(root: Path, notebook: Path, figures: object) -> list[Path]:
    """Those of the files it reads that are there, from where the parameter ``figures`` puts them."""
    place = root / "figures" if figures is None else root / "notebooks" / str(figures)
    return [path for name in named(notebook, "reads") if (path := place / Path(name).relative_to("figures")).exists()]


def digest(*parts: bytes) -> str:
    """SHA-256 of the parts; their borders count."""
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()


def done_key(executed: Path) -> str | None:
    """The key under which a copy was run to its end, or None."""
    if not executed.exists():
        return None
    return nbformat.read(executed, as_version=4).metadata.get("deltaedit", {}).get("key")


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


def output_faults(notebook: nbformat.NotebookNode) -> list[str]:
    """What no page should show: pictures without alternative text, widgets without a kernel, warnings."""
    faults = []
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or {"remove-output", "remove-cell"} & set(cell.metadata.get("tags", [])):
            continue
        data = [output.data for output in cell.outputs if "data" in output]
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt")
        said = "".join(output.text for output in cell.outputs if output.get("name") == "stderr")
        html = " ".join("".join(bundle.get("text/html", "")) for bundle in data)
        if any(WIDGET in bundle for bundle in data):
            faults.append(f"cell {number} shows a live widget: tag it remove-output, or show a still")
        if warning := re.search(r"\w*Warning: .*", said):
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


def needed_pages(pages: list[Page]) -> list[set[int]]:
    """For each page the numbers of those before it that it needs, or that name a file which it reads: who writes it."""
    texts = [page.notebook.read_text(encoding="utf-8") for page in pages]
    needed = []
    for number, page in enumerate(pages):
        files = [Path(name).name for name in named(page.notebook, "reads")]
        needs = named(page.notebook, "needs")
        needed.append({before for before in range(number)
                       if pages[before].name in needs or any(file in texts[before] for file in files)})  # fmt: skip
    return needed


def run_notebooks(root: Path, stage: Path, given: dict[str, object], fresh: bool, jobs: int = 1) -> dict[str, float]:
    """Run what changed, in order, some at a time; returns the seconds of each page that was run.

    Raises ValueError for an unknown parameter or an output that no page can show, RuntimeError where a page fails;
    those that run beside it end first.
    """
    pages = toc_notebooks(root)
    parameters = parameters_of(pages, given)
    data = os.environ.get("DELTAEDIT_DATA", "")
    library = digest(*(path.read_bytes() for path in library_files(root)), data.encode())
    places = [stage / f"notebooks/{page.name}.ipynb" for page in pages]
    seconds = {}

    def run(number: int) -> None:
        page, own, executed = pages[number], parameters[number], places[number]
        label = f"{number + 1}/{len(pages)} {executed.relative_to(stage)}"
        about = repr(sorted(own.items())).encode()
        read = [path.read_bytes() for path in read_files(root, page.notebook, own.get("figures"))]
        key = digest(page.notebook.read_bytes(), about, library.encode(), sys.version.encode(), *read)
        if not fresh and done_key(executed) == key:
            print(f"{label}: unchanged", flush=True)
            return
        start = time.perf_counter()
        run_notebook(page, executed, own, key, label)
        seconds[page.name] = round(time.perf_counter() - start, 1)
        print(f"{label}: {seconds[page.name]:.0f} s, peak memory so far {peak_memory():.1f} GB", flush=True)

    runner.several(run, dict(enumerate(needed_pages(pages))), jobs)
    faults = [
        f"{executed.relative_to(stage)}: {fault}"
        for executed in places
        for fault in output_faults(nbformat.read(executed, as_version=4))
    ]
    if faults:
        raise ValueError("\n".join(faults))
    return seconds


def stage_pages(root: Path, stage: Path) -> None:
    """Mirror what the pages are made of, beside the notebooks that were run."""
    stage.mkdir(parents=True, exist_ok=True)
    for name in ("book", "figures"):
        shutil.rmtree(stage / name, ignore_errors=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, stage / name, ignore=shutil.ignore_patterns("*.py", "__pycache__", ".*"))
    shutil.copy(root / "_config.yml", stage)


def external_requests(html: Path) -> list[str]:
    """What a browser would fetch from the network for the pages of a folder, as «file: address»."""
    found = []
    for pattern, suffix in ((FETCHED, "*.html"), (FETCHED_BY_CSS, "*.html"), (FETCHED_BY_CSS, "*.css")):
        for path in sorted(html.rglob(suffix)):
            for match in pattern.finditer(path.read_text(encoding="utf-8")):
                found.append(f"{path.relative_to(html)}: {next(filter(None, match.groups()))}")
    return found


def drop_icons(script: str, used: Collection[str]) -> str:
    """The theme's script of icons without those that are not used, by none of their names: a megabyte less a page."""

    def kept(icon: re.Match) -> str:
        names = {icon[1] or icon[2], *re.findall(r'"([\w-]+)"', icon[3])}
        return icon[0] if names & set(used) else ""

    return ICON.sub(kept, script)


def as_webp(png: bytes) -> bytes:
    """A picture at a fraction of its bytes: drawings exactly, photos and the like as good as."""
    image, file = Image.open(io.BytesIO(png)), io.BytesIO()
    drawing = len(png) < 0.25 * image.width * image.height  # bytes per pixel: PNG is good at drawings
    image.save(file, "WEBP", **({"lossless": True} if drawing else {"quality": 90}))
    return file.getvalue()


def dark_pictures(stage: Path) -> dict[str, bytes]:
    """What dark pages show instead of the notebooks' figures, by the name that Jupyter Book gives to these."""
    outputs = (output for path in sorted((stage / "notebooks").glob("*.ipynb"))
               for cell in nbformat.read(path, as_version=4).cells for output in cell.get("outputs", ()))  # fmt: skip
    return {hashlib.sha256(b64decode(output.data["image/png"])).hexdigest(): b64decode(output.metadata[DARK])
            for output in outputs if DARK in output.get("metadata", ())}  # fmt: skip


def lighten(html: Path, dark: dict[str, bytes]) -> None:
    """Let pages load less, and show figures in light ink where they are dark."""
    pages = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    scripts = html / "_static/scripts"
    named = [*pages.values(), *(scripts.joinpath(f"{theme}-theme.js").read_text(encoding="utf-8")
                                for theme in ("pydata-sphinx", "sphinx-book"))]  # fmt: skip
    icons = scripts / "fontawesome.js"
    used = {name for text in named for name in ICON_USED.findall(text)}
    icons.write_text(drop_icons(icons.read_text(encoding="utf-8"), used), encoding="utf-8")

    for png in (html / "_images").glob("*.png"):
        png.with_suffix(".webp").write_bytes(as_webp(png.read_bytes()))
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
    parser.add_argument("--jobs", type=int, default=1, help="notebooks at a time, which share the processor's cores")
    parser.add_argument("--fresh", action="store_true", help="run every notebook, changed or not")
    parser.add_argument("--no-html", action="store_true", help="run the notebooks only")
    parser.add_argument("--quick", action="store_true", help="run them on little, into _build/quick; draw no pages")
    parser.add_argument("--brief", action="store_true", help="make the whole book, from fewer pictures")
    arguments = parser.parse_args(argv)
    stage = ROOT / ("_build/quick" if arguments.quick else "_build/src")
    given = {name: parse_value(value) for name, value in arguments.parameters}
    least = QUICK if arguments.quick else BRIEF if arguments.brief else {}
    given = {name: value for name, value in least.items() if name.rpartition(".")[2] not in given} | given
    try:
        seconds = run_notebooks(ROOT, stage, given, arguments.fresh, arguments.jobs)
        whole = len(seconds) == len(toc_notebooks(ROOT))
        if whole and not given and arguments.jobs == 1:  # as it is stored, on a quiet machine
            measures = {"seconds": seconds, "all notebooks (s)": round(sum(seconds.values())),
                        "peak memory of a notebook (GB)": round(peak_memory(), 2)}  # fmt: skip
            write_record(ROOT / "figures/book.json", measures)
        page = None if arguments.no_html or arguments.quick else build_pages(ROOT, stage)
    except (FileNotFoundError, ValueError, RuntimeError) as error:
        print(f"The book was not built. {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        os._exit(130)  # kernels end with their parent; the threads would wait for their notebooks
    if page:
        print(page, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
