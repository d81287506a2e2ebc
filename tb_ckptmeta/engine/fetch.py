"""Bring a remote checkpoint's files here, where something needs the weights. Runs in the caller's process."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import unreadable_error
from tb_ckptmeta.engine.process import OnSteps, Step
from tb_ckptmeta.engine.remote import read_range
from tb_ckptmeta.engine.scan_remote import look_at
from tb_ckptmeta.engine.temporary import temporary_folder

_CHUNK = 8 << 20
_AT_ONCE = 4
_SPARE = 64 << 20
"""How much of a disk is left free."""


@contextmanager
def fetched(
    checkpoint: Checkpoint,
    parent: Path | None = None,
    *,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
) -> Iterator[Checkpoint]:
    """Give a local copy of a checkpoint while the context is open; one that is local already is given as it is.

    It lies in a folder of its own, in `parent` or where temporary files do.

    Raises:
        CkptMetaError: as `fetch`.
    """
    if checkpoint.listed is None:
        yield checkpoint
        return
    with temporary_folder(parent) as folder:
        yield fetch(checkpoint, folder, on_steps=on_steps, cancelled=cancelled)


def fetch(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
) -> Checkpoint:
    """Copy the files of a remote checkpoint into `folder`, and return the checkpoint that they are there.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE where there is no room, or the disk refuses; CHECKPOINT_MISSING where it
            changes meanwhile; CHECKPOINT_INCOMPLETE, CHECKPOINT_UNREADABLE, OUTSIDE_LOGDIR; CANCELLED.
    """
    before = look_at(checkpoint)
    sizes = {url: before.find_size(url) or 0 for url in checkpoint.files}
    total = sum(sizes.values())
    _require_room(checkpoint, folder, total)
    began, step = time.monotonic(), f"fetching {total:,} bytes"
    if on_steps is not None:
        on_steps([Step(step, None)])
    local = {url: folder / url.rpartition("/")[2] for url in checkpoint.files}
    try:
        for url, path in local.items():
            with path.open("wb") as file:
                file.truncate(sizes[url])
        chunks = [(url, at, min(at + _CHUNK, size)) for url, size in sizes.items() for at in range(0, size, _CHUNK)]
        stop = threading.Event()
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ckptmeta-fetch") as pool:
            futures = [pool.submit(_copy, *chunk, local[chunk[0]], (stop, cancelled)) for chunk in chunks]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                stop.set()
    except OSError as error:
        message = f"{folder} cannot take the {total:,} bytes of checkpoint {checkpoint.name}: "
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"{message}{error.strerror or error}.") from error
    if look_at(checkpoint).mark != before.mark:
        message = f"Checkpoint {checkpoint.name} has changed while it was fetched. Ask again."
        raise CkptMetaError(Code.CHECKPOINT_MISSING, message)
    if on_steps is not None:
        on_steps([Step(step, time.monotonic() - began)])
    return replace(
        checkpoint,
        prefix=str(folder / checkpoint.prefix.rpartition("/")[2]),
        root=os.path.realpath(folder),
        files=tuple(map(str, local.values())),
        listed=None,
    )


def _copy(url: str, start: int, end: int, path: Path, stops: tuple[threading.Event | None, ...]) -> None:
    if any(stop is not None and stop.is_set() for stop in stops):
        raise CkptMetaError(Code.CANCELLED, "Cancelled.")
    try:
        data = read_range(url, start, end)
    except FileNotFoundError:
        message = f"{url} has gone while it was fetched. Scan again (reload)."
        raise CkptMetaError(Code.CHECKPOINT_MISSING, message) from None
    except OSError as error:
        raise unreadable_error(url, error) from None
    if len(data) != end - start:
        raise CkptMetaError(Code.CHECKPOINT_MISSING, f"{url} has changed while it was fetched. Ask again.")
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


def _require_room(checkpoint: Checkpoint, folder: Path, total: int) -> None:
    free = shutil.disk_usage(folder).free
    if total + _SPARE > free:
        raise CkptMetaError(
            Code.OUTPUT_UNWRITABLE,
            f"This needs the weights of checkpoint {checkpoint.name}, which lie at {checkpoint.prefix}: {total:,} "
            f"bytes to be copied to {folder}, where {free:,} are free. Let TMPDIR name a folder with more room, or "
            "export a metagraph without its check (on the command line --no-check), which reads no weights.",
        )
