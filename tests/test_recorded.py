"""A training under each Keras writes its record by the callback; builder and arguments then pair without a pattern."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import train_under_both

HERE = Path(__file__).with_name("recorded")
BUILDERS = HERE / "recorded_builders.py"
ARGUMENTS = {"units": 24, "activation": "tanh"}
Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    train_under_both(HERE / "train_recorded.py", folder)
    return folder


@pytest.mark.parametrize("flavour", ["3", "legacy"])
def test_training_with_the_callback_pairs_without_patterns(cli: Cli, runs: Path, flavour: str) -> None:
    assert json.loads((runs / flavour / "ckptmeta.json").read_text()) == {
        "pairings": [{"checkpoints": "*", "builder": "wide", "arguments": ARGUMENTS}]
    }
    listed = cli("scan", runs / flavour, "--builders", BUILDERS, "--json")
    assert (listed.status, listed.stderr) == (0, "")
    assert [c["name"] for c in listed.document["checkpoints"]] == ["final.weights.h5", "ckpt-1", "ckpt-2"]
    for checkpoint in listed.document["checkpoints"]:
        pairing = checkpoint["pairing"]
        assert (pairing["builder"], pairing["arguments"]) == ("wide", ARGUMENTS)
        assert pairing["reason"] == "recorded in ckptmeta.json"
    shown = cli("scan", runs / flavour, "--builders", BUILDERS).stdout
    assert shown.count("wide (recorded in ckptmeta.json: units=24 activation=tanh)") == 3
    verified = cli("verify", runs / flavour, "--builders", BUILDERS, "--json")
    assert (verified.status, verified.stderr) == (0, "")
    assert [(v["status"], v["arguments"], v["bound"]) for v in verified.document["verdicts"]] == [
        ("match", ARGUMENTS, 4)
    ] * 3


def test_callback_of_either_keras_is_taken_by_the_others_fit(runs: Path) -> None:
    # The script asserts which Keras each callback is of; that it has come to its end shows that both are taken.
    assert json.loads((runs / "other" / "ckptmeta.json").read_text())["pairings"][0]["builder"] == "narrow"


def run_script(text: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "always", "-c", text, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_callback_whose_record_cannot_be_written_warns_and_lets_the_training_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ended = run_script(
        "import sys, tb_ckptmeta\n"
        "callback = tb_ckptmeta.record_callback(sys.argv[1], 'wide')\n"
        "callback.on_train_begin()\n"
        "print('trained')\n",
        tmp_path / "file",
    )
    assert (ended.returncode, ended.stdout) == (0, "trained\n")
    assert "RuntimeWarning: The training goes on without a record. " in ended.stderr
    assert str(tmp_path / "file") in ended.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_callback_of_what_does_not_fit_raises_before_the_training_and_imports_no_keras(tmp_path: Path) -> None:
    ended = run_script(
        "import sys, tb_ckptmeta\n"
        "assert not {'keras', 'tf_keras', 'tensorflow'} & set(sys.modules)\n"
        "try:\n"
        "    tb_ckptmeta.record_callback(sys.argv[1], 'wide', arguments={'units': [1]})\n"
        "except tb_ckptmeta.CkptMetaError as error:\n"
        "    print(error.code.value, error.message)\n"
        "assert not {'keras', 'tf_keras', 'tensorflow'} & set(sys.modules)\n",
        tmp_path,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("invalid_record ")
    assert "arguments.units is no JSON scalar" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_callback_without_any_keras_says_what_to_do(tmp_path: Path) -> None:
    ended = run_script(
        "import sys, tb_ckptmeta, importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if 'keras' in name else find(name, *rest)\n"
        "try:\n"
        "    tb_ckptmeta.record_callback(sys.argv[1], 'wide')\n"
        "except tb_ckptmeta.CkptMetaError as error:\n"
        "    print(error.code.value, error.message)\n",
        tmp_path,
    )
    assert ended.stdout.startswith("keras_missing "), ended.stderr
    assert "tb_ckptmeta.record" in ended.stdout
