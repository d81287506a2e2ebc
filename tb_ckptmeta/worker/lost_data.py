"""Tell a checkpoint whose weights are corrupt from an export that is wrong. Runs in the worker."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import tensorflow as tf

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import CONTENTS
from tb_ckptmeta.core.leftovers import find_places

# What TensorFlow's BundleReader says (tensorflow/core/util/tensor_bundle/tensor_bundle.cc).
_SAYS = re.compile(r"[^\n]*(?:Checksum does not match|Read less bytes than requested)[^\n]*")
_WHERE = re.compile(r"shard (\d+) \((\d+) bytes\)")
_MOST_NAMED = 5


def find_lost_data(error: BaseException, prefix: str, folder: Path) -> CkptMetaError | None:
    """Return CHECKPOINT_CORRUPT where `error` says that weights below `prefix` are not what was written; else None.

    TensorFlow names the shard and the size of the tensor; which one of that size it is, reading them again tells.
    `folder` is the job's.
    """
    said = _SAYS.search(str(error))
    if said is None and not isinstance(error, tf.errors.DataLossError):
        return None
    where = _WHERE.search(said[0]) if said is not None else None
    contents = Contents.from_json(json.loads((folder / CONTENTS).read_text(encoding="utf-8")))
    same = [k for k, t in contents.tensors.items() if where is None or t.bytes == int(where[2])]
    places = find_places(contents)
    lost = [places[key] for key in _find_unreadable(prefix, same or list(contents.tensors))]
    named = ", ".join(lost[:_MOST_NAMED]) + (", …" if len(lost) > _MOST_NAMED else "")
    tensor = f"of {named} " if lost else ""
    place = f"in {_find_shard(prefix, int(where[1]))}" if where is not None else f"of {prefix}"
    told = (
        re.sub(r"^.*?\}\} ?| \[Op:\w+\]$", "", said[0]).strip() if said is not None else str(error).partition("\n")[0]
    )
    return CkptMetaError(
        Code.CHECKPOINT_CORRUPT,
        f"The weights {tensor}{place} are corrupt: {told}. Nothing was exported. A verdict goes by the index, which is "
        "whole; take another copy of the file, or another checkpoint.",
    )


def _find_unreadable(prefix: str, keys: list[str]) -> list[str]:
    unreadable: list[str] = []
    try:
        reader = tf.train.load_checkpoint(prefix)
    except Exception:  # then there is no more to say
        return unreadable
    for key in keys:
        try:
            reader.get_tensor(key)
        except Exception as error:
            if _SAYS.search(str(error)) or isinstance(error, tf.errors.DataLossError):
                unreadable.append(key)
        if len(unreadable) > _MOST_NAMED:
            break
    return unreadable


def _find_shard(prefix: str, number: int) -> str:
    above, name = os.path.split(prefix)
    start = f"{name}.data-{number:05d}-of-"
    found = [n for n in os.listdir(above) if n.startswith(start)]
    return os.path.join(above, found[0]) if found else f"shard {number} of {prefix}"
