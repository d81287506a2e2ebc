"""Find every checkpoint of a logdir by names, sizes and times; none is opened. Runs in the caller's process.

The `checkpoint` state files are not read: they go stale when a directory is moved, and may point anywhere.
"""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from tb_ckptmeta.core.checkpoint import ROOT_RUN, UNPAIRED, Checkpoint, fill_checkpoint, make_id
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES, RecordedPairing, parse_record
from tb_ckptmeta.engine.folders import File as _File
from tb_ckptmeta.engine.folders import Folder as _Folder
from tb_ckptmeta.engine.folders import Memory, Stamp, is_within, make_stamp, read_folder, walk_folders

LISTED = "listed"
INCOMPLETE = "incomplete"
UNREADABLE = "unreadable"

# prefix.index and prefix.data-00000-of-00002 (tensorflow/core/util/tensor_bundle/naming.h); while it is
# written, a shard has `.tempstateNNN` behind it.
_INDEX_SUFFIX = ".index"
_ONLY_SHARD = ".data-00000-of-00001"
_INDEX = re.compile(r"(?P<prefix>.+)\.index(?P<temporary>\.tempstate\d+)?", re.DOTALL)
_SHARD = re.compile(
    r"(?P<prefix>.+)\.data-(?P<shard>\d{5})-of-(?P<count>\d{5})(?P<temporary>\.tempstate\d+)?", re.DOTALL
)
# A V1 checkpoint is one file without a suffix, or prefix-00000-of-00002.
_V1_SHARD = re.compile(r"(?P<prefix>.+)-(?P<shard>\d{5})-of-(?P<count>\d{5})", re.DOTALL)
# What `Saver.save` returns, and its restore takes, for the latter.
_V1_PREFIX = re.compile(r"(?P<prefix>.+)-\?{5}-of-\d{5}", re.DOTALL)
_V1_NAME = re.compile(r"(?:.*[^a-zA-Z0-9])?ckpt-\d+", re.DOTALL)
_KERAS = (".weights.h5", ".keras")
_FORMATS = {".h5": "keras-weights", ".keras": "keras"}
# A save in several shards is first written to PREFIX_temp/part-00000-of-00002.*, then merged.
_TEMPORARY_FOLDER = "_temp"
_PART = re.compile(r"part-\d{5}-of-\d{5}\.(?:index|data-\d{5}-of-\d{5})(?:\.tempstate\d+)?")

_STEPS = (
    re.compile(r"-(\d+)$"),  # CheckpointManager, Saver
    re.compile(r"[-_.](\d+)-\d+\.\d+(?:\.ckpt|\.weights\.h5|\.keras)?$"),  # "weights.{epoch}-{val_loss:.2f}"
    # ModelCheckpoint("cp-{epoch:04d}.ckpt"), ("epoch{epoch}.keras"), ("{epoch:02d}.weights.h5")
    re.compile(r"(?:^|[-_.]|epoch)(\d+)(?:\.ckpt|\.weights\.h5|\.keras)$"),
)


@dataclass(frozen=True)
class Logdir:
    """One folder to scan; `name` comes before its runs (`--logdir_spec NAME:PATH`), or is empty."""

    name: str
    path: str


@dataclass
class ScanReport:
    """What a scan found. `records`: folder -> what its record says. `problems`: what could not be looked at."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    records: dict[str, tuple[RecordedPairing, ...]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def find_records(self, checkpoint: Checkpoint) -> tuple[RecordedPairing, ...]:
        """Return what the record beside a checkpoint says; of two logdirs, runs of one name have each their own."""
        return self.records.get(os.path.dirname(checkpoint.prefix), ()) if self.records else ()


class Scanner:
    """Scans some logdirs again and again, and makes anew only what has changed since. Not safe for threads."""

    def __init__(self, logdirs: Sequence[Logdir]) -> None:
        self._logdirs = [_Known(logdir) for logdir in logdirs]

    def scan(self) -> ScanReport:
        """List the checkpoints of every logdir as they are now, runs in natural order, steps ascending.

        A missing folder is empty. Nothing is opened but records, and these only where they have changed.
        """
        report = ScanReport()
        listings: list[_Listing] = []
        for index, known in enumerate(self._logdirs):
            # Two unnamed logdirs may hold the same run; their ids must differ all the same.
            salt = f"{index}:" if index and not known.logdir.name else ""
            listings += _scan_logdir(known, salt, report)
        report.checkpoints += _put_in_order(listings)
        return report


def scan_logdirs(logdirs: Sequence[Logdir]) -> ScanReport:
    """List the checkpoints of every logdir once, as a new `Scanner` does."""
    return Scanner(logdirs).scan()


class _Listing(NamedTuple):
    """The checkpoints that a folder holds, steps ascending, and the place of its run in the natural order."""

    folder: _Folder
    checkpoints: list[Checkpoint]
    order: _Order


_Record = tuple[Stamp, tuple[RecordedPairing, ...]]
_Records = dict[str, _Record]


@dataclass
class _Known:
    """What is remembered of a logdir; `root` is where it really was."""

    logdir: Logdir
    root: str = ""
    memory: Memory = field(default_factory=dict)
    listings: dict[str, _Listing] = field(default_factory=dict)
    records: _Records = field(default_factory=dict)


def _scan_logdir(known: _Known, salt: str, report: ScanReport) -> Iterable[_Listing]:
    root = os.path.realpath(known.logdir.path)
    if root != known.root:  # its path is a link, and leads elsewhere now
        known.root, known.memory, known.listings = root, {}, {}
    folders = list(walk_folders(known.logdir.path, root, report.problems, known.memory))
    known.records = _read_records(folders, known.records, report)
    with _collection_paused():
        known.listings = {folder.path: _list_again(folder, known, salt) for folder in folders}
    return known.listings.values()


def _list_again(folder: _Folder, known: _Known, salt: str) -> _Listing:
    """Return what a folder holds, as it is known where the walk has yielded the very folder that it is known of."""
    listing = known.listings.get(folder.path)
    # What a temporary folder holds depends on another.
    if listing is not None and listing.folder is folder and not _is_temporary(folder):
        return listing
    logdir = known.logdir
    below = folder.path[len(logdir.path) :].strip(os.sep).replace(os.sep, "/")
    run = "/".join(part for part in (logdir.name, below) if part) or ROOT_RUN
    checkpoints = _sort_checkpoints(_list_folder(folder, run, known.root, salt))
    return _Listing(folder, checkpoints, _make_order(checkpoints[0].run if checkpoints else run))


@contextmanager
def _collection_paused() -> Iterator[None]:
    """Keep Python from looking for garbage: what is made is kept, and all of it would be looked through several times.

    Nothing that may wait (for a disk, a network) is to be done meanwhile: it holds for every thread.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read_records(folders: Iterable[_Folder], known: _Records, report: ScanReport) -> _Records:
    """Put the records of some folders into the report; return them with their stamps."""
    found: _Records = {}
    for folder in folders:
        record = folder.files.get(FILE_NAME)
        if record is None:
            continue
        path = os.path.join(folder.path, FILE_NAME)
        try:
            if record.problem:
                raise CkptMetaError(Code.INVALID_RECORD, f"{folder.path}: {record.problem}")
            found[path] = _read_again(folder.path, path, known.get(path))
            report.records[os.path.dirname(path)] = found[path][1]
        except CkptMetaError as error:
            report.problems.append(error.message)
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


def find_by_prefix(prefix: str) -> Checkpoint | None:
    """Return the checkpoint that a path names, given by a person: no folder confines it.

    The path may be the prefix, or any of its files.
    """
    for pattern in (_INDEX, _SHARD):
        if (match := pattern.fullmatch(prefix)) and not match["temporary"]:
            prefix = match["prefix"]
    if match := _V1_PREFIX.fullmatch(prefix):
        prefix = match["prefix"]
    directory, name = os.path.split(os.path.abspath(prefix))
    folder = read_folder(directory, os.sep, [])
    if folder is None:
        return None
    for checkpoint in _list_folder(folder, ROOT_RUN, os.sep, ""):
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


@dataclass(slots=True)
class _Parts:
    """The files that make up one checkpoint, as names show them."""

    index: str | None = None
    shards: dict[int, dict[int, str]] = field(default_factory=dict)  # count -> shard -> file
    v1_shards: dict[int, dict[int, str]] = field(default_factory=dict)
    whole: str | None = None  # a V1 checkpoint in one file, or a Keras file
    temporary: list[str] = field(default_factory=list)


def _is_temporary(folder: _Folder) -> bool:
    return folder.path.endswith(_TEMPORARY_FOLDER) and any(map(_PART.fullmatch, folder.files))


def _list_folder(folder: _Folder, run: str, root: str, salt: str) -> Iterator[Checkpoint]:
    inside = os.path.join(folder.path, "")
    place = _Place(folder, inside, inside, run, root, salt)
    if _is_temporary(folder):
        above, name = os.path.split(folder.path.removesuffix(_TEMPORARY_FOLDER))
        if not os.path.exists(os.path.join(above, name + _INDEX_SUFFIX)):
            place = place._replace(start=os.path.join(above, ""), run=run.rpartition("/")[0] or ROOT_RUN)
            yield _make_of_parts(place, name, _Parts(temporary=list(folder.files)))
        return
    # Nearly every file is an index with its only shard, or that shard.
    files = folder.files
    pairs = {
        name[: -len(_INDEX_SUFFIX)]: (name, shard)
        for name in files
        if name.endswith(_INDEX_SUFFIX) and (shard := name[: -len(_INDEX_SUFFIX)] + _ONLY_SHARD) in files
    }
    pairs.pop("", None)
    paired = set(chain.from_iterable(pairs.values()))
    found: dict[str, _Parts] = {}
    for name in files:
        if name not in paired:
            _sort_name(name, folder, found)
    for name, pair in pairs.items():
        (size, modified, unreadable), (more, later, unreadable_too) = files[pair[0]], files[pair[1]]
        if name in found or unreadable or unreadable_too:  # there is more to it
            for part in pair:
                _sort_name(part, folder, found)
        else:
            newest = modified if modified > later else later
            yield _make_checkpoint(place, name, pair, size + more, newest, LISTED, "", "")
    for name, parts in found.items():
        if parts.v1_shards and not _is_v1(name, parts, folder):
            continue  # data set files are named so, too
        yield _make_of_parts(place, name, parts)


def _sort_name(name: str, folder: _Folder, found: dict[str, _Parts]) -> None:
    """Put a file to the checkpoint that it is part of, if it is one's."""
    if match := _INDEX.fullmatch(name):
        parts = _get_parts(match["prefix"], found)
        if match["temporary"]:
            parts.temporary.append(name)
        else:
            parts.index = name
    elif match := _SHARD.fullmatch(name):
        parts = _get_parts(match["prefix"], found)
        if match["temporary"]:
            parts.temporary.append(name)
        else:
            parts.shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
    elif name.endswith(_KERAS) and name not in _KERAS:
        _get_parts(name, found).whole = name
    elif match := _V1_SHARD.fullmatch(name):
        parts = _get_parts(match["prefix"], found)
        parts.v1_shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
    elif f"{name}.index" not in folder.files and (f"{name}.meta" in folder.files or _V1_NAME.fullmatch(name)):
        _get_parts(name, found).whole = name


def _get_parts(name: str, found: dict[str, _Parts]) -> _Parts:
    return found.setdefault(name, _Parts())


def _is_v1(name: str, parts: _Parts, folder: _Folder) -> bool:
    return parts.index is None and (f"{name}.meta" in folder.files or _V1_NAME.fullmatch(name) is not None)


class _Place(NamedTuple):
    """Where checkpoints lie: `inside` comes before the names of their files, `start` before their own."""

    folder: _Folder
    inside: str
    start: str
    run: str
    root: str
    salt: str


def _make_of_parts(place: _Place, name: str, parts: _Parts) -> Checkpoint:
    names, problem = _find_files(name, parts, place.folder.files)
    files = [place.folder.files[n] for n in names]
    state = INCOMPLETE if problem else LISTED
    unreadable = next((f.problem for f in files if f.problem), "")
    if unreadable:
        state, problem = UNREADABLE, unreadable
    pattern = "" if problem else _find_v1_pattern(parts)
    size, modified = sum(f.size for f in files), max((f.modified for f in files), default=0.0)
    return _make_checkpoint(place, name, names, size, modified, state, problem, pattern)


def _make_checkpoint(
    place: _Place,
    name: str,
    names: Iterable[str],
    size: int,
    modified: float,
    state: str,
    problem: str,
    pattern: str,
) -> Checkpoint:
    """Make a checkpoint of its files; `pattern` is what follows its name where TensorFlow is to restore it."""
    _, inside, start, run, root, salt = place
    path = name if run == ROOT_RUN else f"{run}/{name}"
    return fill_checkpoint(
        {
            "id": make_id(salt + path),
            "run": run,
            "name": name,
            "prefix": start + name + pattern,
            "step": parse_step(name),
            "bytes": size,
            "modified": modified,
            "format": _FORMATS.get(name[name.rfind(".") :]) if name.endswith(_KERAS) else None,
            "state": state,
            "problem": problem,
            "pattern_path": path,
            "root": root,
            "files": tuple([inside + n for n in names]),
            "pairing": UNPAIRED,
        }
    )


def _find_v1_pattern(parts: _Parts) -> str:
    """Return what comes behind the name of a V1 checkpoint in shards where TensorFlow is to restore it."""
    if not parts.v1_shards or parts.index is not None:
        return ""
    return f"-?????-of-{_find_fullest(parts.v1_shards):05d}"


def _find_fullest(sets: dict[int, dict[int, str]]) -> int:
    """Return the count of shards that counts: those of an earlier save with another count may lie beside."""
    return max(sets, key=lambda c: (len(sets[c]) / c if c else 0, c), default=0)


def _find_files(name: str, parts: _Parts, files: Mapping[str, _File]) -> tuple[list[str], str]:
    """Return the files of a checkpoint, and what is missing in a sentence, or an empty one."""
    if parts.whole is not None:
        whole = files[parts.whole]
        empty = whole.size == 0 and not whole.problem and parts.whole.endswith(_KERAS)
        return [parts.whole], "It is empty: it is being written, or its writing was interrupted." if empty else ""
    sets = parts.v1_shards if parts.v1_shards and parts.index is None else parts.shards
    count = _find_fullest(sets)
    shards = sets.get(count, {})
    names = ([parts.index] if parts.index else []) + [shards[i] for i in sorted(shards)]
    if parts.temporary and not names:
        return sorted(parts.temporary), "It is being written, or its writing was interrupted."
    if parts.index is None and not parts.v1_shards:
        return names, f"{name}.index is missing: it is being written, or its writing was interrupted."
    if not shards:
        return names, f"There is no shard ({name}.data-00000-of-…) beside the index."
    gone = [i for i in range(count) if i not in shards]
    if gone:
        first = f"{name}{'' if parts.v1_shards else '.data'}-{gone[0]:05d}-of-{count:05d}"
        return names, f"{len(gone)} of {count} shards missing: {first}" + (" and others." if gone[1:] else ".")
    return names, ""


def parse_step(name: str) -> int | None:
    """Return the training step that a checkpoint's name ends in, as Saver, CheckpointManager and Keras write it."""
    _, dash, digits = name.rpartition("-")
    if dash and digits.isdecimal():  # as the first pattern, and sooner
        return int(digits) if len(digits) < 19 else None
    for pattern in _STEPS:
        if match := pattern.search(name):
            return int(match[1]) if len(match[1]) < 19 else None
    return None


def read_records(directory: str) -> tuple[RecordedPairing, ...]:
    """Return what the record in `directory` says, nothing where there is none.

    Raises:
        CkptMetaError: INVALID_RECORD.
    """
    path = os.path.join(directory, FILE_NAME)
    try:
        with open(path, "rb") as file:
            return parse_record(file.read(MAX_BYTES + 1), path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"The record {path} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.INVALID_RECORD, message) from error


_Order = tuple[tuple[int, int | str], ...]


def _put_in_order(listings: Iterable[_Listing]) -> Iterator[Checkpoint]:
    """Yield the checkpoints of all folders, runs in natural order, then by their steps."""
    runs: dict[_Order, list[list[Checkpoint]]] = {}
    for listing in listings:
        runs.setdefault(listing.order, []).append(listing.checkpoints)
    for order in sorted(runs):
        # Two logdirs may have a run of one name, and a temporary folder counts to the run that it lies in.
        yield from runs[order][0] if len(runs[order]) == 1 else _sort_checkpoints(chain.from_iterable(runs[order]))


def _sort_checkpoints(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return checkpoints of one run, steps ascending; those of one step, or without any, by name in natural order."""
    found = sorted(checkpoints, key=_get_step)
    if len({checkpoint.step for checkpoint in found}) < len(found):
        found.sort(key=lambda c: (_get_step(c), _make_order(c.name)))
    return found


def _get_step(checkpoint: Checkpoint) -> int:
    return -1 if checkpoint.step is None else checkpoint.step


def _make_order(text: str) -> _Order:
    return tuple((0, int(p)) if p.isdigit() and p.isascii() else (1, p) for p in re.split(r"([0-9]+)", text))
