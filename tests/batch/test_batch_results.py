"""The results of a batch: lines that survive a crash, one writer, and nobody else's file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.batch_results import Results


def make_line(name: str, **more: Any) -> dict[str, Any]:
    known = {"prefix": f"/runs/{name}", "run": ".", "name": name, "fingerprint": "f", "sources": {}, "summary": "match"}
    return {**known, "builder": "mlp", "status": "match", "error": None, **more}


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
