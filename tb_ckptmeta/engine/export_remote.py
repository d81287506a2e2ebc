"""Export from a remote checkpoint: what needs the weights has them fetched first. Runs in the caller's process."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import Format
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.export import Exported
from tb_ckptmeta.engine.fetch import fetch
from tb_ckptmeta.engine.process import OnSteps, Step

_GRAPH_ALONE = ("metagraph", "metagraph-text")
"""The formats whose weights stay where they are."""


class Make(Protocol):
    """`engine.export.export` of all but the checkpoint, which is the remote one or a local copy of it."""

    def __call__(self, checkpoint: Checkpoint, *, on_steps: OnSteps | None, url: str) -> Exported: ...


def export_remote(
    make: Make,
    checkpoint: Checkpoint,
    contents: Contents,
    format: Format,
    folder: Path,
    *,
    check: bool,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
) -> Exported:
    """Export by `make`, from a local copy where the export, or its check, needs anything but the graph.

    Raises:
        CkptMetaError: as `engine.export.export` and `engine.fetch.fetch`.
    """
    before: list[Step] = []

    def tell_fetch(steps: list[Step]) -> None:
        before[:] = steps
        if on_steps is not None:
            on_steps(steps)

    def tell(steps: list[Step]) -> None:
        if on_steps is not None:
            on_steps([*before, *steps])

    weights = Path(tempfile.mkdtemp(prefix="fetched-", dir=folder))
    keep = False
    try:
        local = checkpoint
        if check or format.name not in _GRAPH_ALONE:
            local = fetch(checkpoint, weights, on_steps=tell_fetch, cancelled=cancelled)
            bundled = contents.format in ("object", "name")
            if bundled and read_contents(local.prefix).fingerprint != contents.fingerprint:
                message = f"Checkpoint {checkpoint.name} has changed while it was read. Ask again."
                raise CkptMetaError(Code.CHECKPOINT_MISSING, message)
        exported = make(local, on_steps=tell, url=checkpoint.prefix)
        keep = exported.linked  # its links lead to the copy, which lasts as long as they do: as `folder`
    finally:
        if not keep:
            shutil.rmtree(weights, ignore_errors=True)
    if format.name not in _GRAPH_ALONE:
        return replace(exported, linked=False)  # with the original it has nothing in common
    verdict = exported.verdict
    return replace(exported, verdict=replace(verdict, notes=[*verdict.notes, _explain(checkpoint)]))


def _explain(checkpoint: Checkpoint) -> str:
    scheme = checkpoint.prefix.partition("://")[0]
    how = (
        "TensorFlow's own Saver restores from there"
        if scheme == "gs"
        else f"TensorFlow's own Saver restores from there only with a file system for {scheme}:// (tensorflow-io)"
    )
    return f"The weights stay at {checkpoint.prefix}. {how}; a local copy of the checkpoint's files serves as well."
