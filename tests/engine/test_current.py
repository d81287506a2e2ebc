"""Digests are known for as long as what they are of has not changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tb_ckptmeta.core.dependencies import (
    FILE,
    FOLDER,
    MISSING,
    UNSETTLED,
    Dependencies,
    digest_environment,
    digest_link,
)
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.process import make_environment


def test_digests_of_a_folder_change_with_its_names_alone(tmp_path: Path) -> None:
    digests, file = Digests(), tmp_path / "one"
    empty = digests.get_names(str(tmp_path))
    file.write_text("1")
    one = digests.get_names(str(tmp_path))
    file.write_text("2")
    assert digests.get_names(str(tmp_path)) == one != empty
    file.unlink()
    assert digests.get_names(str(tmp_path)) == empty
    assert digests.get_names(str(tmp_path / "nowhere")) == ""


def test_digests_tell_whether_what_was_read_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digests, file, missing = Digests(), tmp_path / "one", str(tmp_path / "two")
    file.write_text("1")
    (tmp_path / "link").symlink_to("one")
    monkeypatch.delenv("TB_CKPTMETA_TEST", raising=False)
    whole = digest_environment(make_environment("0"))
    read = Dependencies(
        {str(file): digests.get(str(file)), missing: ""},
        {"TB_CKPTMETA_TEST": ""},
        os.getcwd(),
        {str(tmp_path): digests.get_names(str(tmp_path))},
        {str(file): FILE, str(tmp_path): FOLDER, missing: MISSING},
        whole,
        {str(tmp_path / "link"): digest_link(str(tmp_path / "link")), str(file): ""},
    )
    assert Dependencies.from_json(read.as_json()) == read
    assert digests.are_current(read)
    for other in (
        Dependencies(files={str(file): UNSETTLED}),
        Dependencies(files={str(file): ""}),
        Dependencies(environment={"TB_CKPTMETA_TEST": "0"}),
        Dependencies(directory=str(tmp_path)),
        Dependencies(folders={str(tmp_path): ""}),
        Dependencies(kinds={str(file): FOLDER}),
        Dependencies(kinds={str(tmp_path): MISSING}),
        Dependencies(whole_environment="0"),
        Dependencies(links={str(tmp_path / "link"): ""}),
    ):
        assert not digests.are_current(other)
    monkeypatch.setenv("TB_CKPTMETA_TEST", "x")
    assert not digests.are_current(Dependencies(whole_environment=whole))
    monkeypatch.delenv("TB_CKPTMETA_TEST")
    file.rename(missing)
    assert not digests.are_current(read)
