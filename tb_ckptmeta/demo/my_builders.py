"""The builders of the demo: plain functions that re-create the models which train.py trains.

TensorBoard reads this file anew for every rebuild. Change a layer's name or its units, press Verify in the
Checkpoints tab, and see what the verdict says.
"""

import tensorflow as tf

from tb_ckptmeta import builder


@builder("mnist-mlp", checkpoints="mlp/*")
def mnist_mlp(units: int = 128):
    """A classifier of 28 x 28 images: 784 - units - 10."""
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,), name="image"),
            tf.keras.layers.Dense(units, activation="relu", name="hidden"),
            tf.keras.layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="mlp",
    )


class CustomModel(tf.keras.Model):
    """The same by subclassing: it does not know its inputs, so its builder says how it is called."""

    def __init__(self):
        super().__init__(name="custom")
        self.dense1 = tf.keras.layers.Dense(64, activation="relu")
        self.dense2 = tf.keras.layers.Dense(10)

    def call(self, inputs):
        return self.dense2(self.dense1(inputs))


@builder("custom-model", checkpoints="custom/**", inputs=tf.TensorSpec([None, 784], tf.float32, "image"))
def custom_model():
    """A subclassed model with two dense layers."""
    return CustomModel()


@builder("scoped-graph", checkpoints="scoped/*", keras="legacy")
def scoped_graph():
    """A TensorFlow 1 graph with name scopes, built inside a tf.Graph: its checkpoint is name-based."""
    image = tf.compat.v1.placeholder(tf.float32, [None, 784], name="image")
    with tf.name_scope("network"):
        with tf.name_scope("hidden"):
            hidden = tf.compat.v1.layers.dense(image, 64, activation=tf.nn.relu, name="dense1")
        with tf.name_scope("digit"):
            logits = tf.compat.v1.layers.dense(hidden, 10, name="dense2")
            probabilities = tf.nn.softmax(logits, name="probabilities")
    return image, {"logits": logits, "probabilities": probabilities}
