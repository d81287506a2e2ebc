"""Read the values of checkpoints a block at a time, whatever their size. Runs in the worker.

V2 checkpoints are read from their shards without TensorFlow: its RestoreV2 takes a slice of a tensor, but reads the
whole of it into memory for each (`BundleReader::GetSliceValue`).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tb_ckptmeta.core.checkpoint import KERAS_FORMATS
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits
from tb_ckptmeta.core.values import Part, StoredValues, Values

Array = np.ndarray[Any, Any]
Read = Callable[[str], Iterator[Array]]
"""Yields the elements of the tensor of a key, as arrays of one dimension, in order of rows."""

BLOCK_BYTES = 1 << 20
"""How much of a tensor is in memory at once; a few copies of it in float64 lie in a processor's cache."""
MOST_STRING_BYTES = 256 << 20
"""How long a tensor of text may be, all together: it is read whole."""

STRING = "string"
_QUANTIZED = {"qint8": "int8", "quint8": "uint8", "qint16": "int16", "quint16": "uint16", "qint32": "int32"}
_PLAIN = frozenset(
    {
        *("float16", "float32", "float64", "complex64", "complex128", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    }
)


class CannotCompare(Exception):
    """Why the values of one variable are not read, as what follows "not compared, "."""


@contextlib.contextmanager
def open_values(values: Values, temporary: Path, limits: Limits) -> Iterator[Read]:
    """Open a checkpoint to read the tensors that `values` names.

    What is yielded raises `CannotCompare` for a tensor that is not read, and CkptMetaError: CHECKPOINT_MISSING,
    CHECKPOINT_CORRUPT, CHECKPOINT_UNREADABLE.

    Raises:
        CkptMetaError: as `worker.keras_file.open_weights`; TENSORFLOW_MISSING for a V1 checkpoint.
    """
    if values.format in KERAS_FORMATS:
        from tb_ckptmeta.worker.keras_file import find_datasets, open_weights

        with open_weights(values.path, temporary) as file:
            datasets = {path: dataset for path, dataset in find_datasets(file) if path in values.tensors}
            yield lambda key: _read_dataset(datasets.get(key), values.tensors[key], key, values.path)
    elif values.format == "v1":
        yield _open_v1(values, limits)
    else:
        yield lambda key: _read_parts(values.tensors[key], key)


def find_numpy_dtype(name: str) -> np.dtype[Any]:
    """Return numpy's type of the elements of a TensorFlow type, as they are stored.

    Raises:
        CannotCompare: it has none, as a resource, or only with ml_dtypes, which is not installed.
    """
    name = _QUANTIZED.get(name, name)
    if name in _PLAIN:
        return np.dtype(name).newbyteorder("<")
    try:
        import ml_dtypes
    except ImportError:
        raise CannotCompare(f"for ml_dtypes is not installed, which knows {name} and comes with TensorFlow") from None
    found = getattr(ml_dtypes, name, None)
    if found is None:
        raise CannotCompare(f"for {name} is no type of numbers or text")
    dtype: np.dtype[Any] = np.dtype(found)
    return dtype


def cut(shape: Sequence[int], most: int) -> Iterator[tuple[slice, ...]]:
    """Cut a tensor into blocks of at most `most` elements, in order of rows.

    Yields a slice for each of the first dimensions; those that follow are taken whole.
    """
    if 0 in shape:
        return
    if not shape or math.prod(shape) <= most:
        yield ()
        return
    row = math.prod(shape[1:])
    if row <= most:
        step = most // row
        for start in range(0, shape[0], step):
            yield (slice(start, min(start + step, shape[0])),)
        return
    for index in range(shape[0]):
        for rest in cut(shape[1:], most):
            yield (slice(index, index + 1), *rest)


def _read_parts(tensor: StoredValues, key: str) -> Iterator[Array]:
    if tensor.dtype == STRING:
        if 0 not in tensor.shape:
            yield _read_strings(tensor, key)
        return
    dtype = find_numpy_dtype(tensor.dtype)
    with contextlib.ExitStack() as stack:
        paths = {part.path for part in tensor.parts}
        files = {path: stack.enter_context(_open_shard(path)) for path in paths}
        for block in cut(tensor.shape, BLOCK_BYTES // dtype.itemsize):
            yield _read_block(tensor, dtype, block, files, key)


def _read_block(
    tensor: StoredValues, dtype: np.dtype[Any], block: tuple[slice, ...], files: dict[str, Any], key: str
) -> Array:
    """Put a block together from the parts of its tensor that lie in it.

    As `cut` makes blocks, what of a part lies in one is a single run of bytes.
    """
    starts = [s.start for s in block] + [0] * (len(tensor.shape) - len(block))
    ends = [s.stop for s in block] + list(tensor.shape[len(block) :])
    made = np.empty([e - s for s, e in zip(starts, ends, strict=True)], dtype)
    filled = 0
    for part in tensor.parts:
        low = [max(s, p) for s, p in zip(starts, part.start, strict=True)]
        high = [min(e, p + n) for e, p, n in zip(ends, part.start, part.shape, strict=True)]
        extent = [h - lo for h, lo in zip(high, low, strict=True)]
        if any(n <= 0 for n in extent):
            continue
        first = 0
        for at, begin, size in zip(low, part.start, part.shape, strict=True):
            first = first * size + (at - begin)
        count = math.prod(extent)
        if (first + count) * dtype.itemsize > part.size:
            raise _corrupt(part.path, f"{key} is shorter than its shape")
        run = _read_bytes(files[part.path], part, first * dtype.itemsize, count * dtype.itemsize)
        place = tuple(slice(lo - s, h - s) for lo, h, s in zip(low, high, starts, strict=True))
        made[place] = np.frombuffer(run, dtype).reshape(extent)
        filled += count
    if filled != made.size:
        raise _corrupt(tensor.parts[0].path, f"the slices of {key} do not make up the whole of it")
    return made.reshape(-1)


def _read_strings(tensor: StoredValues, key: str) -> Array:
    """Read a tensor of text: the lengths as varints, their checksum, and the bytes of all (tensor_bundle.cc)."""
    if len(tensor.parts) != 1:
        raise CannotCompare("for it is text in slices")
    (part,) = tensor.parts
    if part.size > MOST_STRING_BYTES:
        raise CannotCompare(f"for it is more than {MOST_STRING_BYTES >> 20} MiB of text")
    with _open_shard(part.path) as file:
        data = _read_bytes(file, part, 0, part.size)
    lengths = []
    at = 0
    for _ in range(math.prod(tensor.shape)):
        length = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise _corrupt(part.path, f"{key} has lengths that are none")
            byte = data[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    at += 4
    made = np.empty(len(lengths), object)
    for i, length in enumerate(lengths):
        made[i] = data[at : at + length]
        at += length
    if at != len(data) and lengths:
        raise _corrupt(part.path, f"{key} is not as long as its lengths say")
    return made


def _open_shard(path: str) -> Any:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise CkptMetaError(Code.CHECKPOINT_MISSING, f"{path} is no longer there.") from None
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message) from None


def _read_bytes(file: Any, part: Part, offset: int, size: int) -> bytes:
    try:
        file.seek(part.offset + offset)
        data: bytes = file.read(size)
    except OSError as error:
        message = f"{part.path} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message) from None
    if len(data) != size:
        raise _corrupt(part.path, "it is shorter than its index says, or is being written")
    return data


def _read_dataset(dataset: Any, tensor: StoredValues, key: str, path: str) -> Iterator[Array]:
    from tb_ckptmeta.worker.keras_file import find_dtype

    if dataset is None or (tuple(dataset.shape or ()), find_dtype(dataset)) != (tensor.shape, tensor.dtype):
        message = f"{path} has changed while it was read: {key} is another one now. Compare again."
        raise CkptMetaError(Code.CHECKPOINT_MISSING, message)
    dtype = None if tensor.dtype == STRING else find_numpy_dtype(tensor.dtype)
    try:
        for block in cut(tensor.shape, BLOCK_BYTES // max(1, dataset.dtype.itemsize)):
            value = np.asarray(dataset[block])
            if dtype is not None and value.dtype.kind == "V":
                value = value.view(dtype)  # bfloat16, which HDF5 does not know
            yield value.reshape(-1)
    except (OSError, RuntimeError, ValueError) as error:
        raise _corrupt(path, f"{key} cannot be read ({error})") from None


def _open_v1(values: Values, limits: Limits) -> Read:
    from tb_ckptmeta.worker.load import import_tensorflow

    tf = import_tensorflow()
    from tb_ckptmeta.worker.budget import BASE_BYTES

    def read(key: str) -> Iterator[Array]:
        tensor = values.tensors[key]
        # Its table holds a tensor as one message, which is parsed, and copied, whole.
        if BASE_BYTES + 4 * tensor.bytes > limits.memory:
            raise CannotCompare(
                "for a V1 checkpoint is read a whole tensor at a time, which may take more than the memory limit"
            )
        dtype = tf.as_dtype(tensor.dtype)
        try:
            # Not by a CheckpointReader: of V1 it reads no partitioned variables.
            (read,) = tf.raw_ops.RestoreV2(
                prefix=values.path, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype]
            )
        except tf.errors.OpError as error:
            raise _corrupt(values.path, f"{key} cannot be read ({error.message})") from None
        value = read.numpy().reshape(-1)
        if value.dtype.names:  # TensorFlow's types of quantized numbers
            value = value.view(find_numpy_dtype(tensor.dtype))
        if value.size:
            yield value

    return read


def _corrupt(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{path} is corrupt: {reason}.")
