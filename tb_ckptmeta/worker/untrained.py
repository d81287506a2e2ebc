"""Find out what a Keras model does not train: a frozen layer's variables were created trainable. Runs in the worker."""

from __future__ import annotations

from typing import Any

from tb_ckptmeta.worker.flatten import Forward, find_listed
from tb_ckptmeta.worker.keras_private import find_flavour, list_variables


def find_frozen(forward: Forward, root: Any) -> tuple[int, ...]:
    """Return the variables, by their places in `forward`, that are trainable in themselves and not in the model."""
    if find_flavour(root) is None:
        return ()
    trained = set(find_listed(forward, root.trainable_variables))
    listed = find_listed(forward, list_variables(root))
    frozen = {i for i in listed if i is not None and i not in trained and forward.variables[i].trainable}
    return tuple(sorted(frozen))
