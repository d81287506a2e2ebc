"""Files of a checkpoint that the system refuses to read, or that are gone when they are opened."""

from __future__ import annotations

import os
from typing import BinaryIO

import pytest
from stored import raised

from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.engine import checkpoint_file


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied"), Code.CHECKPOINT_UNREADABLE),
        (OSError(5, "Input/output error"), Code.CHECKPOINT_UNREADABLE),
        (FileNotFoundError(2, "No such file or directory"), Code.CHECKPOINT_MISSING),
    ],
)
def test_read_contents_when_the_index_cannot_be_opened_says_why(
    objects: str, monkeypatch: pytest.MonkeyPatch, error: OSError, code: Code
) -> None:
    def refuse(path: str, mode: str) -> BinaryIO:
        raise error

    monkeypatch.setattr(checkpoint_file, "open", refuse, raising=False)
    assert raised(objects)[0] is code


def test_read_contents_when_the_folder_may_not_be_entered_raises_unreadable(
    objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        found = raised(objects)
    assert found == (Code.CHECKPOINT_UNREADABLE, f"{objects}.index cannot be read: Permission denied.")
