"""Settle which Keras a builder gets, before anything is imported. Runs in the worker."""

from __future__ import annotations

import ast
import importlib.machinery
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Source, Spec
from tb_ckptmeta.core.legacy import KERAS_3, LEGACY

# What TensorFlow 2.16 and newer have with tf_keras alone.
_LEGACY_PARTS = ("compat.v1.layers.", "compat.v1.keras.", "compat.v1.nn.rnn_cell.")


def settle_keras(source: Source) -> str:
    """Decide for one builder, and set the environment that TensorFlow reads at import.

    In order: what the builder says, what its module shows when read without running it, what the checkpoint's
    keys show, Keras 3.
    """
    flavour = source.keras or read_flavour(source.spec, source.builder)
    if flavour is None:
        # A checkpoint's keys are a hint, no demand.
        flavour = LEGACY if source.keras_hint == LEGACY and _has_legacy() else KERAS_3
    set_environment(flavour)
    return flavour


def settle_module_keras(spec: Spec) -> str:
    """Decide for a whole module, for listing its builders: only what its top level runs counts."""
    flavour = read_flavour(spec, None) or KERAS_3
    set_environment(flavour)
    return flavour


def find_file(spec: Spec) -> Path | None:
    """Return the source file of a SPEC without importing anything, not even a parent package."""
    if spec.path is not None:
        return Path(spec.path)
    search: Sequence[str] | None = None
    origin = None
    parts = (spec.module or "").split(".")
    for index in range(len(parts)):
        name = ".".join(parts[: index + 1])
        if index == 0:
            import sys

            search = [spec.folder, *sys.path]
        found = importlib.machinery.PathFinder.find_spec(name, search)
        if found is None:
            return None
        origin, search = found.origin, found.submodule_search_locations
        if search is None and index < len(parts) - 1:
            return None
    return Path(origin) if origin and origin.endswith(".py") else None


def read_flavour(spec: Spec, builder: str | None) -> str | None:
    """Return what the source of a SPEC shows of its Keras: "legacy", "3", or None.

    Counted are the module's top level and the functions and classes of the module that the builder's
    function reaches by name; of the other builders nothing counts. With no builder, or one that is not
    registered by a plain decorator, the whole top level counts, function bodies apart.
    """
    tree = _parse(spec)
    if tree is None:
        return None
    declared = _read_environment(tree)
    return _read_reached(tree, builder) if declared is None else declared


def list_flavours(spec: Spec, builders: Mapping[str, str | None]) -> list[str]:
    """Return each Keras that some of a SPEC's builders will be built with, as far as is known without a checkpoint.

    `builders`: name -> which Keras it says itself.
    """
    said = {keras for keras in builders.values() if keras is not None}
    silent = [name for name, keras in builders.items() if keras is None]
    tree = _parse(spec) if silent else None
    if tree is None:
        return sorted(said | ({KERAS_3} if silent else set()))
    declared = _read_environment(tree)
    if declared is not None:
        return sorted(said | {declared})
    return sorted(said | {_read_reached(tree, name) or KERAS_3 for name in silent})


def _parse(spec: Spec) -> ast.Module | None:
    path = find_file(spec)
    if path is None:
        return None
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None  # importing it will say what is wrong, and better


def _read_reached(tree: ast.Module, builder: str | None) -> str | None:
    """Return LEGACY where what a builder reaches shows it."""
    definitions = {
        node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    top: list[ast.AST] = [n for n in tree.body if n not in definitions.values()]
    imports = [n for n in top if isinstance(n, (ast.Import, ast.ImportFrom))]
    running = [n for n in top if n not in imports]
    reached = list(running)
    names = _names_in(running)
    if builder is not None:
        for node in definitions.values():
            if _registers(node, builder):
                reached.append(node)
                names |= _names_in([node])
    seen: set[str] = set()
    while names - seen:
        name = (names - seen).pop()
        seen.add(name)
        if name in definitions:
            reached.append(definitions[name])
            names |= _names_in([definitions[name]])
    used = [n for n in imports if _bound_names(n) & names]
    aliases = _read_aliases(imports)
    aliases.update(_read_assigned(top, aliases))
    return LEGACY if any(_shows_legacy(n, aliases) for n in [*reached, *used]) else None


def _read_environment(tree: ast.Module) -> str | None:
    """Return what the module sets TF_USE_LEGACY_KERAS to: it holds for the whole process."""
    for name, value in _environment_values(tree):
        if _is_text(name, "TF_USE_LEGACY_KERAS") and isinstance(value, ast.Constant):
            return LEGACY if str(value.value).lower() in ("1", "true") else KERAS_3
    return None


def _environment_values(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.AST | None]]:
    """Yield every (name, value) that may be set in an environment: `e[n] = v`, `f(n, v)`, `f(n=v)`, `{n: v}`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Subscript):
            yield node.targets[0].slice, node.value
        elif isinstance(node, ast.Call) and len(node.args) == 2:
            yield node.args[0], node.args[1]
        elif isinstance(node, ast.keyword) and node.arg is not None:
            yield ast.Constant(node.arg), node.value
        elif isinstance(node, ast.Dict):
            yield from ((name, value) for name, value in zip(node.keys, node.values, strict=True) if name is not None)


def _registers(node: ast.AST, builder: str) -> bool:
    for decorator in getattr(node, "decorator_list", ()):
        if isinstance(decorator, ast.Call) and decorator.args and _is_text(decorator.args[0], builder):
            return True
    return False


def _is_text(node: ast.AST, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def _names_in(nodes: Sequence[ast.AST]) -> set[str]:
    return {n.id for node in nodes for n in ast.walk(node) if isinstance(n, ast.Name)}


def _bound_names(node: ast.AST) -> set[str]:
    assert isinstance(node, (ast.Import, ast.ImportFrom))
    return {alias.asname or alias.name.partition(".")[0] for alias in node.names}


def _read_aliases(imports: Sequence[ast.AST]) -> dict[str, str]:
    """Return what the names of `import a.b as c` and `from a import b as c` stand for."""
    aliases = {}
    for node in imports:
        for alias in getattr(node, "names", ()):
            if isinstance(node, ast.ImportFrom):
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            elif alias.asname:
                aliases[alias.asname] = alias.name
    return aliases


def _read_assigned(top: Sequence[ast.AST], aliases: Mapping[str, str]) -> dict[str, str]:
    """Return what the names of `v1 = tf.compat.v1` stand for."""
    assigned = {}
    for node in top:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Attribute):
            name = next(_dotted_names(node.value, aliases), None)
            assigned.update({t.id: name for t in node.targets if isinstance(t, ast.Name) and name is not None})
    return assigned


def _shows_legacy(node: ast.AST, aliases: Mapping[str, str]) -> bool:
    return any(
        (name + ".").startswith("tf_keras.") or any(part in name + "." for part in _LEGACY_PARTS)
        for part in ast.walk(node)
        for name in _dotted_names(part, aliases)
    )


def _dotted_names(node: ast.AST, aliases: Mapping[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute):
        parts = [node.attr]
        value: ast.expr = node.value
        while isinstance(value, ast.Attribute):
            parts.append(value.attr)
            value = value.value
        if isinstance(value, ast.Name):
            yield ".".join([aliases.get(value.id, value.id), *reversed(parts)])
    elif isinstance(node, ast.Name):
        yield aliases.get(node.id, node.id)


def set_environment(flavour: str) -> None:
    """Set what TensorFlow reads at import.

    Raises:
        CkptMetaError: KERAS_MISSING.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if flavour == LEGACY else "0"
    if flavour == LEGACY and not _has_legacy():
        raise CkptMetaError(
            Code.KERAS_MISSING,
            "This builder needs the legacy Keras 2 (tf_keras), which is not installed: "
            'pip install "tensorboard-plugin-ckptmeta[legacy]"',
        )


def _has_legacy() -> bool:
    return importlib.machinery.PathFinder.find_spec("tf_keras") is not None
