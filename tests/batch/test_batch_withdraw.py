"""What becomes of an earlier export whose checkpoint is refused now, or could not be looked at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from results import read_results
from resuming import run

from tb_ckptmeta.engine import batch, batch_withdraw
from tb_ckptmeta.engine.batch_plan import Task
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

pytestmark = pytest.mark.slow

BOTH = ["mlp/ckpt-10", "mlp/ckpt-20"]
ALONE = ["results.jsonl", "results.jsonl.sources"]


@pytest.fixture(scope="module")
def own_place(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `code` and `runs`, two checkpoints that match: to be changed."""
    folder = tmp_path_factory.mktemp("withdraw")
    shutil.copytree(place / "code", folder / "code")
    shutil.copytree(place / "runs" / "mlp", folder / "runs" / "mlp")
    return folder


@pytest.fixture(scope="module")
def mine(own_place: Path) -> Iterator[Workspace]:
    with open_workspace(str(own_place / "runs"), builders=[str(own_place / "code/batch_builders.py")]) as workspace:
        yield workspace


@pytest.fixture
def units(own_place: Path) -> Iterator[Path]:
    """The module that says how wide the model is."""
    path = own_place / "code" / "batch_units.py"
    yield path
    path.write_text("UNITS = 128\n", encoding="utf-8")


def begin_anew(path: Path, task: Task) -> None:
    with Results(path, exports=True, overwrite=True) as results:
        batch.begin_anew(results, [], task)


def list_all(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize(
    ("format", "anew"), [("metagraph", False), ("metagraph", True), ("saved_model", False), ("checkpoint", True)]
)
def test_export_whose_checkpoint_is_refused_now_is_taken_away(
    mine: Workspace, units: Path, tmp_path: Path, format: str, anew: bool
) -> None:
    task, path = Task(str(tmp_path), format, check=False), tmp_path / "results.jsonl"
    run(mine, path, task)
    assert len(list_all(tmp_path)) > len(ALONE) + 1
    units.write_text("UNITS = 64\n", encoding="utf-8")
    if anew:
        begin_anew(path, task)
    assert run(mine, path, task, overwrite=anew) == BOTH
    for line in read_results(path).values():
        assert (line["output"], line["earlier"], line["error"]["code"]) == (None, "taken_away", "not_matching")
        assert line["error"]["message"].endswith(" The earlier export was taken away.")
        assert line["summary"].startswith("mismatch: ")
        assert line["summary"].endswith("; not exported. The earlier export was taken away.")
    assert list_all(tmp_path) == ALONE
    assert run(mine, path, task) == []


@pytest.mark.parametrize(
    ("format", "name", "anew"),
    [
        ("metagraph", "ckpt-10.meta", True),
        ("saved_model", "ckpt-10/variables/variables.index", False),
        ("checkpoint", "ckpt-10.index", False),
    ],
)
def test_file_of_somebodys_in_the_place_of_a_refused_export_stays_with_all_of_it(
    mine: Workspace, units: Path, tmp_path: Path, format: str, name: str, anew: bool
) -> None:
    task, path = Task(str(tmp_path), format, check=False), tmp_path / "results.jsonl"
    run(mine, path, task)
    theirs, before = tmp_path / "mlp" / name, list_all(tmp_path)
    theirs.unlink()
    theirs.write_text("Mine.")
    units.write_text("UNITS = 64\n", encoding="utf-8")
    if anew:
        begin_anew(path, task)
    run(mine, path, task, overwrite=anew)
    lines = read_results(path)
    assert lines["mlp/ckpt-10"]["earlier"] == "standing"
    assert "An earlier export stands there, mlp/ckpt-10" in lines["mlp/ckpt-10"]["summary"]
    assert lines["mlp/ckpt-20"]["earlier"] == "taken_away"
    assert theirs.read_text() == "Mine."
    assert [n for n in list_all(tmp_path) if "ckpt-10" in n] == [n for n in before if "ckpt-10" in n]
    assert run(mine, path, task) == ["mlp/ckpt-10"]  # it may have been moved away by then
    shutil.rmtree(tmp_path / "mlp")
    assert run(mine, path, task) == ["mlp/ckpt-10"]
    assert read_results(path)["mlp/ckpt-10"]["earlier"] is None
    assert run(mine, path, task) == []


def test_file_that_was_put_into_an_export_keeps_it(mine: Workspace, units: Path, tmp_path: Path) -> None:
    task, path = Task(str(tmp_path), "saved_model", check=False), tmp_path / "results.jsonl"
    run(mine, path, task)
    (tmp_path / "mlp" / "ckpt-10" / "assets").mkdir(exist_ok=True)
    (tmp_path / "mlp" / "ckpt-10" / "assets" / "mine.txt").write_text("Mine.")
    before = list_all(tmp_path / "mlp" / "ckpt-10")
    units.write_text("UNITS = 64\n", encoding="utf-8")
    run(mine, path, task)
    assert {title: line["earlier"] for title, line in read_results(path).items()} == {
        BOTH[0]: "standing",
        BOTH[1]: "taken_away",
    }
    assert list_all(tmp_path / "mlp" / "ckpt-10") == before


def test_export_in_another_format_than_the_one_that_is_refused_is_taken_away(
    mine: Workspace, units: Path, tmp_path: Path
) -> None:
    path = tmp_path / "results.jsonl"
    for format in ("checkpoint", "saved_model"):
        run(mine, path, Task(str(tmp_path), format, check=False))
    (tmp_path / "mlp" / "ckpt-20" / "saved_model.pb").write_text("Mine.")
    units.write_text("UNITS = 64\n", encoding="utf-8")
    run(mine, path, Task(str(tmp_path), check=False))
    assert [read_results(path)[title]["earlier"] for title in BOTH] == ["taken_away", "standing"]
    told = "An earlier export stands there, mlp/ckpt-20, which is not known to be what a batch has put there."
    assert told in read_results(path)["mlp/ckpt-20"]["summary"]
    assert {name.split("/")[1] for name in list_all(tmp_path) if "/" in name} == {"ckpt-20"}


def test_export_stays_where_something_failed_and_goes_when_it_is_refused_after_that(
    mine: Workspace, units: Path, tmp_path: Path
) -> None:
    task, path = Task(str(tmp_path), check=False), tmp_path / "results.jsonl"
    run(mine, path, task)
    units.write_text("UNITS = -1\n", encoding="utf-8")
    run(mine, path, task)
    for title, line in read_results(path).items():
        assert (line["error"]["code"], line["earlier"]) == ("builder_failed", "standing")
        assert line["summary"].endswith(f"units=-1. An earlier export stands there, {title}.meta, as it was.")
    assert list_all(tmp_path / "mlp") == ["ckpt-10.meta", "ckpt-20.meta"]
    units.write_text("UNITS = 64\n", encoding="utf-8")
    run(mine, path, task)
    assert {line["earlier"] for line in read_results(path).values()} == {"taken_away"}
    assert list_all(tmp_path) == ALONE


def test_export_that_an_earlier_version_left_beside_its_refusal_is_told(
    mine: Workspace, units: Path, tmp_path: Path
) -> None:
    task, path = Task(str(tmp_path), check=False), tmp_path / "results.jsonl"
    units.write_text("UNITS = 64\n", encoding="utf-8")
    run(mine, path, task)
    lines = [{k: v for k, v in line.items() if k != "earlier"} for line in read_results(path).values()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    made = tmp_path / "mlp" / "ckpt-10.meta"
    made.parent.mkdir(exist_ok=True)
    made.write_text("Of another day.")
    assert run(mine, path, task) == ["mlp/ckpt-10"]
    assert (read_results(path)["mlp/ckpt-10"]["earlier"], made.read_text()) == ("standing", "Of another day.")


def test_export_below_a_link_that_leads_out_of_the_folder_stays(mine: Workspace, units: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    task, path = Task(str(out), check=False), out / "results.jsonl"
    run(mine, path, task)
    (out / "mlp").rename(tmp_path / "elsewhere")
    (out / "mlp").symlink_to(tmp_path / "elsewhere")
    units.write_text("UNITS = 64\n", encoding="utf-8")
    run(mine, path, task)
    assert {line["earlier"] for line in read_results(path).values()} == {"standing"}
    assert list_all(tmp_path / "elsewhere") == ["ckpt-10.meta", "ckpt-20.meta"]


def test_export_that_cannot_be_taken_away_in_full_stands(tmp_path: Path) -> None:
    files = [tmp_path / f"a{ending}" for ending in (".data-00000-of-00001", ".index", ".meta")]
    for path in files[:2]:
        path.write_text(path.name)
    with pytest.raises(OSError, match=r"a\.meta"):
        batch_withdraw._take_away(files)
    assert list_all(tmp_path) == ["a.data-00000-of-00001", "a.index"]
    batch_withdraw._take_away(files[:2])
    assert list_all(tmp_path) == []
