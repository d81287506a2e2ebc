"""A graph of the size that a training logs, in a real browser: it opens, and so does a scope of thousands of parts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from servers import TensorBoard, serve
from tensorboard.compat.proto import meta_graph_pb2
from waiting import wait_until

pytestmark = pytest.mark.browser

BLOCKS, CROWD = 200, 3000
RUN = "• large • ckpt-10 • metagraph"


def write_metagraph(path: Path) -> None:
    """Write a graph of 23,000 nodes; those of `crowd` stand side by side, which the dashboard could not lay out."""
    meta_graph = meta_graph_pb2.MetaGraphDef()
    nodes = meta_graph.graph_def.node
    names = [f"net/block_{i // 100}/layer_{i // 10 % 10}/op_{i % 10}" for i in range(BLOCKS * 100)]
    names += [f"crowd/op_{i}" for i in range(CROWD)]
    for i, name in enumerate(names):
        node = nodes.add(name=name, op="Relu", input=[names[i - 1]] if i else [])
        node.attr["T"].type = 1
    path.write_bytes(meta_graph.SerializeToString())


@pytest.fixture(scope="module")
def board(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    folder = tmp_path_factory.mktemp("large")
    run = folder / "runs" / "large"
    run.mkdir(parents=True)
    for file in (demo_runs / "mlp").glob("ckpt-10.*"):
        shutil.copy(file, run)
    write_metagraph(run / "ckpt-10.meta")
    with serve(folder / "board", "--logdir", folder / "runs") as board:
        yield board


def test_large_graph_opens_and_its_crowded_scope_is_divided(page: Page, board: TensorBoard) -> None:
    page.goto(f"{board.url}#graphs")
    expect(page.locator("tf-graph-controls .runs-row paper-item[aria-selected=true]")).to_have_text(RUN)
    for scope in ("net", "crowd"):
        expect(page.locator(f'svg g.node[data-name="{scope}"]')).to_be_attached()
    crowd = page.locator('svg g.node[data-name="crowd"] > g.nodeshape > rect').first
    part = page.locator('svg g.node[data-name="crowd/part_1_of_6"]')

    def expand() -> bool:
        crowd.dispatch_event("dblclick")
        page.wait_for_timeout(2000)  # a click is lost while the dashboard lays the graph out anew
        return part.count() == 1

    wait_until(expand, "crowd is expanded")
    expect(page.locator('svg g.node[data-name^="crowd/part_"]')).to_have_count(6)
    if folder := os.environ.get("CKPTMETA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "large_graph.png")
