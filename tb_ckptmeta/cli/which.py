"""`tb-ckptmeta which`."""

from __future__ import annotations

import argparse
import json
import shlex

from tb_ckptmeta.cli.choose import get_bare_checkpoint, pair_bare_checkpoint
from tb_ckptmeta.cli.output import Progress, clean, print_error, print_json, print_table
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.verdict import ERROR
from tb_ckptmeta.engine.which import Candidate, Ranking


def rank_builders(options: argparse.Namespace) -> int:
    """Say which builder a checkpoint belongs to. Status 1 where none or several match, 3 where every one fails."""
    workspace = make_workspace(options)
    checkpoint = get_bare_checkpoint(options.prefix)
    builders = read_builders(workspace)
    pairing = pair_bare_checkpoint(checkpoint, builders)
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    with Progress(checkpoint.name) as progress:
        ranking = workspace.rank_builders(checkpoint, pairing=pairing, on_steps=progress.tell)
    if options.json:
        print_json(ranking.as_json())
    else:
        _print(ranking, options)
    if ranking.proposed is not None:
        return 0
    return 3 if all(c.verdict.status == ERROR for c in ranking.candidates) else 1


def _print(ranking: Ranking, options: argparse.Namespace) -> None:
    print_table(
        ("BUILDER", "VERDICT", "BOUND", "MISSING", "UNEXPECTED", "OTHER SHAPE", "ARGUMENTS"),
        [_make_row(c) for c in ranking.candidates],
    )
    for candidate in ranking.candidates:
        error = candidate.verdict.error
        text = error.message if error is not None else candidate.solved
        if text and candidate is not ranking.proposed:
            print(clean(f"  {candidate.builder}: {text}"))
    print()
    print(clean(ranking.reason))
    if ranking.proposed is not None:
        print(clean(f"Go on with: {_make_command(ranking.proposed, options)}"))


def _make_row(candidate: Candidate) -> tuple[str, ...]:
    v = candidate.verdict
    arguments = ", ".join(f"{name}={_show(value)}" for name, value in v.arguments.items()) or "-"
    if v.status == ERROR:
        return candidate.builder, v.status, *("-" * 4), arguments
    different = len(v.shape_mismatches) + len(v.dtype_mismatches)
    counts = (len(v.missing), len(v.unexpected), different)
    return candidate.builder, v.status, f"{v.bound} of {v.variables}", *map(str, counts), arguments


def _make_command(proposed: Candidate, options: argparse.Namespace) -> str:
    words = ["tb-ckptmeta", "verify", options.prefix]
    for spec in options.builders:
        words += ["--builders", spec]
    words += ["--builder", proposed.builder]
    for name, value in proposed.verdict.arguments.items():
        words += ["--set", f"{name}={_show(value)}"]
    return shlex.join(words)


def _show(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)
