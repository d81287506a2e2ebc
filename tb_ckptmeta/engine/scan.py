"""Find every checkpoint of a logdir by names, sizes and times; none is opened. Runs in the caller's process.

The `checkpoint` state files are not read: they go stale when a directory is moved, and may point anywhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, make_id
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES, RecordedPairing, parse_record
from tb_ckptmeta.engine.remote import as_path, is_remote

LISTED = "listed"
INCOMPLETE = "incomplete"
UNREADABLE = "unreadable"

# prefix.index and prefix.data-00000-of-00002 (tensorflow/core/util/tensor_bundle/naming.h); while it is
# written, a shard has `.tempstateNNN` behind it.
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
# A save in several shards is first written to PREFIX_temp/part-00000-of-00002.*, then merged.
_TEMPORARY_FOLDER = "_temp"
_PART = re.compile(r"part-\d{5}-of-\d{5}\.(?:index|data-\d{5}-of-\d{5})(?:\.tempstate\d+)?")

_MOST_ALIASES = 16

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
        return self.records.get(os.path.dirname(checkpoint.prefix), ())


def scan_logdirs(logdirs: Sequence[Logdir]) -> ScanReport:
    """List the checkpoints of every logdir, runs in natural order, steps ascending. A missing folder is empty."""
    report = ScanReport()
    for index, logdir in enumerate(logdirs):
        # Two unnamed logdirs may hold the same run; their ids must differ all the same.
        salt = f"{index}:" if index and not logdir.name else ""
        if is_remote(logdir.path):
            from tb_ckptmeta.engine.scan_remote import scan_remote  # which is made of what is below

            scan_remote(logdir, salt, report)
            continue
        root = os.path.realpath(logdir.path)
        for folder in _walk(logdir.path, root, report.problems):
            relative = os.path.relpath(folder.path, logdir.path)
            run = "/".join(p for p in (logdir.name, "" if relative == "." else relative.replace(os.sep, "/")) if p)
            report.checkpoints += _list_folder(folder, run or ROOT_RUN, root, salt)
            record = folder.files.get(FILE_NAME)
            if record is None:
                continue
            try:
                if record.problem:
                    raise CkptMetaError(Code.INVALID_RECORD, f"{folder.path}: {record.problem}")
                report.records[os.path.dirname(os.path.join(folder.path, FILE_NAME))] = read_records(folder.path)
            except CkptMetaError as error:
                report.problems.append(error.message)
    report.checkpoints.sort(key=_order)
    return report


def find_by_prefix(prefix: str) -> Checkpoint | None:
    """Return the checkpoint that a path names, given by a person: no folder confines it.

    The path may be the prefix, or any of its files.
    """
    if is_remote(prefix):
        from tb_ckptmeta.engine.scan_remote import find_remote_by_prefix

        return find_remote_by_prefix(prefix)
    prefix = strip_to_prefix(as_path(prefix))
    directory, name = os.path.split(os.path.abspath(prefix))
    folder = _read_folder(directory, os.sep, [])
    if folder is None:
        return None
    for checkpoint in _list_folder(folder, ROOT_RUN, os.sep, ""):
        if checkpoint.name == name:
            path = os.path.join(directory, name).replace(os.sep, "/")
            prefix += os.path.basename(checkpoint.prefix).removeprefix(name)
            return Checkpoint(**{**vars(checkpoint), "pattern_path": path, "id": make_id(path), "prefix": prefix})
    return None


def strip_to_prefix(path: str) -> str:
    """Return the prefix of a checkpoint where `path` is one of its files, or how TensorFlow restores V1 shards."""
    for pattern in (_INDEX, _SHARD):
        if (match := pattern.fullmatch(path)) and not match["temporary"]:
            path = match["prefix"]
    match = _V1_PREFIX.fullmatch(path)
    return match["prefix"] if match else path


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


class _File(NamedTuple):
    size: int
    modified: float
    problem: str


@dataclass
class _Folder:
    path: str
    files: dict[str, _File]
    folders: list[str]


def _walk(path: str, root: str, problems: list[str]) -> Iterator[_Folder]:
    """Yield the folders below `path`, links that stay inside `root` followed, but none into its own parents."""
    stack: list[tuple[str, frozenset[str]]] = [(path, frozenset())]
    aliases: dict[str, int] = {}
    while stack:
        here, parents = stack.pop()
        real = os.path.realpath(here)
        if real in parents:
            continue
        if real != os.path.normpath(os.path.join(root, os.path.relpath(here, path))):
            # Links to folders of links double with every step down.
            aliases[real] = aliases.get(real, 0) + 1
            if aliases[real] == _MOST_ALIASES + 1:
                problems.append(f"{real} is reached by more than {_MOST_ALIASES} links; the others are not followed.")
            if aliases[real] > _MOST_ALIASES:
                continue
        folder = _read_folder(here, root, problems)
        if folder is None:
            continue
        yield folder
        stack.extend((os.path.join(here, name), parents | {real}) for name in reversed(folder.folders))


def _read_folder(path: str, root: str, problems: list[str]) -> _Folder | None:
    folder = _Folder(path, {}, [])
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                _read_entry(entry, folder, root, problems)
    except FileNotFoundError:
        return None
    except OSError as error:
        problems.append(f"{path} cannot be listed: {error.strerror or error}.")
        return None
    folder.folders.sort()
    return folder


def _read_entry(entry: os.DirEntry[str], folder: _Folder, root: str, problems: list[str]) -> None:
    try:
        if entry.is_symlink() and not is_within(os.path.realpath(entry.path), root):
            if entry.is_dir():
                problems.append(
                    f"{entry.path} is a link that leads out of the logdir; it is not followed. "
                    "Give its target as a logdir of its own (--logdir_spec)."
                )
            else:
                problem = f"{entry.name} is a link that leads out of the logdir; it is not read."
                folder.files[entry.name] = _File(0, 0.0, problem)
            return
        if entry.is_dir():
            folder.folders.append(entry.name)
            return
        status = entry.stat()
        if stat.S_ISREG(status.st_mode):
            folder.files[entry.name] = _File(status.st_size, status.st_mtime, "")
    except FileNotFoundError:
        pass  # it went while we looked, or is a link to nothing
    except OSError as error:
        folder.files[entry.name] = _File(0, 0.0, f"{entry.name} cannot be read: {error.strerror or error}.")


@dataclass
class _Parts:
    """The files that make up one checkpoint, as names show them."""

    index: str | None = None
    shards: dict[int, dict[int, str]] = field(default_factory=dict)  # count -> shard -> file
    v1_shards: dict[int, dict[int, str]] = field(default_factory=dict)
    whole: str | None = None  # a V1 checkpoint in one file, or a Keras file
    temporary: list[str] = field(default_factory=list)


def _list_folder(folder: _Folder, run: str, root: str, salt: str) -> Iterator[Checkpoint]:
    if os.path.basename(folder.path).endswith(_TEMPORARY_FOLDER) and any(map(_PART.fullmatch, folder.files)):
        name = os.path.basename(folder.path).removesuffix(_TEMPORARY_FOLDER)
        parent = run.rpartition("/")[0] or ROOT_RUN
        if os.path.exists(os.path.join(os.path.dirname(folder.path), name + ".index")):
            return
        parts = _Parts(temporary=list(folder.files))
        yield _make_checkpoint(folder, os.path.dirname(folder.path), name, parts, parent, root, salt)
        return
    found: dict[str, _Parts] = {}
    for name in folder.files:
        if match := _INDEX.fullmatch(name):
            parts = found.setdefault(match["prefix"], _Parts())
            if match["temporary"]:
                parts.temporary.append(name)
            else:
                parts.index = name
        elif match := _SHARD.fullmatch(name):
            parts = found.setdefault(match["prefix"], _Parts())
            if match["temporary"]:
                parts.temporary.append(name)
            else:
                parts.shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
        elif name.endswith(_KERAS) and name not in _KERAS:
            found.setdefault(name, _Parts()).whole = name
        elif match := _V1_SHARD.fullmatch(name):
            parts = found.setdefault(match["prefix"], _Parts())
            parts.v1_shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
        elif f"{name}.index" not in folder.files and (f"{name}.meta" in folder.files or _V1_NAME.fullmatch(name)):
            found.setdefault(name, _Parts()).whole = name
    for name, parts in found.items():
        if parts.v1_shards and not _is_v1(name, parts, folder):
            continue  # data set files are named so, too
        yield _make_checkpoint(folder, folder.path, name, parts, run, root, salt)


def _is_v1(name: str, parts: _Parts, folder: _Folder) -> bool:
    return parts.index is None and (f"{name}.meta" in folder.files or _V1_NAME.fullmatch(name) is not None)


def _make_checkpoint(
    folder: _Folder, directory: str, name: str, parts: _Parts, run: str, root: str, salt: str
) -> Checkpoint:
    names, problem = _find_files(name, parts, {n: f.size for n, f in folder.files.items() if not f.problem})
    files = [folder.files[n] for n in names]
    state = INCOMPLETE if problem else LISTED
    unreadable = next((f.problem for f in files if f.problem), "")
    if unreadable:
        state, problem = UNREADABLE, unreadable
    path = name if run == ROOT_RUN else f"{run}/{name}"
    return Checkpoint(
        id=make_id(salt + path),
        run=run,
        name=name,
        prefix=os.path.join(directory, name) + ("" if problem else _find_v1_pattern(parts)),
        step=parse_step(name),
        bytes=sum(f.size for f in files),
        modified=max((f.modified for f in files), default=0.0),
        format=("keras-weights" if name.endswith(".weights.h5") else "keras" if name.endswith(".keras") else None),
        state=state,
        problem=problem,
        pattern_path=path,
        root=root,
        files=tuple(os.path.join(folder.path, n) for n in names),
    )


def _find_v1_pattern(parts: _Parts) -> str:
    """Return what comes behind the name of a V1 checkpoint in shards where TensorFlow is to restore it."""
    if not parts.v1_shards or parts.index is not None:
        return ""
    return f"-?????-of-{_find_fullest(parts.v1_shards):05d}"


def _find_fullest(sets: dict[int, dict[int, str]]) -> int:
    """Return the count of shards that counts: those of an earlier save with another count may lie beside."""
    return max(sets, key=lambda c: (len(sets[c]) / c if c else 0, c), default=0)


def _find_files(name: str, parts: _Parts, sizes: Mapping[str, int]) -> tuple[list[str], str]:
    """Return the files of a checkpoint, and what is missing in a sentence, or an empty one."""
    if parts.whole is not None:
        empty = sizes.get(parts.whole) == 0 and parts.whole.endswith(_KERAS)
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
    for pattern in _STEPS:
        if match := pattern.search(name):
            return int(match[1]) if len(match[1]) < 19 else None
    return None


def read_records(directory: str) -> tuple[RecordedPairing, ...]:
    """Return what the record in `directory` says, nothing where there is none.

    Raises:
        CkptMetaError: INVALID_RECORD.
    """
    if is_remote(directory):
        from tb_ckptmeta.engine.scan_remote import read_remote_records

        return read_remote_records(directory)
    path = os.path.join(directory, FILE_NAME)
    try:
        with open(path, "rb") as file:
            return parse_record(file.read(MAX_BYTES + 1), path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"The record {path} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.INVALID_RECORD, message) from error


def is_within(path: str, root: str) -> bool:
    """Tell whether a real path is a real folder, or lies in it."""
    return os.path.commonpath([path, root]) == root


def _order(checkpoint: Checkpoint) -> tuple[object, ...]:
    step = checkpoint.step if checkpoint.step is not None else -1
    return (_natural(checkpoint.run), step, _natural(checkpoint.name))


def _natural(text: str) -> list[tuple[int, int | str]]:
    return [(0, int(p)) if p.isdigit() and p.isascii() else (1, p) for p in re.split(r"([0-9]+)", text)]
