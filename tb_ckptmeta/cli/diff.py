"""`tb-ckptmeta diff`."""

from __future__ import annotations

import argparse
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from tb_ckptmeta.cli.output import Progress, clean, print_error, print_json, print_table
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.arguments import coerce_texts
from tb_ckptmeta.core.diff import Diff
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.side import BUILDER, CHECKPOINT
from tb_ckptmeta.engine.checkpoint_file import find_file_size, is_folder
from tb_ckptmeta.engine.diff import BuilderCall, Metagraph, Subject
from tb_ckptmeta.engine.metagraph import SUFFIXES
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.workspace import Workspace

_BUILDER = "builder:"
_MOST_ROWS = 20

Row = Mapping[str, Any]


def diff_sides(options: argparse.Namespace) -> int:
    """Compare two of anything that has variables. Status 1 where something differs, 3 where that is not known."""
    workspace = make_workspace(options)
    a, b = (get_subject(workspace, text) for text in (options.a, options.b))
    with Progress(f"Comparing {options.a} and {options.b}") as progress:
        found = workspace.diff(a, b, values=options.values, on_steps=progress.tell)
    if options.json:
        print_json(found.as_json())
    else:
        print_diff(found)
    if found.differs:
        return 1
    if found.not_compared:
        print_error(f"Nothing differs, but the values of {len(found.not_compared)} variable(s) could not be compared.")
        return 3
    return 0


def get_subject(workspace: Workspace, text: str) -> Subject:
    """Return what one side of the command line names: `builder:NAME?ARG=VALUE&…`, a `.meta`, or a checkpoint.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING for what is none of these; UNKNOWN_BUILDER, INVALID_ARGUMENTS, and as the
            builders' modules fail.
    """
    if text.startswith(_BUILDER):
        return _get_call(workspace, text.removeprefix(_BUILDER))
    if text.endswith(SUFFIXES) and find_file_size(text) is not None:
        return Metagraph(text, os.path.basename(text))
    found = find_by_prefix(text)
    if found is not None:
        return found
    if is_folder(text):
        hint = (
            f"It is a folder: give a checkpoint in it, such as those that `tb-ckptmeta scan {shlex.quote(text)}` lists."
        )
    elif os.path.isfile(text):
        hint = f"It is a file, but no checkpoint's, and its name does not end in {' or '.join(SUFFIXES)}."
    else:
        hint = f"There is no {text}.index, nor a file of that name."
        if "/" not in text:
            hint += f" A builder is given as builder:{text}."
    raise CkptMetaError(Code.CHECKPOINT_MISSING, f"{text} is neither a checkpoint nor a .meta. {hint}")


def print_diff(diff: Diff) -> None:
    """Print a diff for people: what is the model's in full, of the training's own how much."""
    for name, who in (("a", diff.a), ("b", diff.b)):
        print(clean(f"{name}  {_describe(who)}"))
    print(summarize(diff))
    _print_keys("added", diff.added)
    _print_keys("removed", diff.removed)
    for label, rows in (("shape", diff.reshaped), ("dtype", diff.retyped), ("trainable", diff.trainable)):
        lines = [f"{_name(r)} is {_show(r['a'])} in a, {_show(r['b'])} in b" for r in rows if not r["bookkeeping"]]
        _print_rows(label, lines)
    for what, rows in (("operation", diff.operations), ("layer", diff.layers)):
        _print_rows(what, [f"{r[what]}  {r['a']} in a, {r['b']} in b" for r in rows])
    _print_moved([row for row in diff.moved or () if not row["bookkeeping"]])
    kept = Counter(name for name, rows in diff.lists() for row in rows if row["bookkeeping"])
    if kept:
        counts = ", ".join(f"{count} {name}" for name, count in kept.items())
        print(f"    (of the training's own, optimizer and counters: {counts}; --json lists them)")
    for note in diff.notes:
        print(clean(f"    note        {note}"))


def summarize(diff: Diff) -> str:
    """Return a diff as one line, the model's variables alone."""
    counts = [(name, sum(not row["bookkeeping"] for row in rows)) for name, rows in diff.lists()]
    parts = [f"{count} {name}" for name, count in counts if count]
    if not parts:
        nothing = "nothing differs that could be compared" if diff.not_compared else "nothing differs"
        parts = ["no variable of the model differs" if diff.differs else nothing]
    return ", ".join([*parts, f"{diff.same - diff.same_bookkeeping} the same"])


def _get_call(workspace: Workspace, text: str) -> BuilderCall:
    name, _, query = text.partition("?")
    builders = read_builders(workspace)
    if name not in builders.by_name and builders.problems:  # then that is why it is not registered
        first, *others = builders.problems
        raise CkptMetaError(first.code, " ".join(p.message for p in (first, *others)), first.details)
    builder = builders.get(name)
    try:
        texts = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        message = f"{_BUILDER}{text}: arguments are given as ?ARG=VALUE&ARG=VALUE ({error})."
        raise CkptMetaError(Code.BAD_REQUEST, message) from None
    return BuilderCall(builder, coerce_texts(name, builder.description.parameters, texts, {}))


def _describe(who: Row) -> str:
    arguments = ", ".join(f"{k}={v!r}" for k, v in (who["arguments"] or {}).items())
    name = f"{who['name']}({arguments})" if who["kind"] == BUILDER else who["path"]
    kind = f"checkpoint ({who['format']})" if who["kind"] == CHECKPOINT else who["kind"]
    return f"{name}  {kind}, {who['variables']} variables"


def _name(row: Row) -> str:
    """Return what people know a variable by: where it is in the model, else its key."""
    if row["path"] is not None:
        return str(row["path"])
    return str(row["key"]) if row.get("key_b") is None else f"{row['key']} (in b {row['key_b']})"


def _show(value: Any) -> str:
    return "of unknown shape" if value is None else str(value).replace("None", "?")


def _print_keys(label: str, rows: Sequence[Row]) -> None:
    _print_rows(label, [f"{_name(r)}  {_show(r['shape'])} {r['dtype']}" for r in rows if not r["bookkeeping"]])


def _print_rows(label: str, lines: Sequence[str]) -> None:
    for line in lines[:_MOST_ROWS]:
        print(clean(f"    {label:<12}{line}"))
    if len(lines) > _MOST_ROWS:
        print(f"    … and {len(lines) - _MOST_ROWS} more {label} (--json lists all)")


def _print_moved(rows: Sequence[Row]) -> None:
    if not rows:
        return
    print_table(
        ("RELATIVE L2", "MAX ABS", "NAN a/b", "INF a/b", "MOVED"),
        [
            (
                "-" if row["relative_l2"] is None else f"{row['relative_l2']:.3g}",
                "-" if row["max_abs"] is None else f"{row['max_abs']:.3g}",
                f"{row['nan']['a']}/{row['nan']['b']}",
                f"{row['inf']['a']}/{row['inf']['b']}",
                _name(row),
            )
            for row in rows[:_MOST_ROWS]
        ],
    )
    if len(rows) > _MOST_ROWS:
        print(f"    … and {len(rows) - _MOST_ROWS} more moved (--json lists all)")
