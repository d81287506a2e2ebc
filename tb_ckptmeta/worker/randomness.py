"""Tell which outputs of a graph are drawn anew with each call. Runs in the worker."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Return the outputs that depend on an operation that draws; `outputs` is signature name -> tensor name."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    known: dict[str, bool] = {}

    def function_draws(name: str) -> bool:
        if name not in known:
            known[name] = False  # a function that calls itself does not draw for that
            known[name] = name in functions and any(node_draws(node) for node in functions[name].node_def)
        return known[name]

    def node_draws(node: Any) -> bool:
        if node.op in _DRAWS or function_draws(node.op):
            return True
        called = [a.func.name for a in node.attr.values() if a.HasField("func")]
        called += [f.name for a in node.attr.values() for f in a.list.func]
        return any(function_draws(name) for name in called)

    nodes = {node.name: node for node in graph_def.node}
    random = []
    for name, tensor in outputs.items():
        stack, seen = [tensor.partition(":")[0]], set()
        while stack:
            current = stack.pop()
            if current in seen or current not in nodes:
                continue
            seen.add(current)
            if node_draws(nodes[current]):
                random.append(name)
                break
            # What an operation merely waits for gives it no value.
            stack.extend(i.partition(":")[0] for i in nodes[current].input if not i.startswith("^"))
    return random


def describe_random(random: list[str]) -> list[str]:
    """Return the note about random outputs, none where there are none."""
    if not random:
        return []
    what = f"Output {random[0]} is" if len(random) == 1 else f"Outputs {', '.join(random)} are"
    return [f"{what} random: each call draws anew, so that a check compares the shape and the dtype alone."]
