"""The command line that would make a verdict a match."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core.arguments import Parameter
from tb_ckptmeta.core.solve import UNKNOWN
from tb_ckptmeta.core.verdict import ERROR, MATCH, Verdict


@dataclass(frozen=True)
class Suggestion:
    """What to try next: a `command`, what its verdict's `status` would be (None: that is not known), and `why`."""

    checkpoint: str
    command: str
    status: str | None
    why: str

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


def suggest(
    verdict: Verdict, prefix: str, parameters: Sequence[Parameter], options: argparse.Namespace
) -> Suggestion | None:
    """Return what would mend a verdict, or may; None where it matches, or where nothing is known to.

    That is, first, the proposed renames; else the integers among the builder's `parameters`, where shapes or the number
    of variables differ; else another builder.
    """
    if verdict.status in (MATCH, ERROR) or verdict.builder is None:
        return None
    specs = [word for spec in options.builders for word in ("--builders", spec)]
    applied = [f"{r['from']}={r['to']}" for r in verdict.renames if r["applied"]]
    proposed = [f"{r['from']}={r['to']}" for r in verdict.renames if not r["applied"]]
    given = {name: text for name, text in options.set if name not in verdict.arguments or text != UNKNOWN}
    integers = [p.name for p in parameters if p.annotation == "int"]
    status = None
    if proposed:
        status = verdict.renamed_status
        why = "these renames make it match" if status == MATCH else "these renames bind more, but not all"
    elif verdict.bound + len(verdict.shape_mismatches) and integers and not _names_alone(verdict):
        given.update(dict.fromkeys(integers, UNKNOWN))
        why = f"shapes or numbers of variables differ, and {' and '.join(integers)} may decide them"
    elif not verdict.bound:
        command = ["tb-ckptmeta", "which", prefix, *specs]
        return Suggestion(verdict.checkpoint, shlex.join(command), None, "nothing fits: another builder may")
    else:
        return None
    command = ["tb-ckptmeta", "verify", prefix, *specs, "--builder", verdict.builder]
    command += [word for name, text in given.items() for word in ("--set", f"{name}={text}")]
    command += [word for rename in (*applied, *proposed) for word in ("--rename", rename)]
    return Suggestion(verdict.checkpoint, shlex.join(command), status, why)


def _names_alone(verdict: Verdict) -> bool:
    """Tell whether only names differ: as many are missing as are left over, and no shape differs."""
    return not verdict.shape_mismatches and len(verdict.missing) == len(verdict.unexpected)
