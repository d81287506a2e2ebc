"""Batches that go on from the results of earlier ones, without a command."""

from __future__ import annotations

import argparse
import functools
import shutil
from pathlib import Path
from typing import Any

from tb_ckptmeta.cli.choose import pair_as_asked
from tb_ckptmeta.engine import batch
from tb_ckptmeta.engine.batch_patience import Patience
from tb_ckptmeta.engine.batch_plan import Item, Task, plan
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import carry_out
from tb_ckptmeta.engine.workspace import Workspace


def begin_all(
    workspace: Workspace, results: Results, task: Task, *, overwrite: bool = False, **asked: Any
) -> batch.Begun:
    """Begin a batch; `asked` is what `--builder` and `--set` say."""
    builders = workspace.registry.read()
    options = argparse.Namespace(**{"builder": None, "builders": ["b.py"], "set": [], **asked})
    pair = functools.partial(pair_as_asked, builders=builders, options=options)
    items = plan(workspace.list_checkpoints(builders), builders, task, pair=pair)
    return batch.begin(results, items, builders, task, overwrite=overwrite)


def begin(workspace: Workspace, results: Results, task: Task, **more: Any) -> list[Item]:
    return begin_all(workspace, results, task, **more).left


def run(workspace: Workspace, path: Path, task: Task, patience: Patience | None = None, **more: Any) -> list[str]:
    """Run a batch to its end, one after the other; return what was done."""
    with Results(path, exports=task.folder is not None) as results:
        left = begin(workspace, results, task, **more)
        for item in left:
            results.append(carry_out(workspace, task, item, patience=patience))
        batch.end(results, task)
    return sorted(item.title for item in left)


def find_left(workspace: Workspace, path: Path, task: Task, **more: Any) -> list[str]:
    """Return what a batch would do, and leave the results as they are."""
    copy = path.with_name("copy.jsonl")
    for ending in ("", ".sources"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    with Results(copy, exports=False) as results:
        return sorted(item.title for item in begin(workspace, results, task, **more))


ALL = ["alien/ckpt-10", "mlp/ckpt-10", "mlp/ckpt-20", "wide/ckpt-10"]
