"""Read what a checkpoint holds, and remember it while its files stay the same. Runs in the caller's process."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from tb_ckptmeta.core.checkpoint import KERAS_FORMATS, Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import FindSize, Stamp, find_file_size, stamp
from tb_ckptmeta.engine.recent import Recent
from tb_ckptmeta.engine.recognise import INCOMPLETE, UNREADABLE
from tb_ckptmeta.engine.scan import check_confined

if TYPE_CHECKING:
    from tb_ckptmeta.core.contents import Contents

# What reads a checkpoint is imported when one is read: TensorBoard waits for this module whenever it starts.

COMPLETE = "complete"
CORRUPT = "corrupt"

_STATES = {
    Code.CHECKPOINT_INCOMPLETE: INCOMPLETE,
    Code.CHECKPOINT_MISSING: INCOMPLETE,
    Code.CHECKPOINT_CORRUPT: CORRUPT,
}
# What says nothing about the files.
_OF_THIS_INSTALLATION = frozenset({Code.UNSUPPORTED_CHECKPOINT, Code.H5PY_MISSING, Code.WORKER_FAILED})
_MOST_KEPT = 256
_MOST_STATES = 1 << 15
"""Whose state is forgotten is shown as listed, and may be inspected again."""

Stamps = tuple[Stamp, ...] | str


class Inspector:
    """Reads the contents of checkpoints, each once. Safe for threads."""

    def __init__(self) -> None:
        self._kept: Recent[str, tuple[Stamps, Contents]] = Recent(_MOST_KEPT)
        self._states: Recent[str, tuple[Stamps, str | None, str, str]] = Recent(_MOST_STATES)
        self._lock = threading.Lock()

    def read(self, checkpoint: Checkpoint) -> Contents:
        """Return what the checkpoint holds.

        Raises:
            CkptMetaError: CHECKPOINT_MISSING, _INCOMPLETE, _CORRUPT, _UNREADABLE; OUTSIDE_LOGDIR;
                UNSUPPORTED_CHECKPOINT.
        """
        if checkpoint.listed is not None and _is_readable(checkpoint):
            from tb_ckptmeta.engine.scan_remote import look_at

            look = look_at(checkpoint)
            checkpoint = replace(checkpoint, listed=replace(checkpoint.listed, mark=look.mark))
            find_size = look.find_size
        else:
            find_size = find_file_size
        stamps = _stamp_files(checkpoint)
        with self._lock:
            kept = self._kept.get(checkpoint.id)
        if kept is not None and kept[0] == stamps:
            return kept[1]
        try:
            contents = _read(checkpoint, find_size)
        except CkptMetaError as error:
            if error.code is Code.CHECKPOINT_CORRUPT and _look_again(checkpoint) != stamps:
                message = f"Checkpoint {checkpoint.name} is being written: it changed while it was read. Ask again."
                raise CkptMetaError(Code.CHECKPOINT_INCOMPLETE, message, error.message) from error
            if error.code not in _OF_THIS_INSTALLATION:
                state = _STATES.get(error.code, UNREADABLE)
                with self._lock:
                    self._states[checkpoint.id] = (stamps, checkpoint.format, state, error.message)
            raise
        with self._lock:
            self._kept[checkpoint.id] = (stamps, contents)
            self._states[checkpoint.id] = (stamps, contents.format, COMPLETE, "")
        return contents

    def inspect(self, checkpoint: Checkpoint) -> Checkpoint:
        """Read a checkpoint, and return it with its format and its true state, whatever that is."""
        try:
            contents = self.read(checkpoint)
        except CkptMetaError as error:
            if error.code in _OF_THIS_INSTALLATION:
                return self.apply(checkpoint)
            return replace(checkpoint, state=_STATES.get(error.code, UNREADABLE), problem=error.message)
        return replace(checkpoint, format=contents.format, state=COMPLETE, problem="")

    def apply(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return the checkpoint with what an earlier reading has found out, if it is still so."""
        known = self._states.get(checkpoint.id)
        if known is None or known[0] != _stamp_files(checkpoint):
            return checkpoint
        return replace(checkpoint, format=known[1], state=known[2], problem=known[3])


def _is_readable(checkpoint: Checkpoint) -> bool:
    return checkpoint.state not in (INCOMPLETE, UNREADABLE)


def _read(checkpoint: Checkpoint, find_size: FindSize) -> Contents:
    if checkpoint.state == INCOMPLETE:
        raise CkptMetaError(
            Code.CHECKPOINT_INCOMPLETE, f"Checkpoint {checkpoint.name} is incomplete: {checkpoint.problem}"
        )
    if checkpoint.state == UNREADABLE:
        raise CkptMetaError(
            Code.CHECKPOINT_UNREADABLE, f"Checkpoint {checkpoint.name} cannot be read: {checkpoint.problem}"
        )
    if checkpoint.listed is None:  # else that has been made sure of by the listing
        check_confined(checkpoint)
    if checkpoint.format in KERAS_FORMATS:
        from tb_ckptmeta.engine.fetch import fetched
        from tb_ckptmeta.engine.keras_file import read_keras_contents

        # Its metadata is all over the file, and read by a C library.
        with fetched(checkpoint) as local:
            try:
                return read_keras_contents(local.prefix, checkpoint.format)
            except CkptMetaError as error:
                # Of a remote one, its copy is nothing that anybody knows.
                message = error.message.replace(local.prefix, checkpoint.prefix)
                raise CkptMetaError(error.code, message, error.details) from error
    from tb_ckptmeta.engine.bundle import read_contents

    return read_contents(checkpoint.prefix, find_size)


def _look_again(checkpoint: Checkpoint) -> Stamps | None:
    """Return the stamps of now; None where a file has gone. Those of a remote one are in its listing."""
    if checkpoint.listed is None:
        return _stamp_files(checkpoint)
    from tb_ckptmeta.engine.scan_remote import look_at

    try:
        return look_at(checkpoint).mark
    except CkptMetaError:
        return None


def _stamp_files(checkpoint: Checkpoint) -> Stamps:
    if checkpoint.listed is not None:
        return checkpoint.listed.mark
    return tuple(stamp(path) for path in checkpoint.files)
