"""What a process may take: limits of control groups, in files as the kernel has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tb_ckptmeta.engine.batch_pool import choose_workers
from tb_ckptmeta.engine.machine import count_cores, default_memory, find_memory

GIB = 1 << 30
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 ROOT /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 ROOT /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


@pytest.fixture(autouse=True)
def cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight of them, wherever the tests run."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


def write(root: Path, **files: str) -> Path:
    """Write files; a dot in a name stays, two underscores part folders."""
    for name, content in {"proc__meminfo": "MemTotal: 99 kB\nMemAvailable: 67108864 kB\n", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return root


def make(root: Path, group: str, mounts: str, folders: dict[str, dict[str, object]]) -> Path:
    write(root, proc__self__cgroup=group, proc__self__mountinfo=mounts)
    for folder, files in folders.items():
        for name, content in files.items():
            path = root / "sys/fs/cgroup" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{content}\n", encoding="ascii")
    return root


def test_machine_without_groups_gives_what_it_has(tmp_path: Path) -> None:
    root = write(tmp_path)
    assert (count_cores(root), find_memory(root), choose_workers(root=root)) == (8, 64 * GIB, 8)


def test_limits_of_version_2_hold_and_so_do_those_of_the_groups_above(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        "0::/batch/job\n",
        V2,
        {
            "batch/job": {"memory.max": 6 * GIB, "memory.current": 5 * GIB, "cpu.max": "max 100000"},
            "batch": {
                "memory.max": "max",
                "memory.high": 7 * GIB,
                "memory.current": 2 * GIB,
                "cpu.max": "350000 100000",
            },
        },
    )
    assert (count_cores(root), find_memory(root)) == (3, GIB)
    assert default_memory(root) == min(6 * GIB, default_memory(tmp_path / "none") * 2) // 2
    # What the kernel gives up by itself is to be had.
    (root / "sys/fs/cgroup/batch/job/memory.stat").write_text(f"anon 7\ninactive_file {4 * GIB}\n", encoding="ascii")
    assert find_memory(root) == 5 * GIB
    assert choose_workers(root=root) == 3
    assert choose_workers(largest=GIB, root=root) == 1


def test_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    limits = {".": {"memory.max": 3 * GIB, "memory.current": GIB, "cpu.max": "50000 100000"}}
    for number, own in enumerate(("0::/\n", "0::/../elsewhere\n", "0::/docker/0a1b\n")):
        root = make(tmp_path / str(number), own, V2, limits)
        assert (count_cores(root), find_memory(root)) == (1, 2 * GIB)


@pytest.mark.parametrize("mounted", ["/", "/docker/0a1b"])
def test_limits_of_version_1_hold(tmp_path: Path, mounted: str) -> None:
    inside = "docker/0a1b" if mounted == "/" else "."
    root = make(
        tmp_path,
        "4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n1:name=systemd:/docker/0a1b\n0::/\n",
        V1.replace("ROOT", mounted),
        {
            f"memory/{inside}": {
                "memory.limit_in_bytes": 4 * GIB,
                "memory.usage_in_bytes": 3 * GIB,
                "memory.stat": f"cache 1\ntotal_inactive_file {GIB}",
            },
            f"cpu,cpuacct/{inside}": {"cpu.cfs_quota_us": 200000, "cpu.cfs_period_us": 100000},
        },
    )
    assert (count_cores(root), find_memory(root), choose_workers(root=root)) == (2, 2 * GIB, 2)
    assert default_memory(root) == min(4 * GIB, default_memory(tmp_path / "none") * 2) // 2


def test_group_below_the_one_that_is_mounted_is_found(tmp_path: Path) -> None:
    mounts = V2.replace(" / /sys", " /docker/0a1b /sys")
    root = make(tmp_path, "0::/docker/0a1b/job\n", mounts, {"job": {"memory.max": GIB, "memory.current": 0}})
    assert find_memory(root) == GIB


def test_version_1_without_limits_is_no_limit(tmp_path: Path) -> None:
    root = make(
        tmp_path,
        "4:memory:/\n3:cpu,cpuacct:/\n",
        V1.replace("ROOT", "/"),
        {
            "memory": {"memory.limit_in_bytes": 9223372036854771712, "memory.usage_in_bytes": 3 * GIB},
            "cpu,cpuacct": {"cpu.cfs_quota_us": -1, "cpu.cfs_period_us": 100000},
        },
    )
    assert (count_cores(root), find_memory(root)) == (8, 64 * GIB)


def test_group_that_is_full_or_says_nonsense_leaves_one_worker(tmp_path: Path) -> None:
    limits = {"job": {"memory.max": GIB, "memory.current": 2 * GIB, "cpu.max": "nonsense"}}
    root = make(tmp_path, "0::/job\nnonsense\n", f"nonsense\n{V2}", limits)
    assert (count_cores(root), find_memory(root), choose_workers(root=root)) == (8, 0, 1)
