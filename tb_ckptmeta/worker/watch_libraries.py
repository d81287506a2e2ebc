"""Notice which files TensorFlow's and HDF5's own code opens for user code. Runs in the worker.

The private names that this is built on, in one place, with a guard. A module that is not loaded reads nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.core.errors import CkptMetaError, Code

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch

_FILE_IO = "tensorflow.python.lib.io.file_io"
_EAGER = "tensorflow.python.pywrap_tfe"
_READER = "tensorflow.python.training.py_checkpoint_reader"
_LIBRARY = "tensorflow.python.framework.load_library"
_HDF5 = "h5py.h5f"
_NAMES = (
    (_FILE_IO, "_pywrap_file_io.BufferedInputStream"),
    (_FILE_IO, "_pywrap_file_io.CopyFile"),
    (_FILE_IO, "_pywrap_file_io.CreateDir"),
    (_FILE_IO, "_pywrap_file_io.FileExists"),
    (_FILE_IO, "_pywrap_file_io.GetChildren"),
    (_FILE_IO, "_pywrap_file_io.GetMatchingFiles"),
    (_FILE_IO, "_pywrap_file_io.IsDirectory"),
    (_FILE_IO, "_pywrap_file_io.RecursivelyCreateDir"),
    (_FILE_IO, "_pywrap_file_io.RenameFile"),
    (_FILE_IO, "_pywrap_file_io.Stat"),
    (_FILE_IO, "_pywrap_file_io.WritableFile"),
    (_EAGER, "TFE_Py_FastPathExecute"),
    (_READER, "CheckpointReader.__init__"),
    (_LIBRARY, "py_tf.TF_LoadLibrary"),
    (_HDF5, "open"),
)
# Operations that read a file when they are run -> where its name is among what they are called with.
_OPERATIONS = {"ReadFile": 3, "InitializeTableFromTextFile": 4, "InitializeTableFromTextFileV2": 4, "MatchingFiles": 3}


def find_moved_names() -> list[str]:
    """Return the private names that the loaded TensorFlow and h5py do not have (any more)."""
    moved = []
    for module, path in _NAMES:
        value: Any = sys.modules.get(module)
        if value is None:
            continue
        for name in path.split("."):
            value = getattr(value, name, None)
        if value is None:
            moved.append(f"{module}.{path}")
    return moved


def require_names() -> None:
    """Make sure that what is loaded has the names that we build on.

    Raises:
        CkptMetaError: PRIVATE_API_MOVED.
    """
    if moved := find_moved_names():
        raise CkptMetaError(
            Code.PRIVATE_API_MOVED,
            f"The installed TensorFlow or h5py has moved what tb_ckptmeta builds on: {', '.join(moved)}. "
            "Update tb_ckptmeta, or use versions that its release notes name.",
        )


class Libraries:
    """Tells of files that are read by `tf.io.gfile`, by operations that are run at once, by checkpoint readers, as
    libraries of operations, and as HDF5. Not of those that `tf.data` reads in threads of its own.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._left = {
            _FILE_IO: _watch_file_io,
            _EAGER: _watch_operations,
            _READER: _watch_checkpoints,
            _LIBRARY: _watch_op_libraries,
            _HDF5: _watch_hdf5,
        }

    def look(self) -> None:
        """Listen to those that have been loaded meanwhile."""
        for name in [name for name in self._left if name in sys.modules]:
            with contextlib.suppress(AttributeError):  # it is being loaded
                self._left[name](sys.modules[name], self._watch)
                del self._left[name]


def _watch_file_io(file_io: Any, watch: Watch) -> None:
    _tell_creation(file_io._pywrap_file_io.BufferedInputStream, watch.add_file)
    _tell_creation(file_io._pywrap_file_io.WritableFile, watch.add_made)
    told: dict[str, Callable[[Any], object]] = {
        "CopyFile": watch.add_file,
        "RenameFile": watch.add_file,
        "CreateDir": watch.add_made,
        "RecursivelyCreateDir": watch.add_made,
        "FileExists": watch.add_kind,
        "IsDirectory": watch.add_kind,
        "Stat": watch.add_kind,
        "GetChildren": watch.add_folder,
        "GetMatchingFiles": watch.add_pattern,
    }
    file_io._pywrap_file_io = _Telling(file_io._pywrap_file_io, told)


def _watch_checkpoints(reader: Any, watch: Watch) -> None:
    def tell(prefix: Any) -> None:
        """A checkpoint is told by its index, where it has one: values change with it."""
        for path in (os.fsdecode(prefix), f"{os.fsdecode(prefix)}.index"):
            watch.add_file(path)

    _tell_creation(reader.CheckpointReader, tell)


def _watch_op_libraries(library: Any, watch: Watch) -> None:
    library.py_tf = _Telling(library.py_tf, {"TF_LoadLibrary": watch.add_file})


def _watch_hdf5(hdf5: Any, watch: Watch) -> None:
    def tell(name: Any) -> None:
        if not os.fsdecode(name).startswith("<"):  # an object of Python, which h5py calls by what it shows of itself
            watch.add_file(name)

    hdf5.open = _tell(hdf5.open, tell, "name")


class _Telling:
    """A module of compiled functions, some of which tell what their first argument is."""

    def __init__(self, module: Any, told: Mapping[str, Callable[[Any], object]]) -> None:
        self.__dict__.update({name: _tell(getattr(module, name), tell) for name, tell in told.items()})
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _tell(function: Callable[..., Any], tell: Callable[[Any], object], keyword: str = "") -> Callable[..., Any]:
    """Return the function, and tell what its first argument is, which may be given by `keyword`."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        if arguments or keyword in options:
            tell(arguments[0] if arguments else options[keyword])
        return function(*arguments, **options)

    return call


def _tell_creation(kind: Any, tell: Callable[[Any], object]) -> None:
    """Tell what objects of a class are made of. It stays the class that it is: others call what it has, and compare."""
    initialize = kind.__init__

    def call(self: Any, *arguments: Any, **options: Any) -> None:
        if arguments:
            tell(arguments[0])
        initialize(self, *arguments, **options)

    kind.__init__ = call


def _watch_operations(eager: Any, watch: Watch) -> None:
    execute = eager.TFE_Py_FastPathExecute

    def tell(*arguments: Any) -> Any:
        place = _OPERATIONS.get(arguments[1]) if len(arguments) > 1 else None
        if place is not None and place < len(arguments):
            add = watch.add_pattern if arguments[1] == "MatchingFiles" else watch.add_file
            for name in _flatten(arguments[place]):
                add(name)
        return execute(*arguments)

    eager.TFE_Py_FastPathExecute = tell


def _flatten(value: Any) -> Iterable[str | bytes]:
    """Yield the texts in what an operation is given: a text, a list, an array or a tensor."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (str, bytes)):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _flatten(part)
    elif hasattr(value, "numpy"):
        yield from _flatten(value.numpy())
    elif hasattr(value, "tolist"):
        yield from _flatten(value.tolist())
