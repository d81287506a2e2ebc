"""The Checkpoints tab and what it opens, as people see them: a real TensorBoard in a real Chromium."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from imported import compare_import
from playwright.sync_api import FrameLocator, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError
from servers import TensorBoard, serve
from waiting import wait_until

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=top.hacked=1>"


def open_tab(page: Page, board: TensorBoard) -> FrameLocator:
    """Open TensorBoard at our tab, and return the tab's frame."""
    page.goto(f"{board.url}#ckptmeta")
    tab = page.frame_locator("iframe")
    expect(tab.get_by_role("heading", name="Checkpoints", exact=True)).to_be_visible()
    return tab


def find_row(tab: FrameLocator, run: str, name: str) -> Locator:
    return tab.locator(f'[data-testid="checkpoint-row"][data-run="{run}"][data-checkpoint-name="{name}"]')


def select(tab: FrameLocator, run: str, name: str) -> None:
    find_row(tab, run, name).click()
    expect(tab.get_by_test_id("detail-name")).to_have_text(name)
    expect(find_row(tab, run, name)).to_have_attribute("aria-selected", "true")


def find_node(page: Page, name: str) -> Locator:
    """A node of the graph that the Graphs dashboard draws."""
    return page.locator(f'svg g.node[data-name="{name}"]')


def expand(page: Page, name: str) -> None:
    """Show what a scope holds. The dashboard's map may lie over the node, wherever the layout puts it."""
    scope = find_node(page, name).locator("> g.nodeshape > rect").first
    inside = page.locator(f'svg g.node[data-name^="{name}/"]').first

    def expand_it() -> bool:
        scope.dispatch_event("dblclick")
        try:
            inside.wait_for(state="attached", timeout=10_000)
        except PlaywrightTimeoutError:  # a click is lost while the dashboard lays the graph out anew
            return False
        return True

    wait_until(expand_it, f"{name} is expanded")


def show_card(page: Page, name: str) -> Locator:
    """Select a node, and return the card that says what is known of it."""
    shape = find_node(page, name).locator("> g.nodeshape > *").first
    card = page.locator("tf-graph-info tf-node-info")
    title = card.locator(".node-name")

    def select_it() -> bool:
        shape.dispatch_event("click")
        try:
            expect(title).to_have_text(name, timeout=5_000)
        except AssertionError:  # a click is lost while the dashboard lays the graph out anew
            return False
        return True

    wait_until(select_it, f"the card of {name} is shown")
    return card


def close_card(page: Page) -> None:
    """Select nothing.

    Who leaves a node selected and looks at another graph may find it dead: the dashboard forgets to unselect where a
    pan or a zoom has just begun, and then fails at each selection ("reading 'node'"), as it has no such node any more.
    """
    background = page.locator("tf-graph-scene svg#svg")
    card = page.locator("tf-graph-info tf-node-info")

    def unselect() -> bool:
        background.dispatch_event("click")
        try:
            expect(card).to_be_hidden(timeout=5_000)
        except AssertionError:  # a click is lost while the dashboard pans
            return False
        return True

    wait_until(unselect, "no card is shown")


def find_shown_run(page: Page) -> Locator:
    """The run that the Graphs dashboard's controls say is shown."""
    return page.locator("tf-graph-controls .runs-row paper-item[aria-selected=true]")


def list_runs(page: Page) -> list[str]:
    return page.locator("tf-graph-controls .runs-row paper-item").all_text_contents()


def export(page: Page, tab: FrameLocator, folder: Path) -> Path:
    with page.expect_download() as started:
        tab.get_by_test_id("export").click()
    download = started.value
    assert download.failure() is None
    file = folder / download.suggested_filename
    download.save_as(file)
    return file


# --- The list and the verdict


def test_tab_of_the_demo_lists_its_three_models(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    for run, name, builder in (
        ("mlp", "ckpt-{}", "mnist-mlp"),
        ("custom", "ckpt-{}", "custom-model"),
        ("scoped", "model.ckpt-{}", "scoped-graph"),
    ):
        for step in (10, 20, 30):
            row = find_row(tab, run, name.format(step))
            expect(row).to_contain_text(str(step))
            expect(row).to_contain_text(builder)
            expect(row).to_contain_text(re.compile(r"\d (kB|MB)"))
    expect(tab.get_by_test_id("count")).to_have_text("10")
    select(tab, "mlp", "ckpt-20")
    expect(tab.get_by_test_id("builder-select")).to_have_value("mnist-mlp")
    expect(tab.get_by_test_id("pairing-reason")).to_have_text("pattern mlp/*")
    expect(tab.get_by_test_id("verdict-none")).to_be_visible()
    tab.get_by_test_id("filter").fill("custom 30")
    expect(tab.get_by_test_id("checkpoint-row")).to_have_count(1)


def test_verify_of_a_good_pairing_says_match(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "scoped", "model.ckpt-30")
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-running")).to_be_visible()
    expect(tab.get_by_test_id("verdict-status")).to_have_attribute("data-status", "match")
    expect(tab.get_by_test_id("verdict-bound")).to_have_text("4 of 4 variables bound")
    expect(find_row(tab, "scoped", "model.ckpt-30")).to_contain_text("match")
    expect(find_row(tab, "scoped", "model.ckpt-30")).to_have_attribute("data-state", "complete")
    # Another one has not been asked about.
    select(tab, "scoped", "model.ckpt-20")
    expect(tab.get_by_test_id("verdict-none")).to_be_visible()


def test_verify_and_export_with_another_argument_list_what_differs(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "mlp", "ckpt-10")
    units = tab.get_by_test_id("argument-units")
    expect(units).to_have_attribute("placeholder", "128")
    units.fill("many")
    expect(tab.get_by_test_id("verify")).to_be_disabled()
    units.fill("64")
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_attribute("data-status", "mismatch")
    differing = tab.get_by_test_id("verdict-shape-mismatches")
    for text in ("mlp/hidden/kernel", "[784, 64]", "[784, 128]", "mlp/digit/kernel", "mlp/hidden/bias"):
        expect(differing).to_contain_text(text)
    tab.get_by_test_id("export-check").uncheck()
    tab.get_by_test_id("export").click()
    expect(tab.get_by_test_id("export-error")).to_contain_text("not_matching")
    expect(tab.get_by_test_id("export-error")).to_contain_text("mlp/hidden/kernel")


def test_which_builder_proposes_one_and_a_question_mark_is_filled_in(
    page: Page, demo_runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    (tmp_path / "runs" / "old").mkdir(parents=True)
    for file in (demo_runs / "mlp").glob("ckpt-10.*"):
        (tmp_path / "runs" / "old" / file.name).write_bytes(file.read_bytes())
    arguments = ["--logdir", tmp_path / "runs", "--ckptmeta_builders", demo_builders]
    with serve(tmp_path / "board", *arguments) as board:
        board.wait_for_builders()
        tab = open_tab(page, board)
        select(tab, "old", "ckpt-10")
        # Until then there is but the checkpoint itself.
        expect(tab.get_by_test_id("builder-select")).to_have_value("•objects")
        tab.get_by_test_id("which").click()
        expect(tab.get_by_test_id("which-running")).to_be_visible()
        expect(tab.get_by_test_id("which-reason")).to_have_text(
            "The only one of 3 builders that matches: 4 of 4 variables bound."
        )
        for text in ("custom-model", "scoped-graph", "4 of 4"):
            expect(tab.get_by_test_id("which-candidates")).to_contain_text(text)
        tab.get_by_test_id("which-take").click()
        expect(tab.get_by_test_id("builder-select")).to_have_value("mnist-mlp")
        expect(tab.get_by_test_id("verdict-status")).to_have_attribute("data-status", "match")
        expect(tab.get_by_test_id("which-reason")).to_have_count(0)
        # What is not known is found from the checkpoint, and stands in the form then.
        units = tab.get_by_test_id("argument-units")
        units.fill("?")
        expect(tab.get_by_test_id("unknown")).to_contain_text("Verify finds units")
        expect(tab.get_by_test_id("export")).to_be_disabled()
        tab.get_by_test_id("verify").click()
        expect(units).to_have_value("128")
        expect(tab.get_by_test_id("verdict-status")).to_have_attribute("data-status", "match")
        expect(tab.get_by_test_id("verdict-notes")).to_contain_text("units = 128 (from mlp/hidden/kernel [784, 128]")
        expect(tab.get_by_test_id("export")).to_be_enabled()
        tab.get_by_test_id("builder-select").select_option("custom-model")
        tab.get_by_test_id("which").click()
        expect(tab.get_by_test_id("which-close")).to_be_visible()
        expect(tab.get_by_test_id("which-proposed")).to_contain_text("mnist-mlp")
        if shots := os.environ.get("CKPTMETA_SCREENSHOTS"):
            page.screenshot(path=f"{shots}/which.png")


# --- Export


def test_export_downloads_a_meta_that_restores_in_a_fresh_process(
    page: Page, board: TensorBoard, tmp_path: Path
) -> None:
    tab = open_tab(page, board)
    select(tab, "mlp", "ckpt-30")
    file = export(page, tab, tmp_path)
    assert file.name == "mlp-ckpt-30.meta"
    expect(tab.get_by_test_id("export-result")).to_contain_text("mlp-ckpt-30.meta")
    check = tab.get_by_test_id("export-check-result")
    expect(check).to_have_attribute("data-status", "passed")
    expect(check).to_contain_text("tf.train.Checkpoint")
    compared = compare_import(file, board.checkpoint("mlp/ckpt-30")["prefix"])
    assert (compared["inputs"], compared["foreign"]) == (["image"], [])
    assert compared["outputs"]["output_0"] <= 1e-6


def test_export_cancelled_ends_and_can_be_begun_again(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "custom", "ckpt-10")
    tab.get_by_test_id("builder-select").select_option("waits")
    for _ in range(2):
        tab.get_by_test_id("export").click()
        expect(tab.get_by_test_id("export-progress")).to_contain_text("building")
        tab.get_by_test_id("export-cancel").click()
        expect(tab.get_by_test_id("export-cancelled")).to_be_visible()
        expect(tab.get_by_test_id("export")).to_be_enabled()


# --- Graphs


def test_graphs_opens_with_the_stock_run_that_stands_beside_ours(page: Page, board: TensorBoard) -> None:
    page.goto(f"{board.url}#graphs")
    expect(find_shown_run(page)).to_have_text("train")
    expect(find_node(page, "stock_scope")).to_be_visible()
    assert list_runs(page)[0] == "train"
    assert {"• mlp • ckpt-30 • mnist-mlp", "• custom • ckpt-30 • custom-model"} <= set(list_runs(page)[1:])


@pytest.mark.parametrize("where", ["board", "prefixed_board"])
def test_open_in_graphs_lands_on_exactly_that_graph(page: Page, request: pytest.FixtureRequest, where: str) -> None:
    board: TensorBoard = request.getfixturevalue(where)
    tab = open_tab(page, board)
    select(tab, "mlp", "ckpt-20")
    tab.get_by_test_id("open-graphs").click()
    page.wait_for_url(re.compile(re.escape(board.url) + r"\?ckpt=[\w-]+#graphs.*"))
    expect(find_shown_run(page)).to_have_text("• mlp • ckpt-20 • mnist-mlp")
    assert list_runs(page) == ["• mlp • ckpt-20 • mnist-mlp"]
    # The op graph, and in it the layers' scopes.
    expect(find_node(page, "ckpt-20-mnist-mlp")).to_be_visible()
    expand(page, "mlp")
    for scope in ("mlp/hidden", "mlp/digit"):
        expect(find_node(page, scope)).to_be_visible()
        expect(find_node(page, scope).locator("title").first).to_have_text(scope.rpartition("/")[2])
    expand(page, "mlp/hidden")
    card = show_card(page, "mlp/hidden/kernel")
    expect(card).to_contain_text("checkpoint_key")
    expect(card).to_contain_text("optimizer/_trainable_variables/0")
    close_card(page)
    # The conceptual graph: the layers alone.
    page.get_by_role("radio", name="Conceptual graph").click()
    expect(find_node(page, "image")).to_have_count(0)
    expand(page, "mlp")
    for layer in ("mlp/hidden", "mlp/digit"):
        expect(find_node(page, layer)).to_be_visible()
    expect(show_card(page, "mlp/hidden")).to_contain_text("Dense")
    # And back in the tab what was selected still is, and says where the graph is.
    page.get_by_role("tab", name="Checkpoints").click()
    tab = page.frame_locator("iframe")
    expect(tab.get_by_test_id("detail-name")).to_have_text("ckpt-20")
    expect(tab.get_by_test_id("graph-run")).to_have_text("• mlp • ckpt-20 • mnist-mlp")


def test_open_in_graphs_of_another_tab_leaves_this_one(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    select(tab, "scoped", "model.ckpt-10")
    with page.context.expect_page() as opened:
        tab.get_by_test_id("open-graphs").click(modifiers=["Control"])
    other = opened.value
    expect(find_shown_run(other)).to_have_text("• scoped • model.ckpt-10 • scoped-graph")
    expect(find_node(other, "network")).to_be_visible()
    expand(other, "network")
    expect(find_node(other, "network/hidden")).to_be_visible()
    expect(tab.get_by_test_id("graph-run")).to_have_text("• scoped • model.ckpt-10 • scoped-graph")


def test_export_behind_a_prefix_downloads(page: Page, prefixed_board: TensorBoard, tmp_path: Path) -> None:
    tab = open_tab(page, prefixed_board)
    select(tab, "custom", "ckpt-30")
    tab.get_by_test_id("export-format").select_option("metagraph-text")
    tab.get_by_test_id("export-check").uncheck()
    file = export(page, tab, tmp_path)
    assert file.name == "custom-ckpt-30.pbtxt"
    assert file.read_text().startswith("meta_info_def {")
    expect(tab.get_by_test_id("export-check-result")).to_have_attribute("data-status", "skipped")


# --- Bad input


def test_names_and_errors_that_would_be_markup_are_shown_as_text(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    name = f"{HOSTILE}-7"
    select(tab, "<u>hostile", name)
    expect(find_row(tab, "<u>hostile", name)).to_contain_text("<b>bold</b>")
    expect(tab.get_by_test_id("builder-select")).to_have_value("<b>bold</b>")
    expect(tab.get_by_test_id("detail")).to_contain_text("run <u>hostile")
    expect(tab.get_by_test_id("argument-units")).to_have_attribute("placeholder", re.compile("<i>italic</i>"))
    tab.get_by_test_id("verify").click()
    expect(tab.get_by_test_id("verdict-status")).to_have_attribute("data-status", "error")
    error = tab.get_by_test_id("verdict-error")
    expect(error).to_contain_text(f"Builder '<b>bold</b>' raised ValueError: {HOSTILE}")
    expect(error).to_contain_text("hostile.py")
    expect(error).to_contain_text("builder_failed")
    for markup in ("img", "b", "u", "i"):
        expect(tab.locator(markup)).to_have_count(0)
    # The same in the Graphs dashboard: a failed rebuild is a graph that says why.
    tab.get_by_test_id("open-graphs").click()
    expect(find_shown_run(page)).to_have_text(f"• <u>hostile • {name} • <b>bold</b>")
    expect(show_card(page, "ERROR")).to_contain_text(
        f"{name} • <b>bold</b>: Builder ’<b>bold</b>’ raised ValueError: {HOSTILE}"
    )
    expect(page.locator("img[src=x]")).to_have_count(0)
    assert page.evaluate("window.hacked") is None


def test_empty_logdir_that_fills_while_tensorboard_runs(
    page: Page, demo_runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    logdir = tmp_path / "runs"
    logdir.mkdir()
    with serve(tmp_path / "board", "--logdir", logdir, "--ckptmeta_builders", demo_builders) as board:
        tab = open_tab(page, board)
        empty = tab.get_by_test_id("empty")
        expect(empty).to_contain_text("No checkpoints yet")
        expect(empty).to_contain_text(str(logdir))
        expect(empty).to_contain_text("tf.train.Checkpoint")
        (logdir / "mlp").mkdir()
        for file in (demo_runs / "mlp").glob("ckpt-10.*"):
            (logdir / "mlp" / file.name).write_bytes(file.read_bytes())
        # Nobody presses anything: it is listed by itself, and paired.
        expect(find_row(tab, "mlp", "ckpt-10")).to_contain_text("mnist-mlp", timeout=30_000)
        (logdir / "mlp" / "ckpt-20.index").write_bytes((demo_runs / "mlp" / "ckpt-20.index").read_bytes())
        tab.get_by_test_id("reload").click()
        expect(find_row(tab, "mlp", "ckpt-20")).to_have_attribute("data-state", "incomplete")
        find_row(tab, "mlp", "ckpt-10").click()
        tab.get_by_test_id("open-graphs").click()
        expect(find_shown_run(page)).to_have_text("• mlp • ckpt-10 • mnist-mlp")
        expect(find_node(page, "mlp")).to_be_visible()


# --- Looks


def test_dark_mode_of_tensorboard_is_the_tab_s_too(page: Page, board: TensorBoard) -> None:
    tab = open_tab(page, board)
    app = tab.locator("ckptmeta-app")
    expect(app).to_have_css("background-color", "rgb(255, 255, 255)")
    page.evaluate("document.body.classList.add('dark-mode')")
    expect(app).to_have_css("background-color", "rgb(48, 48, 48)")
    expect(app).to_have_css("color", "rgb(236, 236, 236)")
    page.goto(f"{board.url}?darkMode=true#ckptmeta")
    expect(page.frame_locator("iframe").locator("ckptmeta-app")).to_have_css("background-color", "rgb(48, 48, 48)")
