"""Write a checkpoint of each model, its inputs and its outputs. Usage: python train.py FOLDER"""

import os
import pathlib
import sys

import models
import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
folder = pathlib.Path(sys.argv[1])
random = np.random.default_rng(7)


def save(name, inputs, outputs):
    np.savez(folder / f"{name}-inputs.npz", **inputs)
    np.savez(folder / f"{name}-expected.npz", **{k: np.asarray(v) for k, v in outputs.items()})


def train(name, model, inputs, call):
    for weight in model.trainable_variables:
        weight.assign(random.standard_normal(weight.shape))
    tf.train.Checkpoint(model=model).write(str(folder / name / "ckpt-1"))
    save(name, inputs, call(model))


features = {"x": random.standard_normal([4, 6]).astype("float32")}
train("dense", models.dense(), features, lambda m: {"output_0": m(features["x"], training=False)})
words = {
    "word": np.array([["a", "model", "?"], ["of", "of", "a"]]),
    "length": random.standard_normal([2, 3]).astype("float32"),
}
train("words", models.words(), words, lambda m: m({k: tf.constant(v) for k, v in words.items()}, training=False))

with tf.Graph().as_default(), v1.Session() as session:
    inputs, outputs = models.graph()
    session.run(v1.global_variables_initializer())
    value = {"features": features["x"]}
    save("graph", value, session.run(outputs, {inputs["features"]: value["features"]}))
    os.makedirs(folder / "graph")
    v1.train.Saver(write_version=v1.train.SaverDef.V1).save(session, str(folder / "graph" / "model.ckpt-1"))
