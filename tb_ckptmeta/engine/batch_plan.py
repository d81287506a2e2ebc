"""Plan a batch: one item for each checkpoint. Runs in the caller's process; nothing is opened, nothing is run."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, Listed, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import get_format
from tb_ckptmeta.core.globs import matches
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.engine.batch_sources import ENDING
from tb_ckptmeta.engine.current import describe_installation
from tb_ckptmeta.engine.registry import Builders

RESULTS = "results.jsonl"
"""The file of an export's results, in its folder."""


@dataclass(frozen=True)
class Task:
    """What is done with every checkpoint: a verdict; or, where there is a `folder`, an export into it.

    `folder` is absolute. `copy`, `allow_partial`, `check` are those of `Workspace.export_to`, `renames` those of
    `Workspace.choose`.
    """

    folder: str | None = None
    format: str = "metagraph"
    allow_partial: bool = False
    check: bool = True
    copy: bool = False
    renames: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Task:
        return cls(**{**value, "renames": tuple(value["renames"])})


@dataclass(frozen=True)
class Item:
    """One checkpoint of a batch: plain data, which another machine can be given.

    `fingerprint`: of the checkpoint's files as they are listed, its pairing, the task, and the planner's installation;
    what the builder reads is known when it has run. `output`: where the export goes, relative to the task's folder;
    `overwrite`: whether what stands there may be replaced, whosever it is.
    """

    checkpoint: Checkpoint
    fingerprint: str
    output: str | None = None
    overwrite: bool = False

    @property
    def title(self) -> str:
        return self.checkpoint.pattern_path

    @property
    def call(self) -> str:
        """The builder call; the checkpoints of one call are one rebuild."""
        pairing = self.checkpoint.pairing
        return json.dumps([pairing.builder, pairing.arguments], sort_keys=True)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Item:
        row = value["checkpoint"]
        pairing = Pairing(**{**row["pairing"], "claims": tuple(row["pairing"]["claims"])})
        listed = None if row["listed"] is None else Listed(**row["listed"])
        checkpoint = Checkpoint(**{**row, "files": tuple(row["files"]), "pairing": pairing, "listed": listed})
        return cls(**{**value, "checkpoint": checkpoint})


def plan(
    checkpoints: Iterable[Checkpoint],
    builders: Builders,
    task: Task,
    patterns: Sequence[str] = (),
    pair: Callable[[Checkpoint], Checkpoint] = lambda checkpoint: checkpoint,
) -> list[Item]:
    """Return the items of checkpoints that match a pattern, where there are patterns, by builder call.

    A checkpoint that is listed twice, for one logdir lies in the other, is one item.

    Args:
        pair: gives each of these the pairing that was asked for.

    Raises:
        CkptMetaError: OUTPUT_EXISTS where two exports would have one place; UNKNOWN_FORMAT; as `pair`.
    """
    found: dict[str, Item] = {}
    installation = describe_installation()
    for checkpoint in checkpoints:
        if patterns and not any(matches(p, checkpoint.pattern_path) for p in patterns):
            continue
        checkpoint = pair(checkpoint)
        output = None if task.folder is None else place(checkpoint, task.format)
        item = Item(checkpoint, _take_fingerprint(checkpoint, builders, task, installation), output)
        found.setdefault(checkpoint.prefix, item)
    items = sorted(found.values(), key=lambda item: item.call)  # stable: runs and steps stay in order
    if task.folder is not None:
        _require_places(items, task.folder)
    return items


def place(checkpoint: Checkpoint, format: str) -> str:
    """Return where a checkpoint's export goes, relative to the folder: RUN/NAME.meta.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE for names that would lead out of the folder; UNKNOWN_FORMAT.
    """
    parts = [*(() if checkpoint.run == ROOT_RUN else checkpoint.run.split("/")), checkpoint.name]
    if any(part in ("", ".", "..") or "/" in part or "\0" in part for part in parts):
        raise CkptMetaError(
            Code.OUTPUT_UNWRITABLE, f"The run {checkpoint.run!r} cannot be a folder's name: nothing is exported to it."
        )
    return "/".join(parts) + get_format(format).suffix


def _require_places(items: Sequence[Item], folder: str) -> None:
    """Make sure that every export has a place of its own, and none lies within another (a SavedModel is a folder)."""
    taken = dict.fromkeys((RESULTS, RESULTS + ENDING), "the batch's own results")
    for item in items:
        assert item.output is not None
        prefix = item.checkpoint.prefix
        if item.output in taken:
            raise _clash(folder, item.output, taken[item.output], prefix)
        taken[item.output] = prefix
    for item in items:
        assert item.output is not None
        parts = item.output.split("/")
        for count in range(1, len(parts)):
            above = "/".join(parts[:count])
            if above in taken:
                raise _clash(folder, above, taken[above], item.checkpoint.prefix)


def _clash(folder: str, output: str, first: str, second: str) -> CkptMetaError:
    return CkptMetaError(
        Code.OUTPUT_EXISTS,
        f"Two exports would have one place, {folder}/{output}: {first} and {second}. Nothing was exported. Export them "
        "into folders of their own: one LOGDIR at a time, or --match GLOB.",
    )


def _take_fingerprint(checkpoint: Checkpoint, builders: Builders, task: Task, installation: str) -> str:
    pairing = checkpoint.pairing
    builder = builders.by_name.get(pairing.builder or "")
    names = [file.rpartition("/")[2] for file in checkpoint.files]
    facts = [
        installation,
        {**asdict(task), "folder": task.folder is not None},
        # A store's times are of whole seconds; its mark tells more.
        [names, checkpoint.bytes, checkpoint.modified, None if checkpoint.listed is None else checkpoint.listed.mark],
        [pairing.builder, dict(pairing.arguments)],
        None if builder is None else [builder.spec.path, builder.spec.module, *_find_folder(builder.spec)],
    ]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("ascii")).hexdigest()[:32]


def _find_folder(spec: Spec) -> list[str]:
    """Return the folder of a module that was given by its name and is found in the working directory; else nothing.

    In another folder the same name is another module. An installed one is the same everywhere.
    """
    if spec.module is None or spec.entry_point:
        return []
    place = os.path.join(spec.folder, spec.module.partition(".")[0])
    return [os.path.realpath(spec.folder)] if os.path.isdir(place) or os.path.isfile(f"{place}.py") else []
