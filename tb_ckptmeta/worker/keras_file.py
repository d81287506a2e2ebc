"""Open Keras' own files (`.weights.h5`, `.keras`) and list what they hold, trusting nothing. Runs in the worker.

A `.keras` file is a zip archive with a `model.weights.h5` in it (keras/src/saving/saving_lib.py). Of either, the
arrays alone are looked at: never the configuration, no pickle, and nothing outside the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import TEMPORARY, ReadKeras
from tb_ckptmeta.worker.steps import Steps

WEIGHTS = "model.weights.h5"
_METADATA = "metadata.json"
_MOST_METADATA = 1 << 16
_MOST_ENTRIES = 1_000_000
_DEEPEST = 64
_SAMPLE = 4096
# As Keras draws the line (CVE-2026-0897): what is that large and next to nothing on disk is made to fill memory.
_LARGEST_UNPROVEN = 1 << 28
_MOST_EXPANSION = 1000


@dataclass(frozen=True)
class WeightsFile:
    """An open file of weights: its HDF5 part, the same as raw bytes, and what the archive around it says."""

    path: str
    root: Any
    raw: BinaryIO
    checksum: str = ""
    keras_version: str | None = None


def read_keras_file(job: ReadKeras, folder: Path, steps: Steps) -> dict[str, Any]:
    """List the arrays of a Keras file. Result: {"tensors": {path: [shape, dtype, bytes]}, "keras", "fingerprint"}.

    `keras` is "3", "legacy" or None: which one wrote it, where that shows. The fingerprint covers every path, shape
    and dtype, and of each array the first and last bytes: any step of a training changes them.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, CHECKPOINT_UNREADABLE, CHECKPOINT_MISSING, UNSUPPORTED_CHECKPOINT,
            H5PY_MISSING.
    """
    steps.begin("reading the file")
    digest = hashlib.sha256()
    tensors: dict[str, list[Any]] = {}
    with open_weights(job.path, folder / TEMPORARY) as file:
        if "layer_names" in file.root.attrs or "model_weights" in file.root:
            raise CkptMetaError(
                Code.UNSUPPORTED_CHECKPOINT,
                f"{job.path} has the HDF5 layout of Keras 2 (`layer_names`), which is not read. Load it with that "
                "Keras, and save the weights anew: model.save_weights('NAME.weights.h5').",
            )
        digest.update(file.checksum.encode())
        named = False
        for path, dataset in find_datasets(file):
            dtype = find_dtype(dataset)
            shape = list(dataset.shape or ())
            tensors[path] = [shape, dtype, math.prod(shape) * dataset.dtype.itemsize]
            digest.update(json.dumps([path, shape, dtype]).encode() + b"\0" + _sample(dataset, file.raw))
            named = named or "name" in dataset.parent.attrs
        keras = _find_keras(file.keras_version, named, tensors)
    return {"tensors": dict(sorted(tensors.items())), "keras": keras, "fingerprint": digest.hexdigest()}


def _find_keras(version: str | None, named: bool, paths: Iterable[str]) -> str | None:
    """Return which Keras wrote a file: by the version it says, or by what only one of them writes."""
    if version is not None:
        return "legacy" if version.startswith(("0.", "1.", "2.")) else "3"
    if named:
        return "3"  # it notes the names of its layers
    return "legacy" if any(p.startswith(("metrics/", "_layer_checkpoint_")) for p in paths) else None


@contextlib.contextmanager
def open_weights(path: str, temporary: Path) -> Iterator[WeightsFile]:
    """Open the weights of a `.weights.h5` or `.keras` file.

    HDF5 gets bytes and no path: it has no name from which to look for other files, and no lock to wait for.

    Raises:
        CkptMetaError: as `read_keras_file`.
    """
    h5py = import_h5py()
    with contextlib.ExitStack() as stack:
        try:
            outer: BinaryIO = stack.enter_context(open(path, "rb"))
            size = os.fstat(outer.fileno()).st_size
            checksum, version, raw = str(size), None, outer
            if path.endswith(".keras"):
                archive = stack.enter_context(zipfile.ZipFile(outer))
                member = _find_member(archive, path)
                version = _read_version(archive)
                checksum = f"{size} {member.CRC}"
                raw = stack.enter_context(_open_member(archive, member, outer, path, temporary))
            root = stack.enter_context(h5py.File(raw, "r"))
        except FileNotFoundError:
            raise CkptMetaError(Code.CHECKPOINT_MISSING, f"{path} is no longer there.") from None
        except PermissionError as error:
            message = f"{path} cannot be read: {error.strerror or error}."
            raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message) from None
        except zipfile.BadZipFile as error:
            raise _corrupt(path, f"it is no zip archive, or not yet a whole one ({error})") from None
        except (OSError, RuntimeError, ValueError, KeyError, EOFError, NotImplementedError) as error:
            raise _corrupt(path, f"it is no HDF5 file, or not yet a whole one ({error})") from None
        yield WeightsFile(path, root, raw, checksum, version)


def import_h5py() -> Any:
    """Import h5py.

    Raises:
        CkptMetaError: H5PY_MISSING.
    """
    try:
        import h5py
    except ImportError as error:
        raise CkptMetaError(
            Code.H5PY_MISSING,
            "Keras' own files are HDF5, and h5py, which reads it, is not installed. It comes with TensorFlow: "
            'pip install "tensorboard-plugin-ckptmeta[tensorflow]", or pip install h5py.',
            str(error),
        ) from None
    return h5py


def find_datasets(file: WeightsFile) -> Iterator[tuple[str, Any]]:
    """Yield (path, dataset) for every array of a file of weights.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT for whatever leads out of the file, and for what is made to fill memory.
    """
    h5py = import_h5py()
    stack: list[tuple[str, Any, int]] = [("", file.root, 0)]
    seen = {h5py.h5o.get_info(file.root.id).addr}
    entries = 0
    try:
        while stack:
            prefix, group, depth = stack.pop()
            for name in group:
                path = f"{prefix}{name}"
                entries += 1
                if entries > _MOST_ENTRIES or depth > _DEEPEST:
                    raise _corrupt(file.path, "it has more entries, or deeper ones, than any model")
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise _corrupt(file.path, f"{path} is a link ({type(link).__name__}), and links are not followed")
                found = group[name]
                if isinstance(found, h5py.Group):
                    address = h5py.h5o.get_info(found.id).addr
                    if address not in seen:
                        seen.add(address)
                        stack.append((f"{path}/", found, depth + 1))
                elif isinstance(found, h5py.Dataset):
                    _refuse_tricks(file.path, path, found)
                    yield path, found
    except (OSError, RuntimeError, ValueError, KeyError, UnicodeError) as error:
        raise _corrupt(file.path, f"HDF5 cannot read it ({error})") from None


def find_dtype(dataset: Any) -> str:
    """Return TensorFlow's name of an array's type."""
    if dataset.dtype.kind == "V" and _read_text(dataset.attrs, "dtype") == "bfloat16":
        return "bfloat16"  # HDF5 has no such type, and Keras writes a note beside the bytes
    return "string" if dataset.dtype.kind in "OSU" else str(dataset.dtype.name)


def _refuse_tricks(file: str, path: str, dataset: Any) -> None:
    if dataset.external:
        raise _corrupt(file, f"{path} is stored in another file")
    if dataset.is_virtual:
        raise _corrupt(file, f"{path} is a virtual dataset, put together from others")
    declared = math.prod(dataset.shape or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if declared > _LARGEST_UNPROVEN and declared > _MOST_EXPANSION * stored:
        raise _corrupt(file, f"{path} claims {declared} bytes, and {stored} are stored")


def _find_member(archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo:
    try:
        member = archive.getinfo(WEIGHTS)
    except KeyError:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{path} is a zip archive without {WEIGHTS}: its weights are in another format of Keras, or it has none.",
        ) from None
    if member.file_size > _LARGEST_UNPROVEN and member.file_size > _MOST_EXPANSION * member.compress_size:
        raise _corrupt(path, f"{WEIGHTS} claims {member.file_size} bytes, and {member.compress_size} are stored")
    return member


def _read_version(archive: zipfile.ZipFile) -> str | None:
    """Return the version of the Keras that wrote an archive, None where it does not say."""
    try:
        if archive.getinfo(_METADATA).file_size > _MOST_METADATA:
            return None
        with archive.open(_METADATA) as member:
            version = json.loads(member.read(_MOST_METADATA))["keras_version"]
    except (KeyError, TypeError, ValueError, RecursionError, NotImplementedError, zipfile.BadZipFile):
        return None
    return version if isinstance(version, str) else None


@contextlib.contextmanager
def _open_member(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, outer: BinaryIO, path: str, temporary: Path
) -> Iterator[BinaryIO]:
    """Open a member to read it at any place: within the archive as Keras writes it, else unpacked."""
    if member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1:
        outer.seek(member.header_offset)
        header = outer.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise _corrupt(path, f"{WEIGHTS} is not where the archive says")
        name, extra = struct.unpack("<HH", header[26:30])
        with io.BufferedReader(_Window(outer, member.header_offset + 30 + name + extra, member.file_size)) as window:
            yield window
        return
    unpacked = temporary / WEIGHTS
    with archive.open(member) as source, unpacked.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    try:
        with unpacked.open("rb") as file:
            yield file
    finally:
        unpacked.unlink()


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        content = self._file.read(max(0, min(len(view), self._size - self._at)))
        view[: len(content)] = content
        self._at += len(content)
        return len(content)


def _sample(dataset: Any, raw: BinaryIO) -> bytes:
    """Return the first and last bytes of an array, as they are stored."""
    size = dataset.id.get_storage_size()
    offset = dataset.id.get_offset()
    if offset is not None:
        raw.seek(offset)
        first = raw.read(min(size, _SAMPLE))
        raw.seek(offset + max(0, size - _SAMPLE))
        return first + raw.read(min(size, _SAMPLE))
    if dataset.chunks is not None and size:
        chunk = dataset.id.get_chunk_info(0)
        raw.seek(chunk.byte_offset)
        return raw.read(min(chunk.size, _SAMPLE)) + str(size).encode()
    return str(size).encode()


def _read_text(attributes: Any, name: str) -> str | None:
    value = attributes.get(name)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else None


def _corrupt(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{path} is corrupt: {reason}.")
