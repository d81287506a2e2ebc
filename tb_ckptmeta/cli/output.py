"""Print for people and for programs."""

from __future__ import annotations

import json
import sys
import textwrap
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from tb_ckptmeta.core.verdict import Row, Verdict
from tb_ckptmeta.engine.process import Step

_MOST_ROWS = 20
_MOST_OBJECTS = 5


def clean(text: str) -> str:
    """Return text from a checkpoint, a path or a builder without what could steer a terminal, on one line.

    A name with a line break in it could otherwise tell a verdict of its own.
    """
    return clean_lines(text).replace("\n", "\\n")


def clean_lines(text: str) -> str:
    """Return text of several lines, such as a traceback, without what could steer a terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def print_error(message: str, details: str = "") -> None:
    """Print one clear paragraph to stderr, the details below it."""
    text = f"tb-ckptmeta: {clean(message)}"
    if details:
        text += "\n\n" + textwrap.indent(clean_lines(details), "    ")
    print(text, file=sys.stderr)


def print_json(document: Any) -> None:
    """Print one JSON document to stdout."""
    # In one piece: `json.dump` writes every bracket by itself, half a million times for ten thousand checkpoints.
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")


def print_json_rows(name: str, rows: Iterable[str]) -> None:
    """Print one JSON document to stdout, {NAME: [row…]}, a row of JSON on each line.

    Indented, ten thousand rows would take as long as finding them: Python's encoder in C cannot do that.
    """
    sys.stdout.write(f"{{{json.dumps(name)}: [\n" + ",\n".join(rows) + "\n]}\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need."""
    cells = [list(header), *([clean(c) for c in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    for row in cells:
        print("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


_KINDS = {"shape": "of another shape", "dtype": "of another dtype"}


def print_verdict(verdict: Verdict, title: str, source: str | None = None, told: Collection[str] = ()) -> None:
    """Print a verdict in full, long lists cut with their count.

    `source` made the graph where no builder did; `told`: details of errors that have been printed already.
    """
    print(clean(f"{title}  {verdict.builder or source or '-'}  {verdict.summary()}"))
    for rename in verdict.renames:
        text = f"{rename['from']} -> {rename['to']}, {rename['count']} of {rename['of']}"
        print(clean(f"    {'renamed' if rename['applied'] else 'renamed?':<10}  {text}"))
    for rivals in verdict.ambiguous_renames[:_MOST_ROWS]:
        text = f"{rivals['from']} -> {' or '.join(rivals['to'][:4])}{' or …' * (len(rivals['to']) > 4)}"
        print(clean(f"    ambiguous   {text}, {rivals['count']} of the same shapes"))
    _print_rest(verdict.ambiguous_renames)
    explained = []
    for kind, rows, describe in (
        ("missing", verdict.missing, _describe_missing),
        ("unexpected", verdict.unexpected, _describe_unexpected),
        ("shape", verdict.shape_mismatches, _describe_mismatch),
        ("dtype", verdict.dtype_mismatches, _describe_mismatch),
    ):
        open_rows = [row for row in rows if not row["explained"]]
        if len(open_rows) < len(rows):
            explained.append(f"{len(rows) - len(open_rows)} {_KINDS.get(kind, kind)}")
        for row in open_rows[:_MOST_ROWS]:
            print(clean(f"    {kind:<10}  {describe(row)}"))
        _print_rest(open_rows)
    if explained:
        print(f"    ({', '.join(explained)}: explained by these renames; --json lists them)")
    beside = Counter(str(row["beside"]) for row in verdict.bookkeeping if "beside" in row)
    if own := len(verdict.bookkeeping) - beside.total():
        print(f"    ({own} of the training's own: optimizer, counters)")
    if beside:
        print(clean(f"    ({beside.total()} saved beside the model, and not in this graph: {_count(beside)})"))
    for note in verdict.notes:
        print(clean(f"    note        {note}"))
    if verdict.error is not None and verdict.error.details and verdict.error.details not in told:
        print(textwrap.indent(clean_lines(verdict.error.details), "    "))


def _count(objects: Counter[str]) -> str:
    parts = [f"{name} {count}" for name, count in objects.most_common(_MOST_OBJECTS)]
    return ", ".join([*parts, *["…"] * (len(objects) > _MOST_OBJECTS)])


def show_key(key: str) -> str:
    """Return a checkpoint's key as people read it: without what every key of an object-based one ends in."""
    return key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")


def _describe_key(key: str, place: str) -> str:
    """Say the key where it is another name than where the variable is."""
    return f" (key: {show_key(key)})" if show_key(key) != place else ""


def _describe_missing(row: Row) -> str:
    place = f" (model: {row['path']})" if row["path"] not in (None, row["name"]) else ""
    closest = ""
    if row["closest"]:
        closest = f"; closest: {row['closest_place']}{_describe_key(row['closest'], row['closest_place'])}"
    return f"{row['name']}  {row['shape']} {row['dtype']}{place}{closest}"


def _describe_unexpected(row: Row) -> str:
    closest = f"; closest: {row['closest']}" if row["closest"] else ""
    return f"{row['place']}  {row['shape']} {row['dtype']}{_describe_key(row['key'], row['place'])}{closest}"


def _describe_mismatch(row: Row) -> str:
    key = _describe_key(row["key"], row["place"])
    return f"{row['name']} is {row['model']}, the checkpoint's {row['place']}{key} is {row['checkpoint']}"


def _print_rest(rows: Sequence[Any]) -> None:
    if len(rows) > _MOST_ROWS:
        print(f"    … and {len(rows) - _MOST_ROWS} more (--json lists all)")


def describe_bytes(count: int) -> str:
    """Return a size as people write it: 12.3 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


class Progress:
    """One line on a terminal that tells the worker's step; nothing where there is no terminal."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0

    def __enter__(self) -> Progress:
        return self

    def begin(self) -> None:
        """Tell the title alone, where there are no steps to tell."""
        self.show(self._title)

    def tell(self, steps: list[Step]) -> None:
        current = [s.name for s in steps if s.seconds is None]
        self.show(f"{self._title}: {', '.join(current)}" if current else self._title)

    def show(self, text: str) -> None:
        """Tell a text, where there is a terminal."""
        if not sys.stderr.isatty():
            return
        text = clean(text)[:100]
        sys.stderr.write("\r" + text.ljust(self._shown))
        sys.stderr.flush()
        self._shown = len(text)

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * self._shown + "\r")
            sys.stderr.flush()
