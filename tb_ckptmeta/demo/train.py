"""Train the demo's models for a moment and write their checkpoints.

Usage: python train.py RUNS 3|legacy. The models come from my_builders.py: a builder and the training share it.
"""

import sys

import numpy as np
import tensorflow as tf
from my_builders import custom_model, mnist_mlp, scoped_graph

STEPS = 30
SAVE_EVERY = 10


def make_batch(generator):
    """Return 64 images of 784 values, each a noisy copy of one of ten patterns, and their classes."""
    patterns = np.random.default_rng(0).normal(size=(10, 784))
    classes = generator.integers(0, 10, 64)
    return (patterns[classes] + generator.normal(size=(64, 784))).astype("float32"), classes


def train_keras(runs, name, model, loss):
    optimizer = tf.keras.optimizers.Adam(1e-3)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=tf.Variable(0, dtype=tf.int64))
    manager = tf.train.CheckpointManager(checkpoint, f"{runs}/{name}", max_to_keep=None)
    writer = tf.summary.create_file_writer(f"{runs}/{name}")
    generator = np.random.default_rng(1)
    for step in range(1, STEPS + 1):
        images, classes = make_batch(generator)
        with tf.GradientTape() as tape:
            value = loss(classes, model(images, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        with writer.as_default():
            tf.summary.scalar("loss", value, step)
        if step % SAVE_EVERY == 0:
            checkpoint.step.assign(step)
            manager.save(checkpoint_number=step)
    writer.close()


def train_graph(runs, name):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        image, outputs = scoped_graph()
        label = v1.placeholder(tf.int64, [None], name="label")
        loss = v1.losses.sparse_softmax_cross_entropy(label, outputs["logits"])
        step = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(1e-3).minimize(loss, global_step=step)
        # A .meta is what this demo makes without the training's help.
        saver = v1.train.Saver(max_to_keep=None)
        session.run(v1.global_variables_initializer())
        generator = np.random.default_rng(1)
        for number in range(1, STEPS + 1):
            images, classes = make_batch(generator)
            session.run(train, {image: images, label: classes})
            if number % SAVE_EVERY == 0:
                saver.save(session, f"{runs}/{name}/model.ckpt", global_step=number, write_meta_graph=False)


def main():
    runs, keras = sys.argv[1:]
    tf.random.set_seed(0)
    if keras == "legacy":
        tf.io.gfile.makedirs(f"{runs}/scoped")
        train_graph(runs, "scoped")
    else:
        train_keras(runs, "mlp", mnist_mlp(), tf.keras.losses.SparseCategoricalCrossentropy())
        train_keras(runs, "custom", custom_model(), tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True))


if __name__ == "__main__":
    main()
