"""Builders that return what is no model, or one that does not say enough."""

import tensorflow as tf
from small_models import make_mlp

from tb_ckptmeta import Model, builder

IMAGES = tf.TensorSpec([None, 784], tf.float32, "image")


@builder("nothing")
def nothing():
    make_mlp()


@builder("text")
def text():
    return "model.keras"


@builder("graph-tensors")
def graph_tensors():
    with tf.Graph().as_default():
        x = tf.compat.v1.placeholder(tf.float32, [None, 4])
        return x, tf.nn.relu(x)


@builder("three-tensors", graph=True)
def three_tensors():
    x = tf.compat.v1.placeholder(tf.float32, [None, 4])
    return x, tf.nn.relu(x), tf.nn.tanh(x)


@builder("eager-in-graph", graph=True)
def eager_in_graph():
    x = tf.compat.v1.placeholder(tf.float32, [None, 4])
    return x, 3.0


@builder("model-in-graph", graph=True)
def model_in_graph():
    return make_mlp()


class Subclassed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(3)

    def call(self, inputs):
        return self.dense(inputs)


@builder("without-inputs")
def without_inputs():
    return Subclassed()


@builder("wrong-inputs", inputs=tf.TensorSpec([None, 7], tf.float32))
def wrong_inputs():
    return make_mlp()


@builder("inputs-as-shape", inputs=[None, 784])
def inputs_as_shape():
    return Subclassed()


class Silent(tf.Module):
    pass


@builder("not-callable", inputs=IMAGES)
def not_callable():
    return Silent()


@builder("no-outputs")
def no_outputs():
    return Model(root=make_mlp(), call=lambda image: None, inputs=IMAGES)


@builder("slices-output")
def slices_output():
    return Model(root=make_mlp(), call=lambda image: tf.IndexedSlices(image, tf.range(2)), inputs=IMAGES)
