"""The results of a batch: lines that survive a crash, one writer, and nobody else's file."""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from batch_lines import make_line

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.line_file import LineFile


def make_sources(text: str) -> dict[str, Any]:
    return Dependencies({"/code/a.py": text}, {"HOME": "digest"}, "/work").as_json()


def read(path: Path) -> list[str]:
    return [json.loads(line)["name"] for line in path.read_text(encoding="ascii").splitlines()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "verdicts.jsonl"


def test_line_is_in_the_file_as_soon_as_it_is_added(path: Path) -> None:
    with Results(path, exports=False) as results:
        results.append(make_line("a"))
        assert read(path) == ["a"]
        results.append(make_line("\udcff\n•"))  # a name that is not UTF-8
        assert read(path) == ["a", "\udcff\n•"]


def test_file_cut_anywhere_is_read_up_to_its_last_whole_line_and_goes_on_there(path: Path) -> None:
    with Results(path, exports=False) as results:
        for name in "abc":
            results.append(make_line(name))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        kept = [n for i, n in enumerate("abc") if len(b"".join(lines[: i + 1])) <= end]
        with Results(path, exports=False) as results:
            assert [o.title for o in results.outcomes.values()] == kept
            results.append(make_line("d"))
        assert read(path) == [*kept, "d"]


def test_second_batch_on_one_output_is_refused_until_the_first_has_ended(path: Path) -> None:
    with Results(path, exports=False) as first:
        first.append(make_line("a"))
        for overwrite in (False, True):
            with pytest.raises(CkptMetaError, match="Another batch is writing") as refused:
                Results(path, exports=False, overwrite=overwrite)
            assert refused.value.code is Code.BUSY
        first.drop(["/runs/a"])  # which puts a new file there
        with pytest.raises(CkptMetaError, match="Another batch is writing"):
            Results(path, exports=False)
        first.append(make_line("b"))
    with Results(path, exports=False) as second:
        assert list(second.outcomes) == ["/runs/b"]


def test_new_file_in_the_place_of_the_old_one_is_locked_too(path: Path) -> None:
    file = LineFile(path)
    file.append(b"a\n")
    file.rewrite([b"b\n"])
    with pytest.raises(CkptMetaError, match="Another batch is writing"):
        LineFile(path)
    file.close()
    LineFile(path).close()
    assert path.read_bytes() == b"b\n"


def test_whole_lines_are_read_up_to_half_a_line_and_something_else_is_named_by_its_number(path: Path) -> None:
    numbers: list[int] = []

    def take(raw: bytes) -> None:
        numbers.append(json.loads(raw)["n"])

    path.write_bytes(b'{"n": 1}\n{"n": 2}\n{"n"')
    file = LineFile(path)
    assert (file.read_whole(take, b'{"n": ', "numbers"), numbers) == (18, [1, 2])
    for content in (b'{"n": 1}\n{"m": 2}\n', b'{"n": 1}\n[2]\n', b'{"n": 1}\n7\n', b'{"n": 1}\n{"m', b'{"n": 1}\n\n'):
        path.write_bytes(content)
        with pytest.raises(CkptMetaError, match=r"something else than the numbers of a batch \(line 2\)") as refused:
            file.read_whole(take, b'{"n": ', "numbers")
        assert refused.value.code is Code.OUTPUT_EXISTS
    file.close()


def test_dropped_lines_are_gone_and_the_others_stay_as_they_are(path: Path) -> None:
    with Results(path, exports=False) as results:
        for name in "abc":
            results.append(make_line(name))
        lines = path.read_bytes().splitlines(keepends=True)
        results.drop(["/runs/b", "/runs/unknown"])
        assert path.read_bytes() == lines[0] + lines[2]
        results.append(make_line("d"))
        assert set(results.outcomes) == {"/runs/a", "/runs/c", "/runs/d"}
    assert read(path) == ["a", "c", "d"]
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(
    "content",
    [
        b"import tensorflow as tf\n",
        b"my notes, without an end",
        b'{"some": "json"}\n',
        b"[]\n",
        b'"text"\n',
        b"\x00\xff\n",
        json.dumps(make_line("a", verdict=make_line("a"))).encode() + b"\n",  # an export's
    ],
)
def test_file_of_something_else_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(CkptMetaError, match="holds something else") as refused:
        Results(path, exports=False)
    assert refused.value.code is Code.OUTPUT_EXISTS
    assert path.read_bytes() == content
    with Results(path, exports=False, overwrite=True) as results:
        assert path.read_bytes() == content
        results.clear()
        results.append(make_line("a"))
    assert read(path) == ["a"]


def test_output_that_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "none" / "file"):
        with pytest.raises(CkptMetaError) as refused:
            Results(path, exports=False)
        assert refused.value.code is Code.OUTPUT_UNWRITABLE
        assert path.name != "pipe" or "it is not a file" in refused.value.message


# --- what lines are made of


def read_sources(path: Path) -> list[str]:
    lines = path.with_name(f"{path.name}.sources").read_text(encoding="ascii").splitlines()
    return [json.loads(line)["files"]["/code/a.py"] for line in lines]


def test_what_lines_are_made_of_is_written_once_and_a_line_names_it(path: Path) -> None:
    with Results(path, exports=False) as results:
        for name, text in (("a", "old"), ("b", "old"), ("c", "new")):
            results.append(make_line(name, sources=make_sources(text)))
        results.append(make_line("d"))
    assert read(path) == ["a", "b", "c", "d"]
    names = [json.loads(line)["sources"] for line in path.read_text(encoding="ascii").splitlines()]
    assert (names[0], names[3], len(set(names))) == (names[1], None, 3)
    assert read_sources(path) == ["old", "new"]
    with Results(path, exports=False) as results:
        assert [o.sources for o in results.outcomes.values()] == names
        assert results.sources[names[2]] == Dependencies.from_json(make_sources("new"))
        results.append(make_line("e", sources=make_sources("new")))
        assert read_sources(path) == ["old", "new"]
        results.drop(["/runs/a"])
        assert read_sources(path) == ["old", "new"]
        results.drop(["/runs/b"])
        assert (read(path), read_sources(path)) == (["c", "d", "e"], ["new"])
        results.clear()
    assert os.listdir(path.parent) == [path.name]


def test_sources_cut_anywhere_are_known_up_to_their_last_whole_line(path: Path) -> None:
    with Results(path, exports=False) as results:
        for name in "ab":
            results.append(make_line(name, sources=make_sources(name)))
    sources = path.with_name(f"{path.name}.sources")
    whole, first = sources.read_bytes(), len(sources.read_bytes().splitlines(keepends=True)[0])
    for end in range(len(whole) + 1):
        sources.write_bytes(whole[:end])
        with Results(path, exports=False) as results:
            known = [name for name in "ab" if results.outcomes[f"/runs/{name}"].sources in results.sources]
            assert known == ["a", "b"][: (end >= first) + (end == len(whole))]
            results.append(make_line("c", sources=make_sources("c")))
        with Results(path, exports=False) as results:
            assert len(results.sources) == len(known) + 1
            results.drop(["/runs/c"])
    sources.write_bytes(whole.replace(b'"/work"', b'"/elsewhere"'))
    with Results(path, exports=False) as results:
        assert results.sources == {}


@pytest.mark.parametrize(
    "wrong",
    [{"files": []}, {"files": {"/a": 1}}, {"kinds": "x"}, {"directory": 7}, {"more": "x"}, {"files": {"/a\0b": "x"}}],
)
def test_sources_of_other_types_are_not_believed(path: Path, wrong: dict[str, Any]) -> None:
    value = {**make_sources("a"), **wrong}
    name = hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()[:32]
    path.with_name(f"{path.name}.sources").write_text(json.dumps({"sources": name, **value}) + "\n")
    path.write_text(json.dumps(make_line("a", sources=name)) + "\n")
    with Results(path, exports=False) as results:
        assert (list(results.outcomes), results.sources) == (["/runs/a"], {})


def test_sources_of_something_else_are_refused_and_left_alone(path: Path) -> None:
    with Results(path, exports=False) as results:
        results.append(make_line("a", sources=make_sources("a")))
    before, sources = path.read_bytes(), path.with_name(f"{path.name}.sources")
    sources.write_bytes(b"My notes.\n")
    with pytest.raises(CkptMetaError, match=r"\.sources holds something else") as refused:
        Results(path, exports=False)
    assert refused.value.code is Code.OUTPUT_EXISTS
    assert (path.read_bytes(), sources.read_bytes()) == (before, b"My notes.\n")
    sources.write_bytes(b"")
    Results(path, exports=False).__exit__()  # nothing has kept the lock


# --- a disk that is full


@contextmanager
def room(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond so many bytes: what is written is cut there, and the next write fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_line_that_has_no_room_is_not_there_in_part(path: Path) -> None:
    with Results(path, exports=False) as results:
        results.append(make_line("a"))
        whole = path.read_bytes()
        with room(len(whole) + 40), pytest.raises(CkptMetaError, match="cannot be written") as failed:
            results.append(make_line("b"))
        assert failed.value.code is Code.OUTPUT_UNWRITABLE
        assert (path.read_bytes(), list(results.outcomes)) == (whole, ["/runs/a"])
        results.append(make_line("c"))
    assert read(path) == ["a", "c"]


def test_lines_that_have_no_room_in_a_new_file_stay_in_the_old_one(path: Path) -> None:
    with Results(path, exports=False) as results:
        for name in "abc":
            results.append(make_line(name))
        whole = path.read_bytes()
        with room(len(whole) // 2), pytest.raises(CkptMetaError, match="cannot be written"):
            results.drop(["/runs/a"])
        assert path.read_bytes() == whole
        assert set(results.outcomes) == {"/runs/a", "/runs/b", "/runs/c"}
        assert [n for n in os.listdir(path.parent) if n.endswith(".tmp")] == []
        with pytest.raises(CkptMetaError, match="Another batch is writing"):
            Results(path, exports=False)
        results.append(make_line("d"))
        results.drop(["/runs/a"])
    assert read(path) == ["b", "c", "d"]


def test_results_behind_a_link_stay_there_with_their_permissions(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.jsonl"
    target.parent.mkdir()
    target.touch(mode=0o600)
    path.symlink_to(target)
    with Results(path, exports=False) as results:
        results.append(make_line("a"))
        results.append(make_line("b", sources=make_sources("b")))
        results.drop(["/runs/a"])
    assert path.is_symlink()
    assert sorted(os.listdir(target.parent)) == ["real.jsonl", "real.jsonl.sources"]
    assert sorted(os.listdir(tmp_path)) == ["elsewhere", path.name]
    for output in (target, path):  # whichever of them it is given
        with Results(output, exports=False) as results:
            assert [o.sources in results.sources for o in results.outcomes.values()] == [True]
    assert (read(target), target.stat().st_mode & 0o777) == (["b"], 0o600)


def test_what_is_to_be_cleared_tells_what_lines_are_in_it_whatever_else_is(path: Path) -> None:
    lines = [json.dumps(make_line(name)).encode("ascii") for name in "ab"]
    path.write_bytes(b"\n".join([lines[0], b'{"prefix": 1}', lines[1], lines[0][:20]]))
    with Results(path, exports=False, overwrite=True) as results:
        assert (sorted(results.earlier), results.outcomes) == (["/runs/a", "/runs/b"], {})
    path.write_bytes(b"My notes.\n" + lines[0])
    with Results(path, exports=False, overwrite=True) as results:
        assert results.earlier == {}
