"""Know the registered builders, by asking a worker what each SPEC registers. Runs in the caller's process."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tb_ckptmeta.core.dependencies import UNSETTLED, Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import BuilderDescription, Describe, Limits, Spec
from tb_ckptmeta.core.system import refused_by_system
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.current import Digests, make_key
from tb_ckptmeta.engine.edits import find_read, run_until_unedited
from tb_ckptmeta.engine.process import GRACE_SECONDS, Run, run_worker
from tb_ckptmeta.engine.temporary import temporary_folder

KIND = "builders"
"""What the cache calls what a SPEC registers."""
_MOST_SECONDS = 120.0
"""How long importing a module may take, whatever a rebuild may: nothing is built yet."""
_MOST_BESIDE = 500


@dataclass(frozen=True)
class RegisteredBuilder:
    """One builder, and the SPEC that registers it."""

    spec: Spec
    description: BuilderDescription
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.description.name

    def as_json(self) -> dict[str, Any]:
        return {**self.description.as_json(), "given": self.spec.given, "notes": list(self.notes)}


@dataclass(frozen=True)
class Builders:
    """Every usable builder by name, and what is wrong with the others.

    `complete`: every SPEC has been read; while one is not, no builder can be called missing. `keras`: which Keras they
    will be built with, as far as is known without a checkpoint.
    """

    by_name: Mapping[str, RegisteredBuilder] = field(default_factory=dict)
    problems: tuple[CkptMetaError, ...] = ()
    complete: bool = True
    keras: frozenset[str] = frozenset()

    def get(self, name: str) -> RegisteredBuilder:
        """Return the builder of that name.

        Raises:
            CkptMetaError: UNKNOWN_BUILDER, naming those there are and what keeps others away.
        """
        found = self.by_name.get(name)
        if found is not None:
            return found
        for problem in self.problems:
            if problem.code is Code.DUPLICATE_BUILDER and repr(name) in problem.message:
                raise problem
        names = ", ".join(sorted(self.by_name)) or "none"
        broken = "".join(f" {p.message}" for p in self.problems)
        raise CkptMetaError(Code.UNKNOWN_BUILDER, f"No builder {name!r} is registered. Registered: {names}.{broken}")


@dataclass
class _Listing:
    """What one SPEC registers, and what this was learnt from."""

    builders: tuple[BuilderDescription, ...] = ()
    problems: tuple[CkptMetaError, ...] = ()
    dependencies: Dependencies = field(default_factory=Dependencies)
    keras: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Reading:
    """A SPEC that is being read, and since when.

    `ended`: for a thread that somebody waits for (`join`) counts as ended when an interrupt comes meanwhile.
    """

    cancelled: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)


class Registry:
    """The registered builders of some SPECs, read again whenever a file has changed that their modules read.

    Each SPEC is read by a worker of its own, so that a module that hangs keeps no other one waiting. After an error
    the last good list of a SPEC stays, and the error shows beside it. Safe for threads.
    """

    def __init__(
        self,
        specs: Sequence[Spec],
        limits: Limits,
        run: Run = run_worker,
        *,
        cache: Cache | None = None,
        digests: Digests | None = None,
    ) -> None:
        self._run = run
        self._cache = cache if cache is not None else Cache(None)
        self._digests = digests if digests is not None else Digests()
        self._specs = tuple(specs)
        self._limits = Limits(min(limits.seconds, _MOST_SECONDS), limits.memory)
        self._listings: dict[Spec, _Listing] = {}
        self._readings: dict[Spec, _Reading] = {}
        self._ends_at_exit = False
        self._lock = threading.Lock()

    @property
    def specs(self) -> tuple[Spec, ...]:
        return self._specs

    @property
    def is_loaded(self) -> bool:
        """Whether every SPEC has been read at least once."""
        return all(spec in self._listings for spec in self._specs)

    @property
    def state(self) -> str:
        """ "none" without any SPEC, "loading" while one is being read, also one that has changed, else "ready"."""
        if not self._specs:
            return "none"
        return "ready" if self.is_loaded and not self._readings else "loading"

    def read(self, patience: float | None = None) -> Builders:
        """Return the builders as the source files stand now.

        A SPEC that has changed is read again, and waited for until it has taken `patience` seconds; without end if that
        is None. A SPEC that takes longer counts as it was last read, and goes on being read: anew, where its source is
        edited meanwhile.
        """
        with self._lock:
            for spec in self._specs:
                if spec not in self._readings and not self._is_fresh(spec):
                    if not self._ends_at_exit:  # before Python takes the folder away that a worker writes into
                        atexit.register(self._end)
                        self._ends_at_exit = True
                    reading = self._readings[spec] = _Reading()
                    threading.Thread(target=self._read, args=(spec, reading), daemon=True).start()
            readings = list(self._readings.values())
        for reading in readings:
            reading.ended.wait(None if patience is None else max(0.0, reading.started + patience - time.monotonic()))
        return self.last()

    def last(self) -> Builders:
        """Return the builders as last read, without waiting for anything."""
        listings = dict(self._listings)
        read = [(s, listings[s].builders, listings[s].problems) for s in self._specs if s in listings]
        keras = frozenset(k for listing in listings.values() for k in listing.keras)
        return replace(merge_listings(read), complete=len(read) == len(self._specs), keras=keras)

    def close(self) -> None:
        """Cancel what is being read; one that is asked for later is read as ever."""
        self._end()
        with self._lock:
            atexit.unregister(self._end)
            self._ends_at_exit = False

    def _end(self) -> None:
        with self._lock:
            readings = list(self._readings.values())
        for reading in readings:
            reading.cancelled.set()
        deadline = time.monotonic() + GRACE_SECONDS
        for reading in readings:
            reading.ended.wait(max(0.0, deadline - time.monotonic()))

    def _read(self, spec: Spec, reading: _Reading) -> None:
        listing: _Listing | None
        try:
            listing = self._list(spec, reading.cancelled)
        except Exception as error:  # a full disk, say: whatever it is must not leave the SPEC unread for ever
            text = f"{type(error).__name__}: {error}."
            reason = refused_by_system(error).message if isinstance(error, OSError) else text
            message = f"{spec.given} could not be read: {reason}"
            # Never current: the next one who asks tries again.
            unread = Dependencies({spec.folder: UNSETTLED})
            listing = _Listing((), (CkptMetaError(Code.WORKER_FAILED, message),), unread)
        with self._lock:
            del self._readings[spec]
            if listing is not None:
                self._listings[spec] = listing
        reading.ended.set()

    def _is_fresh(self, spec: Spec) -> bool:
        listing = self._listings.get(spec)
        return listing is not None and self._digests.are_current(listing.dependencies)

    def _list(self, spec: Spec, cancelled: threading.Event) -> _Listing | None:
        """Return what a SPEC registers; None when that was cancelled."""
        key = make_key(vars(spec))
        entry = self._cache.read(KIND, key)
        if entry is not None:
            read = Dependencies.from_json(entry.facts["dependencies"])
            if self._digests.are_current(read):
                return _Listing(_describe(entry.facts["builders"]), (), read, tuple(entry.facts["keras"]))
        before: dict[str, str] = {}
        read_until_then: dict[str, str] = {}

        def run(stop: threading.Event | None) -> Mapping[str, Any]:
            if spec.path:  # before it is read: an edit in between makes the listing stale, not the file forgotten
                before[spec.path] = self._digests.get(spec.path)
            value: Mapping[str, Any] = self._run(Describe(spec, self._limits), folder, spec.given, cancelled=stop)
            return value

        try:
            with temporary_folder() as folder:
                try:
                    value = run_until_unedited(run, folder, self._digests, cancelled)
                finally:
                    read_until_then.update(find_read(folder))
        except CkptMetaError as error:
            if error.code is Code.CANCELLED:
                return None
            last = self._listings.get(spec, _Listing())
            # What would mend it may be a file that is not there yet: whatever changes beside it is worth another try.
            beside = {p: self._digests.get(p) for p in _list_beside(spec)}
            files = {**last.dependencies.files, **beside, **before, **read_until_then}
            watched = replace(last.dependencies, files=files)
            return _Listing(last.builders, (error,), watched, last.keras)
        read = Dependencies.from_json(value["dependencies"])
        if not value["problems"]:
            facts = {"dependencies": read.as_json(), "builders": value["builders"], "keras": value["keras"]}
            self._cache.write(KIND, key, facts)
        read = replace(read, files={**read.files, **before})
        problems = tuple(CkptMetaError.from_json(p) for p in value["problems"])
        return _Listing(_describe(value["builders"]), problems, read, tuple(value["keras"]))


def _list_beside(spec: Spec) -> list[str]:
    """Return the folder that a SPEC's module is in, and the source files in it."""
    parts = [] if spec.module is None else spec.module.split(".")[:-1]
    folder = os.path.join(spec.folder, *parts)
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".py"))
    except OSError:
        names = []
    return [folder, *(os.path.join(folder, n) for n in names[:_MOST_BESIDE])]


def _describe(builders: Iterable[Mapping[str, Any]]) -> tuple[BuilderDescription, ...]:
    return tuple(BuilderDescription.from_json(b) for b in builders)


def merge_listings(
    listings: Iterable[tuple[Spec, Sequence[BuilderDescription], Sequence[CkptMetaError]]],
) -> Builders:
    """Put the builders of several SPECs together; of two of one name neither is usable.

    An explicit builder shadows an entry point's, and says so.
    """
    by_name: dict[str, list[RegisteredBuilder]] = {}
    problems: list[CkptMetaError] = []
    for spec, descriptions, errors in listings:
        problems += errors
        if not descriptions and not errors and not spec.entry_point:
            problems.append(
                CkptMetaError(
                    Code.INVALID_BUILDER,
                    f"{spec.given} was run, and registers no builder. Is it the file that was meant? A builder is a "
                    "function with @builder before it, which returns the model.",
                )
            )
        for description in descriptions:
            by_name.setdefault(description.name, []).append(RegisteredBuilder(spec, description))
    usable: dict[str, RegisteredBuilder] = {}
    for name, found in by_name.items():
        explicit = [b for b in found if not b.spec.entry_point]
        chosen = explicit or found
        if len(chosen) > 1:
            places = " and ".join(b.description.source for b in chosen)
            problems.append(
                CkptMetaError(
                    Code.DUPLICATE_BUILDER,
                    f"Builder {name!r} is registered more than once: {places}. Rename one; until then it is not used.",
                )
            )
            continue
        shadowed = [b for b in found if b is not chosen[0]]
        notes = tuple(f"It shadows the one that {b.spec.given} registers." for b in shadowed)
        usable[name] = RegisteredBuilder(chosen[0].spec, chosen[0].description, notes)
    return Builders(usable, tuple(problems))
