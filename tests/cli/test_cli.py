"""The command line as people and programs use it: documents, text, exit statuses, and what goes where."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tb_ckptmeta
from tb_ckptmeta.cli.arguments import DESCRIPTIONS
from tb_ckptmeta.cli.export import describe_check
from tb_ckptmeta.engine.export import CheckReport

Cli = Callable[..., Any]

CHECKPOINT_KEYS = {
    *("id", "run", "name", "prefix", "step", "bytes", "modified", "format", "state", "problem", "pairing"),
}
PAIRING_KEYS = {"builder", "arguments", "reason", "claims"}
VERDICT_KEYS = {
    *("checkpoint", "builder", "arguments", "status", "variables", "bound", "missing", "unexpected"),
    *("shape_mismatches", "dtype_mismatches", "bookkeeping", "renames", "notes", "error"),
    # Beyond the contract.
    *("ambiguous_renames", "renamed_status"),
}
ERROR_KEYS = {"code", "message", "details"}
BUILDER_KEYS = {
    *("name", "checkpoints", "keras", "graph", "source", "parameters", "documentation", "given", "notes"),
}
PARAMETER_KEYS = {"name", "annotation", "required", "default", "optional", "open"}

PLAIN = """
from tb_ckptmeta import builder

@builder("mlp", checkpoints=["mlp/*", "x/**"], keras="3")
def mlp(units: int = 128, *, name: str | None = None, rate=0.5, **rest):
    '''A classifier.

    More of it.
    '''

@builder("scoped", checkpoints="scoped/*", graph=True)
def scoped(depth): ...
"""


@pytest.fixture
def quick(cli: Cli, quick_tensorflow: dict[str, str]) -> Cli:
    """The command line, for what needs no more of TensorFlow than its import."""
    return lambda *arguments, **options: cli(*arguments, environment=quick_tensorflow, **options)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain_builders.py"
    path.write_text(PLAIN)
    return path


@pytest.fixture
def runs(demo_runs: Path, tmp_path: Path) -> Path:
    """Two checkpoints of a run, one of another, to be changed."""
    for pattern in ("mlp/ckpt-10.*", "mlp/ckpt-20.*", "scoped/model.ckpt-10.*"):
        for path in demo_runs.glob(pattern):
            (tmp_path / "runs" / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, tmp_path / "runs" / path.parent.name)
    return tmp_path / "runs"


# --- scan


def test_scan_as_json_prints_the_contracts_checkpoints(quick: Cli, runs: Path, plain: Path) -> None:
    outcome = quick("scan", runs, "--builders", plain, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert set(outcome.document) == {"checkpoints"}
    found = outcome.document["checkpoints"]
    assert [(c["run"], c["name"], c["step"], c["pairing"]["builder"]) for c in found] == [
        ("mlp", "ckpt-10", 10, "mlp"),
        ("mlp", "ckpt-20", 20, "mlp"),
        ("scoped", "model.ckpt-10", 10, "scoped"),
    ]
    for checkpoint in found:
        assert set(checkpoint) == CHECKPOINT_KEYS
        assert set(checkpoint["pairing"]) == PAIRING_KEYS
        assert (checkpoint["state"], checkpoint["format"], checkpoint["problem"]) == ("listed", None, "")
        files = list(Path(checkpoint["prefix"]).parent.glob(checkpoint["name"] + ".*"))
        assert checkpoint["bytes"] == sum(f.stat().st_size for f in files)
        assert checkpoint["modified"] == max(f.stat().st_mtime for f in files)


def test_scan_with_inspect_reads_every_index(quick: Cli, runs: Path, plain: Path) -> None:
    found = quick("scan", "--inspect", runs, "--json", "--builders", plain).document["checkpoints"]
    assert [(c["state"], c["format"]) for c in found] == [
        ("complete", "object"),
        ("complete", "object"),
        ("complete", "name"),
    ]
    assert [c["pairing"]["builder"] for c in found] == ["mlp", "mlp", "scoped"]


def test_scan_as_text_prints_a_table_alone(quick: Cli, runs: Path, plain: Path) -> None:
    outcome = quick("scan", runs, "--builders", plain)
    assert (outcome.status, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["RUN", "CHECKPOINT", "STEP", "SIZE", "FORMAT", "STATE", "BUILDER"]
    assert lines[1].split()[:3] == ["mlp", "ckpt-10", "10"]
    assert lines[1].endswith("mlp (pattern mlp/*)")
    assert len(lines) == 4


def test_scan_without_builders_lists_checkpoints_without_pairing(quick: Cli, runs: Path) -> None:
    outcome = quick("scan", runs, "--json")
    assert outcome.status == 0
    assert {c["pairing"]["builder"] for c in outcome.document["checkpoints"]} == {None}
    assert [c["pairing"]["claims"] for c in outcome.document["checkpoints"]] == [[], [], []]


def test_scan_with_builders_that_are_known_imports_no_tensorflow(
    cli: Cli, quick_tensorflow: dict[str, str], runs: Path, plain: Path, tmp_path: Path
) -> None:
    stub = Path(quick_tensorflow["PYTHONPATH"], "tensorflow.py").read_text()
    marks = tmp_path / "imports.txt"
    (tmp_path / "marks").mkdir()
    marking = f"{stub}\nwith open({str(marks)!r}, 'a') as file: file.write('x')\n"
    (tmp_path / "marks" / "tensorflow.py").write_text(marking)
    environment = {"PYTHONPATH": str(tmp_path / "marks"), "TB_CKPTMETA_CACHE": str(tmp_path / "cache")}
    for _ in range(2):
        outcome = cli("scan", runs, "--builders", plain, "--json", environment=environment)
        assert [c["pairing"]["builder"] for c in outcome.document["checkpoints"]] == ["mlp", "mlp", "scoped"]
        assert outcome.left_alive == []
        assert marks.read_text() == "x"


def test_scan_of_a_contested_checkpoint_has_status_1_and_shows_the_claims(quick: Cli, runs: Path, plain: Path) -> None:
    plain.write_text(PLAIN + "\n@builder('rival', checkpoints='mlp/*-20')\ndef rival(): ...\n")
    outcome = quick("scan", runs, "--builders", plain, "--json")
    assert outcome.status == 1
    contested = outcome.document["checkpoints"][1]["pairing"]
    assert (contested["builder"], contested["claims"]) == (None, ["mlp", "rival"])


def test_scan_of_an_incomplete_checkpoint_is_a_fact_and_no_failure(quick: Cli, runs: Path) -> None:
    (runs / "mlp" / "ckpt-10.data-00000-of-00001").unlink()
    outcome = quick("scan", runs)
    assert outcome.status == 0
    assert "incomplete" in outcome.stdout
    assert outcome.stderr == "mlp/ckpt-10: There is no shard (ckpt-10.data-00000-of-…) beside the index.\n"


def test_scan_with_inspect_of_a_corrupt_index_has_status_3(quick: Cli, runs: Path) -> None:
    os.truncate(runs / "mlp" / "ckpt-10.index", 50)
    assert quick("scan", runs).status == 0
    outcome = quick("scan", runs, "--inspect", "--json")
    assert outcome.status == 3
    assert [c["state"] for c in outcome.document["checkpoints"]] == ["corrupt", "complete", "complete"]
    assert "ckpt-10.index" in outcome.document["checkpoints"][0]["problem"]


def test_scan_of_an_empty_folder_has_status_3_and_one_document(quick: Cli, tmp_path: Path) -> None:
    outcome = quick("scan", tmp_path, "--json")
    assert (outcome.status, outcome.document) == (3, {"checkpoints": []})
    assert outcome.stderr.startswith("tb-ckptmeta: There is no checkpoint below")


def test_scan_of_names_that_steer_a_terminal_prints_them_harmless(quick: Cli, tmp_path: Path) -> None:
    (tmp_path / "\x1b[31mred").mkdir()
    (tmp_path / "\x1b[31mred" / "line\nbreak-1.index").write_bytes(b"x")
    outcome = quick("scan", tmp_path)
    assert "\x1b" not in outcome.stdout + outcome.stderr
    assert "\\x1b[31mred" in outcome.stdout
    assert len(outcome.stdout.splitlines()) == 2


def test_name_with_a_line_break_tells_no_line_of_its_own(quick: Cli, plain: Path, tmp_path: Path) -> None:
    forged = "x\nprod-1  mlp  match: 12 of 12 variables bound\n    note  reviewed-1"
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / (forged + suffix)).write_bytes(b"x")
    for command in (("verify", tmp_path, "--builders", plain), ("scan", tmp_path), ("inspect", tmp_path / forged)):
        outcome = quick(*command)
        lines = (outcome.stdout + outcome.stderr).splitlines()
        assert any(r"x\nprod-1" in line for line in lines), command
        assert not [line for line in lines if line.startswith(("prod-1", "    note"))]


# --- builders


def test_module_that_is_not_there_is_said_to_be_so_once(quick: Cli, tmp_path: Path) -> None:
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"ckpt-1{suffix}").write_bytes(b"x")
    for module in ("no_such_module", "json.no_such_module", "no_such_package.builders"):
        outcome = quick("verify", tmp_path / "ckpt-1", "--builders", module)
        assert outcome.status == 3
        assert f"tb-ckptmeta: There is no module {module} (looked in " in outcome.stderr
        assert "Traceback" not in outcome.stderr + outcome.stdout


def test_traceback_of_a_module_is_printed_once(quick: Cli, tmp_path: Path) -> None:
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"ckpt-1{suffix}").write_bytes(b"x")
    (tmp_path / "broken.py").write_text("import no_such_module\n", encoding="utf-8")
    outcome = quick("verify", tmp_path / "ckpt-1", "--builders", tmp_path / "broken.py")
    assert outcome.status == 3
    assert (outcome.stderr.count("Traceback"), outcome.stdout.count("Traceback")) == (1, 0)
    assert "ModuleNotFoundError" in outcome.stdout


def test_builders_as_json_prints_every_one(quick: Cli, plain: Path) -> None:
    outcome = quick("builders", "--json", "--builders", plain)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert set(outcome.document) == {"builders", "problems"}
    assert outcome.document["problems"] == []
    mlp, scoped = outcome.document["builders"]
    assert set(mlp) == set(scoped) == BUILDER_KEYS
    assert all(set(p) == PARAMETER_KEYS for p in (*mlp["parameters"], *scoped["parameters"]))
    assert (mlp["name"], mlp["checkpoints"], mlp["keras"], mlp["graph"]) == ("mlp", ["mlp/*", "x/**"], "3", None)
    assert [(p["name"], p["annotation"], p["default"]) for p in mlp["parameters"]] == [
        ("units", "int", 128),
        ("name", "str", None),
        ("rate", "float", 0.5),
        ("rest", None, None),
    ]
    assert (mlp["documentation"], mlp["given"], mlp["notes"]) == ("A classifier.", str(plain), [])
    assert mlp["source"] == f"{plain}:4 mlp"
    assert (scoped["graph"], scoped["parameters"][0]["required"]) == (True, True)


def test_builders_as_text_reads_as_one_writes_them(quick: Cli, plain: Path) -> None:
    outcome = quick("builders", "--builders", plain)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "mlp(units: int = 128, name: str | None = None, rate: float = 0.5, **rest)" in outcome.stdout
    assert "mlp/*, x/**" in outcome.stdout
    assert "A classifier." in outcome.stdout
    assert "scoped(depth)" in outcome.stdout


def test_builders_of_several_specs_lists_them_all(quick: Cli, plain: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(PLAIN.replace('"mlp"', '"a"').replace('"scoped"', '"b"'))
    outcome = quick("builders", "--builders", plain, "--json", "--builders", "other", cwd=tmp_path)
    assert [b["name"] for b in outcome.document["builders"]] == ["mlp", "scoped", "a", "b"]
    assert [b["given"] for b in outcome.document["builders"]][2:] == ["other", "other"]


def test_builders_with_one_broken_module_prints_the_others_and_has_status_3(
    quick: Cli, plain: Path, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    outcome = quick("builders", "--builders", plain, "--builders", tmp_path / "broken.py", "--json")
    assert outcome.status == 3
    assert [b["name"] for b in outcome.document["builders"]] == ["mlp", "scoped"]
    (problem,) = outcome.document["problems"]
    assert set(problem) == ERROR_KEYS
    assert problem["code"] == "module_failed"
    assert "ZeroDivisionError" in problem["message"]
    assert problem["message"] in outcome.stderr


# --- usage


@pytest.mark.parametrize(
    "arguments",
    [
        ["{runs}", "--builders", "{plain}", "--json"],
        ["--json", "--builders", "{plain}", "{runs}"],
        ["--builders={plain}", "{runs}", "--json"],
        ["--builders", "{plain}", "--json", "{runs}"],
        ["--json", "{runs}", "--inspect", "--builders", "{plain}"],
    ],
)
def test_options_and_positionals_in_any_order_are_taken(
    quick: Cli, runs: Path, plain: Path, arguments: list[str]
) -> None:
    outcome = quick("scan", *(a.format(runs=runs, plain=plain) for a in arguments))
    assert (outcome.status, outcome.stderr) == (0, "")
    assert [c["pairing"]["builder"] for c in outcome.document["checkpoints"]] == ["mlp", "mlp", "scoped"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "usage"),
        (["scann", "."], "There is no command 'scann'"),
        (["scan"], "LOGDIR"),
        (["scan", ".", "--jsn"], "--jsn"),
        (["scan", ".", "--jso"], "--jso"),
        (["scan", ".", "--timeout", "0"], "--timeout"),
        (["scan", ".", "--memory-limit", "nan"], "--memory-limit"),
        (["verify"], "LOGDIR|PREFIX"),
        (["verify", ".", "--set", "units"], "ARG=VALUE"),
        (["verify", ".", "--set", "=3"], "ARG=VALUE"),
        (["export", "x"], "--output"),
        (["export", "x", "y", "--output", "z"], "unrecognized arguments: y"),
        (["export", "x", "--output", "z", "--format", "onyx"], "There is no export format 'onyx'"),
        (["builders", "--builders", "no such thing"], "names no builders"),
        (["builders", "--builders", "absent.py"], "There is no builders file absent.py"),
    ],
)
def test_wrong_usage_has_status_2_and_says_what_on_stderr_alone(quick: Cli, arguments: list[str], said: str) -> None:
    outcome = quick(*arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert said in outcome.stderr
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["verify", "-h"], *([*command.split(), "--help"] for command in DESCRIPTIONS)]
)
def test_help_has_status_0_and_goes_to_stdout(quick: Cli, arguments: list[str]) -> None:
    outcome = quick(*arguments)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "usage: tb-ckptmeta" in outcome.stdout
    assert "%(" not in outcome.stdout


def test_version_is_the_packages(quick: Cli) -> None:
    assert quick("--version").stdout == tb_ckptmeta.__version__ + "\n"


def test_output_whose_reader_has_gone_ends_quietly(runs: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "tb_ckptmeta", "scan", str(runs), "--json"]
    ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (3, "")


# --- verify and export


def test_verify_as_json_prints_the_contracts_verdicts(cli: Cli, demo_runs: Path, demo_builders: Path) -> None:
    scoped, mlp = demo_runs / "scoped" / "model.ckpt-30", demo_runs / "mlp" / "ckpt-30"
    outcome = cli("verify", scoped, "--json", "--builders", demo_builders, mlp)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert set(outcome.document) == {"verdicts"}
    verdicts = outcome.document["verdicts"]
    assert [(v["builder"], v["status"], v["bound"]) for v in verdicts] == [
        ("scoped-graph", "match", 4),
        ("mnist-mlp", "match", 4),
    ]
    for verdict in verdicts:
        assert set(verdict) == VERDICT_KEYS
        assert verdict["error"] is None
        assert all(set(row) == {"key", "shape", "dtype"} for row in verdict["bookkeeping"])
        assert verdict["bookkeeping"]


def test_verify_on_a_terminal_tells_the_steps_there_and_the_verdict_on_stdout(
    demo_runs: Path, demo_builders: Path
) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "tb_ckptmeta", "verify", str(demo_runs / "mlp" / "ckpt-30")]
    command += ["--builders", str(demo_builders), "--set", "units=64"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    stdout = process.communicate()[0]
    shown = b""
    while chunk := _read_terminal(ours):
        shown += chunk
    os.close(ours)
    assert process.returncode == 1
    assert "ckpt-30: importing TensorFlow" in shown.decode()
    assert shown.decode().rstrip(" ").endswith("\r")  # and takes its line away
    first, *rows = stdout.splitlines()
    assert first == "ckpt-30  mnist-mlp  mismatch: 1 of 4 variables bound, 3 of another shape"
    kernel = "mlp/hidden/kernel is [784, 64], the checkpoint's "
    assert any(kernel in row and row.endswith(" is [784, 128]") for row in rows)
    assert any("of the training's own: optimizer, counters" in row for row in rows)


def _read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way to say that the other side has closed it
        return b""


def test_verify_of_a_checkpoint_without_a_builder_is_an_error_verdict_with_status_1(
    quick: Cli, runs: Path, plain: Path
) -> None:
    plain.write_text(PLAIN.replace('"x/**"', '"y/**"').replace("mlp/*", "z/*"))
    outcome = quick("verify", runs / "mlp", "--builders", plain, "--json")
    assert (outcome.status, outcome.stderr) == (1, "")
    for verdict in outcome.document["verdicts"]:
        assert set(verdict) == VERDICT_KEYS
        assert (verdict["status"], verdict["builder"], verdict["error"]["code"]) == ("error", None, "no_builder")
        assert set(verdict["error"]) == ERROR_KEYS


def test_verify_of_a_broken_checkpoint_is_an_error_verdict_with_status_3(quick: Cli, runs: Path, plain: Path) -> None:
    os.truncate(runs / "scoped" / "model.ckpt-10.index", 50)
    outcome = quick("verify", runs / "scoped" / "model.ckpt-10", "--builders", plain, "--set", "depth=3", "--json")
    assert outcome.status == 3
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["status"], verdict["error"]["code"]) == ("error", "checkpoint_corrupt")
    assert (verdict["variables"], verdict["bound"], verdict["missing"]) == (0, 0, [])
    assert (verdict["builder"], verdict["arguments"]) == ("scoped", {"depth": 3})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--builder", "nobody"], "No builder 'nobody' is registered. Registered: mlp, scoped."),
        (["--set", "units=many"], "units takes an int, not 'many'"),
        (["--builder", "scoped", "--set", "width=3"], "there is no parameter 'width'; depth is missing"),
    ],
)
def test_verify_asked_wrongly_has_status_2_and_prints_no_document(
    quick: Cli, runs: Path, plain: Path, options: list[str], said: str
) -> None:
    outcome = quick("verify", *options, runs / "mlp" / "ckpt-10", "--json", "--builders", plain)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert said in outcome.stderr


@pytest.mark.parametrize(
    ("report", "sentence"),
    [
        (
            CheckReport("passed", "tf.train.Checkpoint", 1.25e-7, 1e-5),
            "max abs difference 1.25e-07 (tolerated 1e-05) from the model restored by tf.train.Checkpoint.",
        ),
        (
            CheckReport("passed", "tf.train.Checkpoint", 0.0, 1e-5, "Some begin alike."),
            "max abs difference 0 (tolerated 1e-05) from the model restored by tf.train.Checkpoint. Some begin alike.",
        ),
        (CheckReport("passed", "a Saver"), "outputs equal those of the model restored by a Saver."),
        (CheckReport("skipped", note="Not checked."), "Not checked."),
    ],
)
def test_describe_check_says_by_how_much_and_from_what(report: CheckReport, sentence: str) -> None:
    assert describe_check(report) == sentence


@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_export_without_a_checkpoint_has_status_3_and_stderr_alone(
    quick: Cli, tmp_path: Path, plain: Path, json_too: list[str]
) -> None:
    outcome = quick("export", tmp_path / "ckpt-1", "--output", tmp_path / "x.meta", "--builders", plain, *json_too)
    assert (outcome.status, outcome.stdout) == (3, "")
    assert "There is no checkpoint" in outcome.stderr
    assert os.listdir(tmp_path) == [plain.name]


def test_documents_are_plain_json_for_every_parser(quick: Cli, runs: Path, plain: Path) -> None:
    (runs / "mlp" / "ckptmeta.json").write_text('{"pairings": [{"builder": "mlp", "arguments": {"rate": NaN}}]}')
    outcome = quick("scan", runs, "--builders", plain, "--json")
    assert "ckptmeta.json" in outcome.stderr
    assert outcome.stdout.isascii()
    assert "NaN" not in outcome.stdout
    first, *rows, last = outcome.stdout.splitlines()
    assert (first, last) == ('{"checkpoints": [', "]}")
    assert [json.loads(row.rstrip(",")) for row in rows] == outcome.document["checkpoints"]
