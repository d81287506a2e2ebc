"""The machine that measures: what it is, and what a tree of processes takes of it. Linux (/proc)."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import threading
from pathlib import Path

_SAMPLES_EVERY = 0.02


def describe_machine() -> str:
    """Return the kind of machine and the versions that a measurement depends on, as one sentence."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    packages = ("tensorflow", "keras", "tensorboard")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB, {platform.system()} "
        f"{platform.release().partition('-')[0]}, Python {platform.python_version()}, {versions}."
    )


def make_environment() -> dict[str, str]:
    """Return the environment of a command as its users run it: modules are compiled once, and no GPU is looked for."""
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return {**{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}, **quiet}


def count_bytes_read() -> int:
    """Return how many bytes this process has read so far, from files, pipes or whatever (`rchar` of proc(5))."""
    lines = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(lines["rchar"])


class PeakMemory:
    """The most memory that this process and all below it have taken together while the context was open, in bytes.

    It is the sum of their proportional set sizes (`Pss` of /proc/PID/smaps_rollup): what forked processes share counts
    once. It is sampled, which takes time: do not measure both at once.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            self.bytes = max(self.bytes, sum(_read_pss(pid) for pid in _find_tree(os.getpid())))
            if self._ended.wait(_SAMPLES_EVERY):
                return


def _find_tree(root: int) -> list[int]:
    """Return `root` and every process below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                stat = Path("/proc", name, "stat").read_text(errors="replace")
            except OSError:  # it ended meanwhile
                continue
            # The command may hold anything, so also brackets and spaces.
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def _read_pss(pid: int) -> int:
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:  # it ended meanwhile
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
