"""Builders without patterns: only a record pairs them."""

import tensorflow as tf

from tb_ckptmeta import builder


@builder("wide")
def wide(units: int = 8, activation: str = "relu"):
    return tf.keras.Sequential(
        [tf.keras.Input((4,)), tf.keras.layers.Dense(units, activation), tf.keras.layers.Dense(1)]
    )


@builder("narrow")
def narrow():
    return wide(2)
