"""Find the checkpoints of a logdir that a URL names, one listing a folder. Runs in the caller's process.

What `engine.scan` tells from names, sizes and times is told by its own functions; here is what an object store has
instead of folders and links.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, Listed, make_id
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES, RecordedPairing, parse_record
from tb_ckptmeta.engine.checkpoint_file import FindSize, unreadable_error
from tb_ckptmeta.engine.folders import File, Folder
from tb_ckptmeta.engine.remote import Entry, as_path, list_folder, read_range
from tb_ckptmeta.engine.scan import (
    _TEMPORARY_FOLDER,
    Logdir,
    ScanReport,
    _list_folder,
    strip_to_prefix,
)

_AT_ONCE = 16
_MOST_DEPTH = 64


@dataclass(frozen=True)
class _Found:
    """What one listing said of a folder."""

    url: str
    depth: int
    entries: Mapping[str, Entry]
    records: tuple[RecordedPairing, ...] = ()
    problem: str = ""


def scan_remote(logdir: Logdir, salt: str, report: ScanReport) -> Iterator[Checkpoint]:
    """Yield the checkpoints below a URL, and add the records there to `report`.

    Their runs and ids are made as a local folder's.
    """
    root = as_path(logdir.path)
    indexed: dict[str, frozenset[str]] = {}
    for found in _walk(root):
        if found.problem:
            report.problems.append(found.problem)
        run = "/".join(p for p in (logdir.name, found.url[len(root) :].strip("/")) if p)
        if found.records:
            report.records[found.url] = found.records
        indexed[found.url] = frozenset(n.removesuffix(".index") for n in found.entries if n.endswith(".index"))
        parent, _, name = found.url.rpartition("/")
        if name.removesuffix(_TEMPORARY_FOLDER) in indexed.get(parent, ()) and name.endswith(_TEMPORARY_FOLDER):
            continue  # what a save in several shards has left behind
        yield from _list(found.url, found.entries, run or ROOT_RUN, root, salt)


def find_remote_by_prefix(prefix: str) -> Checkpoint | None:
    """Return the checkpoint that a URL names: its prefix, or any of its files.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE.
    """
    prefix = strip_to_prefix(as_path(prefix))
    folder, _, name = prefix.rpartition("/")
    if folder.endswith("/") or not name:  # no more than scheme and bucket
        return None
    try:
        entries = {entry.name: entry for entry in list_folder(folder)}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unreadable_error(folder, error) from None
    path = prefix.partition("://")[2]
    for checkpoint in _list(folder, entries, ROOT_RUN, folder, ""):
        if checkpoint.name == name:
            return replace(checkpoint, pattern_path=path, id=make_id(prefix))
    return None


@dataclass(frozen=True)
class Look:
    """How a checkpoint's files are now: `mark` is that of `Listed`."""

    mark: str
    find_size: FindSize


def look_at(checkpoint: Checkpoint) -> Look:
    """List a checkpoint's folder, and make sure that its files are there, and lie within its logdir.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING where a file has gone since it was listed; CHECKPOINT_UNREADABLE,
            OUTSIDE_LOGDIR.
    """
    folder = checkpoint.files[0].rpartition("/")[0] if checkpoint.files else checkpoint.root
    for path in (*checkpoint.files, checkpoint.prefix):
        if not path.startswith(f"{checkpoint.root.rstrip('/')}/"):
            raise CkptMetaError(Code.OUTSIDE_LOGDIR, f"{path} lies outside the logdir.")
    try:
        entries = {f"{folder}/{entry.name}": entry for entry in list_folder(folder)}
    except (FileNotFoundError, NotADirectoryError):
        entries = {}
    except OSError as error:
        raise unreadable_error(folder, error) from None
    for path in checkpoint.files:
        if path not in entries:
            raise CkptMetaError(
                Code.CHECKPOINT_MISSING, f"{path} has gone since the logdir was scanned. Scan again (reload)."
            )
    sizes = {path: entry.size for path, entry in entries.items() if not entry.is_folder}
    return Look(_mark(entries[path] for path in checkpoint.files), sizes.get)


def read_remote_records(folder: str) -> tuple[RecordedPairing, ...]:
    """Return what the record in a folder says, nothing where there is none.

    Raises:
        CkptMetaError: INVALID_RECORD, CHECKPOINT_UNREADABLE without the driver.
    """
    url = f"{folder}/{FILE_NAME}"
    try:
        return parse_record(read_range(url, 0, MAX_BYTES + 1), url)
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"The record {url} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.INVALID_RECORD, message) from error


def _list(url: str, entries: Mapping[str, Entry], run: str, root: str, salt: str) -> Iterator[Checkpoint]:
    files = {e.name: File(e.size, e.modified, "") for e in entries.values() if not e.is_folder}
    folder = Folder(url, files, [e.name for e in entries.values() if e.is_folder])
    for checkpoint in _list_folder(folder, run, root, salt):
        mark = _mark(entries[path.rpartition("/")[2]] for path in checkpoint.files)
        yield replace(checkpoint, listed=Listed(mark, f"{checkpoint.name}.meta" in files))


def _mark(entries: Iterable[Entry]) -> str:
    return hashlib.sha256(repr([tuple(entry) for entry in entries]).encode("utf-8", "replace")).hexdigest()


def _walk(root: str) -> Iterator[_Found]:
    """Yield the folders below `root`, each before those in it, several listed at a time: it is latency that counts."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ckptmeta-list") as pool:
        running: set[Future[_Found]] = {pool.submit(_look, root, 0)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    found = future.result()
                    below = sorted(e.name for e in found.entries.values() if e.is_folder)
                    if found.depth < _MOST_DEPTH:
                        running |= {pool.submit(_look, f"{found.url}/{name}", found.depth + 1) for name in below}
                    elif below:
                        problem = f"{found.url} lies {_MOST_DEPTH} folders deep; what is below it is not listed."
                        found = replace(found, problem=problem)
                    yield found
        finally:
            for future in running:
                future.cancel()


def _look(url: str, depth: int) -> _Found:
    try:
        entries = {entry.name: entry for entry in list_folder(url)}
    except FileNotFoundError:
        there_is_nothing = f"There is nothing at {url}: no such bucket or folder, or nothing in it yet."
        return _Found(url, depth, {}, problem="" if depth else there_is_nothing)
    except OSError as error:
        return _Found(url, depth, {}, problem=f"{url} cannot be listed: {error.strerror or error}.")
    except CkptMetaError as error:
        return _Found(url, depth, {}, problem=error.message)
    record = entries.get(FILE_NAME)
    try:
        return _Found(url, depth, entries, read_remote_records(url) if record and not record.is_folder else ())
    except CkptMetaError as error:
        return _Found(url, depth, entries, problem=error.message)
