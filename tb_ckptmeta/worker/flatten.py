"""Turn a traced function into a plain graph with variables of its own. Runs in the worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import ModelVariable
from tb_ckptmeta.worker.objects import ModelObjects
from tb_ckptmeta.worker.randomness import describe_random, find_random
from tb_ckptmeta.worker.structure import Leaf, as_op_name
from tb_ckptmeta.worker.tensorflow_private import create_resource, find_variable, initialize_resource
from tb_ckptmeta.worker.trace import Trace
from tb_ckptmeta.worker.vocabulary import replace_in_graph_def

v1 = tf.compat.v1


class Partitioned(list[Any]):
    """A variable that a graph holds in parts, a list of which is what a `Saver` takes; `name` is the whole's.

    `slices`: what each part is of it, a `SaveSliceInfoDef` (tensorflow/core/framework/variable.proto).
    """

    def __init__(self, name: str, parts: Iterable[Any], slices: Iterable[Any]) -> None:
        super().__init__(parts)
        self.name = name
        self.slices = list(slices)

    def join(self, values: Mapping[str, Any]) -> Any:
        """Return the whole value, given those of the parts by their names."""
        whole = np.zeros(tuple(self.slices[0].full_shape), self[0].dtype.base_dtype.as_numpy_dtype)
        for part, sliced in zip(self, self.slices, strict=True):
            ends = zip(sliced.var_offset, sliced.var_shape, strict=True)
            whole[tuple(slice(start, start + size) for start, size in ends)] = values[part.op.name]
        return whole


def list_parts(variable: Any) -> list[Any]:
    """Return the graph's variables behind one of `Flat.variables`: itself, or its parts."""
    return variable if isinstance(variable, Partitioned) else [variable]


def get_name(variable: Any) -> str:
    """Return the name of one of `Flat.variables`, as a name-based checkpoint has it."""
    return str(variable.name if isinstance(variable, Partitioned) else variable.op.name)


@dataclass
class Flat:
    """A plain `tf.Graph` of the forward pass.

    `inputs`, `outputs`: signature name -> tensor of `graph`. `variables`: index of the model's variable -> the
    graph's variable, or a `Partitioned` one: either is what a `Saver` takes. `leaves`: the inputs as the builder gave
    them.
    """

    graph: Any
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    variables: dict[int, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)


@dataclass(frozen=True)
class Forward:
    """A trace, seen as a GraphDef cut to what its outputs need, and the variables it reads.

    `outputs`: signature name -> tensor name. `captures`: name of a captured placeholder -> what was captured.
    `variables`: all of the model's, those the graph reads under the names that their nodes get. `read_by`: name of a
    captured placeholder -> index of its variable.
    """

    trace: Trace
    graph_def: Any
    outputs: Mapping[str, str]
    captures: Mapping[str, Any]
    variables: tuple[ModelVariable, ...]
    resource_variables: tuple[Any, ...]
    read_by: Mapping[str, int]


def find_forward(trace: Trace, objects: ModelObjects) -> Forward:
    """Cut the trace to what its outputs need, and name every variable of the model."""
    source = trace.function.graph
    graph_def = source.as_graph_def()
    outputs = _find_returned(graph_def, trace)
    needed = find_ancestors(graph_def, [name.partition(":")[0] for name in outputs.values()])
    # A placeholder of the signature stays, read or not: clients feed it.
    needed |= {t.op.name for _, t in trace.inputs}
    kept = [n for n in graph_def.node if n.name in needed]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    refuse_python_code(graph_def)
    captures = {inner.op.name: outer for outer, inner in source.captures if inner.op.name in needed}

    # Everything that the model tracks, then what its function captured from elsewhere: globals, closures.
    found = [(path, owner, variable) for path, owner, variable in objects.variables]
    by_handle = {id(variable.handle): i for i, (_, _, variable) in enumerate(found)}
    for variable in source.variables:
        if id(variable.handle) not in by_handle:
            by_handle[id(variable.handle)] = len(found)
            found.append(((), variable, variable))
    read_by = {name: by_handle[id(outer)] for name, outer in captures.items() if id(outer) in by_handle}
    consumers = _find_consumers(graph_def, read_by)
    # A name that several variables have (`w` of every tf.Module) is given to none of them: OpenVINO looks a node's name
    # up among the variables' names in the checkpoint's object graph, and takes the last that has it.
    own_names = Counter({id(v.handle): _get_own_name(owner, v) for _, owner, v in found}.values())
    taken = {n.name for n in graph_def.node} | {name for name, count in own_names.items() if count > 1}
    variables = []
    names: dict[int, str] = {}
    for index in [*dict.fromkeys(read_by.values()), *range(len(found))]:
        if index not in names:
            path, owner, variable = found[index]
            names[index] = _choose_name(path, owner, variable, consumers.get(index), taken)
            taken.add(names[index])
    read = set(read_by.values())
    for index, (_, _, variable) in enumerate(found):
        shape = variable.shape
        variables.append(
            ModelVariable(
                names[index],
                None if shape.rank is None else tuple(shape.as_list()),
                variable.dtype.base_dtype.name,
                bool(variable.trainable),
                index in read,
            )
        )
    return Forward(trace, graph_def, outputs, captures, tuple(variables), tuple(v for _, _, v in found), read_by)


def find_listed(forward: Forward, listed: Iterable[Any]) -> tuple[int | None, ...]:
    """Return where the variables of a list stand among those of a forward pass; None for one that it does not know."""
    places = {id(variable.handle): i for i, variable in enumerate(forward.resource_variables)}
    behind = (find_variable(variable) for variable in listed)
    return tuple(None if variable is None else places.get(id(variable.handle)) for variable in behind)


def flatten(forward: Forward, objects: ModelObjects, keep_initial: Iterable[int] = ()) -> Flat:
    """Import a forward pass into a graph of its own, each capture replaced by what stands for it there.

    A variable becomes a graph variable, a table its resource and an initializer (collection TABLE_INITIALIZERS), a
    captured value a constant. The variables in `keep_initial` keep the builder's initializer; all others, to be
    restored, begin as zeros.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a capture that no graph of its own can hold.
    """
    graph = tf.Graph()
    flat = Flat(graph, {}, {}, leaves=forward.trace.leaves)
    flat.notes += describe_random(find_random(forward.graph_def, forward.outputs))
    # Before there is a graph: in one, no variable can be read.
    initials = {i: _find_initial(forward, i) for i in keep_initial if forward.variables[i].read}
    tables = {id(r.resource_handle): r for r in objects.resources if hasattr(r, "resource_handle")}
    graph_def = forward.graph_def
    for node in graph_def.node:
        drop_colocations(node, forward.captures)
    kept = [n for n in graph_def.node if n.name not in forward.captures]
    used = {i.lstrip("^").partition(":")[0] for n in kept for i in n.input}
    constants: list[Any] = []
    with graph.as_default():
        input_map: dict[str, Any] = {}
        for name, outer in forward.captures.items():
            if name in forward.read_by:
                index = forward.read_by[name]
                if index not in flat.variables:
                    flat.variables[index] = make_variable(
                        forward.variables[index], forward.resource_variables[index], initials.get(index)
                    )
                input_map[name] = flat.variables[index].handle
            elif id(outer) in tables:
                input_map[name] = _make_table(tables[id(outer)], outer, flat.notes)
            elif outer.dtype not in (tf.resource, tf.variant):
                # Within what is imported: made before, `gather/params` would have `gather` renamed.
                constants.append(make_constant(name, outer))
            else:
                raise CkptMetaError(
                    Code.UNSUPPORTED_MODEL,
                    f"The model captures a {outer.dtype.name} tensor ({name}) that is neither a variable nor a "
                    "table it tracks; a graph of its own cannot hold it.",
                )
        del graph_def.node[:]
        graph_def.node.extend([*constants, *kept])
        wanted = [t.name for _, t in forward.trace.inputs]
        wanted += [name for name in forward.outputs.values() if name.partition(":")[0] not in input_map]
        # By what they became: a node is renamed where a variable's name makes its own a scope.
        imported = tf.graph_util.import_graph_def(
            graph_def,
            input_map={f"{k}:0": v for k, v in input_map.items() if k in used},
            return_elements=wanted,
            name="",
        )
        tensors = dict(zip(wanted, imported, strict=True))
        flat.inputs = {name: tensors[t.name] for name, t in forward.trace.inputs}
        for name, tensor_name in forward.outputs.items():
            operation = tensor_name.partition(":")[0]
            tensor = input_map[operation] if operation in input_map else tensors[tensor_name]
            # An operation of its own: called as clients know it, and apart from an input that is passed through.
            flat.outputs[name] = tf.identity(tensor, name=as_op_name(name))
    flat.notes += _describe_constants(forward)
    return flat


def describe_forward(forward: Forward) -> list[str]:
    """Return what is to be said of a forward pass without tables: what it draws at random, what the builder gave it."""
    return [*describe_random(find_random(forward.graph_def, forward.outputs)), *_describe_constants(forward)]


def _describe_constants(forward: Forward) -> list[str]:
    captured = ((name, outer) for name, outer in forward.captures.items() if name not in forward.read_by)
    values = ((name, outer) for name, outer in captured if outer.dtype not in (tf.resource, tf.variant, tf.string))
    constants = [(name, size) for name, outer in values if (size := int(outer.shape.num_elements() or 0)) > 1]
    if not constants:
        return []
    total = sum(size for _, size in constants)
    return [
        f"{len(constants)} constant(s) with {total} values come from the builder, not from the checkpoint: "
        + ", ".join(name for name, _ in constants[:5])
        + ("." if len(constants) <= 5 else " and others.")
    ]


def refuse_python_code(graph_def: Any) -> None:
    """Refuse a graph that calls back into the process that made it.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL, naming the first such node.
    """
    for node in (*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)):
        if node.op in ("PyFunc", "PyFuncStateless", "EagerPyFunc"):
            raise CkptMetaError(
                Code.UNSUPPORTED_MODEL,
                f"The model calls Python code (tf.py_function or tf.numpy_function, node {node.name}), which no "
                "exported graph can hold. Write it in TensorFlow's operations.",
            )


def find_ancestors(graph_def: Any, names: Iterable[str]) -> set[str]:
    """Return the names of the nodes that `names` depend on, themselves included."""
    inputs = {n.name: n.input for n in graph_def.node}
    needed: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in needed:
            continue
        needed.add(name)
        stack.extend(i.lstrip("^").partition(":")[0] for i in inputs.get(name, ()))
    return needed


def _find_returned(graph_def: Any, trace: Trace) -> dict[str, str]:
    """Return signature name -> the tensor that is returned under it, TensorFlow's wrapping taken off.

    `tf.function` returns each tensor through an Identity that waits, through a NoOp, for everything stateful. Where
    that is nothing but reads of variables, the wait says nothing.
    """
    nodes = {n.name: n for n in graph_def.node}
    found = {}
    for name, tensor in trace.outputs:
        node = nodes[tensor.op.name]
        controls = [nodes[i[1:]] for i in node.input if i.startswith("^")]
        waited = [nodes[i.lstrip("^")].op for c in controls for i in c.input]
        idle = all(c.op == "NoOp" for c in controls) and all(op == "ReadVariableOp" for op in waited)
        source, _, index = (node.input[0] if node.input else "").partition(":")
        found[name] = f"{source}:{index or 0}" if node.op == "Identity" and idle else tensor.name
    return found


def _find_consumers(graph_def: Any, read_by: Mapping[str, int]) -> dict[int, str]:
    """Return variable -> the first node that reads it."""
    consumers: dict[int, str] = {}
    for node in graph_def.node:
        for name in node.input:
            index = read_by.get(name.partition(":")[0])
            if index is not None:
                consumers.setdefault(index, node.name)
    return consumers


def _choose_name(path: tuple[str, ...], owner: Any, variable: Any, consumer: str | None, taken: set[str]) -> str:
    """Name a variable's node so that it stands in the scope of the operations that read it.

    A Keras variable's own path lacks the model's name (`dense/kernel` beside `net/dense/MatMul`), and a
    `tf.Module`'s variables often share one name; then the path of attributes says more.
    """
    name = _get_own_name(owner, variable)
    if consumer is not None:
        scope = name.rpartition("/")[0]
        at = f"/{consumer}".find(f"/{scope}/") if scope else -1
        if at > 0:
            name = f"{consumer[: at - 1]}/{name}" if at > 1 else name
    attributes = "/".join(p.lstrip("_") or p for p in path)
    for candidate in (name, attributes):
        if candidate and candidate not in taken and _is_node_name(candidate):
            return candidate
    base = name if _is_node_name(name) else "variable"
    count = 1
    while f"{base}_{count}" in taken:
        count += 1
    return f"{base}_{count}"


def _get_own_name(owner: Any, variable: Any) -> str:
    path = getattr(owner, "path", None)
    return path if isinstance(path, str) and path else str(variable.name).partition(":")[0]


def _is_node_name(name: str) -> bool:
    return (
        name[:1].isascii()
        and (name[:1].isalnum() or name[:1] == ".")
        and all(c.isascii() and (c.isalnum() or c in "_./\\-") for c in name)
    )


def drop_colocations(node: Any, captures: Mapping[str, Any]) -> None:
    """Drop a node's colocations with the captured placeholders: they do not come along."""
    if "_class" in node.attr:
        kept = [c for c in node.attr["_class"].list.s if c.decode().removeprefix("loc:@") not in captures]
        del node.attr["_class"]
        if kept:
            node.attr["_class"].list.s.extend(kept)


def make_constant(name: str, value: Any) -> Any:
    """Return the node of a constant that has an eager tensor's value."""
    node = v1.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = value.dtype.as_datatype_enum
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value.numpy(), value.dtype))
    return node


def make_variable(described: ModelVariable, variable: Any, initial: Callable[[], Any] | None) -> Any:
    """Make the graph's own variable, of zeros without an `initial`. Its name is exact: it is no scope's child."""
    shape, dtype = variable.shape, variable.dtype.base_dtype
    fixed = shape.is_fully_defined()
    with tf.name_scope(""):
        return v1.Variable(
            initial or (lambda: _zeros(shape, dtype)),
            name=described.name,
            dtype=dtype,
            shape=None if fixed else shape,
            validate_shape=fixed,
            trainable=described.trainable,
            use_resource=True,
        )


def _find_initial(forward: Forward, index: int) -> Callable[[], Any]:
    """Return the builder's own initializer, as graph operations.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for one that is a part of the call.
    """
    variable = forward.resource_variables[index]
    dtype = variable.dtype.base_dtype
    given = getattr(variable, "ckptmeta_initial_value", None)
    if callable(given):
        return lambda: tf.cast(given(), dtype)
    value = variable if given is None else given
    if tf.is_symbolic_tensor(value):
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"Variable {forward.variables[index].name} is not in the checkpoint, and the model makes it within its "
            "call, of what is computed there: no initial value can be kept. Make it before, or save it.",
        )
    held = value.numpy() if hasattr(value, "numpy") else value
    return lambda: tf.constant(held, dtype)


def _zeros(shape: Any, dtype: Any) -> Any:
    sizes = [d if d is not None else 0 for d in (shape.as_list() if shape.rank is not None else [])]
    return tf.zeros(sizes, dtype)


def _make_table(table: Any, outer: Any, notes: list[str]) -> Any:
    """Create a table's resource in the graph, with an initializer where it has one."""
    handle = create_resource(table)

    def run_initializer() -> None:
        initialize_resource(table)

    traced = tf.function(run_initializer, autograph=False).get_concrete_function().graph
    values: dict[str, Any] = {}
    resources = []
    for value, inner in traced.captures:
        if value is outer or value.dtype == tf.resource:
            resources.append(inner.op.name)
        else:
            values[inner.op.name] = value.numpy()
    graph_def = traced.as_graph_def()
    if hasattr(table, "key_dtype"):
        held = {n.name: n.attr["value"].tensor for n in graph_def.node if n.op == "Const"}
        texts = {
            name: tf.make_ndarray(proto) for name, proto in held.items() if proto.dtype == tf.string.as_datatype_enum
        }
        files = {name: text.item() for name, text in texts.items() if text.ndim == 0}
        files.update({name: value for name, value in values.items() if isinstance(value, bytes)})
        notes.extend(replace_in_graph_def(graph_def, files, table.key_dtype, table.value_dtype))
    read = {i.lstrip("^").partition(":")[0] for n in graph_def.node for i in n.input}
    captured: dict[str, Any] = dict.fromkeys(resources, handle)
    captured.update({n: tf.constant(value, name="table_value") for n, value in values.items() if n in read})
    kept = [n for n in graph_def.node if n.name not in resources and n.name not in values]
    used = {i.lstrip("^").partition(":")[0] for n in kept for i in n.input}
    del graph_def.node[:]
    graph_def.node.extend(kept)
    if not kept:
        return handle
    last = [o.name for o in traced.control_outputs] or [t.op.name for t in traced.outputs]
    operations = tf.graph_util.import_graph_def(
        graph_def,
        input_map={f"{k}:0": v for k, v in captured.items() if k in used},
        return_elements=last,
        name="table_initializer",
    )
    v1.add_to_collection(v1.GraphKeys.TABLE_INITIALIZERS, tf.group(*operations))
    return handle
