"""The command line that would make a verdict a match."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from typing import Any

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


def suggest(verdict: Verdict, prefix: str, options: argparse.Namespace) -> Suggestion | None:
    """Return what would mend a verdict; None where it matches, or where nothing is known to."""
    if verdict.status in (MATCH, ERROR):
        return None
    proposed = [f"{r['from']}={r['to']}" for r in verdict.renames if not r["applied"]]
    if not proposed:
        return None
    applied = [f"{r['from']}={r['to']}" for r in verdict.renames if r["applied"]]
    command = ["tb-ckptmeta", "verify", prefix]
    for spec in options.builders:
        command += ["--builders", spec]
    command += ["--builder", verdict.builder or ""]
    for name, value in options.set:
        command += ["--set", f"{name}={value}"]
    for rename in (*applied, *proposed):
        command += ["--rename", rename]
    why = "these renames make it match" if verdict.renamed_status == MATCH else "these renames bind more, but not all"
    return Suggestion(verdict.checkpoint, shlex.join(command), verdict.renamed_status, why)
