"""Recognise the checkpoints of one folder by the names, sizes and times of its files. Runs in the caller's process.

The folder may be one here or one that a URL names: nothing is asked of it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint, begin_ids, fill_checkpoint
from tb_ckptmeta.engine.folders import Folder

LISTED = "listed"
INCOMPLETE = "incomplete"
UNREADABLE = "unreadable"

# prefix.index and prefix.data-00000-of-00002 (tensorflow/core/util/tensor_bundle/naming.h); while it is
# written, a shard has `.tempstateNNN` behind it.
INDEX_SUFFIX = ".index"
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
TEMPORARY_FOLDER = "_temp"
_PART = re.compile(r"part-\d{5}-of-\d{5}\.(?:index|data-\d{5}-of-\d{5})(?:\.tempstate\d+)?")

_STEPS = (
    re.compile(r"-(\d+)$"),  # CheckpointManager, Saver
    re.compile(r"[-_.](\d+)-\d+\.\d+(?:\.ckpt|\.weights\.h5|\.keras)?$"),  # "weights.{epoch}-{val_loss:.2f}"
    # ModelCheckpoint("cp-{epoch:04d}.ckpt"), ("epoch{epoch}.keras"), ("{epoch:02d}.weights.h5")
    re.compile(r"(?:^|[-_.]|epoch)(\d+)(?:\.ckpt|\.weights\.h5|\.keras)$"),
)


def recognise(folder: Folder, run: str, root: str, salt: str = "") -> list[Checkpoint]:
    """Return the checkpoints that a folder holds, in any order, as those of `run` below `root`.

    `salt` keeps their ids from being those of another logdir's run of the same name.
    """
    plain = _find_plain(folder)
    found: dict[str, _Parts] = {}
    # Sets, for nearly every name is one of those: what is left takes no time.
    for name in folder.sizes.keys() - plain.keys() - set(plain.values()):
        _sort_name(name, folder, found)
    if found:
        for shard, index in list(plain.items()):
            if index.removesuffix(INDEX_SUFFIX) in found:  # there is more to it
                del plain[shard]
                _sort_name(index, folder, found)
                _sort_name(shard, folder, found)
    make = _Maker(folder, run, root, salt)
    checkpoints = make.of_plain(plain)
    for name, parts in found.items():
        if not parts.v1_shards or _is_v1(name, parts, folder):  # data set files are named so, too
            checkpoints.append(make.of_parts(name, parts))
    return checkpoints


def recognise_unfinished(folder: Folder, run: str, root: str, salt: str = "") -> Checkpoint:
    """Return the checkpoint that is being written in a temporary folder (`is_temporary`), of the run above."""
    above, name = os.path.split(folder.path.removesuffix(TEMPORARY_FOLDER))
    make = _Maker(folder, run.rpartition("/")[0] or ROOT_RUN, root, salt, above)
    return make.of_parts(name, _Parts(temporary=list(folder.sizes)))


def is_temporary(folder: Folder) -> bool:
    """Tell whether a folder is one that a save in several shards writes into first."""
    return folder.path.endswith(TEMPORARY_FOLDER) and any(map(_PART.fullmatch, folder.sizes))


def strip_to_prefix(path: str) -> str:
    """Return the prefix of a checkpoint where `path` is one of its files, or how TensorFlow restores V1 shards."""
    for pattern in (_INDEX, _SHARD):
        if (match := pattern.fullmatch(path)) and not match["temporary"]:
            path = match["prefix"]
    match = _V1_PREFIX.fullmatch(path)
    return match["prefix"] if match else path


@dataclass(slots=True)
class _Parts:
    """The files that make up one checkpoint, as names show them."""

    index: str | None = None
    shards: dict[int, dict[int, str]] = field(default_factory=dict)  # count -> shard -> file
    v1_shards: dict[int, dict[int, str]] = field(default_factory=dict)
    whole: str | None = None  # a V1 checkpoint in one file, or a Keras file
    temporary: list[str] = field(default_factory=list)


def _find_plain(folder: Folder) -> dict[str, str]:
    """Return shard -> index of the checkpoints that are an index with its only shard, as nearly all are."""
    sizes, problems = folder.sizes, folder.problems
    found: dict[str, str] = {}
    for index in sizes:
        if index.endswith(INDEX_SUFFIX):
            shard = index[: -len(INDEX_SUFFIX)] + _ONLY_SHARD
            if shard in sizes and shard != _ONLY_SHARD:
                found[shard] = index
    if problems:
        return {s: i for s, i in found.items() if s not in problems and i not in problems}
    return found


def _sort_name(name: str, folder: Folder, found: dict[str, _Parts]) -> None:
    """Put a file to the checkpoint that it is part of, if it is one's."""
    if INDEX_SUFFIX in name and (match := _INDEX.fullmatch(name)):
        parts = _get_parts(match["prefix"], found)
        if match["temporary"]:
            parts.temporary.append(name)
        else:
            parts.index = name
    elif "-of-" in name and (match := _SHARD.fullmatch(name)):
        parts = _get_parts(match["prefix"], found)
        if match["temporary"]:
            parts.temporary.append(name)
        else:
            parts.shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
    elif name.endswith(_KERAS) and name not in _KERAS:
        _get_parts(name, found).whole = name
    elif "-of-" in name and (match := _V1_SHARD.fullmatch(name)):
        parts = _get_parts(match["prefix"], found)
        parts.v1_shards.setdefault(int(match["count"]), {})[int(match["shard"])] = name
    elif f"{name}.index" not in folder.sizes and _is_v1_name(name, folder):
        _get_parts(name, found).whole = name


def _get_parts(name: str, found: dict[str, _Parts]) -> _Parts:
    return found.setdefault(name, _Parts())


def _is_v1(name: str, parts: _Parts, folder: Folder) -> bool:
    return parts.index is None and _is_v1_name(name, folder)


def _is_v1_name(name: str, folder: Folder) -> bool:
    return f"{name}.meta" in folder.sizes or ("ckpt-" in name and _V1_NAME.fullmatch(name) is not None)


# With every key: a copy has the room for them, and is the quickest way to a dictionary.
_EMPTY = vars(Checkpoint("", "", "", "", None, 0, 0.0, None, LISTED, "", "", ""))


class _Maker:
    """Makes the checkpoints of a folder; what all of them have in common is made once.

    `above`: the folder that their prefixes lie in, where that is not the one of their files.
    """

    def __init__(self, folder: Folder, run: str, root: str, salt: str, above: str | None = None) -> None:
        self._folder = folder
        self._inside = os.path.join(folder.path, "")
        self._start = self._inside if above is None else os.path.join(above, "")
        self._path = "" if run == ROOT_RUN else f"{run}/"
        self._make_id = begin_ids(salt + self._path)
        self._common = {**_EMPTY, "run": run, "root": root}

    def of_plain(self, indexes: Mapping[str, str]) -> list[Checkpoint]:
        """Make checkpoints of shard -> index, ten thousand of them in the time of a few system calls each."""
        sizes, times, inside, path = self._folder.sizes, self._folder.times, self._inside, self._path
        common, make_id = self._common, self._make_id
        made = []
        for shard, index in indexes.items():
            name = index[: -len(INDEX_SUFFIX)]
            modified, later = times[index], times[shard]
            fields = common.copy()
            fields["id"] = make_id(name)
            fields["name"] = name
            fields["prefix"] = inside + name
            fields["step"] = parse_step(name)
            fields["bytes"] = sizes[index] + sizes[shard]
            fields["modified"] = later if later > modified else modified
            fields["pattern_path"] = path + name
            fields["files"] = (inside + index, inside + shard)
            made.append(fill_checkpoint(fields))
        return made

    def of_parts(self, name: str, parts: _Parts) -> Checkpoint:
        """Make the checkpoint of whatever parts it has."""
        folder = self._folder
        names, problem = _find_files(name, parts, folder)
        state = INCOMPLETE if problem else LISTED
        unreadable = next((folder.problems[n] for n in names if n in folder.problems), "")
        if unreadable:
            state, problem = UNREADABLE, unreadable
        pattern = "" if problem else _find_v1_pattern(parts)
        return fill_checkpoint(
            {
                **self._common,
                "id": self._make_id(name),
                "name": name,
                "prefix": self._start + name + pattern,
                "step": parse_step(name),
                "bytes": sum(folder.sizes[n] for n in names),
                "modified": max((folder.times[n] for n in names), default=0.0),
                "format": _FORMATS.get(name[name.rfind(".") :]) if name.endswith(_KERAS) else None,
                "state": state,
                "problem": problem,
                "pattern_path": self._path + name,
                "files": tuple([self._inside + n for n in names]),
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


def _find_files(name: str, parts: _Parts, folder: Folder) -> tuple[list[str], str]:
    """Return the files of a checkpoint, and what is missing in a sentence, or an empty one."""
    if parts.whole is not None:
        whole = parts.whole
        empty = not folder.sizes[whole] and whole not in folder.problems and whole.endswith(_KERAS)
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
