"""What of a batch is done again: what has changed, what has gone, what failed; and what an export may replace."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batch_lines import make_line
from results import read_results
from resuming import ALL, begin, begin_all, find_left, run

from tb_ckptmeta.core.checkpoint import Pairing
from tb_ckptmeta.core.dependencies import digest_file
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import batch
from tb_ckptmeta.engine.batch_parts import FolderParts, find_parts
from tb_ckptmeta.engine.batch_patience import Patience
from tb_ckptmeta.engine.batch_plan import Item, Task, plan
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import carry_out
from tb_ckptmeta.engine.process import Step
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

pytestmark = pytest.mark.slow

CODE = Path(__file__).with_name("batch_builders.py")


def test_what_has_changed_is_done_again_and_nothing_else(workspace: Workspace, place: Path, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    assert run(workspace, path, Task()) == ALL
    # No builder: there may be one by now.
    assert run(workspace, path, Task()) == ["alien/ckpt-10"]
    os.utime(place / "runs/mlp/ckpt-20.index", (10**9, 10**9))
    os.utime(place / "runs/mlp/ckpt-20.data-00000-of-00001", (10**9, 10**9))
    assert run(workspace, path, Task()) == ["alien/ckpt-10", "mlp/ckpt-20"]
    units = place / "code" / "batch_units.py"
    units.touch()  # the same code
    assert run(workspace, path, Task()) == ["alien/ckpt-10"]
    units.write_text("UNITS = 64  # narrower\n", encoding="utf-8")
    try:
        assert run(workspace, path, Task()) == ALL
        assert read_results(path)["mlp/ckpt-10"]["status"] == "mismatch"
    finally:
        units.write_text("UNITS = 128\n", encoding="utf-8")
    assert run(workspace, path, Task()) == ALL
    assert {title: line["status"] for title, line in read_results(path).items()} == {
        "alien/ckpt-10": "error",
        "mlp/ckpt-10": "match",
        "mlp/ckpt-20": "match",
        "wide/ckpt-10": "mismatch",
    }


def test_lines_of_other_logdirs_stay(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    run(workspace, path, Task())
    other = {**read_results(path)["mlp/ckpt-10"], "prefix": "/elsewhere/x", "run": "x", "fingerprint": "another"}
    path.write_text(json.dumps(other) + "\n", encoding="ascii")
    assert run(workspace, path, Task()) == ALL
    assert len(read_results(path)) == 5


def test_lines_that_workers_elsewhere_left_are_taken_over(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "verdicts.jsonl"
    parts = find_parts(path)
    with Results(path, exports=False) as results:
        first, second, *_ = begin(workspace, results, Task())
        results.append(carry_out(workspace, Task(), first))
        for name, item in (("a", first), ("b", second)):
            parts.write(name, carry_out(workspace, Task(), item))
        batch.take_over(results, parts, [first, second], Task())
    assert sorted(read_results(path)) == sorted([first.title, second.title])
    assert sorted(os.listdir(tmp_path)) == [path.name, f"{path.name}.sources"]


def test_line_from_elsewhere_takes_the_place_of_one_that_holds_no_longer_and_of_no_other(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts.jsonl"
    parts = find_parts(path)
    run(workspace, path, Task())
    with Results(path, exports=False) as results:
        builders = workspace.registry.read()
        items = plan(workspace.list_checkpoints(builders), builders, Task())
        by_title = {item.title: item for item in items}
        new = {title: carry_out(workspace, Task(), by_title[title]) for title in ("mlp/ckpt-10", "mlp/ckpt-20")}
        old = {**new["mlp/ckpt-10"], "fingerprint": "of another day", "summary": "old"}
        moved = {**new["mlp/ckpt-20"], "sources": {"files": {"/gone": "digest"}}, "summary": "of other sources"}
        parts.write("a", old)
        parts.write("b", moved)
        batch.take_over(results, parts, items, Task())
        assert not {"old", "of other sources"} & {line["summary"] for line in read_results(path).values()}
        results.drop([old["prefix"], moved["prefix"]])
        results.append(old)
        results.append(moved)
        for name, title in (("a", "mlp/ckpt-10"), ("b", "mlp/ckpt-20")):
            parts.write(name, new[title])
        batch.take_over(results, parts, items, Task())
    assert {title: read_results(path)[title]["summary"] for title in new} == {
        t: line["summary"] for t, line in new.items()
    }


def test_folder_of_lines_that_is_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    (tmp_path / ".v.jsonl.parts").write_text("Mine.")
    with Results(path, exports=False) as results, pytest.raises(CkptMetaError, match=r"\.v\.jsonl\.parts") as failed:
        batch.take_over(results, find_parts(path), [], Task())
    assert failed.value.code is Code.OUTPUT_UNWRITABLE


def test_batch_that_begins_anew_takes_nothing_over_and_forgets_what_was_left(tmp_path: Path) -> None:
    path = tmp_path / "v.jsonl"
    path.write_text("My notes.\n")
    parts = find_parts(path)
    parts.write("a", make_line("a"))
    in_the_way = FolderParts(tmp_path / "file")
    (tmp_path / "file").write_text("Mine.")
    with Results(path, exports=False, overwrite=True) as results:
        with pytest.raises(CkptMetaError, match="file, where workers left lines, cannot be read") as failed:
            batch.begin_anew(results, [parts, in_the_way], Task())
        assert failed.value.code is Code.OUTPUT_UNWRITABLE
        assert (path.read_text(), parts.list()) == ("My notes.\n", ["a"])
        batch.begin_anew(results, [parts], Task())
        assert (path.read_bytes(), parts.list(), results.outcomes) == (b"", [], {})
    assert sorted(os.listdir(tmp_path)) == ["file", "v.jsonl"]


# --- what user code has read

MODEL = """
import os
import time
from pathlib import Path
import tensorflow as tf
from tb_ckptmeta import builder

HERE = Path(__file__).parent

def make(units):
    image = tf.keras.Input((784,), name="image")
    hidden = tf.keras.layers.Dense(units, activation="relu", name="hidden")(image)
    return tf.keras.Model(image, tf.keras.layers.Dense(10, activation="softmax", name="digit")(hidden), name="mlp")
"""

BUILDERS = """
@builder("reads")
def reads():
    os.getcwd()
    return make(int(os.environ.get("TEST_UNITS", "128")))

@builder("counts")
def counts():
    path = HERE / "count"
    count = int(path.read_text())
    path.write_text(str(count + 1))
    return make(128 if count == 0 else 64)

@builder("edited")
def edited():
    from units import UNITS
    return make(UNITS)

@builder("sized", checkpoints="*")
def sized(units: int = 64):
    return make(units)

class Wrapped(tf.Module):
    def __init__(self):
        self.backbone = make(128)

    def __call__(self, image):
        return self.backbone(image)

@builder("wrapped", inputs=tf.TensorSpec([None, 784], tf.float32))
def wrapped():
    return Wrapped()
"""


@pytest.fixture(scope="module")
def own(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """The run `mlp` with BUILDERS, in a folder for itself (`find_code`)."""
    code = tmp_path_factory.mktemp("own") / "my.py"
    code.write_text(MODEL + BUILDERS, encoding="utf-8")
    with open_workspace(str(place / "runs" / "mlp"), builders=[str(code)]) as workspace:
        yield workspace


def find_code(workspace: Workspace) -> Path:
    return Path(workspace.registry.specs[0].folder)


BOTH = ["ckpt-10", "ckpt-20"]


def test_line_holds_as_long_as_environment_directory_and_installation_do(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "v.jsonl"
    asked = {"builder": "reads"}
    assert run(own, path, Task(), **asked) == BOTH
    assert {line["status"] for line in read_results(path).values()} == {"match"}
    assert find_left(own, path, Task(), **asked) == []
    for name, value in (("TEST_UNITS", "64"), ("KERAS_HOME", str(tmp_path))):  # Keras reads its settings at import
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert find_left(own, path, Task(), **asked) == BOTH
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path)
        assert find_left(own, path, Task(), **asked) == BOTH
    assert find_left(own, path, Task(), **asked) == []
    path.with_name("v.jsonl.sources").write_bytes(b"")
    assert find_left(own, path, Task(), **asked) == BOTH


def test_line_has_the_sources_of_the_rebuild_that_its_verdict_is_of(own: Workspace) -> None:
    count = find_code(own) / "count"
    count.write_text("0")
    line = carry_out(own, Task(), get_item(own, Task(), "counts"))
    assert (line["status"], count.read_text()) == ("match", "1")  # it was made once
    assert line["sources"]["files"][str(count)] not in (digest_file(str(count)), "")


def test_line_of_an_export_has_the_sources_of_the_exports_own_rebuild(own: Workspace, tmp_path: Path) -> None:
    units = find_code(own) / "units.py"
    units.write_text("UNITS = 128\n", encoding="utf-8")
    task = Task(str(tmp_path), check=False)

    def edit(steps: list[Step]) -> None:
        """Edit the module whenever the verdict has been taken, before the export."""
        if steps and steps[-1].seconds is not None and not steps[-1].name.startswith("rebuild: "):
            with units.open("a", encoding="utf-8") as file:
                file.write("# edited\n")

    line = carry_out(own, task, get_item(own, task, "edited"), on_steps=edit)
    assert (line["error"], units.read_text(encoding="utf-8")) == (None, "UNITS = 128\n# edited\n")
    assert line["sources"]["files"][str(units)] == digest_file(str(units))
    assert {Path(name).name for name in line["sources"]["files"]} - {"keras.json"} == {"my.py", "units.py"}


def get_item(workspace: Workspace, task: Task, builder: str) -> Item:
    builders = workspace.registry.read()
    listed = [c.with_pairing(Pairing(builder)) for c in workspace.list_checkpoints(builders)]
    (item,) = plan(listed, builders, task, ["ckpt-10"])
    return item


# --- builders that are not there any more


def test_line_whose_builder_is_not_given_or_broken_stays_unconfirmed(
    workspace: Workspace, tmp_path: Path, place: Path
) -> None:
    path = tmp_path / "v.jsonl"
    run(workspace, path, Task())
    before = path.read_bytes()
    runs, code = str(workspace.logdirs[0].path), tmp_path / "code"
    shutil.copytree(place / "code", code)
    (code / "batch_units.py").write_text("def\n", encoding="utf-8")
    for builders in ([], [str(code / CODE.name)]):
        with open_workspace(runs, builders=builders) as without, Results(path, exports=False) as results:
            begun = begin_all(without, results, Task())
            assert [item.title for item in begun.left] == ["alien/ckpt-10"]
            assert sorted(item.title for item in begun.unconfirmed) == ALL[1:]
    assert set(before.splitlines()) > set(path.read_bytes().splitlines())
    assert len(read_results(path)) == 3
    assert run(workspace, path, Task()) == ["alien/ckpt-10"]


def test_line_is_not_given_up_for_a_builder_that_steps_in_for_a_broken_one(
    own: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_tensorflow: dict[str, str]
) -> None:
    path = tmp_path / "v.jsonl"
    assert run(own, path, Task()) == BOTH
    for name, text in (("broken.py", "def"), ("other.py", '@builder("other", checkpoints="**")\ndef other(): pass')):
        (tmp_path / name).write_text(f"from tb_ckptmeta import builder\n{text}\n", encoding="utf-8")
    specs = [str(tmp_path / name) for name in ("broken.py", "other.py")]
    monkeypatch.setenv("PYTHONPATH", quick_tensorflow["PYTHONPATH"])
    for given, kept in ((specs, BOTH), (specs[1:], [])):  # where all can be read, it is another pairing, and meant
        with open_workspace(own.logdirs[0].path, builders=given) as workspace, Results(path, exports=False) as results:
            begun = begin_all(workspace, results, Task())
            assert sorted(item.title for item in begun.unconfirmed) == kept
            assert sorted(item.title for item in begun.left + begun.unconfirmed) == BOTH


def test_command_says_whose_builder_is_broken_and_keeps_their_lines(
    workspace: Workspace, tmp_path: Path, place: Path, cli: Any, quick_tensorflow: dict[str, str]
) -> None:
    path = tmp_path / "v.jsonl"
    run(workspace, path, Task())
    lines = read_results(path)
    code = tmp_path / "broken.py"
    code.write_text("raise RuntimeError('half an edit')\n", encoding="utf-8")
    arguments = ("batch", "verify", workspace.logdirs[0].path, "--output", path, "--builders", code)
    outcome = cli(*arguments, environment=quick_tensorflow)
    assert outcome.status == 3, outcome.stderr
    assert {title: line for title, line in read_results(path).items() if title != "alien/ckpt-10"} == {
        title: line for title, line in lines.items() if title != "alien/ckpt-10"
    }
    assert "3 more lines from before stay unconfirmed: the builder is not there now (mlp, wide)." in outcome.stdout
    assert "mlp/ckpt-20  mlp  match: 4 of 4" in outcome.stdout
    assert outcome.stderr.rstrip().splitlines()[-1].startswith("tb-ckptmeta: ")
    assert "half an edit" in outcome.stderr.rstrip().splitlines()[-1]
    before = [p.read_bytes() for p in (path, path.with_name("v.jsonl.sources"))]
    refused = cli(*arguments, "--overwrite", "--json", environment=quick_tensorflow)
    assert refused.status == 3
    assert "--overwrite would leave no more of them than that" in refused.stderr
    assert [p.read_bytes() for p in (path, path.with_name("v.jsonl.sources"))] == before
    summary = cli(*arguments, "--json", environment=quick_tensorflow)
    assert (summary.status, summary.document["checkpoints"], summary.document["statuses"]["match"]) == (3, 4, 0)
    assert sorted(row["builder"] for row in summary.document["unconfirmed"]) == ["mlp", "mlp", "wide"]
    assert [problem["code"] for problem in summary.document["problems"]] == ["module_failed"]


# --- what was asked for


def test_builder_arguments_and_renames_are_part_of_what_a_line_is_of(own: Workspace, tmp_path: Path) -> None:
    path, wide, renamed = tmp_path / "v.jsonl", [("units", "128")], Task(renames=(".=backbone",))
    assert run(own, path, Task()) == BOTH
    assert {line["status"] for line in read_results(path).values()} == {"mismatch"}
    assert run(own, path, Task(), builder="sized") == []  # as it is paired
    assert run(own, path, Task(), set=wide) == BOTH
    assert {(line["status"], line["arguments"]["units"]) for line in read_results(path).values()} == {("match", 128)}
    assert run(own, path, Task(), set=wide) == []
    assert run(own, path, Task(), builder="wrapped") == BOTH
    assert {line["status"] for line in read_results(path).values()} == {"mismatch"}
    assert run(own, path, renamed, builder="wrapped") == BOTH
    assert {(line["status"], line["builder"]) for line in read_results(path).values()} == {("match", "wrapped")}
    assert run(own, path, renamed, builder="wrapped") == []


@pytest.mark.parametrize(
    ("asked", "code", "said"),
    [
        ({"builder": "none"}, Code.UNKNOWN_BUILDER, "No builder 'none'"),
        ({"set": [("depth", "2")]}, Code.INVALID_ARGUMENTS, "depth"),
        ({"set": [("units", "?")]}, Code.INVALID_ARGUMENTS, "A batch does not solve for units"),
        ({"set": [("units", "?")]}, Code.INVALID_ARGUMENTS, r"--builders b.py --builder sized --set 'units=\?'`"),
    ],
)
def test_what_no_builder_takes_is_refused_before_a_line_is_touched(
    own: Workspace, tmp_path: Path, asked: dict[str, Any], code: Code, said: str
) -> None:
    with Results(tmp_path / "v.jsonl", exports=False) as results, pytest.raises(CkptMetaError, match=said) as refused:
        begin(own, results, Task(), **asked)
    assert refused.value.code is code


# --- builders that hang


def test_builder_that_hangs_is_given_up_and_tried_again_by_the_next_batch(place: Path, tmp_path: Path) -> None:
    code, runs = tmp_path / "late.py", tmp_path / "runs"
    late = '@builder("late", checkpoints="*")\ndef late():\n    time.sleep(3600)\n'
    code.write_text(MODEL + late, encoding="utf-8")
    runs.mkdir()
    for number in range(4):
        for source in (place / "runs" / "mlp").glob("ckpt-10.*"):
            shutil.copy(source, runs / source.name.replace("10", str(number)))
    path = tmp_path / "v.jsonl"
    with open_workspace(str(runs), builders=[str(code)], seconds=2.0) as workspace:
        titles = run(workspace, path, Task(), Patience())
        lines = list(read_results(path).values())
        assert {line["error"]["code"] for line in lines} == {"builder_timeout"}
        said = [line["error"]["message"] for line in lines]
        assert [text.startswith("Builder 'late' was still at work after 2 s") for text in said] == [
            True,
            True,
            False,
            False,
        ]
        for text in said[2:]:
            assert text.startswith("Not tried: 2 times in a row")
            assert text.endswith(said[1])
        with Results(path, exports=False) as results:
            assert sorted(item.title for item in begin(workspace, results, Task())) == titles
    assert titles == [f"ckpt-{n}" for n in range(4)]
