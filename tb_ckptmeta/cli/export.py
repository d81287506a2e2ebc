"""`tb-ckptmeta export`."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from tb_ckptmeta.cli.choose import choose, get_bare_checkpoint, pair_bare_checkpoint
from tb_ckptmeta.cli.output import Progress, clean, describe_bytes, print_error, print_json, print_verdict
from tb_ckptmeta.cli.setup import make_workspace, require_no_duplicates
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import get_format
from tb_ckptmeta.core.landing import land_file, output_exists
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.export import PASSED, CheckReport


def export_checkpoint(options: argparse.Namespace) -> int:
    """Export one checkpoint. Nothing stands at the output path until the check has passed."""
    get_format(options.format)
    output = Path(options.output)
    # Said before a minute of work, and made sure of once more at its end.
    if output.is_dir():
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"{output} is a folder; give the path of a file.")
    if os.path.lexists(output) and not options.overwrite:
        raise output_exists(output)
    if not output.absolute().parent.is_dir():
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"There is no folder {output.parent} to write {output.name} into.")
    workspace = make_workspace(options)
    checkpoint = get_bare_checkpoint(options.prefix)
    if os.path.realpath(output) in map(os.path.realpath, checkpoint.files):
        message = f"{output} is a file of the checkpoint itself, and is not overwritten. Choose another output."
        raise CkptMetaError(Code.OUTPUT_EXISTS, message)
    builders = workspace.registry.read()
    require_no_duplicates(builders)
    choice = choose(workspace, builders, checkpoint, pair_bare_checkpoint(checkpoint, builders), options)
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    with (
        tempfile.TemporaryDirectory(prefix="ckptmeta-") as folder,
        Progress(f"Exporting {checkpoint.name}") as progress,
    ):
        exported = workspace.export(
            choice,
            options.format,
            Path(folder),
            allow_partial=options.allow_partial,
            check=not options.no_check,
            on_steps=progress.tell,
        )
        land_file(exported.path, output, overwrite=options.overwrite)
    size = output.stat().st_size
    if options.json:
        print_json(
            {
                "output": str(output),
                "format": options.format,
                "bytes": size,
                "verdict": exported.verdict.as_json(),
                "check": exported.check.as_json(),
            }
        )
        return 0
    print(
        clean(f"Exported {output} ({describe_bytes(size)}) from {options.prefix} by builder {choice.builder.name!r}.")
    )
    if exported.verdict.status == MATCH:
        print(f"  Verdict: {exported.verdict.summary()}.")
    else:
        print_verdict(exported.verdict, "  Verdict:")
    for note in exported.verdict.notes if exported.verdict.status == MATCH else ():
        print(clean(f"  Note: {note}"))
    print(f"  Check: {describe_check(exported.check)}")
    return 0


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
