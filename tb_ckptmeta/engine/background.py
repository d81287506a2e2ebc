"""Call functions in threads that never hold up the end of the process. Runs in the caller's process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def call_in_background(name: str, function: Callable[[], Result]) -> Future[Result]:
    """Call `function` in a thread of its own, called `name`.

    Not by an executor: Python joins those threads before it ends, and a TensorBoard that is asked to stop would wait
    for a worker's time limit.
    """
    future: Future[Result] = Future()

    def call() -> None:
        try:
            result = function()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
