"""Make temporary folders, and take away those of processes that were killed. Runs in the caller's process.

A process that ends takes its folders with it, however it is told to end. One that is killed (`kill -9`, a system out of
memory) cannot, and an export may have been large. So a folder's name says whose it is, and the first folder that a
later process makes takes those away whose process is no more.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "ckptmeta-"

_OWNED = re.compile(re.escape(PREFIX) + r"(?P<system>[0-9a-f]{8})-(?P<pid>\d+)-(?P<began>\d+)-.+")
# Of what stands behind the name in /proc/PID/stat: the state, and when it began, in ticks since the machine did.
_STATE, _BEGAN = 0, 19
_lock = threading.Lock()
_swept: set[str] = set()


@contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """Give a folder in `parent`, or where temporary files lie, for as long as the context is open."""
    with tempfile.TemporaryDirectory(prefix=_begin_name(parent), dir=parent) as folder:
        yield Path(folder)


def make_temporary_folder() -> Path:
    """Make a folder where temporary files lie; the caller takes it away."""
    return Path(tempfile.mkdtemp(prefix=_begin_name(None)))


def _begin_name(parent: Path | None) -> str:
    """Return what a new folder's name begins with; the first that is asked for here takes away what was left behind."""
    system = _name_system()
    if parent is not None or system is None:
        return PREFIX
    place = tempfile.gettempdir()
    with _lock:
        if place not in _swept:
            _swept.add(place)
            _sweep(place, system)
    began = _find_beginning(os.getpid())
    return PREFIX if began is None else f"{PREFIX}{system}-{os.getpid()}-{began}-"


def _sweep(place: str, system: str) -> None:
    """Take away this user's folders whose process, of this very system, is no more; in any doubt they stay."""
    try:
        with os.scandir(place) as entries:
            left = [entry.path for entry in entries if _is_left_behind(entry, system)]
    except OSError:  # another time
        return
    for path in left:  # of files and links none is taken away
        shutil.rmtree(path, ignore_errors=True)


def _is_left_behind(entry: os.DirEntry[str], system: str) -> bool:
    owner = _OWNED.fullmatch(entry.name)
    if owner is None or owner["system"] != system:  # of another machine's processes nothing is known here
        return False
    try:
        is_ours = entry.stat(follow_symlinks=False).st_uid == os.getuid()
    except OSError:  # it has gone meanwhile
        return False
    return is_ours and not _is_alive(int(owner["pid"]), owner["began"])


@functools.cache
def _name_system() -> str | None:
    """Return what tells this start of this machine, and this container's processes and clock, from others.

    None where the system does not tell that.
    """
    try:
        facts = [Path("/proc/sys/kernel/random/boot_id").read_text("ascii"), os.readlink("/proc/self/ns/pid")]
        if os.readlink("/proc/self") != str(os.getpid()):  # it shows the processes of another container
            return None
        if os.path.lexists("/proc/self/ns/time"):  # Linux 5.6
            facts.append(os.readlink("/proc/self/ns/time"))
    except OSError:
        return None
    return hashlib.blake2b("".join(facts).encode("ascii"), digest_size=4).hexdigest()


def _is_alive(pid: int, began: str) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    facts = _read_facts(pid)
    # Another process may have got its number; and one that has ended may keep it until somebody asks how.
    return facts is None or (facts[_BEGAN] == began and facts[_STATE] not in ("Z", "X"))


def _find_beginning(pid: int) -> str | None:
    facts = _read_facts(pid)
    return None if facts is None else facts[_BEGAN]


def _read_facts(pid: int) -> list[str] | None:
    """Return what the system tells of a process behind its name (proc_pid_stat(5)), or None."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return text.rpartition(b")")[2].decode("ascii").split()  # the name may hold spaces and parentheses
