"""Renames over HTTP, and a renamed model in the Graphs dashboard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import TensorBoard, serve
from tensorboard.compat.proto import meta_graph_pb2

RENAMED = Path(__file__).parents[1] / "browser" / "builders" / "renamed.py"
RULES = ["dense1=hidden", "dense2=logits"]
RUN = "• custom • ckpt-30 • renamed(dense1->hidden, dense2->logits)"


@pytest.fixture(scope="module")
def board(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """A TensorBoard whose only builder makes the demo's subclassed model with its attributes renamed."""
    with serve(tmp_path_factory.mktemp("board"), "--logdir", demo_runs, "--ckptmeta_builders", RENAMED) as board:
        board.wait_for_builders()
        yield board


@pytest.fixture(scope="module")
def choice(board: TensorBoard) -> dict[str, Any]:
    return {"checkpoint": board.checkpoint("custom/ckpt-30")["id"], "builder": "renamed", "renames": RULES}


def read_held(board: TensorBoard, run: str) -> dict[str, str]:
    """What each variable of a graph says that the checkpoint holds of it."""
    attributes = {node.name: node.attr for node in board.graph(run).node if "checkpoint_key" in node.attr}
    return {name: attr["checkpoint_key"].s.decode() for name, attr in attributes.items()}


def test_verdict_under_renames_is_a_match_and_without_them_proposes_them(
    board: TensorBoard, choice: dict[str, Any]
) -> None:
    without = board.post("verdict", {k: v for k, v in choice.items() if k != "renames"}).document
    assert (without["status"], without["renamed_status"]) == ("mismatch", "match")
    assert [f"{r['from']}={r['to']}" for r in without["renames"] if not r["applied"]] == RULES
    under = board.post("verdict", choice).document
    assert (under["status"], under["bound"]) == ("match", 4)
    assert [(r["count"], r["of"], r["applied"]) for r in under["renames"]] == [(2, 2, True), (2, 2, True)]


def test_export_under_renames_restores_through_them(board: TensorBoard, choice: dict[str, Any]) -> None:
    answer = board.post("export", choice)
    assert answer.status == 200
    assert json.loads(answer.headers["Ckptmeta-Check"])["status"] == "passed"
    meta_graph = meta_graph_pb2.MetaGraphDef.FromString(answer.body)
    provenance = json.loads(meta_graph.collection_def["tb_ckptmeta"].bytes_list.value[0])
    assert provenance["renames"] == RULES


def test_graph_under_renames_says_which_key_each_variable_has(board: TensorBoard, choice: dict[str, Any]) -> None:
    opened = board.post("open", choice).document
    assert opened["run"] == RUN
    held = read_held(board, RUN)
    assert {key.partition("/.ATTRIBUTES")[0] for key in held.values()} == {
        *("model/dense1/_kernel", "model/dense1/bias", "model/dense2/_kernel", "model/dense2/bias"),
    }
    (identity,) = [node for node in board.graph(RUN).node if node.op == "Checkpoint"]
    assert identity.attr["verdict"].s == b"match: 4 of 4 variables bound"
    assert [text.decode() for text in identity.attr["renames"].list.s] == RULES


def test_graph_without_renames_is_another_one(board: TensorBoard, choice: dict[str, Any]) -> None:
    plain = board.post("open", {k: v for k, v in choice.items() if k != "renames"}).document
    renamed = board.post("open", choice).document
    assert plain["key"] != renamed["key"]
    assert set(read_held(board, plain["run"]).values()) == {"(not in the checkpoint)"}


def test_link_to_a_renamed_graph_lists_that_alone(board: TensorBoard, choice: dict[str, Any]) -> None:
    key = board.post("open", choice).document["key"]
    found = board.graphs("info", {"Referer": f"{board.url}?ckpt={key}"}).document
    assert list(found) == [RUN]


@pytest.mark.parametrize(
    ("renames", "says"),
    [
        ("dense1=hidden", "must be a list"),
        ([1], "must be a list of texts"),
        (["dense1"], "FROM=TO"),
        (["dense1=a", "dense1=b"], "another name"),
        ([f"a{number}=b" for number in range(1001)], "too many"),
    ],
)
def test_renames_that_say_nothing_are_refused_by_every_route(
    board: TensorBoard, choice: dict[str, Any], renames: Any, says: str
) -> None:
    for route in ("verdict", "open", "export"):
        answer = board.post(route, {**choice, "renames": renames})
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert says in answer.error["message"]
    answer = board.post("solve", {**choice, "renames": renames, "unknown": ["units"]})
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
