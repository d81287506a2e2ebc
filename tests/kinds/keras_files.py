"""The models of save_keras_files.py, as builders: what a file of Keras' own holds is a matter of the model's layers."""

import numpy as np
import tensorflow as tf

from tb_ckptmeta import builder

keras = tf.keras
INPUTS = tf.TensorSpec([None, 4], tf.float32, "x")
DATA = np.random.default_rng(1).normal(2.0, 3.0, size=(32, 4)).astype("float32")


@builder("functional", checkpoints="*/functional/**")
def functional():
    """With layers of one class, a shared one, and a model within."""
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, activation="tanh"), keras.layers.Dense(4)])
    shared = keras.layers.Dense(4)
    x = keras.Input((4,), name="x")
    both = keras.layers.Add()([shared(inner(x)), shared(x)])
    both = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(both))
    return keras.Model(x, keras.layers.Dense(2)(both))


class Listed(keras.Model):
    """With layers in a list and in a dict: `tf.train.Checkpoint` does not save those of Keras 3, its own files do."""

    def __init__(self):
        super().__init__()
        self.blocks = [keras.layers.Dense(4, activation="tanh") for _ in range(3)]
        self.heads = {"b": keras.layers.Dense(2), "a": keras.layers.Dense(2)}

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x) - 2.0 * self.heads["b"](x)


@builder("listed", checkpoints="*/listed/**", inputs=INPUTS)
def listed():
    return Listed()


@builder("deeper", inputs=INPUTS)
def deeper():
    model = Listed()
    model.blocks.append(keras.layers.Dense(4))
    return model


@builder("narrower", inputs=INPUTS)
def narrower():
    model = Listed()
    model.heads["a"] = keras.layers.Dense(1)
    return model


@builder("recurrent", checkpoints="*/recurrent/**")
def recurrent():
    return keras.Sequential(
        [
            keras.Input((4,), name="x"),
            keras.layers.Reshape((4, 1)),
            keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True)),
            keras.layers.GRU(2),
        ]
    )


@builder("half", checkpoints="*/half/**")
def half():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, dtype="bfloat16")])


@builder("adapted", checkpoints="*/adapted/**")
def adapted():
    normalization = keras.layers.Normalization()
    normalization.adapt(DATA)
    return keras.Sequential([keras.Input((4,), name="x"), normalization, keras.layers.Dense(2)])


@builder("adapted otherwise")
def adapted_otherwise():
    normalization = keras.layers.Normalization()
    normalization.adapt(DATA * 2.0)
    return keras.Sequential([keras.Input((4,), name="x"), normalization, keras.layers.Dense(2)])


class Turned(keras.layers.Layer):
    """It saves its kernel transposed: what its file holds is not what its variable is to hold."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(4, 4), name="kernel")

    def call(self, x):
        return x @ self.kernel

    def save_own_variables(self, store):
        store["0"] = np.transpose(self.kernel.numpy())

    def load_own_variables(self, store):
        self.kernel.assign(np.transpose(store["0"]))


@builder("turned", checkpoints="*/turned/**")
def turned():
    return keras.Sequential([keras.Input((4,), name="x"), Turned(name="turned"), keras.layers.Dense(2)])


@builder("adapter", checkpoints="*/adapter/**")
def adapter():
    """With low-rank adapters, which Keras merges into what it saves."""
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(4, name="dense")])
    model.layers[0].enable_lora(2)
    return model


@builder("module", inputs=INPUTS)
def module():
    class Plain(tf.Module):
        def __call__(self, x):
            return 2.0 * x

    return Plain()
