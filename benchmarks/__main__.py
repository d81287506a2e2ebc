"""Run the benchmarks that are named, or all: python -m benchmarks [--quick] [NAME…]."""

from __future__ import annotations

import argparse
import importlib
import os

from benchmarks.machine import describe_machine

BENCHMARKS = ("rebuild", "verdict_size", "weights", "graphs", "scan", "start", "steps", "remote", "batch")

parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure; nothing is asserted.")
parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all where none is named")
parser.add_argument("--quick", action="store_true", help="once, and small: whether they run, and no measurement")
arguments = parser.parse_args()
unknown = [name for name in arguments.names if name not in BENCHMARKS]
if unknown:
    parser.error(f"there is no benchmark {', '.join(unknown)}, but {', '.join(BENCHMARKS)}")
os.environ["TB_CKPTMETA_CACHE"] = ""  # what is measured is the work
print(describe_machine(), flush=True)
for name in arguments.names or BENCHMARKS:
    importlib.import_module(f"benchmarks.{name}").run(quick=arguments.quick)
