"""What the command line takes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import tb_ckptmeta
from tb_ckptmeta.cli.batch_arguments import BATCH, add_batch_arguments, split_beam
from tb_ckptmeta.core.formats import FORMATS
from tb_ckptmeta.core.source import TITLES
from tb_ckptmeta.engine.machine import default_memory
from tb_ckptmeta.engine.workspace import DEFAULT_SECONDS

DESCRIPTIONS = {
    "scan": "List the checkpoints of a logdir, and the builder that each is paired with.",
    "verify": "Rebuild models and compare their variables with checkpoints.",
    "export": "Export a MetaGraphDef that restores from the original checkpoint, without the model's source.",
    "inspect": "Show what a checkpoint holds, and what its graph could come from without a builder.",
    "which": "Rank the registered builders by how well they fit a checkpoint, and propose the one that matches.",
    "builders": "List the registered builders.",
    "diff": "Compare two checkpoints, two builders, or a checkpoint and a .meta.",
    "batch verify": "Verify every checkpoint of a logdir, one JSON line each; interrupted, the same command goes on.",
    "batch export": "Export every checkpoint of a logdir into a folder; interrupted, the same command goes on.",
    "demo": "Write checkpoints of three models and start TensorBoard on them.",
}

_DEMO = "ckptmeta-demo"


def make_parser(command: str) -> argparse.ArgumentParser:
    """Return the parser of one command."""
    parser = argparse.ArgumentParser(
        prog=f"tb-ckptmeta {command}", description=DESCRIPTIONS[command], allow_abbrev=False
    )
    match command:
        case "scan":
            parser.add_argument("logdir", metavar="LOGDIR", help="the folder to search")
            parser.add_argument(
                "--inspect", action="store_true", help="also read every index: format, and whether it is intact"
            )
        case "verify":
            parser.add_argument(
                "targets", metavar="LOGDIR|PREFIX", nargs="+", help="a folder to search, or a checkpoint's prefix"
            )
            _add_choice(parser)
            parser.add_argument(
                "--suggest", action="store_true", help="print the command line that would make it match, if any"
            )
        case "export":
            parser.add_argument(
                "prefix", metavar="PREFIX", help="the checkpoint, as restore takes it: runs/mlp/ckpt-1000"
            )
            _add_choice(parser)
            parser.add_argument(
                "--format", default="metagraph", metavar="F", help=f"{', '.join(FORMATS)}; default %(default)s"
            )
            parser.add_argument(
                "--output",
                required=True,
                metavar="PATH",
                help="the file to write; of a saved_model the folder, of a checkpoint the prefix",
            )
            parser.add_argument(
                "--allow-partial",
                action="store_true",
                help="export even if the checkpoint does not hold every variable",
            )
            parser.add_argument(
                "--no-check", action="store_true", help="do not compare the export with the restored model"
            )
            parser.add_argument("--overwrite", action="store_true", help="replace what exists")
            parser.add_argument(
                "--copy", action="store_true", help="give a saved_model a copy of the checkpoint's files, and no links"
            )
        case "inspect":
            parser.add_argument("prefix", metavar="PREFIX", help="the checkpoint, as restore takes it")
            parser.add_argument("--all", action="store_true", help="also what the training keeps beside the model")
            parser.add_argument("--json", action="store_true", help="print one JSON document")
            return parser
        case "which":
            parser.add_argument("prefix", metavar="PREFIX", help="the checkpoint, as restore takes it")
        case "diff":
            for name, what in (("a", "what is compared"), ("b", "with what")):
                parser.add_argument(
                    name,
                    metavar=name.upper(),
                    help=f"{what}: a checkpoint's prefix, a .meta or .pbtxt file, or builder:NAME?ARG=VALUE&ARG=VALUE",
                )
            parser.add_argument(
                "--values", action="store_true", help="also read the values of two checkpoints: how far each moved"
            )
        case "batch verify" | "batch export":
            add_batch_arguments(parser, command)
            _add_choice(parser, sources=False)
        case "demo":
            parser.add_argument(
                "directory",
                metavar="DIRECTORY",
                nargs="?",
                default=_DEMO,
                help=f"where to write; default {_DEMO}",  # %(default)s is lost where positionals and options mix
            )
            parser.add_argument("--port", default="6006", help="TensorBoard's port; default %(default)s")
            parser.add_argument(
                "--write-only", action="store_true", help="write the checkpoints and do not start TensorBoard"
            )
            return parser
    _add_builders(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def parse(command: str, argv: Sequence[str]) -> argparse.Namespace:
    """Parse one command's arguments, options and positionals in any order. Exits with status 2 on wrong usage."""
    if not command.startswith(BATCH):
        return make_parser(command).parse_intermixed_args(argv)
    own, beam = split_beam(argv)
    return argparse.Namespace(**vars(make_parser(command).parse_intermixed_args(own)), beam=beam)


def describe_usage(group: str = "") -> str:
    """Return the usage of the whole command, or of the commands that begin with `group`."""
    rows = "\n".join(f"  {name:<14}{text}" for name, text in DESCRIPTIONS.items() if name.startswith(group))
    return (
        f"usage: tb-ckptmeta {group}COMMAND …\n\ntb_ckptmeta {tb_ckptmeta.__version__}: graphs and MetaGraphs for "
        f"TensorFlow checkpoints.\n\ncommands:\n{rows}\n\ntb-ckptmeta COMMAND --help tells more."
    )


def _add_builders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--builders",
        metavar="SPEC",
        action="append",
        default=[],
        help="where builders are registered: a .py file, or a module; may be given several times",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=_positive,
        default=DEFAULT_SECONDS,
        help="how long one worker process may take; default %(default)g",
    )
    parser.add_argument(
        "--memory-limit",
        metavar="GIB",
        type=_positive,
        default=default_memory() / 2**30,
        help="how much memory one worker may take; default half of the machine's, or of its control group's",
    )


def _add_choice(parser: argparse.ArgumentParser, *, sources: bool = True) -> None:
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--builder", metavar="NAME", help="the builder to use, whatever the pairing says")
    if sources:
        which.add_argument(
            "--source",
            metavar="KIND",
            choices=sorted(TITLES),
            help=f"what to use without a builder: {', '.join(TITLES)}; a Keras configuration is deserialised in a "
            "worker",
        )
    parser.add_argument(
        "--set",
        metavar="ARG=VALUE",
        action="append",
        default=[],
        type=_assignment,
        help="an argument of the builder"
        + ("; ARG=? finds an integer from the checkpoint's shapes" if sources else ", for every checkpoint"),
    )
    parser.add_argument(
        "--rename",
        metavar="FROM=TO",
        action="append",
        default=[],
        help="what the checkpoint calls FROM is what the model calls TO, such as net=tower/model_v1; `.` is nothing: "
        ".=tower; may be given several times",
    )


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form ARG=VALUE")
    return name, value


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value
