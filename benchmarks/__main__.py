"""Run the benchmarks that are named, or all: python -m benchmarks [--quick] [NAME…]."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys

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
names = arguments.names or BENCHMARKS
if len(names) > 1:
    for name in names:  # each in a process of its own, whose memory is none but its own
        quick = ["--quick"] if arguments.quick else []
        subprocess.run([sys.executable, "-m", "benchmarks", *quick, name], check=True)
else:
    print(describe_machine(), flush=True)
    importlib.import_module(f"benchmarks.{names[0]}").run(quick=arguments.quick)
