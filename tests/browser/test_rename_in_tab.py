"""A rename in the tab: it is shown, looked at, applied, and exported through."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from servers import TensorBoard
from test_tab import open_tab, select

pytestmark = pytest.mark.browser


def test_rename_that_is_shown_is_applied_and_exported_through(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "custom", "ckpt-30")
    tab.get_by_test_id("builder-select").select_option("renamed")
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_text("mismatch")
    shown = tab.get_by_test_id("verdict-renames")
    expect(shown).to_contain_text("Under these renames it would match.")
    expect(shown.locator("tbody tr")).to_have_text([r"dense1hidden2 of 2", r"dense2logits2 of 2"])

    tab.get_by_test_id("apply-renames").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_text("match")
    expect(tab.get_by_test_id("rename")).to_contain_text(["dense1 → hidden", "dense2 → logits"])
    expect(tab.get_by_test_id("verdict-renamed").locator("tbody tr")).to_have_count(2)

    with page.expect_download() as download:
        tab.get_by_test_id("export").click()
    assert download.value.suggested_filename == "custom-ckpt-30.meta"


def test_rename_that_is_typed_and_taken_back_changes_the_verdict_with_it(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "custom", "ckpt-20")
    tab.get_by_test_id("builder-select").select_option("renamed")
    field = tab.get_by_test_id("add-rename")
    for rule in ("dense1=hidden", "dense2=logits"):
        field.fill(rule)
        field.press("Enter")
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_text("match")

    tab.get_by_test_id("rename").first.get_by_role("button").click()
    expect(tab.get_by_test_id("rename")).to_have_count(1)
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_text("partial")
