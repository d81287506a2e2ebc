"""Decide who may make this TensorBoard run builders. Runs in TensorBoard's process.

TensorBoard itself checks neither Host nor Origin. A page elsewhere could reach it through the user's browser, by a
plain request or under a host name of its own that it lets point here (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from tb_ckptmeta.core.errors import CkptMetaError, Code

FLAG = "--ckptmeta_allowed_hosts"


class Access:
    """The host names that this TensorBoard answers under."""

    def __init__(self, host: str | None, allowed_hosts: Iterable[str]) -> None:
        allowed = [h.strip() for given in allowed_hosts for h in given.split(",")]
        self._allowed = {_fold(_split_host(h)) for h in allowed if h}
        self._known = {"localhost", *self._allowed}
        if host:
            self._known.add(_fold(host))
        self._machine: set[str] | None = None

    def check(self, headers: Headers) -> None:
        """Let a request pass that comes from this TensorBoard's own page, or from no page at all.

        Raises:
            CkptMetaError: FORBIDDEN_HOST or FORBIDDEN_ORIGIN, naming the flag.
        """
        host = headers.get("Host", "")
        name = _fold(_split_host(host))
        if not self._knows(name):
            raise CkptMetaError(
                Code.FORBIDDEN_HOST,
                f"This TensorBoard does not know itself under the host name {name!r}, and runs no builder for it. If "
                f"it is yours, start TensorBoard with {FLAG} {name or 'HOST'}.",
            )
        origin = headers.get("Origin")
        if origin is not None and not self._is_own(origin, host):
            raise CkptMetaError(
                Code.FORBIDDEN_ORIGIN,
                f"A page of {origin!r} asked for this, which is not this TensorBoard's own ({host}). If it is, behind "
                f"a proxy, start TensorBoard with {FLAG} {_parse_origin(origin)[0] or 'HOST'}.",
            )
        # https://www.w3.org/TR/fetch-metadata/: "none" is the user's own doing, such as the address bar.
        site = headers.get("Sec-Fetch-Site")
        if site is not None and site.strip().lower() not in ("same-origin", "none"):
            raise CkptMetaError(
                Code.FORBIDDEN_ORIGIN,
                f"Another site's page asked for this (Sec-Fetch-Site: {site}); builders run only for this "
                f"TensorBoard's own. Open it in a tab of its own. ({FLAG} names further hosts.)",
            )

    def is_foreign(self, netloc: str, headers: Headers) -> bool:
        """Tell whether a page at `netloc` is another's than this TensorBoard's."""
        return not self._is_own(f"http://{netloc}", headers.get("Host", ""))

    def _knows(self, name: str) -> bool:
        if not name:
            return False
        if name in self._known or _is_address(name):
            return True
        if self._machine is None:
            # Asked for only now: the fully qualified name may take the resolver a while.
            self._machine = {_fold(n) for n in (socket.gethostname(), socket.getfqdn()) if n}
        return name in self._machine

    def _is_own(self, origin: str, host: str) -> bool:
        """Tell whether an origin is the host that was asked, or, behind a proxy, one that was allowed by name."""
        name, netloc = _parse_origin(origin)
        if not name:
            return False  # "null": a sandboxed frame, a file, a redirect
        return netloc == host.lower() or name in self._allowed


def _split_host(host: str) -> str:
    """Return the name of `name:port`, `[::1]:port` without brackets."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name if not rest or rest.startswith(":") else host
    if host.count(":") > 1:  # an IPv6 address as --host takes it
        return host
    return host.partition(":")[0]


def _fold(name: str) -> str:
    return name.lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _parse_origin(origin: str) -> tuple[str, str]:
    """Return the host name of an origin, and the name with its port; both empty for what is none."""
    try:
        parts = urlsplit(origin)
        return _fold(parts.hostname or ""), parts.netloc.lower()
    except ValueError:
        return "", ""
