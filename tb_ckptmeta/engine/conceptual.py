"""Draws the conceptual graph, from a Keras configuration or an op graph. Runs in the caller's process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code

# A configuration comes from a log directory. What real models reach is far below these.
_MAX_DEPTH = 64
_MAX_LAYERS = 100_000
_MAX_VALUES = 5_000_000
_MAX_SEGMENT = 120
_MAX_ATTRIBUTES = 40
_MAX_TEXT = 200
_MAX_ITEMS = 16


def graph_from_keras_config(config: Mapping[str, Any]) -> graph_pb2.GraphDef:
    """Draw the layers of a Keras model, one node each, from what `json.loads(model.to_json())` gives.

    Reads Keras 3 and tf_keras 2.x. A node's op is the layer's class, its attributes (`s`, ASCII) are
    `keras_class`, `dtype` and the layer's settings. A nested model is a scope, and so is a wrapper around
    a model. A layer called several times is one node with the edges of all its calls, and `calls`.

    Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where the configuration holds no layers, as that of a
    subclassed model, or is not one that Keras writes.
    """
    if not isinstance(config, Mapping):
        raise _unsupported("it is not a JSON object")
    layer = _LayerConfig.read(dict(config))
    if not (layer.is_functional or layer.is_sequential):
        raise _unsupported(f"it holds no layers, as that of a subclassed model ({_quote(layer.class_name)})")
    drawing = _Drawing()
    drawing.draw(layer, "", 0)
    return drawing.graph


def graph_from_scopes(graph: graph_pb2.GraphDef, classes: Mapping[str, str]) -> graph_pb2.GraphDef:
    """Draw an op graph as its scopes: a node where ops compute, an edge where one scope reads another.

    `classes`: scope -> layer class, the node's op (else `Scope`). A scope with a class and none beneath it
    takes in every op below. Elsewhere the innermost scopes that compute are nodes; an op around them, or
    outside all scopes, is contracted, and kept only where it joins several sources (a residual addition:
    contracting a chain of those would draw an edge between every two blocks). Placeholders stay nodes.
    Control dependencies are no edges, nor is what only initializes, saves or restores.

    Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where no scope is left to draw.
    """
    return _ScopeTree(graph, classes).draw()


# --- Keras configurations

# A call's argument: a node, a constant (None), or a list or dict of them. Keras flattens dicts by sorted key.
_Tree = Any

_Leaf = Callable[[Any], "tuple[bool, Any]"]


def _unsupported(reason: str) -> CkptMetaError:
    message = f"No conceptual graph can be drawn from this Keras configuration: {reason}."
    return CkptMetaError(Code.UNSUPPORTED_MODEL, message)


def _quote(value: object) -> str:
    return ascii(value[:_MAX_TEXT] if isinstance(value, str) else type(value).__name__)


def _flatten(tree: _Tree) -> Iterator[Any]:
    if isinstance(tree, list):
        for item in tree:
            yield from _flatten(item)
    elif isinstance(tree, dict):
        for key in sorted(tree):
            yield from _flatten(tree[key])
    else:
        yield tree


def _is_layer(value: object) -> bool:
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return False
    return isinstance(value.get("config"), (dict, list))


@dataclass(frozen=True)
class _LayerConfig:
    """One layer or model as Keras serializes it: the entry in its model, and the settings in that."""

    entry: dict[str, Any]
    class_name: str
    name: str
    config: dict[str, Any]

    @classmethod
    def read(cls, entry: object) -> _LayerConfig:
        if not isinstance(entry, dict):
            raise _unsupported(f"a layer is a {_quote(entry)} and not a JSON object")
        class_name = entry.get("class_name")
        if not isinstance(class_name, str) or not class_name:
            raise _unsupported("a layer has no class name")
        config = entry.get("config")
        if isinstance(config, list):  # Keras before 2.2.3 wrote a Sequential as the bare list of its layers
            config = {"layers": config}
        if config is None:
            config = {}
        if not isinstance(config, dict):
            raise _unsupported(f"the settings of a {_quote(class_name)} are not a JSON object")
        name = entry.get("name") or config.get("name") or class_name
        if not isinstance(name, str):
            raise _unsupported(f"the name of a {_quote(class_name)} is not text")
        return cls(entry, class_name, name, config)

    @property
    def layers(self) -> list[Any]:
        layers = self.config.get("layers")
        return layers if isinstance(layers, list) else []

    @property
    def is_functional(self) -> bool:
        return bool(self.layers) and "input_layers" in self.config and "output_layers" in self.config

    @property
    def is_sequential(self) -> bool:
        """Whether `layers` is a chain; a user's own layer may keep its sizes or its branches there."""
        if not self.layers or self.is_functional:
            return False
        if self.class_name in ("Sequential", "Pipeline"):
            return True
        own = {"name", "trainable", "dtype", "layers", "build_input_shape"}
        return self.config.keys() <= own and all(map(_is_layer, self.layers))

    @property
    def wrapped_model(self) -> _LayerConfig | None:
        if not _is_layer(self.config.get("layer")):
            return None
        inner = _LayerConfig.read(self.config["layer"])
        return inner if inner.is_functional or inner.is_sequential else None

    @property
    def calls(self) -> list[Any]:
        calls = self.entry.get("inbound_nodes") or []
        if not isinstance(calls, list):
            raise _unsupported(f"the calls of the layer {_quote(self.name)} are not a list")
        return calls


class _Part(Protocol):
    """A layer or model as drawn: which nodes its outputs are, and where an argument of its call goes."""

    outputs: _Tree
    flat_outputs: Sequence[str | None]

    def feed(self, argument: _Tree) -> None: ...


class _LayerPart:
    def __init__(self, node: graph_pb2.NodeDef) -> None:
        self.node = node
        self.outputs: _Tree = node.name
        self.flat_outputs: Sequence[str | None] = (node.name,)
        self._sources = {node.name}

    def feed(self, argument: _Tree) -> None:
        for source in _flatten(argument):
            if source is not None and source not in self._sources:
                self._sources.add(source)
                self.node.input.append(source)


class _ChainPart:
    def __init__(self, parts: Sequence[_Part]) -> None:
        self.feed = parts[0].feed
        self.outputs = parts[-1].outputs
        self.flat_outputs = parts[-1].flat_outputs
        for part, following in pairwise(parts):
            following.feed(part.outputs)


class _FunctionalPart:
    def __init__(self, inputs: _Tree, outputs: _Tree, children: Mapping[str, _Part]) -> None:
        self.outputs = outputs
        self.flat_outputs: Sequence[str | None] = list(_flatten(outputs))
        self._inputs = inputs
        self._names = [name for name in _flatten(inputs) if name is not None]
        self._children = children

    def feed(self, argument: _Tree) -> None:
        """Connect a dict by key and all else by position; what fits neither goes to the first input."""
        if isinstance(argument, dict):
            keyed = self._inputs if isinstance(self._inputs, dict) else {name: name for name in self._names}
            if argument.keys() <= keyed.keys():
                for key, value in argument.items():
                    self._feed([name for name in _flatten(keyed[key]) if name is not None], value)
                return
        self._feed(self._names, argument)

    def _feed(self, names: Sequence[str], argument: _Tree) -> None:
        sources = list(_flatten(argument))
        if names and len(names) != len(sources):
            names = [names[0]] * len(sources)
        for name, source in zip(names, sources, strict=False):
            if source is not None:
                self._children[name].feed(source)


class _Drawing:
    """The graph while its layers are drawn, each beneath the scope of its model."""

    def __init__(self) -> None:
        self.graph = graph_pb2.GraphDef()
        self._names = _Names()
        self._layers = 0
        self._values = 0

    def draw(self, layer: _LayerConfig, scope: str, depth: int) -> _Part:
        self._layers += 1
        if self._layers > _MAX_LAYERS:
            raise _unsupported(f"it has more than {_MAX_LAYERS} layers")
        if depth > _MAX_DEPTH:
            raise _unsupported(f"its models are nested more than {_MAX_DEPTH} deep")
        path = self._names.claim(f"{scope}/{layer.name}" if scope else layer.name)
        if layer.is_functional:
            return self._draw_functional(layer, path, depth)
        if layer.is_sequential:
            return _ChainPart([self.draw(_LayerConfig.read(e), path, depth + 1) for e in layer.layers])
        if (model := layer.wrapped_model) is not None:
            return self.draw(model, path, depth + 1)
        node = self.graph.node.add(name=path, op=_op_text(layer.class_name))
        _describe(node, layer)
        return _LayerPart(node)

    def _draw_functional(self, model: _LayerConfig, scope: str, depth: int) -> _Part:
        layers: dict[str, _LayerConfig] = {}
        children: dict[str, _Part] = {}
        for entry in model.layers:
            layer = _LayerConfig.read(entry)
            if layer.name in children:
                raise _unsupported(f"two layers of {_quote(model.name)} are called {_quote(layer.name)}")
            layers[layer.name] = layer
            children[layer.name] = self.draw(layer, scope, depth + 1)

        predecessors: dict[str, set[str]] = {}
        for name, layer in layers.items():
            before = predecessors[name] = set()
            for call in layer.calls:
                for argument in self._read_call(call, children, before):
                    children[name].feed(argument)
        _refuse_loops(model, layers, predecessors)

        def output(value: object) -> tuple[bool, Any]:
            return (True, _output_of(children, value)) if _is_history(value) else (False, None)

        def input_name(value: object) -> tuple[bool, Any]:
            if not _is_history(value):
                return False, None
            _output_of(children, value)
            return True, value[0]  # type: ignore[index]

        outputs = self._read_tree(model.config["output_layers"], output)
        if outputs is None:
            raise _unsupported(f"the model {_quote(model.name)} has no outputs")
        return _FunctionalPart(self._read_tree(model.config["input_layers"], input_name), outputs, children)

    def _read_call(self, call: object, children: Mapping[str, _Part], before: set[str]) -> list[_Tree]:
        """Read one of `inbound_nodes` into the call's arguments, and add the layers it reads to `before`."""

        def source(history: Any) -> str:
            node = _output_of(children, history)
            before.add(history[0])
            return node

        def keras_tensor(value: Any) -> tuple[bool, Any]:
            if not isinstance(value, dict):
                return False, None
            kind = value.get("class_name")
            if kind == "__keras_tensor__":
                config = value.get("config")
                return True, source(config.get("keras_history") if isinstance(config, dict) else None)
            return kind in ("__tensor__", "__numpy__"), None

        if isinstance(call, dict) and isinstance(call.get("args"), list) and "kwargs" in call:
            keywords = call["kwargs"]
            arguments = [*call["args"], *(keywords.values() if isinstance(keywords, dict) else ())]
            return [self._read_tree(argument, keras_tensor) for argument in arguments]

        keywords_of_call: list[Any] = []

        # tf_keras: [layer, call, output, keywords] for each tensor of the first argument. What is passed by
        # keyword stands as [layer, call, output] and looks like any other list: only a known layer tells.
        def tensor(value: Any) -> tuple[bool, Any]:
            if not isinstance(value, list) or len(value) not in (3, 4) or not isinstance(value[0], str):
                return False, None
            if len(value) == 4 and isinstance(value[3], dict):
                keywords_of_call.extend(value[3].values())
            return (True, None) if value[0] == "_CONSTANT_VALUE" else (True, source(value))

        def keyword_tensor(value: Any) -> tuple[bool, Any]:
            if _is_history(value) and len(value) == 3 and value[0] in children:
                return True, source(value)
            return False, None

        first = self._read_tree(call, tensor)
        return [first, *(self._read_tree(value, keyword_tensor) for value in keywords_of_call)]

    def _read_tree(self, value: object, leaf: _Leaf, depth: int = 0) -> _Tree:
        """Keep the structure of `value` around what `leaf` finds in it; all else is None."""
        if not isinstance(value, (list, dict)):
            return None
        self._values += 1
        if depth > _MAX_DEPTH or self._values > _MAX_VALUES:
            raise _unsupported("the arguments of a call are nested too deeply or too many")
        found, node = leaf(value)
        if found:
            return node
        if isinstance(value, list):
            items = [self._read_tree(item, leaf, depth + 1) for item in value]
            return items if any(item is not None for item in items) else None
        named = {str(key): self._read_tree(item, leaf, depth + 1) for key, item in value.items()}
        return named if any(item is not None for item in named.values()) else None


def _is_history(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) >= 3
        and isinstance(value[0], str)
        and type(value[1]) is int
        and type(value[2]) is int
    )


def _output_of(children: Mapping[str, _Part], history: Any) -> str:
    """Return the node behind [layer, call, output]: each layer is one node, so the call does not matter."""
    if not _is_history(history):
        raise _unsupported("a call reads something that is not the output of a layer")
    name, _, index = history[:3]
    if name not in children:
        raise _unsupported(f"a call reads the layer {_quote(name)}, which the model does not have")
    outputs = children[name].flat_outputs
    # A layer is one node however many tensors it returns.
    node = outputs[0] if len(outputs) == 1 else outputs[index] if 0 <= index < len(outputs) else None
    if node is None:
        raise _unsupported(f"a call reads an output that the model {_quote(name)} does not have")
    return node


def _refuse_loops(
    model: _LayerConfig, layers: Mapping[str, _LayerConfig], predecessors: Mapping[str, set[str]]
) -> None:
    """Refuse a model that feeds itself, which Keras cannot build.

    Layers called several times are left out: A(B(A(x))) is a loop of layers and none of tensors.
    """
    once = {name for name, layer in layers.items() if len(layer.calls) <= 1}
    try:
        TopologicalSorter({name: predecessors[name] & once for name in once}).prepare()
    except CycleError:
        raise _unsupported(f"the layers of {_quote(model.name)} feed each other in a loop") from None


# --- what a layer's node says

# Settings that say nothing about the model, or stand on the node in another form.
_NOISE = frozenset({"name", "trainable", "dtype", "seed", "implementation"})
_NOISE_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def _describe(node: graph_pb2.NodeDef, layer: _LayerConfig) -> None:
    module = layer.entry.get("module")
    registered = layer.entry.get("registered_name")
    if isinstance(module, str) and module:
        keras_class = f"{module}.{layer.class_name}"
    else:
        keras_class = registered if isinstance(registered, str) and registered else layer.class_name
    attributes = {"keras_class": _ascii(keras_class)}
    if dtype := _dtype_text(layer.config.get("dtype")):
        attributes["dtype"] = dtype
    if node.name.rpartition("/")[2] != layer.name.rpartition("/")[2]:
        attributes["keras_name"] = _ascii(layer.name)
    if layer.config.get("trainable") is False:
        attributes["trainable"] = "False"
    if len(layer.calls) > 1:
        attributes["calls"] = str(len(layer.calls))
    for key, text in _settings(layer):
        if len(attributes) >= _MAX_ATTRIBUTES:
            break
        attributes.setdefault(key, text)
    for key, text in attributes.items():
        node.attr[key].s = text.encode("ascii")


def _settings(layer: _LayerConfig) -> Iterator[tuple[str, str]]:
    for key, text in _plain_settings(layer.config):
        is_shape = layer.class_name == "InputLayer" and key in ("batch_shape", "batch_input_shape")
        yield ("shape" if is_shape else key), text
    for key in ("layer", "cell"):  # what Bidirectional, TimeDistributed and RNN wrap
        if _is_layer(layer.config.get(key)):
            for name, text in _plain_settings(_LayerConfig.read(layer.config[key]).config):
                yield f"{key}.{name}", text


def _plain_settings(config: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if not isinstance(key, str) or key in _NOISE or key.endswith(_NOISE_SUFFIXES):
            continue
        if (text := _setting_text(value)) is not None:
            yield _segment(key), text


def _setting_text(value: object) -> str | None:
    """Write a setting as the model's source would; None for what is unset, or too much to read."""
    if isinstance(value, str):
        return _ascii(value)
    if isinstance(value, dict):
        inner = value.get("config")
        kind = inner if isinstance(inner, str) else value.get("class_name")
        return _ascii(kind) if isinstance(kind, str) else None
    literal = _as_literal(value, 2)
    return None if literal is None or literal is _TOO_MUCH else _ascii(repr(literal))


_TOO_MUCH = object()


def _as_literal(value: object, depth: int) -> object:
    if isinstance(value, int) and abs(value) >= 2**64:  # Python refuses to write one of 4300 digits
        return _TOO_MUCH
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, (list, tuple)) or len(value) > _MAX_ITEMS or not depth:
        return _TOO_MUCH
    items = tuple(_as_literal(item, depth - 1) for item in value)
    return _TOO_MUCH if _TOO_MUCH in items else items


def _dtype_text(value: object) -> str | None:
    if isinstance(value, dict):  # a policy: {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
        config = value.get("config")
        value = (config.get("name") if isinstance(config, dict) else None) or value.get("class_name")
    return _ascii(value) if isinstance(value, str) else None


# --- names that TensorBoard's graph parser takes


def _ascii(text: str) -> str:
    text = text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 3] + "..."
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _op_text(text: str) -> str:
    text = re.sub(r"[^A-Za-z0-9_.>-]", "_", text[:_MAX_SEGMENT]) or "Layer"
    return f"{text}_" if text in _JAVASCRIPT_NAMES else text


def _segment(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text[:_MAX_SEGMENT])


# The parser looks up nodes and ops by name in plain JavaScript objects, whose own members break it.
_JAVASCRIPT_NAMES = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)


class _Names:
    """Hands out node names: legal in a GraphDef and to TensorBoard's parser, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def claim(self, path: str) -> str:
        segments = [_segment(part) for part in path.split("/") if part] or ["layer"]
        # `__root__` and `__function_library__` are the parser's own, and no op name begins so.
        segments[0] = segments[0].lstrip("_-") or "layer"
        if segments[0] in _JAVASCRIPT_NAMES:
            segments[0] += "_"
        name = stem = "/".join(segments)
        number = self._next.get(stem, 1)
        while name in self._taken:
            name = f"{stem}_{number}"
            number += 1
        self._next[stem] = number
        self._taken.add(name)
        return name


# --- scopes of an op graph

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})

# Ops that hold, read or write state, and compute nothing.
_QUIET = frozenset(
    {
        "Assign",
        "AssignVariableOp",
        "Const",
        "HashTableV2",
        "Identity",
        "InitializeTableFromTextFileV2",
        "LookupTableImportV2",
        "MutableHashTableV2",
        "NoOp",
        "ReadVariableOp",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "VarHandleOp",
        "VarIsInitializedOp",
        "Variable",
        "VariableV2",
    }
)

_SAVER_OPS = frozenset({"SaveV2", "RestoreV2"})

_DT_RESOURCE = 20  # types.proto: a function's captured variable is a placeholder of this type

# A node of the drawn graph: ("scope", its path) or ("op", its name).
_Unit = tuple[str, str]


class _Op(NamedTuple):
    name: str
    kind: str
    scope: str
    is_input: bool
    is_quiet: bool
    reads: tuple[int, ...]


class _ScopeTree:
    def __init__(self, graph: graph_pb2.GraphDef, classes: Mapping[str, str]) -> None:
        self._classes = {scope.strip("/"): name for scope, name in classes.items() if scope.strip("/")}
        self._layers = _innermost(self._classes.keys())
        self._scopes: dict[str, str] = {}
        self._nodes: dict[str, graph_pb2.NodeDef] = {}
        self._ops = self._read_ops(graph)
        self._drawn = _innermost({op.scope for op in self._ops if self._deserves_node(op)})

    def draw(self) -> graph_pb2.GraphDef:
        if not self._drawn:
            message = "The graph has no name scopes from which a conceptual graph could be drawn."
            raise CkptMetaError(Code.UNSUPPORTED_MODEL, message)
        units: dict[str, _Unit] = {scope: ("scope", scope) for scope in self._drawn}
        members = [("op", op.name) if op.is_input else units.get(op.scope) for op in self._ops]
        read_as = self._contract(members)

        # Dicts for their order, that of first appearance: equal graphs draw equal.
        sources: dict[_Unit, dict[_Unit, None]] = {}
        contents: dict[_Unit, list[_Op]] = {}
        for op, member, unit in zip(self._ops, members, read_as, strict=True):
            if unit is None or (member is None and unit != ("op", op.name)):
                continue  # contracted: whoever reads it reads its source
            if unit not in contents:
                contents[unit], sources[unit] = [], {}
            contents[unit].append(op)
            edges = sources[unit]
            for read in op.reads:
                source = read_as[read]
                if source is not None and source != unit:
                    edges[source] = None

        names = _Names()
        claimed = {unit: names.claim(unit[1]) for unit in contents}
        drawn = graph_pb2.GraphDef()
        for unit, ops in contents.items():
            node = drawn.node.add(name=claimed[unit], op=self._op_of(unit, ops))
            node.input.extend([claimed[source] for source in sources[unit]])
            if unit[0] == "scope":
                node.attr["ops"].s = str(len(ops)).encode("ascii")
                node.attr["op_types"].s = _op_types(ops).encode("ascii")
            elif ops[0].is_input:
                attributes = self._nodes[unit[1]].attr
                for key in ("dtype", "shape"):
                    if key in attributes:
                        node.attr[key].CopyFrom(attributes[key])
        return drawn

    def _read_ops(self, graph: graph_pb2.GraphDef) -> list[_Op]:
        for node in graph.node:
            self._nodes.setdefault(node.name, node)
        index = {name: i for i, name in enumerate(self._nodes)}
        kinds = [node.op for node in self._nodes.values()]
        parents = [_parent(name) for name in self._nodes]
        savers = {parent for parent, kind in zip(parents, kinds, strict=True) if kind in _SAVER_OPS} - {""}
        ops = []
        for (name, node), kind, parent in zip(self._nodes.items(), kinds, parents, strict=True):
            aside = parent in savers or _is_initializer(parent)
            placeholder = kind in _PLACEHOLDERS
            is_input = placeholder and not aside and not _holds_resource(node)
            is_quiet = placeholder or aside or kind in _QUIET
            # A control dependency, `^name`, is found under no name: it carries no data.
            names = [read.partition(":")[0] for read in node.input]
            reads = tuple([index[read] for read in names if read in index])
            ops.append(_Op(name, kind, self._scope_of(parent), is_input, is_quiet, reads))
        return ops

    def _scope_of(self, parent: str) -> str:
        """Return the scope that takes in the ops of `parent`: the layer around it, or itself."""
        scope = self._scopes.get(parent)
        if scope is None:
            scope = next((above for above in _ancestors(parent) if above in self._layers), parent)
            self._scopes[parent] = scope
        return scope

    def _deserves_node(self, op: _Op) -> bool:
        return bool(op.scope) and not op.is_input and (not op.is_quiet or op.scope in self._layers)

    def _contract(self, members: Sequence[_Unit | None]) -> list[_Unit | None]:
        """Return what each op is read as: its own unit, or the one unit from which its data come."""
        units = list(members)
        entered = [unit is not None for unit in members]
        for start in range(len(units)):
            stack = [] if entered[start] else [start]
            while stack:
                index = stack[-1]
                op = self._ops[index]
                if not entered[index]:
                    entered[index] = True
                    stack.extend(read for read in op.reads if not entered[read])
                    continue
                stack.pop()
                # A read that is still on the stack closes a loop, and adds nothing.
                found = {units[read] for read in op.reads} - {None}
                if len(found) == 1:
                    units[index] = found.pop()
                elif found and not op.is_quiet:
                    units[index] = ("op", op.name)
        return units

    def _op_of(self, unit: _Unit, ops: Sequence[_Op]) -> str:
        if unit[0] == "scope":
            return _op_text(str(self._classes.get(unit[1], "Scope")))
        return "Placeholder" if ops[0].is_input else _op_text(ops[0].kind)


def _parent(name: str) -> str:
    # Deeper scopes count as the one at the limit, so that a hostile path costs no more than a long one.
    if name.count("/") > _MAX_DEPTH:
        return "/".join(name.split("/", _MAX_DEPTH)[:_MAX_DEPTH])
    return name.rpartition("/")[0]


def _ancestors(scope: str) -> Iterator[str]:
    """Yield the scopes around `scope`, outermost first."""
    end = scope.find("/")
    while end >= 0:
        yield scope[:end]
        end = scope.find("/", end + 1)


def _innermost(scopes: AbstractSet[str]) -> AbstractSet[str]:
    return scopes - {above for scope in scopes for above in _ancestors(scope)}


def _holds_resource(node: graph_pb2.NodeDef) -> bool:
    return "dtype" in node.attr and node.attr["dtype"].type == _DT_RESOURCE


def _is_initializer(scope: str) -> bool:
    return "Initializer" in scope and "Initializer" in scope.split("/")


def _op_types(ops: Iterable[_Op]) -> str:
    counts = Counter(op.kind for op in ops if not op.is_quiet)
    ordered = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return _ascii(", ".join(f"{kind} x{counts[kind]}" if counts[kind] > 1 else kind for kind in ordered[:8]))
