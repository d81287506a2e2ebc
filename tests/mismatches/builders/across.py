"""Models that were trained with Keras 2 (tf_keras), and are rebuilt by the same code with Keras 3."""

import functools

import tensorflow as tf

from tb_ckptmeta import builder

layers = tf.keras.layers
X = tf.TensorSpec([None, 6], tf.float32)
across = functools.partial(builder, keras="3")


@across("sequential")
def sequential():
    return tf.keras.Sequential(
        [
            tf.keras.Input((6,)),
            layers.Dropout(0.1),
            layers.Dense(8, activation="relu"),
            layers.BatchNormalization(),
            layers.Dense(3),
        ]
    )


@across("convolutions")
def convolutions():
    x = y = tf.keras.Input((12, 12, 3))
    y = layers.Conv2D(4, 3, padding="same")(y)
    y = layers.DepthwiseConv2D(3, depth_multiplier=2)(y)
    y = layers.SeparableConv2D(6, 3)(y)
    y = layers.Conv2DTranspose(4, 3)(y)
    y = layers.GlobalAveragePooling2D()(y)
    return tf.keras.Model(x, layers.Dense(3)(y))


@across("convolutions-1d")
def convolutions_1d():
    x = y = tf.keras.Input((16, 3))
    y = layers.Conv1D(4, 3)(y)
    y = layers.DepthwiseConv1D(3)(y)
    y = layers.SeparableConv1D(5, 3)(y)
    y = layers.Conv1DTranspose(4, 3)(y)
    return tf.keras.Model(x, layers.GlobalMaxPooling1D()(y))


@across("recurrent")
def recurrent():
    x = y = tf.keras.Input((5, 3))
    y = layers.LSTM(4, return_sequences=True)(y)
    y = layers.GRU(4, return_sequences=True)(y)
    y = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(y)
    y = layers.SimpleRNN(4, return_sequences=True)(y)
    y = layers.TimeDistributed(layers.Dense(2))(y)
    return tf.keras.Model(x, y)


@across("cells")
def cells():
    x = y = tf.keras.Input((5, 3))
    y = layers.RNN(layers.LSTMCell(4), return_sequences=True)(y)
    y = layers.RNN([layers.GRUCell(3), layers.LSTMCell(4)], return_sequences=True)(y)
    return tf.keras.Model(x, y)


@across("attention")
def attention():
    x = tf.keras.Input((5, 8))
    y = layers.MultiHeadAttention(2, 4)(x, x)
    y = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Attention(use_scale=True)([y, y])
    y = layers.AdditiveAttention()([y, y])
    return tf.keras.Model(x, y)


@across("keywords")
def keywords():
    x = tf.keras.Input((5, 8))
    value, key = layers.Dense(8)(x), layers.Dense(8)(x)
    return tf.keras.Model(x, layers.MultiHeadAttention(2, 4)(query=x, value=value, key=key))


@across("normalizations")
def normalizations():
    x = y = tf.keras.Input((5, 8))
    y = layers.GroupNormalization(2)(y)
    y = layers.PReLU()(y)
    y = layers.BatchNormalization()(y)
    y = layers.EinsumDense("abc,cd->abd", output_shape=(None, 4), bias_axes="d")(y)
    return tf.keras.Model(x, y)


@across("embedding")
def embedding():
    x = tf.keras.Input((5,), dtype="int32")
    y = layers.Embedding(4, 6, mask_zero=True)(x)
    return tf.keras.Model(x, layers.Dense(3)(layers.GRU(4)(y)))


@across("nested")
def nested():
    inner = tf.keras.Sequential([tf.keras.Input((8,)), layers.Dense(8), layers.Dense(8)])
    x = tf.keras.Input((6,))
    return tf.keras.Model(x, layers.Dense(3)(inner(layers.Dense(8)(x))))


class Residual(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(6)
        self.norm = layers.BatchNormalization()

    def call(self, x):
        return x + self.norm(self.dense(x))


class Net(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Residual(), Residual()]
        self.heads = {"cat": layers.Dense(2), "dog": layers.Dense(4)}
        self.stem = layers.Dense(6)

    def call(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return {name: head(x) for name, head in self.heads.items()}


@across("subclassed", inputs=X)
def subclassed():
    return Net()


class Renamed(tf.keras.Model):
    def __init__(self, encoder, head):
        super().__init__()
        self.names = encoder, head
        setattr(self, encoder, Residual())
        setattr(self, head, layers.Dense(3))

    def call(self, x):
        encoder, head = self.names
        return getattr(self, head)(getattr(self, encoder)(x))


@across("renamed", inputs=X)
def renamed(encoder: str = "encoder", head: str = "head"):
    return Renamed(encoder, head)
