"""Write what a graph can come from without a builder, as one Keras and TensorFlow write it.

Usage: python save_sources.py RUNS 3|legacy. Each run is called after the client that wrote it.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

runs, flavour = pathlib.Path(sys.argv[1]), sys.argv[2]
keras, v1 = tf.keras, tf.compat.v1
keras.utils.set_random_seed(1)
x = np.random.default_rng(1).normal(size=(16, 4)).astype("float32")
y = np.random.default_rng(2).normal(size=(16, 2)).astype("float32")


def fit(model, folder):
    model.compile("adam", "mse")
    model.fit(x, y, epochs=1, verbose=0, callbacks=[keras.callbacks.TensorBoard(log_dir=str(folder))])
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder / "ckpt"))


def sequential():
    layers = [keras.layers.Input((4,)), keras.layers.Dense(8, "relu", name="hidden"), keras.layers.Dense(2, name="out")]
    return keras.Sequential(layers)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.out = keras.layers.Dense(2)

    def call(self, inputs):
        return self.out(inputs)


class Scaled(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.ones([3, 2]), name="w")
        self.b = tf.Variable(tf.zeros([2]), name="b")

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32)])
    def scale(self, values):
        return tf.nn.relu(tf.matmul(values, self.w) + self.b)


def save_tf1(folder):
    """A training's graph, with a partitioned variable, and a local one that no Saver saves."""
    with tf.Graph().as_default(), v1.Session() as session:
        inputs = v1.placeholder(tf.float32, [None, 4], name="inputs")
        with v1.variable_scope("net"):
            hidden = v1.layers.dense(inputs, 8, tf.nn.relu, name="hidden")
            parts = v1.fixed_size_partitioner(2)
            table = v1.get_variable("table", [8, 2], partitioner=parts, use_resource=True)
            output = tf.matmul(hidden, tf.convert_to_tensor(table), name="output")
        v1.get_variable("seen", [], collections=[v1.GraphKeys.LOCAL_VARIABLES], initializer=v1.zeros_initializer())
        step = v1.train.get_or_create_global_step()
        v1.train.AdamOptimizer().minimize(tf.reduce_mean(output**2), global_step=step)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=5)
        v1.saved_model.simple_save(session, str(folder.parent / "tf1-saved"), {"x": inputs}, {"y": output})


model = sequential()
fit(model, runs / f"fit-{flavour}")
(runs / f"file-{flavour}").mkdir()
model.save(str(runs / f"file-{flavour}" / "model.keras"))
if flavour == "3":
    fit(Subclassed(), runs / "subclassed")
    model.export(str(runs / "exported"), verbose=False)
    module = Scaled()
    tf.saved_model.save(module, str(runs / "module"), signatures=module.scale)
else:
    model.save(str(runs / "saved"), save_format="tf")
    (runs / "tf1").mkdir()
    save_tf1(runs / "tf1")
