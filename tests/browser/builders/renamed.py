"""The demo's subclassed model, after somebody has renamed its attributes."""

import tensorflow as tf

from tb_ckptmeta import builder


class Renamed(tf.keras.Model):
    def __init__(self):
        super().__init__(name="custom")
        self.hidden = tf.keras.layers.Dense(64, activation="relu")
        self.logits = tf.keras.layers.Dense(10)

    def call(self, inputs):
        return self.logits(self.hidden(inputs))


@builder("renamed", inputs=tf.TensorSpec([None, 784], tf.float32, "image"))
def renamed():
    return Renamed()
