"""How the rebuilt variables and a checkpoint agree, in full. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.errors import CkptMetaError

MATCH = "match"
PARTIAL = "partial"
MISMATCH = "mismatch"
ERROR = "error"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """The verdict of one checkpoint and one builder; the lists are those of the JSON contract.

    `variables` counts what the graph reads, `bound` those of them that are proven to be held by the
    checkpoint with the same shape and dtype. A row of `renames` is `applied`, or proposed; `renamed_status` is what the
    status would be under the proposed ones. `ambiguous_renames`: {"from", "to": [likeliest first…], "count"}.
    """

    checkpoint: str
    builder: str | None
    arguments: Mapping[str, Scalar]
    status: str
    variables: int = 0
    bound: int = 0
    missing: Sequence[Row] = ()
    unexpected: Sequence[Row] = ()
    shape_mismatches: Sequence[Row] = ()
    dtype_mismatches: Sequence[Row] = ()
    bookkeeping: Sequence[Row] = ()
    renames: Sequence[Row] = ()
    notes: Sequence[str] = ()
    error: CkptMetaError | None = field(default=None, compare=False)
    ambiguous_renames: Sequence[Row] = ()
    renamed_status: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the `Verdict` of the JSON contract."""
        return {
            "checkpoint": self.checkpoint,
            "builder": self.builder,
            "arguments": dict(self.arguments),
            "status": self.status,
            "variables": self.variables,
            "bound": self.bound,
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "shape_mismatches": list(self.shape_mismatches),
            "dtype_mismatches": list(self.dtype_mismatches),
            "bookkeeping": list(self.bookkeeping),
            "renames": list(self.renames),
            "ambiguous_renames": list(self.ambiguous_renames),
            "renamed_status": self.renamed_status,
            "notes": list(self.notes),
            "error": None if self.error is None else self.error.as_json(),
        }

    def summary(self) -> str:
        """Return the verdict as one line for people."""
        if self.error is not None:
            return f"error: {self.error.message}"
        parts = [f"{self.bound} of {self.variables} variables bound"]
        for rows, what in (
            (self.missing, "missing"),
            (self.unexpected, "unexpected"),
            (self.shape_mismatches, "of another shape"),
            (self.dtype_mismatches, "of another dtype"),
        ):
            if rows:
                parts.append(f"{len(rows)} {what}")
        return f"{self.status}: " + ", ".join(parts)
