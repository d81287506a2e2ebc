"""Say that TensorFlow itself restores nothing from where a checkpoint is. Runs in the caller's process."""

from __future__ import annotations

import os
from dataclasses import replace

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.restorable import find_name_problem
from tb_ckptmeta.core.verdict import Verdict


def add_restore_note(verdict: Verdict, checkpoint: Checkpoint, contents: Contents) -> Verdict:
    """Return a verdict that says so, where it is so: a verdict reads the index itself, and finds it."""
    problem = _find_problem(checkpoint, contents)
    return replace(verdict, notes=[*verdict.notes, problem]) if problem else verdict


def require_restorable(checkpoint: Checkpoint, contents: Contents) -> None:
    """Make sure that TensorFlow can restore the checkpoint, as far as its name goes.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE.
    """
    problem = _find_problem(checkpoint, contents)
    if problem:
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, problem)


def _find_problem(checkpoint: Checkpoint, contents: Contents) -> str:
    # A remote one is restored from a copy, and a file of Keras' own is none of TensorFlow's.
    if checkpoint.listed is not None or contents.is_keras_file:
        return ""
    return find_name_problem(os.path.abspath(checkpoint.prefix).replace(os.sep, "/"))
