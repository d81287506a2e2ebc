"""Jobs over HTTP: their steps, their files, and that their workers end with them."""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from answers import (
    CHECK_KEYS,
    JOB_KEYS,
    VERDICT_KEYS,
    read_job,
    start_job,
)
from boards import CopyCheckpoint, Marked
from servers import TensorBoard, serve
from waiting import wait_until


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_job_runs_through_its_real_steps_to_its_file(demo_board: TensorBoard) -> None:
    checkpoint = demo_board.checkpoint("scoped/model.ckpt-20")
    id, started = start_job(demo_board, {"checkpoint": checkpoint["id"]}, "wait=10, Respond-Async; foo=bar")
    assert started.headers["Preference-Applied"] == "respond-async"
    # Relative, so that it leads to the job behind any prefix and proxy.
    location = urljoin("/team/tb/data/plugin/ckptmeta/export", started.headers["Location"])
    assert location == f"/team/tb/data/plugin/ckptmeta/jobs/{id}"
    early = demo_board.get(f"jobs/{id}/file")
    assert (early.status, early.error["code"]) == (404, "not_found")
    seen = set()

    def ended() -> dict[str, Any] | None:
        job = read_job(demo_board, id)
        seen.add(job["step"])
        return None if job["state"] == "running" else job

    job = wait_until(ended, "the export ends")
    assert (job["state"], job["error"], job["step"]) == ("done", None, "")
    names = [step["name"] for step in job["steps"]]
    assert seen - {""} <= set(names)
    for worker in ("rebuild", "reference", "check"):
        assert f"{worker}: importing TensorFlow" in names
    assert "reference: restoring with tf.compat.v1.train.Saver" in names
    assert all(set(s) == {"name", "seconds"} and s["seconds"] >= 0 for s in job["steps"])
    result = job["result"]
    assert set(result) == {"filename", "bytes", "inputs", "outputs", "check", "verdict"}
    assert set(result["check"]) == CHECK_KEYS
    assert set(result["verdict"]) == VERDICT_KEYS
    assert result["filename"] == "scoped-model.ckpt-20.meta"
    for _ in range(2):  # "Download again"
        file = demo_board.get(f"jobs/{id}/file")
        assert file.status == 200
        assert 'filename="scoped-model.ckpt-20.meta"' in file.headers["Content-Disposition"]
        assert file.headers["X-Content-Type-Options"] == "nosniff"
        assert len(file.body) == result["bytes"]
    # To delete what has ended changes nothing.
    assert demo_board.ask("DELETE", f"data/plugin/ckptmeta/jobs/{id}").document["state"] == "done"


def test_job_deleted_ends_its_workers(marked: Marked) -> None:
    id = marked.board.checkpoint("mlp/ckpt-30")["id"]
    job, _ = start_job(marked.board, {"checkpoint": id, "builder": "waits"})

    def find_workers() -> list[int]:
        found = [pid for name, pid in marked.marks if name == "waits"]
        return found if len(found) == 2 else []  # the rebuild's and the check's

    pids = wait_until(find_workers, "both workers run the builder")
    assert not any(map(has_ended, pids))
    building = ["rebuild: building", "reference: building with weights"]

    def find_running() -> dict[str, Any] | None:
        # The steps are told a moment after they have begun.
        found = read_job(marked.board, job)
        return found if [s["name"] for s in found["steps"] if s["seconds"] is None] == building else None

    running = wait_until(find_running, "both workers are said to build")
    assert (running["state"], running["step"]) == ("running", "reference: building with weights")
    answer = marked.board.ask("DELETE", f"data/plugin/ckptmeta/jobs/{job}")
    assert answer.status == 200
    assert set(answer.document) == JOB_KEYS
    wait_until(lambda: read_job(marked.board, job)["state"] == "cancelled", "the job is cancelled")
    wait_until(lambda: all(map(has_ended, pids)), "the workers are gone")
    assert read_job(marked.board, job)["error"]["code"] == "cancelled"
    assert marked.board.get(f"jobs/{job}/file").status == 404


def test_job_of_a_tensorboard_that_is_killed_leaves_no_worker(
    marked: Marked, copy_checkpoint: CopyCheckpoint, tmp_path: Path
) -> None:
    copy_checkpoint(Path(marked.board.checkpoint("mlp/ckpt-30")["prefix"]), tmp_path / "runs" / "mlp" / "ckpt-30")
    builders = tmp_path / "leaves_marks.py"
    shutil.copyfile(marked.builders, builders)
    arguments = ["--logdir", tmp_path / "runs", "--ckptmeta_builders", builders]
    with serve(tmp_path / "board", *arguments, dies=True) as board:
        mine = Marked(board, builders)
        body = {"checkpoint": board.checkpoint("mlp/ckpt-30")["id"], "builder": "waits", "check": False}
        start_job(board, body)
        ((_, pid),) = wait_until(lambda: mine.marks, "the worker runs the builder")
        board.process.kill()
        board.process.wait()
        wait_until(lambda: has_ended(pid), "the worker is gone")


def test_tensorboard_stopped_while_workers_run_ends_at_once_and_leaves_none(
    marked: Marked, copy_checkpoint: CopyCheckpoint, tmp_path: Path
) -> None:
    copy_checkpoint(Path(marked.board.checkpoint("mlp/ckpt-30")["prefix"]), tmp_path / "runs" / "mlp" / "ckpt-30")
    builders = tmp_path / "leaves_marks.py"
    shutil.copyfile(marked.builders, builders)
    arguments = ["--logdir", tmp_path / "runs", "--ckptmeta_builders", builders]
    with serve(tmp_path / "board", *arguments, dies=True) as board, ThreadPoolExecutor(1) as pool:
        mine = Marked(board, builders)
        body = {"checkpoint": board.checkpoint("mlp/ckpt-30")["id"], "builder": "waits"}
        run = board.post("open", body).document["run"]
        graph = pool.submit(board.graphs, "graph", run=run, tag="forward")
        start_job(board, {**body, "check": False})
        marks = wait_until(lambda: mine.marks if len(mine.marks) == 2 else [], "both workers run the builder")
        board.process.terminate()
        assert board.process.wait(20.0) == 0
        wait_until(lambda: all(has_ended(pid) for _, pid in marks), "the workers are gone")
        assert isinstance(graph.exception(), ConnectionError)
    assert "Traceback" not in board.log.read_text()


@pytest.mark.parametrize("path", ["jobs/unknown", "jobs/unknown/file", "jobs/..", "jobs/a/b", "jobs/a/file/b"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_job_unknown_is_not_found(demo_board: TensorBoard, method: str, path: str) -> None:
    answer = demo_board.ask(method, f"data/plugin/ckptmeta/{path}")
    assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_job_that_fails_says_why_and_makes_no_file(odd_board: TensorBoard) -> None:
    job, _ = start_job(odd_board, {"checkpoint": odd_board.checkpoint("bad/truncated-1")["id"], "builder": "raises"})
    wait_until(lambda: read_job(odd_board, job)["state"] != "running", "the job ends")
    ended = read_job(odd_board, job)
    assert (ended["state"], ended["result"]) == ("failed", None)
    assert ended["error"]["code"] == "checkpoint_corrupt"
    assert odd_board.get(f"jobs/{job}/file").error["code"] == "not_found"
