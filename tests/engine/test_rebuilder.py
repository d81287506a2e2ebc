"""What several get who ask for one rebuild at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import Limits, Source
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.rebuild import _MOST_KEPT, Artifacts, Rebuilder
from tb_ckptmeta.engine.specs import parse_spec

_LIMITS = Limits(300.0, 4 << 30)

# Fails once it is let go, with what a file beside it says, and counts how often it has begun.
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
    raise ValueError((here / "said.txt").read_text())
"""


@pytest.fixture
def ask_again(tmp_path: Path) -> Callable[..., tuple[str, list[str], int]]:
    """Ask for a failing builder, do something while it runs, and let two more ask.

    Returns the first error, those of the other two, and how often it began.
    """
    (tmp_path / "fails.py").write_text(_FAILS, encoding="utf-8")
    (tmp_path / "said.txt").write_text("first")
    begun = tmp_path / "begun.txt"
    source = Source(parse_spec(str(tmp_path / "fails.py")), "late", {}, False, "3", None)

    def ask(meanwhile: Callable[[], Any]) -> tuple[str, list[str], int]:
        rebuilder = Rebuilder(_LIMITS)
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(rebuilder.rebuild, source)]
            wait_until(lambda: begun.exists() or asked[0].done(), "the builder has begun")
            meanwhile()
            asked += [pool.submit(rebuilder.rebuild, source) for _ in range(2)]
            wait_until(lambda: [t.people for t in rebuilder._turns._turns.values()] == [3], "three people ask")
            (tmp_path / "go").touch()
            errors = [one.exception() for one in asked]
        assert all(isinstance(error, CkptMetaError) for error in errors)
        return str(errors[0]), [str(error) for error in errors[1:]], len(begun.read_text())

    return ask


def test_builder_that_fails_does_so_once_more_for_all_who_asked_while_it_ran(ask_again: Callable[..., Any]) -> None:
    first, others, begun = ask_again(lambda: None)
    assert "first" in first
    assert (others, begun) == ([first, first], 2)


def test_error_of_code_is_not_given_to_who_asked_after_it_was_edited(
    ask_again: Callable[..., Any], tmp_path: Path
) -> None:
    # Not its source: which files a builder that fails has read, nobody tells.
    first, others, begun = ask_again(lambda: (tmp_path / "said.txt").write_text("second"))
    assert ("second" in first, begun) == (True, 2)
    assert ["second" in other for other in others] == [True, True]


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
