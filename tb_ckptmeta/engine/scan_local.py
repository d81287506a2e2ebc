"""Find the checkpoints of a logdir that is a folder here, and make anew only what has changed since the scan before.

Runs in the caller's process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, RecordedPairing
from tb_ckptmeta.engine.collection import collection_paused
from tb_ckptmeta.engine.folders import Folder, Memory, Stamp, make_stamp, walk_folders
from tb_ckptmeta.engine.listing import Listing, Logdir, ScanReport, make_listing
from tb_ckptmeta.engine.recognise import INDEX_SUFFIX, TEMPORARY_FOLDER, is_temporary, recognise, recognise_unfinished
from tb_ckptmeta.engine.records import BROKEN, read_records

_Record = tuple[Stamp, tuple[RecordedPairing, ...]]


class LocalScan:
    """Scans one logdir, and remembers what it has found. `salt` is what `recognise` takes."""

    def __init__(self, logdir: Logdir, salt: str) -> None:
        self._logdir = logdir
        self._salt = salt
        self._root = ""
        self._memory: Memory = {}
        self._listings: dict[str, tuple[Folder, Listing]] = {}
        self._records: dict[str, _Record] = {}

    def scan(self, report: ScanReport) -> Iterable[Listing]:
        """Return what each folder holds now; records and problems are put into the report."""
        root = os.path.realpath(self._logdir.path)
        if root != self._root:  # its path is a link, and leads elsewhere now
            self._root, self._memory, self._listings = root, {}, {}
        folders = list(walk_folders(self._logdir.path, root, report, self._memory))
        self._records = _read_records(folders, self._records, report)
        with collection_paused():
            self._listings = {folder.path: (folder, self._list(folder)) for folder in folders}
        return [listing for _, listing in self._listings.values()]

    def _list(self, folder: Folder) -> Listing:
        """Return what a folder holds, as it is known where the walk has yielded the very folder that it is known of."""
        known = self._listings.get(folder.path)
        temporary = is_temporary(folder)
        if known is not None and known[0] is folder and not temporary:  # what that holds depends on another
            return known[1]
        run = self._logdir.get_run(folder.path[len(self._logdir.path) :].replace(os.sep, "/"))
        if not temporary:
            return make_listing(recognise(folder, run, self._root, self._salt), run)
        if os.path.exists(folder.path.removesuffix(TEMPORARY_FOLDER) + INDEX_SUFFIX):
            return make_listing((), run)  # it was left behind
        return make_listing([recognise_unfinished(folder, run, self._root, self._salt)], run)


def _read_records(folders: Iterable[Folder], known: dict[str, _Record], report: ScanReport) -> dict[str, _Record]:
    """Put the records of some folders into the report; return them with their stamps."""
    found: dict[str, _Record] = {}
    for folder in folders:
        if FILE_NAME not in folder.sizes:
            continue
        path = os.path.join(folder.path, FILE_NAME)
        try:
            if FILE_NAME in folder.problems:
                raise CkptMetaError(Code.INVALID_RECORD, f"{folder.path}: {folder.problems[FILE_NAME]}")
            found[path] = _read_again(folder.path, path, known.get(path))
            report.records[os.path.dirname(path)] = found[path][1]
        except CkptMetaError as error:
            report.problems.append(error.message)
            report.records[folder.path] = BROKEN
    return found


def _read_again(directory: str, path: str, known: _Record | None) -> _Record:
    """Return a record with its stamp, as it is `known` while the stamp stays the same."""
    try:
        stamp = make_stamp(os.stat(path))
    except OSError:  # reading it says why
        stamp = None
    if known is not None and stamp is not None and known[0] == stamp:
        return known
    return stamp, read_records(directory)
