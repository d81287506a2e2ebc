"""What is said of a prefix's name is what TensorFlow does with a checkpoint there."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import tensorflow as tf

from tb_ckptmeta.core.restorable import find_name_problem


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain") / "run"
    tf.train.Checkpoint(v=tf.Variable([1.0])).write(str(folder / "ckpt-1"))
    return folder


@pytest.mark.parametrize(
    ("name", "restores"),
    [
        ("run", True),
        ("my runs (2)", True),
        ("gr\u00f6\u00dfe=3 \u2713", True),
        ("a*b?c", True),
        ("open[1", True),
        ("a[b", True),
        ("{a,b}", True),
        ("seed[1]", False),
        ("seed[!1]", False),
        ("a\\b", False),
        (os.fsdecode(b"caf\xe9"), False),
    ],
)
def test_name_has_a_problem_where_tensorflow_restores_nothing(
    plain: Path, tmp_path: Path, name: str, restores: bool
) -> None:
    prefix = str(shutil.copytree(plain, tmp_path / name) / "ckpt-1")
    try:
        tf.train.load_checkpoint(prefix)
        restored = True
    except (tf.errors.OpError, ValueError):  # an UnicodeEncodeError is a ValueError
        restored = False
    assert (restored, bool(find_name_problem(prefix))) == (restores, not restores)


def test_folder_and_file_of_one_name_are_told_apart() -> None:
    assert find_name_problem("/\\/\\").endswith("Rename the folder \\.")
    assert find_name_problem("/runs/\\").endswith("Rename its files.")
