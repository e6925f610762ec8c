"""The environment says one thing everywhere: pyproject, lock, conda file, Makefile and what the library imports."""

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Modules that may import what an extra brings: those for people at a screen, and the one that finds faces.
MAY_USE = {
    "show.py": "book",
    "widgets.py": "book",
    "alignment.py": "book",
    "baselines.py": "book",
    "faces.py": "faces",
    "metrics.py": "photos",
}


def requirements(*lists: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in (Requirement(line) for lines in lists for line in lines)}


def lock() -> dict[str, Requirement]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return requirements([line for line in lines if line and not line.startswith("#")])


def pin(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return Version(specifier.version)


def test_lock_pins_every_direct_dependency_within_its_bounds():
    pins = lock()
    for name, requirement in requirements(PROJECT["dependencies"], *EXTRAS.values()).items():
        assert name in pins, f"{name} is not in requirements.lock"
        assert pin(pins[name]) in requirement.specifier, f"{name}: the pin is outside pyproject's bounds"


def test_lock_is_what_runs_here():
    for name, requirement in lock().items():
        if requirement.marker is None or requirement.marker.evaluate():
            installed = Version(importlib.metadata.version(name))
            assert installed.public == str(pin(requirement)), f"{name}: {installed} is installed; run `make env`"


def test_lock_holds_nothing_that_nobody_needs():
    todo = [Requirement(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines]
    reached = set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), *sorted(requirement.extras))
        if key in reached:
            continue
        reached.add(key)
        try:
            needs = importlib.metadata.requires(requirement.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # another platform's
        for need in map(Requirement, needs):
            extras = {"", *requirement.extras}
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras):
                todo.append(need)
    wanted = {name for name, *_ in reached}
    here = {name for name, requirement in lock().items() if requirement.marker is None or requirement.marker.evaluate()}
    assert not here - wanted


def test_lock_suits_machines_with_and_without_cuda():
    for name, requirement in lock().items():
        assert not re.match(r"nvidia|cuda|triton", name), f"{name}: torch itself names what it needs of CUDA"
        assert pin(requirement).local is None, f"{requirement}: a local version exists on one machine only"


def test_conda_environment_says_the_same():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert conda["name"] == PROJECT["name"]
    (python,) = (d for d in conda["dependencies"] if isinstance(d, str) and d.startswith("python"))
    assert PROJECT["requires-python"] in python
    (pip,) = (d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert pip == ["-r requirements.lock", f"-e .[{','.join(sorted(EXTRAS))}]"]


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports from outside the library."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"deltaedit"}


def test_library_imports_only_what_it_declares():
    providers = importlib.metadata.packages_distributions()
    for path in (ROOT / "deltaedit").rglob("*.py"):
        allowed = requirements(PROJECT["dependencies"], EXTRAS.get(MAY_USE.get(path.name), []))
        for name in imported(path):
            distributions = {canonicalize_name(d) for d in providers.get(name, [name])}
            assert distributions & set(allowed), f"{path.name} imports {name}, which pyproject does not name"


def test_method_never_imports_the_miniature():
    for path in [*(ROOT / "deltaedit").glob("*.py"), *(ROOT / "deltaedit/checkpoints").glob("*.py")]:
        source = path.read_text(encoding="utf-8")
        imports = r"^\s*(from|import) +(deltaedit\.|\.|deltaedit +import .*)worlds"
        assert not re.search(imports, source, re.MULTILINE), path.name


def test_every_data_file_is_packaged():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["package-data"]
    patterns = [f"{package.replace('.', '/')}/{glob}" for package, globs in data.items() for glob in globs]
    for path in (ROOT / "deltaedit").rglob("*"):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            name = path.relative_to(ROOT).as_posix()
            assert any(fnmatch(name, pattern) for pattern in patterns), f"{name} would be missing from a wheel"


def test_help_names_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split()) - {"help", "env"}
    assert targets == set(re.findall(r'^\t@echo "make (\w+)', makefile, re.MULTILINE))
    assert targets <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_old_python_is_named_at_the_door(tmp_path: Path):
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    old = tmp_path / "python3.8"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.8.18"\nexit 1\n')
    old.chmod(0o755)
    # The outer make, where there is one, must not lend its variables to this one.
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS", "PY"))}
    run = subprocess.run(
        ["make", "env", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert run.returncode != 0
    assert "needs Python 3.11 or newer; found: Python 3.8.18" in run.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize("command", ["make test", "make book"])
def test_ci_runs_the_readme_commands(command: str):
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^{command}$", (ROOT / ".ci/run").read_text(encoding="utf-8"), re.MULTILINE)
