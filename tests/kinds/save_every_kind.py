"""Write a checkpoint of every kind that TensorFlow writes with one Keras, and what each model gave.

Usage: python save_every_kind.py RUNS 3|legacy. RUNS/FLAVOUR/KIND/… are the checkpoints,
RUNS/../expected/FLAVOUR-KIND.npz the outputs for RUNS/../inputs.npy.
"""

import os
import pathlib
import socket
import sys

import every_kind
import numpy as np
import tensorflow as tf

runs, flavour = pathlib.Path(sys.argv[1]), sys.argv[2]
v1 = tf.compat.v1
x = np.random.default_rng(7).normal(size=(6, 12)).astype("float32")
labels = np.random.default_rng(8).normal(size=(6, 4)).astype("float32")
expected = runs.parent / "expected"
expected.mkdir(exist_ok=True)
np.save(runs.parent / "inputs.npy", x)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def folder(kind):
    (runs / flavour / kind).mkdir(parents=True)
    return runs / flavour / kind


def keep(kind, outputs, name="output_0"):
    np.savez(expected / f"{flavour}-{kind}.npz", **{name: outputs})


# --- graphs


def save_graph(kind, build, save):
    """Build, train for three steps with Adam, and let `save` write the session."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(len(kind))
        inputs, outputs = build()
        loss = tf.reduce_mean((outputs["y"] - labels) ** 2)
        step = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(0.01).minimize(loss, global_step=step, var_list=v1.trainable_variables())
        average = v1.train.ExponentialMovingAverage(0.5)
        if kind == "averages":
            with tf.control_dependencies([train]):
                train = average.apply(v1.trainable_variables())
        session.run(v1.global_variables_initializer())
        for _ in range(3):
            session.run(train, {inputs: x})
        keep(kind, session.run(outputs["y"], {inputs: x}), "y")
        save(session, str(folder(kind) / "model.ckpt"), inputs, outputs)


def saver(**options):
    def save(session, path, inputs, outputs):
        v1.train.Saver(**options).save(session, path, global_step=3)

    return save


def on_two_devices():
    """A shard for each device that holds variables."""
    devices = iter(["/cpu:0", "/cpu:1"])
    with v1.device(lambda op: next(devices, "/cpu:0") if op.type in ("VariableV2", "VarHandleOp") else "/cpu:0"):
        return every_kind.graph()


def save_builder(session, path, inputs, outputs):
    saved_model = v1.saved_model.builder.SavedModelBuilder(str(pathlib.Path(path).parent / "export"))
    signature = v1.saved_model.predict_signature_def({"x": inputs}, {"y": outputs["y"]})
    saved_model.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
    saved_model.save()


def averaged():
    """Train `graph` and evaluate it with the averages, as one did."""
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(5)
        inputs, outputs = every_kind.averaged()
        session.run(v1.global_variables_initializer())
        for variable in v1.global_variables():
            variable.load(np.random.default_rng(len(variable.name)).normal(size=variable.shape), session)
        keep("averaged-model", session.run(outputs["y"], {inputs: x}), "y")
        v1.train.Saver().save(session, str(folder("averaged-model") / "model.ckpt"), global_step=3)


# --- objects


def trained_keras(optimizer=None):
    tf.keras.utils.set_random_seed(11)
    model = every_kind.keras_model()
    model.compile(optimizer or tf.keras.optimizers.Adam(0.01), "mse")
    return model


def fit(kind, model, **options):
    model.fit(x, labels, batch_size=6, epochs=3, verbose=0, **options)
    keep(kind, model(x).numpy())
    return model


def save_objects():
    model = fit("keras", trained_keras())
    objects = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
    tf.train.CheckpointManager(objects, str(folder("keras")), max_to_keep=1).save()
    if flavour == "legacy":
        return
    keep("keras-alone", model(x).numpy())
    tf.train.Checkpoint(model=model).save(str(folder("keras-alone") / "ckpt"))
    keep("keras-root", model(x).numpy())
    tf.train.Checkpoint(model).write(str(folder("keras-root") / "weights"))
    keep("keras-write", model(x).numpy())
    tf.train.Checkpoint(net=model).write(str(folder("keras-write") / "weights"))
    keep("keras-shards", model(x).numpy())
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=200)  # slices the larger variables, too
    options = tf.train.CheckpointOptions(experimental_sharding_callback=policy)
    tf.train.Checkpoint(model=model).write(str(folder("keras-shards") / "weights"), options)
    averaging = tf.keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5)
    model = fit("keras-averaging", trained_keras(averaging))
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder("keras-averaging") / "ckpt"))


def save_mirrored():
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    with strategy.scope():
        tf.keras.utils.set_random_seed(11)
        model = every_kind.keras_model()
        model.compile(tf.keras.optimizers.SGD(0.01), "mse")
        model.fit(x, labels, batch_size=6, epochs=3, verbose=0)
        plain = every_kind.plain()
    keep("keras-mirrored", model(x).numpy())
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(folder("keras-mirrored") / "ckpt"))

    def see():
        context = tf.distribute.get_replica_context()
        plain.seen.assign_add(tf.ones([4]) * tf.cast(context.replica_id_in_sync_group + 1, tf.float32))

    strategy.run(see)
    tf.train.Checkpoint(model=plain).save(str(folder("plain-mirrored") / "ckpt"))
    keep("plain-mirrored", x @ plain.kernel.numpy() + np.full([4], 1.5))


def save_plain():
    tf.random.set_seed(4)
    plain = every_kind.plain()
    plain.seen.assign([1.0, 2.0, 3.0, 4.0])
    keep("plain-saved-model", plain(x).numpy())
    tf.saved_model.save(plain, str(folder("plain-saved-model") / "export"))


def save_served():
    """The variables of a `ParameterServerStrategy`, one in parts on two servers; all of them in this process."""

    def find_port():
        with socket.socket() as found:
            found.bind(("localhost", 0))
            return found.getsockname()[1]

    addresses = {"worker": [f"localhost:{find_port()}"], "ps": [f"localhost:{find_port()}" for _ in range(2)]}
    cluster = tf.train.ClusterSpec(addresses)
    servers = [
        tf.distribute.Server(cluster, job_name=job, task_index=index, protocol="grpc")
        for job, hosts in addresses.items()
        for index in range(len(hosts))
    ]
    strategy = tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc"),
        variable_partitioner=tf.distribute.experimental.partitioners.FixedShardsPartitioner(2),
    )
    kernel = np.random.default_rng(3).normal(size=(12, 4)).astype("float32")
    with strategy.scope():
        model = tf.Module()
        model.kernel = tf.Variable(kernel)
        model.seen = tf.Variable(tf.ones([4]), trainable=False)
    assert len(model.kernel.variables) == len(servers) - 1
    tf.train.Checkpoint(model=model).save(str(folder("plain-servers") / "ckpt"))
    keep("plain-servers", x @ kernel + 1.0)


class Stop(Exception):
    pass


def interrupt(epoch, logs):
    if epoch == 1:
        raise Stop


def save_keras_3():
    model = fit("keras-export", trained_keras())
    model.export(str(folder("keras-export") / "export"), verbose=False)
    keep("keras-saved", model(x).numpy())
    tf.saved_model.save(model, str(folder("keras-saved") / "model"))


def save_legacy():
    model = trained_keras()
    fit(
        "keras-callback",
        model,
        callbacks=[
            tf.keras.callbacks.ModelCheckpoint(
                str(folder("keras-callback") / "cp-{epoch:04d}.ckpt"), save_weights_only=True
            )
        ],
    )
    keep("keras-weights", model(x).numpy())
    model.save_weights(str(folder("keras-weights") / "weights"))
    keep("keras-export", model(x).numpy())
    model.export(str(folder("keras-export") / "export"))
    keep("keras-saved", model(x).numpy())
    model.save(str(folder("keras-saved") / "model"), save_format="tf")
    model = trained_keras()
    backup = tf.keras.callbacks.BackupAndRestore(str(folder("keras-backup")))
    stop = tf.keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs=None: interrupt(epoch, logs))
    weights = []
    note = tf.keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs=None: weights.append(model(x).numpy()))
    try:
        model.fit(x, labels, batch_size=6, epochs=3, verbose=0, callbacks=[note, backup, stop])
    except Stop:
        pass
    keep("keras-backup", weights[-1])


if flavour == "3":
    save_graph("v1", every_kind.graph, saver(write_version=v1.train.SaverDef.V1))
    save_graph("v1-shards", on_two_devices, saver(write_version=v1.train.SaverDef.V1, sharded=True))
    save_graph("v2", every_kind.graph, saver())
    save_graph("v2-shards", on_two_devices, saver(sharded=True))
    save_graph("averages", every_kind.graph, saver())
    save_graph("builder", every_kind.graph, save_builder)
    save_graph("partitioned", every_kind.partitioned, saver())
    save_graph("partitioned-v1", every_kind.partitioned, saver(write_version=v1.train.SaverDef.V1))
    averaged()
    save_objects()
    save_mirrored()
    save_plain()
    save_keras_3()
    save_served()
    os._exit(0)  # the servers would go on
else:
    save_objects()
    save_mirrored()
    save_legacy()
