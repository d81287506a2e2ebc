"""Serve a folder as an S3 server does, with moto: python s3_server.py FOLDER LOG [SECONDS].

Each folder in FOLDER is a bucket, each file below it an object whose bytes are the file's: of one that is sparse
nothing is on a disk or in memory. What clients write is kept in memory. The port is printed; LOG gets a line of JSON
for every request: method, path, query, range, and the bytes that the answer has. Each answer takes SECONDS more, as
over a network.
"""

from __future__ import annotations

import json
import logging
import mmap
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import FakeKey, s3_backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

REGION = "us-east-1"
PIECE = 1 << 20


class Bytes(mmap.mmap):
    """A file's bytes, which go over the wire in large pieces: a map itself gives them one by one."""

    def __iter__(self) -> Iterator[bytes]:
        return (self[at : at + PIECE] for at in range(0, len(self), PIECE))


class FileKey(FakeKey):
    """An object whose bytes are those of a file; a range of them is a slice of its map."""

    __module__ = FakeKey.__module__  # moto finds the service there that a class belongs to

    def __init__(self, path: Path, name: str, bucket: str) -> None:
        super().__init__(name, b"", DEFAULT_ACCOUNT_ID, REGION, bucket_name=bucket)
        self._path = path
        status = path.stat()
        self.contentsize = status.st_size
        self.last_modified = datetime.fromtimestamp(status.st_mtime, timezone.utc).replace(tzinfo=None)

    @property
    def etag(self) -> str:
        return f'"{self.contentsize:x}-{self._path.stat().st_mtime_ns:x}"'

    @property
    def value(self) -> Any:
        if not self.contentsize:
            return b""
        with self._path.open("rb") as file:
            return Bytes(file.fileno(), 0, access=mmap.ACCESS_READ)

    @value.setter
    def value(self, new: bytes) -> None:
        self.contentsize = len(new)


class Logged:
    """A WSGI application whose requests are written down."""

    def __init__(self, app: Callable[..., Iterable[bytes]], log: Path, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._log = log.open("a", encoding="utf-8")
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        parts = list(self._app(environ, start_response))
        time.sleep(self._seconds)
        line = {
            "method": environ["REQUEST_METHOD"],
            "path": environ["PATH_INFO"],
            "query": environ["QUERY_STRING"],
            "range": environ.get("HTTP_RANGE"),
            "bytes": sum(map(len, parts)) if environ["REQUEST_METHOD"] == "GET" else 0,
        }
        with self._lock:
            self._log.write(json.dumps(line) + "\n")
            self._log.flush()
        return parts


def plant(folder: Path) -> None:
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for bucket in sorted(p for p in folder.iterdir() if p.is_dir()):
        keys = backend.create_bucket(bucket.name, REGION).keys
        for path in sorted(p for p in bucket.rglob("*") if p.is_file()):
            name = path.relative_to(bucket).as_posix()
            keys[name] = FileKey(path, name, bucket.name)


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    plant(Path(sys.argv[1]))
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    app = Logged(DomainDispatcherApplication(create_backend_app), Path(sys.argv[2]), seconds)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
