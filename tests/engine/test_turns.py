"""Who wants what is being made waits for it, no longer than it must; and nothing is kept when nobody waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits, Source
from tb_ckptmeta.engine.rebuild import Rebuilder
from tb_ckptmeta.engine.specs import parse_spec
from tb_ckptmeta.engine.turns import Turns


def test_turns_of_one_key_are_taken_one_after_the_other_and_told_what_came_of_the_last() -> None:
    turns: Turns[str] = Turns()
    told = []

    def want() -> None:
        asked = time.monotonic()
        with turns.take("key") as turn:
            told.append(turn.find_outcome(asked))

    threads = [threading.Thread(target=want) for _ in range(2)]
    with turns.take("key") as turn:
        for thread in threads:
            thread.start()
        while turn.people < 3:
            time.sleep(0.01)
        assert told == []
        turn.end("made")
    for thread in threads:
        thread.join()
    assert told == ["made", "made"]
    with turns.take("key") as turn:
        assert turn.find_outcome(0.0) is None  # nobody was left who had waited for it


def test_turns_keep_nothing_of_those_that_have_ended_however_they_did() -> None:
    turns: Turns[str] = Turns()

    def fail(key: str) -> None:
        with turns.take(key):
            assert len(turns) == 1
            raise ValueError("failed")

    for number in range(3):
        with pytest.raises(ValueError, match="failed"):
            fail(str(number))
    assert len(turns) == 0


def test_turn_that_is_not_ours_yet_is_not_waited_for_when_we_are_cancelled() -> None:
    turns: Turns[str] = Turns()
    cancelled = threading.Event()
    cancelled.set()
    with turns.take("key"), pytest.raises(CkptMetaError) as caught, turns.take("key", cancelled):
        pass
    assert caught.value.code is Code.CANCELLED
    assert len(turns) == 0


def test_rebuild_that_waits_for_another_ends_when_it_is_cancelled(sample: Callable[[str], Path]) -> None:
    rebuilder = Rebuilder(Limits(300.0, 4 << 30))
    source = Source(parse_spec(str(sample("misbehaves"))), "hangs", {}, False, "3", None)
    first, second, runs = threading.Event(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(rebuilder.rebuild, source, on_steps=lambda _: runs.set(), cancelled=first)
        assert runs.wait(60.0)
        other = pool.submit(rebuilder.rebuild, source, cancelled=second)
        try:
            second.set()
            assert isinstance(other.exception(30.0), CkptMetaError)
            assert not one.done()
        finally:
            first.set()
        assert isinstance(one.exception(), CkptMetaError)
