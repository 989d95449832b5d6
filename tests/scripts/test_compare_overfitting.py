"""compare_overfitting.py on 300 synthetic reviews: which samples it uses, what it compares, what it refuses."""

from dataclasses import replace
import importlib.util
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Output, Resumable
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location(
    "compare_overfitting", Path(__file__).parents[2] / "scripts/compare_overfitting.py"
)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """300 reviews of 30 words, positive where more of them are from the first half of the vocabulary."""
    rng = np.random.default_rng(0)
    lines = ["text,label"]
    for _ in range(300):
        lean = rng.choice([0.35, 0.65])
        words = np.where(rng.random(30) < lean, rng.integers(0, 100, 30), rng.integers(100, 200, 30))
        lines.append(" ".join(f"word{word}" for word in words) + f",{int(lean > 0.5)}")
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    path.write_text("\n".join(lines))
    return str(path)


def _settings(table, out, **choices):
    small = {"source": table, "num_words": 300, "epochs": 3, "batch_size": 32}
    return script.Settings(**small | choices, output=Output(out))


def _metrics(out):
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("overfit") / "run"
    script.main(_settings(table, out, variants=("original", "l1", "dropout", "mine")))
    return out


def test_only_the_plots_of_variants_that_were_trained(run):
    plots = sorted(path.name for path in run.glob("*.png"))
    assert plots == ["all.png", "original-vs-dropout.png", "original-vs-l1.png", "original-vs-mine.png"]


@pytest.mark.parametrize(
    ("variants", "plots"),
    [
        (("original", "l2"), ["original-vs-l2.svg"]),  # all.svg would be the same plot
        (("l1", "l2"), ["all.svg"]),  # no pair of COMPARISONS
        (("smaller",), ["all.svg"]),
        (("original", "l2", "smaller"), ["all.svg", "original-vs-l2.svg", "original-vs-smaller.svg"]),
    ],
)
def test_each_plot_is_drawn_once_with_the_range_of_all_curves(tmp_path, monkeypatch, variants, plots):
    calls = {}
    monkeypatch.setattr(script, "plot_variants", lambda path, **named: calls.__setitem__(path.name, named))
    run = script.RunFolder("overfit", script.Settings(output=Output(tmp_path / "run", format="svg")))
    run.history = [{f"{name} validation": float(i) for i, name in enumerate(variants)}]
    run.metrics = {"variants": dict.fromkeys(variants), "sizes": {"train": 12_000}}
    script.draw(run)
    assert sorted(calls) == plots
    for call in calls.values():
        assert call["curves"] == {name: [float(i)] for i, name in enumerate(variants)}
        assert call["title"].endswith("film reviews, 12,000 training samples; RMSprop (0.001) where not named")
    for name in set(plots) - {"all.svg"}:
        assert calls[name]["names"] == tuple(name.removesuffix(".svg").split("-vs-"))
    if "original-vs-l2.svg" in plots:
        assert calls["original-vs-l2.svg"]["title"].startswith("original (16-16) and L2 (0.001)\n")


def test_metrics_follow_from_the_history(run):
    found = _metrics(run)["variants"]
    history = np.genfromtxt(run / "history.csv", delimiter=",", names=True)
    assert list(found) == ["original", "l1", "dropout", "mine"]
    assert len(history) == 3
    for name, metrics in found.items():
        losses = history[f"{name}_validation"]
        assert metrics["best_epoch"] == np.argmin(losses) + 1
        assert metrics["lowest_validation_loss"] == pytest.approx(losses.min())
        assert metrics["last_validation_loss"] == pytest.approx(losses[-1])
        assert metrics["gap"] == pytest.approx(losses[-1] - metrics["last_training_loss"])


def test_a_variant_does_not_depend_on_the_others(run, table, tmp_path):
    script.main(_settings(table, tmp_path / "alone", variants=("dropout",)))
    alone, together = (_metrics(out)["variants"]["dropout"] for out in (tmp_path / "alone", run))
    assert alone == together


def test_the_test_half_is_never_used(table, tmp_path, monkeypatch):
    load_data = script.load_data
    monkeypatch.setattr(
        script, "load_data", lambda *arguments, **chosen: replace(load_data(*arguments, **chosen), test=None)
    )
    script.main(_settings(table, tmp_path / "run", variants=("original",)))
    assert _metrics(tmp_path / "run")["sizes"] == {"train": 144, "validation": 96}  # 240 left of 300, 40% held out


def test_the_curves_contain_no_penalty():
    """The Keras loss of a network with a regularizer is the curve plus the penalty, in validation too."""
    model = script.VARIANTS["l1l2"](50)
    x = (np.random.default_rng(0).random((20, 50)) < 0.2).astype("float32")
    metrics = model.evaluate(x, np.arange(20)[:, None] % 2.0, return_dict=True, verbose=0)
    penalty = sum(0.001 * (np.abs(kernel).sum() + (kernel**2).sum()) for kernel in model.get_weights()[:4:2])
    assert penalty > 0.01
    assert metrics["loss"] == pytest.approx(metrics[script.LOSS] + penalty, rel=1e-5)


@pytest.mark.parametrize("name", script.VARIANTS)
def test_each_variant_differs_from_the_original_as_its_name_says(name):
    model = script.VARIANTS[name](100)
    hidden = [layer for layer in model.layers if hasattr(layer, "kernel")][:-1]
    widths = {"smaller": [4, 4], "smaller-adam": [4, 4], "mine": [16]}.get(name, [16, 16])
    assert [layer.units for layer in hidden] == widths
    assert type(model.optimizer).__name__ == ("Adam" if name.endswith("-adam") else "RMSprop")
    penalties = {"l1": ["l1"], "l2": ["l2"], "l1l2": ["l1", "l2"]}.get(name, [])
    if name != "mine":
        for layer in hidden:
            config = layer.kernel_regularizer.get_config() if layer.kernel_regularizer else {}
            assert {key: pytest.approx(0.001) for key in penalties} == config
        assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.5, 0.5] * (name == "dropout")


@pytest.mark.parametrize("name", script.LABELS)
def test_labels_name_the_strengths_of_the_variants(name):
    model = script.VARIANTS[name](100)
    hidden = [layer for layer in model.layers if hasattr(layer, "kernel")][:-1]
    config = hidden[0].kernel_regularizer.get_config() if hidden[0].kernel_regularizer else {}
    strengths = [f"{value:g}" for value in config.values()]
    strengths += [f"{layer.rate:g}" for layer in model.layers if hasattr(layer, "rate")][:1]
    if name.endswith("-adam"):
        strengths = [f"{float(model.optimizer.learning_rate):g}"]
    widths = "-".join(str(layer.units) for layer in hidden)
    assert script.LABELS[name].endswith(f"({', '.join(strengths) or widths})")
    if not name.endswith("-adam"):
        assert float(model.optimizer.learning_rate) == pytest.approx(0.001)  # of RMSprop, as the plots say


def test_the_table_fits_in_80_columns(run, capsys):
    folder = script.RunFolder("overfit", script.Settings(output=Output(run)))
    metrics = dict(next(iter(_metrics(run)["variants"].values())), best_epoch=20)
    folder.metrics = {"seconds_total": 1.0, "variants": dict.fromkeys(script.VARIANTS, metrics)}
    script.tables.show_results(script.results(folder))
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    assert all(f"  {script.label(name)} " in said for name in script.VARIANTS)


def test_a_variant_of_the_users_that_lacks_what_is_compared_is_refused_before_training(table, tmp_path, monkeypatch):
    for builder, got in (
        (lambda n: script.imdb_classifier(n), "with \\['accuracy'\\]: build it with variant"),
        (lambda n: script.imdb_classifier(n, metrics=()), "with none"),
        (lambda n: None, "got None"),
    ):
        monkeypatch.setitem(script.VARIANTS, "mine", builder)
        with pytest.raises(InputError, match=got):
            script.main(_settings(table, tmp_path / "run", variants=("original", "mine")))
        assert not (tmp_path / "run").exists()


def test_more_variants_than_colours(table, tmp_path, monkeypatch):
    more = [f"more{i}" for i in range(9)]
    for name in more:
        monkeypatch.setitem(script.VARIANTS, name, script.variant)
    script.main(_settings(table, tmp_path / "run", epochs=1, variants=tuple(more)))
    assert list(_metrics(tmp_path / "run")["variants"]) == more


def test_an_interrupted_run_keeps_the_variants_that_are_complete(table, tmp_path, monkeypatch):
    complete = script.parallel.completed

    def interrupted_after_one(function, calls, *_):
        name = next(iter(calls))
        yield name, function(*calls[name])
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patched.setattr(script.parallel, "completed", interrupted_after_one)
        script.main(_settings(table, tmp_path / "run", variants=("original", "l2")))
    metrics = _metrics(tmp_path / "run")
    assert metrics["status"] == "interrupted"
    assert list(metrics["variants"]) == ["original"]
    history = np.genfromtxt(tmp_path / "run/history.csv", delimiter=",", names=True)
    assert metrics["variants"]["original"]["lowest_validation_loss"] == min(history["original_validation"])
    trained = []

    def recorded(function, calls, *rest):
        trained.extend(calls)
        return complete(function, calls, *rest)

    monkeypatch.setattr(script.parallel, "completed", recorded)
    script.main(replace(_settings(table, None, variants=("original", "l2")), output=Resumable(resume=tmp_path / "run")))
    resumed = _metrics(tmp_path / "run")
    assert (resumed["status"], trained, list(resumed["variants"])) == ("complete", ["l2"], ["original", "l2"])
    assert resumed["variants"]["original"] == metrics["variants"]["original"]
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"variants": ()}, "at least one variant, and each once, got none"),
        ({"variants": ("l2", "l2")}, "each once, got l2 l2"),
        ({"epochs": 0}, "epochs as a whole number of 1 or more"),
    ],
)
def test_bad_input_leaves_nothing(table, tmp_path, choices, words):
    with pytest.raises(InputError, match=words):
        script.main(_settings(table, tmp_path / "run", **choices))
    assert not (tmp_path / "run").exists()


def test_the_command_line_takes_variants(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "compare_overfitting", script)  # where tyro looks for the options' docstrings
    assert script.cli.parse(script.Settings, arguments=["--variants", "l2", "mine"]).variants == ("l2", "mine")
    with pytest.raises(SystemExit):
        script.cli.parse(script.Settings, arguments=["--variants", "orignal"])
    assert "got 'orignal', did you mean 'original'?" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes in /proc")
@pytest.mark.slow
def test_ctrl_c_while_the_processes_start_prints_one_line(table, tmp_path):
    options = ["--source", table, "--epochs", 100_000, "--out", tmp_path / "run"]
    command = [sys.executable, cli.SCRIPTS / "compare_overfitting.py", *options]
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while not any(is_worker(path, process.pid) for path in Path("/proc").glob("[0-9]*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.2)  # they import their libraries
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "interrupted\n")


def is_worker(path, group):
    """Return whether a folder of /proc is that of one of joblib's processes in a process group."""
    try:
        its_group = int((path / "stat").read_text().rsplit(")")[-1].split()[2])
        return its_group == group and "popen_loky" in (path / "cmdline").read_text()
    except OSError:  # it has ended
        return False
