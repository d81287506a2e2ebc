"""What the tests share: the demo's checkpoints, the command line, the samples, and who is still alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What an earlier run has kept, or another test, must not answer for what is tested.
os.environ["TB_CKPTMETA_CACHE"] = ""

_MARK = "CKPTMETA_TEST_MARK"
_SAMPLES = Path(__file__).with_name("samples")


@dataclass(frozen=True)
class Outcome:
    """How a command ended. `left_alive` and `left_behind` are the processes and temporary files that it left."""

    status: int
    stdout: str
    stderr: str
    left_alive: list[str]
    left_behind: list[str]

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.stdout)


Cli = Callable[..., Outcome]


@pytest.fixture(scope="session")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `tb-ckptmeta` in a subprocess: `cli("verify", runs, "--json", environment={…}, cwd=…)`.

    Every argument is turned into text. A variable that is None is taken out of the environment.
    """

    def run(
        *arguments: object, environment: Mapping[str, str | None] | None = None, cwd: Path | None = None
    ) -> Outcome:
        temporary, mark = tmp_path_factory.mktemp("temporary"), uuid.uuid4().hex
        variables = {**os.environ, **(environment or {}), _MARK: mark, "TMPDIR": str(temporary)}
        ended = subprocess.run(
            [sys.executable, "-m", "tb_ckptmeta", *map(str, arguments)],
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            env={name: value for name, value in variables.items() if value is not None},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        left_behind = sorted(p.name for p in temporary.iterdir())
        return Outcome(ended.returncode, ended.stdout, ended.stderr, list(find_alive(mark).values()), left_behind)

    return run


@pytest.fixture(scope="session")
def demo_runs(tmp_path_factory: pytest.TempPathFactory, cli: Cli) -> Path:
    """The logdir that `tb-ckptmeta demo` writes, once a session: the runs `mlp`, `custom` and `scoped`.

    Its builders are `demo_runs.parent / "my_builders.py"`. Do not write into it: copy what a test changes.
    """
    directory = tmp_path_factory.mktemp("demo")
    outcome = cli("demo", directory, "--write-only")
    assert outcome.status == 0, outcome.stderr
    return directory / "runs"


@pytest.fixture(scope="session")
def demo_builders(demo_runs: Path) -> Path:
    """The demo's builders file; do not write into it."""
    return demo_runs.parent / "my_builders.py"


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """Return the path of a builders file of `tests/samples`, by its stem."""

    def get(name: str) -> Path:
        path = _SAMPLES / f"{name}.py"
        assert path.is_file(), path
        return path

    return get


_QUICK_TENSORFLOW = """
import sys
import numpy
from types import SimpleNamespace

config = SimpleNamespace(set_visible_devices=lambda devices, kind: None)
random = SimpleNamespace(set_seed=lambda seed: None)
get_logger = lambda: SimpleNamespace(setLevel=lambda level: None)
"""


@pytest.fixture(scope="session")
def quick_tensorflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of workers for which TensorFlow is something that is imported, in no time, and no more.

    That is enough to list builders. With it a worker takes a tenth of the time.
    """
    folder = tmp_path_factory.mktemp("quick")
    (folder / "tensorflow.py").write_text(_QUICK_TENSORFLOW, encoding="utf-8")
    return {"PYTHONPATH": str(folder)}


@dataclass(frozen=True)
class Surroundings:
    """Where a test's own workers put temporary files, and what tells their processes."""

    temporary: Path
    mark: str

    def find_alive(self) -> dict[int, str]:
        """Return the processes that this test has started and that are alive: PID -> command."""
        return find_alive(self.mark)

    def are_alive(self, pids: Iterable[int]) -> list[int]:
        """Return those of these processes that are alive."""
        return sorted(self.find_alive().keys() & set(pids))

    def wait_until_alone(self, seconds: float = 60.0) -> dict[int, str]:
        """Wait until no process of this test is alive; return those that are when the patience has ended."""
        deadline = time.monotonic() + seconds
        while (alive := self.find_alive()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return alive


@pytest.fixture
def leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surroundings]:
    """Mark the processes that this test starts; at its end none may be alive and no temporary file left."""
    surroundings = Surroundings(tmp_path / "temporary", uuid.uuid4().hex)
    surroundings.temporary.mkdir()
    monkeypatch.setenv(_MARK, surroundings.mark)
    monkeypatch.setenv("TMPDIR", str(surroundings.temporary))
    monkeypatch.setattr("tempfile.tempdir", str(surroundings.temporary))
    yield surroundings
    assert surroundings.find_alive() == {}
    assert sorted(p.name for p in surroundings.temporary.iterdir()) == []


def find_alive(mark: str) -> dict[int, str]:
    """Return PID -> command of every other living process with this mark in its environment, zombies apart."""
    needle = f"{_MARK}={mark}"
    if not os.path.isdir("/proc/self"):
        listing = subprocess.run(
            ["ps", "-A", "-E", "-ww", "-o", "pid=,command="], capture_output=True, text=True, check=True
        )
        rows = (line.strip().partition(" ") for line in listing.stdout.splitlines() if needle in line)
        return {int(pid): command for pid, _, command in rows if int(pid) != os.getpid()}
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            # A zombie's environment is empty.
            if needle.encode() in Path("/proc", name, "environ").read_bytes().split(b"\0"):
                command = Path("/proc", name, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                found[int(name)] = command.strip()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or is another user's
    return found
