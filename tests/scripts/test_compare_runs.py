"""compare_runs.py: settings that differ, metrics side by side, the plot, bad input."""

import json

import pytest


def make(folder, metrics, history=None, name="imdb", **settings):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"name": name, "version": "1", **settings}))
    (folder / "metrics.json").write_text(json.dumps({"status": "complete", **metrics}))
    if history:
        (folder / "history.csv").write_text(history)
    return folder


@pytest.fixture
def runs(tmp_path):
    history = "epoch,seconds,loss,val_loss\n1,9,0.5,0.6\n2,9,0.4,0.7\n"
    first = make(tmp_path / "a", {"test_loss": 0.25, "seconds_total": 3.25}, history, epochs=2, units=[4, 5], seed=0)
    return first, make(tmp_path / "b", {"test_loss": 0.5, "best_epoch": 1}, history, epochs=3, units=[4, 5], seed=0)


def rows(said):
    return [line.split() for line in said.splitlines() if line.strip() and "─" not in line]


def test_runs_are_compared_and_plotted_beside_the_first(runs, call):
    for _ in range(2):  # the plot is replaced
        code, said, errors = call("compare_runs.py", *runs)
        assert (code, errors) == (0, "")
    plot = runs[0].parent / "a-vs-b.png"
    assert rows(said) == [
        ["Settings", "that", "differ"],
        ["a", "b"],
        ["epochs", "2", "3"],
        ["Metrics"],
        ["a", "b"],
        ["status", "complete", "complete"],
        ["test", "loss", "0.25", "0.5"],
        ["best", "epoch", "1"],
        ["seconds", "3.2"],
        ["plot", "written", "to", str(plot)],
    ]
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_runs_of_other_commands_without_curves(runs, tmp_path, call):
    other = make(tmp_path / "c", {}, name="digits", epochs=2, units=[4, 5], seed=0)
    code, said, _ = call("compare_runs.py", runs[0], other)
    assert code == 0
    assert ["command", "imdb", "digits"] in rows(said)
    assert said.endswith("no plot: the runs have no curves of the same metric in history.csv\n")
    assert not list(tmp_path.glob("*.png"))


def test_the_plot_has_the_chosen_name_and_replaces_nothing(runs, tmp_path, call):
    code, *_ = call("compare_runs.py", *runs, "--plot", tmp_path / "both.svg")
    assert code == 0
    assert b"</svg>" in (tmp_path / "both.svg").read_bytes()
    code, _, said = call("compare_runs.py", *runs, "--plot", tmp_path / "both.svg")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith("error: expected --plot as the name of a new file, got ")


def test_bad_input_is_one_line(runs, tmp_path, call):
    a, b = runs
    for arguments, message in (
        ([], "expected 2 to 7 run folders, each once, got none"),
        ([a], f"expected 2 to 7 run folders, each once, got {a}"),
        ([a, b, a], f"expected 2 to 7 run folders, each once, got {a} {b} {a}"),
        ([a, tmp_path / "no"], f"got {tmp_path}/no: No such file or directory"),
        ([a, b, "--plot", "x.jpeg"], "expected --plot as a name that ends with .png, .svg, .pdf, got x.jpeg"),
    ):
        code, _, said = call("compare_runs.py", *arguments)
        assert (code, said.count("\n")) == (2, 1)
        assert message in said
