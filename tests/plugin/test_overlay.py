"""Our runs in the stock Graphs dashboard, and the stock runs beside them."""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from boards import CopyCheckpoint, Marked, get_node, list_runs, list_scopes, make_key
from servers import TensorBoard, serve
from tensorboard.compat.proto import types_pb2
from waiting import wait_until

CUSTOM = "• custom • ckpt-30 • custom-model"
MLP = "• mlp • ckpt-30 • mnist-mlp"
SCOPED = "• scoped • model.ckpt-30 • scoped-graph"
STOCK_QUERIES: dict[str, tuple[str, dict[str, str]]] = {
    "run's graph": ("graph", {"run": "train", "conceptual": "false"}),
    "function's graph": ("graph", {"run": "train", "tag": "stock_trace", "conceptual": "false"}),
    "graph with limits": ("graph", {"run": "train", "limit_attr_size": "10", "large_attrs_key": "too_large"}),
    "graph that is not there": ("graph", {"run": "train", "tag": "forward"}),
    "conceptual graph that is not there": ("graph", {"run": "train", "tag": "stock_trace", "conceptual": "true"}),
    "graph of an unknown run": ("graph", {"run": "nobody", "tag": "forward"}),
    "graph without a run": ("graph", {"tag": "forward"}),
    "graph with a bad limit": ("graph", {"run": "train", "limit_attr_size": "x"}),
    "profile": ("run_metadata", {"run": "train", "tag": "stock_step"}),
    "profile that is not there": ("run_metadata", {"run": "train", "tag": "forward"}),
    "profile without a tag": ("run_metadata", {"run": "train"}),
    "profile without a run": ("run_metadata", {"tag": "stock_step"}),
}


# --- The list of graphs


def test_info_lists_the_newest_of_each_run_beside_the_stock_runs(demo_board: TensorBoard) -> None:
    runs = list_runs(demo_board)
    ours = [run for run in runs if run.startswith("•")]
    assert [run for run in ours if "30" in run] == [CUSTOM, MLP, SCOPED]
    assert runs[MLP] == {
        "run": MLP,
        "tags": {"forward": {"tag": "forward", "conceptual_graph": True, "op_graph": True, "profile": False}},
        "run_graph": False,
    }


def test_info_of_the_stock_runs_is_what_it_is_without_us(demo_board: TensorBoard, bare_board: TensorBoard) -> None:
    stock = list_runs(bare_board)
    assert set(stock) == {"train"}
    assert {run: entry for run, entry in list_runs(demo_board).items() if not run.startswith("•")} == stock


def test_info_puts_the_stock_runs_first(demo_board: TensorBoard) -> None:
    # What the dashboard does with the names is for the browser tests; the bullet is above all of ASCII and Latin.
    runs = list(list_runs(demo_board))
    assert runs[0] == "train"
    assert sorted([*runs, "z", "~", "ž"])[:4] == ["train", "z", "~", "ž"]


def test_info_lists_an_older_one_once_it_has_been_opened(demo_board: TensorBoard) -> None:
    older = "• mlp • ckpt-20 • mnist-mlp"
    assert older not in list_runs(demo_board)
    checkpoint = demo_board.checkpoint("mlp/ckpt-20")["id"]
    answer = demo_board.post("open", {"checkpoint": checkpoint})
    assert answer.status == 200
    assert set(answer.document) == {"run", "tag", "key"}
    assert (answer.document["run"], answer.document["tag"]) == (older, "forward")
    assert {older, CUSTOM, MLP, SCOPED, "train"} <= set(list_runs(demo_board))


def test_info_tells_graphs_with_other_arguments_apart(demo_board: TensorBoard) -> None:
    checkpoint = demo_board.checkpoint("mlp/ckpt-30")["id"]
    opened = [
        demo_board.post("open", {"checkpoint": checkpoint, "builder": "mnist-mlp", "arguments": arguments}).document
        for arguments in ({}, {"units": 64}, {"units": 32})
    ]
    assert [o["run"] for o in opened] == [MLP, f"{MLP}(units=64)", f"{MLP}(units=32)"]
    assert len({o["key"] for o in opened}) == 3
    assert {o["run"] for o in opened} <= set(list_runs(demo_board))


def test_info_is_compressed_as_the_browser_takes_it(demo_board: TensorBoard) -> None:
    assert demo_board.graphs("info", {"Accept-Encoding": "gzip"}).headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in demo_board.graphs("info").headers


def test_graphs_dashboard_is_active(demo_board: TensorBoard) -> None:
    assert demo_board.ask("GET", "data/plugins_listing").document["graphs"]["enabled"] is True


# --- The page that is opened for one graph


def test_info_for_a_page_opened_for_one_graph_lists_that_alone(demo_board: TensorBoard) -> None:
    checkpoint = demo_board.checkpoint("custom/ckpt-10")["id"]
    opened = demo_board.post("open", {"checkpoint": checkpoint}).document
    runs = list_runs(demo_board, Referer=f"{demo_board.url}?darkMode=true&ckpt={opened['key']}")
    assert list(runs) == [opened["run"]] == ["• custom • ckpt-10 • custom-model"]
    assert len(list_runs(demo_board, Referer=demo_board.url)) > 3


def test_info_for_a_link_to_a_graph_that_nobody_has_opened_lists_it(demo_board: TensorBoard) -> None:
    # A link that was kept while TensorBoard was restarted.
    key = make_key(demo_board.checkpoint("scoped/model.ckpt-10")["id"], "scoped-graph", {})
    runs = list_runs(demo_board, Referer=f"{demo_board.url}?ckpt={key}")
    assert list(runs) == ["• scoped • model.ckpt-10 • scoped-graph"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "%%%",
        "a",
        "é",
        "_" * 5000,
        make_key("a"),
        make_key(1, 2, 3),
        make_key({}, [], {}),
        make_key("no such checkpoint", "mnist-mlp", {}),
        make_key("../../etc/passwd", "os:system", {}),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_info_for_a_malformed_key_lists_what_it_always_does(demo_board: TensorBoard, key: str) -> None:
    expected = list_runs(demo_board)
    # As bytes on the wire: the header is whatever the other side makes of it.
    referer = f"{demo_board.url}?ckpt={key}".encode().decode("latin-1")
    assert list_runs(demo_board, Referer=referer) == expected
    assert list_runs(demo_board) == expected


@pytest.mark.parametrize(
    ("builder", "arguments"),
    [("no such builder", {}), ("os:system", {}), ("mnist-mlp", {"layers": 3}), ("mnist-mlp", [])],
)
def test_info_for_a_key_that_cannot_be_built_lists_what_it_always_does(
    demo_board: TensorBoard, builder: str, arguments: object
) -> None:
    expected = list_runs(demo_board)
    key = make_key(demo_board.checkpoint("mlp/ckpt-30")["id"], builder, arguments)
    assert list_runs(demo_board, Referer=f"{demo_board.url}?ckpt={key}") == expected
    assert list_runs(demo_board) == expected


# --- Stock runs


def sort_lines(body: bytes) -> list[bytes]:
    return sorted((gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).splitlines())


@pytest.mark.parametrize("name", STOCK_QUERIES)
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_stock_run_is_answered_exactly_as_without_us(
    demo_board: TensorBoard, bare_board: TensorBoard, name: str, encoding: str
) -> None:
    route, query = STOCK_QUERIES[name]
    ours, theirs = (b.graphs(route, {"Accept-Encoding": encoding}, **query) for b in (demo_board, bare_board))
    assert ours.status == theirs.status
    unstable = {"Date"}
    if "limit_attr_size" in query:
        # TensorBoard lists what it has left out in the order of a protobuf map, which differs from process to process.
        assert sort_lines(ours.body) == sort_lines(theirs.body)
        unstable.add("Content-Length")
    else:
        assert ours.body == theirs.body
    assert [h for h in ours.headers.items() if h[0] not in unstable] == [
        h for h in theirs.headers.items() if h[0] not in unstable
    ]


def test_stock_run_answers_what_its_event_file_holds(demo_board: TensorBoard) -> None:
    graph = demo_board.graphs("graph", run="train", conceptual="false").graph
    assert [node.name for node in graph.node] == ["stock_input", "stock_scope/stock_relu"]
    assert b"stock_scope/stock_relu" in demo_board.graphs("run_metadata", run="train", tag="stock_step").body


# --- Op graphs


@pytest.mark.parametrize(
    ("run", "scopes", "variables", "output"),
    [
        (
            MLP,
            {"mlp", "mlp/hidden", "mlp/digit"},
            {
                "mlp/hidden/kernel": ("optimizer/_trainable_variables/0", [784, 128]),
                "mlp/hidden/bias": ("optimizer/_trainable_variables/1", [128]),
                "mlp/digit/kernel": ("optimizer/_trainable_variables/2", [128, 10]),
                "mlp/digit/bias": ("optimizer/_trainable_variables/3", [10]),
            },
            "output_0",
        ),
        (
            CUSTOM,
            {"custom", "custom/dense", "custom/dense_1"},
            {
                "custom/dense/kernel": ("model/dense1/_kernel", [784, 64]),
                "custom/dense/bias": ("model/dense1/bias", [64]),
                "custom/dense_1/kernel": ("model/dense2/_kernel", [64, 10]),
                "custom/dense_1/bias": ("model/dense2/bias", [10]),
            },
            "output_0",
        ),
        (
            SCOPED,
            {"network", "network/hidden", "network/digit", "network/hidden/dense1", "network/digit/dense2"},
            {
                "dense1/kernel": ("dense1/kernel", [784, 64]),
                "dense1/bias": ("dense1/bias", [64]),
                "dense2/kernel": ("dense2/kernel", [64, 10]),
                "dense2/bias": ("dense2/bias", [10]),
            },
            "network/digit/probabilities",
        ),
    ],
)
def test_op_graph_of_the_demo_has_its_scopes_and_what_the_checkpoint_holds(
    demo_board: TensorBoard, run: str, scopes: set[str], variables: Mapping[str, tuple[str, list[int]]], output: str
) -> None:
    answer = demo_board.graphs("graph", run=run, tag="forward", conceptual="false")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.text.isascii()
    graph = answer.graph
    assert scopes <= list_scopes(graph)
    names = {node.name for node in graph.node}
    assert {"image", output} <= names
    assert all(i.lstrip("^").partition(":")[0] in names for node in graph.node for i in node.input)
    for name, (key, shape) in variables.items():
        attr = get_node(graph, name).attr
        assert attr["checkpoint_key"].s.decode().removesuffix("/.ATTRIBUTES/VARIABLE_VALUE") == key
        assert [dim.size for dim in attr["checkpoint_shape"].shape.dim] == shape
        assert attr["checkpoint_dtype"].type == types_pb2.DT_FLOAT
        size = 4
        for length in shape:
            size *= length
        assert attr["checkpoint_bytes"].i == size
    _, path, name, builder = (part.strip() for part in run.split("•"))
    identity = get_node(graph, f"{name}-{builder}")
    assert identity.op == "Checkpoint"
    assert identity.attr["checkpoint"].s.decode() == f"{path}/{name}"
    assert identity.attr["builder"].s.decode() == builder
    assert identity.attr["verdict"].s == b"match: 4 of 4 variables bound"
    # No weight is written out: what a checkpoint holds stays there.
    assert len(answer.body) < 20_000


def test_op_graph_that_does_not_match_names_what_differs(demo_board: TensorBoard) -> None:
    body = {
        "checkpoint": demo_board.checkpoint("mlp/ckpt-30")["id"],
        "builder": "mnist-mlp",
        "arguments": {"units": 64},
    }
    opened = demo_board.post("open", body).document
    graph = demo_board.graph(opened["run"])
    identity = get_node(graph, "ckpt-30-mnist-mlp")
    assert identity.attr["verdict"].s == b"mismatch: 1 of 4 variables bound"
    assert json.loads(identity.attr["arguments"].s) == {"units": 64}
    assert any(b"mlp/hidden/kernel" in text for text in identity.attr["shape_differs"].list.s)
    kernel = get_node(graph, "mlp/hidden/kernel")
    assert [dim.size for dim in kernel.attr["checkpoint_shape"].shape.dim] == [784, 128]
    assert [dim.size for dim in kernel.attr["shape"].shape.dim] == [784, 64]


# --- Conceptual graphs


@pytest.mark.parametrize(
    ("run", "layers", "edges"),
    [
        (MLP, {"mlp/hidden": "Dense", "mlp/digit": "Dense"}, {("mlp/hidden", "mlp/digit")}),
        (CUSTOM, {"custom/dense": "Dense", "custom/dense_1": "Dense"}, {("custom/dense", "custom/dense_1")}),
        (
            SCOPED,
            {"network/hidden/dense1": "Scope", "network/digit/dense2": "Scope"},
            {("network/hidden/dense1", "network/digit/dense2")},
        ),
    ],
)
def test_conceptual_graph_of_the_demo_has_its_layers(
    demo_board: TensorBoard, run: str, layers: Mapping[str, str], edges: set[tuple[str, str]]
) -> None:
    graph = demo_board.graph(run, conceptual=True)
    nodes = {node.name: node for node in graph.node}
    for name, op in layers.items():
        assert nodes[name].op == op
    for source, target in edges:
        assert source in nodes[target].input
    _, _, name, builder = (part.strip() for part in run.split("•"))
    assert nodes[f"{name}-{builder}"].op == "Checkpoint"


def test_profile_of_a_run_of_ours_is_not_found(demo_board: TensorBoard) -> None:
    assert MLP in list_runs(demo_board)
    assert demo_board.graphs("run_metadata", run=MLP, tag="forward").status == 404


# --- How often a builder runs


def test_graph_conceptual_graph_and_both_again_are_one_rebuild(marked: Marked) -> None:
    run = "• mlp • ckpt-30 • marks"
    before = len(marked.marks)
    assert run in list_runs(marked.board)
    marked.board.ask("GET", "data/plugins_listing")
    assert len(marked.marks) == before
    # A verdict is always taken anew; the graphs go by what it has made.
    marked.board.post("verdict", {"checkpoint": marked.board.checkpoint("mlp/ckpt-30")["id"]})
    for _ in range(2):
        assert get_node(marked.board.graph(run), "mlp/hidden/kernel")
        assert get_node(marked.board.graph(run, conceptual=True), "mlp/hidden")
    assert len(marked.marks) == before + 1


def test_graph_of_an_edited_builder_is_rebuilt_without_a_restart(marked: Marked) -> None:
    run = "• mlp • ckpt-30 • marks"
    source = marked.builders.read_text()
    try:
        marked.builders.write_text(source.replace('name="digit"', 'name="edited"'))
        scopes = list_scopes(marked.board.graph(run))
        assert "mlp/edited" in scopes
        assert "mlp/digit" not in scopes
    finally:
        marked.builders.write_text(source)


# --- What cannot be rebuilt


def test_graph_of_a_builder_that_raises_is_an_error_that_says_why(odd_board: TensorBoard) -> None:
    run = "• raises • ckpt-1 • raises"
    assert run in list_runs(odd_board)
    (node,) = odd_board.graph(run).node
    assert node.name == "ERROR"
    # The dashboard would show the escapes of ASCII's quotes.
    assert node.op == "raises • ckpt-1 • raises: Builder ’raises’ raised ValueError: no layer ’hiden’"
    assert node.attr["00_code"].s == b"builder_failed"
    lines = [node.attr[key].s.decode() for key in sorted(node.attr)]
    assert any("in find_layer" in line for line in lines)
    assert lines[-1] == "there are: hidden, digit"


def test_graph_of_a_corrupt_checkpoint_is_an_error_that_says_why(odd_board: TensorBoard) -> None:
    body = {"checkpoint": odd_board.checkpoint("bad/truncated-1")["id"], "builder": "raises"}
    run = odd_board.post("open", body).document["run"]
    (node,) = odd_board.graph(run, conceptual=True).node
    assert (node.name, node.attr["00_code"].s) == ("ERROR", b"checkpoint_corrupt")


def test_info_lists_no_checkpoint_without_one_builder(odd_board: TensorBoard) -> None:
    runs = " ".join(list_runs(odd_board))
    for path in ("disputed", "forsaken", "half-1"):
        assert f"• {path}" not in runs
    # Nothing claims it: what it holds is shown.
    assert "• unpaired • ckpt-1 • objects" in runs


# --- A logdir that fills


@pytest.fixture(scope="module")
def filling(demo_builders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TensorBoard, Path]]:
    """A TensorBoard on a logdir that is not even there when it starts, and that logdir."""
    folder = tmp_path_factory.mktemp("filling")
    logdir = folder / "runs"
    with serve(folder / "board", "--logdir", logdir, "--ckptmeta_builders", demo_builders) as board:
        board.wait_for_builders()
        yield board, logdir


def test_logdir_that_fills_while_tensorboard_runs_is_listed(
    filling: tuple[TensorBoard, Path], demo_runs: Path, copy_checkpoint: CopyCheckpoint
) -> None:
    board, logdir = filling

    def is_active(plugin: str) -> bool:
        enabled: bool = board.ask("GET", "data/plugins_listing").document[plugin]["enabled"]
        return enabled

    assert board.get("checkpoints").document["checkpoints"] == []
    assert list_runs(board) == {}
    assert not is_active("ckptmeta")
    assert not is_active("graphs")
    copy_checkpoint(demo_runs / "mlp" / "ckpt-10", logdir / "mlp" / "ckpt-10")
    assert board.checkpoint("mlp/ckpt-10")["pairing"]["builder"] == "mnist-mlp"
    wait_until(lambda: is_active("ckptmeta"), "the tab is active")
    wait_until(lambda: is_active("graphs"), "Graphs is active")
    wait_until(lambda: "• mlp • ckpt-10 • mnist-mlp" in list_runs(board), "Graphs lists it")
    assert "mlp/hidden" in list_scopes(board.graph("• mlp • ckpt-10 • mnist-mlp"))
    # The newest of a run takes the place of the one before it.
    copy_checkpoint(demo_runs / "mlp" / "ckpt-20", logdir / "mlp" / "ckpt-20")
    wait_until(lambda: list(list_runs(board)) == ["• mlp • ckpt-20 • mnist-mlp"], "Graphs lists the newer one")


def test_checkpoint_that_goes_between_listing_and_opening_is_an_error(
    filling: tuple[TensorBoard, Path], demo_runs: Path, copy_checkpoint: CopyCheckpoint
) -> None:
    board, logdir = filling
    copy_checkpoint(demo_runs / "custom" / "ckpt-30", logdir / "custom" / "ckpt-30")
    id = board.checkpoint("custom/ckpt-30")["id"]
    run = board.post("open", {"checkpoint": id}).document["run"]
    for file in (logdir / "custom").iterdir():
        file.unlink()
    verdict = board.post("verdict", {"checkpoint": id}).document
    assert (verdict["status"], verdict["error"]["code"]) == ("error", "checkpoint_missing")
    assert board.post("export", {"checkpoint": id}).error["code"] == "checkpoint_missing"
    (node,) = board.graph(run).node
    assert (node.name, node.attr["00_code"].s) == ("ERROR", b"checkpoint_missing")
    assert "ckpt-30" in node.op
    listed = [c["name"] for c in board.get("checkpoints").document["checkpoints"]]
    assert "ckpt-30" not in listed
    # Once it is known to be gone, so is its id.
    answer = board.post("verdict", {"checkpoint": id})
    assert (answer.status, answer.error["code"]) == (404, "unknown_checkpoint")
    (node,) = board.graph(run).node
    assert (node.name, node.attr["00_code"].s) == ("ERROR", b"unknown_checkpoint")


# --- Other ways to start TensorBoard


@pytest.fixture(scope="module")
def other_board(
    demo_and_stock: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard with a path prefix, the slow loading and two named logdirs and one without a name."""
    folder = tmp_path_factory.mktemp("other_board")
    unnamed = folder / "unnamed"
    shutil.copytree(demo_and_stock / "custom", unnamed / "custom")
    spec = f"mlp:{demo_and_stock / 'mlp'},all:{demo_and_stock},{unnamed}"
    with serve(
        folder / "board",
        *("--logdir_spec", spec, "--load_fast=false", "--path_prefix", "/team/tb"),
        *("--ckptmeta_builders", demo_builders),
    ) as board:
        assert urlsplit(board.url).path == "/team/tb/"
        board.wait_for_builders()
        wait_until(lambda: "all/train" in list_runs(board), "TensorBoard has read the stock run")
        yield board


def test_named_logdirs_name_the_first_folder_of_their_runs(other_board: TensorBoard, demo_and_stock: Path) -> None:
    document = other_board.get("checkpoints").document
    assert [d["name"] for d in document["logdirs"]] == ["mlp", "all", ""]
    runs = {c["run"]: c for c in document["checkpoints"]}
    assert set(runs) == {"mlp", "all/custom", "all/mlp", "all/scoped", "custom"}
    assert runs["mlp"]["pairing"]["builder"] == "mnist-mlp"
    assert runs["custom"]["pairing"]["builder"] == "custom-model"
    assert runs["all/custom"]["pairing"]["builder"] is None
    ids = [c["id"] for c in document["checkpoints"]]
    assert len(set(ids)) == len(ids) == 15
    assert runs["all/mlp"]["prefix"].startswith(str(demo_and_stock / "mlp"))


def test_graph_behind_a_prefix_with_slow_loading_is_served(other_board: TensorBoard) -> None:
    runs = list_runs(other_board)
    assert [r for r in runs if r.startswith("•") and "• all/" not in r] == [CUSTOM, MLP]
    assert {"mlp/hidden", "mlp/digit"} <= list_scopes(other_board.graph(MLP))
    key = other_board.post("open", {"checkpoint": other_board.checkpoint("mlp/ckpt-10")["id"]}).document["key"]
    assert list(list_runs(other_board, Referer=f"{other_board.url}?ckpt={key}")) == ["• mlp • ckpt-10 • mnist-mlp"]


@pytest.mark.parametrize("name", [n for n in STOCK_QUERIES if "unknown" not in n])
def test_stock_run_with_slow_loading_is_answered_as_with_the_fast_one(
    other_board: TensorBoard, bare_board: TensorBoard, name: str
) -> None:
    route, query = STOCK_QUERIES[name]
    slow = other_board.graphs(route, **({**query, "run": "all/train"} if "run" in query else query))
    fast = bare_board.graphs(route, **query)
    assert slow.status == fast.status
    if fast.status == 200:
        assert read_nodes(slow.text) == read_nodes(fast.text)


def read_nodes(text: str) -> list[str]:
    """The names in a GraphDef or a RunMetadata."""
    return [line for line in text.splitlines() if "name:" in line]
