"""Graphs of TensorFlow 1: (inputs, outputs) of a tf.Graph, whose Saver wrote name-based checkpoints."""

import os

import tensorflow as tf

from tb_ckptmeta import builder

v1 = tf.compat.v1
HERE = os.path.dirname(os.path.abspath(__file__))


def placeholder(size=6, name="x"):
    return v1.placeholder(tf.float32, [None, size], name=name)


def dense(x, units, name, activation=tf.identity, **options):
    with v1.variable_scope(name, **options):
        kernel = v1.get_variable("kernel", [x.shape[-1], units], initializer=v1.glorot_uniform_initializer())
        bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
        return activation(tf.matmul(x, kernel) + bias)


@builder("get_variable", checkpoints="*/get_variable/*")
def get_variable():
    x = placeholder()
    return x, tf.nn.softmax(dense(dense(x, 8, "hidden", tf.nn.relu), 3, "logits"))


@builder("ref_variables", checkpoints="*/ref_variables/*")
def ref_variables():
    x = placeholder()
    with v1.variable_scope("net", use_resource=False):
        kernel = v1.get_variable("kernel", [6, 3], use_resource=False)
        bias = v1.Variable(tf.zeros([3]), name="bias", use_resource=False)
    return x, {"logits": tf.matmul(x, kernel) + bias}


@builder("resource_variables", checkpoints="*/resource_variables/*")
def resource_variables():
    x = placeholder()
    return {"features": x}, {"logits": dense(x, 3, "net", use_resource=True)}


@builder("partitioned", checkpoints="*/partitioned/*")
def partitioned():
    ids = v1.placeholder(tf.int64, [None], name="ids")
    table = v1.get_variable("table", [10, 4], partitioner=v1.fixed_size_partitioner(3))
    embedded = v1.nn.embedding_lookup(table, ids, partition_strategy="div")
    return ids, dense(embedded, 2, "head")


@builder("while_and_cond", checkpoints="*/while_and_cond/*")
def while_and_cond():
    x = placeholder(4)
    with v1.variable_scope("cell"):
        kernel = v1.get_variable("kernel", [4, 4])
    _, y = v1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(tf.matmul(y, kernel))), [tf.constant(0), x])
    z = v1.cond(tf.reduce_sum(y) > 0, lambda: y * 2.0, lambda: y - kernel[0])
    return x, {"y": y, "z": z}


@builder("moving_averages", checkpoints="*/moving_averages/*")
def moving_averages():
    """Served by the averages of its weights, as an Inception of 2016 is."""
    x = placeholder()
    kernel = v1.get_variable("kernel", [6, 3])
    average = tf.train.ExponentialMovingAverage(0.99)
    average.apply([kernel])
    return x, tf.matmul(x, average.average(kernel))


@builder("batch_norm", checkpoints="*/batch_norm/*")
def batch_norm():
    image = v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
    training = v1.placeholder_with_default(False, [], name="training")
    with v1.variable_scope("bn"):
        gamma = v1.get_variable("gamma", [3], initializer=v1.ones_initializer())
        beta = v1.get_variable("beta", [3], initializer=v1.zeros_initializer())
        mean = v1.get_variable("moving_mean", [3], trainable=False, initializer=v1.zeros_initializer())
        variance = v1.get_variable("moving_variance", [3], trainable=False, initializer=v1.ones_initializer())

    def normalize(mean, variance):
        return tf.nn.batch_normalization(image, mean, variance, beta, gamma, 1e-3)

    y = v1.cond(training, lambda: normalize(*tf.nn.moments(image, [0, 1, 2])), lambda: normalize(mean, variance))
    kernel = v1.get_variable("conv/kernel", [3, 3, 3, 4])
    return image, tf.reduce_mean(tf.nn.conv2d(y, kernel, 1, "SAME"), [1, 2])


@builder("queue", checkpoints="*/queue/*")
def queue():
    """The input pipeline of then: the outputs hang on a queue, and are fed in its place."""
    examples = tf.random.normal([20, 6])
    filled = v1.train.input_producer(examples, shuffle=False)
    x = tf.identity(filled.dequeue_many(4), name="x")
    x.set_shape([4, 6])
    return x, dense(x, 3, "net")


@builder("table", checkpoints="*/table/*")
def table():
    words = v1.placeholder(tf.string, [None], name="words")
    index = (
        v1.lookup.index_table_from_tensor(["the", "quick", "fox"], num_oov_buckets=2)
        if hasattr(v1.lookup, "index_table_from_tensor")
        else tf.lookup.StaticVocabularyTable(
            tf.lookup.KeyValueTensorInitializer(["the", "quick", "fox"], tf.range(3, dtype=tf.int64)), 2
        )
    )
    embedding = v1.get_variable("embedding", [5, 3])
    return words, tf.nn.embedding_lookup(embedding, index.lookup(words))


@builder("table_file", checkpoints="*/table_file/*")
def table_file():
    words = v1.placeholder(tf.string, [None], name="words")
    initializer = tf.lookup.TextFileInitializer(os.path.join(HERE, "words.txt"), tf.string, -2, tf.int64, -1)
    index = tf.lookup.StaticHashTable(initializer, 0)
    embedding = v1.get_variable("embedding", [5, 3])
    return words, tf.nn.embedding_lookup(embedding, index.lookup(words))


@builder("reuse_and_dropout", checkpoints="*/reuse_and_dropout/*")
def reuse_and_dropout():
    left, right = placeholder(name="left"), placeholder(name="right")
    keep = v1.placeholder_with_default(1.0, [], name="keep")
    with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
        a, b = dense(left, 4, "shared", tf.nn.relu), dense(right, 4, "shared", tf.nn.relu)
    return [left, right], {"similarity": tf.reduce_sum(a * v1.nn.dropout(b, keep_prob=keep), 1)}


@builder("sparse_placeholder", checkpoints="*/sparse_placeholder/*")
def sparse_placeholder():
    features = v1.sparse_placeholder(tf.float32, [None, 6], name="features")
    kernel = v1.get_variable("kernel", [6, 3])
    return features, tf.sparse.sparse_dense_matmul(features, kernel)


@builder("legacy_layers", checkpoints="*/legacy_layers/*")
def legacy_layers():
    x = v1.placeholder(tf.float32, [None, 8, 8, 3], name="image")
    y = v1.layers.conv2d(x, 4, 3, activation=tf.nn.relu, name="conv")
    y = v1.layers.batch_normalization(y, name="norm")
    y = v1.layers.flatten(v1.layers.max_pooling2d(y, 2, 2))
    return x, v1.layers.dense(y, 3, name="dense")


@builder("rnn_cells", checkpoints="*/rnn_cells/*")
def rnn_cells():
    x = v1.placeholder(tf.float32, [None, 5, 4], name="sequence")
    length = v1.placeholder(tf.int32, [None], name="length")
    cell = v1.nn.rnn_cell.MultiRNNCell([v1.nn.rnn_cell.LSTMCell(6), v1.nn.rnn_cell.GRUCell(3)])
    outputs, _ = v1.nn.dynamic_rnn(cell, x, length, dtype=tf.float32)
    return {"sequence": x, "length": length}, outputs
