"""One bar, drawn in three places: a terminal, a notebook, a log."""

import contextlib
import io
import os
import re
import select
import sys
from types import SimpleNamespace

from k3torch import processes
from k3torch.training import epoch_bar
from k3torch.training.epoch_bar import EpochBar
import pytest
from rich.console import Console
from rich.text import Text
from tests import forked

METRICS = {"accuracy": 0.75, "loss": 0.125, "mae": 1.0, "val_accuracy": 0.5, "val_loss": 0.5, "val_mae": 2.0}


@pytest.fixture
def clock(monkeypatch):
    """The time, which passes only when a test says so."""
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(epoch_bar, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def screen(monkeypatch):
    """What a terminal of 80 columns gets."""
    screen = io.StringIO()
    monkeypatch.setattr(epoch_bar, "place", lambda: "terminal")
    monkeypatch.setattr(
        epoch_bar, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80, legacy_windows=False)
    )
    return screen


@pytest.fixture
def output(monkeypatch):
    """The states of the outputs of a notebook's cell, oldest first; each output is a list."""
    outputs = []

    def display(content, raw, display_id):
        assert (raw, display_id) == (True, True)
        outputs.append([content])
        return SimpleNamespace(update=lambda content, raw: outputs[-1].append(content))

    monkeypatch.setattr(epoch_bar, "place", lambda: "notebook")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(epoch_bar, "place", lambda: "log")


def lines(screen):
    """Return the lines that were shown at some time, without empty ones."""
    printed = Text.from_ansi(screen.getvalue().replace("\r", "\n")).plain
    return [line.rstrip() for line in printed.splitlines() if line.strip()]


def test_on_a_terminal_the_bar_shows_epochs_metrics_and_at_last_the_time_taken(screen):
    with EpochBar("study run", 2) as bar:
        bar.advance({"loss": 0.25})
        bar.advance(METRICS)
    last = lines(screen)[-1]
    assert last.startswith("study run ━")
    assert last.endswith("2/2 loss 0.125/0.500  accuracy 0.750/0.500 0:00")
    assert max(map(len, lines(screen))) <= 80


def test_a_title_with_brackets_is_shown_as_it_is(screen):
    with EpochBar("a [bold] run", 1) as bar:
        bar.advance({"x": 1.0})
    assert "a [bold] run" in screen.getvalue()


def test_the_bar_is_on_standard_error_and_prints_go_where_they_would(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the stream for a terminal
    monkeypatch.setattr(epoch_bar.sys.stderr, "isatty", lambda: True)
    with EpochBar("study run", 1) as bar:
        print("a result")  # standard output is a pipe
        bar.advance({"loss": 0.25})
    out, err = capsys.readouterr()
    assert out == "a result\n"
    assert "study run" in err


def fail_at_once():
    with contextlib.suppress(ZeroDivisionError), EpochBar("t", 2):
        raise ZeroDivisionError
    assert not EpochBar.any_drawn()


def test_on_a_terminal_a_bar_without_anything_to_show_is_removed(screen):
    fail_at_once()
    assert screen.getvalue().endswith("\x1b[1A\x1b[2K")  # one line up, erase it


def test_in_a_notebook_a_bar_without_anything_to_show_is_removed(output):
    fail_at_once()
    assert output[0][1:] == [{"text/plain": "", "text/html": ""}]


def test_in_a_notebook_one_output_is_updated_and_ends_in_the_last_state(output, clock):
    with EpochBar("study <run>", 20) as bar:
        for _ in range(20):
            clock.seconds += 0.05  # 1 s in all
            bar.advance(METRICS)
    (states,) = output
    assert 5 <= len(states) <= 8  # five times a second, at first and at last
    assert "study <run> ━" in states[-1]["text/plain"]
    assert states[-1]["text/plain"].endswith("20/20 loss 0.125/0.500  accuracy 0.750/0.500 0:00")
    assert "\x1b" not in states[-1]["text/plain"]
    assert states[-1]["text/html"].startswith("<pre style=")
    assert "study &lt;run&gt;" in states[-1]["text/html"]


def test_a_status_is_drawn_at_once_until_there_are_metrics(output):
    with EpochBar("t", 2) as bar:
        bar.status("compiling")
        assert "0/2 compiling -:-- left" in output[0][-1]["text/plain"]
        bar.advance({"loss": 1.0})
    assert "1/2 loss 1.000" in output[0][-1]["text/plain"]
    assert all("compiling" not in state["text/plain"] for state in output[0][2:])


@pytest.mark.parametrize("verbose", ["auto", 0, 1])
def test_a_log_gets_notices_and_lines_of_progress_only_if_asked(log, clock, capsys, verbose):
    with EpochBar("t", 30, verbose) as bar:
        bar.notice("training uncompiled")
        bar.status("compiling")
        for _ in range(30):
            clock.seconds += 1
            bar.advance({"loss": 1.0})
    notice, *progress = capsys.readouterr().err.splitlines() or [None]
    assert notice == {"auto": "training uncompiled", 0: None, 1: "training uncompiled"}[verbose]
    counts = [line.split("  ")[:3] for line in progress]
    expected = [["t", count, "loss 1.000"] for count in ("10/30", "20/30", "30/30", "30/30")]
    assert counts == (expected if verbose == 1 else [])


@pytest.mark.parametrize("verbose", ["auto", 1])
def test_a_notice_stays_below_the_bar(output, capsys, verbose):
    with EpochBar("t", 2, verbose) as bar:
        bar.notice("training uncompiled")
        bar.advance({"loss": 1.0})
    assert output[0][-1]["text/plain"].splitlines()[1:] == ["training uncompiled"]
    assert capsys.readouterr().err == ""


def test_verbose_0_shows_nothing_anywhere(output, capsys):
    with EpochBar("t", 2, verbose=0) as bar:
        bar.notice("training uncompiled")
        bar.status("compiling")
        bar.advance({"loss": 1.0})
    assert output == []
    assert capsys.readouterr() == ("", "")


def test_one_bar_is_drawn_at_a_time(output):
    with EpochBar("outer", 1) as outer:
        with EpochBar("inner", 1) as inner:
            inner.advance({"loss": 1.0})
        assert EpochBar.any_drawn()
        outer.advance({"loss": 2.0})
    (states,) = output
    assert not any("inner" in state["text/plain"] for state in states)
    assert "outer" in states[-1]["text/plain"]
    assert not EpochBar.any_drawn()


def test_a_long_epoch_shows_its_batches(output, clock):
    def text():
        return output[0][-1]["text/plain"]

    with EpochBar("t", 3) as bar:
        bar.begin_epoch(0, batches=50)
        bar.begin_batch(9)
        assert "batch" not in text()
        clock.seconds += epoch_bar.LONG_EPOCH
        bar.begin_batch(25)
        assert "0/3 batch 26/50" in text()
        assert bar.position() == 0.5
        clock.seconds += 1
        bar.begin_batch(0, validation=True)
        assert "0/3 validation batch 1 " in text()
        clock.seconds += 1
        bar.advance(METRICS)
        assert "1/3 loss 0.125/0.500  accuracy 0.750/0.500" in text()
        assert bar.position() == 1
        bar.begin_epoch(1, batches=50)
        clock.seconds += epoch_bar.LONG_EPOCH
        bar.begin_batch(10)
        assert "1/3 loss 0.125/0.500  batch 11/50" in text()
    assert "batch" not in text()


def test_an_unknown_number_of_batches_is_that_of_the_epoch_before(output, clock):
    with EpochBar("t", 2) as bar:
        bar.begin_epoch(0, batches=None)
        clock.seconds += epoch_bar.LONG_EPOCH
        bar.begin_batch(19)
        assert "0/2 batch 20 " in output[0][-1]["text/plain"]
        assert bar.position() == 0
        bar.advance({})
        bar.begin_epoch(1, batches=None)
        clock.seconds += epoch_bar.LONG_EPOCH
        bar.begin_batch(5)
        assert "1/2 batch 6/20 " in output[0][-1]["text/plain"]
        assert bar.position() == 1.25


def test_the_place_is_a_terminal_only_if_standard_error_is_one_that_moves_its_cursor(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert epoch_bar.place() == "log"
    monkeypatch.setattr(epoch_bar.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    assert epoch_bar.place() == "terminal"
    monkeypatch.setenv("TERM", "dumb")
    assert epoch_bar.place() == "log"
    monkeypatch.setattr(epoch_bar.sys, "stderr", None)  # a program without a console, on Windows
    assert epoch_bar.place() == "log"


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"loss": 0.1234}, "loss 0.123"),
        ({"mae": 2.0, "loss": 0.5}, "loss 0.500  mae 2.000"),
        ({"mae": 2.0, "loss": 0.5, "val_loss": 0.25, "mse": 9.0}, "loss 0.500/0.250  mae 2.000"),
        ({"mean val_mae": 1.5}, "mean val_mae 1.500"),
        ({"val_mae": 1.5}, "val_mae 1.500"),  # validated without being a metric of training
    ],
)
def test_a_line_has_the_loss_and_the_first_metric(metrics, text):
    assert epoch_bar.shortened(metrics) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-:--"), (0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3661, "1:01:01")]
)
def test_times(seconds, text):
    assert epoch_bar._clock(seconds) == text


# What a user's program or notebook contains.
DATA = """
import k3torch
import keras, numpy as np
x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
y = x[:, 0]
def build(kind=keras.Model):
    inputs = keras.Input((3,))
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse", metrics=["mae"])
    return model
"""
FIT = """
class Prints(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        print("epoch", epoch + 1, self.model.predict(x[:2]).shape, len(self.model.evaluate(x, y)))
history = build(k3torch.FastModel).fit(x, y, validation_split=0.5, epochs=3, callbacks=[Prints()])
"""
CROSS_VALIDATE = "result = k3torch.cross_validate(build, x, y, folds=2, epochs=4, batch_size=8)\n"
CALLBACKS = CROSS_VALIDATE.replace(")", ", callbacks=[keras.callbacks.TerminateOnNaN()])")
SILENT = CALLBACKS.replace("])", "], verbose=0)")
PRINTED = [f"epoch {epoch} (2, 1) 2" for epoch in (1, 2, 3)]
REASON = "training with fit, fold after fold: callbacks act on one model at a time"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_what_a_user_sees_on_a_terminal(tmp_path):
    import pty

    program = tmp_path / "program.py"
    program.write_text(DATA + FIT + CROSS_VALIDATE + CALLBACKS + 'print("silent")\n' + SILENT + 'print("end")\n')
    leader, follower = pty.openpty()
    name, environment = os.ttyname(follower), {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
    process = forked.start(program, output=name, errors=name, env=environment)
    received = b""
    while process.is_alive() or select.select([leader], [], [], 0)[0]:
        if select.select([leader], [], [], 0.1)[0]:
            received += os.read(leader, 1 << 16)
    os.close(follower)
    os.close(leader)
    assert process.exitcode == 0
    shown = lines(io.StringIO(received.decode()))
    assert [line for line in shown if line.startswith("epoch ")] == PRINTED
    assert any(line.startswith("epochs") and " 3/3 loss " in line for line in shown)
    assert any(line.startswith("cross-validation") and "4/4 mean val_mae" in line for line in shown)
    assert any(line.startswith("cross-validation") and " 8/8 loss " in line for line in shown)
    assert REASON in shown
    assert shown[shown.index("silent") :] == ["silent", "end"]
    assert not any("step" in line and "Keras" not in line for line in shown)  # a bar of Keras
    assert max(map(len, shown)) <= 80
    assert received.count(b"\x1b[?25l") == received.count(b"\x1b[?25h") == 3  # the cursor comes back


@pytest.mark.slow
def test_what_a_notebook_contains():
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [DATA, FIT, CROSS_VALIDATE, CALLBACKS, SILENT]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    nothing, fit, stacked, with_fit, silent = (cell.outputs for cell in notebook.cells)
    assert nothing == silent == []
    assert [output.output_type for output in fit] == ["display_data", *["stream"] * (len(fit) - 1)]
    assert all(output.name == "stdout" for output in fit[1:])
    assert "".join(output.text for output in fit[1:]).splitlines() == PRINTED
    for outputs, line in (
        (fit[:1], "epochs ━* 3/3 loss .*  mae .*/.* 0:0."),
        (stacked, "cross-validation ━* 4/4 mean val_mae .* 0:.."),
        (with_fit, f"cross-validation ━* 8/8 loss .*  mae .*/.* 0:..\n{REASON}"),
    ):
        (output,) = outputs
        assert output.output_type == "display_data"
        assert re.fullmatch(line, output.data["text/plain"])
        assert output.data["text/html"].startswith("<pre ")


def test_of_several_processes_one_draws_a_bar_and_prints_notices(screen, monkeypatch, capsys):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    with EpochBar("title", 1) as bar:
        assert not EpochBar.any_drawn()
        bar.notice("a line")
        bar.advance({})
    assert (screen.getvalue(), capsys.readouterr().err) == ("", "")
