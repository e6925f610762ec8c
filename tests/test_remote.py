"""Downloads from a server of this machine: what is cut goes on, what is wrong is set aside, nothing comes unasked."""

import errno
import hashlib
import os
import pwd
import shutil
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from web import Web, serve

from deltaedit import domains, download, remote
from deltaedit.faces import YUNET, find_faces
from deltaedit.official import load_official
from deltaedit.packages import provide
from deltaedit.remote import RemoteFile, cache_folder, checksum, fetch, kept

CONTENT = bytes(range(256)) * 4000  # 1 MB
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def web():
    with serve({"/weights.pt": CONTENT}) as web:
        yield web


def weights(web: Web, checksum: str | None = SHA256) -> RemoteFile:
    return RemoteFile("some/weights.pt", f"{web.url}/weights.pt", checksum)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}


def test_a_file_comes_when_asked_for_and_once(web, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=rf"weights.pt .* is not here: put it at {tmp_path}.*download=True"):
        fetch(weights(web), cache=tmp_path)
    assert not web.asked
    path = fetch(weights(web), download=True, cache=tmp_path)
    assert path == tmp_path / "some/weights.pt"
    assert path.read_bytes() == CONTENT
    assert "weights.pt: 100%" in capsys.readouterr().err
    assert fetch(weights(web), download=True, cache=tmp_path) == fetch(weights(web), cache=tmp_path) == path
    assert len(web.asked) == 1
    assert names(tmp_path) == {"weights.pt"}


def test_a_cut_connection_is_opened_again_where_it_broke(web, tmp_path):
    web.cut = 300_000
    assert fetch(weights(web), download=True, cache=tmp_path).read_bytes() == CONTENT
    assert [start for _, start in web.asked] == [None, "bytes=300000-"]


def test_what_arrived_is_kept_until_the_next_attempt(web, tmp_path, monkeypatch):
    receive = remote._receive

    def once(file, part):
        if web.asked:
            raise TimeoutError("timed out")
        return receive(file, part)

    web.cut = 300_000
    monkeypatch.setattr(remote, "_receive", once)
    with pytest.raises(FileNotFoundError, match="could not be downloaded .timed out.: run again, what has arrived is"):
        fetch(weights(web), download=True, cache=tmp_path)
    assert names(tmp_path) == {"weights.pt.part", "weights.pt.part.json"}
    monkeypatch.setattr(remote, "_receive", receive)
    assert fetch(weights(web), download=True, cache=tmp_path).read_bytes() == CONTENT
    assert web.asked[1] == ("/weights.pt", "bytes=300000-")
    assert names(tmp_path) == {"weights.pt"}


@pytest.mark.parametrize("checksum", [SHA256, None])
@pytest.mark.parametrize(("version", "resumes"), [('"1"', False), ('"2"', True), ("W/", True), (None, True)])
def test_parts_of_two_versions_are_never_joined(web, tmp_path, checksum, version, resumes):
    part = tmp_path / "some/weights.pt.part"
    part.parent.mkdir()
    part.write_bytes(b"x" * 1000 if version == '"2"' else CONTENT[:1000])
    remote.write_json(remote._notes(part), {"size": len(CONTENT), "version": version and '"1"'})
    web.version, web.resumes = version, resumes
    assert fetch(weights(web, checksum), download=True, cache=tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_complete_or_too_long_is_no_obstacle(web, tmp_path):
    part = tmp_path / "some/weights.pt.part"
    part.parent.mkdir()
    for content in (CONTENT, CONTENT + b"x"):
        part.write_bytes(content)
        remote.write_json(remote._notes(part), {"size": len(CONTENT), "version": '"1"'})
        assert fetch(weights(web), download=True, cache=tmp_path).read_bytes() == CONTENT
        (tmp_path / "some/weights.pt").unlink()
    assert [start for _, start in web.asked] == [f"bytes={len(CONTENT) + 1}-", None]


def test_a_file_of_another_content_is_set_aside_and_not_used(web, tmp_path):
    web.files["/weights.pt"] = b"something else"
    wrong = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(ValueError, match=rf"should be {SHA256} and is sha256:{wrong}: it was set aside as .*refused"):
        fetch(weights(web), download=True, cache=tmp_path)
    aside = tmp_path / f"some/weights.pt.refused-{wrong[:8]}"
    assert aside.read_bytes() == b"something else"
    with pytest.raises(FileNotFoundError, match="is not here"):
        fetch(weights(web), cache=tmp_path)
    web.files["/weights.pt"] = CONTENT
    assert fetch(weights(web), download=True, cache=tmp_path).read_bytes() == CONTENT
    assert aside.exists()


def test_a_file_that_was_put_there_is_verified_too(web, tmp_path):
    path = tmp_path / "some/weights.pt"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(weights(web), cache=tmp_path) == path
    path.write_bytes(CONTENT[1:])
    with pytest.raises(ValueError, match="set aside"):
        fetch(weights(web), cache=tmp_path)
    trusted = hashlib.sha256(CONTENT[1:]).hexdigest()  # by one who knows better than the table, as sha256sum writes it
    path.write_bytes(CONTENT[1:])
    (tmp_path / "some/weights.pt.sha256").write_text(f"{trusted}  weights.pt\n")
    assert fetch(weights(web), cache=tmp_path) == path
    assert not web.asked


def test_a_checksum_that_nobody_knows_is_recorded_and_checked_ever_after(web, tmp_path):
    path = fetch(weights(web, None), download=True, cache=tmp_path)
    record = tmp_path / "some/weights.pt.sha256"
    assert record.read_text() == f"{SHA256[7:]}  weights.pt\n"
    assert fetch(weights(web, None), cache=tmp_path) == path
    path.write_bytes(CONTENT + b"!")
    with pytest.raises(ValueError, match="set aside"):
        fetch(weights(web, None), cache=tmp_path)
    web.files["/weights.pt"] = b"published anew"
    with pytest.raises(ValueError, match=f"should be {SHA256}"):
        fetch(weights(web, None), download=True, cache=tmp_path)
    assert record.exists()


@pytest.mark.parametrize("checksum", [SHA256, None])
def test_of_several_that_want_it_at_once_one_gets_it(web, tmp_path, checksum):
    with ThreadPoolExecutor(4) as threads:
        paths = list(threads.map(lambda _: fetch(weights(web, checksum), download=True, cache=tmp_path), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(web.asked) == 1


def test_damaged_notes_cost_no_more_than_a_download(web, tmp_path):
    part = tmp_path / "some/weights.pt.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    (tmp_path / "some/weights.pt.part.json").write_bytes(b"")
    assert fetch(weights(web, None), download=True, cache=tmp_path).read_bytes() == CONTENT
    record = tmp_path / "some/weights.pt.sha256"
    record.write_bytes(bytes(64))
    with pytest.raises(ValueError, match=rf"{record} is damaged, it holds no SHA-256: delete it"):
        fetch(weights(web, None), cache=tmp_path)
    assert (tmp_path / "some/weights.pt").read_bytes() == CONTENT


def test_a_cache_that_cannot_be_is_said(web, tmp_path):
    (tmp_path / "some").touch()
    with pytest.raises(OSError, match=r"weights.pt could not be written .*: make room, or choose another place"):
        fetch(weights(web), download=True, cache=tmp_path)
    assert not web.asked


def test_gits_name_is_a_checksum(web, tmp_path):
    path = tmp_path / "some/weights.pt"
    path.parent.mkdir()
    path.write_bytes(b"hello\n")
    assert checksum(path, "git") == "git:ce013625030ba8dba906f756967f9e9ca394464a"  # as «git hash-object» says
    assert fetch(weights(web, "git:ce013625030ba8dba906f756967f9e9ca394464a"), cache=tmp_path) == path


def test_no_network_is_one_sentence_that_says_what_to_put_where(tmp_path):
    with serve({}) as web:
        file = RemoteFile("some/weights.pt", f"{web.url}/weights.pt", page="https://example.org/page")
        with pytest.raises(FileNotFoundError, match=r"weights.pt \(https://example.org/page\) could.*Not Found"):
            fetch(file, download=True, cache=tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"Connection refused\): try again, or put it at {tmp_path}"):
        fetch(file, download=True, cache=tmp_path)
    assert not names(tmp_path)


def test_a_page_instead_of_the_file_is_not_taken_for_it(web, tmp_path):
    web.kind = "text/html; charset=utf-8"
    with pytest.raises(FileNotFoundError, match="a web page came instead"):
        fetch(weights(web, None), download=True, cache=tmp_path)
    assert not names(tmp_path)


def test_no_space_left_is_said_before_and_while_it_happens(web, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: usage(1000))
        with pytest.raises(OSError, match=rf"no space left for some/weights.pt in {tmp_path}") as error:
            fetch(weights(web), download=True, cache=tmp_path)
        assert error.value.errno == errno.ENOSPC
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, chunk):
            self.file.write(chunk[:5000])
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda path, mode="r", *a, **k: (
                Full(real(path, mode)) if path.name.endswith(".part") and mode == "wb" else real(path, mode, *a, **k)
            ),
        )
        with pytest.raises(OSError, match="free some and run again, what has arrived is kept"):
            fetch(weights(web), download=True, cache=tmp_path)
    assert (tmp_path / "some/weights.pt.part").stat().st_size == 5000
    assert fetch(weights(web), download=True, cache=tmp_path).read_bytes() == CONTENT
    assert web.asked[-1] == ("/weights.pt", "bytes=5000-")


def test_where_downloads_are_kept(tmp_path, monkeypatch):
    for name in ("DELTAEDIT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path.home() / ".cache/deltaedit"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert cache_folder() == tmp_path / "caches/deltaedit"
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    assert cache_folder(tmp_path) == tmp_path


@pytest.mark.parametrize("place", [None, "~/cache"])
def test_without_a_home_nothing_is_here_and_one_sentence_says_what_to_do(place, monkeypatch, tmp_path):
    def nobody(uid):
        raise KeyError(uid)

    for name in ("HOME", "DELTAEDIT_CACHE", "DELTAEDIT_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if place is not None:
        monkeypatch.setenv("DELTAEDIT_CACHE", place)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    refused_everywhere(r"no place to keep downloads \(~.*home directory\): set DELTAEDIT_CACHE to a folder")
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    assert kept(YUNET) is None
    with pytest.raises(FileNotFoundError, match="put it at"):
        fetch(YUNET)


@pytest.mark.skipif(os.geteuid() != 0, reason="to become somebody else takes root")
def test_a_cache_of_somebody_else_is_no_cache(monkeypatch, tmp_path):
    (tmp_path / YUNET.name).parent.mkdir()
    (tmp_path / YUNET.name).write_bytes(b"network")
    tmp_path.chmod(0o700)
    monkeypatch.setenv("DELTAEDIT_CACHE", str(tmp_path))
    monkeypatch.delenv("DELTAEDIT_DATA", raising=False)
    assert kept(YUNET)
    os.seteuid(54321)
    try:
        refused_everywhere("no place to keep downloads .*Permission denied.*: set DELTAEDIT_CACHE to a folder")
    finally:
        os.seteuid(0)


def refused_everywhere(message):
    assert kept(YUNET) is None
    for call in (
        lambda: fetch(YUNET),
        lambda: fetch(YUNET, download=True),
        lambda: domains.find("ffhq"),
        lambda: domains.find("ffhq", download=True),
        lambda: provide(download.MINILM, "faces"),
        lambda: provide(download.MINILM, "faces", download=True),
    ):
        with pytest.raises(FileNotFoundError, match=message):
            call()
    with pytest.raises(FileNotFoundError, match="set DELTAEDIT_DATA, or download=True"):
        load_official("celeba")
    assert find_faces(np.full((64, 64, 3), 200, np.uint8)) == []


def test_the_network_that_finds_faces_comes_by_name(web, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(download, "YUNET", weights(web))
    download.main(["face-finder", "--cache", str(tmp_path)])
    assert capsys.readouterr().out == f"face-finder: in {tmp_path / 'some/weights.pt'}\n"
    assert (tmp_path / "some/weights.pt").read_bytes() == CONTENT
