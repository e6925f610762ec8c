"""A domain's folder, what tells it from others, and the texts in it."""

import json
from pathlib import Path

import pytest

from deltaedit import domains
from deltaedit.domain import CARD, Domain
from deltaedit.domains import find, weights
from deltaedit.recipes import Recipe
from deltaedit.record import read_record, write_record
from deltaedit.sentences import VOCABULARY, word_pieces


def test_weights_are_told_apart(tmp_path):
    (tmp_path / "domain.json").write_text("{}")
    empty = weights(tmp_path)
    (tmp_path / "mapper.safetensors").write_bytes(b"1")
    assert weights(tmp_path) != empty
    assert len(weights("portraits")) == 12


def test_a_path_is_a_folder_and_a_text_without_a_slash_may_be_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="there is no folder portraits: check the path, or give a domain's name"):
        find(Path("./portraits"))
    Domain("mine").write(tmp_path / "portraits")
    for mine in (Path("./portraits"), Path("portraits"), "./portraits", "portraits/"):
        assert Domain.read(find(mine)).name == "mine"
    assert find("portraits") == domains.FOLDERS["portraits"]
    with pytest.raises(ValueError, match="there is no domain 'landscapes': choose .*'portraits'.*path of a folder"):
        find("landscapes")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_byte_order_marks_and_line_ends_are_harmless(encoding, ends, tmp_path):
    """As Notepad and PowerShell write files, and as git checks them out on Windows."""

    def saved_again(path):
        path.write_bytes(path.read_text("utf-8").replace("\n", ends).encode(encoding))

    folder = tmp_path / "Ünï cödé 猫"
    Domain("Kätzchen", "chaton été").write(folder)
    before = weights(folder)
    saved_again(folder / CARD)
    assert Domain.read(folder) == Domain("Kätzchen", "chaton été")
    assert (weights(folder) == before) == (encoding != "utf-16")
    write_record(folder / "record.json", {"success": 0.5}, weights=before)
    saved_again(folder / "record.json")
    assert read_record(folder / "record.json", [before]) == {"success": 0.5}
    words = {word: k for k, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "été"))}
    (folder / VOCABULARY).write_text(json.dumps({"model": {"vocab": words}}, indent=1, ensure_ascii=False), "utf-8")
    saved_again(folder / VOCABULARY)
    assert word_pieces(folder).vocabulary == words
    with pytest.raises(ValueError, match="the recipe has no models"):  # and is JSON
        Recipe.read(("\ufeff" if encoding != "utf-8" else "") + ends.join("{}"))


def test_hidden_files_are_no_weights(tmp_path):
    Domain("mine").write(tmp_path)
    before = weights(tmp_path)
    (tmp_path / "._generator.safetensors").write_bytes(b"what a Mac leaves behind")
    assert weights(tmp_path) == before
