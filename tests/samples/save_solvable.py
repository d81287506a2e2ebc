"""Save models of solvable.py, each with arguments of its own: python save_solvable.py RUNS."""

import sys

import tensorflow as tf
from solvable import attention, fused, half, mlp, scoped, square, twins, v1, words

MODELS = {
    "mlp": lambda: mlp(128, 5),
    "shallow": lambda: mlp(7, 1),
    "words": lambda: words(5000),
    "attention": lambda: attention(96, 8),
    "fused": lambda: fused(96, 8),
    "square": lambda: square(50),
    "half": lambda: half(256),
    "twins": lambda: twins(128, 96),
}

for name, make in MODELS.items():
    tf.keras.backend.clear_session()
    model = make()
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    tf.train.Checkpoint(model=model, optimizer=optimizer).write(f"{sys.argv[1]}/{name}/ckpt-1")
mlp(48, 3).save_weights(f"{sys.argv[1]}/mlp.weights.h5")
with tf.Graph().as_default(), v1.Session() as session:
    v1.train.AdamOptimizer().minimize(tf.reduce_sum(scoped(40, 6)[1]))
    session.run(v1.global_variables_initializer())
    tf.io.gfile.makedirs(f"{sys.argv[1]}/scoped")
    v1.train.Saver().save(session, f"{sys.argv[1]}/scoped/model.ckpt", write_meta_graph=False)
