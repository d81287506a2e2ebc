"""Run a training script once under each Keras, in processes of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from reading import COMPARABLE


def train_under_both(script: Path, runs: Path) -> None:
    """Run `python SCRIPT RUNS FLAVOUR` for the flavours "3" and "legacy", both at once, in the script's folder."""

    def train(flavour: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **COMPARABLE, "TF_USE_LEGACY_KERAS": str(int(flavour == "legacy"))}
        command = [sys.executable, script.name, str(runs), flavour]
        return subprocess.run(command, cwd=script.parent, env=environment, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        for ended in pool.map(train, ("3", "legacy")):
            assert ended.returncode == 0, ended.stderr
