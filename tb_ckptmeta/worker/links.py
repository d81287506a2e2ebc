"""Know which symbolic links a path leads through. Runs in the worker."""

from __future__ import annotations

import os

_MOST_LINKS = 40
"""How many the system follows for one path (Linux: path_resolution(7))."""

_readlink = os.readlink  # while user code runs, os.readlink tells of who asks


def find_links(path: str) -> list[str]:
    """Return the symbolic links that an absolute path leads through, each where it lies itself; also those of links."""
    links: list[str] = []
    place, parts = os.sep, path.split(os.sep)[::-1]
    while parts and len(links) < _MOST_LINKS:
        part = parts.pop()
        if part == "..":
            place = os.path.dirname(place)
        elif part not in ("", "."):
            place = os.path.join(place, part)
            try:
                target = _readlink(place)
            except (OSError, ValueError):  # it is none, or there is nothing
                continue
            links.append(place)
            parts += target.split(os.sep)[::-1]
            place = os.sep if os.path.isabs(target) else os.path.dirname(place)
    return links
