"""The TensorBoards that the tests here ask: each is started once, for whoever needs one like it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boards import BAD_GIB, BAD_RUNS, BAD_SECONDS, CopyCheckpoint, Marked
from servers import WITHOUT_DYNAMIC_PLUGINS, TensorBoard, serve, write_stock_run
from waiting import wait_until

_BUILDERS = Path(__file__).with_name("builders")


@pytest.fixture(scope="session")
def copy_checkpoint() -> CopyCheckpoint:
    """Copy the files of a checkpoint, both given by their prefix."""

    def copy(source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        files = [*source.parent.glob(f"{source.name}.index"), *source.parent.glob(f"{source.name}.data-*")]
        assert len(files) == 2, files
        for file in files:
            shutil.copyfile(file, target.parent / (target.name + file.name.removeprefix(source.name)))

    return copy


@pytest.fixture(scope="session")
def demo_and_stock(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logdir with the demo's runs and `train`, a run with graphs of its own."""
    logdir = tmp_path_factory.mktemp("logdir") / "runs"
    shutil.copytree(demo_runs, logdir)
    write_stock_run(logdir / "train")
    return logdir


@pytest.fixture(scope="session")
def demo_board(
    demo_and_stock: Path, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TensorBoard]:
    """A TensorBoard on the demo and a stock run, started as the README says."""
    folder = tmp_path_factory.mktemp("demo_board")
    with serve(folder, "--logdir", demo_and_stock, "--ckptmeta_builders", demo_builders) as board:
        board.wait_for_builders()
        _wait_for_stock_run(board, "train")
        yield board


@pytest.fixture(scope="session")
def bare_board(demo_and_stock: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """A TensorBoard on the same logdir, that has never heard of this plugin."""
    folder = tmp_path_factory.mktemp("bare_board")
    with serve(folder, "--logdir", demo_and_stock, adapt=WITHOUT_DYNAMIC_PLUGINS) as board:
        _wait_for_stock_run(board, "train")
        yield board


@pytest.fixture(scope="session")
def marked(
    demo_runs: Path, copy_checkpoint: CopyCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Marked]:
    """A TensorBoard behind a proxy called proxy.example, with builders that tell when they have run."""
    folder = tmp_path_factory.mktemp("marked")
    copy_checkpoint(demo_runs / "mlp" / "ckpt-30", folder / "runs" / "mlp" / "ckpt-30")
    builders = folder / "leaves_marks.py"
    shutil.copyfile(_BUILDERS / builders.name, builders)
    arguments = ["--logdir", folder / "runs", "--ckptmeta_builders", builders]
    with serve(folder / "board", *arguments, "--ckptmeta_allowed_hosts", "proxy.example") as board:
        board.wait_for_builders()
        yield Marked(board, builders)


@pytest.fixture(scope="session")
def odd_board(
    demo_runs: Path,
    copy_checkpoint: CopyCheckpoint,
    sample: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TensorBoard]:
    """A TensorBoard with bad builders, each paired with a good checkpoint, and with bad checkpoints and pairings.

    The run `bad` has a truncated checkpoint and one without its shard, `disputed` a record that names two builders,
    `forsaken` one that names a builder which nobody registers, and `unpaired` has neither record nor pattern.
    """
    folder = tmp_path_factory.mktemp("odd_board")
    runs, good = folder / "runs", demo_runs / "mlp" / "ckpt-30"
    for run in (*BAD_RUNS, "prints-megabytes", "disputed", "forsaken", "unpaired"):
        copy_checkpoint(good, runs / run / "ckpt-1")
    for name in ("truncated-1", "half-1"):
        copy_checkpoint(good, runs / "bad" / name)
    index = runs / "bad" / "truncated-1.index"
    index.write_bytes(index.read_bytes()[:-20])
    (runs / "bad" / "half-1.data-00000-of-00001").unlink()
    _write_record(runs / "disputed", "raises", "exits")
    _write_record(runs / "forsaken", "nobody's")
    arguments: list[object] = ["--logdir", runs]
    for name in ("misbehaves", "returns_odd", "imports_missing"):
        arguments += ["--ckptmeta_builders", sample(name)]
    arguments += ["--ckptmeta_timeout", BAD_SECONDS, "--ckptmeta_memory_limit", BAD_GIB]
    with serve(folder / "board", *arguments) as board:
        board.wait_for_builders()
        yield board


def _write_record(run: Path, *builders: str) -> None:
    pairings = [{"checkpoints": "*", "builder": name, "arguments": {}} for name in builders]
    (run / "ckptmeta.json").write_text(json.dumps({"pairings": pairings}))


def _wait_for_stock_run(board: TensorBoard, run: str) -> None:
    def is_read() -> bool:
        found = board.graphs("info").document.get(run)
        return found is not None and found["run_graph"] and {"stock_trace", "stock_step"} <= set(found["tags"])

    wait_until(is_read, f"TensorBoard has read {run}")
