"""Write a forward pass as one GraphDef for display, without building a graph of it. Runs in the worker.

What `flatten` makes can be run and exported: it holds initializers, reads and assignments, and to make them, operation
by operation, takes TensorFlow a third of a rebuild. A display shows none of it. The nodes here are those that `flatten`
makes of what the outputs need, with shapes as tracing knew them: a layer may have said more than its operations do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.rebuilt import ModelVariable
from tb_ckptmeta.worker.flatten import Forward, drop_colocations, find_ancestors, make_constant, make_variable
from tb_ckptmeta.worker.structure import as_op_name

v1 = tf.compat.v1


def inline(forward: Forward) -> Any | None:
    """Return the GraphDef of a forward pass with `_output_shapes`, each capture replaced by what stands for it.

    None where a capture is a table or another resource that is no variable: only TensorFlow can make these.
    """
    captures = forward.captures
    if any(name not in forward.read_by and t.dtype in (tf.resource, tf.variant) for name, t in captures.items()):
        return None
    made = v1.GraphDef(versions=forward.graph_def.versions)
    if forward.graph_def.HasField("library"):
        made.library.CopyFrom(forward.graph_def.library)
    operations = {op.name: op for op in forward.trace.function.graph.get_operations()}
    _add_captures(made, forward)
    # A variable's node has the variable's name; what it replaces had its parameter's.
    renamed = {name: forward.variables[index].name for name, index in forward.read_by.items()}
    for given in forward.graph_def.node:
        if given.name in captures:
            continue
        node = made.node.add()
        node.CopyFrom(given)
        drop_colocations(node, captures)
        for place, input in enumerate(node.input):
            name = input.lstrip("^").partition(":")[0]
            if name in renamed:
                node.input[place] = input.replace(name, renamed[name], 1)
        _set_shapes(node, [t.shape for t in operations[node.name].outputs])
    _add_outputs(made, forward, renamed, operations)
    return made


def cut(graph_def: Any, names: Iterable[str]) -> None:
    """Take out of a GraphDef what `names` do not need."""
    needed = find_ancestors(graph_def, names)
    if len(needed) < len(graph_def.node):
        kept = [n for n in graph_def.node if n.name in needed]
        del graph_def.node[:]
        graph_def.node.extend(kept)


def _add_captures(made: Any, forward: Forward) -> None:
    template: Any = None
    placed: set[int] = set()
    for name, outer in forward.captures.items():
        index = forward.read_by.get(name)
        if index is None:
            node = made.node.add()
            node.CopyFrom(make_constant(name, outer))
            _set_shapes(node, [outer.shape])
        elif index not in placed:
            placed.add(index)
            template = template or _make_template()
            node = made.node.add()
            node.CopyFrom(template)
            _name_variable(node, forward.variables[index], forward.resource_variables[index])


_TEMPLATE = "template"


def _make_template() -> Any:
    """Return the node of a variable as this TensorFlow makes it, with all the attributes that it gives it."""
    with tf.Graph().as_default():
        scalar = tf.zeros([])
        variable = make_variable(ModelVariable(_TEMPLATE, (), "float32", True, True), scalar, None)
        return variable.handle.op.node_def


def _name_variable(node: Any, described: ModelVariable, variable: Any) -> None:
    """Make the template's node a variable's."""
    node.name = described.name
    for value in node.attr.values():
        if value.s:
            value.s = value.s.replace(_TEMPLATE.encode(), described.name.encode())
        for place, text in enumerate(value.list.s):
            value.list.s[place] = text.replace(_TEMPLATE.encode(), described.name.encode())
    node.attr["dtype"].type = variable.dtype.base_dtype.as_datatype_enum
    node.attr["shape"].shape.CopyFrom(variable.shape.as_proto())
    _set_shapes(node, [tf.TensorShape([])])


def _add_outputs(made: Any, forward: Forward, renamed: Any, operations: Any) -> None:
    """Add the operations that clients know the outputs by, as `flatten` does: one each, apart from what they return."""
    taken = {n.name.lower() for n in made.node}
    for name, tensor in forward.outputs.items():
        operation, _, index = tensor.partition(":")
        output = operations[operation].outputs[int(index)]
        base = unique = as_op_name(name)
        count = 1
        while unique.lower() in taken:  # as tf.Graph.unique_name
            unique = f"{base}_{count}"
            count += 1
        taken.add(unique.lower())
        source = renamed.get(operation, operation)
        node = made.node.add(name=unique, op="Identity", input=[source if index == "0" else f"{source}:{index}"])
        node.attr["T"].type = output.dtype.as_datatype_enum
        _set_shapes(node, [output.shape])
    inputs = [t.op.name for _, t in forward.trace.inputs]
    outputs = [n.name for n in made.node[len(made.node) - len(forward.outputs) :]]
    cut(made, [*outputs, *inputs])


def _set_shapes(node: Any, shapes: Iterable[Any]) -> None:
    protos = [shape.as_proto() for shape in shapes]
    if protos:
        node.attr["_output_shapes"].list.shape.extend(protos)
