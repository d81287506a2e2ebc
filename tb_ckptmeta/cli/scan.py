"""`tb-ckptmeta scan`."""

from __future__ import annotations

import argparse
import sys

from tb_ckptmeta.cli.output import clean, describe_bytes, print_error, print_json_rows, print_table
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.checkpoint import Pairing
from tb_ckptmeta.core.checkpoint_json import encode_checkpoints
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import is_folder
from tb_ckptmeta.engine.collection import collection_paused
from tb_ckptmeta.engine.inspect import CORRUPT
from tb_ckptmeta.engine.recognise import UNREADABLE


def scan_logdir(options: argparse.Namespace) -> int:
    """List a logdir's checkpoints.

    Status 1 where a pairing is contested or broken, 3 where there is nothing, or something could not be looked at.
    """
    if not options.logdir:
        raise CkptMetaError(Code.BAD_REQUEST, "The logdir is an empty name. Is the variable set that it is from?")
    if not is_folder(options.logdir):
        raise CkptMetaError(Code.NOT_FOUND, f"There is no folder {options.logdir}.")
    workspace = make_workspace(options, [options.logdir])
    workspace.registry.read(patience=0.0)  # TensorFlow is imported while the folders are listed
    with collection_paused():  # all that is made is kept to the end, which is near
        workspace.scan()
        builders = read_builders(workspace)
        checkpoints = workspace.list_checkpoints(builders, max_age=60.0)
    if options.inspect:
        checkpoints = [workspace.inspect(c).with_pairing(c.pairing) for c in checkpoints]
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    report = workspace.scan(max_age=60.0)
    for text in (*report.problems, *report.notes):
        print_error(text)
    if options.json:
        print_json_rows("checkpoints", encode_checkpoints(checkpoints))
    elif checkpoints:
        print_table(
            ("RUN", "CHECKPOINT", "STEP", "SIZE", "FORMAT", "STATE", "BUILDER"),
            [
                (
                    c.run,
                    c.name,
                    "-" if c.step is None else str(c.step),
                    describe_bytes(c.bytes),
                    c.format or "-",
                    c.state,
                    _describe_pairing(c.pairing),
                )
                for c in checkpoints
            ],
        )
        for c in checkpoints:
            if c.problem:
                print(clean(f"{c.run}/{c.name}: {c.problem}"), file=sys.stderr)
    if not checkpoints:
        raise CkptMetaError(Code.NOT_FOUND, f"There is no checkpoint below {options.logdir}.")
    # An incomplete checkpoint is a fact, not a failure: it may just be being written.
    if builders.problems or report.problems or {c.state for c in checkpoints} & {UNREADABLE, CORRUPT}:
        return 3
    return 1 if any(c.pairing.builder is None and c.pairing.claims for c in checkpoints) else 0


def _describe_pairing(pairing: Pairing) -> str:
    if pairing.builder is None:
        return f"- ({pairing.reason})"
    arguments = " ".join(f"{name}={value}" for name, value in pairing.arguments.items())
    return f"{pairing.builder} ({pairing.reason}{': ' if arguments else ''}{arguments})"
