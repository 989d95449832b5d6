"""Threads for epochs of tens of microseconds: handing one over costs less than with ``concurrent.futures``."""

from collections.abc import Callable
from queue import SimpleQueue
import threading
from typing import Any, Self

Task = Callable[[], Any]


class Workers:
    """Threads that call functions, and give their results in the order in which they are done.

    Use it as a context manager: on leaving it, the threads end, after the functions that were submitted.

    Args:
        count: of threads.
        begin: is called once in each thread.

    Attributes:
        pending: the number of functions whose result was not taken yet.
    """

    def __init__(self, count: int, begin: Task):
        self._tasks: SimpleQueue[tuple[Any, Task] | None] = SimpleQueue()
        self._done: SimpleQueue[tuple[Any, Any, BaseException | None]] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, args=(begin,), daemon=True) for _ in range(count)]
        self.pending = 0

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
        self.pending += 1
        self._tasks.put((key, function))

    def take(self) -> tuple[Any, Any]:
        """Wait for a function to return; return its key and its result, or raise what it has raised."""
        key, result, error = self._done.get()
        self.pending -= 1
        if error is not None:
            raise error
        return key, result

    def _work(self, begin: Task) -> None:
        begin()
        while (task := self._tasks.get()) is not None:
            key, function = task
            try:
                self._done.put((key, function(), None))
            except BaseException as error:  # raised again in the thread that takes the result
                self._done.put((key, None, error))
