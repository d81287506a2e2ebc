"""Find out while a model is built whether its weights will fit, before they are there. Runs in the worker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code

BASE_BYTES = 600 << 20
"""What TensorFlow takes by itself, about."""
COPIES = 2
"""How often a restore holds the weights: as they are, and as they are read."""


@contextlib.contextmanager
def keep_within(memory: int, who: str) -> Iterator[None]:
    """Refuse to create variables that could not be restored within `memory` bytes.

    Raises:
        CkptMetaError: BUILDER_OUT_OF_MEMORY, before the memory is taken.
    """
    sizes: list[int] = []

    def create(next_creator: Any, **kwargs: Any) -> Any:
        shape, dtype = kwargs.get("shape"), kwargs.get("dtype")
        if shape is not None and dtype is not None:
            # Known before the initial value is computed: Keras says both.
            sizes.append(count_bytes(tf.TensorShape(shape), tf.as_dtype(dtype)))
            require_room(sizes, memory, who)
            return next_creator(**kwargs)
        variable = next_creator(**kwargs)
        sizes.append(count_bytes(variable.shape, variable.dtype.base_dtype))
        require_room(sizes, memory, who)
        return variable

    with tf.variable_creator_scope(create):
        yield


def require_room(sizes: Iterable[int], memory: int, who: str) -> None:
    """Make sure that weights of these sizes can be restored within `memory` bytes.

    Raises:
        CkptMetaError: BUILDER_OUT_OF_MEMORY.
    """
    weights = sum(sizes)
    needed = BASE_BYTES + COPIES * weights
    if needed > memory:
        raise CkptMetaError(
            Code.BUILDER_OUT_OF_MEMORY,
            f"{who} would take {needed / 2**30:.1f} GiB of memory or more, for weights of {weights / 2**30:.1f} GiB or "
            f"more are restored, and it may take {memory / 2**30:.3g} GiB: it was not begun. Raise the limit "
            "(--memory-limit, for TensorBoard --ckptmeta_memory_limit).",
        )


def count_bytes(shape: Any, dtype: Any) -> int:
    """Return the size of a tensor in bytes, 0 where its shape is not known."""
    return (shape.num_elements() or 0) * dtype.size if shape.rank is not None else 0
