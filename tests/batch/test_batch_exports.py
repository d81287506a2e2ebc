"""What a batch exports, where to, and what it replaces there."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from resuming import ALL, begin, read, run

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import batch
from tb_ckptmeta.engine.batch_plan import Task, plan
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import carry_out
from tb_ckptmeta.engine.workspace import Workspace


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
        "results.jsonl.sources",
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
    assert sorted(os.listdir(path.parent)) == ["mlp", "results.jsonl", "results.jsonl.sources"]


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
    assert sorted(os.listdir(folder)) == ["mlp", "results.jsonl", "results.jsonl.sources"]


@pytest.mark.parametrize("ending", ["gracefully", "by a crash"])
def test_file_put_where_a_batch_that_was_ended_would_have_written_is_not_replaced(
    workspace: Workspace, tmp_path: Path, ending: str
) -> None:
    task, path = Task(str(tmp_path), check=False), tmp_path / "results.jsonl"
    with Results(path, exports=True) as results:
        begin(workspace, results, task)
        if ending == "gracefully":
            batch.end(results, task)
    mine = tmp_path / "mlp" / "ckpt-20.meta"
    mine.parent.mkdir()
    mine.write_text("Mine.")
    run(workspace, path, task)
    assert (read(path)["mlp/ckpt-20"]["error"]["code"], mine.read_text()) == ("output_exists", "Mine.")
    assert read(path)["mlp/ckpt-10"]["error"] is None


@pytest.mark.parametrize(
    ("format", "name"),
    [("metagraph", "ckpt-10.meta"), ("saved_model", "ckpt-10/saved_model.pb"), ("checkpoint", "ckpt-10.index")],
)
def test_export_without_its_line_is_made_again_until_somebody_has_written_there(
    workspace: Workspace, tmp_path: Path, format: str, name: str
) -> None:
    task, path = Task(str(tmp_path / "out"), format, check=False), tmp_path / "out" / "results.jsonl"
    path.parent.mkdir()
    with Results(path, exports=True) as results:
        (item,) = [i for i in begin(workspace, results, task) if i.title == "mlp/ckpt-10"]
    for _ in range(2):  # and a crash before the line
        assert carry_out(workspace, task, item)["error"] is None
    with Results(path, exports=True) as results:
        batch.end(results, task)
    made = path.parent / "mlp" / name
    made.write_text("Mine.")
    assert carry_out(workspace, task, item)["error"]["code"] == "output_exists"
    assert made.read_text() == "Mine."


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
