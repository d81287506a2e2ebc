"""A model of blocks, `depth` of them, and its builders. Run as a script, it saves it, beside a judge."""

from __future__ import annotations

import sys

import tensorflow as tf

from tb_ckptmeta import builder


class Block(tf.keras.layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.a = tf.keras.layers.Dense(units)
        self.b = tf.keras.layers.Dense(units)

    def call(self, x):
        return self.b(self.a(x))


def make(depth, width=6):
    x = inputs = tf.keras.Input((4,), name="features")
    x = tf.keras.layers.Dense(width, name="stem")(x)
    for number in range(depth):
        x = Block(width, name=f"block{number}")(x)
    return tf.keras.Model(inputs, tf.keras.layers.Dense(3, name="head")(x))


@builder("clf", checkpoints=["clf/*", "deep/**"])
def clf(depth: int = 2):
    return make(depth)


@builder("wide")
def wide():
    return make(2, width=7)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        prefix, _, depth = argument.rpartition("=")
        model = make(int(depth))
        optimizer = tf.keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        judge = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(1)])
        tf.train.Checkpoint(model=model, optimizer=optimizer, judge=judge).write(prefix)
