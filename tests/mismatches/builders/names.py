"""Models of tf.Graph, whose variables are called as the arguments say: before a change of the code, and after."""

import tensorflow as tf

from tb_ckptmeta import builder

v1 = tf.compat.v1


def dense(x, scope, units, kernel="kernel", bias="bias", dtype=tf.float32, raw=False, transposed=False):
    size = int(x.shape[-1])
    with v1.variable_scope(scope, reuse=v1.AUTO_REUSE):
        shape = [units, size] if transposed else [size, units]
        weights = v1.get_variable(kernel, shape, dtype, v1.truncated_normal_initializer(stddev=0.3, dtype=dtype))
        offset = v1.get_variable(bias, [units], dtype, v1.zeros_initializer(dtype=dtype))
        if raw:  # what is averaged stands beside the averages
            for name, variable in ((kernel, weights), (bias, offset)):
                v1.get_variable(name.partition("/")[0], variable.shape, dtype)
        return tf.matmul(x, weights, transpose_b=transposed) + offset


@builder("mlp", graph=True)
def mlp(
    scope: str = "net",
    first: str = "hidden",
    second: str = "digit",
    kernel: str = "kernel",
    bias: str = "bias",
    units: int = 8,
    classes: int = 3,
    dtype: str = "float32",
    raw: bool = False,
    transposed: bool = False,
    third: str = "",
):
    dtype = tf.as_dtype(dtype)
    x = v1.placeholder(dtype, [None, 6], "x")
    options = {"kernel": kernel, "bias": bias, "dtype": dtype, "raw": raw, "transposed": transposed}
    with v1.variable_scope(scope) if scope else v1.variable_scope(v1.get_variable_scope()):
        y = tf.nn.relu(dense(x, first, units, **options))
        y = dense(y, third, units, **options) if third else y
        y = dense(y, second, classes, **options)
    return x, tf.identity(y, "y")


@builder("tower", graph=True)
def tower(scopes: str = "conv1 conv2 conv3 conv4", scope: str = "net", norm: str = "BatchNorm"):
    """Layers of different widths, each with a normalization."""
    x = y = v1.placeholder(tf.float32, [None, 6], "x")
    with v1.variable_scope(scope):
        for place, name in enumerate(scopes.split()):
            with v1.variable_scope(name):
                y = dense(y, "dense", 5 + place)
                with v1.variable_scope(norm):
                    gamma = v1.get_variable("gamma", [5 + place], initializer=v1.ones_initializer())
                    beta = v1.get_variable("beta", [5 + place], initializer=v1.zeros_initializer())
                y = tf.nn.relu(y * gamma + beta)
    return x, y


@builder("siblings", graph=True)
def siblings(names: str = "left right", widths: str = "6 6"):
    """Layers that nothing but their names tells apart, or their widths."""
    x = y = v1.placeholder(tf.float32, [None, 6], "x")
    for name, width in zip(names.split(), widths.split(), strict=True):
        y = tf.tanh(dense(y, f"net/{name}", int(width)))
    return x, y


@builder("attention", graph=True)
def attention(scope: str = "attn", query: str = "query", key: str = "key", depth: int = 3):
    """Blocks of one shape, with layers of one shape in them."""
    x = y = v1.placeholder(tf.float32, [None, 6], "x")
    for place in range(depth):
        inside = f"encoder/layer_{place}/{scope}"
        y = tf.tanh(dense(y, f"{inside}/{query}", 6) * dense(y, f"{inside}/{key}", 6))
    return x, y


@builder("other", graph=True)
def other():
    """Another model altogether."""
    x = v1.placeholder(tf.float32, [None, 6], "x")
    return x, dense(dense(x, "stem/a", 11), "stem/b", 13)


@builder("eager-mlp", graph=False, inputs=tf.TensorSpec([None, 6], tf.float32))
def eager_mlp():
    """The model of `mlp`, built eagerly."""
    root = tf.Module()
    root.layers = [
        (tf.Variable(tf.zeros([6, 8]), name="net/hidden/kernel"), tf.Variable(tf.zeros([8]), name="net/hidden/bias")),
        (tf.Variable(tf.zeros([8, 3]), name="net/digit/kernel"), tf.Variable(tf.zeros([3]), name="net/digit/bias")),
    ]

    def call(x):
        (a, b), (c, d) = root.layers
        return tf.matmul(tf.nn.relu(tf.matmul(x, a) + b), c) + d

    root.__call__ = call
    import tb_ckptmeta

    return tb_ckptmeta.Model(root=root, call=call, inputs=tf.TensorSpec([None, 6], tf.float32))
