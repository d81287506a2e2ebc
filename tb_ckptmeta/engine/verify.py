"""Take the verdict of a checkpoint and a rebuilt model. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.verdict import ERROR, Verdict


def verify(
    checkpoint: str, builder: str | None, arguments: Mapping[str, Scalar], rebuilt: Rebuilt, contents: Contents
) -> Verdict:
    """Return the verdict; `checkpoint` and `builder` name the two in it."""
    found = compare(rebuilt, contents)
    return Verdict(
        checkpoint,
        builder,
        arguments,
        found.status,
        found.variables,
        found.bound,
        found.missing,
        found.unexpected,
        found.shape_mismatches,
        found.dtype_mismatches,
        found.bookkeeping,
        (),
        found.notes,
    )


def make_error_verdict(
    checkpoint: str, builder: str | None, arguments: Mapping[str, Scalar], error: CkptMetaError
) -> Verdict:
    """Return the verdict that says why there is none."""
    return Verdict(checkpoint, builder, arguments, ERROR, error=error)
