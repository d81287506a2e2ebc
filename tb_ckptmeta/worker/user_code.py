"""Run user code, and turn whatever it does into one clear error. Runs in the worker."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

import tb_ckptmeta
from tb_ckptmeta.core.errors import CkptMetaError, Code

Result = TypeVar("Result")

_OURS = os.path.dirname(os.path.abspath(tb_ckptmeta.__file__)) + os.sep
_MOST_FRAMES = 30


def run_user_code(what: str, code: Code, function: Callable[[], Result]) -> Result:
    """Call `function`, which runs user code; `what` names it in errors: "Builder 'mlp'".

    Raises:
        CkptMetaError: `code` with the user's own traceback where it raises; BUILDER_EXITED where it calls
            `sys.exit`. An error of ours passes.
    """
    try:
        return function()
    except CkptMetaError:
        raise
    except SystemExit as error:
        raise CkptMetaError(
            Code.BUILDER_EXITED,
            f"{what} called sys.exit({error.code!r}); a builder returns a model and leaves the process alone.",
            format_user_traceback(error),
        ) from error
    except BaseException as error:
        first = _first_line(error)
        raise CkptMetaError(code, f"{what} raised {first}", format_user_traceback(error)) from error


def format_user_traceback(error: BaseException) -> str:
    """Return the traceback as the user would have seen it: without our frames, the middle of long ones cut."""
    lines = traceback.format_exception(type(error), error, _skip_ours(error.__traceback__))
    heads = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    if len(heads) > _MOST_FRAMES:
        first, last = heads[_MOST_FRAMES // 2], heads[-_MOST_FRAMES // 2]
        left_out = f"  [... {len(heads) - _MOST_FRAMES} frames left out ...]\n"
        lines = [*lines[:first], left_out, *lines[last:]]
    return "".join(lines).rstrip()


def _skip_ours(tb: TracebackType | None) -> TracebackType | None:
    """Drop our frames wherever they stand, and those of the import system between us and the user."""
    if tb is None:
        return None
    rest = _skip_ours(tb.tb_next)
    name = tb.tb_frame.f_code.co_filename
    if name.startswith((_OURS, "<frozen importlib")):
        return rest
    return TracebackType(rest, tb.tb_frame, tb.tb_lasti, tb.tb_lineno)


def _first_line(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
