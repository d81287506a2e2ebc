"""Builders that leave a mark beside this file whenever they run: copy it to where marks may stand."""

import os
import threading
from pathlib import Path

import tensorflow as tf

from tb_ckptmeta import builder

HERE = Path(__file__).parent


def leave_mark(name):
    with (HERE / "marks.txt").open("a") as file:
        file.write(f"{name} {os.getpid()}\n")


@builder("marks", checkpoints="mlp/*")
def marks(units: int = 128):
    """Leave a mark and build the demo's classifier."""
    leave_mark("marks")
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,), name="image"),
            layers.Dense(units, activation="relu", name="hidden"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="mlp",
    )


@builder("waits")
def waits():
    """Leave a mark and never end."""
    leave_mark("waits")
    threading.Event().wait()
