"""Worker processes forked from one that has imported TensorFlow, and done no more: a corpus is hundreds of them.

The job, its files and the worker's code are the product's; what is left out is the guardian with its limits, which has
tests of its own. Run by itself (python warm.py), it forks a worker for each folder that it reads from standard input.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

ENDED = "warm.ended"


class Warm:
    """A process for each Keras that forks workers; `run` stands in for `engine.process.run_worker`."""

    def __init__(self) -> None:
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._lock = threading.Lock()

    def run(self, job: Any, folder: Path, subject: str, *, on_steps: Any = None, cancelled: Any = None) -> Any:
        import json

        from tb_ckptmeta.core.errors import CkptMetaError, Code
        from tb_ckptmeta.core.job import OUTPUT, RESULT, TEMPORARY, write_job

        del on_steps
        write_job(job, folder)
        (folder / TEMPORARY).mkdir(exist_ok=True)
        with self._lock:
            server = self._get_server(_find_keras(job))
            assert server.stdin is not None
            server.stdin.write(f"{folder}\n")
            server.stdin.flush()
        deadline = time.monotonic() + job.limits.seconds
        while not (folder / ENDED).exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise CkptMetaError(Code.WORKER_FAILED, f"{subject} did not end, or its server did.")
            if cancelled is not None and cancelled.is_set():
                raise CkptMetaError(Code.CANCELLED, "Cancelled.")
            time.sleep(0.02)
        if not (folder / RESULT).exists():
            output = (folder / OUTPUT).read_text(errors="replace")
            raise CkptMetaError(Code.BUILDER_CRASHED, f"{subject} ended: {(folder / ENDED).read_text()}", output)
        result = json.loads((folder / RESULT).read_text())
        if "error" in result:
            raise CkptMetaError.from_json(result["error"])
        return result["value"]

    def _get_server(self, keras: str) -> subprocess.Popen[str]:
        """Return the process for one Keras: TensorFlow reads at its import which one it is to be."""
        if keras not in self._processes:
            environment = {
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "-1",
                "KERAS_BACKEND": "tensorflow",
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "PYTHONHASHSEED": "0",
                "TF_USE_LEGACY_KERAS": keras,
            }
            self._processes[keras] = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                text=True,
            )
        return self._processes[keras]

    def close(self) -> None:
        for process in self._processes.values():
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def _find_keras(job: Any) -> str:
    """Return what TF_USE_LEGACY_KERAS will be in the worker."""
    if not hasattr(job, "source"):
        return "0"
    from tb_ckptmeta.worker.flavour import settle_keras

    with mock.patch.dict(os.environ):
        settle_keras(job.source)
        return os.environ["TF_USE_LEGACY_KERAS"]


@contextlib.contextmanager
def keep_warm() -> Iterator[None]:
    """Let the engine's workers be forked from a warm process."""
    warm = Warm()
    with (
        mock.patch("tb_ckptmeta.engine.rebuild.run_worker", warm.run),
        mock.patch("tb_ckptmeta.engine.export.run_worker", warm.run),
    ):
        try:
            yield
        finally:
            warm.close()


def serve() -> None:
    import tensorflow  # noqa: F401  # it may be imported before a fork, and nothing else be done with it

    from tb_ckptmeta.core.job import OUTPUT, TEMPORARY

    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        if os.fork():
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        worker = os.fork()
        if worker:
            _, status = os.waitpid(worker, 0)
            (folder / (ENDED + ".tmp")).write_text(f"{status:#x}")
            (folder / (ENDED + ".tmp")).rename(folder / ENDED)
            os._exit(0)
        output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.environ["TMPDIR"] = str(folder / TEMPORARY)
        from tb_ckptmeta.worker.run import run

        run(folder)


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.path.remove(str(Path(__file__).parent))
    serve()
