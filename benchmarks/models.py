"""Builders of models of the sizes that people train: what a rebuild of each costs is measured."""

import tensorflow as tf

from tb_ckptmeta import builder

layers = tf.keras.layers


@builder("mlp")
def mlp():
    return tf.keras.Sequential(
        [tf.keras.Input((784,), name="x"), layers.Dense(128, activation="relu"), layers.Dense(10, activation="softmax")]
    )


@builder("resnet50")
def resnet50():
    return tf.keras.applications.ResNet50(weights=None)


@builder("efficientnet-b0")
def efficientnet_b0():
    return tf.keras.applications.EfficientNetB0(weights=None)


@builder("efficientnet-b7")
def efficientnet_b7():
    return tf.keras.applications.EfficientNetB7(weights=None)


@builder("transformer")
def transformer(depth: int = 12, width: int = 768, heads: int = 12, words: int = 30_522, length: int = 128):
    """An encoder as BERT has it: 12 x 768 are its base, 24 x 1024 its large model."""
    tokens = tf.keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(words, width, name="embedding")(tokens)
    for i in range(depth):
        attention = layers.MultiHeadAttention(heads, width // heads, name=f"attention_{i:02d}")
        x = layers.LayerNormalization(name=f"norm_a_{i:02d}")(x + attention(x, x))
        hidden = layers.Dense(4 * width, activation="gelu", name=f"wide_{i:02d}")(x)
        x = layers.LayerNormalization(name=f"norm_b_{i:02d}")(x + layers.Dense(width, name=f"narrow_{i:02d}")(hidden))
    return tf.keras.Model(tokens, layers.Dense(2, name="head")(x))
