"""Find out which array of a Keras file Keras itself loads into which variable, and read them. Runs in the worker.

Keras' own loading is run over the built model, with stand-ins for the file's arrays: what is assigned a stand-in is
what loads that array. Nothing is read, and no variable changes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Source
from tb_ckptmeta.core.renames import parse_renames, rename_path
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.worker.flatten import Forward, find_listed
from tb_ckptmeta.worker.keras_file import find_datasets, find_dtype, open_weights
from tb_ckptmeta.worker.user_code import describe_error

_GROUP = "vars"
# Where Keras 2.13 kept the layers of a model; Keras 3 looks there when it finds nothing else.
_OLD_LAYERS = "_layer_checkpoint_dependencies"


_ADDRESS = re.compile(r" object at 0x[0-9a-fA-F]+")


class StoredArray:
    """What stands for an array of a file while Keras loads it: it can be assigned, and nothing else."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError(f"the array {self.path} is not loaded as it is, but changed first")


@dataclass
class Loaded:
    """What a loading did. `paths`: id of a variable -> the variable, and the path of its array. `notes`: for people.

    `replaced`: arrays that a wrapper has of the variables of what it wraps, which are loaded once more from there.
    """

    paths: dict[int, tuple[Any, str]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def assign(self, variable: Any, value: Any) -> None:
        """Record an assignment; what a layer computes is not the file's."""
        if type(value) is StoredArray:
            before = self.paths.get(id(variable))
            # Of two layers that share a variable the array of neither is the other's.
            if before is not None and _is_within(value.path, before[1]):
                self.replaced.append(before[1])
            self.paths[id(variable)] = (variable, value.path)
            return
        self.paths.pop(id(variable), None)
        name = getattr(variable, "path", None) or variable.name
        self.notes.append(f"Loading gives {name} a value that its layer computes, and none of the file's.")


def _is_within(path: str, wrapper: str) -> bool:
    """Tell whether an array is that of a layer within the layer that another array is of."""
    return path.startswith(wrapper.rpartition(f"{_GROUP}/")[0])


def load_stand_ins(who: str, root: Any, paths: Sequence[str]) -> Loaded:
    """Let Keras load a file of the arrays `paths` into the model `root`, as far as the assignments.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for what is no Keras model; PRIVATE_API_MOVED.
    """
    flavour = keras_private.find_flavour(root)
    if flavour is None or not hasattr(root, "load_weights"):
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"{who} returned a {type(root).__name__}, but its checkpoint is a file of Keras' own, which only a Keras "
            "model loads. Return the model itself.",
        )
    loaded = Loaded()
    groups = _Groups(paths)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        failed = keras_private.load_state(root, flavour, groups, loaded.assign)
    for saveable, error in failed:
        name = getattr(saveable, "name", None) or type(saveable).__name__
        loaded.notes.append(f"{type(saveable).__name__} {name!r} does not load as it is: {describe_error(error)}")
    texts = [str(w.message).partition("\n")[0] for w in warned if issubclass(w.category, UserWarning)]
    loaded.notes += [_ADDRESS.sub("", text) for text in texts]  # the same model, the same notes
    return loaded


def find_loads(
    who: str, source: Source, root: Any, forward: Forward
) -> tuple[tuple[tuple[int | None, str], ...], list[str]]:
    """Return `Rebuilt.loads`, and notes, for a checkpoint that is a file of Keras' own; else nothing."""
    if not source.arrays:
        return (), []
    renames = parse_renames(source.renames)
    paths = ["/".join(rename_path(renames, tuple(path.split("/")))) for path in source.arrays]
    loaded = load_stand_ins(who, root, paths)
    indices = find_listed(forward, [variable for variable, _ in loaded.paths.values()])
    loads = zip(indices, [path for _, path in loaded.paths.values()], strict=True)
    return (*loads, *((None, path) for path in loaded.replaced)), loaded.notes


class _Groups:
    """The groups of a file, as Keras' stores look them up."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._groups: dict[str, dict[str, StoredArray]] = {}
        self._prefixes: set[str] = set()
        for path in paths:
            parts = path.split("/")
            self._prefixes.update("/".join(parts[:i]) for i in range(1, len(parts)))
            if len(parts) > 1 and parts[-2] == _GROUP:
                self._groups.setdefault("/".join(parts[:-2]), {})[parts[-1]] = StoredArray(path)

    def get(self, path: str) -> dict[str, StoredArray]:
        found = self._groups.get(path)
        if found is None and path and _OLD_LAYERS in self._prefixes:
            found = self._groups.get(path.replace("layers", _OLD_LAYERS))
        return dict(found or {})

    def has_path(self, path: str) -> bool:
        return path in self._prefixes


def refuse_tricks(path: str, temporary: Path) -> None:
    """Look a file through once more before Keras opens it: it may have changed since it was inspected.

    Raises:
        CkptMetaError: as `find_datasets`.
    """
    with open_weights(path, temporary) as file:
        for _ in find_datasets(file):
            pass


def read_values(path: str, binding: Mapping[str, str], temporary: Path) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """Yield (variable name, array) for each of `binding`, variable name -> path in the file; one array at a time.

    Raises:
        CkptMetaError: as `find_datasets`; CHECKPOINT_MISSING where an array has gone since.
    """
    with open_weights(path, temporary) as file:
        datasets = dict(find_datasets(file))
        for name, key in binding.items():
            if key not in datasets:
                raise CkptMetaError(Code.CHECKPOINT_MISSING, f"{path} does not hold {key} any more.")
            yield name, _read(datasets[key])


def _read(dataset: Any) -> np.ndarray[Any, Any]:
    value = np.asarray(dataset[()])
    if find_dtype(dataset) == "bfloat16":
        import ml_dtypes

        return value.view(ml_dtypes.bfloat16)
    return value
