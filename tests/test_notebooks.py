"""Every notebook is stored clean, takes parameters, and can be read by those who do not see its pictures."""

import ast
import re
from pathlib import Path

import nbformat
import papermill
import pytest
from build import PROMPTS
from runner import PATHS, chapters

from deltaedit.parameters import check, declared

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = chapters(ROOT)
NOTEBOOKS = list(CHAPTERS.values())
MAX_LINES = {True: 25, False: 15}  # of a cell that is hidden, and of one that is seen
MAX_COLUMNS = 84  # what is longer scrolls on a page
HIDDEN = {"hide-input", "remove-input", "hide-cell", "remove-cell"}
GLUE = re.compile(
    r"\{glue[:\w]*\}`([^`]+)`|^\s*(?:`{3,}|:{3,})\{glue[:\w]*\}\s+(\S+)(?:\s+:doc: *(\S+))?", re.MULTILINE
)

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def markdown(path: Path) -> str:
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


def parse(cell: nbformat.NotebookNode) -> ast.Module:
    """The cell's code, without IPython's `%` and `!` lines."""
    return ast.parse(re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE))


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def glued(path: Path) -> list[str]:
    """Patterns of the keys that a notebook glues; a part of an f-string that is computed matches anything."""
    keys: list[ast.expr] = []
    for node in (node for cell in code_cells(path) for node in ast.walk(parse(cell))):
        name = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
        if name == "glue":
            keys.append(node.args[0])
        elif name == "glue_all":
            keys += [ast.Constant(keyword.arg) for keyword in node.keywords if keyword.arg]
            for many in (keyword.value for keyword in node.keywords if not keyword.arg):
                assert isinstance(many, ast.Dict | ast.DictComp), f"{path.name}: spell out what is glued"
                keys += many.keys if isinstance(many, ast.Dict) else [many.key]
    parts = [key.values if isinstance(key, ast.JoinedStr) else [key] for key in keys]
    return ["".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in key) for key in parts]


def quoted(text: str, here: Path) -> list[tuple[Path, str]]:
    """(notebook, key) of every glued value that a text quotes; `here` is the file that the text is in."""
    found = []
    for match in GLUE.finditer(text):
        *document, key = (match[1] or match[2]).split("::")
        document = [match[3]] if match[3] else document
        notebook = (here.parent / document[0]).resolve() if document else here
        if notebook.parent.name == "notebooks":  # by its chapter's name, or that and a domain, see `book/build.py`
            name = notebook.stem if notebook.stem in CHAPTERS else notebook.stem.partition("-")[0]
            notebook = CHAPTERS.get(name, notebook.with_stem(name))
        found.append((notebook, key.split(":")[0]))
    return found


@each_notebook
def test_is_stored_stripped(path: Path):
    for cell in code_cells(path):
        assert not cell.outputs, f"{path.name} has outputs: strip it (`make hooks` does so at each commit)"
        assert cell.execution_count is None


@each_notebook
def test_format_is_current_and_valid(path: Path):
    notebook = read(path)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) >= (4, 5)
    ids = [cell.id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.kernelspec.language == "python"


@each_notebook
def test_parameters_are_literals_known_to_papermill(path: Path):
    (cell,) = (cell for cell in code_cells(path) if "parameters" in tags(cell))
    assert cell.id == code_cells(path)[0].id, "the parameters come first"
    kinds = declared(cell.source)
    for statement in ast.parse(cell.source).body:
        assert isinstance(statement, ast.AnnAssign), f"{ast.unparse(statement)} declares no type"
        name, value = statement.target.id, ast.literal_eval(statement.value)
        assert check(name, value, kinds[name]) == value
        if isinstance(value, str) and "/" in value:
            assert name in PATHS, f"paths from a command line would not be found: name {name} in runner.PATHS"
    assert {"domain", "seed", "device"} <= kinds.keys()
    assert set(papermill.inspect_notebook(path)) == kinds.keys()
    assert PROMPTS & kinds.keys() == {name for name, kind in kinds.items() if kind == "list[str, 20] or None"}


@each_notebook
def test_parameters_are_checked_before_they_are_used(path: Path):
    cell, *others = code_cells(path)
    names = set(declared(cell.source))
    for statement in (statement for other in others for statement in parse(other).body):
        if ast.unparse(statement) == "check_parameters(globals())":
            return
        used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} & names
        assert not used, f"{path.name} uses {used} unchecked"
    pytest.fail(f"{path.name} does not call check_parameters(globals())")


@each_notebook
def test_metadata_say_what_there_is(path: Path):
    about, kinds = read(path).metadata.get("deltaedit", {}), declared(code_cells(path)[0].source)
    known = set(kinds)
    assert about.keys() <= {"reads", "needs", "quick", "brief", "alone"}
    for form in ("quick", "brief"):  # on little, a page that is of real faces is of what ships with the library
        own = known - ({"figures", "runs"} if form == "quick" else {"domain", "figures", "runs"})
        assert about.get(form, {}).keys() <= own, f"{path.name}: {form}"
        for name, value in about.get(form, {}).items():
            assert check(name, value, kinds[name]) == value
    assert set(about.get("needs", ())) <= CHAPTERS.keys()
    assert all((ROOT / name).exists() for name in about.get("reads", ()))


@each_notebook
def test_cells_are_short_and_narrow(path: Path):
    for cell in code_cells(path):
        lines = cell.source.splitlines()
        most = MAX_LINES[bool(tags(cell) & HIDDEN)]
        if "parameters" in tags(cell):
            most += 5  # a line for each
        assert len(lines) <= most, f"{path.name}: {len(lines)} lines from «{lines[0]}»; at most {most}"
        wide = [line for line in lines if len(line) > MAX_COLUMNS]
        assert not wide, f"{path.name}: {len(wide)} lines are too long, such as «{wide[0]}»"


@each_notebook
def test_opens_with_its_only_title(path: Path):
    first = read(path).cells[0]
    assert first.cell_type == "markdown"
    assert first.source.startswith("# ")
    prose = re.sub(r"^(`{3,}).*?^\1", "", markdown(path), flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1


@each_notebook
def test_figures_have_name_caption_and_alt(path: Path):
    for cell in code_cells(path):
        metadata = cell.metadata.get("mystnb", {})
        if figure := metadata.get("figure"):
            assert figure.get("name"), f"{path.name}: a figure without a name: {cell.source}"
            assert figure.get("caption"), f"{path.name}: {figure['name']} has no caption"
            alt = metadata.get("image", {}).get("alt") or "alt=" in cell.source  # a Sweep says it itself
            assert alt, f"{path.name}: {figure['name']} has no alt text"
        else:
            assert not re.search(r"^(Sweep|Bench)\b", cell.source, re.M), f"{path.name}: no figure: {cell.source}"
    for directive in re.findall(r"\{(?:glue:)?(?:figure|image)\}.*?(?=^`{3,}|^:{3,}|\Z)", markdown(path), re.M | re.S):
        assert ":alt:" in directive, f"{path.name}: no alt text in {directive.splitlines()[0]}"


@each_notebook
def test_quoted_values_are_glued(path: Path):
    for notebook, key in quoted(markdown(path), path):
        assert notebook.exists(), f"{path.name} quotes {key} of {notebook.name}, which does not exist"
        assert any(re.fullmatch(pattern, key) for pattern in glued(notebook)), f"{notebook.name} glues no {key}"


@pytest.mark.parametrize("page", sorted((ROOT / "book").rglob("*.md")), ids=lambda page: page.stem)
def test_pages_quote_glued_values(page: Path):
    for notebook, key in quoted(page.read_text(encoding="utf-8"), page):
        assert notebook.suffix == ".ipynb", f"{page.name} quotes {key} without naming a notebook"
        assert any(re.fullmatch(pattern, key) for pattern in glued(notebook)), f"{notebook.name} glues no {key}"


def test_glue_is_read_in_all_its_spellings():
    text = "{glue}`a` {glue:text}`b:.2f` {glue:text}`../notebooks/x-y.ipynb::c:.1e`\n\n```{glue:figure} d\n:alt: e\n```"
    text += "\n\n```{glue} f\n:doc: ../notebooks/y.ipynb\n```"
    here, x, y = ROOT / "book/intro.md", ROOT / "notebooks/x.ipynb", ROOT / "notebooks/y.ipynb"
    assert quoted(text, here) == [(here, "a"), (here, "b"), (x, "c"), (here, "d"), (y, "f")]


@each_notebook
def test_no_output_widgets(path: Path):
    """An executing client answers Output widgets on the socket it listens on, and can lose a reply: it would hang."""
    for cell in code_cells(path):
        names = {node.id for node in ast.walk(parse(cell)) if isinstance(node, ast.Name)}
        assert not names & {"interact", "interactive", "interactive_output", "Output"}, cell.source.splitlines()[0]
