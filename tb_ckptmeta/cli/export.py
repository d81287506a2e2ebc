"""`tb-ckptmeta export`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tb_ckptmeta.cli.choose import get_bare_checkpoint, pair_bare_checkpoint, settle
from tb_ckptmeta.cli.output import Progress, clean, describe_bytes, print_error, print_json, print_verdict
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import get_format
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.deliver import check_output
from tb_ckptmeta.engine.export import PASSED, CheckReport
from tb_ckptmeta.engine.remote import as_path, is_remote
from tb_ckptmeta.engine.workspace import Delivered, Workspace


def export_checkpoint(options: argparse.Namespace) -> int:
    """Export one checkpoint. Nothing stands at the output path until the check has passed."""
    delivered, maker = deliver_export(make_workspace(options), options)
    if options.json:
        print_json(make_document(delivered))
    else:
        _print(delivered, maker, options)
    return 0


def deliver_export(workspace: Workspace, options: argparse.Namespace) -> tuple[Delivered, str]:
    """Carry out what the options say, and return its outcome and the name of what made it.

    Raises:
        CkptMetaError: as `Workspace.export_to` and what comes before it.
    """
    format, output = get_format(options.format), Path(as_path(options.output))
    if is_remote(options.output):
        message = f"{options.output} is a URL: an export is written to a local path. Copy it from there."
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, message)
    if options.output == "-":
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, "An export is written to a file: '-' is no path of one.")
    checkpoint = get_bare_checkpoint(options.prefix)
    # Before the builders are read, which takes seconds.
    check_output(format, output, checkpoint, workspace.registry.specs, overwrite=options.overwrite)
    if not options.no_check:
        workspace.prepare_check()
    builders = read_builders(workspace)
    pairing = pair_bare_checkpoint(checkpoint, builders)
    with Progress(checkpoint.name) as progress:
        settled = settle(workspace, builders, checkpoint, pairing, options, progress.tell)
    if settled.solution is not None and not options.json:
        print(clean(settled.solution.reason), flush=True)  # before a minute of work
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    with Progress(f"Exporting {checkpoint.name}") as progress:
        delivered = workspace.export_to(
            settled.choice,
            format.name,
            output,
            overwrite=options.overwrite,
            copy=options.copy,
            allow_partial=options.allow_partial,
            check=not options.no_check,
            on_steps=progress.tell,
        )
    if settled.solution is not None and options.json:
        delivered = _add_note(delivered, settled.solution.note)
    return delivered, settled.choice.name


def _add_note(delivered: Delivered, note: str) -> Delivered:
    verdict = delivered.exported.verdict
    verdict = replace(verdict, notes=[*verdict.notes, note])
    return replace(delivered, exported=replace(delivered.exported, verdict=verdict))


def make_document(delivered: Delivered) -> dict[str, Any]:
    """Return the document of `--json`."""
    exported = delivered.exported
    return {
        "output": str(delivered.path),
        "format": exported.format.name,
        "bytes": delivered.size,
        "inputs": dict(exported.inputs),
        "outputs": dict(exported.outputs),
        "verdict": exported.verdict.as_json(),
        "check": exported.check.as_json(),
    }


def _print(delivered: Delivered, maker: str, options: argparse.Namespace) -> None:
    exported = delivered.exported
    by = f"builder {maker!r}" if options.source is None else f"its source {maker}"
    size = describe_bytes(delivered.size)
    print(clean(f"Exported {delivered.path} ({size}) from {options.prefix} by {by}."))
    if exported.verdict.status == MATCH:
        print(f"  Verdict: {exported.verdict.summary()}.")
    else:
        print_verdict(exported.verdict, "  Verdict:")
    for note in exported.verdict.notes if exported.verdict.status == MATCH else ():
        print(clean(f"  Note: {note}"))
    print(f"  Check: {describe_check(exported.check)}")
    # Of the others, the signature in the file says it.
    if exported.format.name == "frozen":
        print(clean(f"  Inputs: {_describe_tensors(exported.inputs)}; outputs: {_describe_tensors(exported.outputs)}."))
    if exported.linked and not options.copy:
        print(
            "  Its variables are links to the checkpoint's own files, where the file system has them (--copy copies)."
        )


def _describe_tensors(tensors: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {tensor}" for name, tensor in tensors.items()) or "none"


def describe_check(check: CheckReport) -> str:
    """Return a check's report as a sentence."""
    if check.status != PASSED:
        return check.note
    if check.max_abs_difference is None:
        text = f"outputs equal those of the model restored by {check.reference}."
    else:
        text = (
            f"max abs difference {check.max_abs_difference:.3g} (tolerated {check.tolerance:.3g}) from the model "
            f"restored by {check.reference}."
        )
    return f"{text} {check.note}".strip()
