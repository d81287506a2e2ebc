"""Read the registered builders in the background, for it takes seconds. Runs in TensorBoard's process."""

from __future__ import annotations

import threading

from tb_ckptmeta.engine.registry import Builders, Registry


class BuilderLoading:
    """The builders as last read, and a thread that reads them again. Safe for threads."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """ "none" without any SPEC, "loading" until every SPEC has been read once, then "ready"."""
        if not self._registry.specs:
            return "none"
        return "ready" if self._registry.is_loaded else "loading"

    def begin(self) -> threading.Thread | None:
        """Begin to read what has changed, unless that goes on already."""
        if not self._registry.specs:
            return None
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._registry.read, name="ckptmeta-builders", daemon=True)
                self._thread.start()
            return self._thread

    def read(self, wait: float = 0.0) -> tuple[Builders, bool]:
        """Return the builders as last read, and whether each SPEC has been.

        The first time, wait for that, up to `wait` seconds.
        """
        thread = self.begin()
        if thread is not None and wait and not self._registry.is_loaded:
            thread.join(wait)
        return self._registry.last(), self._registry.is_loaded
