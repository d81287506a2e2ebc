"""`tb-ckptmeta batch` as people use it: what it writes and says, how it ends, and how it goes on after it was ended."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results import read_results
from started import started
from waiting import wait_until

from tb_ckptmeta.cli import main
from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.engine.batch_results import Results

Cli = Callable[..., Any]
Runs = Callable[..., Path]

PATIENCE = 120.0


def test_batch_verify_writes_a_line_for_each_checkpoint_and_sums_up(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path
) -> None:
    runs = make_runs("runs", mlp=[10, 20], wide=[10], alien=[10], broken=[10])
    (runs / "mlp/ckpt-20.data-00000-of-00001").unlink()
    more = make_runs("more", mlp=[30])
    output = tmp_path / "verdicts.jsonl"
    outcome = cli("batch", "verify", runs, more, "--output", output, "--builders", builders, "--match", "[!b]*/*")
    assert (outcome.status, outcome.left_alive, outcome.left_behind) == (3, [], [])
    lines = read_results(output)
    assert {title: line["status"] for title, line in lines.items()} == {
        "mlp/ckpt-10": "match",
        "mlp/ckpt-20": "error",
        "mlp/ckpt-30": "match",
        "wide/ckpt-10": "mismatch",
        "alien/ckpt-10": "error",
    }
    assert lines["alien/ckpt-10"]["error"]["code"] == "no_builder"
    assert lines["mlp/ckpt-20"]["error"]["code"] == "checkpoint_incomplete"
    match = lines["mlp/ckpt-30"]
    assert (match["prefix"], match["bound"], match["missing"]) == (str(more / "mlp/ckpt-30"), 4, [])
    sources = {s.pop("sources"): s for s in map(json.loads, Path(f"{output}.sources").read_text().splitlines())}
    files = sources[match["sources"]]["files"]
    assert {Path(p).name for p in files} - {"keras.json"} == {"batch_builders.py", "batch_units.py"}
    assert set(sources) == {line["sources"] for line in lines.values()} - {None}
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert rows[:5] == [
        ["BUILDER", "CHECKPOINTS", "MATCH", "PARTIAL", "MISMATCH", "ERROR"],
        ["-", "1", "0", "0", "0", "1"],
        ["mlp", "3", "2", "0", "0", "1"],
        ["wide", "1", "0", "0", "1", "0"],
        ["all", "5", "2", "0", "1", "2"],
    ]
    for text in ("wide/ckpt-10  wide  mismatch: 1 of 4", "mlp/ckpt-20  mlp  error: Checkpoint ckpt-20 is incomplete"):
        assert text in outcome.stdout
    assert f"5 checkpoints in {output}" in outcome.stdout


def test_batch_that_was_ended_goes_on_and_does_nothing_twice(
    make_runs: Runs, builders: Path, tmp_path: Path, leaves_nothing: Any
) -> None:
    runs, output = make_runs("runs", mlp=[10, 20, 30], late=[10, 20]), tmp_path / "verdicts.jsonl"
    command = [sys.executable, "-m", "tb_ckptmeta", "batch", "verify", str(runs), "--output", str(output)]
    command += ["--builders", str(builders), "--workers", "2"]
    done: bytes = b""
    for end in (signal.SIGKILL, signal.SIGINT):
        with started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            wait_until(lambda: output.exists() and output.read_bytes().count(b"\n") == 3, "three are done", PATIENCE)
            wait_until((builders.parent / "waits").exists, "the builder waits", PATIENCE)
            process.send_signal(end)
            _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode == (-end if end == signal.SIGKILL else 130), said
        assert leaves_nothing.wait_until_alone() == {}
        (builders.parent / "waits").unlink()
        if end == signal.SIGINT:
            assert "Interrupted: 3 of 5 checkpoints are done" in said
            assert output.read_bytes() == done
        else:  # nobody could clear up
            for path in leaves_nothing.temporary.iterdir():
                subprocess.run(["rm", "-r", str(path)], check=True)
        done = output.read_bytes()
        assert sorted(read_results(output)) == ["mlp/ckpt-10", "mlp/ckpt-20", "mlp/ckpt-30"]
    (builders.parent / "go").touch()
    with output.open("ab") as file:
        file.write(b'{"prefix": "/half/written')
    ended = subprocess.run([*command, "--resume", "--json"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert output.read_bytes().startswith(done)
    assert {line["status"] for line in read_results(output).values()} == {"match"}
    summary = json.loads(ended.stdout)
    assert (summary["checkpoints"], summary["earlier"], summary["failures"]) == (5, 3, [])
    assert summary["statuses"] == {"match": 5, "partial": 0, "mismatch": 0, "error": 0}


def test_batch_takes_the_builder_arguments_and_renames_that_are_asked_for(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path
) -> None:
    runs, output = make_runs("runs", mlp=[10], wide=[20]), tmp_path / "verdicts.jsonl"
    asked = ("--builder", "wrapped", "--set", "units=128", "--rename", ".=backbone")
    outcome = cli("batch", "verify", runs, "--output", output, "--builders", builders, *asked, "--json")
    assert outcome.status == 0, outcome.stderr
    found = {
        title: (line["builder"], line["arguments"], line["status"]) for title, line in read_results(output).items()
    }
    assert found == dict.fromkeys(("mlp/ckpt-10", "wide/ckpt-20"), ("wrapped", {"units": 128}, "match"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_batch_that_is_told_to_end_leaves_nothing_and_says_so(
    make_runs: Runs, builders: Path, tmp_path: Path, leaves_nothing: Any, number: signal.Signals
) -> None:
    runs, output = make_runs("runs", late=[10]), tmp_path / "verdicts.jsonl"
    command = [sys.executable, "-m", "tb_ckptmeta", "batch", "verify", str(runs), "--output", str(output)]
    with started([*command, "--builders", str(builders)], stderr=subprocess.PIPE, text=True) as process:
        wait_until((builders.parent / "waits").exists, "the builder waits", PATIENCE)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, said
    assert f"Ended by {number.name}: 0 of 1 checkpoints are done" in said
    assert leaves_nothing.wait_until_alone() == {}


def test_what_could_not_be_looked_at_is_a_problem_and_what_was_left_alone_is_none(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path
) -> None:
    runs, output = make_runs("runs", mlp=[10]), tmp_path / "verdicts.jsonl"
    (runs / "away").symlink_to(make_runs("elsewhere", mlp=[20]))
    arguments = ("batch", "verify", runs, "--output", output, "--builders", builders, "--json")
    outcome = cli(*arguments)
    assert (outcome.status, outcome.document["problems"]) == (0, [])
    assert "leads out" in outcome.stderr
    (runs / "broken").mkdir()
    (runs / "broken" / "ckptmeta.json").write_text("{", encoding="utf-8")
    outcome = cli(*arguments)
    assert (outcome.status, outcome.document["statuses"]["match"]) == (3, 1)
    (problem,) = outcome.document["problems"]
    assert problem["code"] == "checkpoint_unreadable"
    assert f"The record {runs / 'broken' / 'ckptmeta.json'} is no JSON" in problem["message"]


@pytest.mark.slow
def test_lines_of_checkpoints_that_are_gone_or_not_asked_for_are_said_and_stay(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path
) -> None:
    runs, out = make_runs("runs", mlp=[10, 20], wide=[10]), tmp_path / "out"
    arguments = ("batch", "export", runs, "--output", out, "--builders", builders, "--no-check")
    assert cli(*arguments).status == 1
    for path in (runs / "mlp").glob("ckpt-10.*"):
        path.unlink()
    outcome = cli(*arguments, "--match", "mlp/*")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.splitlines()[-4:] == [
        f"1 checkpoint in {out / 'results.jsonl'}, 1 of them from before.",
        "1 more line is of a checkpoint gone from the logdirs, and its export stands:",
        "  mlp/ckpt-10  mlp  match: 4 of 4 variables bound",
        "1 more line is of a checkpoint not asked for.",
    ]
    assert (len(read_results(out / "results.jsonl")), (out / "mlp/ckpt-10.meta").exists()) == (3, True)
    others = cli(*arguments, "--match", "mlp/*", "--json").document["others"]
    assert [row["prefix"] for row in others["gone"]] == [str(runs / "mlp/ckpt-10")]
    assert [row["prefix"] for row in others["unasked"]] == [str(runs / "wide/ckpt-10")]
    assert (others["standing"], others["dropped"]) == (["mlp/ckpt-10.meta"], False)
    # Who knows what a folder holds that could not be looked at?
    (runs / "broken").mkdir()
    (runs / "broken" / "ckptmeta.json").write_text("{", encoding="utf-8")
    before = (out / "results.jsonl").read_bytes()
    refused = cli(*arguments, "--match", "mlp/*", "--overwrite")
    assert (refused.status, (out / "results.jsonl").read_bytes()) == (3, before)
    assert "1 of 3 lines are of checkpoints that are not found now, or have no builder" in refused.stderr
    shutil.rmtree(runs / "broken")
    anew = cli(*arguments, "--match", "mlp/*", "--overwrite")
    assert "1 more line was dropped, which was of a checkpoint gone from the logdirs, and its export" in anew.stdout
    assert "1 more line was dropped, which was of a checkpoint not asked for." in anew.stdout
    assert (list(read_results(out / "results.jsonl")), (out / "mlp/ckpt-10.meta").exists()) == (["mlp/ckpt-20"], True)


def test_batch_export_counts_by_verdict_and_tells_what_was_exported(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path
) -> None:
    runs, out = make_runs("runs", mlp=[10, 20, 30], wide=[10], deeper=[10]), tmp_path / "out"
    (out / "mlp").mkdir(parents=True)
    (out / "mlp" / "ckpt-20.meta").write_text("Mine.")
    (runs / "mlp/ckpt-30.data-00000-of-00001").unlink()
    arguments = ("batch", "export", runs, "--output", out, "--builders", builders, "--no-check")
    outcome = cli(*arguments)
    assert outcome.status == 3, outcome.stderr
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert rows[:5] == [
        ["BUILDER", "CHECKPOINTS", "MATCH", "PARTIAL", "MISMATCH", "ERROR", "EXPORTED"],
        ["deeper", "1", "0", "1", "0", "0", "0"],
        ["mlp", "3", "2", "0", "0", "1", "1"],
        ["wide", "1", "0", "0", "1", "0", "0"],
        ["all", "5", "2", "1", "1", "1", "1"],
    ]
    wide, deeper, exists, incomplete = outcome.stdout.splitlines()[5:9]
    assert wide.startswith("  wide/ckpt-10  wide  mismatch: 1 of 4 variables bound")
    assert wide.endswith("; not exported.")
    assert deeper.startswith("  deeper/ckpt-10  deeper  partial: 4 of 6 variables bound")
    assert deeper.endswith("; not exported (--allow-partial does).")
    assert exists.startswith(f"  mlp/ckpt-20  mlp  match, but not exported: {out}/mlp/ckpt-20.meta exists, and is not")
    assert incomplete.startswith("  mlp/ckpt-30  mlp  error: Checkpoint ckpt-30 is incomplete")
    document = cli(*arguments, "--allow-partial", "--json").document
    assert document["statuses"] == {"match": 2, "partial": 1, "mismatch": 1, "error": 1}
    assert (document["exported"], document["builders"]["deeper"]["exported"]) == (2, 1)


# --- what is wrong with the command line


def test_overwrite_of_checkpoints_that_there_are_not_leaves_the_output_as_it_was(
    make_runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, output = make_runs("runs", mlp=[10]), tmp_path / "verdicts.jsonl"
    with Results(output, exports=False) as results:
        line = {"prefix": "/runs/a", "run": ".", "name": "a", "fingerprint": "f", "summary": "match", "builder": "mlp"}
        results.append({**line, "status": "match", "error": None, "sources": Dependencies().as_json()})
    files = (output, tmp_path / "verdicts.jsonl.sources")
    before = [path.read_bytes() for path in files]
    assert main(["batch", "verify", str(runs), "--output", str(output), "--overwrite", "--match", "mpl/*"]) == 3
    assert "No checkpoint of 1 matches mpl/*" in capsys.readouterr().err
    assert [path.read_bytes() for path in files] == before
    assert b"/runs/a" in before[0]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["batch"], 2, "batch verify"),
        (["batch", "scan"], 2, "no command 'batch scan'"),
        (["batch", "verify", "RUNS"], 2, "--output"),
        (["batch", "verify", "--output", "OUT"], 2, "LOGDIR"),
        (["batch", "verify", "RUNS/none", "--output", "OUT"], 3, "There is no folder"),
        (["batch", "verify", "RUNS/mlp/ckpt-10", "--output", "OUT"], 2, "ckpt-10 is a checkpoint, and a batch takes"),
        (["batch", "export", "RUNS/mlp/ckpt-10.index", "--output", "OUT"], 2, "`tb-ckptmeta export`"),
        (["batch", "verify", "RUNS", "--output", "OUT/none/v.jsonl"], 2, "There is no folder"),
        (["batch", "verify", "RUNS", "--output", "RUNS/notes.txt"], 2, "holds something else"),
        (["batch", "verify", "RUNS", "--output", "OUT", "--workers", "0"], 2, "no number of processes"),
        (["batch", "verify", "RUNS", "--output", "OUT", "--resume", "--overwrite"], 2, "not allowed with"),
        (["batch", "export", "RUNS", "--output", "RUNS/notes.txt"], 2, "cannot be written"),
        (
            ["batch", "verify", "RUNS", "--output", "s3://bucket/v.jsonl"],
            2,
            "s3://bucket/v.jsonl is a URL, and a batch",
        ),
        (["batch", "export", "RUNS", "--output", "memory://out"], 2, "memory://out is a URL, and a batch writes to a"),
        (["batch", "verify", "memory://nothing/there", "--output", "OUT"], 3, "no folder memory://nothing/there."),
        (["batch", "verify", "s3://me:secret@bucket/x", "--output", "OUT"], 2, "holds a password"),
        (["batch", "verify", "nosuch://bucket/x", "--output", "OUT"], 3, "fsspec knows no scheme 'nosuch'"),
        (["batch", "export", "RUNS", "--output", "OUT", "--format", "gif"], 2, "no export format"),
        (["batch", "verify", "RUNS", "--output", "OUT", "--match", "x/*"], 3, "No checkpoint of 1 matches x/*"),
        (["batch", "export", "RUNS", "--output", "RUNS/out", "--format", "saved_model"], 2, "lies in the logdir"),
    ],
)
def test_wrong_use_is_said_and_nothing_is_done(
    make_runs: Runs,
    tmp_path: Path,
    quick_tensorflow: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    runs = make_runs("runs", mlp=[10])
    (runs / "notes.txt").write_text("Mine.")
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    words = [w.replace("RUNS", str(runs)).replace("OUT", str(tmp_path / "out")) for w in arguments]
    try:
        found = main(words)
    except SystemExit as ended:  # argparse's way
        found = ended.code  # type: ignore[assignment]
    assert found == status
    assert said in capsys.readouterr().err
    assert (runs / "notes.txt").read_text() == "Mine."
    assert not (tmp_path / "out").is_file()


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is not None, reason="Beam is installed")
def test_beams_options_without_beam_name_the_extra(cli: Cli, make_runs: Runs, tmp_path: Path) -> None:
    runs = make_runs("runs", mlp=[10])
    outcome = cli("batch", "verify", runs, "--output", tmp_path / "v.jsonl", "--", "--runner=DirectRunner")
    assert outcome.status == 3
    assert 'pip install "tensorboard-plugin-ckptmeta[beam]"' in outcome.stderr
    assert not (tmp_path / "v.jsonl").exists()


def test_import_of_the_command_loads_no_beam() -> None:
    code = "import sys, tb_ckptmeta.cli.main; print('apache_beam' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert ended.stdout.strip() == "False"
