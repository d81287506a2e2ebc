"""Tell which outputs of a graph are drawn anew with each call. Runs in the worker."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Operations that keep a generator of their own. The stateless ones draw the same for the same seed, and a generator
# whose state is a variable is restored like any other.
_DRAWS = frozenset(
    {
        "RandomUniform",
        "RandomUniformInt",
        "RandomStandardNormal",
        "TruncatedNormal",
        "ParameterizedTruncatedNormal",
        "RandomShuffle",
        "RandomGamma",
        "RandomPoisson",
        "RandomPoissonV2",
        "Multinomial",
        "RandomCrop",
        "LogUniformCandidateSampler",
        "UniformCandidateSampler",
        "LearnedUnigramCandidateSampler",
        "AllCandidateSampler",
        "FixedUnigramCandidateSampler",
    }
)


def find_random(graph_def: Any, outputs: Mapping[str, str]) -> list[str]:
    """Return the outputs that depend on an operation that draws; `outputs` is signature name -> tensor name.

    What a graph or a function draws and does not return counts for nothing: the initial value of a variable, say.
    """
    functions = {f.signature.name: f for f in graph_def.library.function}
    known: dict[str, bool] = {}

    def function_draws(name: str) -> bool:
        if name not in known:
            known[name] = False  # a function that calls itself does not draw for that
            function = functions.get(name)
            if function is not None:
                known[name] = is_drawn({n.name: n for n in function.node_def}, function.ret.values())
        return known[name]

    def node_draws(node: Any) -> bool:
        if node.op in _DRAWS or function_draws(node.op):
            return True
        called = [a.func.name for a in node.attr.values() if a.HasField("func")]
        called += [f.name for a in node.attr.values() for f in a.list.func]
        return any(function_draws(name) for name in called)

    def is_drawn(nodes: Mapping[str, Any], tensors: Iterable[str]) -> bool:
        stack, seen = list(tensors), set()
        while stack:
            node = nodes.get(stack.pop().partition(":")[0])
            if node is None or node.name in seen:
                continue
            seen.add(node.name)
            if node_draws(node):
                return True
            # What an operation merely waits for gives it no value.
            stack.extend(i for i in node.input if not i.startswith("^"))
        return False

    everything = {node.name: node for node in graph_def.node}
    return [name for name, tensor in outputs.items() if is_drawn(everything, [tensor])]


def describe_random(random: list[str]) -> list[str]:
    """Return the note about random outputs, none where there are none."""
    if not random:
        return []
    what = f"Output {random[0]}" if len(random) == 1 else f"Outputs {', '.join(random)}"
    return [
        f"{what} may be random: an operation draws anew with each call. Where two calls differ, a check compares the "
        "shape and the dtype alone."
    ]
