"""How much the overlay remembers of what it has named, and what a page is told that still knows what was forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.compat.proto import graph_pb2
from tensorboard.plugins import base_plugin
from tensorboard.plugins.graph import graphs_plugin
from werkzeug.test import Client

from tb_ckptmeta.engine.workspace import Workspace, open_workspace
from tb_ckptmeta.plugin.access import Access
from tb_ckptmeta.plugin.overlay import GraphsOverlay

NEWEST = "• mlp • ckpt-30 • objects"
OLDER = "• mlp • ckpt-10 • objects"


@pytest.fixture
def workspace(demo_runs: Path) -> Iterator[Workspace]:
    """The demo's checkpoints, and no builder: what they hold is shown."""
    with open_workspace(str(demo_runs)) as opened:
        yield opened


@pytest.fixture
def overlay(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> GraphsOverlay:
    monkeypatch.setattr("tb_ckptmeta.plugin.overlay._MOST_NAMED", 2)
    monkeypatch.setattr("tb_ckptmeta.plugin.overlay._MOST_OPENED", 2)
    return GraphsOverlay(workspace, Access(None, ()))


@pytest.fixture
def client(overlay: GraphsOverlay, tmp_path: Path) -> Client:
    """Ask the stock plugin's route of graphs, as the overlay answers for it."""
    provider = data_provider.MultiplexerDataProvider(plugin_event_multiplexer.EventMultiplexer(), str(tmp_path))
    stock = graphs_plugin.GraphsPlugin(base_plugin.TBContext(logdir=str(tmp_path), data_provider=provider))
    assert overlay.attach(stock) == ""
    return Client(stock.get_plugin_apps()["/graph"])


def open_all(overlay: GraphsOverlay, workspace: Workspace) -> list[str]:
    """Open the tree of each checkpoint, from the first to the last."""
    listed = sorted(workspace.scan().checkpoints, key=lambda c: (c.run, c.step or 0))
    return [overlay.open(workspace.choose_source(checkpoint, "objects")).run for checkpoint in listed]


def ask(client: Client, run: str, **headers: str) -> graph_pb2.GraphDef:
    query = {"run": run, "tag": "forward", "conceptual": "false"}
    response = client.get("/", query_string=query, headers={"Host": "localhost", **headers})
    assert response.status_code == 200
    return text_format.Parse(response.text, graph_pb2.GraphDef())


def test_overlay_remembers_what_is_listed_and_little_more(overlay: GraphsOverlay, workspace: Workspace) -> None:
    opened = open_all(overlay, workspace)
    assert len(opened) == 9
    listed = overlay.list_shown(0.0)
    assert listed.keys() <= overlay._named.keys()
    # The newest of each run, and the two that were opened last.
    assert set(listed) == {NEWEST, *opened[-2:], "• custom • ckpt-30 • objects"}
    open_all(overlay, workspace)
    assert len(overlay._named) <= len(listed) + 2
    assert len(overlay._opened) == 2


def test_graph_that_was_forgotten_and_is_listed_is_shown(client: Client) -> None:
    # As after a restart, to a page that was left open.
    graph = ask(client, NEWEST)
    assert "ERROR" not in {node.name for node in graph.node}
    assert "ckpt-30-objects" in {node.name for node in graph.node}


def test_graph_that_was_forgotten_is_shown_to_the_page_that_was_opened_for_it(
    client: Client, overlay: GraphsOverlay, workspace: Workspace
) -> None:
    checkpoint = next(c for c in workspace.scan().checkpoints if (c.run, c.name) == ("mlp", "ckpt-10"))
    key = overlay.open(workspace.choose_source(checkpoint, "objects")).key
    open_all(overlay, workspace)
    assert OLDER not in overlay._named
    graph = ask(client, OLDER, Referer=f"http://localhost/?ckpt={key}")
    assert "ckpt-10-objects" in {node.name for node in graph.node}


def test_graph_that_was_forgotten_and_is_listed_no_more_says_so(client: Client) -> None:
    (node,) = ask(client, OLDER).node
    assert (node.name, node.attr["00_code"].s) == ("ERROR", b"not_found")
    assert "mlp • ckpt-10 • objects is not listed any more." in node.op
