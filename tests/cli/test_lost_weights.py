"""Weights that are corrupt, and names that TensorFlow does not restore from, are said to be the checkpoint's fault."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.values import locate_values

pytestmark = pytest.mark.slow

BUILDERS = ("--builders", Path(__file__).with_name("blocks.py"))
KEY = "optimizer/_trainable_variables/2/.ATTRIBUTES/VARIABLE_VALUE"

Cli = Callable[..., Any]


@pytest.fixture
def corrupt(blocks: Path, tmp_path: Path) -> Path:
    """The checkpoint of two blocks, with one bit of a kernel flipped."""
    prefix = shutil.copytree(blocks / "clf", tmp_path / "clf") / "ckpt-1"
    checkpoint = find_by_prefix(str(prefix))
    assert checkpoint is not None
    (part,) = locate_values(checkpoint, Inspector().read(checkpoint), {KEY}).tensors[KEY].parts
    with open(f"{prefix}.data-00000-of-00001", "r+b") as file:
        file.seek(part.offset + 5)
        (byte,) = file.read(1)
        file.seek(part.offset + 5)
        file.write(bytes([byte ^ 1]))
    return prefix


def test_export_of_corrupt_weights_names_tensor_and_shard_without_a_traceback(
    cli: Cli, corrupt: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.meta"
    outcome = cli("export", corrupt, *BUILDERS, "--output", output, "--json")
    assert (outcome.status, output.exists(), outcome.left_behind) == (3, False, [])
    told = f"The weights of model/_operations/2/a/_kernel in {corrupt}.data-00000-of-00001 are corrupt"
    assert told in outcome.stderr
    assert "Checksum does not match" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_export_of_corrupt_weights_in_a_format_that_takes_them_along_is_no_defect_of_ours(
    cli: Cli, corrupt: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out.pb"
    outcome = cli("export", corrupt, *BUILDERS, "--output", output, "--format", "frozen", "--no-check")
    assert (outcome.status, output.exists()) == (3, False)
    assert "The weights of model/_operations/2/a/_kernel in " in outcome.stderr
    assert "defect" not in outcome.stderr


def test_name_that_tensorflow_does_not_restore_from_is_a_note_and_refuses_an_export(
    cli: Cli, blocks: Path, tmp_path: Path
) -> None:
    bracketed = shutil.copytree(blocks / "clf", tmp_path / "seed[1]" / "clf") / "ckpt-1"
    latin = shutil.copytree(blocks / "clf", Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9/clf"))) / "ckpt-1"
    verified = cli("verify", bracketed, latin, *BUILDERS, "--json")
    assert verified.status == 0
    first, second = [verdict["notes"] for verdict in verified.document["verdicts"]]
    assert f"TensorFlow restores nothing from {bracketed}: it reads a prefix as a pattern" in first[-1]
    assert first[-1].endswith("Rename the folder seed[1].")
    assert "it takes names in UTF-8 alone" in second[-1]
    (solved,) = cli("verify", bracketed, *BUILDERS, "--set", "depth=?", "--json").document["verdicts"]
    assert (solved["status"], solved["arguments"], solved["notes"][-1]) == ("match", {"depth": 2}, first[-1])
    output = tmp_path / "out.meta"
    refused = cli("export", bracketed, *BUILDERS, "--output", output)
    assert (refused.status, output.exists()) == (3, False)
    assert first[-1] in refused.stderr
    assert "Traceback" not in refused.stderr
