"""Carry out one item of a batch, whatever happens to it: a line of the results. Runs in the caller's process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint
from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import unwritable
from tb_ckptmeta.core.verdict import ERROR, MATCH, PARTIAL, Verdict
from tb_ckptmeta.engine.batch_claims import Claims, Files, Identity
from tb_ckptmeta.engine.batch_patience import Patience
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_withdraw import Earlier, settle_earlier
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.folders import is_within
from tb_ckptmeta.engine.process import OnSteps
from tb_ckptmeta.engine.verify import make_error_verdict
from tb_ckptmeta.engine.workspace import Delivered, Workspace

REFUSED = (Code.NOT_MATCHING, Code.CHECK_FAILED)
"""They say no, and would say so again."""

Line = dict[str, Any]
"""What is known of one checkpoint, as JSON; `sources` is what user code read for it, a `Dependencies`."""


def carry_out(
    workspace: Workspace,
    task: Task,
    item: Item,
    *,
    patience: Patience | None = None,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
) -> Line:
    """Verify or export one checkpoint and return its line. What keeps from it stands in the line.

    Args:
        patience: of the batch, which gives a builder up that hangs; without it each item waits for itself.

    Raises:
        CkptMetaError: CANCELLED, and nothing else.
    """
    began = time.monotonic()
    checkpoint = item.checkpoint
    sources: Dependencies | None = None
    delivered: Delivered | None = None
    files: Files | None = None
    error: CkptMetaError | None = None
    verdict = make_error_verdict(checkpoint.id, checkpoint.pairing.builder, checkpoint.pairing.arguments, _NOTHING)
    try:
        choice = workspace.choose(checkpoint, renames=task.renames, pairing=checkpoint.pairing)
        with nullcontext() if patience is None else patience.waiting_for(item.call):
            verdict, artifacts = workspace.take_verdict(choice, on_steps=on_steps, cancelled=cancelled)
            if artifacts is None:
                raise verdict.error or _NOTHING
            sources = artifacts.dependencies
            if task.folder is not None:
                delivered, files = _export(workspace, task, item, choice, verdict, on_steps, cancelled)
                verdict, sources = delivered.exported.verdict, delivered.exported.dependencies
    except CkptMetaError as raised:
        error = raised
    except Exception as raised:  # one checkpoint must not end the others
        error = CkptMetaError(Code.WORKER_FAILED, f"It failed with {type(raised).__name__}: {raised}.")
    if error is not None and error.code is Code.CANCELLED:
        raise error
    earlier = Earlier()
    if task.folder is not None and error is not None:
        earlier = settle_earlier(task, item, refused=error.code in REFUSED)
        error = earlier.tell(error)
    if error is not None and verdict.status == ERROR:
        verdict = make_error_verdict(checkpoint.id, verdict.builder, verdict.arguments, error)
    known = {
        "prefix": checkpoint.prefix,
        "run": checkpoint.run,
        "name": checkpoint.name,
        "fingerprint": item.fingerprint,
        "sources": None if sources is None else sources.as_json(),
        "seconds": round(time.monotonic() - began, 3),
        "summary": _sum_up(verdict, error, earlier),
    }
    if task.folder is None:
        return {**known, **verdict.as_json()}
    exported = None if delivered is None else delivered.exported
    return {
        **known,
        "output": None if delivered is None else os.path.relpath(delivered.path, task.folder),
        "format": task.format if exported is None else exported.format.name,
        "bytes": None if delivered is None else delivered.size,
        "files": None if files is None else {path: list(identity) for path, identity in files.items()},
        "verdict": verdict.as_json(),
        "check": None if exported is None else exported.check.as_json(),
        "error": None if error is None else error.as_json(),
        "earlier": earlier.state,
    }


def make_title(run: str, name: str) -> str:
    """Return what people call a checkpoint."""
    return name if run == ROOT_RUN else f"{run}/{name}"


def _sum_up(verdict: Verdict, error: CkptMetaError | None, earlier: Earlier) -> str:
    """Say in a sentence what came of a checkpoint, without its name: thousands may have the same reason."""
    if error is None or verdict.status == ERROR:
        return verdict.summary()
    if error.code is not Code.NOT_MATCHING or verdict.status == MATCH:
        return f"{verdict.status}, but not exported: {error.message}"
    hint = " (--allow-partial does)" if verdict.status == PARTIAL else ""
    return " ".join((f"{verdict.summary()}; not exported{hint}.", *earlier.describe()))


_NOTHING = CkptMetaError(Code.WORKER_FAILED, "Nothing was done.")


def _export(
    workspace: Workspace,
    task: Task,
    item: Item,
    choice: Choice,
    verdict: Verdict,
    on_steps: OnSteps | None,
    cancelled: threading.Event | None,
) -> tuple[Delivered, Files]:
    # Asked before, for an export begins with the model's weights.
    if verdict.status != MATCH and not (task.allow_partial and verdict.status == PARTIAL):
        raise _refuse(item.checkpoint, verdict)
    assert task.folder is not None
    assert item.output is not None
    output = Path(task.folder, item.output)
    if not is_within(os.path.realpath(output), os.path.realpath(task.folder)):
        message = f"{output} leads out of {task.folder} by a link. Take the link away, or choose another output."
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, message)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(output.parent, error) from error
    claims, landed = Claims(task.folder), dict[str, Identity]()

    def may_replace(taken: Sequence[Path]) -> bool:
        if not claims.cover(taken, item.checkpoint.files):
            raise _refuse_place(taken[0])
        return True

    delivered = workspace.export_to(
        choice,
        task.format,
        output,
        overwrite=item.overwrite,
        copy=task.copy,
        allow_partial=task.allow_partial,
        check=task.check,
        may_replace=may_replace,
        on_landing=lambda output, files: landed.update(claims.add(files, item.checkpoint.prefix)),
        on_steps=on_steps,
        cancelled=cancelled,
    )
    return delivered, landed


def _refuse(checkpoint: Checkpoint, verdict: Verdict) -> CkptMetaError:
    hint = " --allow-partial exports it all the same." if verdict.status == PARTIAL else ""
    return CkptMetaError(
        Code.NOT_MATCHING,
        f"Checkpoint {checkpoint.name} and builder {verdict.builder!r} do not match, and nothing was exported. "
        f"{verdict.summary()}.{hint}",
    )


def _refuse_place(path: Path) -> CkptMetaError:
    return CkptMetaError(
        Code.OUTPUT_EXISTS,
        f"{path} exists, and is not known to be what a batch has put there: it is not replaced. Move it away; or say "
        "--overwrite, which begins the whole batch anew.",
    )
