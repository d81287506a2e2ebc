"""What a checkpoint does not hold, or does not hold alone: built as people do, who then wonder."""

import numpy as np
import tensorflow as tf

from tb_ckptmeta import Model, builder

keras = tf.keras
layers = tf.keras.layers


@builder("layers_in_a_list", checkpoints="*/layers_in_a_list/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def layers_in_a_list():
    class Stack(keras.Model):
        def __init__(self):
            super().__init__()
            self.blocks = [layers.Dense(6, "tanh") for _ in range(3)]
            self.head = layers.Dense(2)

        def call(self, x):
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Stack()


@builder("layers_in_a_dict", checkpoints="*/layers_in_a_dict/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def layers_in_a_dict():
    class Heads(keras.Model):
        def __init__(self):
            super().__init__()
            self.trunk = layers.Dense(4)
            self.heads = {"left": layers.Dense(2), "right": layers.Dense(3)}

        def call(self, x):
            return {name: head(self.trunk(x)) for name, head in self.heads.items()}

    return Heads()


@builder("cached_trace", checkpoints="*/cached_trace/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def cached_trace():
    class Cached(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(5, "relu")
            self.head = layers.Dense(2)

        @tf.function
        def call(self, x):
            return self.head(self.hidden(x))

    return Cached()


@builder("adapted", checkpoints="*/adapted/*")
def adapted(adapt: bool = True):
    """Normalization by what it has seen; who restores it has often not the data to adapt it again."""
    x = keras.Input((4,), name="x")
    normalization = layers.Normalization()
    if adapt:
        normalization.adapt(np.random.default_rng(3).normal(5.0, 3.0, (64, 4)).astype("float32"))
    return keras.Model(x, layers.Dense(2)(normalization(x)))


@builder("adapted_in_training", checkpoints="*/adapted_in_training/*")
def adapted_in_training(data: str = ""):
    """Adapted where the data is; `data` is what the training script alone says."""
    x = keras.Input((4,), name="x")
    normalization = layers.Normalization()
    if data or TRAINING:
        normalization.adapt(np.random.default_rng(3).normal(5.0, 3.0, (64, 4)).astype("float32"))
    return keras.Model(x, layers.Dense(2)(normalization(x)))


@builder("discretization_adapted", checkpoints="*/discretization_adapted/*")
def discretization_adapted():
    x = keras.Input((3,), name="x")
    bins = layers.Discretization(num_bins=4, output_mode="multi_hot")
    bins.adapt(np.random.default_rng(4).normal(size=(64, 1)).astype("float32"))
    return keras.Model(x, layers.Dense(2)(bins(x)))


@builder("vocabulary_in_training", checkpoints="*/vocabulary_in_training/*")
def vocabulary_in_training():
    """The vocabulary is adapted where the data is; the checkpoint of Keras 3 does not hold it."""
    word = keras.Input((3,), dtype="string", name="word")
    lookup = layers.StringLookup()
    if TRAINING:
        lookup.adapt(tf.constant([["the"], ["quick"], ["fox"]]))
    return keras.Model(word, layers.Embedding(4, 2)(lookup(word)))


@builder("vocabulary_adapted", checkpoints="*/vocabulary_adapted/*")
def vocabulary_adapted():
    """Adapted by the builder, to the same words as in training."""
    word = keras.Input((3,), dtype="string", name="word")
    lookup = layers.StringLookup()
    lookup.adapt(tf.constant([["the"], ["quick"], ["fox"]]))
    return keras.Model(word, layers.Embedding(4, 2)(lookup(word)))


# True in the training script alone, which says so: a builder of another process sees False.
TRAINING = "tb_ckptmeta.worker.load" not in __import__("sys").modules


@builder("optimizer_first", checkpoints="*/optimizer_first/*")
def optimizer_first():
    """With an optimizer beside it the shortest path to a weight leads through the optimizer."""
    return keras.Sequential([keras.Input((6,)), layers.Dense(4, name="a"), layers.Dense(4, name="b"), layers.Dense(4)])


@builder("averaged_optimizer", checkpoints="*/averaged_optimizer/*")
def averaged_optimizer():
    x = keras.Input((6,), name="x")
    return keras.Model(x, layers.Dense(3)(layers.Dense(5)(x)))


@builder("quantized", checkpoints="*/quantized/*")
def quantized():
    x = keras.Input((8,), name="x")
    model = keras.Model(x, layers.Dense(3)(layers.Dense(6, "relu")(x)))
    model.quantize("int8")
    return model


@builder("lora", checkpoints="*/lora/*")
def lora():
    x = words = keras.Input((3,), dtype="int32", name="words")
    embedding, dense = layers.Embedding(4, 8), layers.Dense(8)
    x = dense(embedding(x))
    model = keras.Model(words, layers.Dense(2)(x))
    embedding.enable_lora(2)
    dense.enable_lora(2)
    return model


@builder("spectral_normalization", checkpoints="*/spectral_normalization/*")
def spectral_normalization():
    x = keras.Input((8,), name="x")
    return keras.Model(x, layers.SpectralNormalization(layers.Dense(4))(x))


@builder("weight_read_while_building", checkpoints="*/weight_read_while_building/*")
def weight_read_while_building():
    """Starts a layer from another's weights, as transfer learning does."""
    first, second = layers.Dense(4), layers.Dense(4)
    first.build((None, 4))
    second.build((None, 4))
    second.kernel.assign(first.kernel * 0.5)
    x = keras.Input((4,), name="x")
    return keras.Model(x, second(first(x)))


@builder("ragged_keras_input", checkpoints="*/ragged_keras_input/*", keras="legacy")
def ragged_keras_input():
    ids = keras.Input((None,), dtype="int32", ragged=True, name="ids")
    x = layers.Embedding(4, 3)(ids)
    return keras.Model(ids, layers.Dense(2)(layers.Lambda(lambda t: tf.reduce_mean(t, axis=1))(x)))


@builder("sparse_keras_input", checkpoints="*/sparse_keras_input/*")
def sparse_keras_input():
    features = keras.Input((6,), sparse=True, name="features")
    return keras.Model(features, layers.Dense(2)(features))


@builder("auxiliary_head", checkpoints="*/auxiliary_head/*")
def auxiliary_head():
    """Trained with a second output that nobody serves."""

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.trunk, self.head, self.auxiliary = layers.Dense(4), layers.Dense(2), layers.Dense(3)

        def call(self, x, training=False):
            y = self.trunk(x)
            return (self.head(y), self.auxiliary(y)) if training else self.head(y)

    net = Net()
    net(tf.zeros([1, 6]), training=True)
    return Model(net, inputs=tf.TensorSpec([None, 6], tf.float32, "x"))


@builder("dropout_left_on", checkpoints="*/dropout_left_on/*")
def dropout_left_on():
    """Monte-Carlo dropout: random whenever it is called."""
    x = keras.Input((8,), name="x")
    hidden = layers.Dense(16)(x)
    return keras.Model(x, {"certain": layers.Dense(2)(hidden), "sampled": layers.Dropout(0.5)(hidden, training=True)})
