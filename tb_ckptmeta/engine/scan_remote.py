"""Find the checkpoints of a logdir that a URL names, one listing a folder. Runs in the caller's process.

`recognise` tells what each folder holds; here is what an object store has instead of folders and links.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, Listed, make_id
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME
from tb_ckptmeta.engine.checkpoint_file import FindSize, unreadable_error
from tb_ckptmeta.engine.folders import Folder
from tb_ckptmeta.engine.listing import Listing, Logdir, Records, ScanReport, make_listing
from tb_ckptmeta.engine.recognise import (
    INDEX_SUFFIX,
    TEMPORARY_FOLDER,
    is_temporary,
    recognise,
    recognise_unfinished,
    strip_to_prefix,
)
from tb_ckptmeta.engine.records import BROKEN, read_records
from tb_ckptmeta.engine.remote import Entry, as_path, list_folder

_AT_ONCE = 16
_MOST_DEPTH = 64


_Record = tuple[str, Records]
"""A record, and the mark that its listing had."""


@dataclass(frozen=True)
class _Found:
    """What one listing said of a folder."""

    url: str
    depth: int
    entries: Mapping[str, Entry]
    record: _Record | None = None
    problem: str = ""


class RemoteScan:
    """Scans one logdir, and remembers what it has found: what a listing has not marked as changed is not read again."""

    def __init__(self, logdir: Logdir, salt: str) -> None:
        self._logdir = logdir
        self._root = as_path(logdir.path)
        self._salt = salt
        self._records: dict[str, _Record] = {}
        self._listings: dict[str, tuple[Mapping[str, Entry], Listing]] = {}

    def scan(self, report: ScanReport) -> Iterable[Listing]:
        """Return what each folder holds now; records and problems are put into the report."""
        folders = {found.url: found for found in _walk(self._root, self._records)}
        for found in folders.values():
            if found.problem:
                report.problems.append(found.problem)
            if found.record is not None:
                report.records[found.url] = found.record[1]
        self._records = {url: found.record for url, found in folders.items() if found.record is not None}
        self._listings = {url: (found.entries, self._list(found, folders)) for url, found in folders.items()}
        return [listing for _, listing in self._listings.values()]

    def _list(self, found: _Found, folders: Mapping[str, _Found]) -> Listing:
        folder = _make_folder(found.url, found.entries)
        known = self._listings.get(found.url)
        temporary = is_temporary(folder)
        if known is not None and known[0] == found.entries and not temporary:  # what that holds depends on another
            return known[1]
        run = self._logdir.get_run(found.url[len(self._root) :])
        if not temporary:
            return make_listing(_recognise(folder, found.entries, run, self._root, self._salt), run)
        above, _, name = found.url.removesuffix(TEMPORARY_FOLDER).rpartition("/")
        if above in folders and name + INDEX_SUFFIX in folders[above].entries:
            return make_listing((), run)  # it was left behind
        unfinished = recognise_unfinished(folder, run, self._root, self._salt)
        return make_listing([_add_listed(unfinished, found.entries)], run)


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
    for checkpoint in _recognise(_make_folder(folder, entries), entries, ROOT_RUN, folder, ""):
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


def _make_folder(url: str, entries: Mapping[str, Entry]) -> Folder:
    files = [e for e in entries.values() if not e.is_folder]
    folders = [e.name for e in entries.values() if e.is_folder]
    return Folder(url, {e.name: e.size for e in files}, {e.name: e.modified for e in files}, folders)


def _recognise(folder: Folder, entries: Mapping[str, Entry], run: str, root: str, salt: str) -> Iterator[Checkpoint]:
    for checkpoint in () if is_temporary(folder) else recognise(folder, run, root, salt):
        yield _add_listed(checkpoint, entries)


def _add_listed(checkpoint: Checkpoint, entries: Mapping[str, Entry]) -> Checkpoint:
    mark = _mark(entries[path.rpartition("/")[2]] for path in checkpoint.files)
    metagraph = entries.get(f"{checkpoint.name}.meta")
    return replace(checkpoint, listed=Listed(mark, metagraph is not None and not metagraph.is_folder))


def _mark(entries: Iterable[Entry]) -> str:
    return hashlib.sha256(repr([tuple(entry) for entry in entries]).encode("utf-8", "replace")).hexdigest()


def _walk(root: str, records: Mapping[str, _Record]) -> Iterator[_Found]:
    """Yield the folders below `root`, each before those in it, several listed at a time: it is latency that counts.

    `records`: URL of a folder -> the record that is known of it.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="ckptmeta-list") as pool:
        running: set[Future[_Found]] = {pool.submit(_look, root, 0, records)}
        try:
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    found = future.result()
                    below = sorted(e.name for e in found.entries.values() if e.is_folder)
                    if found.depth < _MOST_DEPTH:
                        running |= {
                            pool.submit(_look, f"{found.url}/{name}", found.depth + 1, records) for name in below
                        }
                    elif below:
                        problem = f"{found.url} lies {_MOST_DEPTH} folders deep; what is below it is not listed."
                        found = replace(found, problem=problem)
                    yield found
        finally:
            for future in running:
                future.cancel()


def _look(url: str, depth: int, records: Mapping[str, _Record]) -> _Found:
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
    if record is None or record.is_folder:
        return _Found(url, depth, entries)
    known = records.get(url)
    if known is not None and known[0] == record.mark:
        return _Found(url, depth, entries, known)
    try:
        return _Found(url, depth, entries, (record.mark, read_records(url)))
    except CkptMetaError as error:
        # Without a mark, so that it is read again.
        return _Found(url, depth, entries, ("", BROKEN), error.message)
