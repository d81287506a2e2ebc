"""Without a builder, in a real browser: the tree in the tab, and a source's graph in the Graphs dashboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import FrameLocator, Page, expect
from servers import TensorBoard, serve
from training import train_under_both

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "runs").mkdir()
    train_under_both(Path(__file__).parents[1] / "sources" / "save_sources.py", folder / "runs")
    with serve(folder / "board", "--logdir", folder / "runs") as board:
        yield board


def open_checkpoint(page: Page, board: TensorBoard, run: str) -> FrameLocator:
    page.goto(f"{board.url}#ckptmeta")
    tab = page.frame_locator("iframe")
    tab.locator(f'[data-testid="checkpoint-row"][data-run="{run}"]').click()
    return tab


def test_tab_shows_what_a_checkpoint_holds_before_any_code_is_registered(page: Page, board: TensorBoard) -> None:
    tab = open_checkpoint(page, board, "fit-3")
    expect(tab.get_by_test_id("contents-totals")).to_have_text("15 variables, 177 parameters, 716 B")
    rows = tab.get_by_test_id("contents-row")
    expect(rows.filter(has_text="_kernel").first).to_contain_text("[4, 8] float32")
    expect(rows).to_have_count(9)
    tab.get_by_role("button", name="Close _functional").click()
    expect(rows).to_have_count(2)
    tab.get_by_test_id("contents-training").check()
    expect(rows.filter(has_text="save_counter")).to_be_visible()
    expect(tab.get_by_test_id("verify")).to_be_disabled()


def test_meta_is_verified_and_shown_in_graphs(page: Page, board: TensorBoard) -> None:
    tab = open_checkpoint(page, board, "tf1")
    expect(tab.get_by_test_id("source-description")).to_contain_text("It is parsed; nothing in it is executed.")
    expect(tab.get_by_test_id("export")).to_be_disabled()
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-bound")).to_have_text("12 of 12 variables bound")
    tab.get_by_test_id("open-graphs").click()
    expect(page.locator('svg g.node[data-name="net"]')).to_be_visible()
    shown = page.locator("tf-graph-controls .runs-row paper-item[aria-selected=true]")
    expect(shown).to_have_text("• tf1 • model.ckpt-5 • metagraph")


def test_configuration_is_deserialised_when_somebody_presses_the_button(page: Page, board: TensorBoard) -> None:
    tab = open_checkpoint(page, board, "fit-legacy")
    expect(tab.get_by_test_id("verdict-bound")).to_have_count(0)
    tab.get_by_test_id("rebuild-configuration").click()
    expect(tab.get_by_test_id("verdict-bound")).to_have_text("4 of 4 variables bound")
    expect(tab.get_by_test_id("verify")).to_have_text("Rebuild from the Keras configuration")
    expect(tab.get_by_test_id("export")).to_be_enabled()
