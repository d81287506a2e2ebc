"""What of a batch is done again: what has changed, what has gone, what failed; and what an export may replace."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import batch
from tb_ckptmeta.engine.batch_plan import Item, Task, plan
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import carry_out
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

CODE = Path(__file__).with_name("batch_builders.py")


@pytest.fixture(scope="module")
def place(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `code`, and the logdir `runs`: two checkpoints that match, one that does not, and one without."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "code").mkdir()
    shutil.copy(CODE, folder / "code")
    (folder / "code" / "batch_units.py").write_text("UNITS = 128\n", encoding="utf-8")
    for run, step in (("mlp", 10), ("mlp", 20), ("wide", 10), ("alien", 10)):
        (folder / "runs" / run).mkdir(parents=True, exist_ok=True)
        for path in demo_runs.glob(f"mlp/ckpt-{step}.*"):
            shutil.copy(path, folder / "runs" / run)
    return folder


@pytest.fixture(scope="module")
def workspace(place: Path) -> Iterator[Workspace]:
    with open_workspace(str(place / "runs"), builders=[str(place / "code" / CODE.name)]) as workspace:
        yield workspace


def begin(workspace: Workspace, results: Results, task: Task, *, overwrite: bool = False) -> list[Item]:
    builders = workspace.registry.read()
    items = plan(workspace.list_checkpoints(builders), builders, task)
    return batch.begin(results, items, task, overwrite=overwrite)


def run(workspace: Workspace, path: Path, task: Task, *, overwrite: bool = False) -> list[str]:
    """Run a batch to its end, one after the other; return what was done."""
    with Results(path, exports=task.folder is not None) as results:
        left = begin(workspace, results, task, overwrite=overwrite)
        for item in left:
            results.append(carry_out(workspace, task, item))
        batch.end(results, task)
    return sorted(item.title for item in left)


def read(path: Path) -> dict[str, Any]:
    lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    found = {f"{line['run']}/{line['name']}": line for line in lines}
    assert len(found) == len(lines)
    return found


ALL = ["alien/ckpt-10", "mlp/ckpt-10", "mlp/ckpt-20", "wide/ckpt-10"]


def test_what_has_changed_is_done_again_and_nothing_else(workspace: Workspace, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    assert run(workspace, path, Task()) == ALL
    # No builder: there may be one by now.
    assert run(workspace, path, Task()) == ["alien/ckpt-10"]
    os.utime(place / "runs/mlp/ckpt-20.index", (10**9, 10**9))
    os.utime(place / "runs/mlp/ckpt-20.data-00000-of-00001", (10**9, 10**9))
    assert run(workspace, path, Task()) == ["alien/ckpt-10", "mlp/ckpt-20"]
    units = place / "code" / "batch_units.py"
    units.touch()  # the same code
    assert run(workspace, path, Task()) == ["alien/ckpt-10"]
    units.write_text("UNITS = 64  # narrower\n", encoding="utf-8")
    try:
        assert run(workspace, path, Task()) == ALL
        assert read(path)["mlp/ckpt-10"]["status"] == "mismatch"
    finally:
        units.write_text("UNITS = 128\n", encoding="utf-8")
    assert run(workspace, path, Task()) == ALL
    assert {title: line["status"] for title, line in read(path).items()} == {
        "alien/ckpt-10": "error",
        "mlp/ckpt-10": "match",
        "mlp/ckpt-20": "match",
        "wide/ckpt-10": "mismatch",
    }


def test_lines_of_other_logdirs_stay(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    run(workspace, path, Task())
    other = {**read(path)["mlp/ckpt-10"], "prefix": "/elsewhere/x", "run": "x", "fingerprint": "another"}
    path.write_text(json.dumps(other) + "\n", encoding="ascii")
    assert run(workspace, path, Task()) == ALL
    assert len(read(path)) == 5


def test_lines_that_workers_elsewhere_left_are_taken_over(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    parts = batch.find_parts(path)
    with Results(path, exports=False) as results:
        first, second, *_ = begin(workspace, results, Task())
        results.append(carry_out(workspace, Task(), first))
        for name, item in (("a", first), ("b", second)):
            parts.write(name, carry_out(workspace, Task(), item))
        batch.take_over(results, parts)
    assert sorted(read(path)) == sorted([first.title, second.title])
    assert os.listdir(tmp_path) == [path.name]


def test_export_goes_into_the_folder_and_its_line_says_where(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "mlp").mkdir(parents=True)
    (folder / "mlp" / "ckpt-20.meta").write_text("Mine.")
    task, path = Task(str(folder)), folder / "results.jsonl"
    assert run(workspace, path, task) == ALL
    lines = read(path)
    made = lines["mlp/ckpt-10"]
    assert (made["output"], made["error"], made["verdict"]["status"]) == ("mlp/ckpt-10.meta", None, "match")
    assert made["check"]["status"] == "passed"
    assert made["bytes"] == (folder / "mlp" / "ckpt-10.meta").stat().st_size
    errors = {title: line["error"] and line["error"]["code"] for title, line in lines.items()}
    assert errors == {
        "alien/ckpt-10": "no_builder",
        "mlp/ckpt-10": None,
        "mlp/ckpt-20": "output_exists",
        "wide/ckpt-10": "not_matching",
    }
    assert lines["wide/ckpt-10"]["verdict"]["status"] == "mismatch"
    assert (folder / "mlp" / "ckpt-20.meta").read_text() == "Mine."
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "mlp/ckpt-10.meta",
        "mlp/ckpt-20.meta",
        "results.jsonl",
    ]


def test_export_that_is_gone_or_left_without_its_line_is_made_again(workspace: Workspace, tmp_path: Path) -> None:
    task = Task(str(tmp_path / "out"), check=False)
    path = tmp_path / "out" / "results.jsonl"
    path.parent.mkdir()
    with Results(path, exports=True) as results:
        (item,) = [i for i in begin(workspace, results, task) if i.title == "mlp/ckpt-10"]
        carry_out(workspace, task, item)  # and a crash before its line
    made = path.parent / "mlp" / "ckpt-10.meta"
    content = made.read_bytes()
    assert run(workspace, path, task) == ALL
    assert read(path)["mlp/ckpt-10"]["error"] is None
    made.unlink()
    # A refusal would be the same again; no builder may be another matter by now.
    assert run(workspace, path, task) == ["alien/ckpt-10", "mlp/ckpt-10"]
    assert made.read_bytes() == content
    made.write_text("Mine.")
    path.unlink()
    run(workspace, path, task)
    assert (read(path)["mlp/ckpt-10"]["error"]["code"], made.read_text()) == ("output_exists", "Mine.")
    run(workspace, path, task, overwrite=True)
    assert made.read_bytes() == content
    assert sorted(os.listdir(path.parent)) == ["mlp", "results.jsonl"]


def test_export_that_fails_once_is_made_again_in_the_place_of_the_earlier_one(
    workspace: Workspace, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / "results.jsonl"
    run(workspace, path, Task(str(folder), check=False))
    task = Task(str(folder), check=False, allow_partial=True)  # which is done again
    failure = {"code": "builder_timeout", "message": "It took too long.", "details": ""}
    with Results(path, exports=True) as results:
        for item in begin(workspace, results, task):
            line = carry_out(workspace, task, item)
            results.append({**line, "output": None, "error": failure} if item.title == "mlp/ckpt-10" else line)
        batch.end(results, task)
    assert "mlp/ckpt-10" in run(workspace, path, task)
    assert read(path)["mlp/ckpt-10"]["error"] is None
    assert sorted(os.listdir(folder)) == ["mlp", "results.jsonl"]


def test_lines_stay_where_the_builders_can_not_be_read_this_time(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    run(workspace, path, Task())
    before = path.read_bytes()
    with open_workspace(str(workspace.logdirs[0].path)) as without, Results(path, exports=False) as results:
        assert [item.title for item in begin(without, results, Task())] == ["alien/ckpt-10"]
    assert set(before.splitlines()) > set(path.read_bytes().splitlines())
    assert len(read(path)) == 3


def test_folder_that_leads_elsewhere_by_a_link_is_not_written_through(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlp").symlink_to(tmp_path / "elsewhere")
    task = Task(str(tmp_path / "out"), check=False)
    run(workspace, tmp_path / "out" / "results.jsonl", task)
    error = read(tmp_path / "out" / "results.jsonl")["mlp/ckpt-10"]["error"]
    assert error["code"] == "output_unwritable"
    assert "leads out of" in error["message"]
    assert os.listdir(tmp_path / "elsewhere") == []


def test_cancelled_item_has_no_line(workspace: Workspace, tmp_path: Path) -> None:
    cancelled, task = threading.Event(), Task(str(tmp_path), check=False)
    cancelled.set()
    builders = workspace.registry.read()
    (item,) = [i for i in plan(workspace.list_checkpoints(builders), builders, task) if i.title == "mlp/ckpt-10"]
    with pytest.raises(CkptMetaError) as ended:
        carry_out(workspace, task, item, cancelled=cancelled)
    assert ended.value.code is Code.CANCELLED
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
