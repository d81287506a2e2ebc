"""Write the checkpoints of some rows as a training script would, with the inputs and outputs of the trained model.

Usage: python write.py REQUEST. REQUEST is a JSON file {"builders": [FILE…], "runs": FOLDER, "kept": FOLDER, "rows":
[…], "report": FILE}, all of one Keras. RUNS/KERAS/NAME/… are the checkpoints, KEPT/KERAS-NAME.{inputs,outputs}.npz
what the model was fed and gave. The report is {row: {"prefix", "weights"} or {"error"}}. Of the project only `@builder`
and `record` are used, as a training script does: how inputs are drawn and outputs named is written down here a second
time.

`how` a row's checkpoint is written: "checkpoint" (CheckpointManager, the model as `model`), "optimizer" (with an Adam
beside it that has made a step), "compiled" (inside the model), "averaged" (with averages of the weights), "net" (as
`net`, with a step), "root" (the model itself, `Checkpoint.write`), "weights" (`save_weights`); in a tf.Graph "saver"
(with an Adam), "saver_only", "saver_v1" (the format of before 2016), "sharded".
"""

import importlib.util
import inspect
import json
import os
import pathlib
import re
import sys
import traceback
import zlib

import numpy as np
import tensorflow as tf

import tb_ckptmeta
from tb_ckptmeta.core.builder import take_registrations

v1 = tf.compat.v1
ANY = "*"
"""The name of a single input, whose name is a matter of chance: a count of the process, or a parameter's name."""
WORDS = ["the", "quick", "brown", "fox", "jumps", "model"]


def draw(name, shape, dtype, row):
    generator = np.random.default_rng(zlib.crc32(name.encode()) + 99)
    sizes = [3 if i == 0 and d is None else 6 if d is None else d for i, d in enumerate(shape)]
    if dtype == tf.string:
        return generator.choice(np.array(WORDS, dtype="S"), sizes)
    if dtype == tf.bool:
        return generator.integers(0, 2, sizes).astype(bool)
    if dtype.is_integer:
        return generator.integers(0, 256 if dtype == tf.uint8 else row["integers"], sizes).astype(dtype.as_numpy_dtype)
    return generator.uniform(-1, 1, sizes).astype(np.float32).astype(dtype.as_numpy_dtype)


def draw_spec(name, spec, row):
    """Return a value of a spec, and the arrays that feed it in a signature: for a composite one, its components."""
    if isinstance(spec, tf.RaggedTensorSpec):
        values = draw(name, [7, *spec.shape[2:]], spec.dtype, row)
        splits = np.array([0, 3, 3, 7], spec.row_splits_dtype.as_numpy_dtype)
        value = tf.RaggedTensor.from_row_splits(values, splits)
        return value, {f"{name}_values": values, f"{name}_row_splits": splits}
    if isinstance(spec, tf.SparseTensorSpec):
        sizes = [3 if i == 0 and d is None else 6 if d is None else d for i, d in enumerate(spec.shape)]
        indices = np.array([[0, 1], [1, 0], [2, 2]], np.int64)
        values = draw(name, [3], spec.dtype, row)
        value = tf.SparseTensor(indices, values, sizes)
        return value, {
            f"{name}_indices": indices,
            f"{name}_values": values,
            f"{name}_dense_shape": np.array(sizes, np.int64),
        }
    value = draw(name, spec.shape, spec.dtype, row)
    return tf.constant(value) if tf.executing_eagerly() else None, {name: value}


def name_leaves(structure, default):
    """Name what a model is fed: by dict key, else by the spec's own name, else by the parameter's name or place."""
    if isinstance(structure, dict):
        found = []
        for key in sorted(structure):
            part = structure[key]
            found += name_leaves(part, key) if isinstance(part, (dict, list, tuple)) else [(key, part)]
        return found
    if isinstance(structure, (list, tuple)):
        return [pair for i, part in enumerate(structure) for pair in name_leaves(part, f"{default}_{i}")]
    own = getattr(structure, "name", None) or getattr(structure, "_name", None)
    return [(own.partition(":")[0] if own else default, structure)]


def as_spec(tensor):
    spec = getattr(tensor, "type_spec", None)
    if isinstance(spec, tf.TypeSpec) and not isinstance(spec, tf.TensorSpec):
        return spec
    if getattr(tensor, "ragged", False) is True:
        return tf.RaggedTensorSpec(tensor.shape, tensor.dtype)
    if getattr(tensor, "sparse", False) is True:
        return tf.SparseTensorSpec(tensor.shape, tensor.dtype)
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def find_leaves(outputs, path=()):
    if isinstance(outputs, dict):
        return [pair for key in sorted(outputs) for pair in find_leaves(outputs[key], (*path, str(key)))]
    if hasattr(outputs, "_fields"):
        return [pair for key in outputs._fields for pair in find_leaves(getattr(outputs, key), (*path, key))]
    if isinstance(outputs, (list, tuple)):
        numbered = path and len(outputs) > 0  # below a key a list's places are part of the name
        parts = [((*path, str(i)) if numbered else path, part) for i, part in enumerate(outputs)]
        return [pair for place, part in parts for pair in find_leaves(part, place)]
    return [] if outputs is None else [("_".join(path), outputs)]


def name_outputs(outputs):
    """Name the outputs by dict key, else by number; the components of a composite one after it."""
    found, unnamed = {}, 0
    for name, value in find_leaves(outputs):
        if not name:
            name, unnamed = f"output_{unnamed}", unnamed + 1
        if isinstance(value, tf.RaggedTensor):
            found.update({f"{name}_values": value.flat_values, f"{name}_row_splits": value.row_splits})
        elif isinstance(value, tf.SparseTensor):
            parts = ("indices", "values", "dense_shape")
            found.update({f"{name}_{part}": getattr(value, part) for part in parts})
        else:
            found[name] = value
    return found


def perturb(value, generator):
    """Return other values of the same kind, as training would leave them; integers stay, but for int8 weights."""
    if value.dtype == np.int8:
        return generator.integers(-100, 100, value.shape).astype(np.int8)
    if value.dtype.kind not in "fV" or value.size == 0:
        return value
    wide = value.astype(np.float64) * generator.uniform(0.8, 1.25, value.shape)
    if not wide.any():
        wide = generator.uniform(0.02, 0.1, value.shape)
    return wide.astype(value.dtype)


def list_variables(value, seen):
    if id(value) in seen:
        return []
    seen.add(id(value))
    if isinstance(value, tf.Variable):
        return [value]
    listed = getattr(value, "weights", None) or getattr(value, "variables", None)
    if listed and isinstance(listed, (list, tuple)):
        return list(listed)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    if parts is None:
        parts = vars(value).values() if isinstance(value, tf.Module) or hasattr(value, "_trackable_children") else ()
    return [found for part in parts for found in list_variables(part, seen)]


def perturb_all(root, generator):
    found = [v for v in list_variables(root, set()) if hasattr(v, "name")]  # a table of tf_keras has none
    variables = list({id(v): v for v in found}.values())
    for variable in variables:
        name = getattr(variable, "path", variable.name)
        # A generator's state, and what Normalization.adapt has left: constants were made of it already.
        if "seed" in name or re.search(r"(^|/)(mean|variance|count)(:0)?$", name):
            continue
        variable.assign(perturb(variable.numpy(), generator))
    return variables


def write_eagerly(row, registration, folder):
    returned = registration.function(**row["arguments"])
    given = returned if isinstance(returned, tb_ckptmeta.Model) else tb_ckptmeta.Model(returned)
    root, call = given.root, given.call or given.root
    structure = given.inputs if given.inputs is not None else registration.inputs
    if structure is None:  # a Keras model that knows its inputs
        single = len(root.inputs) == 1
        structure = root.inputs[0] if single else root.input
        parts = structure if isinstance(structure, dict) else {t.name.partition(":")[0]: t for t in root.inputs}
        names = sorted(parts) if structure is parts else list(parts)
        leaves = [(ANY if single else name, as_spec(parts[name])) for name in names]
    elif isinstance(structure, tuple):
        leaves = [pair for i, part in enumerate(structure) for pair in name_leaves(part, f"input_{i}")]
    else:
        leaves = name_leaves(structure, ANY)
    values, fed = [], {}
    for name, spec in leaves:
        value, arrays = draw_spec(name, spec, row)
        values.append(value)
        fed.update(arrays)
    packed = tf.nest.pack_sequence_as(structure, values)
    arguments = packed if isinstance(structure, tuple) else (packed,)
    options = {}
    if isinstance(root, tf.keras.layers.Layer) and given.call is None:
        takes = hasattr(tf.keras, "version") or "training" in inspect.signature(root.call).parameters
        options = {"training": False} if takes else {}
    call(*arguments, **options)  # builds what is not built yet
    generator = np.random.default_rng(zlib.crc32(row["id"].encode()))
    how = row["how"]
    more = {}
    if how in ("optimizer", "compiled", "averaged"):
        optimizer = tf.keras.optimizers.Adam(0.01, use_ema=how == "averaged")
        with tf.GradientTape() as tape:
            outputs = tf.nest.flatten(call(*arguments, **options))
            loss = sum(tf.reduce_mean(tf.cast(o, tf.float32) ** 2) for o in outputs)
        weights = list(root.trainable_variables)
        pairs = [(g, w) for g, w in zip(tape.gradient(loss, weights), weights, strict=True) if g is not None]
        optimizer.apply_gradients(pairs)
        if how == "compiled":
            root.compile(optimizer, "mse")
        else:
            more = {"optimizer": optimizer}
    variables = perturb_all(root, generator)
    if how in ("checkpoint", "optimizer", "compiled", "averaged"):
        prefix = tf.train.CheckpointManager(tf.train.Checkpoint(model=root, **more), folder, max_to_keep=1).save()
    elif how == "root":
        prefix = tf.train.Checkpoint(root).write(f"{folder}/weights")
    elif how == "net":
        prefix = tf.train.Checkpoint(step=tf.Variable(7), net=root).save(f"{folder}/ckpt")
    elif how == "weights":
        root.save_weights(f"{folder}/epoch-3")
        prefix = f"{folder}/epoch-3"
    elif how in ("keras", "weights.h5"):
        os.makedirs(folder, exist_ok=True)
        prefix = f"{folder}/model.{how}"
        (root.save if how == "keras" else root.save_weights)(prefix)
    else:
        raise ValueError(how)
    # Eagerly: a trace that Keras 3 made for the shapes holds the initial values for good.
    tf.config.run_functions_eagerly(True)
    outputs = name_outputs(call(*arguments, **options))
    tf.config.run_functions_eagerly(False)
    return prefix, len(variables), fed, outputs


def write_graph(row, registration, folder):
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        inputs, outputs = registration.function(**row["arguments"])
        leaves = name_leaves(inputs, ANY)
        fed, feeds = {}, {}
        for name, tensor in leaves:
            sparse = isinstance(tensor, tf.SparseTensor)
            _, arrays = draw_spec(
                name, tf.SparseTensorSpec(tensor.shape, tensor.dtype) if sparse else as_spec(tensor), row
            )
            fed.update(arrays)
            parts = ("indices", "values", "dense_shape") if sparse else ()
            feeds.update({getattr(tensor, p): arrays[f"{name}_{p}"] for p in parts} or {tensor: arrays[name]})
        forward = v1.global_variables()
        if v1.trainable_variables() and row["how"] != "saver_only":
            step = v1.train.get_or_create_global_step()
            floats = [o for o in tf.nest.flatten(outputs) if o.dtype.is_floating]
            loss = tf.add_n([tf.reduce_mean(tf.square(o)) for o in floats])
            v1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
        session.run([v1.global_variables_initializer(), v1.local_variables_initializer(), v1.tables_initializer()])
        generator = np.random.default_rng(zlib.crc32(row["id"].encode()))
        for variable in forward:
            variable.load(perturb(np.asarray(session.run(variable)), generator), session)
        version = v1.train.SaverDef.V1 if row["how"] == "saver_v1" else v1.train.SaverDef.V2
        saver = v1.train.Saver(write_version=version, sharded=row["how"] == "sharded")
        prefix = saver.save(session, f"{folder}/model.ckpt", global_step=7)
        given = name_outputs(outputs)
        return prefix, len(forward), fed, session.run(given, feeds)


def as_array(value):
    value = np.asarray(value)
    if value.dtype.kind == "O":
        return value.astype("S")
    return value.astype(np.float32) if value.dtype.kind == "V" or value.dtype.name == "bfloat16" else value


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    runs, kept = pathlib.Path(request["runs"]), pathlib.Path(request["kept"])
    registered = {}
    for file in map(pathlib.Path, request["builders"]):
        sys.path.insert(0, str(file.parent))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[file.stem] = module
        spec.loader.exec_module(module)
        registered.update({(file.stem, r.name): r for r in take_registrations()})
    report = {}
    for row in request["rows"]:
        folder = runs / row["id"]
        folder.mkdir(parents=True)
        registration = registered[row["family"], row["registered"]]
        tf.random.set_seed(11)
        np.random.seed(11)
        in_graph = row["how"].startswith("saver") or row["how"] == "sharded"
        try:
            write = write_graph if in_graph else write_eagerly
            prefix, weights, fed, outputs = write(row, registration, str(folder))
        except Exception:
            report[row["id"]] = {"error": traceback.format_exc()}
            continue
        if row["arguments"] or row["builder"]:
            tb_ckptmeta.record(folder, row["registered"], arguments=row["arguments"])
        stem = str(kept / row["id"].replace("/", "-"))
        np.savez(f"{stem}.inputs.npz", **{k: as_array(v) for k, v in fed.items()})
        np.savez(f"{stem}.outputs.npz", **{k: as_array(v) for k, v in outputs.items()})
        report[row["id"]] = {"prefix": prefix, "weights": weights}
    pathlib.Path(request["report"]).write_text(json.dumps(report))


main()
