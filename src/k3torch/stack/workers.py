"""Threads for epochs of tens of microseconds: handing one over costs less than with ``concurrent.futures``."""

from collections.abc import Callable
import itertools
from queue import SimpleQueue
import threading
from typing import Any, Self

Task = Callable[[], Any]


class Workers:
    """Threads that call functions, and give their results in the order in which they are done.

    Use it as a context manager: on leaving it, the threads end, after the functions that were submitted.

    Ctrl-C may interrupt ``take`` anywhere: results have numbers, and none is dropped before it is counted, so that a
    caller who then takes all that is pending does not wait for a result that is lost.

    Args:
        count: of threads.
        begin: is called once in each thread.
    """

    def __init__(self, count: int, begin: Task):
        self._tasks: SimpleQueue[tuple[Any, Task] | None] = SimpleQueue()
        self._results: dict[int, tuple[Any, Any, BaseException | None]] = {}
        self._numbers = itertools.count()
        self._done: SimpleQueue[None] = SimpleQueue()  # wakes up the caller: one item for each result
        self._threads = [threading.Thread(target=self._work, args=(begin,), daemon=True) for _ in range(count)]
        self._submitted = self._taken = 0

    @property
    def pending(self) -> int:
        """The number of functions whose result was not taken yet."""
        return self._submitted - self._taken

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for _thread in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()

    def submit(self, key: Any, function: Task) -> None:
        """Have a thread call the function; ``take`` returns its result with the key."""
        self._tasks.put((key, function))
        self._submitted += 1

    def take(self) -> tuple[Any, Any]:
        """Wait for a function to return; return its key and its result, or raise what it has raised."""
        while self._taken not in self._results:
            self._done.get()
        key, result, error = self._results[self._taken]
        self._taken += 1
        del self._results[self._taken - 1]
        if error is not None:
            raise error
        return key, result

    def _work(self, begin: Task) -> None:
        begin()
        while (task := self._tasks.get()) is not None:
            key, function = task
            done: tuple[Any, Any, BaseException | None]
            try:
                done = (key, function(), None)
            except BaseException as error:  # raised again in the thread that takes the result
                done = (key, None, error)
            self._results[next(self._numbers)] = done
            self._done.put(None)
