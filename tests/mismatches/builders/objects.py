"""Models of objects, whose attributes are called as the arguments say: before a change of the code, and after."""

import tensorflow as tf

import tb_ckptmeta
from tb_ckptmeta import builder

X = tf.TensorSpec([None, 6], tf.float32)
layers = tf.keras.layers


class Scale(layers.Layer):
    def __init__(self, attribute):
        super().__init__()
        self.attribute = attribute

    def build(self, shape):
        setattr(self, self.attribute, self.add_weight(shape=(shape[-1],), initializer="ones", name="w"))

    def call(self, x):
        return x * getattr(self, self.attribute)


class Block(layers.Layer):
    def __init__(self, inner, norm):
        super().__init__()
        self.names = inner, norm
        setattr(self, inner, layers.Dense(8))
        setattr(self, norm, layers.BatchNormalization())

    def call(self, x):
        inner, norm = self.names
        return getattr(self, norm)(getattr(self, inner)(x))


class Net(tf.keras.Model):
    def __init__(self, encoder, inner, norm, head, scale, units):
        super().__init__()
        self.attributes = encoder, head, scale
        setattr(self, encoder, Block(inner, norm))
        setattr(self, scale, Scale(f"{scale}_weight"))
        setattr(self, head, layers.Dense(units))

    def call(self, x):
        encoder, head, scale = self.attributes
        return getattr(self, head)(getattr(self, scale)(tf.nn.relu(getattr(self, encoder)(x))))


@builder("net", inputs=X)
def net(
    encoder: str = "encoder",
    inner: str = "dense",
    norm: str = "norm",
    head: str = "head",
    scale: str = "scale",
    units: int = 3,
):
    return Net(encoder, inner, norm, head, scale, units)


class Twins(tf.keras.Model):
    def __init__(self, names):
        super().__init__()
        self.all_names = names.split()
        for name in self.all_names:
            setattr(self, name, layers.Dense(6))

    def call(self, x):
        for name in self.all_names:
            x = tf.tanh(getattr(self, name)(x))
        return x


@builder("twins", inputs=X)
def twins(names: str = "left right"):
    return Twins(names)


class Listed(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.stack = [layers.Dense(8), layers.Dense(8)]
        self.head = layers.Dense(3)

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return self.head(x)


@builder("listed", inputs=X)
def listed():
    return Listed()


@builder("functional")
def functional(
    dropouts: str = "", widths: str = "8 8 8", units: int = 3, nested: bool = False, normalize: bool = False
):
    """A stack of layers; `dropouts` are the places that a Dropout stands before."""
    x = y = tf.keras.Input((6,), name="x")
    for place, width in enumerate(widths.split()):
        if str(place) in dropouts.split():
            y = layers.Dropout(0.1)(y)
        y = layers.Dense(int(width), activation="tanh")(y)
        if normalize:
            y = layers.BatchNormalization()(y)
    if nested:
        inner = tf.keras.Sequential([tf.keras.Input((y.shape[-1],)), layers.Dense(5), layers.Dense(5)])
        y = inner(y)
    return tf.keras.Model(x, layers.Dense(units)(y))


@builder("sequential")
def sequential(dropouts: str = "", units: int = 3, dtype: str = "float32"):
    parts = [tf.keras.Input((6,), dtype=dtype)]
    for place in range(3):
        if str(place) in dropouts.split():
            parts.append(layers.Dropout(0.1))
        parts.append(layers.Dense(8, activation="tanh", dtype=dtype))
    return tf.keras.Sequential([*parts, layers.Dense(units, dtype=dtype)])


class Wrapper(tf.keras.Model):
    def __init__(self, attribute):
        super().__init__()
        self.attribute = attribute
        setattr(self, attribute, Net("encoder", "dense", "norm", "head", "scale", 3))

    def call(self, x):
        return getattr(self, self.attribute)(x)


@builder("wrapper", inputs=X)
def wrapper(attribute: str = "backbone"):
    return Wrapper(attribute)


@builder("graph-net", graph=True)
def graph_net():
    """The shape of `net`, built in a tf.Graph."""
    v1 = tf.compat.v1
    x = v1.placeholder(tf.float32, [None, 6], "x")
    return x, tf.matmul(x, v1.get_variable("net/kernel", [6, 3]))


class Linear(tf.Module):
    def __init__(self, size, units, weights):
        super().__init__()
        self.attribute = weights
        setattr(self, weights, tf.Variable(tf.random.normal([size, units]), name="w"))
        self.b = tf.Variable(tf.zeros([units]), name="b")

    def __call__(self, x):
        return tf.matmul(x, getattr(self, self.attribute)) + self.b


class Modules(tf.Module):
    def __init__(self, weights, keys, blocks):
        super().__init__()
        self.heads = {key: Linear(8, 2 + place, weights) for place, key in enumerate(keys.split())}
        self.blocks = [Linear(6 if place == 0 else 8, 8, weights) for place in range(blocks)]

    def __call__(self, x):
        for block in self.blocks:
            x = tf.tanh(block(x))
        return tf.concat([head(x) for head in self.heads.values()], -1)


@builder("modules", inputs=X)
def modules(weights: str = "w", keys: str = "cat dog", blocks: int = 2):
    return Modules(weights, keys, blocks)


@builder("pair")
def pair(one: str = "student", two: str = "teacher"):
    """Two models in one checkpoint; the first is called."""
    students = {name: Linear(6, 3, "w") for name in (one, two)}
    root = tf.train.Checkpoint(**students)
    return tb_ckptmeta.Model(root=root, call=students[one], inputs=X)


@builder("linear", inputs=X)
def linear(units: int = 3):
    return Linear(6, units, "w")
