"""The tab's comparison of two checkpoints, as people see it: a real TensorBoard in a real Chromium."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from servers import TensorBoard
from test_tab import open_tab, select

pytestmark = pytest.mark.browser


def test_compare_lists_what_moved_since_the_step_before(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "custom", "ckpt-30")
    chosen = tab.get_by_test_id("compare-other").locator("option:checked")
    expect(chosen).to_have_text("ckpt-20")
    tab.get_by_test_id("compare").click()
    summary = tab.get_by_test_id("diff-summary")
    expect(summary).to_contain_text("4 the same")
    expect(summary).to_contain_text("Values were not compared.")
    tab.get_by_test_id("compare-values").check()
    # What is shown is always what was chosen.
    expect(summary).to_have_count(0)
    tab.get_by_test_id("compare").click()
    expect(summary).to_contain_text("4 moved")
    moved = tab.get_by_test_id("diff-moved")
    for layer in ("dense1", "dense2"):
        expect(moved).to_contain_text(f"model/{layer}/_kernel")
    expect(moved.locator("tbody tr")).to_have_count(4)
    expect(tab.get_by_test_id("diff-bookkeeping").locator("summary")).to_have_text(re.compile(r"Bookkeeping \(\d+\)"))
    expect(tab.get_by_test_id("diff-bookkeeping-moved")).to_be_hidden()


def test_compare_with_another_run_lists_what_each_has_alone(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "custom", "ckpt-10")
    id = board.checkpoint("scoped/model.ckpt-30")["id"]
    tab.get_by_test_id("compare-other").select_option(id)
    tab.get_by_test_id("compare").click()
    expect(tab.get_by_test_id("diff-removed")).to_contain_text("dense1/kernel")
    expect(tab.get_by_test_id("diff-added")).to_contain_text("model/dense1/_kernel")
    expect(tab.get_by_test_id("diff-notes")).to_contain_text("The two have no key in common")
    # Another checkpoint has its own comparison, and this one keeps its own.
    select(tab, "custom", "ckpt-20")
    expect(tab.get_by_test_id("diff-summary")).to_have_count(0)
    expect(tab.get_by_test_id("compare-other").locator("option:checked")).to_have_text("ckpt-10")
    select(tab, "custom", "ckpt-10")
    expect(tab.get_by_test_id("diff-removed")).to_contain_text("dense1/kernel")
    expect(tab.get_by_test_id("compare-other")).to_have_value(id)
