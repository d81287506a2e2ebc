"""The models of save_every_kind.py, as builders: one a kind of model, whatever kind of checkpoint holds it."""

import tensorflow as tf

from tb_ckptmeta import builder

v1 = tf.compat.v1
INPUTS = tf.TensorSpec([None, 12], tf.float32, "x")


@builder("graph", checkpoints=["*/v1*/*", "*/v2*/*", "*/builder/**", "*/averages/*"])
def graph():
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    return x, {"y": _dense(x, None)}


@builder("partitioned", checkpoints=["*/partitioned*/*"])
def partitioned(parts: int = 3):
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    return x, {"y": _dense(x, v1.fixed_size_partitioner(parts) if parts else None)}


@builder("wider")
def wider():
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    return x, {"y": _dense(x, v1.fixed_size_partitioner(3), 6)}


@builder("scaled")
def scaled():
    """`partitioned` with a partitioned variable that no checkpoint holds."""
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    partitioner = v1.fixed_size_partitioner(3)
    y = _dense(x, partitioner)
    with v1.variable_scope("more", partitioner=partitioner):
        scale = v1.get_variable("scale", [4], initializer=v1.random_normal_initializer(5, 1))
    return x, {"y": y * tf.convert_to_tensor(scale)}


def _dense(x, partitioner, units=4):
    with v1.variable_scope("net", partitioner=partitioner):
        kernel = v1.get_variable("kernel", [12, units], initializer=v1.random_normal_initializer(0, 1))
        bias = v1.get_variable("bias", [units], initializer=v1.random_normal_initializer(0, 1))
    # A lookup in partitions, and in the whole where there are none: what parameter servers were for.
    rows = v1.nn.embedding_lookup(kernel, [[0, 5, 11]], partition_strategy="div")
    return tf.matmul(x, tf.convert_to_tensor(kernel)) + tf.convert_to_tensor(bias) + tf.reduce_sum(rows, [0, 1])


@builder("averaged", checkpoints="*/averaged-model/*")
def averaged():
    """`graph` as one evaluates it: with the moving averages instead of the variables."""
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    _dense(x, None)
    average = v1.train.ExponentialMovingAverage(0.5)
    average.apply(v1.trainable_variables())
    kernel, bias = (average.average(v) for v in v1.trainable_variables())
    return x, {"y": tf.matmul(x, kernel) + bias}


class TwoLayers(tf.keras.Model):
    def __init__(self):
        super().__init__(name="two_layers")
        self.hidden = tf.keras.layers.Dense(5, activation="tanh")
        self.norm = tf.keras.layers.BatchNormalization()
        self.scores = tf.keras.layers.Dense(4)

    def call(self, x, training=False):
        return self.scores(self.norm(self.hidden(x), training=training))


@builder("keras", checkpoints=["*/keras*/**"], inputs=INPUTS)
def keras_model():
    return TwoLayers()


class Plain(tf.Module):
    """With a variable that is read where each replica keeps its own: a running statistic."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.random.normal([12, 4]))
        self.seen = tf.Variable(
            tf.zeros([4]),
            trainable=False,
            synchronization=tf.VariableSynchronization.ON_READ,
            aggregation=tf.VariableAggregation.MEAN,
        )

    @tf.function(input_signature=[INPUTS])
    def __call__(self, x):
        return tf.matmul(x, self.kernel) + self.seen


@builder("plain", checkpoints=["*/plain*/**"], inputs=INPUTS)
def plain():
    return Plain()
