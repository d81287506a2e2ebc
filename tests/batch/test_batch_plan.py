"""What a batch is to do, and where its exports go; and who carries out which item."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.checkpoint import Checkpoint, Listed, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import BuilderDescription, Spec
from tb_ckptmeta.engine.batch_plan import Item, Task, place, plan
from tb_ckptmeta.engine.batch_pool import choose_workers, run_pool
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.registry import Builders, RegisteredBuilder
from tb_ckptmeta.engine.scan import Scanner

NONE = Builders()


def list_checkpoints(logdir: Path, *names: str) -> list[Checkpoint]:
    """List a logdir with these checkpoints, which are names alone."""
    for name in names:
        (logdir / name).parent.mkdir(parents=True, exist_ok=True)
        for ending in (".index", ".data-00000-of-00001"):
            (logdir / f"{name}{ending}").write_text("x")
    return Scanner([Logdir("", str(logdir))]).scan().checkpoints


def pair_all(checkpoints: list[Checkpoint], *builders: str | None) -> list[Checkpoint]:
    return [c.with_pairing(Pairing(b)) for c, b in zip(checkpoints, builders, strict=True)]


def test_checkpoints_of_one_builder_call_follow_each_other_in_their_order(tmp_path: Path) -> None:
    found = pair_all(list_checkpoints(tmp_path, "a/ckpt-2", "a/ckpt-10", "b/ckpt-1", "c/ckpt-1"), "x", "x", "y", "x")
    assert [i.title for i in plan(found, NONE, Task())] == ["a/ckpt-2", "a/ckpt-10", "c/ckpt-1", "b/ckpt-1"]


def test_pattern_chooses_by_run_and_name(tmp_path: Path) -> None:
    found = list_checkpoints(tmp_path, "a/ckpt-1", "a/b/ckpt-1", "ckpt-2")
    chosen = {p: [i.title for i in plan(found, NONE, Task(), [p])] for p in ("a/*", "**/ckpt-1", "*", "none")}
    assert chosen == {"a/*": ["a/ckpt-1"], "**/ckpt-1": ["a/ckpt-1", "a/b/ckpt-1"], "*": ["ckpt-2"], "none": []}
    assert len(plan(found, NONE, Task(), ["a/*", "*"])) == 2


def test_checkpoint_in_two_logdirs_of_which_one_lies_in_the_other_is_one_item(tmp_path: Path) -> None:
    found = list_checkpoints(tmp_path, "a/ckpt-1") + list_checkpoints(tmp_path / "a")
    assert [i.title for i in plan(found, NONE, Task())] == ["a/ckpt-1"]


def test_item_is_the_same_after_it_was_json(tmp_path: Path) -> None:
    (checkpoint,) = list_checkpoints(tmp_path, "a/ckpt-1")
    pairing = Pairing("x", {"units": 3, "rate": None}, "why", ("x", "y"))
    (item,) = plan([checkpoint.with_pairing(pairing)], NONE, Task(str(tmp_path)))
    remote = replace(item, checkpoint=replace(item.checkpoint, listed=Listed("mark", True)))
    for each in (item, remote):
        assert Item.from_json(json.loads(json.dumps(each.as_json()))) == each


def test_fingerprint_follows_the_checkpoint_the_pairing_and_the_task(tmp_path: Path) -> None:
    (checkpoint,) = list_checkpoints(tmp_path, "a/ckpt-1")

    def take(checkpoint: Checkpoint, task: Task | None = None) -> str:
        return plan([checkpoint], NONE, task or Task())[0].fingerprint

    folder = Task(str(tmp_path))
    prints = [
        take(checkpoint),
        take(replace(checkpoint, modified=checkpoint.modified + 1)),
        take(replace(checkpoint, bytes=3)),
        take(replace(checkpoint, listed=Listed("mark", False))),
        take(replace(checkpoint, listed=Listed("another", False))),
        take(checkpoint.with_pairing(Pairing("x"))),
        take(checkpoint.with_pairing(Pairing("x", {"units": 3}))),
        take(checkpoint, folder),
        take(checkpoint, replace(folder, format="frozen")),
        take(checkpoint, replace(folder, allow_partial=True)),
        take(checkpoint, replace(folder, check=False)),
    ]
    assert len(set(prints)) == len(prints)
    assert take(replace(checkpoint, prefix="/elsewhere/a/ckpt-1")) == prints[0]
    assert take(checkpoint, replace(folder, folder="/elsewhere")) == take(checkpoint, folder)


def test_fingerprint_tells_folders_apart_that_modules_are_looked_for_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkpoint,) = pair_all(list_checkpoints(tmp_path / "runs", "a/ckpt-1"), "x")
    spec = Spec("/models.py", "/models.py", None, "/")  # what it imports may be found elsewhere
    builders = Builders({"x": RegisteredBuilder(spec, BuilderDescription("x", (), None, None, "", (), ""))})

    def take(path: str, folder: str) -> str:
        monkeypatch.setenv("PYTHONPATH", path)
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        return plan([checkpoint], builders, Task())[0].fingerprint

    relative = f"/lib{os.pathsep}src"
    assert len({take(relative, "a"), take(relative, "b"), take("", "a"), take("/lib", "a")}) == 4
    assert take("/lib", "a") == take("/lib", "b")
    assert take(relative, "a") == take(f"/lib{os.pathsep}{tmp_path}/a/src", "b")


def test_fingerprint_tells_modules_of_one_name_in_several_folders_apart(tmp_path: Path) -> None:
    (checkpoint,) = pair_all(list_checkpoints(tmp_path / "runs", "a/ckpt-1"), "x")
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "models.py").touch()
    (tmp_path / "package" / "models").mkdir(parents=True)
    (tmp_path / "neither").mkdir()
    (tmp_path / "nor").mkdir()
    (tmp_path / "link").symlink_to("file")

    description = BuilderDescription("x", (), None, None, "", (), "")

    def take(folder: str, *, module: str | None = "models", entry_point: bool = False) -> str:
        path = None if module else "/models.py"
        spec = Spec("models", path, module, str(tmp_path / folder), entry_point)
        builders = Builders({"x": RegisteredBuilder(spec, description)})
        return plan([checkpoint], builders, Task())[0].fingerprint

    assert len({take("file"), take("package"), take("package", module="models.mlp"), take("neither")}) == 4
    assert take("link") == take("file")
    # Where it is not there, it is installed: then it is the same whatever the folder.
    assert take("neither") == take("nor")
    assert take("file", entry_point=True) == take("neither", entry_point=True)
    assert take("file", module=None) == take("neither", module=None)


# --- where exports go


@pytest.mark.parametrize(
    ("run", "format", "output"),
    [
        (".", "metagraph", "ckpt-1.meta"),
        ("a/b", "metagraph-text", "a/b/ckpt-1.pbtxt"),
        ("a", "saved_model", "a/ckpt-1"),
        ("a", "checkpoint", "a/ckpt-1"),
    ],
)
def test_export_goes_into_its_runs_folder(tmp_path: Path, run: str, format: str, output: str) -> None:
    (checkpoint,) = list_checkpoints(tmp_path, "ckpt-1")
    assert place(replace(checkpoint, run=run), format) == output


@pytest.mark.parametrize("run", ["..", "a/../..", "/etc", "a//b", "a/./b", "a\0b"])
def test_run_that_would_lead_out_of_the_folder_is_refused(tmp_path: Path, run: str) -> None:
    (checkpoint,) = list_checkpoints(tmp_path, "ckpt-1")
    with pytest.raises(CkptMetaError) as refused:
        place(replace(checkpoint, run=run), "metagraph")
    assert refused.value.code is Code.OUTPUT_UNWRITABLE


def test_two_exports_of_one_place_are_refused_by_name(tmp_path: Path) -> None:
    found = list_checkpoints(tmp_path / "x", "a/ckpt-1") + list_checkpoints(tmp_path / "y", "a/ckpt-1")
    with pytest.raises(CkptMetaError, match="would have one place") as refused:
        plan(found, NONE, Task("/out"))
    for text in ("/out/a/ckpt-1.meta", f"{tmp_path}/x/a/ckpt-1", f"{tmp_path}/y/a/ckpt-1", "--match"):
        assert text in refused.value.message
    assert len(plan(found, NONE, Task())) == 2


def test_export_within_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    found = list_checkpoints(tmp_path, "a", "a/ckpt-1")
    assert len(plan(found, NONE, Task("/out"))) == 2
    with pytest.raises(CkptMetaError, match="would have one place, /out/a:"):
        plan(found, NONE, Task("/out", "saved_model"))


def test_run_that_is_called_as_the_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CkptMetaError, match="the batch's own results"):
        plan(list_checkpoints(tmp_path, "results.jsonl/ckpt-1"), NONE, Task("/out"))


# --- who does it


def make_items(tmp_path: Path, **counts: int) -> list[Item]:
    names = [f"{run}/ckpt-{i}" for run, count in counts.items() for i in range(count)]
    return plan([c.with_pairing(Pairing(c.run)) for c in list_checkpoints(tmp_path, *names)], NONE, Task())


def test_every_item_is_carried_out_once_by_workers_that_begin_with_different_calls(tmp_path: Path) -> None:
    items = make_items(tmp_path, a=9, b=3)
    both = threading.Barrier(2, timeout=60)  # passed when both workers have begun
    lines: list[dict[str, Any]] = []
    first: dict[str, str] = {}

    def work(item: Item, on_steps: Any, cancelled: threading.Event) -> dict[str, Any]:
        thread = threading.current_thread().name
        if thread not in first:
            first[thread] = item.checkpoint.run
            both.wait()
        return {"title": item.title}

    run_pool(items, work, 2, lines.append, lambda item, steps: None)
    assert Counter(line["title"] for line in lines) == Counter(i.title for i in items)
    assert sorted(first.values()) == ["a", "b"]


def test_more_workers_than_calls_share_the_items_of_one(tmp_path: Path) -> None:
    both = threading.Barrier(2, timeout=60)
    lines: list[dict[str, Any]] = []

    def work(item: Item, on_steps: Any, cancelled: threading.Event) -> dict[str, Any]:
        both.wait()  # only two at a time get past it
        return {"title": item.title}

    run_pool(make_items(tmp_path, a=6), work, 2, lines.append, lambda item, steps: None)
    assert len(lines) == 6


def test_line_that_cannot_be_kept_ends_the_batch_and_what_runs(tmp_path: Path) -> None:
    begun, stopped = threading.Event(), threading.Event()

    def work(item: Item, on_steps: Any, cancelled: threading.Event) -> dict[str, Any]:
        if item.checkpoint.run == "a":
            assert begun.wait(60)
            return {}
        begun.set()
        assert cancelled.wait(60)
        stopped.set()
        raise CkptMetaError(Code.CANCELLED, "Cancelled.")

    def keep(line: dict[str, Any]) -> None:
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, "The disk is full.")

    with pytest.raises(CkptMetaError, match="disk is full"):
        run_pool(make_items(tmp_path, a=2, b=2), work, 2, keep, lambda item, steps: None)
    assert stopped.is_set()


def test_number_of_workers_is_bounded_by_memory() -> None:
    assert choose_workers() >= 1
    assert choose_workers(largest=1 << 60) == 1
