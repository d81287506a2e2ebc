"""Batches as Apache Beam pipelines. They run in an environment that has Beam: `make beam-test`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from batch_lines import make_line
from results import read_results
from started import started
from waiting import wait_until

Cli = Callable[..., Any]
Runs = Callable[..., Path]

pytestmark = pytest.mark.beam

TWO = ("--", "--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
PATIENCE = 120.0


def read(path: Path) -> dict[str, Any]:
    """Return the lines without what differs from run to run."""
    return {title: {**line, "seconds": None} for title, line in read_results(path).items()}


@pytest.fixture
def runs(make_runs: Runs) -> Path:
    return make_runs("runs", mlp=[10, 20], wide=[10], alien=[10])


def test_pipeline_in_two_processes_finds_what_the_local_pool_finds_and_goes_on(
    cli: Cli, runs: Path, builders: Path, tmp_path: Path
) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    local = cli("batch", "verify", runs, "--output", here, "--builders", builders)
    spread = cli("batch", "verify", runs, "--output", there, "--builders", builders, *TWO)
    assert (spread.status, spread.left_alive) == (local.status, []), spread.stderr
    assert spread.status == 1
    assert read(there) == read(here)
    assert spread.stdout.splitlines()[:-1] == local.stdout.splitlines()[:-1]
    kept = [line for line in there.read_bytes().splitlines(keepends=True) if b"mlp/ckpt-10" not in line]
    there.write_bytes(b"".join(kept))
    again = cli(
        "batch", "verify", runs, "--output", there, "--builders", builders, "--json", "--", "--direct_num_workers=1"
    )
    assert (again.status, again.document["earlier"]) == (1, 2), again.stderr  # without a builder it is done again
    assert read(there) == read(here)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_pipeline_exports_into_the_folder_by_way_of_a_temporary_location(
    cli: Cli, runs: Path, builders: Path, tmp_path: Path
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    arguments = ("--output", out, "--builders", builders, "--match", "mlp/*")
    outcome = cli("batch", "export", runs, *arguments, "--", f"--temp_location={temporary}")
    assert outcome.status == 0, outcome.stderr
    lines = read(out / "results.jsonl")
    assert {title: line["output"] for title, line in lines.items()} == {
        "mlp/ckpt-10": "mlp/ckpt-10.meta",
        "mlp/ckpt-20": "mlp/ckpt-20.meta",
    }
    for line in lines.values():
        assert line["check"]["status"] == "passed"
        assert (out / line["output"]).stat().st_size == line["bytes"]
    assert list(temporary.iterdir()) == []


def test_temporary_location_that_beam_cannot_use_is_said(cli: Cli, runs: Path, builders: Path, tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "v", "--builders", builders, "--", "--temp_location=nosuch://bucket/x")
    outcome = cli("batch", "verify", runs, *arguments)
    assert outcome.status == 2
    assert "Beam cannot use --temp_location=nosuch://bucket/x" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_overwrite_that_beam_cannot_begin_leaves_all_as_it_was(
    cli: Cli, runs: Path, builders: Path, tmp_path: Path
) -> None:
    output, part = tmp_path / "notes.txt", tmp_path / ".notes.txt.parts" / "left.json"
    output.write_text("My notes.\n")
    part.parent.mkdir()
    part.write_text(json.dumps(make_line("a")))
    arguments = ("batch", "verify", runs, "--output", output, "--builders", builders, "--overwrite", "--json")
    outcome = cli(*arguments, "--", "--temp_location=nosuch://bucket/x")
    assert (outcome.status, output.read_text(), part.exists()) == (2, "My notes.\n", True), outcome.stderr
    again = cli(*arguments, "--", "--direct_num_workers=1")
    assert (again.document["checkpoints"], again.document["earlier"], len(read(output))) == (4, 0, 4), again.stderr
    assert not part.parent.exists()


def test_lines_pass_through_any_of_beams_file_systems(tmp_path: Path) -> None:
    from tb_ckptmeta.engine.batch_beam import _UrlParts

    parts = _UrlParts(str(tmp_path / "parts"))  # its local one, as if it were another
    assert parts.list() == []
    for name in ("a.json", "b.json"):
        parts.write(name, make_line(name))
    (tmp_path / "parts" / "half.json").write_text('{"prefix": "ha')
    assert parts.list() == ["a.json", "b.json", "half.json"]
    assert [parts.read(name) for name in parts.list()] == [make_line("a.json"), make_line("b.json"), None]
    parts.forget("a.json")
    assert parts.list() == ["b.json", "half.json"]


def test_gathering_outlives_a_place_that_cannot_be_reached_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tb_ckptmeta.engine import batch_parts
    from tb_ckptmeta.engine.batch_beam import _Gathering, _open_parts

    monkeypatch.setattr(batch_parts, "PAUSES", (0.01,))
    address, lines = tmp_path / "parts", []
    address.write_text("in the way")
    gathering = _Gathering(_open_parts(str(address)), lines.append)
    wait_until(lambda: gathering.error is not None, "the error is known")
    address.unlink()
    _open_parts(str(address)).write("a", make_line("a"))
    wait_until(lambda: lines == [make_line("a")], "the line is gathered")
    gathering.finish()
    assert (gathering.error, lines) == (None, [make_line("a")])
    address.rmdir()
    address.write_text("in the way")
    gathering = _Gathering(_open_parts(str(address)), lines.append)
    gathering.finish()
    assert gathering.error is not None
    assert f"{address}, after 2 attempts in 0.01 s: NotADirectoryError" in gathering.error.message


def test_pipeline_that_was_killed_goes_on_and_does_nothing_twice(
    cli: Cli, make_runs: Runs, builders: Path, tmp_path: Path, leaves_nothing: Any
) -> None:
    runs, output = make_runs("runs", mlp=[10, 20, 30], late=[10]), tmp_path / "verdicts.jsonl"
    arguments = ["batch", "verify", str(runs), "--output", str(output), "--builders", str(builders)]
    with started([sys.executable, "-m", "tb_ckptmeta", *arguments, *TWO], stderr=subprocess.DEVNULL) as process:
        # The builder that waits may keep others of its bundle waiting.
        wait_until((builders.parent / "waits").exists, "the builder waits", PATIENCE)
        process.send_signal(signal.SIGKILL)
    before = set(read(output)) if output.exists() else set()
    (builders.parent / "go").touch()
    assert leaves_nothing.wait_until_alone() == {}
    for path in leaves_nothing.temporary.iterdir():
        subprocess.run(["rm", "-r", str(path)], check=True)
    again = cli(*arguments, "--json", *TWO)
    assert again.status == 0, again.stderr
    assert again.document["statuses"]["match"] == again.document["checkpoints"] == 4
    assert set(read(output)) == {"mlp/ckpt-10", "mlp/ckpt-20", "mlp/ckpt-30", "late/ckpt-10"} >= before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_pipeline_that_was_interrupted_says_so_and_leaves_nobody_at_work(
    make_runs: Runs, builders: Path, tmp_path: Path, leaves_nothing: Any, number: signal.Signals
) -> None:
    runs, output = make_runs("runs", late=[10]), tmp_path / "verdicts.jsonl"
    arguments = ["batch", "verify", str(runs), "--output", str(output), "--builders", str(builders)]
    command = [sys.executable, "-m", "tb_ckptmeta", *arguments, "--", "--runner=DirectRunner"]
    with started(command, stderr=subprocess.PIPE, text=True) as process:
        wait_until((builders.parent / "waits").exists, "the builder waits", PATIENCE)
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, said
    how = "Interrupted" if number == signal.SIGINT else "Ended by SIGTERM"
    assert f"{how}: 0 of 1 checkpoints are done" in said
    assert leaves_nothing.wait_until_alone() == {}
    for path in leaves_nothing.temporary.iterdir():
        assert not path.name.startswith("ckptmeta-")
        subprocess.run(["rm", "-r", str(path)], check=True)  # Beam's own


def test_runner_that_there_is_not_is_said(cli: Cli, runs: Path, builders: Path, tmp_path: Path) -> None:
    outcome = cli("batch", "verify", runs, "--output", tmp_path / "v", "--builders", builders, "--", "--runner=NoSuch")
    assert outcome.status == 3
    assert "The Beam pipeline failed" in outcome.stderr
    assert "NoSuch" in outcome.stderr


_WORKER = """
import json, os, sys
from pathlib import Path
import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from tb_ckptmeta.engine import batch_beam
from tb_ckptmeta.engine.batch_plan import Task, plan
from tb_ckptmeta.engine.workspace import open_workspace

def look(title):
    import os, sys
    return json.dumps([title, os.getpid(), sorted({m.partition(".")[0] for m in sys.modules})])

if __name__ == "__main__":
    runs, builders, folder = sys.argv[1:4]
    with open_workspace(runs, builders=[builders]) as workspace:
        registered = workspace.registry.read()
        items = plan(workspace.list_checkpoints(registered), registered, Task())
        settings = json.dumps({"task": vars(Task()), "specs": [vars(s) for s in workspace.registry.specs],
                               "limits": vars(workspace.limits), "workers": 1, "address": folder + "/parts"})
    with beam.Pipeline(options=PipelineOptions(sys.argv[4:])) as pipeline:
        (pipeline | beam.Create([json.dumps(item.as_json()) for item in items]) | beam.Reshuffle()
            | beam.ParDo(batch_beam._CarryOut(settings)) | beam.Map(look) | beam.io.WriteToText(folder + "/seen"))
    print(os.getpid())
"""


def test_beams_workers_import_no_tensorflow(runs: Path, builders: Path, tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(_WORKER)
    command = [sys.executable, str(script), str(runs), str(builders), str(tmp_path), *TWO[1:], "--save_main_session"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 0, ended.stderr
    seen = [json.loads(line) for p in tmp_path.glob("seen*") for line in p.read_text().splitlines()]
    assert sorted(title for title, *_ in seen) == ["alien/ckpt-10", "mlp/ckpt-10", "mlp/ckpt-20", "wide/ckpt-10"]
    assert int(ended.stdout) not in {pid for _, pid, _ in seen}
    for _, _, modules in seen:
        assert "apache_beam" in modules
        assert not {"tensorflow", "keras", "tf_keras"} & set(modules)
