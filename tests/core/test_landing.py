"""Files appear whole or not at all, and never in the place of another unless asked to."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tb_ckptmeta.core import landing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import land_bytes, land_file

Land = Callable[[bytes, Path, bool], None]


@pytest.fixture(params=["bytes", "file"])
def land(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Land:
    """Land content by either function."""

    def run(content: bytes, path: Path, overwrite: bool) -> None:
        if request.param == "bytes":
            land_bytes(content, path, overwrite=overwrite)
            return
        source = tmp_path_factory.mktemp("source") / "source"
        source.write_bytes(content)
        land_file(source, path, overwrite=overwrite)
        assert source.read_bytes() == content

    return run


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("overwrite", [False, True])
def test_land_at_a_free_path_leaves_the_file_alone(land: Land, tmp_path: Path, overwrite: bool) -> None:
    land(b"content", tmp_path / "out.meta", overwrite)
    assert (tmp_path / "out.meta").read_bytes() == b"content"
    assert names(tmp_path) == ["out.meta"]


def test_land_gives_the_file_the_mode_of_any_new_one(land: Land, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    land(b"content", tmp_path / "out", False)
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert (tmp_path / "out").stat().st_nlink == 1


def test_land_where_a_file_stands_raises_and_leaves_it(land: Land, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"precious")
    with pytest.raises(CkptMetaError, match="--overwrite") as caught:
        land(b"new", path, False)
    assert caught.value.code is Code.OUTPUT_EXISTS
    assert path.read_bytes() == b"precious"
    assert names(tmp_path) == ["out"]


def test_land_over_a_file_when_asked_to_replaces_it(land: Land, tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_bytes(b"old and longer")
    land(b"new", path, True)
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["out"]


def test_land_where_a_broken_link_stands_raises_and_leaves_it(land: Land, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CkptMetaError) as caught:
        land(b"new", tmp_path / "out", False)
    assert caught.value.code is Code.OUTPUT_EXISTS
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize("overwrite", [False, True])
def test_land_where_a_folder_stands_raises_and_leaves_it(land: Land, tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(CkptMetaError) as caught:
        land(b"new", tmp_path / "out", overwrite)
    assert caught.value.code in (Code.OUTPUT_EXISTS, Code.OUTPUT_UNWRITABLE)
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == []


def test_land_in_a_folder_that_is_not_there_raises(land: Land, tmp_path: Path) -> None:
    with pytest.raises(CkptMetaError) as caught:
        land(b"new", tmp_path / "no" / "out", False)
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert names(tmp_path) == []


def test_land_below_a_file_raises(land: Land, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CkptMetaError) as caught:
        land(b"new", tmp_path / "file" / "out", False)
    assert caught.value.code is Code.OUTPUT_UNWRITABLE


@pytest.mark.parametrize("overwrite", [False, True])
def test_land_where_a_file_came_a_moment_ago_raises_or_replaces(
    land: Land, tmp_path: Path, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    finish = landing._finish

    def finish_late(temporary: Path, target: Path, over: bool) -> None:
        target.write_bytes(b"another's")  # between the first look and the last step
        finish(temporary, target, over)

    monkeypatch.setattr(landing, "_finish", finish_late)
    if overwrite:
        land(b"new", path, True)
        assert path.read_bytes() == b"new"
    else:
        with pytest.raises(CkptMetaError) as caught:
            land(b"new", path, False)
        assert caught.value.code is Code.OUTPUT_EXISTS
        assert path.read_bytes() == b"another's"
    assert names(tmp_path) == ["out"]


def test_land_by_many_at_once_lets_exactly_one_win(tmp_path: Path) -> None:
    path = tmp_path / "out"
    barrier = threading.Barrier(8)
    outcomes: list[object] = []

    def compete(number: int) -> None:
        content = bytes([number]) * 100_000
        barrier.wait()
        try:
            land_bytes(content, path, overwrite=False)
        except CkptMetaError as error:
            outcomes.append(error.code)
        else:
            outcomes.append(content)

    threads = [threading.Thread(target=compete, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [o for o in outcomes if isinstance(o, bytes)]
    assert winners == [path.read_bytes()]
    assert outcomes.count(Code.OUTPUT_EXISTS) == 7
    assert names(tmp_path) == ["out"]


def refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, "Operation not permitted")


def test_land_without_hard_links_lands_all_the_same(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    land(b"content", tmp_path / "out", False)
    assert (tmp_path / "out").read_bytes() == b"content"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("stands", ["file", "broken link"])
def test_land_without_hard_links_where_something_stands_raises_and_leaves_it(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stands: str
) -> None:
    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "out"
    if stands == "file":
        path.write_bytes(b"precious")
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CkptMetaError) as caught:
        land(b"new", path, False)
    assert caught.value.code is Code.OUTPUT_EXISTS
    assert path.is_symlink() if stands == "broken link" else path.read_bytes() == b"precious"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("call", ["replace", "link"])
def test_land_that_fails_at_the_last_step_leaves_nothing(
    land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, "replace", refuse)
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(CkptMetaError, match="Operation not permitted") as caught:
        land(b"content", tmp_path / "out", call == "replace")
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert names(tmp_path) == []


def test_land_that_is_interrupted_leaves_nothing(land: Land, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(landing, "_finish", interrupt)
    with pytest.raises(KeyboardInterrupt):
        land(b"content", tmp_path / "out", False)
    assert names(tmp_path) == []


def test_land_file_whose_source_is_gone_raises_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(CkptMetaError) as caught:
        land_file(tmp_path / "gone", tmp_path / "out", overwrite=False)
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert names(tmp_path) == []
