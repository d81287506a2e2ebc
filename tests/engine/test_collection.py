"""What the pause of the garbage collection is for, and that it hides no garbage for good."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from tb_ckptmeta.engine.collection import _MANY, _MOST_HIDDEN, collection_paused
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner

SCANS = 1000


class Cycle:
    """What only the garbage collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def nothing_is_young() -> Iterator[None]:
    gc.collect()
    yield
    gc.unfreeze()
    gc.enable()


def make_garbage() -> weakref.ref[Cycle]:
    return weakref.ref(Cycle())


def test_pause_leaves_the_garbage_collection_as_it_was() -> None:
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    with collection_paused():
        pass
    assert not gc.isenabled()


def test_much_that_was_made_is_not_looked_through_as_young_garbage() -> None:
    with collection_paused():
        made = [[number] for number in range(_MANY + 1)]
    young = {id(o) for generation in (0, 1) for o in gc.get_objects(generation)}
    assert not young & set(map(id, made))


def test_what_somebody_has_frozen_is_not_thawed() -> None:
    gc.freeze()
    frozen = gc.get_freeze_count()
    with collection_paused():
        made = [[number] for number in range(_MANY + 1)]
    assert frozen > 1000
    assert gc.get_freeze_count() == pytest.approx(frozen, abs=500)  # some go meanwhile
    assert made


def test_garbage_is_collected_however_often_an_unchanged_logdir_is_scanned(tmp_path: Path) -> None:
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"")
    scanner = Scanner([Logdir("", str(tmp_path))])
    garbage, full = [], gc.get_stats()[2]["collections"]
    for _ in range(SCANS):
        garbage.append(make_garbage())
        assert len(scanner.scan().checkpoints) == 1
    # A collection comes with every 700 objects, and a scan makes more than one.
    assert sum(one() is not None for one in garbage) < SCANS // 2
    # Nor is everything looked through again and again for that.
    assert gc.get_stats()[2]["collections"] - full < SCANS // 50


def test_garbage_is_collected_where_much_is_made_each_time() -> None:
    garbage, kept = [], []
    for _ in range(2 * _MOST_HIDDEN):
        garbage.append(make_garbage())
        with collection_paused():
            kept.append([[number] for number in range(_MANY + 1)])
    assert sum(one() is not None for one in garbage) <= _MOST_HIDDEN


def test_pauses_of_several_threads_end_with_the_collection_enabled() -> None:
    def pause() -> None:
        for _ in range(200):
            with collection_paused():
                pass

    threads = [threading.Thread(target=pause) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()
