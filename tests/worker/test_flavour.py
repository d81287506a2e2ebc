"""Which Keras a module shows, read from its source without running any of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Source, Spec
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.worker.flavour import find_file, read_flavour, settle_keras, settle_module_keras

Write = Callable[[str], Spec]

_TWO_BUILDERS = """
import tensorflow as tf
import tf_keras
from tb_ckptmeta import builder
raise AssertionError("this module was run")

def make_old():
    return tf_keras.Sequential()

def make_by_detour():
    return make_old()

class OldModel(tf_keras.Model):
    pass

@builder("new")
def new():
    return tf.keras.Sequential()

@builder("old")
def old():
    return tf_keras.Sequential()

@builder("old-by-function")
def old_by_function():
    return make_old()

@builder("old-by-detour")
def old_by_detour():
    return make_by_detour()

@builder("old-by-class", checkpoints="x/*")
def old_by_class():
    return OldModel()

builder("by-call")(new)
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a module and return its SPEC."""

    def write(source: str) -> Spec:
        path = tmp_path / "my_builders.py"
        path.write_text(source, encoding="utf-8")
        return parse_spec(str(path))

    return write


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test settle what TensorFlow reads, and set it back."""
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "unsettled")


@pytest.mark.parametrize(
    ("source", "flavour"),
    [
        ("", None),
        ("import tensorflow as tf\nmodel = tf.keras.Sequential()\n", None),
        ("import keras\nmodel = keras.Sequential()\n", None),
        ("import tf_keras\n", None),  # imported, and not used
        ("import tf_keras\nmodel = tf_keras.Sequential()\n", "legacy"),
        ("import tf_keras as k\nmodel = k.Sequential()\n", "legacy"),
        ("from tf_keras import layers\nlayer = layers.Dense(1)\n", "legacy"),
        ("from tf_keras.layers import Dense as D\nlayer = D(1)\n", "legacy"),
        ("import tensorflow as tf\ny = tf.compat.v1.layers.dense(x, 1)\n", "legacy"),
        ("import tensorflow.compat.v1 as tf\ny = tf.layers.dense(x, 1)\n", "legacy"),
        ("import tensorflow as tf\nv1 = tf.compat.v1\ny = v1.placeholder(tf.float32)\n", None),
        ("import tensorflow as tf\nv1 = tf.compat.v1\ny = v1.layers.dense(x, 1)\n", "legacy"),
        ("import tensorflow as tf\nnn = tf.compat.v1.nn\ncell = nn.rnn_cell.LSTMCell(2)\n", "legacy"),
        ("import tensorflow as tf\nv1 = tf.other.v1\ny = v1.layers.dense(x, 1)\n", None),
        ("import tensorflow as tf\ny = tf.compat.v1.get_variable('x', [1])\n", None),
        ("import tensorflow as tf\ny = tf.compat.v1.keras.layers.Dense(1)\n", "legacy"),
        ("my_tf_keras = 1\nprint(my_tf_keras)\n", None),
        ("'tf_keras'\n", None),
        ("import os\nos.environ['TF_USE_LEGACY_KERAS'] = '1'\n", "legacy"),
        ("import os\nos.environ['TF_USE_LEGACY_KERAS'] = 'True'\n", "legacy"),
        ("import os\nos.environ.setdefault('TF_USE_LEGACY_KERAS', '1')\n", "legacy"),
        ("import os\nos.environ.update(TF_USE_LEGACY_KERAS='1')\n", "legacy"),
        ("import os\nos.environ.update({'TF_USE_LEGACY_KERAS': '1'})\n", "legacy"),
        ("import os, tf_keras\nos.environ['TF_USE_LEGACY_KERAS'] = '0'\nm = tf_keras.Model()\n", "3"),
        ("import tf_keras\ndef build(:\n", None),
        ("\0", None),
        ("x = " + "(" * 1000 + ")" * 1000, None),
    ],
)
def test_read_flavour_of_a_module_tells_what_its_top_level_shows(
    write: Write, source: str, flavour: str | None
) -> None:
    assert read_flavour(write(source), None) == flavour


@pytest.mark.parametrize(
    ("builder", "flavour"),
    [
        ("new", None),
        ("old", "legacy"),
        ("old-by-function", "legacy"),
        ("old-by-detour", "legacy"),
        ("old-by-class", "legacy"),
        ("by-call", None),
        ("nobody", None),
    ],
)
def test_read_flavour_of_one_builder_counts_what_it_reaches_alone(
    write: Write, builder: str, flavour: str | None
) -> None:
    assert read_flavour(write(_TWO_BUILDERS), builder) == flavour


def test_read_flavour_of_a_file_that_is_not_there_is_unknown(write: Write, tmp_path: Path) -> None:
    spec = write("import tf_keras\nm = tf_keras.Model()\n")
    assert read_flavour(spec, None) == "legacy"
    (tmp_path / "my_builders.py").unlink()
    assert read_flavour(spec, None) is None


def test_find_file_of_a_module_name_imports_nothing_of_its_packages(tmp_path: Path) -> None:
    inner = tmp_path / "a_package_of_builders" / "deep"
    inner.mkdir(parents=True)
    for folder in (inner.parent, inner):
        (folder / "__init__.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")
    (inner / "mlp.py").write_text("raise AssertionError('imported')\n", encoding="utf-8")

    def find(name: str) -> Path | None:
        return find_file(Spec(name, None, name, str(tmp_path)))

    assert find("a_package_of_builders.deep.mlp") == inner / "mlp.py"
    assert find("a_package_of_builders.deep") == inner / "__init__.py"
    assert find("a_package_of_builders.deep.none") is None
    assert find("a_package_of_builders.deep.mlp.none") is None
    assert find("there_is_no_such_package.mlp") is None
    assert find("math") is None  # no source
    assert "a_package_of_builders" not in sys.modules


@pytest.mark.parametrize(
    ("declared", "source", "hint", "flavour"),
    [
        (None, "", None, "3"),
        (None, "", "legacy", "legacy"),
        (None, "import tf_keras\nm = tf_keras.Model()\n", "3", "legacy"),
        ("3", "import tf_keras\nm = tf_keras.Model()\n", "legacy", "3"),
        ("legacy", "", "3", "legacy"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_settle_keras_goes_by_builder_then_source_then_checkpoint(
    write: Write, declared: str | None, source: str, hint: str | None, flavour: str
) -> None:
    assert settle_keras(Source(write(source), "b", {}, False, declared, hint)) == flavour
    assert os.environ["TF_USE_LEGACY_KERAS"] == ("1" if flavour == "legacy" else "0")


@pytest.mark.usefixtures("environment")
def test_settle_module_keras_of_a_module_that_shows_nothing_is_keras_3(write: Write) -> None:
    assert settle_module_keras(write("x = 1\n")) == "3"
    assert os.environ["TF_USE_LEGACY_KERAS"] == "0"


@pytest.mark.usefixtures("environment")
def test_settle_keras_without_tf_keras_says_what_to_install(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(write(""), "b", {}, False, "legacy", None)
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CkptMetaError) as caught:
        settle_keras(source)
    assert caught.value.code is Code.KERAS_MISSING
    assert "tensorboard-plugin-ckptmeta[legacy]" in caught.value.message
