"""A look at a graph in the dashboard: a large one against the stock plugin, and a rebuilt one again and again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tensorboard.compat.proto import event_pb2, graph_pb2, meta_graph_pb2
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from benchmarks.board import Board, start_board
from benchmarks.machine import make_environment
from benchmarks.table import as_milliseconds, as_ratio, print_table, take_turns
from tb_ckptmeta import record

HERE = Path(__file__).parent
NODES, QUICK_NODES = 100_000, 2000
TIMES, QUICK_TIMES = 5, 1
_OPERATIONS = ("MatMul", "AddV2", "Relu", "Mul")


def run(*, quick: bool = False) -> None:
    nodes, times = (QUICK_NODES, QUICK_TIMES) if quick else (NODES, TIMES)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as name:
        folder = Path(name)
        models = ("mlp",) if quick else ("mlp", "resnet50")
        _write_models(folder / "models", models)
        for title, make in {"A chain": make_graph, "A training": make_training}.items():
            _measure_large(folder / make.__name__, folder / "models" / "mlp-0", title, make(nodes), times)
        _measure_rebuilt(folder, models, times)


def make_graph(nodes: int) -> graph_pb2.GraphDef:
    """Return a chain of operations, 50 in a layer, 20 layers in a block, with the shapes of their outputs."""
    graph = graph_pb2.GraphDef()
    previous = ""
    for i in range(nodes):
        name = f"net/block_{i // 1000}/layer_{i // 50 % 20}/op_{i % 50}"
        node = graph.node.add(name=name, op=_OPERATIONS[i % 4], input=[previous] if previous else [])
        node.attr["T"].type = 1
        if i % 4 == 0:
            node.attr["transpose_a"].b = node.attr["transpose_b"].b = False
        shape = node.attr["_output_shapes"].list.shape.add()
        shape.dim.add(size=-1)
        shape.dim.add(size=1024)
        previous = name
    return graph


def make_training(nodes: int) -> graph_pb2.GraphDef:
    """Return layers side by side, 20 nodes in each, as TensorFlow 1 trains them: variables, their slots, gradients.

    Every layer's attributes name its own variable, and there are more layers than a scope may show.
    """
    graph = graph_pb2.GraphDef()
    previous = ""
    for i in range(nodes // 20):
        own = f"layer_{i}/w"
        for name in (own, f"{own}/Adam", f"{own}/Adam_1"):
            variable = graph.node.add(name=name, op="VariableV2")
            variable.attr["dtype"].type = 1
            for size in (1024, 16 + i % 64):
                variable.attr["shape"].shape.dim.add(size=size)
            initial = graph.node.add(name=f"{name}/Initializer/zeros", op="Const")
            initial.attr["value"].tensor.float_val.append(0.001 * i)
            assign = graph.node.add(name=f"{name}/Assign", op="Assign", input=[name, initial.name])
            read = graph.node.add(name=f"{name}/read", op="Identity", input=[name])
            for node in (variable, initial, assign, read):
                node.attr["_class"].list.s.append(f"loc:@{own}".encode())
        product = graph.node.add(name=f"layer_{i}/MatMul", op="MatMul", input=[previous or own, f"{own}/read"])
        relu = graph.node.add(name=f"layer_{i}/Relu", op="Relu", input=[product.name])
        for step in range(5):
            graph.node.add(name=f"gradients/layer_{i}/grad_{step}", op="Mul", input=[relu.name, product.name])
        update = graph.node.add(name=f"Adam/update_{own}/ApplyAdam", op="ApplyAdam", input=[own, f"{own}/Adam"])
        update.attr["_class"].list.s.append(f"loc:@{own}".encode())
        previous = relu.name
    for node in graph.node:
        node.attr["T"].type = 1
        node.attr["_output_shapes"].list.shape.add().dim.add(size=-1)
    return graph


def _write_models(folder: Path, models: tuple[str, ...]) -> None:
    asked = [word for name in models for word in (name, json.dumps({}))]
    command = [sys.executable, str(HERE / "write_models.py"), str(folder), *asked]
    subprocess.run(command, env=make_environment(), check=True, stderr=subprocess.DEVNULL)


def _measure_large(logdir: Path, checkpoint: Path, title: str, graph: graph_pb2.GraphDef, times: int) -> None:
    writer = EventFileWriter(str(logdir / "stock"))
    writer.add_event(event_pb2.Event(graph_def=graph.SerializeToString()))
    writer.close()
    runs = [f"ours-{number}" for number in range(times)]
    for number, name in enumerate(runs):
        shutil.copytree(checkpoint, logdir / name)
        graph.node[0].op = f"MatMul{number}"  # each a graph that has not been seen
        meta_graph = meta_graph_pb2.MetaGraphDef(graph_def=graph)
        (logdir / name / "ckpt-1.meta").write_bytes(meta_graph.SerializeToString())
    with start_board(logdir, environment=_use_cache(logdir.with_name(f"{logdir.name}-cache"))) as board:
        _wait(board, "stock", *map(_name_source, runs))
        waiting = iter(map(_name_source, runs))
        measured = take_turns(
            {
                "the stock plugin, from an event file": lambda: board.look("stock"),
                "a first look, from a .meta": lambda: board.look(next(waiting), "forward"),
                "a second look": lambda: board.look(_name_source(runs[0]), "forward"),
            },
            times,
        )
    stock = measured["the stock plugin, from an event file"]
    print_table(
        f"{title} of {len(graph.node):,} nodes, until its last byte has arrived; medians of {times} of each, in turn:",
        ["", "time", "ratio"],
        [[what, as_milliseconds(seconds), as_ratio(seconds / stock)] for what, seconds in measured.items()],
    )


def _measure_rebuilt(folder: Path, models: tuple[str, ...], times: int) -> None:
    titles = {"mlp": "MLP", "resnet50": "ResNet50"}
    environment = _use_cache(folder / "cache-models")
    options = ("--ckptmeta_builders", str(HERE / "models.py"))
    runs = {}
    for place, name in enumerate(models):
        record(folder / "models" / f"{name}-{place}", name)
        runs[name] = f"• {name}-{place} • ckpt-1 • {name}"
    first, second, anew = {}, {}, {}
    with start_board(folder / "models", *options, environment=environment) as board:
        _wait(board, *runs.values())
        for name, shown in runs.items():
            first[name] = board.look(shown, "forward")
            look: Callable[[], float] = partial(board.look, shown, "forward")
            second |= take_turns({name: look}, times * 3)
    with start_board(folder / "models", *options, environment=environment) as board:
        _wait(board, *runs.values())
        for name, shown in runs.items():
            anew[name] = board.look(shown, "forward")
    for name in models:
        rows = [
            [f"{titles[name]}, a first look", as_milliseconds(first[name]), as_ratio(1.0)],
            ["a second look", as_milliseconds(second[name]), as_ratio(second[name] / first[name])],
            [
                "the first look of a TensorBoard that starts anew",
                as_milliseconds(anew[name]),
                as_ratio(anew[name] / first[name]),
            ],
        ]
        title = f"A rebuilt graph; the first look builds it, once; the second is the median of {times * 3}:"
        print_table(title, ["", "time", "ratio"], rows)


def _use_cache(folder: Path) -> dict[str, str]:
    return {"TB_CKPTMETA_CACHE": str(folder)}


def _name_source(run: str) -> str:
    return f"• {run} • ckpt-1 • metagraph"


def _wait(board: Board, *runs: str) -> None:
    """Wait until the dashboard lists these runs: TensorBoard reads event files in the background."""
    deadline = time.monotonic() + 120
    while not set(runs) <= set(json.loads(board.ask("/data/plugin/graphs/info"))):
        assert time.monotonic() < deadline, runs
        time.sleep(0.1)
