"""What several get who ask for one rebuild at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import Limits, Source
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.rebuild import _MOST_KEPT, Artifacts, Rebuilder
from tb_ckptmeta.engine.specs import parse_spec

_LIMITS = Limits(300.0, 4 << 30)

# Fails once it is let go, and counts how often it has begun.
_FAILS = """
import time
from pathlib import Path
from tb_ckptmeta import builder
here = Path(__file__).parent

@builder("late")
def late():
    with (here / "begun.txt").open("a") as file:
        file.write("x")
    while not (here / "go").exists():
        time.sleep(0.01)
    raise ValueError({said!r})
"""


@pytest.fixture
def ask_twice(tmp_path: Path) -> Callable[..., tuple[str, str, int]]:
    """Ask for a failing builder, do something while it runs, ask again; return both errors and how often it began."""
    module = tmp_path / "fails.py"
    module.write_text(_FAILS.format(said="first"), encoding="utf-8")
    begun = tmp_path / "begun.txt"
    source = Source(parse_spec(str(module)), "late", {}, False, "3", None)

    def ask(meanwhile: Callable[[Path], Any]) -> tuple[str, str, int]:
        rebuilder = Rebuilder(_LIMITS)
        with ThreadPoolExecutor(2) as pool:
            one = pool.submit(rebuilder.rebuild, source)
            while not begun.exists():
                assert not one.done(), one.exception()
                time.sleep(0.01)
            meanwhile(module)
            other = pool.submit(rebuilder.rebuild, source)
            while [turn.people for turn in rebuilder._turns._turns.values()] != [2]:
                time.sleep(0.01)
            (tmp_path / "go").touch()
            errors = [asked.exception() for asked in (one, other)]
        assert all(isinstance(error, CkptMetaError) for error in errors)
        return str(errors[0]), str(errors[1]), len(begun.read_text())

    return ask


def test_builder_that_fails_does_so_once_for_all_who_wait(ask_twice: Callable[..., Any]) -> None:
    one, other, begun = ask_twice(lambda module: None)
    assert "first" in one
    assert (other, begun) == (one, 1)


def test_error_of_a_builder_is_not_given_to_who_asked_after_it_was_edited(ask_twice: Callable[..., Any]) -> None:
    one, other, begun = ask_twice(lambda module: module.write_text(_FAILS.format(said="second"), encoding="utf-8"))
    assert ("first" in one, "second" in other, begun) == (True, True, 2)


def test_rebuild_that_is_found_and_has_just_been_forgotten_is_used_all_the_same() -> None:
    made = [Artifacts(Rebuilt((), None, {}, "3"), b"%d" % number) for number in range(_MOST_KEPT + 1)]

    class Forgetful(Digests):
        """Meanwhile others rebuild other models."""

        def are_current(self, read: Dependencies) -> bool:
            for number, artifacts in enumerate(made[1:]):
                rebuilder._keep(f"other {number}", artifacts)
            return True

    rebuilder = Rebuilder(_LIMITS, digests=Forgetful())
    rebuilder._keep("wanted", made[0])
    assert rebuilder._find("wanted") is made[0]
