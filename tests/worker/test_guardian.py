"""The guardian, over real workers that do not want to end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

import tb_ckptmeta
from tb_ckptmeta.core.job import ENDING, OUTPUT, RESULT, Describe, Limits, write_job
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.worker.guardian import HEAD_BYTES, TAIL_BYTES, _Output

_MAIN = Path(tb_ckptmeta.__file__).with_name("worker") / "__main__.py"
_PATIENCE = 60.0

Start = Callable[[str, Limits], "subprocess.Popen[bytes]"]

# A caller such as TensorBoard, which is about to be killed.
_CALLER = """
import sys
from pathlib import Path
from tb_ckptmeta.core.job import Describe, Limits
from tb_ckptmeta.engine.process import run_worker
from tb_ckptmeta.engine.specs import parse_spec
run_worker(Describe(parse_spec(sys.argv[1]), Limits(600.0, 8 << 30)), Path(sys.argv[2]), "It")
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    """Wait until the sample has told its pids: the guardian's, the worker's, and those of what it started."""
    file = tmp_path / "pids"
    monkeypatch.setenv("CKPTMETA_TEST_PIDS", str(file))

    def read() -> list[int]:
        wait_until(file.exists, "the sample is imported", _PATIENCE)
        return [int(word) for word in file.read_text().split()]

    return read


@pytest.fixture
def start(
    tmp_path: Path,
    sample: Callable[[str], Path],
    leaves_nothing: Any,
    quick_tensorflow: dict[str, str],
) -> Iterator[Start]:
    """Start a worker that lists the builders of a sample; its folder is `tmp_path / "job"`."""
    started: list[subprocess.Popen[bytes]] = []
    folder = tmp_path / "job"
    folder.mkdir()

    def start(name: str, limits: Limits) -> subprocess.Popen[bytes]:
        write_job(Describe(parse_spec(str(sample(name))), limits), folder)
        process = subprocess.Popen(
            [sys.executable, str(_MAIN), str(folder)], stdin=subprocess.PIPE, env={**os.environ, **quick_tensorflow}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_PATIENCE)


def read_ending(folder: Path) -> dict[str, Any]:
    ending = json.loads((folder / "job" / ENDING).read_text(encoding="utf-8"))
    assert isinstance(ending, dict)
    return ending


def test_guardian_of_a_worker_that_ends_writes_ending_and_output(start: Start, tmp_path: Path) -> None:
    assert start("prints_at_import", Limits(_PATIENCE, 8 << 30)).wait(_PATIENCE) == 0
    ending = read_ending(tmp_path)
    assert (ending["reason"], ending["signal"], ending["status"]) == ("ended", None, 0)
    assert ending["peak_memory"] > 1 << 20
    result = json.loads((tmp_path / "job" / RESULT).read_text(encoding="utf-8"))
    assert [b["name"] for b in result["value"]["builders"]] == ["prints"]


def test_output_of_megabytes_keeps_its_head_and_its_tail(start: Start, tmp_path: Path) -> None:
    assert start("prints_at_import", Limits(_PATIENCE, 8 << 30)).wait(_PATIENCE) == 0
    output = (tmp_path / "job" / OUTPUT).read_bytes()
    assert output.startswith(b"the first line\n")
    assert b" bytes left out ...]\n" in output
    # What was written past Python stands between the lines, and what is no text does no harm.
    assert output.endswith(b"past Python \xff\na lone surrogate \\udcff\nthe last line\n\xe2\x80")
    assert HEAD_BYTES + TAIL_BYTES < len(output) < HEAD_BYTES + 2 * TAIL_BYTES + 100


def test_output_of_any_length_is_whole_or_says_how_much_is_left_out() -> None:
    for size in (0, 1, HEAD_BYTES, HEAD_BYTES + 1, HEAD_BYTES + TAIL_BYTES, HEAD_BYTES + 5 * TAIL_BYTES):
        written = random.Random(size).randbytes(size)
        kept = _Output()
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        for begin in range(0, size, 1 << 14):
            os.write(write_end, written[begin : begin + (1 << 14)])
            assert kept.take(read_end)
        os.close(write_end)
        assert not kept.take(read_end)
        os.close(read_end)
        head, mark, tail = kept.text().partition(b"\n[... ")
        if not mark:
            assert head == written
            continue
        number, _, tail = tail.partition(b" bytes left out ...]\n")
        assert len(head) == HEAD_BYTES
        assert len(tail) >= TAIL_BYTES
        assert written.startswith(head)
        assert written.endswith(tail)
        assert len(head) + int(number) + len(tail) == size


def test_hang_in_c_past_the_time_limit_is_ended_with_all_it_started(
    start: Start, pids: Callable[[], list[int]], tmp_path: Path, leaves_nothing: Any
) -> None:
    process = start("hangs_in_c_at_import", Limits(6.0, 8 << 30))
    family = pids()
    assert process.wait(_PATIENCE) == 0
    ending = read_ending(tmp_path)
    assert (ending["reason"], ending["signal"]) == ("timeout", signal.SIGKILL)
    assert leaves_nothing.are_alive(family) == []
    output = (tmp_path / "job" / OUTPUT).read_text(encoding="utf-8")
    assert output.startswith("about to hang\n")
    # Where it hangs, as the worker's fault handler tells without the interpreter's lock.
    assert "hangs_in_c_at_import.py" in output


def test_memory_of_a_child_past_the_limit_ends_the_worker(start: Start, tmp_path: Path) -> None:
    limit = 512 << 20
    assert start("eats_memory_at_import", Limits(_PATIENCE, limit)).wait(_PATIENCE) == 0
    ending = read_ending(tmp_path)
    assert (ending["reason"], ending["signal"]) == ("memory", signal.SIGKILL)
    assert ending["peak_memory"] > limit
    assert not (tmp_path / "job" / RESULT).exists()


def test_lifeline_that_closes_ends_everything_while_c_holds_the_lock(
    start: Start, pids: Callable[[], list[int]], tmp_path: Path, leaves_nothing: Any
) -> None:
    process = start("hangs_in_c_at_import", Limits(600.0, 8 << 30))
    family = pids()
    assert family[0] == process.pid
    assert leaves_nothing.are_alive(family) == sorted(family)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(_PATIENCE) == 0
    assert read_ending(tmp_path)["reason"] == "orphaned"
    assert leaves_nothing.are_alive(family) == []


def test_caller_killed_while_c_holds_the_lock_takes_everything_with_it(
    tmp_path: Path,
    sample: Callable[[str], Path],
    leaves_nothing: Any,
    quick_tensorflow: dict[str, str],
    pids: Callable[[], list[int]],
) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    caller = subprocess.Popen(
        [sys.executable, "-c", _CALLER, str(sample("hangs_in_c_at_import")), str(folder)],
        env={**os.environ, **quick_tensorflow},
    )
    family = pids()
    assert leaves_nothing.are_alive(family) == sorted(family)
    caller.kill()
    assert caller.wait(_PATIENCE) == -signal.SIGKILL
    assert leaves_nothing.wait_until_alone() == {}


def test_guardian_killed_takes_the_worker_with_it(
    start: Start, pids: Callable[[], list[int]], leaves_nothing: Any
) -> None:
    process = start("hangs_in_c_at_import", Limits(600.0, 8 << 30))
    _, worker, child = pids()
    process.kill()
    process.wait(_PATIENCE)
    wait_until(lambda: not leaves_nothing.are_alive([worker]), "the worker has ended", _PATIENCE)
    os.kill(child, signal.SIGKILL)  # in a session of its own, and with nobody left who knows of it
    assert leaves_nothing.wait_until_alone() == {}
