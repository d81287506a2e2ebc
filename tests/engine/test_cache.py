"""The folder of what is kept: what is read is what was written, whatever else happens to the files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_ckptmeta.engine.cache import Cache, Entry, find_cache_folder

KEY = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "below" / "cache"


@settings(max_examples=30)
@given(st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8)), st.lists(st.binary(), max_size=3))
def test_cache_returns_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, facts: dict[str, object], parts: list[bytes]
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.write("kind", KEY, facts, *parts)
    assert cache.read("kind", KEY) == Entry(facts, tuple(parts))
    assert cache.read("other", KEY) is None
    assert cache.read("kind", "1" * 64) is None


def test_cache_of_another_process_reads_it(folder: Path) -> None:
    code = f"from tb_ckptmeta.engine.cache import *; Cache(Path({str(folder)!r})).write('kind', {KEY!r}, {{}}, b'x')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Cache(folder).read("kind", KEY) == Entry({}, (b"x",))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_cache_that_may_only_be_read_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(folder).write("kind", KEY, {"fact": 1})

    def refuse(*_: object) -> None:  # what a file system does that is mounted to be read alone
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "utime", refuse)
    assert Cache(folder).read("kind", KEY) == Entry({"fact": 1}, ())


@pytest.mark.parametrize("at", [0, 5, 20, -1])
def test_cache_of_a_damaged_entry_has_none_and_takes_it_away(folder: Path, at: int) -> None:
    cache = Cache(folder)
    cache.write("kind", KEY, {"fact": 1}, b"content")
    (path,) = folder.iterdir()
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert cache.read("kind", KEY) is None
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("length", [0, 3, 20])
def test_cache_of_a_cut_entry_has_none(folder: Path, length: int) -> None:
    cache = Cache(folder)
    cache.write("kind", KEY, {"fact": 1}, b"content")
    (path,) = folder.iterdir()
    os.truncate(path, length)
    assert cache.read("kind", KEY) is None


def test_cache_beyond_its_size_evicts_what_was_used_longest_ago(folder: Path) -> None:
    cache = Cache(folder, most_bytes=4000)
    keys = [str(number) * 64 for number in range(5)]
    for number, key in enumerate(keys[:3]):
        cache.write("kind", key, {}, bytes(1000))
        os.utime(folder / f"kind-{key}", (number, number))
    assert cache.read("kind", keys[0]) is not None  # used just now
    cache.write("kind", keys[3], {}, bytes(1000))
    cache.write("kind", keys[4], {}, bytes(1000))
    assert sorted(p.name for p in folder.iterdir()) == [f"kind-{keys[i]}" for i in (0, 3, 4)]
    assert sum(p.stat().st_size for p in folder.iterdir()) <= 4000


def test_cache_keeps_nothing_larger_than_itself(folder: Path) -> None:
    cache = Cache(folder, most_bytes=4000)
    cache.write("kind", "1", {}, bytes(1000))
    cache.write("kind", "2", {}, bytes(5000))
    assert cache.read("kind", "2") is None
    assert cache.read("kind", "1") is not None


def test_cache_takes_away_what_a_killed_process_was_writing(folder: Path) -> None:
    cache = Cache(folder)
    folder.mkdir(parents=True)
    for name, age in (("ckptmeta-new-old", 7200.0), ("ckptmeta-new-now", 0.0), ("new-plans.txt", 7200.0)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    cache.write("kind", KEY, {})
    assert sorted(p.name for p in folder.iterdir()) == ["ckptmeta-new-now", f"kind-{KEY}", "new-plans.txt"]


def test_cache_in_a_folder_with_files_of_others_leaves_them_alone(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("thesis.tex", "rebuild-1.txt", "model-0"):
        (folder / name).write_bytes(bytes(5000))
        os.utime(folder / name, (1, 1))
    cache = Cache(folder, most_bytes=4000)
    for number in range(5):
        cache.write("kind", str(number) * 64, {}, bytes(1000))
    assert {"thesis.tex", "rebuild-1.txt", "model-0"} <= {p.name for p in folder.iterdir()}
    assert cache.read("kind", "4" * 64) is not None


def test_cache_in_a_folder_that_others_may_write_to_is_not_believed_and_says_so_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(folder)
    cache.write("kind", KEY, {}, b"x")
    assert caplog.messages == []
    folder.chmod(0o770)
    assert cache.read("kind", KEY) is None
    cache.write("kind", "1" * 64, {}, b"x")
    assert [p.name for p in folder.iterdir()] == [f"kind-{KEY}"]
    (message,) = caplog.messages
    assert f"chmod go-w {folder}" in message
    assert "TB_CKPTMETA_CACHE" in message


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give a folder away")
def test_cache_in_a_folder_of_another_user_is_not_believed_and_says_so(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir(parents=True, mode=0o700)
    os.chown(folder, 12345, -1)
    Cache(folder).write("kind", KEY, {}, b"x")
    assert list(folder.iterdir()) == []
    assert "another user (number 12345)" in caplog.text


def test_cache_that_cannot_be_written_is_an_empty_one_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = Cache(tmp_path / "file" / "cache")
    cache.write("kind", KEY, {})
    cache.write("kind", KEY, {})
    assert len(caplog.messages) == 1
    assert "Not a directory" in caplog.text
    assert cache.read("kind", KEY) is None


def test_cache_of_many_processes_at_once_never_reads_half_an_entry(folder: Path) -> None:
    code = f"""
from tb_ckptmeta.engine.cache import *
cache = Cache(Path({str(folder)!r}), most_bytes=300_000)
for number in range(200):
    cache.write("kind", str(number % 5) * 64, {{"size": number}}, bytes(number * 300))
    entry = cache.read("kind", str((number + 1) % 5) * 64)
    assert entry is None or len(entry.parts[0]) == entry.facts["size"] * 300
"""
    running = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert all(p.name.startswith("kind-") for p in folder.iterdir())


def test_cache_folder_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TB_CKPTMETA_CACHE", str(tmp_path))
    assert find_cache_folder() == tmp_path
    monkeypatch.setenv("TB_CKPTMETA_CACHE", "")
    assert find_cache_folder() is None
    monkeypatch.delenv("TB_CKPTMETA_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert find_cache_folder() == tmp_path / "tb_ckptmeta"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says the XDG Base Directory Specification
    assert find_cache_folder() == Path.home() / ".cache" / "tb_ckptmeta"
