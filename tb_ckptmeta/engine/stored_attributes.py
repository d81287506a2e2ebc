"""Write what a checkpoint holds of a variable as attributes of its node. Runs in the caller's process."""

from __future__ import annotations

from tensorboard.compat.proto import node_def_pb2, types_pb2

from tb_ckptmeta.core.contents import DTYPE_NAMES, Contents, StoredTensor
from tb_ckptmeta.engine.attribute_fields import Rest, write_text_attribute
from tb_ckptmeta.engine.memo import Memo
from tb_ckptmeta.engine.node_table import make_node

_DTYPE_NUMBERS = {name: number for number, name in DTYPE_NAMES.items()}
_MOST_KNOWN = 1 << 16
_KEY = b"checkpoint_key"
_BEFORE_KEY = 2
"""How many of the others come before it: `checkpoint_bytes` and `checkpoint_dtype`."""
_NOT_STORED = (write_text_attribute(_KEY, b"(not in the checkpoint)"),)


class StoredAttributes:
    """Writes `checkpoint_key`, `checkpoint_shape`, `checkpoint_dtype` and `checkpoint_bytes` of variables."""

    def __init__(self, contents: Contents) -> None:
        self._tensors = contents.tensors
        self._described = Memo(_describe, _MOST_KNOWN)

    def write(self, key: str | None) -> Rest:
        """Return the attributes of the variable that `key` restores, in order; None restores none."""
        if key is None:
            return _NOT_STORED
        described = self._described[self._tensors[key]]
        # Names are escaped for the dashboard, which shows other characters as octal numbers.
        named = write_text_attribute(_KEY, key.encode("ascii", "backslashreplace"))
        return (*described[:_BEFORE_KEY], named, *described[_BEFORE_KEY:])


def _describe(stored: StoredTensor) -> Rest:
    node = node_def_pb2.NodeDef()
    node.attr["checkpoint_bytes"].i = stored.bytes
    for size in stored.shape:
        node.attr["checkpoint_shape"].shape.dim.add(size=size)
    if not stored.shape:
        node.attr["checkpoint_shape"].shape.SetInParent()
    number = _DTYPE_NUMBERS.get(stored.dtype)
    if number is not None and number in types_pb2.DataType.values():
        node.attr["checkpoint_dtype"].type = number
    else:  # newer than this TensorBoard's protos, or than we
        node.attr["checkpoint_dtype"].s = stored.dtype.encode("ascii")
    return make_node(node)[3]
