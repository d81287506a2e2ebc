"""Builders of the demo's models with a mistake in them, and some without one that are written in other ways."""

import tensorflow as tf
from small_models import make_mlp

from tb_ckptmeta import Model, builder

v1 = tf.compat.v1
IMAGES = tf.TensorSpec([None, 784], tf.float32, "image")


@builder("other-units", checkpoints="mlp/*")
def other_units(units: int = 64):
    return make_mlp(units)


class Custom(tf.keras.Model):
    def __init__(self, first="dense1"):
        super().__init__()
        self._first = first
        setattr(self, first, tf.keras.layers.Dense(64, activation="relu"))
        self.dense2 = tf.keras.layers.Dense(10)

    def call(self, inputs):
        return self.dense2(getattr(self, self._first)(inputs))


@builder("renamed-attribute", inputs=IMAGES)
def renamed_attribute():
    return Custom("first")


@builder("renamed-scope", graph=True)
def renamed_scope():
    return _build_graph("dens1")


@builder("same-names", graph=True)
def same_names():
    return _build_graph("dense1")


def _build_graph(first):
    image = v1.placeholder(tf.float32, [None, 784], name="image")
    with v1.variable_scope(first):
        hidden = tf.nn.relu(image @ v1.get_variable("kernel", [784, 64]) + v1.get_variable("bias", [64]))
    with v1.variable_scope("dense2"):
        logits = hidden @ v1.get_variable("kernel", [64, 10]) + v1.get_variable("bias", [10])
    return image, {"logits": logits, "probabilities": tf.nn.softmax(logits)}


@builder("reads-weights")
def reads_weights():
    """Scale a layer by what its weights are while the model is being built."""
    model = make_mlp()
    kernel = model.layers[0].kernel
    kernel.assign(kernel / tf.norm(kernel))
    return model


class CompiledCall(Custom):
    @tf.function
    def call(self, inputs):
        return super().call(inputs)


@builder("compiled-call", inputs=IMAGES)
def compiled_call():
    return CompiledCall()


@builder("dict-outputs")
def dict_outputs():
    model = make_mlp()
    return Model(root=model, call=lambda image: {"zero": model(image), "a": tf.argmax(model(image), 1)}, inputs=IMAGES)
