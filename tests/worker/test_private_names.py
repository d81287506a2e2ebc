"""The private names that we build on are there, and one that moved is named."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tb_ckptmeta.worker import keras_private, tensorflow_private
from tb_ckptmeta.core.errors import CkptMetaError
print(tensorflow_private.find_moved_names(), keras_private.find_moved_names())
from tensorflow.python.trackable import base
del base.Trackable._trackable_children
print(tensorflow_private.find_moved_names())
try:
    tensorflow_private._require_names()
except CkptMetaError as error:
    print(error.code.value, "Trackable._trackable_children" in error.message)
from keras.src import backend
del backend.name_scope
print(keras_private.find_moved_names())
with keras_private.enter_scopes_once():
    print("goes on")
"""

SAVING = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.core.errors import CkptMetaError
for flavour in ("3", "legacy"):
    print(keras_private.find_moved_saving_names(flavour))
from keras.src.saving import saving_lib
loads = saving_lib._load_state
saving_lib._load_state = lambda model, store, inner_path: None
print(keras_private.find_moved_saving_names("3"))
del saving_lib._load_state
print(keras_private.find_moved_saving_names("3"))
try:
    keras_private.load_state(None, "3", None, lambda variable, value: None)
except CkptMetaError as error:
    print(error.code.value, "saving_lib._load_state" in error.message)
"""


ORDER = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import keras
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.core.errors import CkptMetaError
x = keras.Input((5, 8))
y = keras.layers.MultiHeadAttention(2, 3)(x, value=keras.layers.Dense(6)(x), key=keras.layers.Dense(6)(x))
model, plain = keras.Model(x, y), keras.Model(x, keras.layers.Dense(6)(x))
print(keras_private.find_moved_order_names(), keras_private.find_older_order(model) != [])
from keras.src.ops import function
del function.map_graph
print(keras_private.find_moved_order_names(), keras_private.find_older_order(plain))
try:
    keras_private.find_older_order(model)
except CkptMetaError as error:
    print(error.code.value, "map_graph" in error.message)
"""


def test_private_names_of_the_order_of_layers_are_there_and_missed_where_it_matters_alone() -> None:
    ended = subprocess.run([sys.executable, "-c", ORDER], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "[] True",
        "['keras.src.ops.function.map_graph'] []",
        "private_api_moved True",
    ]


def test_private_names_are_there_and_a_moved_one_is_named() -> None:
    ended = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "[] []",
        "['tensorflow.python.trackable.base.Trackable._trackable_children']",
        "private_api_moved True",
        "['keras.src.backend.name_scope']",
        "goes on",
    ]


def test_private_names_of_loading_files_are_there_and_a_moved_one_is_named() -> None:
    ended = subprocess.run([sys.executable, "-c", SAVING], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == [
        "[]",
        "[]",
        "['keras.src.saving.saving_lib._load_state(weights_store=)']",
        "['keras.src.saving.saving_lib._load_state']",
        "private_api_moved True",
    ]


READING = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from tb_ckptmeta.worker import watch_libraries
from tb_ckptmeta.core.errors import CkptMetaError
print(watch_libraries.find_moved_names())
import h5py
import tensorflow
print(watch_libraries.find_moved_names())
from tensorflow.python.lib.io import file_io
file_io._pywrap_file_io = object()
print(len(watch_libraries.find_moved_names()))
try:
    watch_libraries.require_names()
except CkptMetaError as error:
    print(error.code.value, "_pywrap_file_io.GetChildren" in error.message)
"""


def test_private_names_of_reading_files_are_there_and_a_moved_one_is_named() -> None:
    ended = subprocess.run([sys.executable, "-c", READING], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines() == ["[]", "[]", "11", "private_api_moved True"]
