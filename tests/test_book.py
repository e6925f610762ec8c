"""The book's pages agree with each other and with the library, and its machinery builds pages that need no network."""

import hashlib
import importlib
import inspect
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from base64 import b64encode
from pathlib import Path

import build
import nbformat
import numpy as np
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from deltaedit import domains
from deltaedit.show import DARK

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "book").rglob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BIB = (ROOT / "book/references.bib").read_text(encoding="utf-8")
# One drawing, so that a notebook of the test builds needs nothing but ipykernel.
DOT = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def prose(path: Path) -> str:
    """The Markdown of a page or notebook."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


# The pages.


def test_toc_names_all_pages_and_notebooks_once():
    files = build.toc_files(yaml.safe_load((ROOT / "book/_toc.yml").read_text(encoding="utf-8")))
    assert len(set(files)) == len(files)
    assert {file for file in files if file.startswith("book/")} == {
        page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES
    }
    pages = build.toc_notebooks(ROOT)
    assert list(dict.fromkeys(page.notebook for page in pages)) == NOTEBOOKS
    assert {page.domain for page in pages} <= {None, *domains.FOLDERS}


@each_page
def test_figures_have_name_caption_alt_and_file(page: Path):
    for file, body in re.findall(r"^`{3,}\{figure\} (\S+)\n(.*?)^`{3,}$", prose(page), re.MULTILINE | re.DOTALL):
        options, _, caption = body.partition("\n\n")
        assert ":alt: " in options, f"{file} has no alt text"
        assert ":name: " in options, f"{file} has no name"
        assert caption.strip(), f"{file} has no caption"
        assert (page.parent / file).exists()


@pytest.mark.parametrize("path", [*PAGES, *NOTEBOOKS], ids=lambda path: path.stem)
def test_citations_and_terms_are_known(path: Path):
    keys = set(re.findall(r"^@\w+\{(\S+),", BIB, re.MULTILINE))
    glossary = prose(ROOT / "book/glossary.md").partition("```{glossary}")[2]
    terms = {line.lower() for line in re.findall(r"^(?!:|`)(\S.*)$", glossary, re.MULTILINE)}
    for cited in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", prose(path)):
        assert set(re.split(r",\s*", cited)) <= keys
    for term in re.findall(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`", prose(path)):
        assert term.lower() in terms


def test_every_work_is_cited():
    text = "".join(prose(path) for path in [*PAGES, *NOTEBOOKS])
    assert ":all:" in text or all(key in text for key in re.findall(r"^@\w+\{(\S+),", BIB, re.MULTILINE))


def test_api_pages_list_every_public_module_once():
    method, worlds = (re.findall(r"automodule:: (\S+)", build.api_sections(kind)) for kind in (False, True))
    assert {"deltaedit.editor", "deltaedit.checkpoints.nvidia"} <= set(method)
    assert {"deltaedit.worlds", "deltaedit.worlds.table"} <= set(worlds)
    assert sorted(method + worlds) == build.public_modules()


def test_docstrings_of_properties_read_well_on_the_api_pages():
    for name in build.public_modules():
        module = importlib.import_module(name)
        for _, cls in inspect.getmembers(module, inspect.isclass):
            for attribute, value in vars(cls).items():
                if isinstance(value, property) and value.__doc__ and cls.__module__ == name:
                    first = value.__doc__.splitlines()[0]
                    # Napoleon takes what stands before a colon, in a property, for its type.
                    assert ": " not in first, f"{name}.{cls.__name__}.{attribute}: no colon in «{first}»"


def test_mathjax_is_whole_and_holds_what_the_pages_load():
    folder = ROOT / "book/_static/mathjax"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix)
    digests = "".join(
        f"{path.relative_to(folder).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in files
    )
    digest = hashlib.sha256(digests.encode()).hexdigest()
    assert digest == "cb9059f64ff0b18654a06c7226b2149db31ecf208e3775256ab5013725ee4feb"
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    assert (folder.parent / config["mathjax_path"]).exists()
    assert all((folder / f"{part}.js").exists() for part in config["mathjax3_config"]["loader"]["load"])


# The machinery, piece by piece.


def notebook(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=list(cells), metadata={"kernelspec": kernelspec, "language_info": {"name": "python"}})


def parameters_cell() -> nbformat.NotebookNode:
    return new_code_cell('domain = "lines"\nseed = 1\ndevice = "cpu"', metadata={"tags": ["parameters", "hide-input"]})


def test_toc_files_are_in_reading_order():
    toc = {
        "root": "a",
        "parts": [
            {"caption": "x", "chapters": [{"file": "b", "sections": [{"file": "c"}]}]},
            {"chapters": [{"file": "d"}]},
        ],
    }
    assert build.toc_files(toc) == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("text", "value"), [("3", 3), ("1e-3", 1e-3), ("True", True), ("[1, 2]", [1, 2]), ("cuda", "cuda"), ("a b", "a b")]
)
def test_parameter_values(text: str, value: object):
    assert build.parse_value(text) == value


def test_each_notebook_gets_the_parameters_it_has(tmp_path: Path):
    first, second = (build.Page(name, tmp_path / f"{name}.ipynb") for name in ("01", "02"))
    nbformat.write(notebook(parameters_cell()), first.notebook)
    nbformat.write(notebook(new_code_cell("n = 5", metadata={"tags": ["parameters"]})), second.notebook)
    assert build.parameters_of([first, second], {"seed": 3, "n": 4}) == [{"seed": 3}, {"n": 4}]
    assert build.parameters_of([first, second], {"02.n": 5, "n": 4, "01.seed": 3}) == [{"seed": 3}, {"n": 5}]
    with pytest.raises(ValueError, match=r"No notebook has the parameter sed; there are: device, domain, n, seed\."):
        build.parameters_of([first, second], {"sed": 3})
    other = first._replace(domain="dots")
    assert build.parameters_of([first, other], {"domain": "mine"}) == [{"domain": "mine"}, {"domain": "dots"}]
    assert build.parameters_of([first, other], {"seed": 3}) == [{"seed": 3}, {"seed": 3, "domain": "dots"}]
    with pytest.raises(ValueError, match=r"names 02-dots, but 02\.ipynb has no parameter domain"):
        build.parameters_of([second._replace(domain="dots")], {})


def test_a_form_gives_way_to_what_is_given(tmp_path: Path):
    page = build.Page("one", tmp_path / "one.ipynb")
    cells = notebook(new_code_cell("n = 5\nsteps = 9\nruns = 0", metadata={"tags": ["parameters"]}))
    cells.metadata["deltaedit"] = {"quick": {"n": 2, "steps": 3}, "brief": {"n": 4}}
    nbformat.write(cells, page.notebook)
    (quick,), (brief,), (asked,) = (
        build.parameters_of([page], given, form)
        for given, form in (({}, "quick"), ({}, "brief"), ({"n": 8, "one.runs": 1}, "quick"))
    )
    assert quick == {"n": 2, "steps": 3, "runs": build.ELSEWHERE["runs"]}
    assert brief == {"n": 4}
    assert asked == {"n": 8, "steps": 3, "runs": 1}


def test_the_longest_road_comes_first():
    a, b, c, d = (build.Page(name, Path(name)) for name in "abcd")
    needed = {a: set(), b: set(), c: {a}, d: {c}}
    assert build.longest_first(needed, {"a": 1, "b": 5, "c": 1, "d": 4}) == [a, b, c, d]
    assert build.longest_first(needed, {"a": 1, "b": 7, "c": 1, "d": 4}) == [b, a, c, d]
    assert build.longest_first(needed, {}) == [a, b, c, d]


def test_times_are_told_the_longest_first():
    told = build.table_of_times({"a": 3.0, "b": 61.4}, {"b"})
    assert [line.split() for line in told.splitlines()] == [
        ["61", "s", "b"],
        ["(3", "s)", "a"],
        ["64", "s", "one", "after", "the", "other"],
    ]


def test_an_entry_is_a_chapter_by_its_name_or_one_for_another_domain(tmp_path: Path):
    (tmp_path / "book").mkdir()
    (tmp_path / "notebooks").mkdir()
    for name in ("01_small", "02b_two-own"):
        (tmp_path / f"notebooks/{name}.ipynb").touch()

    def pages(*files: str) -> list:
        toc = {"root": "book/intro", "chapters": [{"file": f"notebooks/{file}", "title": "x"} for file in files]}
        (tmp_path / "book/_toc.yml").write_text(yaml.safe_dump(toc))
        return [(p.name, p.notebook.stem, p.domain) for p in build.toc_notebooks(tmp_path)]

    assert pages("small", "small-pets", "small-my-pets", "two-own") == [
        ("small", "01_small", None),
        ("small-pets", "01_small", "pets"),
        ("small-my-pets", "01_small", "my-pets"),
        ("two-own", "02b_two-own", None),
    ]
    for file in ("none", "none-pets", "small-", "01_small"):
        with pytest.raises(FileNotFoundError, match=f"names notebooks/{file}, but no file"):
            pages(file)


def test_labels_of_a_variant_get_its_domain():
    figure = {"figure": {"name": "fig-dot", "caption": "A fig-dot, as in {numref}`fig-dot` and {numref}`fig-else`."}}
    text = "(sec-dots)=\n## Dots\n\n$$\nx\n$$ (eq-dot)\n\n```{image} x.png\n:name: fig-x\n```\n\n"
    refers = "{eq}`eq-dot`, {numref}`Figure %s <fig-dot>`, {ref}`dots <sec-dots>`, {numref}`fig-dots`, {numref}`fig-x`"
    page = notebook(new_markdown_cell(text + refers), new_code_cell("1", metadata={"mystnb": figure}))
    build.rename_labels(page, "-pets")
    words = text.replace("-dots)=", "-dots-pets)=").replace("eq-dot", "eq-dot-pets").replace("fig-x", "fig-x-pets")
    told = (
        "{eq}`eq-dot-pets`, {numref}`Figure %s <fig-dot-pets>`, {ref}`dots <sec-dots-pets>`, {numref}`fig-dots`, "
        "{numref}`fig-x-pets`"
    )
    assert page.cells[0].source == words + told
    renamed = page.cells[1].metadata.mystnb.figure
    assert renamed.name == "fig-dot-pets"
    assert renamed.caption == "A fig-dot, as in {numref}`fig-dot-pets` and {numref}`fig-else`."


def test_outputs_that_a_page_cannot_show_are_faults():
    picture = new_output("display_data", {"image/png": DOT})
    widget = new_output("display_data", {build.WIDGET: {}, "text/plain": "slider"})
    html = new_output("display_data", {"text/html": '<p><img src="data:,"></p>'})
    alt = {"mystnb": {"image": {"alt": "A dot."}}}
    assert build.output_faults(notebook(new_code_cell(outputs=[picture], metadata=alt))) == []
    assert build.output_faults(notebook(new_code_cell(outputs=[widget], metadata={"tags": ["remove-output"]}))) == []
    progress, warning = (new_output("stream", name="stderr", text=text) for text in ("50%|#", "UserWarning: odd\n"))
    assert build.output_faults(notebook(new_code_cell(outputs=[progress]))) == []
    for output, words in (
        (picture, "without alternative text"),
        (widget, "live widget"),
        (html, "<img> without alt"),
        (warning, "UserWarning: odd"),
    ):
        (fault,) = build.output_faults(notebook(new_code_cell(outputs=[output])))
        assert words in fault


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://cdn.example/x.js"></script>',
        "<img alt='' src='//example.org/x.png'>",
        '<link href="https://fonts.example/f.css" rel="stylesheet">',
        "<style>@import url(https://fonts.example/f.css)</style>",
    ],
)
def test_requests_to_elsewhere_are_found(tmp_path: Path, html: str):
    (tmp_path / "page.html").write_text(html)
    assert len(build.external_requests(tmp_path)) == 1


def test_links_and_local_files_are_no_requests(tmp_path: Path):
    (tmp_path / "page.html").write_text(
        '<a href="https://example.org">a link</a><script src="../x.js"></script><img src="x.png" alt="https://example.org">'
        '<link rel="canonical" href="https://example.org/page.html">'
    )
    assert build.external_requests(tmp_path) == []


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_drawings_become_webp_exactly_and_photos_small():
    drawing = np.full((64, 64, 4), 255, np.uint8)
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    drawing[10:12] = 38, 38, 38, 120
    np.testing.assert_array_equal(Image.open(io.BytesIO(build.as_webp(png(drawing)))), drawing)
    assert len(build.as_webp(png(photo))) < 0.7 * len(png(photo))


def test_dark_pages_show_the_dark_rendering(tmp_path: Path):
    light, other = (png(np.full((8, 8, 3), grey, np.uint8)) for grey in (255, 128))
    data, metadata = {"image/png": b64encode(light).decode()}, {DARK: b64encode(other).decode()}
    (tmp_path / "stage/notebooks").mkdir(parents=True)
    cell = new_code_cell(outputs=[new_output("display_data", data, metadata=metadata)])
    nbformat.write(notebook(cell, new_markdown_cell("x")), tmp_path / "stage/notebooks/01.ipynb")
    dark = build.dark_pictures(tmp_path / "stage")
    name = hashlib.sha256(light).hexdigest()
    assert dark == {name: other}

    html = tmp_path / "html"
    (html / "_images").mkdir(parents=True)
    for stem in (name, "0abc"):
        (html / f"_images/{stem}.png").write_bytes(light)
    tags = [f'<img alt="a" src="../_images/{stem}.png" />' for stem in (name, "0abc")]
    math = '<script defer src="../_static/mathjax/startup.js?v=1"></script>'
    (html / "page.html").write_text(f"{math}{tags[0]} {tags[1]}")
    (html / "formula.html").write_text(f'{math}<span class="math notranslate">x</span>')
    build.lighten(html, dark)
    page = (html / "page.html").read_text()
    assert page.count('alt="a"') == 3
    assert "mathjax" not in page
    assert math in (html / "formula.html").read_text()
    assert re.search(
        rf'class="for-light"><img [^>]*/{name}\.webp"[^>]*></span><span class="for-dark">'
        rf'<img loading="lazy" [^>]*/{name}-dark\.webp"',
        page,
    )
    assert {path.name for path in (html / "_images").iterdir()} == {f"{name}.webp", f"{name}-dark.webp", "0abc.webp"}


def test_what_is_published_is_small_and_whole(tmp_path: Path):
    said = new_output("display_data", {"text/plain": "3"}, metadata={"scrapbook": {"name": "n"}})
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    photo, flat = (b64encode(png(x)).decode() for x in (noise, np.zeros_like(noise)))
    shown = new_output("display_data", {"image/png": photo, "text/plain": "a figure"}, metadata={DARK: photo})
    drawn = new_output("display_data", {"image/png": flat})
    loud = new_output("stream", name="stderr", text="100%")
    hidden = new_code_cell("x", metadata={"tags": ["remove-output"]}, outputs=[said, loud, drawn])
    copy = notebook(new_markdown_cell("# Faces"), new_code_cell("y", outputs=[shown, drawn, said]), hidden)
    copy.metadata["deltaedit"] = {"key": "k"}
    nbformat.write(copy, tmp_path / "a.ipynb")
    build.publish(tmp_path / "a.ipynb", tmp_path / "published/a.ipynb")
    _, one, other = nbformat.read(tmp_path / "published/a.ipynb", as_version=4).cells
    assert [sorted(output.data) for output in one.outputs] == [
        ["image/jpeg", "text/plain"],
        ["image/png"],
        ["text/plain"],
    ]
    assert DARK not in one.outputs[0].metadata
    assert [output.metadata.scrapbook.name for output in other.outputs] == ["n"]


def test_a_page_whose_models_cannot_be_had_shows_the_last_published_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    root, asked = tmp_path / "book", []
    (root / "notebooks").mkdir(parents=True)
    (root / "book").mkdir()
    (root / "book/_toc.yml").write_text("root: notebooks/real\nchapters:\n  - file: notebooks/drawn\n")
    for name, domain in (("real", "faces"), ("drawn", "portraits")):
        cell = new_code_cell(f'domain = "{domain}"', metadata={"tags": ["parameters"]})
        nbformat.write(notebook(new_markdown_cell(f"# {name}"), cell), root / f"notebooks/{name}.ipynb")
    nbformat.write(notebook(new_markdown_cell("# As it was")), tmp_path / "kept.ipynb")

    def provide(package, command: str, download: bool) -> Path:
        asked.append((package.name, download))
        raise FileNotFoundError("there is no network: try again.")

    monkeypatch.setattr(build, "provide", provide)
    ran = []
    monkeypatch.setattr(
        build.runner, "execute", lambda notebook, out, *_, **__: ran.append(out.stem) or shutil.copy(notebook, out)
    )
    (root / build.PUBLISHED).mkdir(parents=True)
    shutil.copy(tmp_path / "kept.ipynb", root / build.PUBLISHED / "real.ipynb")
    stage = root / "_build/src"
    (stage / "notebooks").mkdir(parents=True)
    build.run_notebooks(root, stage, {}, fresh=False)
    assert asked == [("mobilestylegan", True)]
    assert ran == ["drawn"]
    title, note = nbformat.read(stage / "notebooks/real.ipynb", as_version=4).cells
    assert title.source == "# As it was"
    assert "the last published run" in note.source
    assert "there is no network" in note.source
    assert build.needs_of("faces") == "faces"
    assert build.needs_of("portraits") is build.needs_of("no such domain") is build.needs_of(None) is None

    monkeypatch.setattr(build, "provide", lambda *_, **__: root)  # now it can be had
    build.run_notebooks(root, stage, {}, fresh=False, keep=True)
    assert ran == ["drawn", "real", "drawn"]
    assert nbformat.read(root / build.PUBLISHED / "real.ipynb", as_version=4).cells[0].source == "# real"
    assert not (root / build.PUBLISHED / "drawn.ipynb").exists()


@pytest.mark.parametrize("content", [b"", bytes(50), b'{"cells": ['])
def test_damaged_copies_and_times_are_made_again(tmp_path: Path, content: bytes):
    for name in ("copy.ipynb", "times.json"):
        (tmp_path / name).write_bytes(content)
    assert build.done_key(tmp_path / "copy.ipynb") is None
    assert build.read_times(tmp_path / "times.json") == {}
    with pytest.raises(RuntimeError, match="copy.ipynb is damaged: get it again"):
        build.show_published(tmp_path / "copy.ipynb", tmp_path / "shown.ipynb", "no network", "key")


# The machinery, from end to end: this book's configuration and API pages around one small notebook.


@pytest.fixture(scope="module")
def small_book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("small book")  # with a space, as in a home folder
    shutil.copytree(ROOT / "book", root / "book", ignore=shutil.ignore_patterns("*.md", "__pycache__"))
    shutil.copytree(ROOT / "book/api", root / "book/api", dirs_exist_ok=True)
    shutil.copy(ROOT / "_config.yml", root)
    toc = {"format": "jb-book", "root": "book/intro"}
    toc["chapters"] = [{"file": f} for f in ("notebooks/small", "book/api/method", "book/api/worlds")]
    toc["chapters"].append({"file": "notebooks/small-dots", "title": "Small: dots"})
    (root / "book/_toc.yml").write_text(yaml.safe_dump(toc))
    (root / "book/intro.md").write_text(
        "# A small book\n\nOne {cite}`lyu2023deltaedit`. Seed {glue:text}`../notebooks/small.ipynb::seed:.1f`; "
        "{glue:text}`../notebooks/small.ipynb::domain:s`, {glue:text}`../notebooks/small-dots.ipynb::domain:s`; "
        "{numref}`fig-dot`, {numref}`fig-dot-dots`.\n\n"
        "```{figure} _static/road.svg\n:name: fig-road\n:alt: The road.\nThe road.\n```\n\n```{bibliography}\n```\n"
    )
    (root / "notebooks").mkdir()
    figure = {"figure": {"name": "fig-dot", "caption": "A dot."}, "image": {"alt": "One grey dot."}}
    cells = [
        new_markdown_cell("# A small notebook\n\n$$ x^2 $$ (eq-small)\n\nSee {eq}`eq-small` and {numref}`fig-dot`."),
        parameters_cell(),
        new_code_cell(
            'from myst_nb import glue\n\nglue("seed", float(seed), display=False)\n'
            'glue("domain", domain, display=False)'
        ),
        new_code_cell(
            f'from base64 import b64decode\n\nfrom IPython.display import Image\n\nImage(b64decode("{DOT}"))',
            metadata={"mystnb": figure},
        ),
    ]
    small = notebook(*cells)
    small.metadata["deltaedit"] = {"reads": ["figures/told.json"]}
    nbformat.write(small, root / "notebooks/01_small.ipynb")
    return root


def run_build(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "book/build.py", *arguments]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment)


def test_small_book_builds_and_reads_offline(small_book: Path):
    stored = (small_book / "notebooks/01_small.ipynb").read_bytes()
    run = run_build(small_book)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == str(small_book / "_build/html/index.html")
    assert (small_book / "notebooks/01_small.ipynb").read_bytes() == stored, "the source was written to"
    html = small_book / "_build/html"
    assert build.external_requests(html) == []
    assert (html / "_static/mathjax/startup.js").exists()
    page = (html / "notebooks/small.html").read_text(encoding="utf-8")
    assert re.search(r'<script[^>]+src="\.\./_static/mathjax/startup\.js', page)
    assert re.search(r'<img[^>]+alt="One grey dot\."', page)
    icons = (html / "_static/scripts/fontawesome.js").read_text(encoding="utf-8")
    assert len(icons) < 1e5, "the theme's own brings two thousand icons, a megabyte and a half for each page"
    named = set(re.findall(r'class="fa-solid fa-([\w-]+)', page))
    assert named
    assert [name for name in named if not re.search(rf'\b{name}"?:\[', icons)] == []
    intro = (html / "book/intro.html").read_text(encoding="utf-8")
    assert "Seed 1.0; lines, dots; Fig. 2, Fig. 3." in re.sub(r"<[^>]+>|'", "", intro)
    assert (html / "notebooks/small-dots.html").exists()
    assert "Small: dots" in page

    record = json.loads((small_book / "figures/book.json").read_text())
    assert set(record["measures"]["seconds"]) == {"small", "small-dots"}
    assert 0 < record["measures"]["peak memory of a notebook (GB)"] < 2
    times = json.loads((small_book / "_build/times.json").read_text())
    assert times == record["measures"]["seconds"]
    assert re.search(r"^ +\d+ s  small$", run.stdout, re.MULTILINE)

    again = run_build(small_book, "--no-html")
    assert "small.ipynb: unchanged" in again.stdout
    assert "small-dots.ipynb: unchanged" in again.stdout
    assert re.search(r"^ +\(\d+ s\)  small$", again.stdout, re.MULTILINE)
    (small_book / "figures/told.json").write_text("{}")
    told = run_build(small_book, "--no-html", "--jobs", "1")
    assert "unchanged" not in told.stdout, "it reads what has changed"
    other = run_build(small_book, "--no-html", "-p", "seed", "3", "-p", "domain", "curves")
    assert "unchanged" not in other.stdout
    for name, domain in (("small", "curves"), ("small-dots", "dots")):
        executed = nbformat.read(small_book / f"_build/src/notebooks/{name}.ipynb", as_version=4)
        code = "".join(cell.source for cell in executed.cells)
        assert "seed = 3" in code
        assert f'domain = "{domain}"' in code


def test_unknown_parameter_stops_the_build(small_book: Path):
    run = run_build(small_book, "-p", "sed", "3")
    assert run.returncode == 1
    assert "No notebook has the parameter sed; there are: device, domain, seed." in run.stderr


def test_failing_notebook_stops_the_build_and_is_named(small_book: Path):
    path = small_book / "notebooks/01_small.ipynb"
    whole = path.read_bytes()
    broken = nbformat.read(path, as_version=4)
    broken.cells.append(new_code_cell('raise RuntimeError("the fifth cell")'))
    nbformat.write(broken, path)
    try:
        run = run_build(small_book)
    finally:
        path.write_bytes(whole)
    assert run.returncode == 1
    assert "small.ipynb failed" in run.stderr
    assert "the fifth cell" in run.stderr


def test_cell_without_end_stops_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    nbformat.write(notebook(new_code_cell("import time\n\ntime.sleep(600)")), tmp_path / "endless.ipynb")
    monkeypatch.setattr(build, "CELL_MINUTES", 1 / 60)
    page = build.Page("endless", tmp_path / "endless.ipynb")
    with pytest.raises(RuntimeError, match="endless.ipynb failed: a cell took more than"):
        build.run_notebook(page, tmp_path / "out/endless.ipynb", {}, "key", "label")


def test_several_at_a_time_begin_after_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    pages = {"1_writes": {}, "2_reads": {"reads": ["figures/told.json"]}, "3_free": {}, "4_needs": {"needs": ["free"]}}
    toc = {"root": "notebooks/writes", "chapters": [{"file": f"notebooks/{name[2:]}"} for name in list(pages)[1:]]}
    (tmp_path / "book/_toc.yml").write_text(yaml.safe_dump(toc))
    for name, about in pages.items():
        page = notebook(new_code_cell('"told.json"' if name == "1_writes" else ""))
        page.metadata["deltaedit"] = about
        nbformat.write(page, tmp_path / f"notebooks/{name}.ipynb")
    events = []

    def run(page: build.Page, executed: Path, *_: object) -> None:
        events.append(f"begin {page.name}")
        time.sleep(0.6 if page.name == "writes" else 0.1)
        executed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(page.notebook, executed)
        events.append(f"end {page.name}")

    monkeypatch.setattr(build, "run_notebook", run)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "1")
    seconds = build.run_notebooks(tmp_path, tmp_path / "out", {}, fresh=True, jobs=2)
    assert seconds.keys() == {name[2:] for name in pages}
    assert events == [
        "begin writes",
        "begin free",
        "end free",
        "begin needs",
        "end needs",
        "end writes",
        "begin reads",
        "end reads",
    ]


def test_missing_notebook_is_named(small_book: Path):
    path = small_book / "notebooks/01_small.ipynb"
    away = path.rename(small_book / "away.ipynb")
    try:
        run = run_build(small_book)
    finally:
        away.rename(path)
    assert run.returncode == 1
    assert "book/_toc.yml names notebooks/small, but no file in notebooks/ is called so." in run.stderr
