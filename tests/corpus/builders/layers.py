"""The layers of Keras in small models, written as both Keras take them: which one it is shows in the checkpoint."""

import numpy as np
import tensorflow as tf

from tb_ckptmeta import builder

keras = tf.keras
layers = tf.keras.layers


@builder("sequential", checkpoints="*/sequential/*")
def sequential():
    return keras.Sequential([keras.Input((16,)), layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(3)])


@builder("convolutions", checkpoints="*/convolutions/*")
def convolutions():
    x = image = keras.Input((24, 24, 3), name="image")
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(max_value=6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.SeparableConv2D(12, 3, dilation_rate=2, padding="same")(x)
    x = layers.GroupNormalization(4)(x)
    x = layers.LayerNormalization()(x)
    x = layers.UnitNormalization()(x)
    x = layers.PReLU(shared_axes=[1, 2])(x)
    x = layers.SpatialDropout2D(0.3)(x)
    x = layers.Conv2DTranspose(6, 3, strides=2)(x)
    x = layers.ZeroPadding2D(1)(x)
    x = layers.Cropping2D(1)(x)
    x = layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = layers.MaxPooling2D(2)(x)
    x = layers.AveragePooling2D(2)(x)
    return keras.Model(image, [layers.GlobalAveragePooling2D()(x), layers.GlobalMaxPooling2D()(x)])


@builder("one_and_three_dimensions", checkpoints="*/one_and_three_dimensions/*")
def one_and_three_dimensions():
    wave = keras.Input((32, 4), name="wave")
    x = layers.Conv1D(8, 5, padding="causal", activation="gelu")(wave)
    x = layers.SeparableConv1D(6, 3)(x)
    x = layers.Conv1DTranspose(4, 3)(x)
    x = layers.MaxPooling1D(2)(x)
    volume = keras.Input((8, 8, 8, 1), name="volume")
    y = layers.Conv3D(4, 3)(volume)
    y = layers.AveragePooling3D(2)(y)
    y = layers.Conv3DTranspose(2, 2)(y)
    return keras.Model(
        {"wave": wave, "volume": volume},
        {"wave": layers.GlobalMaxPooling1D()(x), "volume": layers.GlobalAveragePooling3D()(y)},
    )


@builder("recurrent", checkpoints="*/recurrent/*")
def recurrent():
    x = sequence = keras.Input((7, 5), name="sequence")
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.GRU(5, return_sequences=True, go_backwards=True)(x)
    x = layers.SimpleRNN(4, return_sequences=True, activation="tanh")(x)
    x, hidden, cell = layers.LSTM(3, return_state=True)(x)
    return keras.Model(sequence, [x, hidden, cell])


@builder("bidirectional_masking", checkpoints="*/bidirectional_masking/*")
def bidirectional_masking():
    x = words = keras.Input((None,), dtype="int32", name="words")
    x = layers.Embedding(4, 6, mask_zero=True)(x)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    x = layers.Bidirectional(layers.GRU(4), merge_mode="sum")(x)
    return keras.Model(words, layers.Dense(2, "softmax")(x))


@builder("unrolled_and_cells", checkpoints="*/unrolled_and_cells/*")
def unrolled_and_cells():
    x = sequence = keras.Input((4, 5), name="sequence")
    x = layers.Masking(0.0)(x)
    x = layers.LSTM(6, unroll=True, return_sequences=True)(x)
    x = layers.RNN([layers.GRUCell(4), layers.LSTMCell(3)], return_sequences=True)(x)
    x = layers.TimeDistributed(layers.Dense(2))(x)
    return keras.Model(sequence, x)


@builder("conv_lstm", checkpoints="*/conv_lstm/*")
def conv_lstm():
    frames = keras.Input((3, 8, 8, 2), name="frames")
    return keras.Model(frames, layers.ConvLSTM2D(4, 3, padding="same")(frames))


@builder("stateful", checkpoints="*/stateful/*")
def stateful():
    x = sequence = keras.Input(batch_shape=(2, 4, 3), name="sequence")
    return keras.Model(sequence, layers.LSTM(5, stateful=True)(x))


@builder("attention", checkpoints="*/attention/*")
def attention():
    words = keras.Input((6,), dtype="int32", name="words")
    x = layers.Embedding(4, 8, mask_zero=True)(words)
    x = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
    y = layers.Attention(use_scale=True)([x, x])
    z = layers.AdditiveAttention()([x, y])
    return keras.Model(words, layers.Concatenate()([x, y, z]))


@builder("attention_mask", checkpoints="*/attention_mask/*")
def attention_mask():
    x = keras.Input((5, 8), name="x")
    mask = keras.Input((5, 5), dtype="bool", name="mask")
    return keras.Model([x, mask], layers.MultiHeadAttention(2, 4, value_dim=3)(x, x, attention_mask=mask))


@builder("several_inputs", checkpoints="*/several_inputs/*")
def several_inputs():
    left, right = keras.Input((6,), name="left"), keras.Input((6,), name="right")
    shared = keras.Sequential([layers.Dense(5, "relu"), layers.Dense(4)], name="shared")
    a, b = shared(left), shared(right)
    outputs = {
        "zebra": layers.Dot(1)([a, b]),
        "apple": layers.Dense(2)(layers.Add()([a, b])),
        "nested": [layers.Maximum()([a, b]), layers.Subtract()([a, b])],
    }
    return keras.Model([left, right], outputs)


@builder("nested", checkpoints="*/nested/*")
def nested():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu"), layers.BatchNormalization()], name="inner")
    middle_input = keras.Input((6,))
    middle = keras.Model(middle_input, inner(middle_input), name="middle")
    x = keras.Input((6,), name="x")
    return keras.Model(x, layers.Dense(2)(middle(x)))


@builder("tied", checkpoints="*/tied/*")
def tied():
    class Tied(keras.Model):
        def __init__(self):
            super().__init__()
            self.embedding = layers.Embedding(4, 6)
            self.hidden = layers.Dense(6, "tanh")

        def call(self, words):
            hidden = self.hidden(self.embedding(words))
            return tf.matmul(hidden, tf.convert_to_tensor(self.embedding.embeddings), transpose_b=True)

    return tb_model(Tied(), tf.TensorSpec([None, 5], tf.int32, "words"))


def tb_model(model, inputs):
    import tb_ckptmeta

    return tb_ckptmeta.Model(model, inputs=inputs)


@builder("lambda", checkpoints="*/lambda/*")
def lambda_layer():
    x = keras.Input((6,), name="x")
    y = layers.Lambda(lambda t: tf.math.l2_normalize(t, axis=-1) * 3.0)(layers.Dense(4)(x))
    return keras.Model(x, y)


class Residual(keras.layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(self.units,), initializer="ones")
        self.dense = layers.Dense(self.units)
        self.dense.build(shape)
        self.count = self.add_weight(name="seen", shape=(), dtype="int32", initializer="zeros", trainable=False)
        super().build(shape)

    def call(self, x, training=None):
        if training:
            self.count.assign_add(1)
        return x + self.scale * self.dense(x)


@builder("custom_layers", checkpoints="*/custom_layers/*")
def custom_layers():
    x = keras.Input((6,), name="x")
    return keras.Model(x, Residual(6)(Residual(6, name="first")(x)))


@builder("subclassed", checkpoints="*/subclassed/*", inputs=tf.TensorSpec([None, 12], tf.float32))
def subclassed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense1 = layers.Dense(8, activation="relu")
            self.norm = layers.BatchNormalization()
            self.head = keras.Sequential([layers.Dense(4), layers.Dense(2)])

        def call(self, pixels, training=False):
            return self.head(self.norm(self.dense1(pixels), training=training))

    return Net()


@builder(
    "dict_inputs",
    checkpoints="*/dict_inputs/*",
    inputs={"user": tf.TensorSpec([None], tf.int64), "item": tf.TensorSpec([None, 3], tf.float32)},
)
def dict_inputs():
    class Recommender(keras.Model):
        def __init__(self):
            super().__init__()
            self.user = layers.Embedding(4, 5)
            self.item = layers.Dense(5)

        def call(self, features):
            user, item = self.user(features["user"]), self.item(features["item"])
            return {"score": tf.reduce_sum(user * item, -1), "item": item}

    return Recommender()


@builder("control_flow", checkpoints="*/control_flow/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def control_flow():
    class Adaptive(keras.Model):
        def __init__(self):
            super().__init__()
            self.step = layers.Dense(6, "tanh")
            self.gate = layers.Dense(1)

        def build(self, shape):
            self.step.build(shape)
            self.gate.build(shape)

        def call(self, x):
            count = tf.constant(0)
            while tf.logical_and(count < 3, tf.reduce_mean(self.gate(x)) < 10.0):
                x = self.step(x)
                count += 1
            if tf.reduce_sum(x) > 0:
                x = self.step(x) * 2.0
            return x

    return Adaptive()


@builder("mixed_precision", checkpoints="*/mixed_precision/*")
def mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        x = keras.Input((16,), name="x")
        y = layers.BatchNormalization()(layers.Dense(8, "relu")(x))
        return keras.Model(x, layers.Dense(3, dtype="float32")(y))
    finally:
        keras.mixed_precision.set_global_policy("float32")


@builder("preprocess_images", checkpoints="*/preprocess_images/*")
def preprocess_images():
    image = keras.Input((20, 20, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    x = layers.Resizing(16, 16)(x)
    x = layers.CenterCrop(12, 12)(x)
    x = layers.RandomFlip()(x)
    x = layers.RandomRotation(0.1)(x)
    x = layers.RandomZoom(0.1)(x)
    x = layers.RandomContrast(0.2)(x)
    return keras.Model(image, layers.Conv2D(4, 3)(x))


@builder("resizing_bytes", checkpoints="*/resizing_bytes/*")
def resizing_bytes():
    """Keras 3 rounds what Resizing makes of bytes when it runs eagerly, and does not inside a tf.function."""
    image = keras.Input((20, 20, 3), dtype="uint8", name="image")
    return keras.Model(image, layers.Conv2D(4, 3)(layers.Rescaling(1 / 255.0)(layers.Resizing(16, 16)(image))))


@builder("categories", checkpoints="*/categories/*")
def categories():
    kind = keras.Input((3,), dtype="int64", name="kind")
    age = keras.Input((1,), name="age")
    x = layers.CategoryEncoding(4, output_mode="multi_hot")(kind)
    y = layers.Discretization(bin_boundaries=[-0.5, 0.0, 0.5], output_mode="one_hot")(age)
    z = layers.HashedCrossing(8, output_mode="one_hot")((age_as_key(age), first(kind)))
    h = layers.Hashing(5)(kind)
    e = layers.Flatten()(layers.Embedding(5, 2)(h))
    return keras.Model([kind, age], layers.Dense(3)(layers.Concatenate()([x, y, z, e])))


def age_as_key(age):
    return layers.Lambda(lambda t: tf.cast(tf.round(t * 4), tf.int64))(age)


def first(kind):
    return layers.Lambda(lambda t: t[:, :1])(kind)


@builder("string_lookup", checkpoints="*/string_lookup/*")
def string_lookup():
    word = keras.Input((None,), dtype="string", name="word")
    x = layers.StringLookup(vocabulary=["the", "quick", "brown", "fox"])(word)
    y = layers.Embedding(5, 4)(x)
    return keras.Model(word, layers.GlobalAveragePooling1D()(y))


@builder("integer_lookup", checkpoints="*/integer_lookup/*")
def integer_lookup():
    code = keras.Input((2,), dtype="int64", name="code")
    x = layers.IntegerLookup(vocabulary=[1, 3], output_mode="multi_hot")(code)
    return keras.Model(code, layers.Dense(3)(x))


@builder("text_vectorization", checkpoints="*/text_vectorization/*")
def text_vectorization():
    text = keras.Input((1,), dtype="string", name="text")
    vectorize = layers.TextVectorization(output_sequence_length=6, vocabulary=["the", "quick", "fox"], ngrams=2)
    y = layers.Embedding(5, 4, mask_zero=True)(vectorize(text))
    return keras.Model(text, layers.GRU(3)(y))


@builder("vae", checkpoints="*/vae/*")
def vae():
    class Sampling(layers.Layer):
        def call(self, inputs):
            mean, log_variance = inputs
            return mean + tf.exp(0.5 * log_variance) * tf.random.normal(tf.shape(mean))

    x = keras.Input((12,), name="x")
    hidden = layers.Dense(8, "relu")(x)
    mean, log_variance = layers.Dense(2)(hidden), layers.Dense(2)(hidden)
    decoded = layers.Dense(12, "sigmoid")(Sampling()([mean, log_variance]))
    return keras.Model(x, {"decoded": decoded, "mean": mean})


@builder("constant_of_the_code", checkpoints="*/constant_of_the_code/*")
def constant_of_the_code():
    """Positional encodings: constants that the code makes alike each time."""

    class Positions(layers.Layer):
        def __init__(self):
            super().__init__()
            angles = np.arange(5)[:, None] / 10000 ** (np.arange(8)[None] / 8)
            self.encoding = tf.constant(np.sin(angles), tf.float32)

        def call(self, x):
            return x + self.encoding

    x = keras.Input((5, 8), name="x")
    return keras.Model(x, layers.Dense(2)(Positions()(x)))
