"""What a process may take of this machine, as its control groups have it. Runs in the caller's process.

A container, a batch system's job and a systemd service see the whole machine in /proc, and are stopped at the limits of
their control group (cgroups(7)): throttled for its cores, killed for its memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_V2_MEMORY = ("memory.max", "memory.high")
_V1_UNLIMITED = 1 << 60
"""What a V1 group has for a limit is a number also where there is none: the largest multiple of a page."""


def count_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use, at least one: those it may run on, and its groups' quota of time.

    Args:
        root: where `proc` is mounted, and what that names.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(cores), *_find_quotas(root)])))


def find_memory(root: Path = Path("/")) -> int:
    """Return how many bytes of memory are to be had: the machine's, and what is left of the groups' limits."""
    return max(0, min([_find_machine_memory(root), *_find_group_memory(root)]))


def default_memory(root: Path = Path("/")) -> int:
    """Return how many bytes a worker may take where nobody says so: half of all that this process may.

    Of a machine's memory a container may take a part: at that limit the kernel kills, and nobody is told why.
    """
    limits = (limit for _, limit, _, _ in _find_limits(root))
    return min([_find_all_memory(), *limits]) // 2


def _find_all_memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # a platform that does not tell
        return 8 << 30


def _find_machine_memory(root: Path) -> int:
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        rows = dict(line.split(":", 1) for line in lines)
        return int(rows["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        return _find_all_memory()


def _find_quotas(root: Path) -> Iterator[float]:
    """Yield how many cores' time each group may take that has a limit."""
    for group in _find_groups(root, None):
        words = _read(group / "cpu.max").split()  # "max 100000", "150000 100000": of so many microseconds
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]):
            yield int(words[0]) / int(words[1])
    for group in _find_groups(root, "cpu"):
        quota, period = (_read(group / f"cpu.cfs_{name}_us") for name in ("quota", "period"))  # -1 for none
        if quota.isdecimal() and period.isdecimal() and int(period):
            yield int(quota) / int(period)


def _find_group_memory(root: Path) -> Iterator[int]:
    """Yield how many bytes are left to each group that has a limit."""
    for group, limit, usage, reclaimable in _find_limits(root):
        yield _subtract(group, limit, usage, reclaimable)


def _find_limits(root: Path) -> Iterator[tuple[Path, int, str, str]]:
    """Yield each group that has a limit, that limit in bytes, and the names under which it tells what of it is in use.

    The second of them is the line of `memory.stat` for what the kernel gives up when it has to.
    """
    for group in _find_groups(root, None):
        for name in _V2_MEMORY:
            limit = _read(group / name)  # or "max"
            if limit.isdecimal():
                yield group, int(limit), "memory.current", "inactive_file"
    for group in _find_groups(root, "memory"):
        limit = _read(group / "memory.limit_in_bytes")
        if limit.isdecimal() and int(limit) < _V1_UNLIMITED:
            yield group, int(limit), "memory.usage_in_bytes", "total_inactive_file"


def _subtract(group: Path, limit: int, usage: str, reclaimable: str) -> int:
    """Take from a limit what is in use, but for the files in memory that the kernel gives up when it has to."""
    used = _read(group / usage)
    rows = dict(line.split(" ", 1) for line in _read(group / "memory.stat").splitlines() if " " in line)
    cached = rows.get(reclaimable, "0")
    return limit - max(0, (int(used) if used.isdecimal() else 0) - (int(cached) if cached.isdecimal() else 0))


def _find_groups(root: Path, controller: str | None) -> Iterator[Path]:
    """Yield the folders of the groups that this process is in, from its own up: each may have a limit.

    Args:
        controller: of the V1 hierarchy that has it; None for V2's only one.
    """
    own = None
    for line in _read(root / "proc/self/cgroup").splitlines():
        names, _, path = line.partition(":")[2].partition(":")  # 4:memory:/path, of V2 0::/path
        if path and ((names == "") if controller is None else (controller in names.split(","))):
            own = PurePosixPath(path)
    if own is None:
        return
    for mounted, place in _find_mounts(root, controller):
        try:
            inside = own.relative_to(mounted)
        except ValueError:
            # A container's own names begin where it is mounted, whatever the machine calls that.
            inside = PurePosixPath()
        if ".." in inside.parts:
            inside = PurePosixPath()
        folder = root / place.relative_to("/")
        yield from (folder / p for p in (inside, *inside.parents))


def _find_mounts(root: Path, controller: str | None) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """Yield which group is mounted, and where (proc_pid_mountinfo(5))."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(more) < 3 or not fields[4].startswith("/"):
            continue
        if more[0] == "cgroup2" if controller is None else more[0] == "cgroup" and controller in more[2].split(","):
            yield PurePosixPath(fields[3]), PurePosixPath(fields[4])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
