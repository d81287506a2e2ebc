"""Train the models of three_ways.py under one Keras for a moment; write their checkpoints and their outputs.

Usage: python train.py RUNS 3|legacy. RUNS/FLAVOUR/KIND/… are the checkpoints, RUNS/../expected/FLAVOUR-KIND.npz what
each model gave for RUNS/../inputs.npy before this process ended.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf
import three_ways

import tb_ckptmeta

runs, flavour = pathlib.Path(sys.argv[1]), sys.argv[2]
image = np.random.default_rng(7).normal(size=(5, 784)).astype("float32")
label = np.arange(5) % 10
expected = runs.parent / "expected"
expected.mkdir(exist_ok=True)
np.save(runs.parent / "inputs.npy", image)


def folder(kind):
    (runs / flavour / kind).mkdir(parents=True)
    return runs / flavour / kind


def keep(kind, outputs):
    np.savez(expected / f"{flavour}-{kind}.npz", **outputs)


def train_keras(kind, model):
    optimizer = tf.keras.optimizers.Adam(0.01)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for _ in range(3):
        with tf.GradientTape() as tape:
            value = loss(label, model(image, training=True))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    tf.train.CheckpointManager(checkpoint, str(folder(kind)), max_to_keep=1).save()
    keep(kind, {"output_0": model(image, training=False).numpy()})
    return model


def train_graph(kind, build):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        pixels, outputs = build()
        classes = v1.placeholder(tf.int64, [None])
        loss = v1.losses.sparse_softmax_cross_entropy(classes, outputs["logits"])
        step = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
        session.run(v1.global_variables_initializer())
        for _ in range(3):
            session.run(train, {pixels: image, classes: label})
        v1.train.Saver().save(session, str(folder(kind) / "model.ckpt"), global_step=3)
        keep(kind, session.run(outputs, {pixels: image}))


tf.keras.utils.set_random_seed(3)
train_keras("sequential", three_ways.sequential())
subclassed = train_keras("subclassed", three_ways.subclassed())
if flavour == "3":
    train_graph("variables", three_ways.variables)
    train_keras("small", three_ways.sequential(units=32))
    tb_ckptmeta.record(runs / flavour / "small", "sequential", arguments={"units": 32})
else:
    subclassed.save_weights(str(folder("weights") / "epoch-3"))
    keep("weights", {"output_0": subclassed(image, training=False).numpy()})
    train_graph("layers", three_ways.layers)  # the last: tf_keras then forgets what was built eagerly
