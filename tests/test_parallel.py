"""Calls in other processes: results by key, functions sent by value, and workers that are killed."""

import os
import signal
import sys

from k3torch import InputError, parallel
import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def results(function, calls, shared=(), n_jobs=2):
    notices = []
    return dict(parallel.completed(function, calls, shared, n_jobs, notices.append)), notices


def test_results_have_the_keys_of_their_calls_and_functions_may_be_local():
    offset = 10
    found, notices = results(lambda x, y: offset + x * y, {"a": (2,), "b": (3,)}, shared=(5,), n_jobs=1)
    assert (found, notices) == ({"a": 20, "b": 25}, [])


def test_the_calls_of_a_killed_worker_are_made_again(tmp_path):
    def call(number):
        if number == 1 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return number, os.getpid()

    found, notices = results(call, {number: (number,) for number in range(3)})
    assert [found[number][0] for number in range(3)] == [0, 1, 2]
    assert os.getpid() not in {process for _, process in found.values()}
    assert notices == ["a worker process was lost: its work is done again"]


def test_workers_that_are_killed_again_and_again_are_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(parallel, "RETRIES", 1)
    with pytest.raises(InputError, match="expected worker processes that stay alive, got 2 that were lost") as refused:
        results(lambda: os.kill(os.getpid(), signal.SIGKILL), {0: (), 1: ()})
    assert "\n" not in str(refused.value)


def test_errors_of_a_call_are_raised_here():
    def refuse():
        raise InputError("expected something else")

    with pytest.raises(InputError, match="expected something else"):
        results(refuse, {0: (), 1: ()})


def test_what_cannot_be_sent_is_refused_in_one_line():
    import threading

    lock = threading.Lock()
    with pytest.raises(InputError, match="that can be sent to other processes with n_jobs, got: ") as refused:
        results(lambda: lock, {0: ()})
    assert "\n" not in str(refused.value)


def test_a_call_in_a_thread_is_made_in_a_process_of_its_own():
    """Other threads of a worker, as Dask has them, draw from Python's random generator."""
    import joblib

    with joblib.parallel_config("threading"):
        found, _ = results(os.getpid, {0: (), 1: ()})
    assert len(set(found.values())) == 1
    assert os.getpid() not in found.values()
