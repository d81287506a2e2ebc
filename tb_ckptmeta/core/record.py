"""Records: which builder made the checkpoints of a directory, written beside them. Runs anywhere."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import land_bytes

FILE_NAME = "ckptmeta.json"
MAX_BYTES = 1 << 20
"""A record larger than this is refused: a logdir is not trusted."""


@dataclass(frozen=True)
class RecordedPairing:
    """One entry of a record: a glob on checkpoint names of its directory, and the builder that made them."""

    checkpoints: str
    builder: str
    arguments: Mapping[str, Scalar]


def record(
    directory: str | os.PathLike[str],
    builder: str,
    /,
    *,
    checkpoints: str = "*",
    arguments: Mapping[str, Scalar] | None = None,
) -> None:
    """Write into `directory` that its checkpoints are made by `builder`, for training scripts.

    Args:
        directory: where the checkpoints are written; made if it does not exist.
        builder: the name that it is registered under.
        checkpoints: a glob on the names of the checkpoints; an entry of the same glob is replaced.
        arguments: the builder's arguments, JSON scalars by name.

    Raises:
        CkptMetaError: INVALID_RECORD where a value does not fit, or the file that is there is no record;
            OUTPUT_UNWRITABLE.
    """
    path = Path(directory) / FILE_NAME
    new = check_record(directory, builder, checkpoints, arguments)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = parse_record(path.read_bytes(), str(path)) if path.exists() else ()
    except OSError as error:
        raise CkptMetaError(
            Code.OUTPUT_UNWRITABLE, f"The record {path} cannot be written: {error.strerror or error}."
        ) from error
    kept = [p for p in old if p.checkpoints != new.checkpoints]
    document = {
        "pairings": [
            {"checkpoints": p.checkpoints, "builder": p.builder, "arguments": dict(p.arguments)} for p in [*kept, new]
        ]
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    land_bytes(text.encode("utf-8"), path, overwrite=True)


def check_record(
    directory: str | os.PathLike[str], builder: str, checkpoints: str, arguments: Mapping[str, Scalar] | None
) -> RecordedPairing:
    """Return what `record` would add, without writing anything.

    Raises:
        CkptMetaError: INVALID_RECORD.
    """
    entry = {"checkpoints": checkpoints, "builder": builder, "arguments": dict(arguments or {})}
    return _parse_entry(entry, str(Path(directory) / FILE_NAME), 0)


def parse_record(content: bytes, where: str) -> tuple[RecordedPairing, ...]:
    """Read the bytes of a record; `where` names the file in errors.

    Raises:
        CkptMetaError: INVALID_RECORD, naming the first place that does not fit.
    """
    if len(content) > MAX_BYTES:
        raise _invalid(where, f"is larger than {MAX_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _invalid(where, f"is no JSON: {error}") from None
    entries = document.get("pairings") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise _invalid(where, 'has no list "pairings"')
    return tuple(_parse_entry(entry, where, index) for index, entry in enumerate(entries))


def _parse_entry(entry: Any, where: str, index: int) -> RecordedPairing:
    at = f"pairings[{index}]"
    if not isinstance(entry, dict):
        raise _invalid(where, f"{at} is no object")
    glob = entry.get("checkpoints", "*")
    builder = entry.get("builder")
    arguments = entry.get("arguments", {})
    if not isinstance(glob, str) or not glob or ".." in glob.split("/"):
        raise _invalid(where, f"{at}.checkpoints is no glob on this directory's checkpoints")
    if not isinstance(builder, str) or not builder:
        raise _invalid(where, f"{at}.builder is no name")
    if not isinstance(arguments, dict):
        raise _invalid(where, f"{at}.arguments is no object")
    for name, value in arguments.items():
        finite = not isinstance(value, float) or math.isfinite(value)  # Python reads and writes NaN, JSON has none
        if not isinstance(name, str) or not (value is None or isinstance(value, (bool, int, float, str))) or not finite:
            raise _invalid(where, f"{at}.arguments.{name} is no JSON scalar")
    return RecordedPairing(glob, builder, arguments)


def _invalid(where: str, what: str) -> CkptMetaError:
    return CkptMetaError(Code.INVALID_RECORD, f"The record {where} {what}.")
