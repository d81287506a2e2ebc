"""The route that compares: what it answers for each kind of side, and whom and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import Marked
from servers import TensorBoard
from waiting import wait_until

DIFF_KEYS = {
    *("a", "b", "added", "removed", "reshaped", "retyped", "trainable", "moved", "not_compared"),
    *("operations", "layers", "same", "same_bookkeeping", "notes"),
}
WHO_KEYS = {"kind", "name", "id", "path", "format", "arguments", "variables"}


def id_of(board: TensorBoard, path: str) -> str:
    return str(board.checkpoint(path)["id"])


def diff(board: TensorBoard, a: dict[str, Any], b: dict[str, Any], **options: Any) -> dict[str, Any]:
    answer = board.post("diff", {"a": a, "b": b, **options})
    assert answer.status == 200, answer.body
    document = answer.document
    assert isinstance(document, dict)
    assert set(document) == DIFF_KEYS
    assert set(document["a"]) == set(document["b"]) == WHO_KEYS
    return document


@pytest.fixture
def meta(demo_board: TensorBoard) -> Iterator[Path]:
    """An export of mlp/ckpt-20, beside its checkpoint as training scripts leave theirs."""
    checkpoint = demo_board.checkpoint("mlp/ckpt-20")
    answer = demo_board.post("export", {"checkpoint": checkpoint["id"], "check": False})
    assert answer.status == 200, answer.body
    path = Path(checkpoint["prefix"] + ".meta")
    path.write_bytes(answer.body)
    yield path
    path.unlink(missing_ok=True)


def test_diff_of_two_steps_finds_the_same_variables_and_how_far_they_moved(demo_board: TensorBoard) -> None:
    a, b = ({"checkpoint": id_of(demo_board, f"custom/ckpt-{step}")} for step in (10, 30))
    found = diff(demo_board, a, b)
    assert (found["a"]["name"], found["a"]["kind"]) == ("custom/ckpt-10", "checkpoint")
    assert (found["a"]["id"], found["b"]["id"]) == (a["checkpoint"], b["checkpoint"])
    assert [found[name] for name in ("added", "removed", "reshaped", "retyped", "moved")] == [[], [], [], [], None]
    measured = diff(demo_board, a, b, values=True)
    moved = [row for row in measured["moved"] if not row["bookkeeping"]]
    assert {row["path"] for row in moved} == {
        f"model/{layer}/{name}" for layer in ("dense1", "dense2") for name in ("_kernel", "bias")
    }
    assert all(row["relative_l2"] > 0 and 0 < row["max_abs"] < 1 for row in moved)
    assert moved == sorted(moved, key=lambda row: -row["relative_l2"])
    # The rows of the training come last, and the steps are counted among them.
    assert [row["bookkeeping"] for row in measured["moved"]] == sorted(row["bookkeeping"] for row in measured["moved"])
    assert found["same"] == len(measured["moved"]) + measured["same"]


def test_diff_of_two_runs_finds_what_each_has_alone(demo_board: TensorBoard) -> None:
    a, b = ({"checkpoint": id_of(demo_board, path)} for path in ("scoped/model.ckpt-30", "mlp/ckpt-30"))
    found = diff(demo_board, a, b)
    assert {row["key"] for row in found["removed"] if not row["bookkeeping"]} == {
        f"dense{i}/{name}" for i in (1, 2) for name in ("kernel", "bias")
    }
    assert len([row for row in found["added"] if not row["bookkeeping"]]) == 4


def test_diff_of_a_checkpoint_and_the_export_beside_it_pairs_every_variable_of_the_model(
    demo_board: TensorBoard, meta: Path
) -> None:
    id = id_of(demo_board, "mlp/ckpt-20")
    found = diff(demo_board, {"checkpoint": id}, {"metagraph": id})
    assert (found["b"]["kind"], found["b"]["path"], found["b"]["id"]) == ("metagraph", str(meta), id)
    assert (found["added"], found["reshaped"], found["retyped"], found["same"]) == ([], [], [], 4)
    # An export restores the model and nothing of the training.
    assert {row["bookkeeping"] for row in found["removed"]} == {True}


def test_diff_of_a_meta_that_is_none_says_so(demo_board: TensorBoard, meta: Path) -> None:
    meta.write_bytes(b"\xff" * 100)
    id = id_of(demo_board, "mlp/ckpt-20")
    answer = demo_board.post("diff", {"a": {"checkpoint": id}, "b": {"metagraph": id}})
    assert (answer.status, answer.error["code"]) == (422, "checkpoint_corrupt")
    assert "it is no MetaGraphDef" in answer.error["message"]


def test_diff_of_a_meta_that_leads_out_of_the_logdir_is_refused(
    demo_board: TensorBoard, meta: Path, tmp_path: Path
) -> None:
    meta.rename(tmp_path / "outside.meta")
    meta.symlink_to(tmp_path / "outside.meta")
    id = id_of(demo_board, "mlp/ckpt-20")
    answer = demo_board.post("diff", {"a": {"checkpoint": id}, "b": {"metagraph": id}})
    assert (answer.status, answer.error["code"]) == (422, "outside_logdir")


def test_diff_of_two_builders_finds_what_an_argument_changes(demo_board: TensorBoard) -> None:
    a, b = {"builder": "mnist-mlp"}, {"builder": "mnist-mlp", "arguments": {"units": 64}}
    found = diff(demo_board, a, b)
    assert (found["a"]["arguments"], found["b"]["arguments"]) == ({}, {"units": 64})
    assert {row["key"]: (row["a"], row["b"]) for row in found["reshaped"]} == {
        "mlp/hidden/kernel": ([784, 128], [784, 64]),
        "mlp/hidden/bias": ([128], [64]),
        "mlp/digit/kernel": ([128, 10], [64, 10]),
    }
    assert (found["same"], found["operations"], found["layers"]) == (1, [], [])


def test_diff_of_a_builder_for_a_graph_is_built_in_one(demo_board: TensorBoard) -> None:
    # Nothing says so: its checkpoint would, and there is none here.
    found = diff(demo_board, {"builder": "scoped-graph"}, {"builder": "mnist-mlp"})
    assert {row["key"] for row in found["removed"]} == {f"dense{i}/{n}" for i in (1, 2) for n in ("kernel", "bias")}


def test_diff_as_a_job_has_the_diff_in_its_result_and_as_its_file(demo_board: TensorBoard) -> None:
    a, b = ({"checkpoint": id_of(demo_board, f"mlp/ckpt-{step}")} for step in (10, 20))
    body = {"a": a, "b": b, "values": True}
    started = demo_board.post("diff", body, {"Prefer": "respond-async"})
    job = started.document["job"]
    assert (started.status, started.headers["Location"]) == (202, f"jobs/{job['id']}")
    wait_until(lambda: demo_board.get(f"jobs/{job['id']}").document["state"] != "running", "the job ends")
    ended = demo_board.get(f"jobs/{job['id']}").document
    assert [step["name"] for step in ended["steps"]] == ["reading the values"]
    assert set(ended["result"]) == {"filename", "bytes", "diff"}
    assert ended["result"]["diff"] == diff(demo_board, a, b, values=True)
    file = demo_board.get(f"jobs/{job['id']}/file")
    assert 'filename="mlp-ckpt-10-mlp-ckpt-20.json"' in file.headers["Content-Disposition"]
    assert json.loads(file.body) == ended["result"]["diff"]


@pytest.mark.parametrize(
    ("change", "status", "code", "named"),
    [
        ({"b": {}}, 400, "bad_request", "'b' must be one of"),
        ({"b": None}, 400, "bad_request", "'b' is missing"),
        ({"b": "mlp/ckpt-10"}, 400, "bad_request", "'b' must be an object"),
        ({"b": {"path": "/etc/passwd"}}, 400, "bad_request", "'path' is not known"),
        ({"b": {"checkpoint": "/etc/passwd"}}, 404, "unknown_checkpoint", "no checkpoint of this id"),
        ({"b": {"metagraph": "../model.meta"}}, 404, "unknown_checkpoint", "no checkpoint of this id"),
        ({"b": {"metagraph": "ID"}}, 422, "checkpoint_missing", "There is no ckpt-30.meta beside the checkpoint"),
        ({"b": {"checkpoint": "ID", "builder": "marks"}}, 400, "bad_request", "'b' must be one of"),
        ({"b": {"checkpoint": "ID", "arguments": {}}}, 400, "bad_request", "'b' must be one of"),
        ({"b": {"builder": "os:system"}}, 404, "unknown_builder", "os:system"),
        ({"b": {"builder": "marks", "arguments": {"unit": 1}}}, 400, "invalid_arguments", "unit"),
        ({"b": {"builder": "marks"}}, 400, "bad_request", "POST /verdict"),
        ({"values": 1}, 400, "bad_request", "'values' must be true or false"),
        ({"values": True, "b": {"metagraph": "ID"}}, 422, "checkpoint_missing", "ckpt-30.meta"),
    ],
)
def test_diff_of_what_does_not_fit_is_refused_by_its_name_and_runs_nothing(
    marked: Marked, change: dict[str, Any], status: int, code: str, named: str
) -> None:
    before = marked.marks
    id = id_of(marked.board, "mlp/ckpt-30")
    body = {"a": {"checkpoint": id}, "b": {"checkpoint": id}, **change}
    answer = marked.board.post("diff", json.loads(json.dumps(body).replace('"ID"', f'"{id}"')))
    assert (answer.status, answer.error["code"]) == (status, code)
    assert named in answer.error["message"]
    assert marked.marks == before


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Host": "evil.example"}, 403, "forbidden_host"),
        ({"Origin": "http://evil.example"}, 403, "forbidden_origin"),
        ({"Content-Type": "text/plain"}, 400, "bad_request"),
    ],
)
def test_diff_for_a_stranger_is_refused_and_runs_nothing(
    marked: Marked, headers: dict[str, str], status: int, code: str
) -> None:
    before = marked.marks
    body = {"a": {"builder": "marks"}, "b": {"builder": "marks"}}
    answer = marked.board.post("diff", body, headers)
    assert (answer.status, answer.error["code"]) == (status, code)
    assert marked.marks == before


def test_diff_of_a_checkpoint_that_cannot_be_read_says_why(odd_board: TensorBoard) -> None:
    good = {"checkpoint": id_of(odd_board, "unpaired/ckpt-1")}
    for name, code in (("truncated-1", "checkpoint_corrupt"), ("half-1", "checkpoint_incomplete")):
        answer = odd_board.post("diff", {"a": good, "b": {"checkpoint": id_of(odd_board, f"bad/{name}")}})
        assert (answer.status, answer.error["code"]) == (422, code)
