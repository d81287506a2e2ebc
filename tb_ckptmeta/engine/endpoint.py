"""Ask a file system of fsspec's so that an endpoint which never answers is noticed. Runs in the caller's process.

Drivers wait for minutes: each attempt to connect has a time limit, and is made again and again, by the driver and by
the library below it. That is right where an endpoint is known to be there. So a limit holds for as long as it has not
answered once, and only where nobody has set one: in fsspec's configuration, or by Amazon's variables.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotDone
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

SECONDS = 4.0
"""How long the first answer may take, and then that to the smallest of questions."""

_AMAZON = ("s3", "s3a")
_AMAZONS_OWN = ("AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE", "AWS_DEFAULTS_MODE")
_OPTIONS = ("timeout", "requests_timeout", "session_kwargs", "connection_timeout", "read_timeout", "retries")
_CONFIG_OPTIONS = ("connect_timeout", "read_timeout", "retries")


class Endpoint:
    """A file system, and whether its endpoint has answered yet. Safe for threads.

    `configured`: the options that the user has given it by fsspec's configuration.
    """

    def __init__(self, system: Any, scheme: str, configured: Mapping[str, Any]) -> None:
        self.system = system
        self._answered = not getattr(system, "async_impl", False) or _is_patience_set(scheme, configured)

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the file system.

        Raises:
            OSError: ETIMEDOUT, naming the endpoint; and whatever the driver raises.
        """
        if self._answered:
            return getattr(self.system, method)(*arguments, **options)
        coroutine = getattr(self.system, f"_{method}")(*arguments, **options)
        asked = asyncio.run_coroutine_threadsafe(coroutine, self.system.loop)
        try:
            if not _wait(asked):
                # A long listing perhaps: does it answer what is little?
                self._probe(str(arguments[0]))
            value = asked.result()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError):
            self._answered = True
            raise
        finally:
            asked.cancel()
        self._answered = True
        return value

    def _probe(self, path: str) -> None:
        asked = asyncio.run_coroutine_threadsafe(self.system._info(path), self.system.loop)
        answers = _wait(asked)
        asked.cancel()
        error = asked.exception() if answers else None
        if answers and (error is None or isinstance(error, (FileNotFoundError, PermissionError))):
            return
        url = find_endpoint(self.system)
        reason = str(error) if error is not None else _connect(url)
        why = f" ({reason})" if reason else ""
        message = f"{url or 'its endpoint'} has not answered for {2 * SECONDS:g} s{why}"
        raise OSError(errno.ETIMEDOUT, f"{message}. See whether it is up, and whether this is its address")


def find_endpoint(system: Any) -> str:
    """Return the URL that a file system asks, as far as the driver tells it, or nothing."""
    client = getattr(getattr(system, "_s3", None), "meta", None)
    urls = (
        getattr(client, "endpoint_url", None),  # s3fs, where it has got so far
        getattr(system, "endpoint_url", None),
        getattr(system, "_location", None),  # gcsfs
        getattr(getattr(system, "service_client", None), "primary_endpoint", None),  # adlfs
    )
    return next((url.rstrip("/") for url in urls if isinstance(url, str) and url), "")


def _connect(url: str) -> str:
    """Return why no connection to an endpoint can be made, nothing where one can, or where a proxy makes them."""
    parts = urlsplit(url)
    if not parts.hostname or (parts.scheme in getproxies() and not proxy_bypass(parts.hostname)):
        return ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=1.0).close()
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return ""


def _wait(asked: Future[Any]) -> bool:
    """Wait for the end of something, however it ends; tell whether it has come."""
    try:
        asked.exception(SECONDS)
    except NotDone:
        return asked.done()
    return True


def _is_patience_set(scheme: str, configured: Mapping[str, Any]) -> bool:
    amazon = scheme in _AMAZON and any(os.environ.get(name) for name in _AMAZONS_OWN)
    config = configured.get("config_kwargs") or {}
    return amazon or any(o in configured for o in _OPTIONS) or any(o in config for o in _CONFIG_OPTIONS)
