"""Builders for every format: a Keras model with a table, one with dense layers alone, and a TF1 graph."""

import tensorflow as tf

from tb_ckptmeta import builder

v1 = tf.compat.v1


@builder("words", checkpoints="words/*")
def words():
    import keras

    word = keras.Input([3], dtype="string", name="word")
    length = keras.Input([3], name="length")
    found = keras.layers.StringLookup(vocabulary=["a", "model", "of"], output_mode="int", name="lookup")(word)
    embedded = keras.layers.Embedding(4, 5, name="embedding")(found)
    merged = keras.layers.Concatenate()([keras.layers.Flatten()(embedded), length])
    score = keras.layers.Dense(2, name="score")(merged)
    return keras.Model({"word": word, "length": length}, {"score": score, "id": found}, name="words")


@builder("wider")
def wider():
    """Has a layer more than any checkpoint of `dense`."""
    import keras

    layers = [keras.Input([6], name="x"), *dense().layers, keras.layers.Dense(2, name="more")]
    return keras.Sequential(layers, name="dense")


@builder("large")
def large():
    """Has weights of 305 MiB more than any checkpoint of `dense`."""
    import keras

    layers = [keras.Input([6], name="x"), *dense().layers, keras.layers.Dense(20_000_000, name="more")]
    return keras.Sequential(layers, name="dense")


@builder("dense", checkpoints="dense/*")
def dense():
    import keras

    layers = [keras.Input([6], name="x"), keras.layers.Dense(4, "relu", name="one"), keras.layers.Dense(3, name="two")]
    return keras.Sequential(layers, name="dense")


@builder("graph", checkpoints="graph/*")
def graph():
    x = v1.placeholder(tf.float32, [None, 6], name="features")
    with v1.variable_scope("tower"):
        kernel = v1.get_variable("kernel", [6, 3], initializer=v1.random_normal_initializer())
        bias = v1.get_variable("bias", [3], initializer=v1.random_normal_initializer())
    return {"features": x}, {"logits": tf.nn.bias_add(x @ kernel, bias, name="logits")}
