"""Draws the conceptual graph of a Keras model from its configuration. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any, Protocol

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine.keras_config import LayerConfig, quote, unsupported_error
from tb_ckptmeta.engine.layer_attributes import describe_layer
from tb_ckptmeta.engine.node_names import NodeNames, make_op_name

# A configuration comes from a log directory. What real models reach is far below these.
_MAX_DEPTH = 64
_MAX_LAYERS = 100_000
_MAX_VALUES = 5_000_000

# A call's argument: a node, a constant (None), or a list or dict of them. Keras flattens dicts by sorted key.
_Tree = Any

_Leaf = Callable[[Any], "tuple[bool, Any]"]


def graph_from_keras_config(config: Mapping[str, Any]) -> graph_pb2.GraphDef:
    """Draw the layers of a Keras model, one node each, from what `json.loads(model.to_json())` gives.

    Reads Keras 3 and tf_keras 2.x. A node's op is the layer's class, its attributes (`s`, ASCII) are
    `keras_class`, `dtype` and the layer's settings. A nested model is a scope, and so is a wrapper around
    a model. A layer called several times is one node with the edges of all its calls, and `calls`.

    Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where the configuration holds no layers, as that of a
    subclassed model, or is not one that Keras writes.
    """
    if not isinstance(config, Mapping):
        raise unsupported_error("it is not a JSON object")
    layer = LayerConfig.read(dict(config))
    if not (layer.is_functional or layer.is_sequential):
        raise unsupported_error(f"it holds no layers, as that of a subclassed model ({quote(layer.class_name)})")
    drawing = _Drawing()
    drawing.draw(layer, "", 0)
    return drawing.graph


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
        self._names = NodeNames()
        self._layers = 0
        self._values = 0

    def draw(self, layer: LayerConfig, scope: str, depth: int) -> _Part:
        self._layers += 1
        if self._layers > _MAX_LAYERS:
            raise unsupported_error(f"it has more than {_MAX_LAYERS} layers")
        if depth > _MAX_DEPTH:
            raise unsupported_error(f"its models are nested more than {_MAX_DEPTH} deep")
        path = self._names.claim(f"{scope}/{layer.name}" if scope else layer.name)
        if layer.is_functional:
            return self._draw_functional(layer, path, depth)
        if layer.is_sequential:
            return _ChainPart([self.draw(LayerConfig.read(e), path, depth + 1) for e in layer.layers])
        if (model := layer.wrapped_model) is not None:
            return self.draw(model, path, depth + 1)
        node = self.graph.node.add(name=path, op=make_op_name(layer.class_name))
        describe_layer(node, layer)
        return _LayerPart(node)

    def _draw_functional(self, model: LayerConfig, scope: str, depth: int) -> _Part:
        layers: dict[str, LayerConfig] = {}
        children: dict[str, _Part] = {}
        for entry in model.layers:
            layer = LayerConfig.read(entry)
            if layer.name in children:
                raise unsupported_error(f"two layers of {quote(model.name)} are called {quote(layer.name)}")
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
            raise unsupported_error(f"the model {quote(model.name)} has no outputs")
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
            raise unsupported_error("the arguments of a call are nested too deeply or too many")
        found, node = leaf(value)
        if found:
            return node
        if isinstance(value, list):
            items = [self._read_tree(item, leaf, depth + 1) for item in value]
            return items if any(item is not None for item in items) else None
        named = {str(key): self._read_tree(item, leaf, depth + 1) for key, item in value.items()}
        return named if any(item is not None for item in named.values()) else None


def _flatten(tree: _Tree) -> Iterator[Any]:
    if isinstance(tree, list):
        for item in tree:
            yield from _flatten(item)
    elif isinstance(tree, dict):
        for key in sorted(tree):
            yield from _flatten(tree[key])
    else:
        yield tree


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
        raise unsupported_error("a call reads something that is not the output of a layer")
    name, _, index = history[:3]
    if name not in children:
        raise unsupported_error(f"a call reads the layer {quote(name)}, which the model does not have")
    outputs = children[name].flat_outputs
    # A layer is one node however many tensors it returns.
    node = outputs[0] if len(outputs) == 1 else outputs[index] if 0 <= index < len(outputs) else None
    if node is None:
        raise unsupported_error(f"a call reads an output that the model {quote(name)} does not have")
    return node


def _refuse_loops(model: LayerConfig, layers: Mapping[str, LayerConfig], predecessors: Mapping[str, set[str]]) -> None:
    """Refuse a model that feeds itself, which Keras cannot build.

    Layers called several times are left out: A(B(A(x))) is a loop of layers and none of tensors.
    """
    once = {name for name, layer in layers.items() if len(layer.calls) <= 1}
    try:
        TopologicalSorter({name: predecessors[name] & once for name in once}).prepare()
    except CycleError:
        raise unsupported_error(f"the layers of {quote(model.name)} feed each other in a loop") from None
