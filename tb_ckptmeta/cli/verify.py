"""`tb-ckptmeta verify`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from tb_ckptmeta.cli.choose import get_bare_checkpoint, pair_bare_checkpoint, settle
from tb_ckptmeta.cli.output import Progress, clean, print_error, print_json, print_verdict
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.cli.suggest import Suggestion, suggest
from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.core.verdict import ERROR, MATCH, Verdict
from tb_ckptmeta.engine.checkpoint_file import is_folder
from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.verify import make_error_verdict
from tb_ckptmeta.engine.workspace import Workspace

# They say no, and nothing has failed.
PAIRING_CODES = (Code.NO_BUILDER, Code.AMBIGUOUS_PAIRING, Code.NOT_DETERMINED)


def verify_targets(options: argparse.Namespace) -> int:
    """Verify every checkpoint of the targets. Status 1 where one does not match, 3 where there is no verdict."""
    parse_renames(options.rename)  # before anything is waited for
    workspace = make_workspace(options)
    builders = read_builders(workspace)
    if options.builder is not None:
        builders.get(options.builder)
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    verdicts: list[Verdict] = []
    suggestions: list[Suggestion] = []
    found, all_seen = _find_checkpoints(options, builders)
    for checkpoint, pairing in found:
        title = checkpoint.name if checkpoint.run == ROOT_RUN else f"{checkpoint.run}/{checkpoint.name}"
        with Progress(title) as progress:
            verdict = _verify(workspace, builders, checkpoint, pairing, options, progress)
        verdicts.append(verdict)
        builder = builders.by_name.get(verdict.builder or "")
        parameters = builder.description.parameters if builder is not None else ()
        suggested = suggest(verdict, checkpoint.prefix, parameters, options) if options.suggest else []
        suggestions += suggested
        if not options.json:
            print_verdict(verdict, title, options.source, [p.details for p in builders.problems])
            if options.suggest and verdict.status != MATCH:
                _print_suggestions(suggested)
    if options.json:
        document: dict[str, Any] = {"verdicts": [v.as_json() for v in verdicts]}
        if options.suggest:
            document["suggestions"] = [s.as_json() for s in suggestions]
        print_json(document)
    if not all_seen or any(v.status == ERROR and not _is_pairing(v) for v in verdicts):
        return 3
    return 0 if all(v.status == MATCH for v in verdicts) else 1


def _print_suggestions(suggestions: Sequence[Suggestion]) -> None:
    if not suggestions:
        print("    suggest     nothing: no rename would bind more, and no argument is known to")
    for suggestion in suggestions:
        print(clean(f"    suggest     {suggestion.why}:"))
        print(clean(f"                {suggestion.command}"))


def _find_checkpoints(options: argparse.Namespace, builders: Builders) -> tuple[list[tuple[Checkpoint, Pairing]], bool]:
    """Return the checkpoints that are asked for with their pairings, and whether all could be looked at."""
    found: list[tuple[Checkpoint, Pairing]] = []
    all_seen = True
    for target in options.targets:
        if find_by_prefix(target) is None and is_folder(target):
            workspace = make_workspace(options, [target])
            listed = workspace.list_checkpoints(builders)
            report = workspace.scan(max_age=60.0)
            for text in (*report.problems, *report.notes):
                print_error(text)
            all_seen = all_seen and not report.problems
            if not listed:
                raise CkptMetaError(Code.NOT_FOUND, f"There is no checkpoint below {target}.")
            found += [(c, c.pairing) for c in listed]
        else:
            checkpoint = get_bare_checkpoint(target)
            found.append((checkpoint, pair_bare_checkpoint(checkpoint, builders)))
    return found, all_seen


def _verify(
    workspace: Workspace,
    builders: Builders,
    checkpoint: Checkpoint,
    pairing: Pairing,
    options: argparse.Namespace,
    progress: Progress,
) -> Verdict:
    try:
        settled = settle(workspace, builders, checkpoint, pairing, options, progress.tell)
    except CkptMetaError as error:
        if error.code is Code.INVALID_ARGUMENTS and (options.set or options.builder):
            raise
        return make_error_verdict(checkpoint.id, options.builder or pairing.builder, {}, error)
    if settled.solution is not None and settled.solution.verdict is not None:
        return settled.solution.verdict
    return workspace.verify(settled.choice, on_steps=progress.tell)


def _is_pairing(verdict: Verdict) -> bool:
    return verdict.error is not None and verdict.error.code in PAIRING_CODES
