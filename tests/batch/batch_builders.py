"""Builders of the demo's models, under the names and in the ways that a batch needs them.

`late` waits until a file `go` lies beside this one, and makes a file `waits`. `wide` is not what was trained, `deeper`
is that and a layer more, `wrapped` has it within, and is paired with nothing. The number of units is a module of its
own.
"""

import time
from pathlib import Path

import tensorflow as tf
from batch_units import UNITS

from tb_ckptmeta import builder

HERE = Path(__file__).parent


def make(units):
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,), name="image"),
            tf.keras.layers.Dense(units, activation="relu", name="hidden"),
            tf.keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="mlp",
    )


@builder("mlp", checkpoints="mlp/*")
def mlp():
    return make(UNITS)


@builder("wide", checkpoints="wide/*")
def wide():
    return make(256)


@builder("deeper", checkpoints="deeper/*")
def deeper():
    model = make(UNITS)
    model.add(tf.keras.layers.Dense(10, name="more"))
    return model


@builder("late", checkpoints="late/*")
def late():
    (HERE / "waits").touch()
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return make(UNITS)


class Wrapped(tf.Module):
    def __init__(self, units):
        self.backbone = make(units)

    def __call__(self, image):
        return self.backbone(image)


@builder("wrapped", inputs=tf.TensorSpec([None, 784], tf.float32))
def wrapped(units: int = 64):
    return Wrapped(units)
