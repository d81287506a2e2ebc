"""The command line on an S3 server, as people use it: AWS_ENDPOINT_URL in the environment, and a URL for a path."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from s3 import S3, listings, reads
from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.diff import Metagraph
from tb_ckptmeta.engine.sources import find_sources
from tb_ckptmeta.engine.workspace import open_workspace

pytestmark = pytest.mark.remote

URL = "s3://demo/runs"
INDEX, SHARD = "ckpt-10.index", "ckpt-10.data-00000-of-00001"


@pytest.fixture(scope="module")
def run(cli: Callable[..., Any], s3_server: S3, demo_builders: Path) -> Callable[..., Any]:
    """Run a command with the demo's builders, and see that it leaves nothing."""

    def call(*arguments: object) -> Any:
        outcome = cli(*arguments, "--builders", demo_builders, environment=s3_server.environment)
        assert (outcome.left_alive, outcome.left_behind) == ([], [])
        return outcome

    return call


@pytest.fixture
def quick(cli: Callable[..., Any], s3_server: S3, quick_tensorflow: dict[str, str]) -> Callable[..., Any]:
    """Run a command without builders, for what needs no more of TensorFlow than its import."""

    def call(*arguments: object, environment: dict[str, str] | None = None) -> Any:
        given = {**s3_server.environment, **quick_tensorflow, **(environment or {})}
        outcome = cli(*arguments, environment=given)
        assert "Traceback" not in outcome.stderr
        assert (outcome.left_alive, outcome.left_behind) == ([], [])
        return outcome

    return call


def read_provenance(path: Path) -> dict[str, Any]:
    meta_graph = MetaGraphDef.FromString(path.read_bytes())
    (text,) = meta_graph.collection_def["tb_ckptmeta"].bytes_list.value
    provenance: dict[str, Any] = json.loads(text)
    return provenance


def test_scan_lists_a_bucket(quick: Callable[..., Any]) -> None:
    outcome = quick("scan", f"{URL}/", "--json", "--inspect")
    assert (outcome.status, outcome.stderr) == (0, "")
    found = {f"{c['run']}/{c['name']}": c for c in outcome.document["checkpoints"]}
    assert len(found) == 9
    assert found["mlp/ckpt-10"]["prefix"] == f"{URL}/mlp/ckpt-10"
    assert {(c["state"], c["format"]) for c in found.values()} == {("complete", "object"), ("complete", "name")}


def test_verify_reads_a_remote_checkpoint_without_its_weights(run: Callable[..., Any], s3_server: S3) -> None:
    with s3_server.watch() as asked:
        outcome = run("verify", f"{URL}/mlp/ckpt-10", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["status"], verdict["bound"], verdict["builder"]) == ("match", 4, "mnist-mlp")
    read = [name for name, _ in reads(asked)]
    assert read == ["ckptmeta.json", INDEX, SHARD]
    assert sum(a["bytes"] for a in asked) < 20_000
    assert listings(asked) <= 4


def test_verify_takes_a_remote_logdir(quick: Callable[..., Any]) -> None:
    outcome = quick("verify", f"{URL}/scoped")
    assert outcome.status == 1
    assert outcome.stdout.count("has no builder") == 3


@dataclass(frozen=True)
class Made:
    """An export, how its command ended, and what the server was asked for it."""

    output: Path
    outcome: Any
    asked: list[dict[str, Any]]


@pytest.fixture(scope="module")
def unchecked(run: Callable[..., Any], s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A `.meta` of a remote checkpoint, not checked."""
    output = tmp_path_factory.mktemp("unchecked") / "mlp.meta"
    with s3_server.watch() as asked:
        outcome = run("export", f"{URL}/mlp/ckpt-10", "--output", output, "--no-check")
    return Made(output, outcome, asked)


def test_unchecked_metagraph_reads_no_weights_and_says_how_to_restore(unchecked: Made) -> None:
    assert (unchecked.outcome.status, unchecked.outcome.stderr) == (0, "")
    assert sum(a["bytes"] for a in unchecked.asked) < 20_000
    assert [name for name, _ in reads(unchecked.asked)] == ["ckptmeta.json", INDEX, SHARD]
    assert f"The weights stay at {URL}/mlp/ckpt-10." in unchecked.outcome.stdout
    assert "tensorflow-io" in unchecked.outcome.stdout
    assert read_provenance(unchecked.output)["checkpoint"]["url"] == f"{URL}/mlp/ckpt-10"


def test_saved_model_is_checked_with_a_copy_and_holds_it(
    run: Callable[..., Any], s3_server: S3, demo_runs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "saved"
    with s3_server.watch() as asked:
        outcome = run("export", f"{URL}/mlp/ckpt-10", "--output", output, "--format", "saved_model", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    check = outcome.document["check"]
    assert (check["status"], check["reference"]) == ("passed", "tf.train.Checkpoint")
    # Once in whole, beside what the verdict takes.
    assert sorted(name for name, _ in reads(asked)) == sorted(["ckptmeta.json", INDEX, SHARD, INDEX, SHARD])
    for ending in ("index", "data-00000-of-00001"):
        copy = output / "variables" / f"variables.{ending}"
        assert not copy.is_symlink()
        assert copy.read_bytes() == (demo_runs / "mlp" / f"ckpt-10.{ending}").read_bytes()


def test_diff_of_values_is_that_of_the_local_files(run: Callable[..., Any], demo_runs: Path) -> None:
    remote = run("diff", f"{URL}/mlp/ckpt-10", f"{URL}/mlp/ckpt-20", "--values", "--json")
    local = run("diff", demo_runs / "mlp" / "ckpt-10", demo_runs / "mlp" / "ckpt-20", "--values", "--json")
    assert (remote.status, local.status) == (1, 1), remote.stderr
    assert len(local.document["moved"]) > 4
    assert remote.document["moved"] == local.document["moved"]


def test_inspect_shows_the_tree_of_a_remote_checkpoint_as_of_a_local_one(
    quick: Callable[..., Any], demo_runs: Path
) -> None:
    remote = quick("inspect", f"{URL}/mlp/{INDEX}", "--json")  # by one of its files
    local = quick("inspect", demo_runs / "mlp" / "ckpt-10", "--json")
    assert (remote.status, remote.stderr) == (0, "")
    assert remote.document["root"] == local.document["root"]
    assert [source["kind"] for source in remote.document["sources"]] == ["objects"]


def test_builder_and_argument_of_a_remote_checkpoint_are_found(
    run: Callable[..., Any], s3_server: S3, tmp_path: Path
) -> None:
    which = run("which", f"{URL}/mlp/ckpt-10", "--json")
    assert (which.status, which.document["proposed"]["builder"]) == (0, "mnist-mlp")
    with s3_server.watch() as asked:
        solved = run("verify", f"{URL}/mlp/ckpt-10", "--set", "units=?", "--json")
    (verdict,) = solved.document["verdicts"]
    assert (solved.status, verdict["status"], verdict["arguments"]) == (0, "match", {"units": 128})
    assert sum(a["bytes"] for a in asked) < 20_000  # however often the builder is tried


def test_metagraph_beside_a_remote_checkpoint_is_a_source(
    unchecked: Made, upload: Callable[[Path], str], demo_runs: Path, tmp_path: Path
) -> None:
    (tmp_path / "beside").mkdir()
    for path in demo_runs.glob("mlp/ckpt-10.*"):
        (tmp_path / "beside" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "beside" / "ckpt-10.meta").write_bytes(unchecked.output.read_bytes())
    url = upload(tmp_path / "beside")
    with open_workspace(url) as workspace:
        (checkpoint,) = workspace.scan().checkpoints
        assert [s.kind for s in find_sources(checkpoint)] == ["metagraph", "objects"]
        verdict = workspace.verify(workspace.choose_source(checkpoint, "metagraph"))
        assert (verdict.status, verdict.bound) == ("match", 4), verdict
        found = workspace.diff(Metagraph(f"{url}/ckpt-10.meta", "ckpt-10.meta"), checkpoint)
        assert (found.a["variables"], found.same) == (4, 4)
        with pytest.raises(CkptMetaError, match="of a remote logdir no Keras configuration is read yet") as refused:
            workspace.choose_source(checkpoint, "keras_config")
        assert refused.value.code is Code.SOURCE_MISSING


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["scan", "s3://BUCKET/runs"], 3, "There is no folder s3://BUCKET/runs."),
        (["scan", "s3://demo/none"], 3, "There is no folder s3://demo/none."),
        (["verify", "s3://BUCKET/ckpt-1"], 3, "There is no checkpoint s3://BUCKET/ckpt-1"),
        (["verify", "s3://demo/runs/mlp/ckpt-11"], 3, "`tb-ckptmeta scan s3://demo/runs/mlp` lists what is there"),
        (["inspect", "s3://demo/runs/mlp"], 3, "It is a folder"),
        (["export", "s3://demo/runs/mlp/ckpt-10", "--output", "s3://demo/x.meta"], 2, "written to a local path"),
        (["diff", "s3://demo/runs/mlp", "s3://demo/runs"], 3, "It is a folder"),
        (["diff", "s3://demo/runs/x", "s3://demo/runs/mlp/ckpt-10"], 3, "nor a file of that name.\n"),
    ],
)
def test_what_is_not_there_is_said(quick: Callable[..., Any], arguments: list[str], status: int, said: str) -> None:
    bucket = f"none-{uuid.uuid4().hex}"
    outcome = quick(*(a.replace("BUCKET", bucket) for a in arguments))
    assert (outcome.status, outcome.stdout) == (status, "")
    assert said.replace("BUCKET", bucket) in outcome.stderr


def test_credentials_that_are_missing_are_said(quick: Callable[..., Any]) -> None:
    nobody = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    outcome = quick("scan", URL, environment=nobody)
    assert outcome.status == 3
    assert "Unable to locate credentials" in outcome.stderr
