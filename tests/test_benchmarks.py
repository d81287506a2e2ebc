"""The benchmarks run, and what they measure is so: a large checkpoint is read no further than a small one."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = 51

pytestmark = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="the benchmarks need Linux' /proc")

_READ = """
import json, sys
from benchmarks.machine import count_bytes_read
from tb_ckptmeta.engine.bundle import read_contents

count_bytes_read()
before = count_bytes_read()
between = count_bytes_read()
contents = read_contents(sys.argv[1])
read = count_bytes_read() - between - (between - before)
print(json.dumps({"read": read, "shapes": {key: list(t.shape) for key, t in contents.tensors.items()},
                  "weights": sum(t.bytes for t in contents.tensors.values()),
                  "objects": contents.objects is not None, "tensorflow": "tensorflow" in sys.modules}))
"""

_WRITE = """
import sys
from pathlib import Path
from benchmarks.verdict_size import write_stacks

print(*write_stacks(Path(sys.argv[1]), [("keras-stack", int(sys.argv[2]))]))
"""


def run_python(*arguments: object) -> str:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The prefix of an object-based checkpoint of 1 GB, of which next to nothing is on the disk."""
    return run_python("-c", _WRITE, tmp_path_factory.mktemp("large"), 2240).strip()


def measure_files(prefix: str) -> tuple[int, int]:
    """Return how many bytes a checkpoint's shards have, and how many of them are on the disk."""
    stats = [p.stat() for p in Path(prefix).parent.glob("*.data-*")]
    return sum(s.st_size for s in stats), sum(s.st_blocks * 512 for s in stats)


def test_reading_a_large_checkpoint_reads_the_index_and_the_object_graph_alone(large: str) -> None:
    size, _ = measure_files(large)
    found: dict[str, Any] = json.loads(run_python("-c", _READ, large))
    assert found["objects"]
    assert not found["tensorflow"]
    assert sorted(map(tuple, found["shapes"].values())) == sorted([(2240, 2240), (2240,)] * LAYERS)
    assert found["weights"] > 1_000_000_000
    # The shards hold the weights and the object graph; a file is read in blocks of its buffer.
    known = Path(f"{large}.index").stat().st_size + (size - found["weights"])
    assert known <= found["read"] < known + 2 * io.DEFAULT_BUFFER_SIZE


def test_large_checkpoint_is_one_that_tensorflow_reads_and_takes_no_room(large: str) -> None:
    tf = pytest.importorskip("tensorflow")
    size, blocks = measure_files(large)
    assert blocks < 1_000_000 < 1_000_000_000 < size
    reader = tf.train.load_checkpoint(large)  # checks what it reads against the checksums in the index
    kernel = min(key for key in reader.get_variable_to_shape_map() if "kernel" in key)
    assert not reader.get_tensor(kernel).any()


@pytest.mark.bench
def test_benchmark_of_sizes_runs_through_and_prints_its_tables() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "rebuild", "verdict_size", "weights")
    assert re.search(r"\d+ cores .*, Linux .*, Python 3\.\d+\.\d+, tensorflow 2\.", printed)
    assert re.search(r"^\| MLP \| [\d.,]+ ms \| [\d.,]+ ms \| \d+\.\d+ \|$", printed, re.MULTILINE)
    few = printed.partition("| 0.1 million parameters | 0.2 million parameters |")[2]
    rows = re.findall(r"^\| (verdict|\.meta)[^|]* \| [\d,.]+ (MB|ms) \|", few, re.MULTILINE)
    assert rows == [("verdict", "ms"), ("verdict", "MB"), (".meta", "ms"), (".meta", "MB")]
    for kind in ("Object-based", "Name-based"):
        table = printed.partition(kind)[2].partition("-based")[0]
        assert "102 variables" in table
        assert re.search(r"\| +\| 10 MB \| 1,024 MB \| ratio \|", table)
        rows = re.findall(r"^\| (\w.*?) \| (\S+) \w+ \| (\S+) \w+ \| (\d+\.\d+) \|$", table, re.MULTILINE)
        assert len(rows) == 5
        assert all(float(number.replace(",", "")) > 0 for _, *numbers in rows for number in numbers)


def test_benchmarks_of_scan_and_start_run_through_and_print_their_tables() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "scan", "start")
    assert "200 checkpoints in 20 runs" in printed
    rows = re.findall(r"^\| (\w.*?) \| (\S+) ms \| (-?\d+\.\d+) \|$", printed, re.MULTILINE)
    assert [what for what, _, _ in rows].count("find") == 2
    assert {"a first scan", "a rescan, nothing changed", "tb-ckptmeta scan --json, its start aside"} <= {
        what for what, _, _ in rows
    }
    start = re.search(r"^\| a logdir of 20 runs \| (\S+) ms \| (\S+) ms \| (\S+) ms \|", printed, re.MULTILINE)
    assert start is not None
    assert all(float(start[i].replace(",", "")) > 0 for i in (1, 2))


@pytest.mark.bench
def test_benchmark_of_graphs_runs_through_and_prints_its_tables() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "graphs")
    rows = re.findall(r"^\| (\w[^|]*?) \| (\S+) ms \| (\S+) \|$", printed, re.MULTILINE)
    large = ["the stock plugin, from an event file", "a first look, from a .meta", "a second look"]
    assert [what for what, _, _ in rows] == [
        *large,  # a chain
        *large,  # a training
        "MLP, a first look",
        "a second look",
        "the first look of a TensorBoard that starts anew",
    ]


@pytest.mark.bench
def test_benchmark_of_steps_tells_parts_that_make_up_the_whole() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "steps")
    tables = printed.split("| step | time |")[1:]
    assert len(tables) == 5
    for table in tables:
        rows = [(what, float(ms)) for what, ms in re.findall(r"^\| (\w[^|]*?) \| (-?\S+) ms \|$", table, re.MULTILINE)]
        *parts, (last, whole) = rows
        assert last == "all"
        assert sum(ms for _, ms in parts) == pytest.approx(whole, abs=1 + whole / 100)  # as far as it was printed
        # A part that was not measured would be in the rest.
        assert dict(parts)["the rest"] < whole / 2
    assert {"building", "tracing", "flattening"} <= set(re.findall(r"^\| (\w+) \|", tables[0], re.MULTILINE))


@pytest.mark.bench
def test_benchmark_of_remote_logdirs_tells_requests_and_bytes() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "remote")
    head, _, table = printed.partition("The verdict of a checkpoint")
    assert re.search(r"^\| requests, one listing a folder \| 11 \| 11 \| 1\.00 \|$", head, re.MULTILINE)
    read = re.search(r"^\| bytes fetched of its files \| (\S+) kB \| (\S+) kB \| (\S+) \|$", table, re.MULTILINE)
    assert read is not None, printed
    assert all(0 < float(number) < 100 for number in read.groups())
    assert "| requests, listings among them | 3 | 3 | 1.00 |" in table


@pytest.mark.bench
def test_benchmark_of_batches_runs_through_and_prints_its_table() -> None:
    printed = run_python("-m", "benchmarks", "--quick", "batch")
    assert "Verdicts of 2 checkpoints of 1 builders" in printed
    rows = re.findall(r"^\| (\w[^|]*?) \| (\S+) s \| (\d+\.\d+) \| [^|]+ \|$", printed, re.MULTILINE)
    assert [what for what, _, _ in rows] == ["one command for each", "batch, 1 worker"]
    assert rows[0][2] == "1.00"
    assert all(float(number.replace(",", "")) > 0 for _, *numbers in rows for number in numbers)


def test_benchmark_that_there_is_not_is_named() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks", "no_such"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "no_such" in ended.stderr
    assert "verdict_size" in ended.stderr


def test_every_benchmark_is_run_by_its_name() -> None:
    modules = {p.stem for p in (ROOT / "benchmarks").glob("*.py") if "\ndef run(" in p.read_text(encoding="utf-8")}
    listed = (ROOT / "benchmarks" / "__main__.py").read_text(encoding="utf-8").partition("BENCHMARKS = (")[2]
    assert modules == set(re.findall(r'"(\w+)"', listed.partition(")")[0]))
