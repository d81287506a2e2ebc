"""Files that a URL names: listings with details, sizes, ranges of bytes, by fsspec. Runs in the caller's process.

fsspec, and the driver of a scheme (s3fs, gcsfs), are imported when the first such URL is given. What goes wrong there
is an `OSError`, whatever a driver raises.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from tb_ckptmeta.core.errors import CkptMetaError, Code

if TYPE_CHECKING:
    from tb_ckptmeta.engine.endpoint import Endpoint

_URL = re.compile(r"(?P<scheme>[a-zA-Z][a-zA-Z0-9+.-]*)://(?P<authority>[^/]*)", re.DOTALL)
_LOCAL = ("file", "local")
_DRIVERS = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
}
_EXTRA = 'pip install "tensorboard-plugin-ckptmeta[remote]"'
# What drivers call a file's time, and what else changes with its content.
_TIMES = ("mtime", "LastModified", "last_modified", "updated", "modified", "created")
_MARKS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "VersionId", "sha")


class Entry(NamedTuple):
    """One file or folder of a listing. `modified` in seconds since the epoch; `mark` changes when the file does."""

    name: str
    is_folder: bool
    size: int
    modified: float
    mark: str


def is_remote(path: str) -> bool:
    """Tell whether a path is a URL that names another file system than the local one."""
    match = _URL.match(path)
    return match is not None and match["scheme"].lower() not in _LOCAL


def as_path(path: str) -> str:
    """Return the path that a `file://` URL names, and anything else as it is, but for slashes behind a URL.

    Raises:
        CkptMetaError: BAD_REQUEST for a URL with a password: URLs are shown, and stand in what is exported.
    """
    match = _URL.match(path)
    if match is None:
        return path
    user, at, host = match["authority"].rpartition("@")
    if at and ":" in user:
        raise CkptMetaError(
            Code.BAD_REQUEST,
            f"{match['scheme']}://…@{host} holds a password, which would be shown to whoever sees this logdir's name. "
            "Give it to the driver by its own configuration (fsspec's, or the environment), and leave it out here.",
        )
    if match["scheme"].lower() in _LOCAL:
        return path[match.end("scheme") + len("://") :]
    return path[: match.end()] + path[match.end() :].rstrip("/")


def list_folder(url: str) -> list[Entry]:
    """List a folder with all details, in one call, by name. Entries that do not lie right in it are dropped.

    Raises:
        OSError: FileNotFoundError where there is nothing, NotADirectoryError for a file.
        CkptMetaError: CHECKPOINT_UNREADABLE without the driver.
    """
    endpoint, path = _resolve(url)
    with _os_errors():
        rows = endpoint.ask("ls", path, detail=True)
    if len(rows) == 1 and rows[0]["type"] == "file" and rows[0]["name"].strip("/") == path.strip("/"):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), url)
    base = path.strip("/")
    start = len(base) + 1 if base else 0
    found = {}
    for row in rows:
        inside = row["name"].lstrip("/")
        name = inside[start:].rstrip("/")
        # An object's name may hold anything, and a driver may list the folder's own marker.
        if inside.startswith(f"{base}/"[:start]) and name not in ("", ".", "..") and "/" not in name:
            entry = _make_entry(name, row)
            if entry is not None:
                found[name] = entry
    return [found[name] for name in sorted(found)]


def find_entry(url: str) -> Entry | None:
    """Return what is known of one file or folder, None where there is none.

    Raises:
        OSError, CkptMetaError: as `list_folder`.
    """
    endpoint, path = _resolve(url)
    try:
        with _os_errors():
            return _make_entry(path.rpartition("/")[2], endpoint.ask("info", path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_remote_folder(url: str) -> bool:
    """Tell whether anything lies below a URL.

    Raises:
        OSError, CkptMetaError: as `list_folder`.
    """
    try:
        list_folder(url)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def read_range(url: str, start: int, end: int) -> bytes:
    """Read the bytes `start` to `end` of a file, fewer where it ends before.

    Raises:
        OSError, CkptMetaError: as `list_folder`.
    """
    if end <= start:
        return b""
    endpoint, path = _resolve(url)
    with _os_errors():
        data = bytes(endpoint.ask("cat_file", path, start=start, end=end))
    return data[: end - start]


class RemoteFile(io.RawIOBase):
    """A file that is read by ranges: each `read` fetches what it asks for, and nothing ahead.

    `size`: where a listing has told it; else it is asked for. It fits `BinaryIO`, as far as reading goes.
    """

    def __init__(self, url: str, size: int | None = None) -> None:
        super().__init__()
        self._url = url
        self._at = 0
        if size is None:
            entry = find_entry(url)
            if entry is None or entry.is_folder:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url)
            size = entry.size
        self._size = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._at + size, self._size)
        data = read_range(self._url, self._at, end)
        self._at += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read several ranges, given by offset and length, at a time where the driver can."""
        endpoint, path = _resolve(self._url)
        starts, ends = [s for s, _ in ranges], [s + n for s, n in ranges]
        with _os_errors():
            parts = endpoint.system.cat_ranges([path] * len(ranges), starts, ends, on_error="raise")
            return [bytes(part) for part in parts]


_endpoints: dict[tuple[str, str], Endpoint] = {}
_opening: dict[tuple[str, str], threading.Lock] = {}
_endpoints_lock = threading.Lock()


def _resolve(url: str) -> tuple[Endpoint, str]:
    """Return the file system of a URL, and what that calls its path.

    Only the scheme and what stands before the first slash choose it: behind it are names out of a logdir, which is not
    trusted, and in which fsspec would read other file systems (`::`) and options (`?`).
    """
    match = _URL.match(url)
    assert match is not None, url
    if "::" in match["authority"]:
        raise OSError(errno.EINVAL, "chained URLs (::) are not supported")
    key = (match["scheme"].lower(), match["authority"])
    with _endpoints_lock:
        opening = _opening.setdefault(key, threading.Lock())
    with opening:  # one's own: some drivers look for credentials in the network
        endpoint = _endpoints.get(key)
        if endpoint is None:
            endpoint = _endpoints[key] = _open(*key)
    return endpoint, endpoint.system._strip_protocol(url)


def _open(scheme: str, authority: str) -> Endpoint:
    shown = f"{scheme}://{authority}"
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError as error:
        driver = f" {_DRIVERS[scheme]}" if scheme in _DRIVERS else ""
        message = f"{shown} cannot be read: fsspec is not installed. {_EXTRA}{driver}"
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message) from error
    try:
        kind = fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        what = f"pip install {_DRIVERS[scheme]}" if scheme in _DRIVERS else str(error)
        message = f"{shown} cannot be read: its driver for fsspec is not installed. {what}"
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message, str(error)) from error
    except ValueError:
        message = (
            f"{shown} cannot be read: fsspec knows no scheme {scheme!r}. Is it spelt right, or its driver missing?"
        )
        raise CkptMetaError(Code.CHECKPOINT_UNREADABLE, message) from None
    with _os_errors():
        # An instance of our own, for its listings must not be remembered: TensorBoard's may.
        system = kind(**kind._get_kwargs_from_urls(f"{shown}/"), skip_instance_cache=True)
    cache = getattr(system, "dircache", None)
    if cache is not None:
        cache.use_listings_cache = False
    from tb_ckptmeta.engine.endpoint import Endpoint  # which imports asyncio, as fsspec does

    return Endpoint(system, scheme, fsspec.config.apply_config(kind, {}))


def _make_entry(name: str, row: Mapping[str, Any]) -> Entry | None:
    if row["type"] not in ("file", "directory"):
        return None  # a link, a socket
    size = int(row.get("size") or 0)
    modified = next((t for t in (_read_time(row.get(key)) for key in _TIMES) if t is not None), 0.0)
    marks = [str(row[key]) for key in _MARKS if row.get(key)]
    return Entry(name, row["type"] == "directory", size, modified, "/".join([str(size), str(modified), *marks]))


def _read_time(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        except ValueError:
            return None
    if isinstance(value, datetime):
        return value.timestamp()
    return float(value) if isinstance(value, (int, float)) else None


@contextmanager
def _os_errors() -> Iterator[None]:
    """Make an `OSError` of whatever a driver raises: of Google's and Amazon's own errors many are none."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{error} ({type(error).__name__})") from error
