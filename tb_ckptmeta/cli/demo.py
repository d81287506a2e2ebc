"""`tb-ckptmeta demo`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import tb_ckptmeta
from tb_ckptmeta.core.errors import CkptMetaError, Code

_FILES = ("my_builders.py", "train.py")


def run_demo(options: argparse.Namespace) -> int:
    """Write the demo's checkpoints, unless they are there, and start TensorBoard on them."""
    for module, extra in (("tensorflow", "tensorflow"), ("tf_keras", "legacy")):
        if importlib.util.find_spec(module) is None:
            raise CkptMetaError(
                Code.TENSORFLOW_MISSING,
                f"The demo trains its models with {module}, which is not installed: "
                f'pip install "tensorboard-plugin-ckptmeta[{extra}]"',
            )
    directory = Path(options.directory).absolute()
    runs = directory / "runs"
    directory.mkdir(parents=True, exist_ok=True)
    for name in _FILES:
        if not (directory / name).exists():  # it may have been edited: that is what it is for
            shutil.copyfile(Path(tb_ckptmeta.__file__).with_name("demo") / name, directory / name)
    for keras, run in (("3", "custom"), ("legacy", "scoped")):
        if not (runs / run).exists():
            _train(directory, runs, keras)
    builders = directory / "my_builders.py"
    print(f"The checkpoints are in {runs}, their builders in {builders}.")
    if not options.write_only:
        _become_tensorboard(runs, builders, options.port)
    return 0


def _become_tensorboard(runs: Path, builders: Path, port: str) -> NoReturn:
    """Start TensorBoard in this process' place: whatever ends the demo ends it."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs)]
    command += ["--ckptmeta_builders", str(builders), "--port", port]
    print(f"Starting: tensorboard {' '.join(command[3:])}", flush=True)
    # TensorFlow's start-up messages would hide the one line that matters: the address.
    os.execve(sys.executable, command, {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})


def _train(directory: Path, runs: Path, keras: str) -> None:
    print(f"Training with Keras {keras} …", flush=True)
    environment = {
        **os.environ,
        "TF_USE_LEGACY_KERAS": "1" if keras == "legacy" else "0",
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    trained = subprocess.run(
        [sys.executable, "train.py", str(runs), keras],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if trained.returncode:
        raise CkptMetaError(
            Code.WORKER_FAILED, f"The demo's training failed with status {trained.returncode}.", trained.stderr[-4000:]
        )
