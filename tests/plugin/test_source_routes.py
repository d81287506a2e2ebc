"""Without a builder, over HTTP: the sources, the tree, verdicts, and the graphs in the Graphs dashboard."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import TensorBoard, hide_tensorflow, serve
from training import train_under_both

SAVE = Path(__file__).parents[1] / "sources" / "save_sources.py"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "runs"
    folder.mkdir()
    train_under_both(SAVE, folder)
    return folder


@pytest.fixture(scope="module")
def board(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """A TensorBoard without a single builder."""
    with serve(tmp_path_factory.mktemp("board") / "board", "--logdir", runs) as board:
        yield board


@pytest.fixture(scope="module")
def bare_board(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """A TensorBoard that has no TensorFlow: what is parsed needs none."""
    folder = tmp_path_factory.mktemp("bare")
    environment = hide_tensorflow(folder / "hidden")
    with serve(folder / "board", "--logdir", runs, environment=environment) as board:
        yield board


def ask(board: TensorBoard, route: str, path: str) -> Any:
    return board.ask("GET", f"data/plugin/ckptmeta/{route}", query={"checkpoint": board.checkpoint(path)["id"]})


def list_ours(board: TensorBoard) -> list[str]:
    return [run for run in board.graphs("info").document if run.startswith("•")]


def test_sources_are_listed_with_what_they_are(board: TensorBoard) -> None:
    (metagraph, itself) = ask(board, "sources", "tf1/model.ckpt-5").document["sources"]
    assert set(metagraph) == {"kind", "title", "where", "description", "asked"}
    assert (metagraph["kind"], metagraph["where"], metagraph["asked"]) == ("metagraph", "model.ckpt-5.meta", False)
    assert (itself["kind"], itself["asked"]) == ("objects", False)
    kinds = [(s["kind"], s["asked"]) for s in ask(board, "sources", "file-3/model.keras").document["sources"]]
    assert kinds == [("keras_config", True), ("objects", False)]


def test_contents_are_a_tree_with_shapes_and_sizes(board: TensorBoard) -> None:
    document = ask(board, "contents", "fit-3/ckpt-1").document
    assert set(document) == {"format", "root", "left_out", "notes"}
    root = document["root"]
    assert (root["variables"], root["parameters"], root["bytes"]) == (15, 177, 716)
    model = next(c for c in root["children"] if c["name"] == "model")
    (functional,) = [c for c in model["children"] if not c["bookkeeping"]]
    layer = functional["children"][0]["children"][0]
    assert {k: layer["children"][0][k] for k in ("name", "shape", "dtype", "bytes", "bookkeeping")} == {
        "name": "_kernel",
        "shape": [4, 8],
        "dtype": "float32",
        "bytes": 128,
        "bookkeeping": False,
    }


@pytest.mark.parametrize("route", ["sources", "contents"])
def test_routes_without_a_known_checkpoint_say_so(board: TensorBoard, route: str) -> None:
    answer = board.get(route)
    assert (answer.status, answer.error["code"]) == (400, "bad_request")
    answer = board.get(f"{route}?checkpoint=nobody")
    assert (answer.status, answer.error["code"]) == (404, "unknown_checkpoint")


def test_verdict_of_a_source_has_no_builder(board: TensorBoard) -> None:
    body = {"checkpoint": board.checkpoint("tf1/model.ckpt-5")["id"], "source": "metagraph"}
    verdict = board.post("verdict", body).document
    assert (verdict["builder"], verdict["status"], verdict["bound"]) == (None, "match", 12)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"source": "metagraph", "builder": "x"}, 400, "bad_request"),
        ({"source": "os.system"}, 400, "bad_request"),
        ({"source": "../../etc/passwd"}, 400, "bad_request"),
        ({"source": "metagraph"}, 404, "source_missing"),
    ],
)
@pytest.mark.parametrize("route", ["verdict", "open", "export"])
def test_source_that_does_not_fit_is_refused(
    board: TensorBoard, route: str, body: dict[str, str], status: int, code: str
) -> None:
    answer = board.post(route, {"checkpoint": board.checkpoint("fit-3/ckpt-1")["id"], **body})
    assert (answer.status, answer.error["code"]) == (status, code)


def test_export_from_the_configuration_is_checked(board: TensorBoard) -> None:
    body = {"checkpoint": board.checkpoint("fit-3/ckpt-1")["id"], "source": "keras_config"}
    answer = board.post("export", body)
    assert answer.status == 200, answer.body
    assert json.loads(answer.headers["Ckptmeta-Check"])["status"] == "passed"


def test_graphs_lists_the_best_parsed_source_of_each_run_before_any_code_is_registered(bare_board: TensorBoard) -> None:
    assert list_ours(bare_board) == [
        "• exported/variables • variables • saved_model",
        "• file-3 • model.keras • objects",
        "• file-legacy • model.keras • objects",
        "• fit-3 • ckpt-1 • objects",
        "• fit-legacy • ckpt-1 • objects",
        "• module/variables • variables • saved_model",
        "• saved/variables • variables • saved_model",
        "• subclassed • ckpt-1 • objects",
        "• tf1 • model.ckpt-5 • metagraph",
        "• tf1-saved/variables • variables • saved_model",
    ]


@pytest.mark.parametrize("conceptual", [False, True])
def test_graph_of_a_meta_is_drawn_with_what_the_checkpoint_holds(bare_board: TensorBoard, conceptual: bool) -> None:
    graph = bare_board.graph("• tf1 • model.ckpt-5 • metagraph", conceptual=conceptual)
    nodes = {n.name: n for n in graph.node}
    assert nodes["model.ckpt-5-metagraph"].attr["verdict"].s == b"match: 12 of 12 variables bound"
    if conceptual:
        assert "net/hidden" in nodes
        return
    assert nodes["net/hidden/kernel"].attr["checkpoint_key"].s == b"net/hidden/kernel"
    assert [d.size for d in nodes["net/hidden/kernel"].attr["checkpoint_shape"].shape.dim] == [4, 8]
    # Both parts of a partitioned variable are of the one key.
    assert nodes["net/table/part_1"].attr["checkpoint_key"].s == b"net/table"


def test_graph_of_a_saved_model_is_flat_and_its_variables_have_their_keys(bare_board: TensorBoard) -> None:
    graph = bare_board.graph("• saved/variables • variables • saved_model")
    nodes = {n.name: n for n in graph.node}
    assert "sequential/hidden/MatMul" in nodes
    assert not any("PartitionedCall" in n.op for n in graph.node)
    assert nodes["hidden/kernel"].attr["checkpoint_key"].s == b"layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"


def test_graph_of_the_objects_has_a_node_for_each_variable(bare_board: TensorBoard) -> None:
    graph = bare_board.graph("• subclassed • ckpt-1 • objects", conceptual=True)
    nodes = {n.name: n for n in graph.node}
    kernel = nodes["model/out/_kernel"]
    assert kernel.attr["checkpoint_bytes"].i == 32
    assert [d.size for d in kernel.attr["checkpoint_shape"].shape.dim] == [4, 2]
    assert nodes["save_counter"].attr["bookkeeping"].b


def test_configuration_is_in_graphs_only_after_it_was_opened(board: TensorBoard) -> None:
    run = "• fit-legacy • ckpt-1 • keras_config"
    assert run not in list_ours(board)
    opened = board.post(
        "open", {"checkpoint": board.checkpoint("fit-legacy/ckpt-1")["id"], "source": "keras_config"}
    ).document
    assert opened["run"] == run
    assert run in list_ours(board)
    assert {"hidden", "out"} <= {n.name.rpartition("/")[2] for n in board.graph(run, conceptual=True).node}


def test_link_to_a_source_lists_it_alone(bare_board: TensorBoard) -> None:
    id = bare_board.checkpoint("tf1/model.ckpt-5")["id"]

    def list_for(parts: list[Any]) -> list[str]:
        key = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
        return list(bare_board.graphs("info", {"Referer": f"{bare_board.url}?ckpt={key}"}).document)

    assert list_for([id, None, {}, "objects"]) == ["• tf1 • model.ckpt-5 • objects"]
    for wrong in ([id, None, {}, "saved_model"], [id, None, {}, 7], [id, None, {}], [id, "x", {}, "objects"]):
        assert len(list_for(wrong)) > 5


def test_meta_that_is_garbage_is_a_graph_that_says_so(runs: Path, tmp_path: Path) -> None:
    for file in (runs / "fit-3").glob("ckpt-1.*"):
        (tmp_path / "runs" / "run").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "run" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "runs" / "run" / "ckpt-1.meta").write_bytes(b"\x0a\xff garbage")
    with serve(tmp_path / "board", "--logdir", tmp_path / "runs") as board:
        assert list_ours(board) == ["• run • ckpt-1 • metagraph"]
        (node,) = board.graph("• run • ckpt-1 • metagraph").node
        assert (node.name, node.attr["00_code"].s) == ("ERROR", b"source_unreadable")
        assert "ckpt-1.meta cannot be shown: it is no MetaGraphDef" in node.op
