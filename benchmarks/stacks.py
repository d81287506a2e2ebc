"""Builders of a stack of dense layers, as many and as wide as asked for: the same variables at any size."""

import tensorflow as tf

from tb_ckptmeta import builder

v1 = tf.compat.v1


@builder("keras-stack")
def keras_stack(layers: int, width: int):
    dense = [tf.keras.layers.Dense(width, name=f"layer_{i:02d}") for i in range(layers)]
    return tf.keras.Sequential([tf.keras.Input((width,), name="x"), *dense])


@builder("scoped-stack", keras="3")
def scoped_stack(layers: int, width: int):
    """As TensorFlow 1 has it: built inside a tf.Graph, restored by name."""
    x = y = v1.placeholder(tf.float32, [None, width], name="x")
    for i in range(layers):
        with v1.variable_scope(f"layer_{i:02d}"):
            kernel, bias = v1.get_variable("kernel", [width, width]), v1.get_variable("bias", [width])
            y = tf.matmul(y, kernel) + bias
    return x, y
