"""The command lines that would make a verdict a match, or may."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.cli.setup import repeat_builders
from tb_ckptmeta.core.arguments import Parameter
from tb_ckptmeta.core.solve import MOST_UNKNOWN, UNKNOWN
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
) -> list[Suggestion]:
    """Return what would mend a verdict, or may, the best first; nothing where it matches, or where nothing is known to.

    That is, first, proposed renames under which it matches; else the integers among the builder's `parameters`, where
    shapes or the number of variables differ; else renames that bind more; else another builder.
    """
    if verdict.status in (MATCH, ERROR) or verdict.builder is None:
        return []
    specs = repeat_builders(options)
    applied = [f"{r['from']}={r['to']}" for r in verdict.renames if r["applied"]]
    proposed = [f"{r['from']}={r['to']}" for r in verdict.renames if not r["applied"]]
    given = {name: text for name, text in options.set if name not in verdict.arguments or text != UNKNOWN}
    integers = [p.name for p in parameters if p.annotation == "int"][:MOST_UNKNOWN]

    def verify(arguments: Mapping[str, str], renames: Sequence[str], status: str | None, why: str) -> Suggestion:
        command = ["tb-ckptmeta", "verify", prefix, *specs, "--builder", str(verdict.builder)]
        command += [word for name, text in arguments.items() for word in ("--set", f"{name}={text}")]
        command += [word for rename in renames for word in ("--rename", rename)]
        return Suggestion(verdict.checkpoint, shlex.join(command), status, why)

    renamed = [*applied, *proposed]
    if proposed and verdict.renamed_status == MATCH:
        return [verify(given, renamed, MATCH, "these renames make it match")]
    found = []
    if verdict.bound + len(verdict.shape_mismatches) and integers and not _names_alone(verdict):
        why = f"shapes or numbers of variables differ, and {' and '.join(integers)} may decide them"
        found.append(verify({**given, **dict.fromkeys(integers, UNKNOWN)}, applied, None, why))
    if proposed:
        # While the number of layers is wrong, a layer may be renamed to the place of another that is missing.
        why = f"{'else, ' if found else ''}these renames bind more, but not all"
        found.append(verify(given, renamed, verdict.renamed_status, why))
    if not found and not verdict.bound:
        command = ["tb-ckptmeta", "which", prefix, *specs]
        found.append(Suggestion(verdict.checkpoint, shlex.join(command), None, "nothing fits: another builder may"))
    return found


def _names_alone(verdict: Verdict) -> bool:
    """Tell whether only names differ: as many are missing as are left over, and no shape differs."""
    return not verdict.shape_mismatches and len(verdict.missing) == len(verdict.unexpected)
