"""Walk the folders of a logdir, and read again only the names that may have changed. Runs in the caller's process."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_MOST_ALIASES = 16

# How many seconds a folder must have been left alone before its names are remembered. A name that comes within the same
# tick of the file system's clock as the reading leaves the folder's times as they were; the coarsest, FAT's, is 2 s.
_SETTLED = 2.5


@dataclass(kw_only=True)
class Told:
    """What people are to be told of a walk.

    `problems`: what could not be looked at; `notes`: what was left alone, such as a link that leads out.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Folder:
    """What a folder holds: its files, and the names of its folders. It is not changed once it has been yielded.

    `sizes`: file -> its bytes; `times`: file -> when it was modified, in seconds since the epoch; `problems`: file ->
    why it is not to be read, its size and time being 0. Python's garbage collector passes over a dictionary of numbers;
    it would look through an object for each file again and again while they are made.
    """

    path: str
    sizes: dict[str, int]
    times: dict[str, float]
    folders: list[str]
    problems: dict[str, str] = field(default_factory=dict)

    def add_unreadable(self, name: str, problem: str) -> None:
        self.sizes[name], self.times[name], self.problems[name] = 0, 0.0, problem


Stamp = tuple[int, ...] | None
"""What changes when something is changed; None of what was changed so lately that it might not."""


MOST_TRUSTED_SECONDS = 60.0
"""How long a folder's times are believed: some file systems of object stores never change them."""


class Remembered(NamedTuple):
    """A folder, the stamp that it had when its names were read, and when that was (`time.monotonic`)."""

    stamp: Stamp
    folder: Folder
    listed: float


Memory = dict[str, Remembered]
"""Path -> the folder there as the walk before has found it."""


class _Place(NamedTuple):
    """A folder to walk into: `real` is its real path, `expected` what it would be if nothing above were a link."""

    path: str
    real: str
    expected: str
    parents: frozenset[str]
    linked: bool


def walk_folders(path: str, root: str, told: Told, memory: Memory) -> Iterator[Folder]:
    """Yield the folders below `path`, links that stay inside `root` followed, but none into its own parents.

    `root` is the real path of `path`. Of a folder in `memory` where no name has come or gone since, only the sizes and
    times are looked at, and if they are the same too, the very same object is yielded. When the walk has ended,
    `memory` holds what it has found.
    """
    stack = [_Place(path, root, root, frozenset(), True)]
    aliases: dict[str, int] = {}
    found: Memory = {}
    while stack:
        here = stack.pop()
        if here.real in here.parents:
            continue
        if here.real != here.expected:
            # Links to folders of links double with every step down.
            aliases[here.real] = aliases.get(here.real, 0) + 1
            if aliases[here.real] == _MOST_ALIASES + 1:
                told.notes.append(
                    f"{here.real} is reached by more than {_MOST_ALIASES} links; the others are not followed."
                )
            if aliases[here.real] > _MOST_ALIASES:
                continue
        read = _read(here, root, told, memory.get(here.path))
        if read is None:
            continue
        folder, links, remembered = read
        if remembered is not None:
            found[here.path] = remembered
        yield folder
        if not folder.folders:
            continue
        parents = here.parents | {here.real}
        inside, really, expected = (os.path.join(p, "") for p in (here.path, here.real, here.expected))
        for name in reversed(folder.folders):
            linked = name in links
            real = os.path.realpath(inside + name) if linked else really + name
            stack.append(_Place(inside + name, real, expected + name, parents, linked))
    memory.clear()
    memory.update(found)


def read_folder(path: str, root: str, told: Told) -> Folder | None:
    """Return what a folder holds, or None where there is none; what cannot be looked at is told."""
    read = _read(_Place(path, "", "", frozenset(), True), root, told, None)
    return None if read is None else read[0]


def is_within(path: str, root: str) -> bool:
    """Tell whether a real path is a real folder, or lies in it."""
    return os.path.commonpath([path, root]) == root


def make_stamp(status: os.stat_result) -> Stamp:
    """Return the stamp of a file or a folder, taken before it is read."""
    # rsync and tar set the one time back, but nobody the other.
    settled = time.time() - _SETTLED
    if status.st_mtime > settled or status.st_ctime > settled:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(
    place: _Place, root: str, told: Told, known: Remembered | None
) -> tuple[Folder, set[str], Remembered | None] | None:
    """Return a folder, which of its folders are links, and what to remember of it."""
    try:
        # Below a descriptor, no path has to be walked for each file; and what has become a link meanwhile is no folder.
        descriptor = os.open(place.path, os.O_RDONLY | os.O_DIRECTORY | (0 if place.linked else os.O_NOFOLLOW))
        try:
            # Before the names, so that a change while they are read is one that the next walk sees.
            stamp = make_stamp(os.fstat(descriptor))
            now = time.monotonic()
            if known is not None and known.stamp == stamp and now - known.listed < MOST_TRUSTED_SECONDS:
                folder = _look_again(known.folder, descriptor)
                if folder is not None:
                    return folder, set(), known if folder is known.folder else Remembered(stamp, folder, known.listed)
            folder, links, plain = _list(place.path, descriptor, root, told)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        told.problems.append(f"{place.path} cannot be listed: {error.strerror or error}.")
        return None
    # Where a link leads changes without a trace in the folder that it lies in.
    return folder, links, Remembered(stamp, folder, now) if plain and stamp is not None else None


def _look_again(known: Folder, descriptor: int) -> Folder | None:
    """Return a folder whose names are known with the sizes and times of now, itself if they are the same; else None."""
    sizes: dict[str, int] = {}
    times: dict[str, float] = {}
    modified = known.times
    try:
        for name, size in known.sizes.items():
            # None is a link: such a folder is not remembered.
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if status.st_size != size or status.st_mtime != modified[name]:
                sizes[name], times[name] = status.st_size, status.st_mtime
    except OSError:
        return None
    if not times:
        return known
    return Folder(known.path, {**known.sizes, **sizes}, {**known.times, **times}, known.folders)


def _list(path: str, descriptor: int, root: str, told: Told) -> tuple[Folder, set[str], bool]:
    """Return a folder, which of its folders are links, and whether it holds none and could be looked at in full."""
    sizes: dict[str, int] = {}
    times: dict[str, float] = {}
    folder = Folder(path, sizes, times, [])
    links: set[str] = set()
    plain = True
    with os.scandir(descriptor) as entries:
        for entry in entries:
            try:
                if entry.is_file(follow_symlinks=False):
                    name, status = entry.name, entry.stat()
                    sizes[name], times[name] = status.st_size, status.st_mtime
                elif entry.is_symlink():
                    plain = False
                    _list_link(entry, folder, links, root, told)
                elif entry.is_dir():
                    folder.folders.append(entry.name)
            except FileNotFoundError:
                plain = False  # it went while we looked, or is a link to nothing
            except OSError as error:
                plain = False
                folder.add_unreadable(entry.name, f"{entry.name} cannot be read: {error.strerror or error}.")
    folder.folders.sort()
    return folder, links, plain


def _list_link(entry: os.DirEntry[str], folder: Folder, links: set[str], root: str, told: Told) -> None:
    path = os.path.join(folder.path, entry.name)
    if is_within(os.path.realpath(path), root):
        if entry.is_dir():
            folder.folders.append(entry.name)
            links.add(entry.name)
        elif entry.is_file():
            status = entry.stat()
            folder.sizes[entry.name], folder.times[entry.name] = status.st_size, status.st_mtime
    elif entry.is_dir():
        told.notes.append(
            f"{path} is a link that leads out of the logdir; it is not followed. "
            "Give its target as a logdir of its own (for TensorBoard in --logdir_spec, on the command line by itself)."
        )
    else:
        folder.add_unreadable(entry.name, f"{entry.name} is a link that leads out of the logdir; it is not read.")
