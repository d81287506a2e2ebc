"""What a request wants to be exported, as a job makes it. Runs in TensorBoard's process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.checkpoint import ROOT_RUN
from tb_ckptmeta.core.formats import get_format
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.deliver import Download, count_bytes, open_download
from tb_ckptmeta.engine.jobs import Made, Work
from tb_ckptmeta.engine.process import OnSteps
from tb_ckptmeta.engine.workspace import Workspace

OPTIONS = {"format": (str,), "allow_partial": (bool,), "check": (bool,)}
"""The fields of a request's body, beside those that say of what."""


def make_work(workspace: Workspace, choice: Choice, body: Mapping[str, Any]) -> Work:
    """Return an export as a job's work, whose file is the export, packed where it has several.

    Raises:
        CkptMetaError: UNKNOWN_FORMAT.
    """
    format = get_format(body.get("format", "metagraph"))

    def work(folder: Path, on_steps: OnSteps | None, cancelled: threading.Event | None) -> Made:
        exported = workspace.export(
            choice,
            format.name,
            folder,
            allow_partial=body.get("allow_partial", False),
            check=body.get("check", True),
            on_steps=on_steps,
            cancelled=cancelled,
        )
        facts = {
            "inputs": dict(exported.inputs),
            "outputs": dict(exported.outputs),
            "check": exported.check.as_json(),
            "verdict": exported.verdict.as_json(),
        }

        def open_file() -> Download:
            return open_download(exported.folder, exported.format, _name_file(choice))

        return Made(count_bytes(exported.folder), open_file().filename, facts, open_file)

    return work


def _name_file(choice: Choice) -> str:
    run = "" if choice.checkpoint.run == ROOT_RUN else choice.checkpoint.run.replace("/", "-") + "-"
    return run + choice.checkpoint.name
