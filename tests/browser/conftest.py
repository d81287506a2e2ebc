"""A real Chromium, and the TensorBoards that it looks at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from servers import TensorBoard, serve, write_stock_run
from waiting import wait_until

_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_BUNDLE = Path(__file__).parents[2] / "tb_ckptmeta" / "plugin" / "static" / "index.js"
# A rebuild imports TensorFlow, which takes as long as it takes.
_PATIENCE_MILLISECONDS = 90_000


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    assert _BUNDLE.is_file(), "The tab's bundle is not built; run: make frontend"
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert path, "There is no Chromium; install it, or name one: CHROMIUM=/path/to/chromium"
    expect.set_options(timeout=_PATIENCE_MILLISECONDS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*_ARGUMENTS])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """An empty page of a new visitor; at its end no script may have failed in it."""
    context = chromium.new_context(viewport={"width": 1400, "height": 850}, accept_downloads=True)
    context.set_default_timeout(_PATIENCE_MILLISECONDS)
    context.set_default_navigation_timeout(_PATIENCE_MILLISECONDS)
    page = context.new_page()
    failures: list[str] = []
    context.on("console", lambda message: print(f"console {message.type}: {message.text}"))  # shown where a test fails
    context.on("weberror", lambda event: failures.append(str(event.error)))
    yield page
    context.close()
    assert failures == []


@pytest.fixture(scope="session")
def demo_with_others(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's logdir, with a run that has graphs of its own and one whose every name would be markup."""
    logdir = tmp_path_factory.mktemp("logdir") / "runs"
    shutil.copytree(demo_runs, logdir)
    write_stock_run(logdir / "train")
    hostile = logdir / "<u>hostile"
    hostile.mkdir()
    for file in (demo_runs / "mlp").glob("ckpt-30.*"):
        shutil.copyfile(file, hostile / f"<img src=x onerror=top.hacked=1>-7{file.suffix}")
    return logdir


@pytest.fixture(scope="session")
def board(
    demo_with_others: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard as a user starts it."""
    ours = Path(__file__).with_name("builders")
    files = [demo_builders, ours / "hostile.py", ours / "waits.py", ours / "renamed.py"]
    specs = [argument for file in files for argument in ("--ckptmeta_builders", file)]
    with serve(tmp_path_factory.mktemp("board"), "--logdir", demo_with_others, *specs) as board:
        board.wait_for_builders()
        wait_until(lambda: "train" in board.graphs("info").document, "TensorBoard has read the stock run")
        yield board


@pytest.fixture(scope="session")
def prefixed_board(
    demo_with_others: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard behind a path prefix, with the slow loading of data."""
    arguments = ["--logdir", demo_with_others, "--ckptmeta_builders", demo_builders]
    arguments += ["--path_prefix", "/team/tb", "--load_fast=false"]
    with serve(tmp_path_factory.mktemp("prefixed_board"), *arguments) as board:
        board.wait_for_builders()
        wait_until(lambda: "train" in board.graphs("info").document, "TensorBoard has read the stock run")
        yield board
