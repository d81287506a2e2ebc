"""What a request wants to be compared, and the answer as a job makes it. Runs in TensorBoard's process."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import find_file_size
from tb_ckptmeta.engine.deliver import Download
from tb_ckptmeta.engine.diff import Metagraph, Subject, describe_subject
from tb_ckptmeta.engine.jobs import Made, Work
from tb_ckptmeta.engine.process import OnSteps
from tb_ckptmeta.engine.scan import check_confined
from tb_ckptmeta.engine.workspace import Workspace
from tb_ckptmeta.plugin.http import check_fields

FIELDS = {"a": (dict,), "b": (dict,), "values": (bool,)}
_SIDE = {"checkpoint": (str,), "metagraph": (str,), "builder": (str,), "arguments": (dict,)}
_KINDS = ("checkpoint", "metagraph", "builder")


def read_subject(workspace: Workspace, body: Mapping[str, Any], name: str) -> Subject:
    """Return one side of a request: {"checkpoint": ID}, {"metagraph": ID} or {"builder": NAME, "arguments"?: {…}}.

    A `.meta` is named by the checkpoint beside which it lies: no request names a path.

    Raises:
        CkptMetaError: BAD_REQUEST; UNKNOWN_CHECKPOINT, UNKNOWN_BUILDER, INVALID_ARGUMENTS; CHECKPOINT_MISSING where
            there is no `.meta`, OUTSIDE_LOGDIR where it is a link that leads there.
    """
    side = check_fields(body[name], _SIDE, ())
    given = [kind for kind in _KINDS if kind in side]
    if len(given) != 1 or ("arguments" in side and "builder" not in side):
        raise CkptMetaError(
            Code.BAD_REQUEST,
            f"The body does not fit: {name!r} must be one of "
            '{"checkpoint": ID}, {"metagraph": ID} and {"builder": NAME, "arguments": {…}}.',
        )
    if "builder" in side:
        return workspace.call(side["builder"], side.get("arguments", {}))
    checkpoint = workspace.get_checkpoint(side[given[0]])
    if "checkpoint" in side:
        return checkpoint
    path = os.path.join(os.path.dirname(checkpoint.prefix), f"{checkpoint.name}.meta")
    check_confined(checkpoint)
    if find_file_size(path) is None:
        raise CkptMetaError(Code.CHECKPOINT_MISSING, f"There is no {checkpoint.name}.meta beside the checkpoint.")
    return Metagraph(path, f"{describe_subject(checkpoint)}.meta", checkpoint.id)


def make_work(workspace: Workspace, a: Subject, b: Subject, values: bool) -> Work:
    """Return a comparison as a job's work, whose file is the diff as JSON."""

    def work(folder: Path, on_steps: OnSteps | None, cancelled: threading.Event | None) -> Made:
        document = workspace.diff(a, b, values=values, on_steps=on_steps, cancelled=cancelled).as_json()
        content = json.dumps(document, allow_nan=False).encode("ascii")
        filename = f"{_name_file(a)}-{_name_file(b)}.json"

        def open_file() -> Download:
            return Download(filename, "application/json", len(content), iter([content]))

        return Made(len(content), filename, {"diff": document}, open_file)

    return work


def _name_file(subject: Subject) -> str:
    return describe_subject(subject).replace("/", "-")
