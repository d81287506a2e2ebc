"""What `tb-ckptmeta batch` takes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tb_ckptmeta.core.formats import FORMATS

BATCH = "batch "
"""How the names of its commands begin."""


def add_batch_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    """Add the arguments of `batch verify` or `batch export`."""
    exports = command == f"{BATCH}export"
    parser.usage = "%(prog)s LOGDIR… --output " + ("FOLDER" if exports else "FILE") + " [options] [-- BEAM OPTIONS]"
    parser.epilog = (
        "Options behind `--` are Apache Beam's own, and carry the batch out as a Beam pipeline (extra `beam`): "
        "-- --runner=DirectRunner --direct_num_workers=2 --direct_running_mode=multi_processing"
    )
    parser.add_argument("logdirs", metavar="LOGDIR", nargs="+", help="a folder to search, or its URL")
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER" if exports else "FILE",
        help="the folder to write RUN/NAME.meta and results.jsonl into"
        if exports
        else "the file to write, one JSON line for each checkpoint",
    )
    parser.add_argument(
        "--match",
        metavar="GLOB",
        action="append",
        default=[],
        help="only checkpoints whose RUN/NAME matches; ** is any number of folders; may be given several times",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=_count,
        help="how many worker processes may run at a time, with Beam in each of its own; default one a core, as "
        "memory allows",
    )
    resuming = parser.add_mutually_exclusive_group()
    resuming.add_argument(
        "--resume", action="store_true", help="skip what the output holds, if it has not changed since; the default"
    )
    resuming.add_argument("--overwrite", action="store_true", help="begin anew, and replace what exists")
    if exports:
        parser.add_argument(
            "--format", default="metagraph", metavar="F", help=f"{', '.join(FORMATS)}; default %(default)s"
        )
        parser.add_argument(
            "--allow-partial", action="store_true", help="export even if a checkpoint does not hold every variable"
        )
        parser.add_argument(
            "--no-check", action="store_true", help="do not compare the exports with the restored models"
        )
        parser.add_argument(
            "--copy", action="store_true", help="give a saved_model a copy of the checkpoint's files, and no links"
        )


def split_beam(argv: Sequence[str]) -> tuple[list[str], list[str] | None]:
    """Return what comes before `--`, and what comes behind it: Beam's options; None where there is none."""
    given = list(argv)
    if "--" not in given:
        return given, None
    at = given.index("--")
    return given[:at], given[at + 1 :]


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes")
    return int(text)
