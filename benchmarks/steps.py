"""Where the time goes: the steps of a rebuild, of a first look at a large graph, of a scan and of a start."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tensorboard.compat.proto import meta_graph_pb2

from benchmarks.graphs import make_graph, make_training
from benchmarks.machine import make_environment
from benchmarks.scan import make_builders, make_tree
from benchmarks.table import as_milliseconds, print_table
from tb_ckptmeta.core.checkpoint_json import encode_checkpoints
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.engine import display, parsed_graph, scan, scan_local
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.pair import Pairer
from tb_ckptmeta.engine.process import Step
from tb_ckptmeta.engine.workspace import open_workspace

HERE = Path(__file__).parent
MODELS = {"MLP": "mlp", "ResNet50": "resnet50"}
NODES, QUICK_NODES = 100_000, 2000
RUNS, QUICK_RUNS = 1000, 20
TIMES, QUICK_TIMES = 7, 1
ALL = "all"

Taken = dict[str, float]
"""Step -> seconds; ALL is what the whole took, of which the steps are parts."""

_START = """
import argparse, json, sys, time
from tensorboard import default, main
from tensorboard.plugins import base_plugin
import werkzeug.wrappers

before, began = set(sys.modules), time.process_time()
from tb_ckptmeta.plugin.loader import CkptMetaLoader
imported = time.process_time()
context = base_plugin.TBContext(logdir=sys.argv[1], flags=argparse.Namespace(), plugin_name_to_instance={})
plugin = CkptMetaLoader().load(context)
loaded = time.process_time()
plugin.get_plugin_apps()
ended = time.process_time()
ours = sum(name.startswith("tb_ckptmeta") for name in set(sys.modules) - before)
print(json.dumps({f"importing its {ours} modules": imported - began, "looking for builders, making the plugin":
                  loaded - imported, "all": ended - began}))
"""


def run(*, quick: bool = False) -> None:
    times = QUICK_TIMES if quick else TIMES
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as name:
        folder = Path(name)
        _tell_rebuilds(folder / "models", dict(list(MODELS.items())[: 1 if quick else None]), times)
        nodes = QUICK_NODES if quick else NODES
        for title, make in {"a chain": make_graph, "a training": make_training}.items():
            path = folder / "large.meta"
            path.write_bytes(meta_graph_pb2.MetaGraphDef(graph_def=make(nodes)).SerializeToString())
            _tell(f"A first look at a .meta of {nodes:,} nodes, {title}", times, lambda: _look(folder / "large.meta"))
        runs = QUICK_RUNS if quick else RUNS
        (folder / "tree").mkdir()
        make_tree(folder / "tree", runs)
        _tell(f"A first scan of {runs:,} runs, paired with four builders", times, lambda: _scan(folder / "tree"))
        _tell("TensorBoard's start, what the plugin adds to it, in processor time", times, lambda: _start(folder))


def _tell(title: str, times: int, measure: Callable[[], Taken]) -> None:
    measured = [measure() for _ in range(times)]
    rows = {step: statistics.median(taken[step] for taken in measured) for step in measured[0]}
    rest = rows[ALL] - sum(seconds for step, seconds in rows.items() if step != ALL)
    rows = {**{step: seconds for step, seconds in rows.items() if step != ALL}, "the rest": rest, ALL: rows[ALL]}
    table = [[step, as_milliseconds(seconds)] for step, seconds in rows.items()]
    print_table(f"{title}; medians of {times}:", ["step", "time"], table)


def _tell_rebuilds(folder: Path, models: dict[str, str], times: int) -> None:
    asked = [word for name in models.values() for word in (name, json.dumps({}))]
    command = [sys.executable, str(HERE / "write_models.py"), str(folder), *asked]
    subprocess.run(command, env=make_environment(), check=True, stderr=subprocess.DEVNULL)
    with open_workspace(str(folder), builders=[str(HERE / "models.py")], memory=16 << 30) as workspace:
        checkpoints = {c.run: c for c in workspace.list_checkpoints(workspace.registry.read())}
        for place, (title, name) in enumerate(models.items()):
            choice = workspace.choose(checkpoints[f"{name}-{place}"], name, {})

            def rebuild(choice: Any = choice) -> Taken:
                steps: list[Step] = []
                began = time.perf_counter()
                workspace.rebuild(choice, fresh=True, on_steps=lambda told: steps.__setitem__(slice(None), told))
                names = {"importing TensorFlow": "until a worker begins, which has been forked"}
                return {
                    **{names.get(s.name, s.name): s.seconds or 0.0 for s in steps},
                    ALL: time.perf_counter() - began,
                }

            rebuild()
            _tell(f"A rebuild of {title}, the worker's steps", times, rebuild)


def _look(path: Path) -> Taken:
    """Read a `.meta` and draw it, as a first look does."""
    with _stopwatch(
        (parsed_graph, "read_graph"),
        (parsed_graph, "write_again"),
        (parsed_graph, "_describe"),
        (display, "compare"),
        (display, "drop_silent"),
        (display, "divide_crowds"),
        (display, "write_text", list),
        (display, "deflate"),
    ) as taken:
        began = time.perf_counter()
        data = [parsed_graph.read_source_file(str(path))]
        assert hashlib.sha256(data[0]).hexdigest()  # what it is kept under
        read = time.perf_counter()
        graph = parsed_graph.parse_metagraph(data.pop(), str(path))
        display.draw_op_graph(graph.rebuilt, graph.table, Contents("name", {}))
        ended = time.perf_counter()
    return {
        "reading the file, and its digest": read - began,
        "counting what the file holds, and its nodes": taken["read_graph"],
        "describing its variables": taken["_describe"],
        "keeping it": taken["write_again"],
        "comparing them": taken["compare"],
        "leaving out what says nothing": taken["drop_silent"],
        "finding crowded scopes": taken["divide_crowds"],
        "the text": taken["write_text"],
        "compressing it": taken["deflate"],
        ALL: ended - began,
    }


def _scan(tree: Path) -> Taken:
    with _stopwatch((scan_local, "walk_folders", list), (scan, "put_in_order", list)) as taken:
        began = time.perf_counter()
        report = scan.Scanner([Logdir("", str(tree))]).scan()
        scanned = time.perf_counter()
        paired = Pairer().pair(report, make_builders())
        ended = time.perf_counter()
        encode_checkpoints(paired)
        encoded = time.perf_counter()
    return {
        "names, sizes and times": taken["walk_folders"],
        "order": taken["put_in_order"],
        "checkpoints": scanned - began - taken["walk_folders"] - taken["put_in_order"],
        "pairing": ended - scanned,
        "JSON": encoded - ended,
        ALL: encoded - began,
    }


def _start(folder: Path) -> Taken:
    command = [sys.executable, "-c", _START, str(folder)]
    printed = subprocess.run(
        command, env=make_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True
    ).stdout
    taken: Taken = json.loads(printed)
    return taken


@contextmanager
def _stopwatch(*functions: Any) -> Iterator[Taken]:
    """Measure functions, each (module, name), or with what makes its lazy answer one that is complete."""
    taken: Taken = {}
    with ExitStack() as stack:
        for module, name, *complete in functions:
            stack.enter_context(patch.object(module, name, _timed(getattr(module, name), name, taken, *complete)))
        yield taken


def _timed(function: Any, name: str, taken: Taken, complete: Any = None) -> Any:
    taken[name] = 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        began = time.perf_counter()
        made = function(*arguments, **options)
        made = made if complete is None else complete(made)
        taken[name] += time.perf_counter() - began
        return made

    return timed
