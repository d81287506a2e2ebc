"""Temporary folders say whose they are, and those of a process that was killed are taken away by the next."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from waiting import wait_until

from tb_ckptmeta.engine import temporary
from tb_ckptmeta.engine.temporary import make_temporary_folder, temporary_folder

_MAKE = """
import sys
from tb_ckptmeta.engine.temporary import make_temporary_folder
print(make_temporary_folder(), flush=True)
sys.stdin.read()
"""

Make = Callable[[], tuple[Path, "subprocess.Popen[str]"]]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie, and nobody has looked for what was left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.fixture
def make(place: Path) -> Iterator[Make]:
    """Make a folder in a process of its own, which lives until it is killed or its input ends."""

    started: list[subprocess.Popen[str]] = []

    def make_there() -> tuple[Path, subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-c", _MAKE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        return Path(process.stdout.readline().strip()), process

    yield make_there
    for process in started:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    with process:  # which closes its pipes, and waits
        pass


def test_folder_of_a_process_that_was_killed_goes_with_the_next_and_that_of_a_living_one_stays(
    place: Path, make: Make
) -> None:
    (left, killed), (used, living) = make(), make()
    (left / "weights").write_bytes(b"many")
    kill(killed)
    with temporary_folder() as own:
        assert sorted(place.iterdir()) == sorted([used, own])
    assert list(place.iterdir()) == [used]
    kill(living)
    # Once in a process: that looks through all that lies there.
    with temporary_folder() as own:
        assert sorted(place.iterdir()) == sorted([used, own])


def test_folder_of_a_process_that_was_killed_and_not_waited_for_goes(place: Path, make: Make) -> None:
    left, process = make()
    process.kill()
    wait_until(lambda: temporary._read_facts(process.pid)[0] == "Z", "it has ended")  # type: ignore[index]
    own = make_temporary_folder()
    assert list(place.iterdir()) == [own]
    assert not left.exists()


def test_folder_of_a_living_process_stays_where_clocks_are_shifted(place: Path, make: Make) -> None:
    shifted = ["unshare", "--time", "--fork", "--boottime", "100000"]
    if shutil.which("unshare") is None or subprocess.run([*shifted, "true"], check=False).returncode != 0:
        pytest.skip("this user may make no time namespace")
    used, process = make()
    sweep = "from tb_ckptmeta.engine.temporary import make_temporary_folder; print(make_temporary_folder())"
    subprocess.run([*shifted, sys.executable, "-c", sweep], check=True, capture_output=True)
    assert used.is_dir()
    assert process.poll() is None


def test_folder_of_a_process_whose_number_another_has_now_goes(place: Path, make: Make) -> None:
    left, living = make()
    system, pid, began = left.name.split("-")[1:4]
    left.rename(place / f"ckptmeta-{system}-{pid}-{int(began) - 1}-abc")
    own = make_temporary_folder()
    assert list(place.iterdir()) == [own]
    assert living.poll() is None


@pytest.mark.parametrize(
    "name",
    [
        "ckptmeta-abc",
        "ckptmeta-{system}-{pid}-{began}",
        "ckptmeta-{system}-{pid}-abc-abc",
        "my-ckptmeta-{system}-{pid}-{began}-abc",
        "ckptmeta-0123abcd-{pid}-{began}-abc",
        "ckptmeta-{system}-{living}-{beginning}-abc",
    ],
)
def test_what_may_be_another_s_stays(place: Path, make: Make, name: str) -> None:
    left, process = make()
    kill(process)
    system, pid, began = left.name.split("-")[1:4]
    living, beginning = os.getpid(), temporary._find_beginning(os.getpid())
    name = name.format(system=system, pid=pid, began=began, living=living, beginning=beginning)
    kept = left.rename(place / name)
    own = make_temporary_folder()
    assert sorted(place.iterdir()) == sorted([kept, own])


def test_files_and_links_of_such_names_stay(place: Path, make: Make, tmp_path: Path) -> None:
    left, process = make()
    kill(process)
    left.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    left.symlink_to(tmp_path / "elsewhere")
    left.with_name(f"{left.name}-file").touch()
    make_temporary_folder()
    assert left.is_symlink()
    assert left.with_name(f"{left.name}-file").is_file()
    assert (tmp_path / "elsewhere" / "file").is_file()


@pytest.mark.skipif(os.getuid() != 0, reason="root alone may give a folder to another user")
def test_folder_of_another_user_stays(place: Path, make: Make) -> None:
    left, process = make()
    kill(process)
    os.chown(left, 12345, -1)
    own = make_temporary_folder()
    assert sorted(place.iterdir()) == sorted([left, own])


def test_where_nothing_tells_systems_apart_folders_are_made_and_nothing_is_taken_away(
    place: Path, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, process = make()
    kill(process)
    monkeypatch.setattr(temporary, "_name_system", lambda: None)
    own = make_temporary_folder()
    assert sorted(place.iterdir()) == sorted([left, own])
    assert own.name.startswith("ckptmeta-")


def test_folder_within_another_is_not_named_after_a_process(place: Path, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    parent.mkdir()
    with temporary_folder(parent) as folder:
        assert folder.parent == parent
        assert str(os.getpid()) not in folder.name
    assert list(parent.iterdir()) == []
