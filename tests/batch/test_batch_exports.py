"""What a batch exports, where to, and what it replaces there."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from results import read_results
from resuming import ALL, begin, run

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import batch
from tb_ckptmeta.engine.batch_plan import Task, plan
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import carry_out
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own_runs(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """One checkpoint that is no other test's, with its builder."""
    runs = tmp_path_factory.mktemp("own")
    (runs / "mlp").mkdir()
    for path in (place / "runs" / "mlp").glob("ckpt-10.*"):
        shutil.copy(path, runs / "mlp")
    with open_workspace(str(runs), builders=[str(place / "code" / "batch_builders.py")]) as workspace:
        yield workspace


def test_export_goes_into_the_folder_and_its_line_says_where(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    (folder / "mlp").mkdir(parents=True)
    (folder / "mlp" / "ckpt-20.meta").write_text("Mine.")
    task, path = Task(str(folder)), folder / "results.jsonl"
    assert run(workspace, path, task) == ALL
    lines = read_results(path)
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
    assert read_results(path)["mlp/ckpt-10"]["error"] is None
    made.unlink()
    # A refusal would be the same again; no builder may be another matter by now.
    assert run(workspace, path, task) == ["alien/ckpt-10", "mlp/ckpt-10"]
    assert made.read_bytes() == content
    made.write_text("Mine.")
    path.unlink()
    run(workspace, path, task)
    assert (read_results(path)["mlp/ckpt-10"]["error"]["code"], made.read_text()) == ("output_exists", "Mine.")
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
    assert read_results(path)["mlp/ckpt-10"]["error"] is None
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
    assert (read_results(path)["mlp/ckpt-20"]["error"]["code"], mine.read_text()) == ("output_exists", "Mine.")
    assert read_results(path)["mlp/ckpt-10"]["error"] is None


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


@pytest.mark.parametrize(
    ("format", "name"),
    [("metagraph", "ckpt-10.meta"), ("saved_model", "ckpt-10/saved_model.pb"), ("checkpoint", "ckpt-10.index")],
)
def test_export_that_somebody_has_replaced_is_a_line_that_says_so_and_stays(
    workspace: Workspace, tmp_path: Path, format: str, name: str
) -> None:
    task, path = Task(str(tmp_path / "out"), format, check=False), tmp_path / "out" / "results.jsonl"
    path.parent.mkdir()
    run(workspace, path, task)
    made, content = path.parent / "mlp" / name, (path.parent / "mlp" / name).read_bytes()
    made.write_text("Mine.")
    stale = replace(task, allow_partial=True)
    for again, left in ((task, ["alien/ckpt-10", "mlp/ckpt-10"]), (stale, ALL), (task, ALL)):
        assert run(workspace, path, again) == left
        line = read_results(path)["mlp/ckpt-10"]
        assert (line["error"]["code"], line["output"], made.read_text()) == ("output_exists", None, "Mine.")
        assert "Move it away; or say --overwrite" in line["error"]["message"]
        assert read_results(path)["mlp/ckpt-20"]["error"] is None  # made again, in the place of the earlier one
    for file in sorted(made.parent.glob("*") if format == "saved_model" else made.parent.glob("ckpt-10*")):
        file.rename(file.with_name(f"moved-{file.name}")) if file.is_file() else shutil.rmtree(file)
    if format == "saved_model":
        shutil.rmtree(made.parent)
    assert run(workspace, path, task) == ["alien/ckpt-10", "mlp/ckpt-10"]
    assert (read_results(path)["mlp/ckpt-10"]["error"], made.read_bytes()) == (None, content)


def test_exports_that_were_copied_without_their_times_are_not_replaced(workspace: Workspace, tmp_path: Path) -> None:
    first, copy = tmp_path / "out", tmp_path / "copy"
    first.mkdir()
    run(workspace, first / "results.jsonl", Task(str(first), check=False))
    shutil.copytree(first, copy)  # with times
    path, task = copy / "results.jsonl", Task(str(copy), check=False)
    assert run(workspace, path, task) == ["alien/ckpt-10"]
    os.utime(copy / "mlp" / "ckpt-10.meta")
    before = (copy / "mlp" / "ckpt-10.meta").stat()
    assert run(workspace, path, task) == ["alien/ckpt-10", "mlp/ckpt-10"]
    assert read_results(path)["mlp/ckpt-10"]["error"]["code"] == "output_exists"
    assert (copy / "mlp" / "ckpt-10.meta").stat() == before


@pytest.mark.parametrize("files", [None, [], {}, {"a": 1}, {"a": [1]}, {"a": [1, "2"]}, {"a": [True, 1]}])
def test_line_of_an_earlier_version_holds_and_has_nothing_replaced(
    workspace: Workspace, tmp_path: Path, files: object
) -> None:
    task, path = Task(str(tmp_path), check=False), tmp_path / "results.jsonl"
    run(workspace, path, task)
    lines, made = read_results(path), tmp_path / "mlp" / "ckpt-10.meta"
    del lines["mlp/ckpt-10"]["files"]
    lines["mlp/ckpt-10"].update({} if files is None else {"files": files})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines.values()), encoding="ascii")
    assert run(workspace, path, task) == ["alien/ckpt-10"]
    made.write_text("Mine.")
    assert run(workspace, path, replace(task, allow_partial=True)) == ALL
    assert (read_results(path)["mlp/ckpt-10"]["error"]["code"], made.read_text()) == ("output_exists", "Mine.")
    assert read_results(path)["mlp/ckpt-20"]["error"] is None


def test_checkpoint_that_changes_within_an_export_of_links_is_exported_again(
    own_runs: Workspace, tmp_path: Path
) -> None:
    task, path = Task(str(tmp_path / "out"), "saved_model", check=False), tmp_path / "out" / "results.jsonl"
    path.parent.mkdir()
    assert run(own_runs, path, task) == ["mlp/ckpt-10"]
    linked = path.parent / "mlp/ckpt-10/variables/variables.index"
    original = Path(own_runs.logdirs[0].path, "mlp/ckpt-10.index")
    assert linked.samefile(original)
    os.utime(original, (10**9, 10**9))
    assert run(own_runs, path, task) == ["mlp/ckpt-10"]
    assert read_results(path)["mlp/ckpt-10"]["error"] is None
    (linked.parent.parent / "saved_model.pb").write_text("Mine.")
    os.utime(original, (10**9 + 1, 10**9))
    assert run(own_runs, path, task) == ["mlp/ckpt-10"]
    assert read_results(path)["mlp/ckpt-10"]["error"]["code"] == "output_exists"


def test_export_that_was_made_twice_is_the_batchs_own_whichever_its_line_is_of(
    own_runs: Workspace, tmp_path: Path
) -> None:
    task, path = Task(str(tmp_path), check=False), tmp_path / "results.jsonl"
    with Results(path, exports=True) as results:
        (item,) = begin(own_runs, results, task)
        first, second = [carry_out(own_runs, task, item) for _ in range(2)]  # as Beam does now and then
        assert (first["error"], second["error"]) == (None, None)
        assert first["files"] != second["files"]
        results.append(first)
        batch.end(results, task)
    assert run(own_runs, path, task) == ["mlp/ckpt-10"]
    assert read_results(path)["mlp/ckpt-10"]["error"] is None
    assert run(own_runs, path, task) == []
    assert sorted(os.listdir(tmp_path)) == ["mlp", "results.jsonl", "results.jsonl.sources"]


def test_folder_that_leads_elsewhere_by_a_link_is_not_written_through(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mlp").symlink_to(tmp_path / "elsewhere")
    task = Task(str(tmp_path / "out"), check=False)
    run(workspace, tmp_path / "out" / "results.jsonl", task)
    error = read_results(tmp_path / "out" / "results.jsonl")["mlp/ckpt-10"]["error"]
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
