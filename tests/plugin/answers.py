"""What answers of the plugin hold, and jobs as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from servers import Answer, TensorBoard

CHECKPOINT_KEYS = {
    "id", "run", "name", "prefix", "step", "bytes", "modified", "format", "state", "problem", "pairing",
}  # fmt: skip
PAIRING_KEYS = {"builder", "arguments", "reason", "claims"}
BUILDER_KEYS = {
    "name", "checkpoints", "keras", "graph", "source", "parameters", "documentation", "given", "notes",
}  # fmt: skip
PARAMETER_KEYS = {"name", "annotation", "required", "default", "optional", "open"}
VERDICT_KEYS = {
    "checkpoint", "builder", "arguments", "status", "variables", "bound", "missing", "unexpected", "shape_mismatches",
    "dtype_mismatches", "bookkeeping", "renames", "notes", "error", "ambiguous_renames", "renamed_status",
}  # fmt: skip
CANDIDATE_KEYS = {
    "builder", "arguments", "status", "variables", "bound", "missing", "unexpected", "reason", "error",
}  # fmt: skip
JOB_KEYS = {"id", "state", "step", "steps", "result", "error"}
CHECK_KEYS = {"status", "reference", "max_abs_difference", "tolerance", "note"}


def read_job(board: TensorBoard, id: str) -> dict[str, Any]:
    answer = board.get(f"jobs/{id}")
    assert answer.status == 200
    assert set(answer.document) == JOB_KEYS
    return answer.document


def start_job(board: TensorBoard, body: Mapping[str, Any], prefer: str = "respond-async") -> tuple[str, Answer]:
    answer = board.post("export", body, {"Prefer": prefer})
    assert answer.status == 202, answer.body
    assert set(answer.document) == {"job"}
    job = answer.document["job"]
    assert set(job) == JOB_KEYS
    return job["id"], answer
