"""How long the stock dashboard's list of graphs waits for builders that are still being read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.graph import graphs_plugin
from werkzeug.test import Client

from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.workspace import Workspace, open_workspace
from tb_ckptmeta.plugin.access import Access
from tb_ckptmeta.plugin.overlay import GraphsOverlay

OURS = "• mlp • ckpt-30 • late"


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """What the module of builders waits for."""
    return tmp_path / "go"


@pytest.fixture
def builders(tmp_path: Path, go: Path) -> Path:
    file = tmp_path / "late_builders.py"
    file.write_text(
        "import os, time\n\nfrom tb_ckptmeta import builder\n\n"
        f"while not os.path.exists({str(go)!r}):\n    time.sleep(0.02)\n\n\n"
        '@builder("late", checkpoints="mlp/*")\ndef late():\n    pass\n'
    )
    return file


@pytest.fixture
def open_logdir(builders: Path, leaves_nothing: object) -> Iterator[Callable[[Path], Workspace]]:
    opened: list[Workspace] = []

    def open_it(logdir: Path) -> Workspace:
        opened.append(open_workspace(str(logdir), builders=[str(builders)]))
        return opened[-1]

    yield open_it
    for workspace in opened:
        workspace.close()


def list_runs(workspace: Workspace, logdir: Path) -> set[str]:
    """The runs that the stock plugin lists with our overlay, of a TensorBoard that has read the logdir's events."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    stock = graphs_plugin.GraphsPlugin(
        base_plugin.TBContext(logdir=str(logdir), multiplexer=multiplexer, data_provider=provider)
    )
    assert GraphsOverlay(workspace, Access(None, ())).attach(stock) == ""
    response = Client(stock.get_plugin_apps()["/info"]).get("/", headers={"Host": "localhost"})
    assert response.status_code == 200
    return set(response.json)


def test_stock_runs_wait_for_no_module_of_builders(
    open_logdir: Callable[[Path], Workspace], demo_and_stock: Path, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_ckptmeta.plugin.overlay._PATIENCE_BESIDE_STOCK_SECONDS", 0.0)
    workspace = open_logdir(demo_and_stock)
    read, asked = workspace.registry.read, []

    def read_and_note(patience: float | None = None) -> Builders:
        asked.append(patience)
        return read(patience)

    monkeypatch.setattr(workspace.registry, "read", read_and_note)
    assert list_runs(workspace, demo_and_stock) == {"train"}
    assert (workspace.registry.state, asked) == ("loading", [0.0])
    go.touch()
    workspace.registry.read()
    assert {"train", OURS} <= list_runs(workspace, demo_and_stock)


def test_dashboard_that_has_nothing_else_to_show_waits_for_builders(
    open_logdir: Callable[[Path], Workspace], demo_runs: Path, go: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_ckptmeta.plugin.overlay._PATIENCE_BESIDE_STOCK_SECONDS", 0.0)
    workspace = open_logdir(demo_runs)
    read = workspace.registry.read

    def read_when_the_dashboard_asks(patience: float | None = None) -> Builders:
        go.touch()
        return read(patience)

    monkeypatch.setattr(workspace.registry, "read", read_when_the_dashboard_asks)
    assert OURS in list_runs(workspace, demo_runs)
