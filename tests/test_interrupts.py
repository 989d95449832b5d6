"""Signals: no traceback, none lost, at whatever moment they come."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from k3torch import cli, interrupts
from k3torch.training.progress import EpochBar
import pytest

UP = """
import runpy, sys
print("up", flush=True)  # the test counts from here: before, Python itself is starting
sys.argv[:] = sys.argv[1:]
sys.modules["__main__"].__file__ = sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_within_the_block_a_signal_raises_and_is_recorded(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), interrupts.raising():
        send(number)
    assert interrupts.last_signal() == number
    assert not interrupts.received()
    interrupts.check()
    assert signal.getsignal(number) == before


def test_a_swallowed_interrupt_is_raised_again_by_the_next_epoch():
    with interrupts.raising():
        with contextlib.suppress(BaseException):  # as Keras does
            send(signal.SIGINT)
        assert interrupts.received()
        with pytest.raises(KeyboardInterrupt):
            EpochBar("bar", 3).advance({})
        with pytest.raises(KeyboardInterrupt):
            EpochBar("bar", 3).__enter__()
    with interrupts.raising():  # the next command starts anew
        assert not interrupts.received()
        interrupts.check()


def test_a_swallowed_ctrl_c_is_raised_again_in_a_notebook_and_other_handlers_stay():
    before = [signal.getsignal(number) for number in interrupts._SIGNALS]

    def swallowed():
        with contextlib.suppress(KeyboardInterrupt):
            send(signal.SIGINT)

    def block():
        with interrupts.not_lost():
            assert signal.getsignal(signal.SIGTERM) is before[1]
            swallowed()
            with pytest.raises(KeyboardInterrupt):
                EpochBar("bar", 3).status("tracing the step")

    assert before[0] is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):  # at the end of the block, once more
        block()
    assert [signal.getsignal(number) for number in interrupts._SIGNALS] == before
    interrupts.check()
    with interrupts.raising():  # a script: its own block goes on
        with interrupts.not_lost():
            swallowed()
        assert interrupts.received()
    received = []
    try:
        signal.signal(signal.SIGINT, lambda *_: received.append(1))  # a program that handles it
        with interrupts.not_lost():
            send(signal.SIGINT)
            interrupts.check()
    finally:
        signal.signal(signal.SIGINT, before[0])
    assert received == [1]


def test_an_interrupt_in_a_destructor_is_neither_printed_nor_lost(capsys):
    class Sends:
        def __del__(self):
            send(signal.SIGINT)

    class Fails:
        def __del__(self):
            raise ZeroDivisionError

    with interrupts.raising():
        repr(Sends())
        assert capsys.readouterr().err == ""
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        repr(Fails())
        assert "ZeroDivisionError" in capsys.readouterr().err


def test_held_finishes_the_block_first():
    done = []

    def block():
        with interrupts.raising(), interrupts.held():
            send(signal.SIGINT)
            interrupts.check()
            done.append(1)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert done == [1]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signal masks")
def test_a_signal_is_kept_from_processes_started_in_the_block_and_not_lost():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('alive')"
    started = []

    def block():
        with interrupts.raising(), interrupts.kept_from_children():
            started.append(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False))
            # To this thread: of a signal to the process, another thread may be told, which does not block it.
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            started.append("still in the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert (started[0].returncode, started[0].stdout, started[0].stderr) == (0, "alive\n", "")
    assert started[1:] == ["still in the block"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_outside_of_the_main_thread_no_handler_is_installed():
    raised = []

    def work():
        try:
            with interrupts.raising():
                interrupts.check()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert raised == []


def test_run_ends_interrupted_whatever_became_of_the_exception(capsys):
    def swallowed(_):
        with contextlib.suppress(BaseException):
            send(signal.SIGTERM)

    def replaced(_):
        try:
            send(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError from error

    for main in (swallowed, replaced):
        with pytest.raises(SystemExit) as stop:
            cli.run(main, None)
        assert stop.value.code == 143
        assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize(
    ("number", "code", "delays"),
    [
        (signal.SIGINT, 130, (0.2, 2.5)),
        (signal.SIGTERM, 143, (0.4,)),
        pytest.param(signal.SIGINT, 130, (0.1, 0.4, 0.8, 1.5, 4.0, 6.0), marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, (0.2, 1.5, 6.0), marks=pytest.mark.slow),
    ],
)
def test_at_any_moment_a_script_ends_with_one_line(number, code, delays, tmp_path):
    """While Python parses, imports Keras, and trains."""
    for i, delay in enumerate(delays):
        script = str(cli.SCRIPTS / "kfold_boston.py")
        command = [
            sys.executable,
            "-c",
            UP,
            script,
            "--epochs",
            "100000",
            "--engine",
            "fit",
            "--out",
            str(tmp_path / str(i)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "up\n"
            time.sleep(delay)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (code, "interrupted\n"), delay


def test_a_signal_that_the_parent_ignores_stays_ignored():
    code = """
import os, signal
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a job that a shell starts with &
from k3torch import interrupts
with interrupts.raising():
    os.kill(os.getpid(), signal.SIGINT)
print(1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
