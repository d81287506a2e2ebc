"""Workers, as their caller sees them: a value, or one clear error, and nothing left of them."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import REBUILT, Describe, Limits, Rebuild, Source
from tb_ckptmeta.engine.process import Step, run_worker
from tb_ckptmeta.engine.specs import parse_spec

_LIMITS = Limits(120.0, 8 << 30)

List = Callable[..., Any]
Fail = Callable[..., CkptMetaError]


@pytest.fixture
def list_builders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any, quick_tensorflow: dict[str, str]
) -> List:
    """List the builders of a file in a worker of its own, and return the worker's value."""
    folder = tmp_path / "job"
    folder.mkdir()
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)

    def list_builders(path: Path, limits: Limits = _LIMITS, **options: Any) -> Any:
        return run_worker(Describe(parse_spec(str(path)), limits), folder, path.name, **options)

    return list_builders


@pytest.fixture
def fail(list_builders: List) -> Fail:
    """List the builders of a file that fails, and return the error."""

    def fail(path: Path, limits: Limits = _LIMITS, **options: Any) -> CkptMetaError:
        with pytest.raises(CkptMetaError) as caught:
            list_builders(path, limits, **options)
        return caught.value

    return fail


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    """Write a module of the given source."""

    def write(source: str) -> Path:
        path = tmp_path / "my_builders.py"
        path.write_text(source, encoding="utf-8")
        return path

    return write


def test_run_worker_tells_real_steps_as_they_begin(list_builders: List, sample: Callable[[str], Path]) -> None:
    told: list[list[Step]] = []
    value = list_builders(sample("rivals"), on_steps=told.append)
    assert [b["name"] for b in value["builders"]] == ["mlp", "every"]
    assert [s.name for s in told[-1]] == ["importing TensorFlow", "importing the builders"]
    assert all(s.seconds is not None and s.seconds >= 0 for s in told[-1])
    for steps in told[:-1]:
        assert [s.seconds is None for s in steps] == [False] * (len(steps) - 1) + [True]


def test_run_worker_of_a_module_with_a_syntax_error_shows_the_line_without_our_frames(
    fail: Fail, write: Callable[[str], Path]
) -> None:
    error = fail(write("ready = True\ndef build(:\n    pass\n"))
    assert error.code is Code.MODULE_FAILED
    assert error.message.endswith("raised SyntaxError: invalid syntax (my_builders.py, line 2)")
    assert 'my_builders.py", line 2' in error.details
    assert "def build(:" in error.details
    assert "tb_ckptmeta" not in error.details


def test_run_worker_of_a_module_that_imports_what_is_missing_names_it(
    fail: Fail, sample: Callable[[str], Path]
) -> None:
    error = fail(sample("imports_missing"))
    assert error.code is Code.MODULE_FAILED
    assert error.message.endswith("raised ModuleNotFoundError: No module named 'there_is_no_such_module'")
    assert 'imports_missing.py", line 3, in <module>' in error.details
    assert "importlib" not in error.details
    assert f"tb_ckptmeta{os.sep}worker" not in error.details


def test_run_worker_of_a_module_that_exits_says_so_with_its_traceback(
    fail: Fail, sample: Callable[[str], Path]
) -> None:
    error = fail(sample("exits_at_import"))
    assert error.code is Code.BUILDER_EXITED
    assert "called sys.exit('build')" in error.message
    assert "sys.exit(build.__name__)" in error.details
    assert f"tb_ckptmeta{os.sep}worker" not in error.details


def test_run_worker_of_a_module_that_registers_badly_says_which_value(
    fail: Fail, sample: Callable[[str], Path]
) -> None:
    error = fail(sample("registers_badly"))
    assert error.code is Code.INVALID_BUILDER
    assert "'mlp'" in error.message
    assert "'2'" in error.message


def test_run_worker_of_a_module_that_crashes_names_signal_and_step(fail: Fail, sample: Callable[[str], Path]) -> None:
    error = fail(sample("crashes_at_import"))
    assert error.code is Code.BUILDER_CRASHED
    assert error.message == "crashes_at_import.py crashed its process with SIGSEGV while importing the builders."
    assert 'crashes_at_import.py", line 5 in <module>' in error.details  # as the fault handler saw it
    assert "I0000 00:00" not in error.details  # nor what TensorFlow says of every start


def test_run_worker_past_its_memory_limit_names_limit_step_and_remedy(
    fail: Fail, sample: Callable[[str], Path]
) -> None:
    error = fail(sample("eats_memory_at_import"), Limits(120.0, 256 << 20))
    assert error.code is Code.BUILDER_OUT_OF_MEMORY
    assert "more than 0.25 GiB of memory while importing the builders" in error.message
    assert "--memory-limit" in error.message


def test_run_worker_that_is_cancelled_ends_all_that_it_started(
    fail: Fail, sample: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any
) -> None:
    pids = tmp_path / "pids"
    monkeypatch.setenv("CKPTMETA_TEST_PIDS", str(pids))
    cancelled = threading.Event()
    families: list[list[int]] = []

    def cancel() -> None:
        while not pids.exists() and not cancelled.wait(0.02):
            pass
        families.append(leaves_nothing.are_alive(int(word) for word in pids.read_text().split()))
        cancelled.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    try:
        error = fail(sample("hangs_in_c_at_import"), cancelled=cancelled)
    finally:
        cancelled.set()
        thread.join()
    assert error.code is Code.CANCELLED
    assert [len(family) for family in families] == [3]
    assert leaves_nothing.find_alive() == {}


def test_run_worker_whose_guardian_is_killed_raises_worker_failed(
    fail: Fail, write: Callable[[str], Path], leaves_nothing: Any
) -> None:
    error = fail(write(f"import os\nos.kill(os.getppid(), {int(signal.SIGKILL)})\nwhile True: pass\n"))
    assert error.code is Code.WORKER_FAILED
    assert error.message == (
        "my_builders.py: the worker process could not be watched to its end while importing the builders."
    )
    assert leaves_nothing.wait_until_alone() == {}


def test_run_worker_with_traps_in_every_folder_and_a_hostile_environment_rebuilds_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any, sample: Callable[[str], Path]
) -> None:
    marker = tmp_path / "stood_in"
    trap = f"open({str(marker)!r}, 'a').write(__name__ + ' ')\nraise ImportError('a stand-in')\n"
    here, beside, job = tmp_path / "here", tmp_path / "beside", tmp_path / "job"
    for folder in (here, beside, job):
        folder.mkdir()
    for name in ("numpy", "json", "tensorflow", "keras", "signal", "tb_ckptmeta", "sitecustomize", "usercustomize"):
        for folder in (here, beside):
            (folder / f"{name}.py").write_text(trap, encoding="utf-8")
    for name in ("sets_environment", "small_models"):
        shutil.copy(sample(name), beside)
    monkeypatch.chdir(here)
    hostile = {"CUDA_VISIBLE_DEVICES": "0", "KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1", "PYTHONHASHSEED": "7"}
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)

    spec = parse_spec(str(beside / "sets_environment.py"))
    source = Source(spec, "sets-environment", {}, graph=False, keras="3", keras_hint=None)
    value = run_worker(Rebuild(source, _LIMITS), job, "It")

    assert not marker.exists()
    assert value["exported"] is None
    # The sample has looked itself what it was given: the CPU, and Keras 3 on TensorFlow.
    assert '"keras": "3"' in (job / REBUILT).read_text(encoding="utf-8")
    read = {Path(path).name for path in value["dependencies"]["files"]} - {"keras.json"}
    assert read == {"sets_environment.py", "small_models.py"}
