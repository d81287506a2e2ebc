"""The model of the demo's run `mlp`, for samples that do something odd on the way to it. Registers nothing."""

import tensorflow as tf


def make_mlp(units=128):
    layers = tf.keras.layers
    return tf.keras.Sequential(
        [tf.keras.Input((784,), name="image"), layers.Dense(units, activation="relu"), layers.Dense(10, "softmax")]
    )
