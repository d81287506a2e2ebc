"""Write Keras' own files as one Keras does, and what each model gave.

Usage: python save_keras_files.py RUNS 3|legacy. RUNS/FLAVOUR/MODEL/… are the files, RUNS/../expected/FLAVOUR-MODEL.npz
the outputs for RUNS/../inputs.npy.
"""

import pathlib
import sys

import keras_files
import numpy as np
import tensorflow as tf

runs, flavour = pathlib.Path(sys.argv[1]), sys.argv[2]
keras = tf.keras
x = np.random.default_rng(7).normal(size=(6, 4)).astype("float32")
expected = runs.parent / "expected"
expected.mkdir(exist_ok=True)
np.save(runs.parent / "inputs.npy", x)


def folder(kind):
    (runs / flavour / kind).mkdir(parents=True)
    return runs / flavour / kind


def train(kind):
    keras.utils.set_random_seed(len(kind))
    model = getattr(keras_files, kind)()
    labels = np.random.default_rng(8).normal(size=(model(x)).shape).astype("float32")
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=["mae"])
    path = str(folder(kind))
    callbacks = [
        keras.callbacks.ModelCheckpoint(path + "/epoch_{epoch}.keras"),
        keras.callbacks.ModelCheckpoint(path + "/cp-{epoch:03d}.weights.h5", save_weights_only=True),
    ]
    if flavour == "3":
        callbacks.append(keras.callbacks.BackupAndRestore(path + "/backup", delete_checkpoint=False))
    model.fit(x, labels, epochs=2, verbose=0, callbacks=callbacks)
    np.savez(expected / f"{flavour}-{kind}.npz", output_0=np.asarray(model(x), "float32"))
    return model


for kind in ("functional", "listed", "recurrent", "turned"):
    train(kind)
if flavour == "3":
    for kind in ("half", "adapted", "adapter"):
        train(kind)
