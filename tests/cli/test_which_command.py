"""`tb-ckptmeta which`, and `--set ARG=?`: what is printed, and the exit status."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]

ALIKE = """
import tensorflow as tf
from tb_ckptmeta import builder

@builder("other")
def other(units: int = 64, name: str = "?"):
    assert name == "?"
    return tf.keras.Sequential(
        [tf.keras.Input((784,)), tf.keras.layers.Dense(units), tf.keras.layers.Dense(10)], name="other"
    )
"""


@pytest.fixture
def alike(tmp_path: Path) -> Path:
    """A builder that is like the demo's `mlp`, with other units, and a string that a question mark is text for."""
    path = tmp_path / "alike.py"
    path.write_text(ALIKE)
    return path


def test_which_proposes_the_match_and_the_command_to_go_on_with(cli: Cli, demo_runs: Path, demo_builders: Path) -> None:
    outcome = cli("which", demo_runs / "custom" / "ckpt-30", "--builders", demo_builders)
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["BUILDER", "VERDICT", "BOUND", "MISSING", "UNEXPECTED", "OTHER", "SHAPE", "ARGUMENTS"]
    assert lines[1].split() == ["custom-model", "match", "4", "of", "4", "0", "0", "0", "-"]
    assert lines[-2] == "The only one of 3 builders that matches: 4 of 4 variables bound."
    command = shlex.split(lines[-1].removeprefix("Go on with: tb-ckptmeta "))
    assert command[0] == "verify"
    assert cli(*command).status == 0


def test_which_finds_arguments_where_no_default_matches_and_two_matches_are_not_decided(
    cli: Cli, demo_runs: Path, demo_builders: Path, alike: Path
) -> None:
    prefix = demo_runs / "mlp" / "ckpt-30"
    alone = cli("which", prefix, "--builders", alike, "--json")
    assert (alone.status, alone.stderr) == (0, "")
    assert (alone.document["proposed"]["builder"], alone.document["proposed"]["arguments"]) == ("other", {"units": 128})
    assert "units = 128 (from other/dense/kernel [784, 128], 3 variables agree)" in alone.document["reason"]
    alike.write_text(ALIKE.replace("= 64", "= 128"))
    both = cli("which", prefix, "--builders", alike, "--builders", demo_builders, "--json")
    assert (both.status, both.document["proposed"]) == (1, None)
    assert [c["builder"] for c in both.document["candidates"][:2]] == ["mnist-mlp", "other"]
    assert both.document["reason"].startswith("2 builders match equally")


def test_which_of_nothing_that_matches_has_status_1_and_of_nothing_that_runs_3(
    cli: Cli, demo_runs: Path, tmp_path: Path
) -> None:
    builders = tmp_path / "poor.py"
    builders.write_text("from tb_ckptmeta import builder\n@builder('bad')\ndef bad(): raise ValueError('no')\n")
    outcome = cli("which", demo_runs / "mlp" / "ckpt-30", "--builders", builders)
    assert (outcome.status, outcome.stderr) == (3, "")
    assert "bad: Builder 'bad' raised ValueError: no" in outcome.stdout
    builders.write_text(
        "import tensorflow as tf\nfrom tb_ckptmeta import builder\n@builder('small')\n"
        "def small(): return tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2)])\n"
    )
    outcome = cli("which", demo_runs / "mlp" / "ckpt-30", "--builders", builders)
    assert outcome.status == 1
    assert "The only builder that is registered, small, does not match: mismatch: 0 of 2" in outcome.stdout
    assert cli("which", demo_runs / "mlp" / "ckpt-30").status == 1
    assert cli("which", demo_runs / "mlp" / "nothing").status == 3


def test_verify_and_export_with_a_question_mark_solve_first(
    cli: Cli, demo_runs: Path, alike: Path, tmp_path: Path
) -> None:
    prefix, told = demo_runs / "mlp" / "ckpt-30", "units = 128 (from other/dense/kernel [784, 128], 3 variables agree)"
    verified = cli("verify", prefix, "--builders", alike, "--set", "units=?", "--set", "name=?", "--json")
    assert (verified.status, verified.stderr) == (0, "")
    (verdict,) = verified.document["verdicts"]
    assert (verdict["status"], verdict["arguments"]) == ("match", {"units": 128, "name": "?"})
    assert f"Solved for: {told}." in verdict["notes"]
    output = tmp_path / "other.meta"
    exported = cli("export", prefix, "--builders", alike, "--set", "units=?", "--output", output, "--no-check")
    assert (exported.status, exported.stderr) == (0, "")
    assert exported.stdout.splitlines()[0] == told
    assert output.stat().st_size > 0


def test_verify_of_an_argument_that_is_not_determined_has_status_1_and_says_why(
    cli: Cli, demo_runs: Path, alike: Path
) -> None:
    alike.write_text(ALIKE.replace("units: int = 64", "units: int = 128, seed: int = 3"))
    asked = ("--builders", alike, "--set", "seed=?")
    outcome = cli("verify", demo_runs / "mlp" / "ckpt-30", *asked, "--json")
    (verdict,) = outcome.document["verdicts"]
    assert (outcome.status, verdict["status"], verdict["error"]["code"]) == (1, "error", "not_determined")
    assert "any value of seed fits: it does not change any variable" in verdict["error"]["message"]
    output = alike.with_suffix(".meta")
    refused = cli("export", demo_runs / "mlp" / "ckpt-30", *asked, "--output", output)
    assert (refused.status, refused.stdout, output.exists()) == (1, "", False)
    assert "any value of seed fits" in refused.stderr


def test_verify_of_a_question_mark_that_is_no_integer_has_status_2(cli: Cli, demo_runs: Path, alike: Path) -> None:
    alike.write_text(ALIKE.replace("units: int = 64", "rate: float = 0.5"))
    outcome = cli("verify", demo_runs / "mlp" / "ckpt-30", "--builders", alike, "--set", "rate=?")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "rate takes a float, not '?'" in outcome.stderr


def test_verify_of_a_logdir_solves_for_each_checkpoint(cli: Cli, demo_runs: Path, alike: Path, tmp_path: Path) -> None:
    for step in (10, 20):
        for file in (demo_runs / "mlp").glob(f"ckpt-{step}.*"):
            (tmp_path / "runs").mkdir(exist_ok=True)
            shutil.copy(file, tmp_path / "runs")
    options = ("--builders", alike, "--builder", "other", "--set", "units=?", "--json")
    outcome = cli("verify", tmp_path / "runs", *options)
    assert outcome.status == 0
    assert [v["arguments"] for v in outcome.document["verdicts"]] == [{"units": 128}] * 2
