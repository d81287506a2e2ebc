"""Builders whose arguments decide the shape: what a checkpoint tells of them, and what it does not."""

import tensorflow as tf

from tb_ckptmeta import builder

layers = tf.keras.layers
v1 = tf.compat.v1


@builder("mlp")
def mlp(units: int = 64, depth: int = 2, rate: float = 0.1):
    hidden = [layers.Dense(units, name=f"hidden_{i}") for i in range(depth)]
    return tf.keras.Sequential(
        [tf.keras.Input((20,)), *hidden, layers.Dropout(rate), layers.Dense(10, name="out")], name="net"
    )


@builder("words")
def words(vocabulary, width: int = 24, seed: int = 7):
    return tf.keras.Sequential(
        [
            tf.keras.Input((7,), dtype="int32"),
            layers.Embedding(vocabulary + 2, width, name="words"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, kernel_initializer=tf.keras.initializers.GlorotUniform(seed), name="out"),
        ],
        name="net",
    )


@builder("attention")
def attention(units: int = 32, heads: int = 4):
    if units % heads:
        raise ValueError(f"{units} units cannot be divided among {heads} heads")
    x = tf.keras.Input((5, 9))
    y = layers.Dense(units)(x)
    return tf.keras.Model(x, layers.MultiHeadAttention(heads, units // heads)(y, y))


@builder("fused")
def fused(units: int = 32, heads: int = 4):
    """Attention as one projection: no variable tells how many heads share it."""
    if units % heads:
        raise ValueError(f"{units} units cannot be divided among {heads} heads")
    x = tf.keras.Input((5, 9))
    y = layers.Reshape((5, heads, units // heads))(layers.Dense(units)(x))
    return tf.keras.Model(x, layers.Dense(units)(layers.Reshape((5, units))(y)))


@builder("square")
def square(side: int = 8):
    return tf.keras.Sequential([tf.keras.Input((20,)), layers.Dense(side**2), layers.Dense(3)])


@builder("half")
def half(units: int = 8):
    return tf.keras.Sequential([tf.keras.Input((20,)), layers.Dense(units // 2), layers.Dense(3)])


@builder("twins")
def twins(units: int = 32, other: int = 0):
    x = tf.keras.Input((20,))
    first, second = layers.Dense(units, name="first"), layers.Dense(other or units, name="second")
    return tf.keras.Model(x, [first(x), second(x)], name="net")


@builder("scoped", graph=True)
def scoped(units: int = 16, depth: int = 2):
    x = v1.placeholder(tf.float32, [None, 12], name="x")
    hidden = x
    for i in range(depth):
        with v1.variable_scope(f"layer{i}"):
            kernel, bias = v1.get_variable("kernel", [hidden.shape[1], units]), v1.get_variable("bias", [units])
            hidden = tf.nn.relu(hidden @ kernel + bias)
    with v1.variable_scope("head"):
        return x, hidden @ v1.get_variable("kernel", [hidden.shape[1], 3])


@builder("named")
def named(name: str, size: int = 3):
    return tf.keras.Sequential([tf.keras.Input((2,)), layers.Dense(size, name=name)])


@builder("fails")
def fails(units: int):
    raise ValueError(f"there is no recipe for {units}")
