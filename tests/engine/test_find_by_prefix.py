"""A checkpoint that is given by its path, or by that of one of its files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from scanning import fail_to_list, outside_checkpoint, touch, v2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.scan import check_confined, find_by_prefix


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    path = tmp_path / "logdir"
    path.mkdir()
    return path


@pytest.mark.parametrize("given", ["ckpt-1", "ckpt-1.index", "ckpt-1.data-00000-of-00001"])
def test_find_by_prefix_of_any_of_its_files_finds_the_checkpoint(logdir: Path, given: str) -> None:
    touch(logdir, *v2("ckpt-1"), *v2("ckpt-10"))
    found = find_by_prefix(str(logdir / given))
    assert found is not None
    assert (found.name, found.prefix, found.state) == ("ckpt-1", str(logdir / "ckpt-1"), "listed")
    assert found.pattern_path == str(logdir / "ckpt-1")


def test_find_by_prefix_relative_to_the_working_directory_keeps_it_as_given(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(logdir, *v2("run/ckpt-1"))
    monkeypatch.chdir(logdir / "run")
    for prefix in ("ckpt-1", "./ckpt-1", "../run/ckpt-1"):
        found = find_by_prefix(prefix)
        assert found is not None
        assert (found.prefix, found.pattern_path) == (prefix, str(logdir / "run" / "ckpt-1"))


def test_find_by_prefix_of_a_link_out_of_its_folder_follows_it(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    for name in v2("ckpt-1"):
        (logdir / name).symlink_to(outside / name)
    found = find_by_prefix(str(logdir / "ckpt-1"))
    assert found is not None
    assert found.state == "listed"
    check_confined(found)


@pytest.mark.parametrize("given", ["ckpt-2", "ckpt", "no/ckpt-1", "ckpt-1.meta", "", "."])
def test_find_by_prefix_of_what_is_not_there_finds_nothing(logdir: Path, given: str) -> None:
    touch(logdir, *v2("ckpt-1"))
    assert find_by_prefix(str(logdir / given)) is None


def test_find_by_prefix_of_an_unfinished_one_finds_it_incomplete(logdir: Path) -> None:
    touch(logdir, "ckpt-1.index")
    found = find_by_prefix(str(logdir / "ckpt-1"))
    assert found is not None
    assert found.state == "incomplete"


def test_find_by_prefix_where_nothing_can_be_listed_says_why(logdir: Path) -> None:
    touch(logdir, "file")
    (logdir / "loop").symlink_to("loop")
    for folder, reason in (("file", "Not a directory"), ("loop", "Too many levels of symbolic links")):
        with pytest.raises(CkptMetaError) as refused:
            find_by_prefix(str(logdir / folder / "ckpt-1"))
        assert refused.value.code is Code.CHECKPOINT_UNREADABLE
        assert refused.value.message == f"{logdir / folder} cannot be listed: {reason}."


def test_find_by_prefix_of_a_folder_in_one_that_cannot_be_listed_finds_nothing(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder itself may be listed all the same: it is a logdir."""
    touch(logdir, *v2("closed/runs/ckpt-1"))
    refusal = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", fail_to_list(str(logdir / "closed"), refusal))
    assert find_by_prefix(str(logdir / "closed" / "runs")) is None
    with pytest.raises(CkptMetaError, match="Permission denied"):
        find_by_prefix(str(logdir / "closed" / "ckpt-1"))
