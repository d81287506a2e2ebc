"""Find every checkpoint of some logdirs by names, sizes and times; none is opened. Runs in the caller's process.

The steps: `scan_local` and `scan_remote` walk the folders, `recognise` tells what each holds, `listing` puts that in
order.
The `checkpoint` state files are not read: they go stale when a directory is moved, and may point anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, make_id
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.folders import Told, is_within, read_folder
from tb_ckptmeta.engine.listing import Listing, Logdir, ScanReport, put_in_order
from tb_ckptmeta.engine.recognise import is_temporary, recognise, strip_to_prefix
from tb_ckptmeta.engine.remote import as_path, is_remote
from tb_ckptmeta.engine.scan_local import LocalScan

if TYPE_CHECKING:
    from tb_ckptmeta.engine.scan_remote import RemoteScan


class Scanner:
    """Scans some logdirs again and again, and makes anew only what has changed since. Not safe for threads."""

    def __init__(self, logdirs: Sequence[Logdir]) -> None:
        self._scans: list[LocalScan | RemoteScan] = []
        for index, logdir in enumerate(logdirs):
            # Two unnamed logdirs may hold the same run; their ids must differ all the same.
            salt = f"{index}:" if index and not logdir.name else ""
            self._scans.append(_make_scan(logdir, salt))

    def scan(self) -> ScanReport:
        """List the checkpoints of every logdir as they are now, runs in natural order, steps ascending.

        A missing folder is empty. Nothing is opened but records, and these only where they have changed.
        """
        report = ScanReport()
        listings: list[Listing] = []
        for scan in self._scans:
            listings += scan.scan(report)
        report.checkpoints += put_in_order(listings)
        return report


def _make_scan(logdir: Logdir, salt: str) -> LocalScan | RemoteScan:
    if not is_remote(logdir.path):
        return LocalScan(logdir, salt)
    from tb_ckptmeta.engine.scan_remote import RemoteScan

    return RemoteScan(logdir, salt)


def find_by_prefix(prefix: str) -> Checkpoint | None:
    """Return the checkpoint that a path names, given by a person: no folder confines it.

    The path may be the prefix, or any of its files.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE where its folder cannot be listed.
    """
    if is_remote(prefix):
        from tb_ckptmeta.engine.scan_remote import find_remote_by_prefix

        return find_remote_by_prefix(prefix)
    prefix = strip_to_prefix(as_path(prefix))
    directory, name = os.path.split(os.path.abspath(prefix))
    told = Told()
    folder = read_folder(directory, os.sep, told)
    if folder is None:
        if told.problems and not os.path.isdir(prefix):  # a folder may be listed though the one above may not
            raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, " ".join(told.problems))
        return None
    for checkpoint in () if is_temporary(folder) else recognise(folder, ROOT_RUN, os.sep):
        if checkpoint.name == name:
            path = os.path.join(directory, name).replace(os.sep, "/")
            prefix += os.path.basename(checkpoint.prefix).removeprefix(name)
            return Checkpoint(**{**vars(checkpoint), "pattern_path": path, "id": make_id(path), "prefix": prefix})
    return None


def check_confined(checkpoint: Checkpoint) -> None:
    """Make sure, right before they are read, that a checkpoint's files lie within its logdir.

    Its index may name other shards than the listing did, so everything of its name is looked at.

    Raises:
        CkptMetaError: OUTSIDE_LOGDIR; CHECKPOINT_MISSING where a file has gone since it was listed.
    """
    if checkpoint.listed is not None:
        from tb_ckptmeta.engine.scan_remote import look_at

        look_at(checkpoint)
        return
    for path in checkpoint.files:
        if not os.path.exists(path):
            raise CkptMetaError(
                Code.CHECKPOINT_MISSING, f"{path} has gone since the logdir was scanned. Scan again (reload)."
            )
    directory = os.path.dirname(os.path.abspath(checkpoint.prefix))
    parts = (f"{checkpoint.name}.", f"{checkpoint.name}-")
    named = [os.path.join(directory, n) for n in os.listdir(directory) if n.startswith(parts)]
    for path in {*checkpoint.files, *named}:
        if not is_within(os.path.realpath(path), checkpoint.root):
            raise CkptMetaError(Code.OUTSIDE_LOGDIR, f"{path} is a link that leads out of the logdir.")
