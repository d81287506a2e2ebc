"""The one error of the package and its codes. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Code(str, Enum):
    """Why something could not be done. The values are part of the HTTP and JSON contract."""

    # What was asked for
    BAD_REQUEST = "bad_request"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    FORBIDDEN_HOST = "forbidden_host"
    FORBIDDEN_ORIGIN = "forbidden_origin"
    UNKNOWN_CHECKPOINT = "unknown_checkpoint"
    UNKNOWN_BUILDER = "unknown_builder"
    NO_BUILDER = "no_builder"
    AMBIGUOUS_PAIRING = "ambiguous_pairing"
    DUPLICATE_BUILDER = "duplicate_builder"
    INVALID_ARGUMENTS = "invalid_arguments"
    NOT_DETERMINED = "not_determined"
    INVALID_RECORD = "invalid_record"
    UNKNOWN_FORMAT = "unknown_format"
    OUTPUT_EXISTS = "output_exists"
    OUTPUT_UNWRITABLE = "output_unwritable"

    # The checkpoint
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_INCOMPLETE = "checkpoint_incomplete"
    CHECKPOINT_CORRUPT = "checkpoint_corrupt"
    CHECKPOINT_UNREADABLE = "checkpoint_unreadable"
    OUTSIDE_LOGDIR = "outside_logdir"
    UNSUPPORTED_CHECKPOINT = "unsupported_checkpoint"

    # What lies beside it
    SOURCE_MISSING = "source_missing"
    SOURCE_UNREADABLE = "source_unreadable"
    SOURCE_REFUSED = "source_refused"

    # The user's code
    MODULE_FAILED = "module_failed"
    INVALID_BUILDER = "invalid_builder"
    BUILDER_FAILED = "builder_failed"
    BUILDER_EXITED = "builder_exited"
    BUILDER_TIMEOUT = "builder_timeout"
    BUILDER_OUT_OF_MEMORY = "builder_out_of_memory"
    BUILDER_CRASHED = "builder_crashed"
    BUILDER_RETURNED = "builder_returned"
    INPUTS_NEEDED = "inputs_needed"
    TRACE_FAILED = "trace_failed"
    UNSUPPORTED_MODEL = "unsupported_model"

    # The export
    NOT_MATCHING = "not_matching"
    CHECK_FAILED = "check_failed"
    FORMAT_LIMIT = "format_limit"

    # The installation
    TENSORFLOW_MISSING = "tensorflow_missing"
    KERAS_MISSING = "keras_missing"
    H5PY_MISSING = "h5py_missing"
    ONNX_MISSING = "onnx_missing"
    BEAM_MISSING = "beam_missing"
    PRIVATE_API_MOVED = "private_api_moved"
    BUSY = "busy"
    CANCELLED = "cancelled"
    WORKER_FAILED = "worker_failed"


class CkptMetaError(Exception):
    """Something that could not be done: a code for programs, a sentence for people, and details.

    `details` is plain text of any length: a user's own traceback, a list of names. It may be empty.
    """

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code.value, "message": self.message, "details": self.details}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CkptMetaError:
        return cls(Code(value["code"]), str(value["message"]), str(value.get("details") or ""))
