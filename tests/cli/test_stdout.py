"""What is printed where it cannot be printed: one sentence, and the status of what could not be done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tb_ckptmeta.cli import main

Run = Callable[..., "subprocess.CompletedProcess[str]"]

NAME = "r\u00fcn\u2044x"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command line of a shell in a folder with a logdir `logs` of one checkpoint, `$T` being the command."""
    run = tmp_path / "logs" / NAME
    run.mkdir(parents=True)
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (run / name).write_bytes(b"")

    def run_line(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = f'T="{sys.executable} -m tb_ckptmeta"; {line}'
        given = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | environment
        return subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=given, capture_output=True, encoding="utf-8", check=False
        )

    return run_line


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}])
@pytest.mark.parametrize("command", ["scan logs", "scan logs --json", "--help", "scan --help", "--version"])
def test_full_disk_behind_the_output_is_told_in_a_sentence(run: Run, command: str, environment: dict[str, str]) -> None:
    ended = run(f"$T {command} > /dev/full", **environment)
    assert ended.stderr == "tb-ckptmeta: The output cannot be written: No space left on device.\n"
    assert ended.returncode == 3


@pytest.mark.parametrize("command", ["scan logs", "scan logs --json", "scan --help"])
def test_output_that_is_closed_is_no_failure(run: Run, command: str) -> None:
    ended = run(f"$T {command} >&-")
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = run(f"$T {command} 2>&-")
    assert (ended.returncode, bool(ended.stdout)) == (0, True)


def test_reader_that_goes_ends_the_command_quietly(run: Run) -> None:
    ended = run("$T scan logs | true; echo ${PIPESTATUS[0]}")
    assert (ended.stdout, ended.stderr) in (("3\n", ""), ("0\n", ""))  # it may have read all before it went


@pytest.mark.parametrize("command", ["--help", "scan logs", "scan logs --json"])
def test_name_without_letters_in_the_encoding_is_printed_escaped(run: Run, command: str) -> None:
    ended = run(f"$T {command}", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "\\u" in ended.stdout


@pytest.mark.parametrize("argument", ["help", "--help", "-h"])
def test_help_lists_the_commands(run: Run, argument: str) -> None:
    ended = run(f"$T {argument}")
    assert ended.returncode == 0
    assert "  batch verify  Verify every checkpoint" in ended.stdout


def test_batch_alone_lists_its_own_commands(run: Run) -> None:
    for line, status in (("$T batch --help", 0), ("$T batch >&2", 2)):
        ended = run(line)
        assert ended.returncode == status
        listed = [row.split("  ")[1] for row in (ended.stdout or ended.stderr).splitlines() if row.startswith("  ")]
        assert listed == ["batch verify", "batch export"]


def test_defect_has_not_the_status_of_a_verdict(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: object) -> int:
        raise ZeroDivisionError("somewhere")

    monkeypatch.setitem(sys.modules["tb_ckptmeta.cli.main"]._COMMANDS, "scan", fail)
    assert main(["scan", "."]) == 3
    said = capsys.readouterr().err
    assert "tb-ckptmeta: This is a defect of tb-ckptmeta (ZeroDivisionError: somewhere); please report it" in said
    assert 'raise ZeroDivisionError("somewhere")' in said
