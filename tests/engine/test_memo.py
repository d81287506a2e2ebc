"""What a function returned is remembered, and no more than so much of it."""

from __future__ import annotations

from tb_ckptmeta.engine.memo import Memo


def test_each_answer_is_made_once_while_there_is_room() -> None:
    asked: list[int] = []

    def square(number: int) -> int:
        asked.append(number)
        return number * number

    memo = Memo(square, 3)
    assert [memo[n] for n in (2, 3, 2, 0, 0, 3)] == [4, 9, 4, 0, 0, 9]
    assert asked == [2, 3, 0]
    assert memo[5] == 25
    assert len(memo) == 1
    assert [memo[n] for n in (5, 2)] == [25, 4]
    assert asked == [2, 3, 0, 5, 2]
