"""Run user code, and turn whatever it does into one clear error. Runs in the worker."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import tb_ckptmeta
from tb_ckptmeta.core.errors import CkptMetaError, Code

Result = TypeVar("Result")

_OURS = os.path.dirname(os.path.abspath(tb_ckptmeta.__file__)) + os.sep
_MOST_FRAMES = 30
_PLACES = ("Detected at node", "File ", "<stack traces", "[[", "Arguments received")


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
        raise CkptMetaError(code, f"{what} raised {describe_error(error)}", format_user_traceback(error)) from error


@contextlib.contextmanager
def name_in_errors(what: str, name: str) -> Iterator[None]:
    """Begin the message of an error that does not say `name` with `what`."""
    try:
        yield
    except CkptMetaError as error:
        if repr(name) in error.message or f'"{name}"' in error.message:
            raise
        raise CkptMetaError(error.code, f"{what}: {error.message}", error.details) from error


def describe_error(error: BaseException) -> str:
    """Return an exception's type and the first line of what it says, if it can say anything.

    TensorFlow's begin with a heading ("Graph execution error:") and the place; then the line that says what is added.
    """
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    except Exception:
        lines = []
    text = lines[0] if lines else ""
    if text.endswith(":"):
        told = (line for line in lines[1:] if not line.startswith(_PLACES) and not line.endswith(":"))
        text = f"{text} {next(told, '')}".strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def format_user_traceback(error: BaseException) -> str:
    """Return the traceback as the user would have seen it: without our frames, the middle of long ones cut."""
    lines = _skip_ours("".join(traceback.format_exception(error)).splitlines())
    heads = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    if len(heads) > _MOST_FRAMES:
        first, last = heads[_MOST_FRAMES // 2], heads[-_MOST_FRAMES // 2]
        left_out = f"  [... {len(heads) - _MOST_FRAMES} frames left out ...]"
        lines = [*lines[:first], left_out, *lines[last:]]
    return "\n".join(lines)


def _skip_ours(lines: Iterable[str]) -> list[str]:
    """Drop our frames wherever they stand, and those of the import system between us and the user.

    From the text: in the traceback of a cause, and in what AutoGraph makes the message of an exception, they stand too.
    """
    kept: list[str] = []
    depth: int | None = None
    for line in lines:
        text = line.lstrip()
        if text.startswith((f'File "{_OURS}', 'File "<frozen importlib')):
            depth = len(line) - len(text)
        elif depth is None or (text and len(line) - len(text) <= depth):
            depth = None
            kept.append(line)
    return kept
