"""The examples in docstrings run, as they stand, and all that the library offers by name has one."""

import doctest
import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import pytest
import torch

import deltaedit

NAMES = [module.name for module in walk_packages(deltaedit.__path__, "deltaedit.")]
MODULES = [module for module in map(import_module, NAMES) if ">>> " in Path(module.__file__).read_text("utf-8")]
EXAMPLES = [found for module in MODULES for found in doctest.DocTestFinder().find(module) if found.examples]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name.removeprefix("deltaedit."))
def test_example(example, folder, monkeypatch):
    monkeypatch.chdir(folder)  # what one writes the next finds
    offered = {name: getattr(deltaedit, name) for name in deltaedit.__all__}
    example.globs = {**example.globs, "torch": torch, "Path": Path, **offered}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    said = []
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


def test_all_that_is_offered_has_an_example():
    named = {example.name.rpartition(".")[2] for example in EXAMPLES}
    offered = {name for name in deltaedit.__all__ if not inspect.ismodule(getattr(deltaedit, name))}
    assert len(offered) > 15
    assert not offered - named, f"these have no example: {', '.join(sorted(offered - named))}"
