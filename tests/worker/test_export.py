"""What keeps an export from its format, found before any weight is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# A variable of 2.2 GiB: a graph holds its shape and no values.
_SCRIPT = """
import json, pathlib, sys
import tensorflow as tf
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import Export
from tb_ckptmeta.worker.export import write_export
from tb_ckptmeta.worker.flatten import Flat

v1 = tf.compat.v1
with tf.Graph().as_default() as graph:
    x = v1.placeholder(tf.int32, [None], name="x")
    table = v1.get_variable("table", [600_000_000], initializer=v1.zeros_initializer(), use_resource=True)
    flat = Flat(graph, {"x": x}, {"y": tf.identity(tf.gather(table, x), name="y")}, {0: table})
said = {}
for format in sys.argv[2:]:
    folder = pathlib.Path(sys.argv[1], format)
    folder.mkdir()
    try:
        said[format] = write_export(Export(format, "no/such/checkpoint", "object"), flat, {0: "key"}, {}, folder)
    except CkptMetaError as error:
        said[format] = error.as_json()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    folder = tmp_path_factory.mktemp("large")
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(folder), "frozen", "onnx", "metagraph", "saved_model"],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.mark.parametrize("format", ["frozen", "onnx"])
def test_export_past_two_gibibytes_in_one_message_names_the_formats_without_the_limit(
    said: dict[str, dict[str, object]], format: str
) -> None:
    assert said[format]["code"] == "format_limit"
    assert "2.2 GiB" in str(said[format]["message"])
    assert "metagraph, saved_model, checkpoint" in str(said[format]["message"])


@pytest.mark.parametrize("format", ["metagraph", "saved_model"])
def test_export_past_two_gibibytes_beside_the_weights_has_no_limit(
    said: dict[str, dict[str, object]], format: str
) -> None:
    assert said[format] == {
        "inputs": {"x": "x:0"},
        "outputs": {"y": "y:0"},
        "linked": format == "saved_model",
    }
