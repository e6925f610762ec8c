"""The plan of the house: imports go down it, never up and never round, late ones included."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import deltaedit

ROOT = Path(deltaedit.__file__).parent
HOUSE = (  # from the top; what is not named is a network, such as another architecture's
    {"worlds"},
    {"show", "sliders", "session", "widgets", "web"},
    {"alignment", "metrics", "effects", "baselines"},
    {"train", "features", "training", "loop", "relevance", "inversion", "editor", "recipes"},
    {
        "domains",
        "download",
        "registry",
        "convert",
        "domain",
        "remote",
        "packages",
        "faces",
        "official",
        "directions",
        "checkpoints",
    },
    {"style_space", "stylegan2", "mobilestylegan", "clip", "sentences", "mapper", "e4e"},  # NETWORKS
    {"parameters", "devices", "pictures", "files", "record", "untrusted", "_torchvision"},
)
NETWORKS = 5


def modules() -> dict[str, Path]:
    """All modules of the library, packages by their own name."""
    names = {path: ".".join(path.relative_to(ROOT.parent).with_suffix("").parts) for path in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imported(path: Path, known: set[str]) -> set[str]:
    """Modules of ours that one imports at any level, but for what is only named in annotations."""
    tree, found = ast.parse(path.read_text(encoding="utf-8")), set()
    annotations = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in annotations:
            continue
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} imports by dots: spell the module out"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in known else node.module for name in names} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & known
    return found - {"deltaedit"}  # its names are fetched when they are asked for


def graph() -> dict[str, set[str]]:
    paths = modules()
    return {name: imported(path, set(paths)) for name, path in paths.items() if name != "deltaedit"}


def circle(of: dict[str, set[str]]) -> list[str]:
    """The modules of a circle in the order of their imports, or none."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_module_imports_itself_by_a_detour():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "the test is blind"
    found = graph()
    assert len(found) > 40
    assert "deltaedit.clip" in found["deltaedit.domains"], "late imports are not seen"
    assert not circle(found), " → ".join(circle(found))


def test_imports_go_down_the_house():
    floor = {room: level for level, rooms in enumerate(HOUSE) for room in rooms}
    found = graph()
    rooms = {name: name.split(".")[1] for name in found}
    up = [
        f"{name} imports {other}"
        for name, others in found.items()
        for other in others
        if floor.get(rooms[other], NETWORKS) < floor.get(rooms[name], NETWORKS)
    ]
    assert not up, "; ".join(up)
