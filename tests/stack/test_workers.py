"""Threads that call functions and give back what these return or raise."""

import threading

from k3torch.stack.workers import Workers
import pytest


def test_results_come_back_with_their_keys_and_each_thread_begins_once():
    begun = []
    with Workers(3, lambda: begun.append(threading.get_ident())) as workers:
        for number in range(20):
            workers.submit(number, lambda number=number: number**2)
        assert workers.pending == 20
        results = dict(workers.take() for _ in range(20))
    assert results == {number: number**2 for number in range(20)}
    assert workers.pending == 0
    assert len(begun) == 3


def test_an_error_is_raised_where_the_result_is_taken_and_the_threads_go_on():
    def fail():
        raise KeyError("in a thread")

    with Workers(1, lambda: None) as workers:
        workers.submit("a", fail)
        workers.submit("b", lambda: 1)
        with pytest.raises(KeyError, match="in a thread"):
            workers.take()
        assert workers.take() == ("b", 1)


def test_on_leaving_it_waits_for_what_was_submitted():
    done = []
    gate = threading.Event()
    with Workers(1, lambda: None) as workers:
        workers.submit(0, lambda: (gate.wait(5), done.append(1)))
        gate.set()
    assert done == [1]
    assert not any(thread.is_alive() for thread in workers._threads)


def test_an_interrupt_between_waiting_for_a_result_and_having_it_loses_none():
    class Interrupted:
        """A queue whose ``get`` is interrupted once it has the item."""

        calls = 0

        def __init__(self, queue):
            self.put, self._get = queue.put, queue.get

        def get(self):
            item = self._get(timeout=5)
            self.calls += 1
            if self.calls == 1:
                raise KeyboardInterrupt
            return item

    with Workers(1, lambda: None) as workers:
        workers._done = Interrupted(workers._done)
        workers.submit("a", lambda: 1)
        with pytest.raises(KeyboardInterrupt):
            workers.take()
        assert workers.pending == 1
        workers.submit("b", lambda: 2)
        assert [workers.take(), workers.take()] == [("a", 1), ("b", 2)]
        assert workers.pending == 0
