"""A workspace that is looked at begins to import TensorFlow for the rebuild that may come, and no earlier."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from warmed import find_warm

from tb_ckptmeta.core.job import Describe, Limits
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every worker is a fresh process")

_BUILDERS = {
    "plain": "@builder('plain')\ndef plain(): pass\n",
    "says": "@builder('says', keras='legacy')\ndef says(): pass\n",
    "shows": "@builder('shows')\ndef shows():\n    import tf_keras\n    return tf_keras.Sequential()\n",
    "sets": "import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\n@builder('sets')\ndef sets(): pass\n",
}

Open = Callable[..., Workspace]


@pytest.fixture
def open_builders(
    tmp_path: Path, quick_tensorflow: dict[str, str], monkeypatch: pytest.MonkeyPatch, leaves_nothing: Any
) -> Iterator[Open]:
    """Open a workspace with some of the builders above, in one module; each time as a process that has just started."""
    for name, value in quick_tensorflow.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TB_CKPTMETA_CACHE", str(tmp_path / "cache"))
    opened = []

    def open_builders(*names: str) -> Workspace:
        module = tmp_path / f"{'_'.join(names)}.py"
        if not module.exists():
            module.write_text("from tb_ckptmeta import builder\n" + "".join(_BUILDERS[name] for name in names))
        opened.append(open_workspace(str(tmp_path), builders=[str(module)]))
        return opened[-1]

    yield open_builders
    for workspace in opened:
        workspace.close()


@pytest.fixture
def open_known(open_builders: Open) -> Open:
    """As `open_builders`, with the listing in the cache, so that no worker is needed for it."""

    def open_known(*names: str) -> Workspace:
        with open_builders(*names) as first:
            first.registry.read()
        return open_builders(*names)

    return open_known


def wait_for_warm(*keras: str) -> None:
    deadline = time.monotonic() + 60
    while find_warm(os.getpid()) != sorted(keras):
        assert time.monotonic() < deadline, find_warm(os.getpid())
        time.sleep(0.01)


def test_workspace_whose_builders_are_known_starts_a_process_when_it_is_asked_to_prepare(open_known: Open) -> None:
    workspace = open_known("plain")
    assert set(workspace.registry.read().by_name) == {"plain"}
    assert find_warm(os.getpid()) == []
    workspace.prepare()
    wait_for_warm("3")


@pytest.mark.parametrize(
    ("builders", "expected"),
    [
        (("says",), ["legacy"]),
        (("shows",), ["legacy"]),
        (("sets",), ["legacy"]),
        (("plain", "says"), ["3", "legacy"]),
        (("plain", "shows"), ["3", "legacy"]),
    ],
)
def test_workspace_prepares_for_each_keras_that_its_builders_need(
    open_known: Open, builders: tuple[str, ...], expected: list[str]
) -> None:
    pytest.importorskip("tf_keras")
    workspace = open_known(*builders)
    workspace.registry.read()
    workspace.prepare()
    wait_for_warm(*expected)


def test_workspace_prepares_once(open_known: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = open_known("plain")
    workspace.registry.read()
    workspace.prepare()
    wait_for_warm("3")
    [parent] = workspace._workers._parents.values()
    # As it ends by itself when nobody has asked for long.
    parent._process.kill()
    parent._process.wait()
    began: list[str] = []
    monkeypatch.setattr("tb_ckptmeta.engine.workspace.call_in_background", lambda name, _: began.append(name))
    workspace.prepare()
    assert (find_warm(os.getpid()), began) == ([], [])


def test_workspace_that_is_closed_prepares_nothing(open_known: Open) -> None:
    workspace = open_known("plain")
    workspace.registry.read()
    workspace.close()
    workspace._workers.prepare()
    assert find_warm(os.getpid()) == []


def test_first_job_for_the_legacy_keras_takes_the_process_that_was_prepared(open_known: Open, tmp_path: Path) -> None:
    pytest.importorskip("tf_keras")
    workspace = open_known("sets")
    workspace.registry.read()
    workspace.prepare()
    wait_for_warm("legacy")
    folder = tmp_path / "job"
    folder.mkdir()
    [spec] = workspace.registry.specs
    told = workspace._workers.run(Describe(spec, Limits(60.0, 8 << 30)), folder, "It")
    assert [b["name"] for b in told["builders"]] == ["sets"]
    assert find_warm(os.getpid()) == ["legacy"]
