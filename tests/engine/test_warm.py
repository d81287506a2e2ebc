"""Workers that are forked from a process which has imported TensorFlow, and what happens when that is lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import ENDING, Describe, Limits, Rebuild, Source
from tb_ckptmeta.engine import warm
from tb_ckptmeta.engine.process import GUARDIAN_OUTPUT, run_worker
from tb_ckptmeta.engine.specs import parse_specs
from tb_ckptmeta.engine.warm import Workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a fresh process")

# Registers a builder that is called after the process which the worker's guardian was forked from.
_TELLS_ANCESTOR = """
import os
from tb_ckptmeta import builder

def find_parent(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])

builder(f"{find_parent(os.getppid())} {os.environ.get('TELLS')}")(lambda: None)
"""

Ask = Callable[[], tuple[int, str]]


@pytest.fixture
def workers(
    quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any
) -> Iterator[Workers]:
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    made = Workers()
    yield made
    made.close()


@pytest.fixture
def run(workers: Workers, tmp_path: Path) -> Callable[..., Any]:
    """Describe a builders' module, given as text, by a forked worker."""
    count = iter(range(100))

    def describe(code: str = _TELLS_ANCESTOR, seconds: float = 60.0, file: str = "tells.py", **options: Any) -> Any:
        module = tmp_path / file
        module.write_text(code, encoding="utf-8")
        folder = tmp_path / f"job-{next(count)}"
        folder.mkdir()
        [spec] = parse_specs([str(module)])
        how = options.pop("how", workers.run)
        return how(Describe(spec, Limits(seconds, 8 << 30)), folder, "It", **options)

    return describe


@pytest.fixture
def ask(run: Callable[..., Any]) -> Ask:
    def tell() -> tuple[int, str]:
        [builder] = run()["builders"]
        pid, _, said = builder["name"].partition(" ")
        return int(pid), said

    return tell


def test_workers_are_forked_from_one_process(ask: Ask) -> None:
    pids = {ask()[0] for _ in range(3)}
    assert len(pids) == 1
    assert os.getpid() not in pids


def test_run_worker_by_itself_is_started_by_the_caller(run: Callable[..., Any]) -> None:
    [builder] = run(how=run_worker)["builders"]
    assert builder["name"].startswith(f"{os.getpid()} ")


def test_workers_whose_process_is_killed_go_on_with_another(ask: Ask) -> None:
    first, _ = ask()
    os.kill(first, signal.SIGKILL)
    second, _ = ask()
    assert second not in (first, os.getpid())


def test_workers_that_wait_for_a_process_which_is_killed_go_on(ask: Ask) -> None:
    first, _ = ask()
    os.kill(first, signal.SIGSTOP)

    def kill() -> None:
        time.sleep(0.3)
        os.kill(first, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    second, _ = ask()
    thread.join()
    assert second != first


def test_workers_whose_process_is_stopped_go_on_with_another(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm, "_BEGIN_SECONDS", 0.5)
    first, _ = ask()
    os.kill(first, signal.SIGSTOP)
    assert ask()[0] not in (first, os.getpid())


def test_workers_whose_processes_all_stop_leave_it_to_a_fresh_process(
    ask: Ask, tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_IMPORT_SECONDS", 0.5)
    stub = Path(quick_tensorflow["PYTHONPATH"], "tensorflow.py").read_text(encoding="utf-8")
    folder = tmp_path / "stops"
    folder.mkdir()
    (folder / "tensorflow.py").write_text(
        f"{stub}\nimport os, signal, sys\nif '--warm' in sys.argv: os.kill(os.getpid(), signal.SIGSTOP)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert ask()[0] == os.getpid()


def test_workers_that_are_prepared_are_forked_from_what_was_started(workers: Workers, ask: Ask) -> None:
    workers.prepare()
    [parent] = workers._parents.values()
    wait_until(lambda: parent.is_ready() or not parent.is_alive(), "the parent is ready")
    assert ask()[0] == parent._process.pid


def find_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def find_waiting(parent: int) -> tuple[int, int]:
    """Wait until a worker waits for a request and nothing else runs; return its guardian's PID and its own."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        match [(guardian, find_children(guardian)) for guardian in find_children(parent)]:
            case [(guardian, [worker])]:
                return guardian, worker
        time.sleep(0.01)
    raise AssertionError("no worker waits")


def test_workers_have_forked_one_before_it_is_asked_for(run: Callable[..., Any], ask: Ask) -> None:
    parent, _ = ask()
    code = "import os\nfrom tb_ckptmeta import builder\nbuilder(f'{os.getppid()} {os.getpid()}')(lambda: None)\n"
    seen = set()
    for _ in range(3):
        waiting = find_waiting(parent)
        [described] = run(code)["builders"]
        assert described["name"] == "{} {}".format(*waiting)
        seen.add(waiting)
    assert len(seen) == 3


@pytest.mark.parametrize("which", [0, 1], ids=["guardian", "worker"])
def test_workers_whose_waiting_one_is_killed_fork_another(ask: Ask, leaves_nothing: Any, which: int) -> None:
    parent, _ = ask()
    waiting = find_waiting(parent)
    os.kill(waiting[which], signal.SIGKILL)
    while leaves_nothing.are_alive(waiting):
        time.sleep(0.01)
    assert ask()[0] == parent


def test_workers_whose_waiting_one_is_killed_as_it_is_asked_do_not_blame_the_builder(ask: Ask) -> None:
    parent, _ = ask()
    guardian, worker = find_waiting(parent)
    os.kill(guardian, signal.SIGSTOP)  # so it learns of both at once
    os.kill(worker, signal.SIGKILL)
    thread = threading.Timer(0.5, os.kill, (guardian, signal.SIGCONT))
    thread.start()
    assert ask()[0] != os.getpid()
    thread.join()


def test_workers_whose_waiting_one_is_stopped_go_on_with_another_process(
    run: Callable[..., Any], ask: Ask, tmp_path: Path, leaves_nothing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm, "_BEGIN_SECONDS", 0.5)
    parent, _ = ask()
    waiting = find_waiting(parent)
    os.kill(waiting[0], signal.SIGSTOP)
    runs = tmp_path / "runs.txt"
    run(f"open({str(runs)!r}, 'a').write('x')")
    # Woken, it finds a request that another has carried out.
    os.kill(waiting[0], signal.SIGCONT)
    while leaves_nothing.are_alive(waiting):
        time.sleep(0.01)
    assert runs.read_text() == "x"
    [ending] = [json.loads(path.read_text()) for path in tmp_path.glob(f"job-1/{ENDING}")]
    assert ending["reason"] == "ended"


def test_workers_whose_working_directory_is_gone_go_on(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, _ = ask()
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert ask()[0] == parent


def test_workers_that_cannot_be_asked_leave_no_descriptor_open(workers: Workers, ask: Ask, tmp_path: Path) -> None:
    ask()
    [parent] = workers._parents.values()
    (tmp_path / GUARDIAN_OUTPUT).mkdir()
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(IsADirectoryError):
            parent.fork(tmp_path)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_workers_never_fork_a_real_process_that_has_run_one_eager_operation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any
) -> None:
    pytest.importorskip("tensorflow")
    site = tmp_path / "site"
    site.mkdir()
    # Something that somebody's installation does in every process: it runs an operation, once the file is there.
    (site / "sitecustomize.py").write_text(
        "import pathlib, sys, threading, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "def compute():\n"
        "    while not (here / 'go').exists(): time.sleep(0.01)\n"
        "    tf = sys.modules['tensorflow']\n"
        "    assert float(tf.constant(1.0) + 1.0) == 2.0\n"
        "    (here / 'done').touch()\n"
        "    time.sleep(600)\n"
        "if not (here / 'go').exists(): threading.Thread(target=compute, daemon=True).start()\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(site))
    module = tmp_path / "tells.py"
    module.write_text(_TELLS_ANCESTOR, encoding="utf-8")
    [spec] = parse_specs([str(module)])

    def ask(name: str) -> int:
        folder = tmp_path / name
        folder.mkdir()
        [described] = workers.run(Describe(spec, Limits(60.0, 8 << 30)), folder, "It")["builders"]
        return int(described["name"].partition(" ")[0])

    workers = Workers()
    try:
        first = ask("first")
        assert ask("again") == first
        before = len(os.listdir(f"/proc/{first}/task"))
        (site / "go").touch()
        wait_until((site / "done").exists, "the thread is started")
        assert len(os.listdir(f"/proc/{first}/task")) > before
        assert ask("after") not in (first, os.getpid())
    finally:
        workers.close()


def test_workers_see_the_environment_of_now(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first, before = ask()
    monkeypatch.setenv("TELLS", "something new")
    second, after = ask()
    assert (before, after) == ("None", "something new")
    assert first != second


def test_workers_of_several_tests_are_forked_from_one_process(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = ask()
    monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
    assert ask()[0] == first


def test_workers_see_an_edited_module(run: Callable[..., Any]) -> None:
    for name in ("one", "two"):
        code = f"from tb_ckptmeta import builder\nbuilder({name!r})(lambda: None)\n"
        assert [b["name"] for b in run(code)["builders"]] == [name]


def test_workers_never_fork_a_process_with_threads_of_tensorflow(
    ask: Ask, tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after an eager operation: what waits in a fork for a thread that was not copied waits for ever.
    stub = Path(quick_tensorflow["PYTHONPATH"], "tensorflow.py").read_text(encoding="utf-8")
    folder = tmp_path / "threaded"
    folder.mkdir()
    (folder / "tensorflow.py").write_text(
        f"{stub}\nimport pathlib, threading, time\n"
        "def grow():\n"
        "    while not pathlib.Path(__file__).with_name('grow').exists(): time.sleep(0.01)\n"
        "    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "    pathlib.Path(__file__).with_name('grown').touch()\n"
        "    time.sleep(60)\n"
        "threading.Thread(target=grow, daemon=True).start()\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    first, _ = ask()
    assert ask()[0] == first
    (folder / "grow").touch()
    wait_until((folder / "grown").exists, "the process has grown")
    (folder / "grow").unlink()
    assert ask()[0] != first


def test_workers_remember_which_keras_few_jobs_needed(
    run: Callable[..., Any], workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tf_keras")
    workers._keras.most = 2
    legacy = f"import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\n{_TELLS_ANCESTOR}"
    for number in range(4):
        run(legacy, file=f"legacy{number}.py")
    assert [spec.path for spec, _, _ in workers._keras] == [str(tmp_path / f"legacy{n}.py") for n in (2, 3)]


def test_workers_start_with_the_keras_that_the_builder_names(workers: Workers, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    module = tmp_path / "empty.py"
    module.write_text("")
    [spec] = parse_specs([str(module)])
    (tmp_path / "job").mkdir()
    source = Source(spec, "nobody's", {}, False, "legacy", None)
    with pytest.raises(CkptMetaError):
        workers.run(Rebuild(source, Limits(60.0, 8 << 30)), tmp_path / "job", "It")
    assert list(workers._keras.items()) == []
    assert {keras for keras, _ in workers._parents} == {"legacy"}


def test_workers_whose_builder_names_a_keras_that_is_missing_say_so_from_their_process(
    workers: Workers, tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "without"
    folder.mkdir()
    (folder / "tensorflow.py").write_text(Path(quick_tensorflow["PYTHONPATH"], "tensorflow.py").read_text())
    (folder / "sitecustomize.py").write_text(
        "import importlib.machinery as m\nfind = m.PathFinder.find_spec\n"
        "m.PathFinder.find_spec = lambda name, *rest: None if name == 'tf_keras' else find(name, *rest)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder))
    module = tmp_path / "empty.py"
    module.write_text("")
    [spec] = parse_specs([str(module)])
    (tmp_path / "job").mkdir()
    source = Source(spec, "nobody's", {}, False, "legacy", None)
    with pytest.raises(CkptMetaError) as missing:
        workers.run(Rebuild(source, Limits(60.0, 8 << 30)), tmp_path / "job", "It")
    assert missing.value.code is Code.KERAS_MISSING
    [parent] = workers._parents.values()
    assert parent.is_alive()


def test_workers_know_a_builder_whatever_arrays_and_arguments_it_is_asked_with(
    workers: Workers, tmp_path: Path
) -> None:
    pytest.importorskip("tf_keras")
    module = tmp_path / "empty.py"
    module.write_text("import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\n")
    [spec] = parse_specs([str(module)])
    for number in range(3):
        (tmp_path / f"job-{number}").mkdir()
        source = Source(spec, "nobody's", {"units": number}, False, None, None, (f"layers/{number}/kernel",))
        with pytest.raises(CkptMetaError):
            workers.run(Rebuild(source, Limits(60.0, 8 << 30)), tmp_path / f"job-{number}", "It")
    assert len(workers._keras) == 1


def test_workers_tell_how_a_forked_worker_ended(run: Callable[..., Any]) -> None:
    with pytest.raises(CkptMetaError) as crashed:
        run("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    assert crashed.value.code is Code.BUILDER_CRASHED
    with pytest.raises(CkptMetaError) as late:
        run("while True: pass\n", seconds=0.5)
    assert late.value.code is Code.BUILDER_TIMEOUT
    # And the next one is none the worse for it.
    assert run()["builders"]


def test_workers_that_are_cancelled_end_their_worker(run: Callable[..., Any], leaves_nothing: Any) -> None:
    cancelled = threading.Event()
    steps: list[str] = []

    def look(told: list[Any]) -> None:
        steps[:] = [s.name for s in told]
        if "importing the builders" in steps:
            cancelled.set()

    with pytest.raises(CkptMetaError) as error:
        run("while True: pass\n", cancelled=cancelled, on_steps=look)
    assert error.value.code is Code.CANCELLED
    assert steps == ["importing TensorFlow", "importing the builders"]


def test_workers_that_are_closed_leave_no_process(workers: Workers, ask: Ask, leaves_nothing: Any) -> None:
    pid, _ = ask()
    assert leaves_nothing.are_alive([pid]) == [pid]
    workers.close()
    assert leaves_nothing.find_alive() == {}


def test_workers_whose_tensorflow_is_broken_say_what_a_fresh_process_says(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "tensorflow.py").write_text("raise ImportError('libtensorflow.so is not for this machine')")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with pytest.raises(CkptMetaError) as error:
        run()
    assert "libtensorflow.so is not for this machine" in error.value.message
