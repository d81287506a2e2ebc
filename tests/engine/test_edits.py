"""Workers whose source is edited while they run."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import SOURCES, Limits, Source
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.edits import find_read, is_edited, run_until_unedited
from tb_ckptmeta.engine.rebuild import Artifacts, Rebuilder
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.engine.stop import Stop

_LIMITS = Limits(300.0, 4 << 30)
_BUILDER = """
import importlib, sys
from pathlib import Path
import tensorflow as tf
import plain
from tb_ckptmeta import builder

here = Path(__file__).parent

def begin():
    with (here / "begun.txt").open("a") as file:
        file.write("x")

def wait_for(name):
    while not (here / name).exists():
        pass

@builder("model", inputs=tf.TensorSpec([None, 4], tf.float32))
def model():
    {body}
    return tf.keras.Sequential([tf.keras.Input([4]), tf.keras.layers.Dense(2)])
"""


class Project(Digests):
    """A folder with a builder, which notes when it has begun, and whether somebody has looked for edits since."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.begun = folder / "begun.txt"
        self.looks = 0
        self.write(plain="# is never edited")

    def get(self, path: str) -> str:
        self.looks += path.endswith("plain.py")
        return super().get(path)

    def write(self, **sources: str) -> None:
        for name, text in sources.items():
            # Whole at once, as editors save.
            (self.folder / "new").write_text(_BUILDER.format(body=text) if name == "models" else text)
            (self.folder / "new").replace(self.folder / f"{name}.py")

    def let_go_once_looked_at(self) -> None:
        before = self.looks
        wait_until(lambda: self.looks > before + 1, "somebody has looked for edits")
        (self.folder / "go").touch()

    def rebuild(self, meanwhile: Callable[[], Any], cancelled: threading.Event | None = None) -> Artifacts:
        """Rebuild, and do something once the builder has begun."""
        source = Source(parse_spec(str(self.folder / "models.py")), "model", {}, False, "3", None)
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(Rebuilder(_LIMITS, digests=self).rebuild, source, cancelled=cancelled)
            wait_until(lambda: self.begun.exists() or asked.done(), "the builder has begun")
            meanwhile()
            return asked.result(120.0)

    def count(self) -> int:
        return len(self.begun.read_text())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_rebuild_begins_anew_when_its_builder_is_edited(project: Project) -> None:
    project.write(models="begin(); wait_for('never')")
    made = project.rebuild(lambda: project.write(models="begin()"))
    assert [v.shape for v in made.rebuilt.variables] == [(4, 2), (2,)]
    assert project.count() == 2


def test_rebuild_begins_anew_when_a_module_is_edited_that_it_has_just_imported(project: Project) -> None:
    project.write(models="begin(); import helper", helper="while True: pass")
    project.rebuild(lambda: project.write(helper=""))
    assert project.count() == 2


def test_rebuild_goes_on_when_source_is_edited_that_it_has_not_read(project: Project) -> None:
    project.write(models="begin(); wait_for('go'); import late", train="# before", late="# before")

    def edit() -> None:
        project.write(train="# after", late="# after")
        project.let_go_once_looked_at()

    project.rebuild(edit)
    assert project.count() == 1


@pytest.mark.parametrize(
    "write",
    [
        "(here / 'made.py').write_text(text)",
        "(here / 'other').write_text(text); (here / 'other').replace(here / 'made.py')",
        "file = (here / 'made.py').open('r+'); file.write(text); file.close()",
    ],
)
def test_rebuild_goes_on_when_its_code_writes_source_itself(project: Project, write: str) -> None:
    body = f"""begin()
    for text in ("x = 1", "x = 2", "x = 3"):
        import made
        del sys.modules["made"]
        {write}
    wait_for("go")"""
    project.write(models=body, made="x = 0")
    project.rebuild(project.let_go_once_looked_at)
    assert project.count() == 1


def test_rebuild_that_is_cancelled_ends_and_does_not_begin_anew(project: Project) -> None:
    project.write(models="begin(); wait_for('never')")
    cancelled = threading.Event()
    with pytest.raises(CkptMetaError) as raised:
        project.rebuild(cancelled.set, cancelled)
    assert (raised.value.code, project.count()) == (Code.CANCELLED, 1)


def test_source_that_is_written_anew_and_is_the_same_is_no_edit(tmp_path: Path) -> None:
    path, digests = tmp_path / "generated.py", Digests()
    path.write_text("UNITS = 3")
    assert not is_edited(tmp_path, digests)  # nothing has been read yet
    line = json.dumps([str(path), digests.get(str(path))])
    (tmp_path / SOURCES).write_text(f"{line}\n{line[:9]}")
    assert not is_edited(tmp_path, digests)
    path.unlink()
    path.write_text("UNITS = 3")
    assert not is_edited(tmp_path, digests)
    path.write_text("UNITS = 4")
    assert is_edited(tmp_path, digests)
    path.unlink()
    assert is_edited(tmp_path, digests)


def test_lines_that_were_cut_off_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "source.py").touch()
    lines = [
        '["/half',
        '["/glued["/x.py", "1"]',
        "7",
        '["nul\\u0000.py", ""]',
        json.dumps([str(tmp_path / "source.py"), "1"]),
    ]
    (tmp_path / SOURCES).write_text("\n".join(lines))
    assert find_read(tmp_path) == {"nul\0.py": "", str(tmp_path / "source.py"): "1"}
    assert is_edited(tmp_path, Digests())


def test_stop_follows_its_caller_where_its_reason_cannot_be_found() -> None:
    cancelled, asked = threading.Event(), threading.Event()

    def fail() -> bool:
        asked.set()
        raise RuntimeError("no reason")

    stop = Stop(cancelled, fail)
    assert asked.wait(60.0)
    cancelled.set()
    assert stop.event.wait(60.0)
    assert not stop.has_reason


def test_worker_whose_source_is_edited_all_the_time_is_let_run_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_ckptmeta.engine.edits.MOST_EDITS", 2)
    stops: list[threading.Event | None] = []

    def run(stop: threading.Event | None) -> str:
        stops.append(stop)
        assert list(tmp_path.iterdir()) == []
        (tmp_path / SOURCES).write_text(json.dumps([str(tmp_path / "source.py"), "another"]) + "\n")
        if stop is None:
            return "its end"
        assert stop.wait(60.0)
        raise CkptMetaError(Code.CANCELLED, "Cancelled.")

    assert run_until_unedited(run, tmp_path, Digests(), None) == "its end"
    assert (len(stops), stops[-1]) == (3, None)
