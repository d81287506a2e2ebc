"""Train with `model.fit` and the callback: python train_recorded.py RUNS 3|legacy."""

import sys

import numpy as np
import tensorflow as tf
from recorded_builders import wide

import tb_ckptmeta

runs, flavour = sys.argv[1:]
folder = f"{runs}/{flavour}"
arguments = {"units": 24, "activation": "tanh"}
library = "tf_keras" if flavour == "legacy" else "keras"


class Save(tf.keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        tf.train.Checkpoint(model=self.model).write(f"{folder}/ckpt-{epoch + 1}")


callback = tb_ckptmeta.record_callback(folder, "wide", arguments=arguments)
assert isinstance(callback, tf.keras.callbacks.Callback)
assert type(callback).__mro__[1].__module__.startswith(library + ".")
model = wide(**arguments)
model.compile("adam", "mse")
x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
model.fit(x, y, epochs=2, verbose=0, callbacks=[callback, Save()])
model.save_weights(f"{folder}/final.weights.h5")

# Whoever imports both may train with either: the callback of each is taken by the other's fit.
if flavour == "3":
    import tf_keras

    other = tb_ckptmeta.record_callback(f"{runs}/other", "narrow")
    assert isinstance(other, tf_keras.callbacks.Callback)
    old = tf_keras.Sequential([tf_keras.layers.Dense(1)])
    old.compile("sgd", "mse")
    old.fit(x, y, verbose=0, callbacks=[callback, other])
    model.fit(x, y, verbose=0, callbacks=[other])
