"""`tb-ckptmeta batch` on remote logdirs: in memory, on an S3 server, and with Apache Beam's workers asking it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
from results import read_results
from s3 import S3, reads

from tb_ckptmeta.cli import main

Put = Callable[[Path], str]

ENDINGS = ("index", "data-00000-of-00001")
BOTH = ["mlp/ckpt-10", "mlp/ckpt-20"]


@pytest.fixture
def runs(demo_runs: Path, tmp_path: Path) -> Path:
    """A logdir to be put elsewhere: the demo's `mlp`, of two steps."""
    folder = tmp_path / "runs" / "mlp"
    folder.mkdir(parents=True)
    for step in (10, 20):
        for path in demo_runs.glob(f"mlp/ckpt-{step}.*"):
            shutil.copy(path, folder)
    return folder.parent


def test_batch_takes_a_url_and_goes_on_there(
    memory: Put,
    runs: Path,
    demo_builders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TB_CKPTMETA_CACHE", str(tmp_path / "cache"))  # TensorFlow is imported once
    url, output = memory(runs), tmp_path / "v.jsonl"

    def run(logdir: str, target: str) -> int:
        """Carry a batch out; return how many lines are from before."""
        arguments = ["batch", "verify", logdir, "--output", target, "--builders", str(demo_builders), "--json"]
        assert main(arguments) == 0
        earlier: int = json.loads(capsys.readouterr().out)["earlier"]
        return earlier

    assert (run(url, str(output)), sorted(read_results(output))) == (0, BOTH)
    lines = read_results(output)
    assert {(line["prefix"], line["status"]) for line in lines.values()} == {(f"{url}/{t}", "match") for t in BOTH}
    assert (run(f"{url}/", f"file://{output}"), read_results(output)) == (2, lines)
    for ending in ENDINGS:  # written again, from another step
        content = (runs / "mlp" / f"ckpt-20.{ending}").read_bytes()
        fsspec.filesystem("memory").pipe_file(f"{url}/mlp/ckpt-10.{ending}", content)
    assert run(url, str(output)) == 1
    after = read_results(output)
    assert after[BOTH[1]] == lines[BOTH[1]]
    assert after[BOTH[0]]["fingerprint"] != lines[BOTH[0]]["fingerprint"]
    assert run(f"file://{runs}", str(tmp_path / "local.jsonl")) == 0
    assert {line["prefix"] for line in read_results(tmp_path / "local.jsonl").values()} == {str(runs / t) for t in BOTH}


@pytest.mark.remote
def test_batch_on_a_bucket_reads_no_weights_and_does_nothing_twice(
    upload: Put, s3: S3, cli: Callable[..., Any], runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    url = upload(runs)
    _exercise(cli, s3, url, runs, demo_builders, tmp_path, ())


@pytest.mark.beam
def test_beams_workers_read_a_bucket(
    upload: Put, s3: S3, cli: Callable[..., Any], runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    url = upload(runs)
    more = ("--", "--runner=DirectRunner", "--direct_num_workers=2", "--direct_running_mode=multi_processing")
    _exercise(cli, s3, url, runs, demo_builders, tmp_path, more)


def _exercise(
    cli: Callable[..., Any],
    s3: S3,
    url: str,
    runs: Path,
    builders: Path,
    folder: Path,
    more: tuple[str, ...],
) -> None:
    """Verify and export the checkpoints of a bucket, again, and once more after one was written anew."""

    def run(kind: str, output: Path, *options: str) -> tuple[int, dict[str, Any], list[str]]:
        """Carry a batch out; return how many lines are from before, all lines, and what was read of the bucket."""
        with s3.watch() as asked:
            outcome = cli(
                *("batch", kind, url, "--output", output, "--builders", builders, "--json", *options, *more),
                environment=s3.environment,
            )
        assert (outcome.status, outcome.left_alive) == (0, []), outcome.stderr
        lines = read_results(output if kind == "verify" else output / "results.jsonl")
        shards = [(name, size) for name, size in reads(asked) if ENDINGS[1] in name]
        return outcome.document["earlier"], lines, sorted({name for name, _ in shards})

    verdicts, exports = folder / "v.jsonl", folder / "out"
    shards = [f"ckpt-{step}.{ENDINGS[1]}" for step in (10, 20)]
    earlier, lines, asked = run("verify", verdicts)
    assert (earlier, sorted(lines), asked) == (0, BOTH, shards)
    assert {(line["prefix"], line["status"]) for line in lines.values()} == {(f"{url}/{t}", "match") for t in BOTH}
    assert run("verify", verdicts) == (2, lines, [])
    earlier, made, _ = run("export", exports)
    assert (earlier, [line["check"]["status"] for line in made.values()]) == (0, ["passed"] * 2)
    assert run("export", exports) == (2, made, [])
    bucket = url.removeprefix("s3://")
    for ending in ENDINGS:  # written again, from another step
        content = (runs / "mlp" / f"ckpt-20.{ending}").read_bytes()
        s3.client.put_object(Bucket=bucket, Key=f"mlp/ckpt-10.{ending}", Body=content)
    for kind, output, before in (("verify", verdicts, lines), ("export", exports, made)):
        earlier, after, asked = run(kind, output)
        assert (earlier, after[BOTH[1]], asked) == (1, before[BOTH[1]], shards[:1])
        assert after[BOTH[0]]["fingerprint"] != before[BOTH[0]]["fingerprint"]
