"""Prints models of Keras 3, or given `legacy` of tf_keras, and op graphs as JSON. Runs in a process of its own."""

import base64
import json
import sys
import warnings

import tensorflow as tf

warnings.simplefilter("ignore")
legacy = sys.argv[1] == "legacy"
if legacy:
    import tf_keras as keras
else:
    import keras
L, Input, Model, Sequential = keras.layers, keras.Input, keras.Model, keras.Sequential
models, graphs = {}, {}


def put(key, model):
    models[key] = json.loads(model.to_json())


put(
    "sequential",
    Sequential(
        [
            Input((784,), name="x"),
            L.Dense(16, activation="relu", name="hidden"),
            L.Dropout(0.5, name="drop"),
            L.Dense(3, name="out"),
        ],
        name="mlp",
    ),
)
put(
    "sequential without input",
    Sequential([Sequential([L.Dense(3, name="d1")], name="inner"), L.Dense(2, name="d2")], name="seq"),
)

a, b = Input((8,), name="a"), Input((8,), name="b")
shared = L.Dense(4, name="shared")
both = L.Concatenate(name="cat")([shared(a), shared(b)])
put("shared", Model([a, b], [L.Dense(1, name="o1")(both), L.Dense(2, name="o2")(both)], name="siamese"))

p, q = Input((4,), name="p"), Input((4,), name="q")
inner = Model([p, q], [L.Add(name="add")([p, q]), L.Subtract(name="sub")([p, q])], name="inner")
a, b = Input((4,), name="a"), Input((4,), name="b")
added, subtracted = inner([a, b])
put(
    "nested", Model([a, b], [L.Dense(1, name="from_sub")(subtracted), L.Dense(1, name="from_add")(added)], name="outer")
)
again, _ = inner([subtracted, added])
put("nested twice", Model([a, b], [again, added], name="outer"))

x, y = Input((4,), name="x"), Input((4,), name="y")
mapping = Model(
    {"x": x, "y": y}, {"sum": L.Add(name="s")([x, y]), "prod": L.Multiply(name="m")([x, y])}, name="mapping"
)
put("dicts", mapping)
a, b = Input((4,), name="a"), Input((4,), name="b")
put("nested dicts", Model([a, b], L.Dense(2, name="head")(mapping({"y": a, "x": b})["prod"]), name="outer"))

fi = Input((4,), name="fi")
functional = Model(fi, L.Dense(3, name="fd")(fi), name="func")
put("functional in sequential", Sequential([Input((4,), name="x"), functional, L.Dense(1, name="last")], name="seq"))
chain = Sequential([Input((4,), name="si"), L.Dense(3, name="s1"), L.Dense(3, name="s2")], name="chain")
i = Input((4,), name="i")
put("sequential in functional", Model(i, L.Dense(1, name="top")(chain(i)), name="outer"))

i = Input((4,), name="i")
passing = Model(i, [i, L.Dense(4, name="d")(i)], name="passing")
o = Input((4,), name="o")
put("input as output", Model(o, L.Add(name="add")(passing(o)), name="outer"))

q, k = Input((5, 8), name="q"), Input((6, 8), name="k")
attention = L.MultiHeadAttention(2, 4, name="mha")
put("attention", Model([q, k], attention(query=q, value=k, key=k), name="att"))

q = Input((5, 8), name="q")
h = L.Bidirectional(L.LSTM(4, return_sequences=True), name="bi")(q)
put("wrappers", Model(q, L.TimeDistributed(L.Dense(2), name="td")(h), name="rnn"))
v = Input((3, 8, 8, 3), name="v")
cnn = Sequential([Input((8, 8, 3), name="frame"), L.Conv2D(2, 3, name="conv"), L.Flatten(name="flat")], name="cnn")
put("wrapped model", Model(v, L.Dense(1, name="out")(L.TimeDistributed(cnn, name="td")(v)), name="video"))

q = Input((5, 8), name="q")
sequence, hidden, cell = L.LSTM(4, return_sequences=True, return_state=True, name="enc")(q)
put("states", Model(q, L.LSTM(4, name="dec")(sequence, initial_state=[hidden, cell]), name="s2s"))
tokens = Input((5,), name="tokens")
embedded = L.Embedding(10, 4, mask_zero=True, name="embed")(tokens)
put("mask", Model(tokens, L.LSTM(3, name="lstm")(embedded), name="masked"))

i = Input((4,), name="i")
if legacy:
    y = tf.concat([tf.nn.relu(i), i * 2 + 1], 1)[:, :3]
else:
    y = keras.ops.concatenate([keras.ops.relu(i), i * 2 + 1], 1)[:, :3]
put("operations", Model(i, y, name="ops"))


class Scaled(L.Layer):
    def __init__(self, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x, y=None, scale=1.0):
        return x * self.factor * scale

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "layers": [8, 16]}


i = Input((4,), name="i")
scaled = Scaled(name="scaled")
put("own layer", Model(i, scaled(i, y=scaled(i), scale=2.0), name="own"))

keras.mixed_precision.set_global_policy("mixed_float16")
put(
    "mixed precision",
    Sequential([Input((4,), name="x"), L.Dense(4, name="d"), L.Dense(2, dtype="float32", name="o")], name="mixed"),
)
keras.mixed_precision.set_global_policy("float32")
put("mobilenet", keras.applications.MobileNetV2(weights=None))


class Net(Model):
    def __init__(self):
        super().__init__(name="net")
        self.conv, self.bn = L.Conv2D(4, 3, name="conv"), L.BatchNormalization(name="bn")
        self.branch, self.head = L.Dense(4, name="branch"), L.Dense(2, name="head")

    def call(self, x):
        x = tf.reduce_mean(self.bn(self.conv(x)), [1, 2])
        return self.head(x + self.branch(x))


net = Net()
net(tf.zeros([1, 8, 8, 3]))
put("subclassed", net)
spec = tf.TensorSpec([None, 8, 8, 3], name="image")
traced = tf.function(lambda image: net(image, training=False)).get_concrete_function(spec)
graphs["subclassed"] = traced.graph.as_graph_def()

if legacy:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 784], name="input_pl")
        with v1.name_scope("net"):
            with v1.name_scope("features"):
                h = v1.layers.dense(x, 8, activation=tf.nn.relu, name="dense1")
            y = v1.layers.dense(h, 2, name="dense2")
        tf.nn.softmax(y, name="probabilities")
        v1.train.Saver()
        v1.global_variables_initializer()
    graphs["scoped"] = graph.as_graph_def()

print(
    "ZOO"
    + json.dumps(
        {
            "models": models,
            "graphs": {k: base64.b64encode(g.SerializeToString()).decode() for k, g in graphs.items()},
        }
    )
)
