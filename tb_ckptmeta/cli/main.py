"""Carry out one command and turn its outcome into an exit status."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence
from traceback import format_exc

from tb_ckptmeta.cli import arguments
from tb_ckptmeta.cli.batch import export_batch, verify_batch
from tb_ckptmeta.cli.builders import list_builders
from tb_ckptmeta.cli.demo import run_demo
from tb_ckptmeta.cli.diff import diff_sides
from tb_ckptmeta.cli.ending import describe_ending, get_ending_status, heeding_signals
from tb_ckptmeta.cli.export import export_checkpoint
from tb_ckptmeta.cli.inspect import inspect_checkpoint
from tb_ckptmeta.cli.output import print_error
from tb_ckptmeta.cli.scan import scan_logdir
from tb_ckptmeta.cli.stdout import OutputFailed, discard_output, replace_stdout
from tb_ckptmeta.cli.verify import verify_targets
from tb_ckptmeta.cli.which import rank_builders
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.system import refused_by_system

AGREES = 0
DISAGREES = 1
WRONG_USAGE = 2
FAILED = 3

# What the verdict, the check or the pairing says, and what was asked for wrongly; everything else could not be done.
_STATUSES = {
    Code.NOT_MATCHING: DISAGREES,
    Code.CHECK_FAILED: DISAGREES,
    Code.NO_BUILDER: DISAGREES,
    Code.NOT_DETERMINED: DISAGREES,
    Code.AMBIGUOUS_PAIRING: DISAGREES,
    Code.BAD_REQUEST: WRONG_USAGE,
    Code.UNKNOWN_BUILDER: WRONG_USAGE,
    Code.DUPLICATE_BUILDER: WRONG_USAGE,
    Code.INVALID_ARGUMENTS: WRONG_USAGE,
    Code.UNKNOWN_FORMAT: WRONG_USAGE,
    Code.OUTPUT_EXISTS: WRONG_USAGE,
    Code.OUTPUT_UNWRITABLE: WRONG_USAGE,
}

_COMMANDS = {
    "scan": scan_logdir,
    "verify": verify_targets,
    "export": export_checkpoint,
    "inspect": inspect_checkpoint,
    "which": rank_builders,
    "builders": list_builders,
    "diff": diff_sides,
    "batch verify": verify_batch,
    "batch export": export_batch,
    "demo": run_demo,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0 agrees, 1 disagrees, 2 wrong usage, 3 could not be done."""
    if argv is None:
        # At its end, Python would look through all that was ever made for what is garbage.
        atexit.register(gc.freeze)
        replace_stdout()
    try:
        with heeding_signals():
            try:
                return _run(list(sys.argv[1:] if argv is None else argv))
            finally:
                sys.stdout.flush()
    except CkptMetaError as error:
        print_error(error.message, error.details)
        return _STATUSES.get(error.code, FAILED)
    except KeyboardInterrupt as interrupt:
        print_error(f"{describe_ending(interrupt)}.")
        return get_ending_status(interrupt)
    except BrokenPipeError:
        # Whoever read our output has gone; nothing is left to say, not even at exit.
        discard_output()
        return FAILED
    except OutputFailed as error:
        discard_output()
        print_error(str(error))
        return FAILED
    except OSError as error:  # a full disk, say
        print_error(refused_by_system(error).message)
        return FAILED
    except Exception as error:
        # Uncaught, it would have the status of a verdict that says no.
        said = f"{type(error).__name__}: {error}"
        print_error(f"This is a defect of tb-ckptmeta ({said}); please report it with what follows.", format_exc())
        return FAILED


def _run(given: list[str]) -> int:
    """Carry out what is given; what argparse refuses ends the process."""
    if not given or given[0] in ("-h", "--help", "help"):
        print(arguments.describe_usage(), file=sys.stdout if given else sys.stderr)
        return AGREES if given else WRONG_USAGE
    if given[0] == "--version":
        from tb_ckptmeta import __version__

        print(__version__)
        return AGREES
    command, *rest = given
    if command == "batch":
        if not rest or rest[0] in ("-h", "--help"):
            print(arguments.describe_usage("batch "), file=sys.stdout if rest else sys.stderr)
            return AGREES if rest else WRONG_USAGE
        command = f"batch {rest.pop(0)}"
    if command not in _COMMANDS:
        print_error(f"There is no command {command!r}. Commands: {', '.join(_COMMANDS)}.")
        return WRONG_USAGE
    return _COMMANDS[command](arguments.parse(command, rest))
