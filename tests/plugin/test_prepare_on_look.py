"""When TensorBoard begins to import TensorFlow in a process that rebuilds are forked from: when somebody looks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from boards import CopyCheckpoint
from servers import serve
from tensorboard.plugins import base_plugin
from waiting import wait_until
from warmed import find_warm
from werkzeug.test import Client

from tb_ckptmeta.plugin.loader import CkptMetaLoader
from tb_ckptmeta.plugin.plugin import CkptMetaPlugin

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a fresh process"),
]


@pytest.fixture
def load(
    tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any
) -> Iterator[Callable[[], CkptMetaPlugin]]:
    """Load the plugin as TensorBoard does, with a builder whose listing lies in the cache."""
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TB_CKPTMETA_CACHE", str(tmp_path / "cache"))
    module = tmp_path / "my_builders.py"
    module.write_text("from tb_ckptmeta import builder\n@builder('plain', checkpoints='*')\ndef plain(): pass\n")
    loaded = []

    def load() -> CkptMetaPlugin:
        flags = argparse.Namespace(ckptmeta_builders=[str(module)])
        loaded.append(CkptMetaLoader().load(base_plugin.TBContext(logdir=str(tmp_path / "runs"), flags=flags)))
        return loaded[-1]

    first = load()
    first._workspace.registry.read()
    first._workspace.close()
    yield load
    for plugin in loaded:
        plugin._workspace.close()


@pytest.mark.parametrize("route", ["/builders", "/checkpoints"])
def test_tab_that_asks_begins_to_import_tensorflow_and_no_start_does(
    load: Callable[[], CkptMetaPlugin], route: str
) -> None:
    plugin = load()
    plugin.is_active()
    wait_until(lambda: plugin._workspace.registry.is_loaded, "the builders are known")
    assert find_warm(os.getpid()) == []
    assert Client(plugin.get_plugin_apps()[route]).get("/").status_code == 200
    wait_until(lambda: find_warm(os.getpid()) == ["3"], "a process imports TensorFlow")


def test_graphs_dashboard_that_lists_a_builder_s_run_begins_to_import_tensorflow(
    demo_runs: Path, demo_builders: Path, copy_checkpoint: CopyCheckpoint, cli: Callable[..., Any], tmp_path: Path
) -> None:
    copy_checkpoint(demo_runs / "mlp" / "ckpt-30", tmp_path / "runs" / "mlp" / "ckpt-30")
    environment = {"TB_CKPTMETA_CACHE": str(tmp_path / "cache")}
    assert cli("builders", "--builders", demo_builders, environment=environment).status == 0
    arguments = ("--logdir", tmp_path / "runs", "--ckptmeta_builders", demo_builders)
    with serve(tmp_path / "board", *arguments, environment=environment) as board:
        assert board.ask("GET", "data/plugins_listing").document["ckptmeta"]["enabled"]
        assert find_warm(board.process.pid) == []
        assert "• mlp • ckpt-30 • mnist-mlp" in board.graphs("info").document
        # One of the demo's builders is of the legacy Keras.
        wait_until(lambda: find_warm(board.process.pid) == ["3", "legacy"], "processes import TensorFlow")
        assert board.graph("• mlp • ckpt-30 • mnist-mlp").node
        assert find_warm(board.process.pid) == ["3", "legacy"]
