"""train_imdb.py on synthetic reviews: metrics, files, repeatability, own labels, bad input, Ctrl-C."""

import csv
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import keras
import pytest
from tests import forked
from tests.review_tables import write_reviews

SCRIPTS = Path(__file__).parents[2] / "scripts"
GOOD, BAD = ["great", "wonderful", "moving", "funny"], ["awful", "boring", "dull", "waste"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """600 reviews in which two of ten words tell the label."""

    def words(draw, i):
        found = draw.choices([f"word{j}" for j in range(80)], k=8) + draw.choices(GOOD if i % 2 else BAD, k=2)
        return draw.sample(found, 10)

    return write_reviews(tmp_path_factory.mktemp("reviews"), 600, words)


@pytest.fixture(scope="module")
def trained(run_script, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("imdb") / "run"
    done = run_script("train_imdb.py", "--source", table, "--epochs", 12, "--batch-size", 32, "--out", out,
                      "--device", "cpu")  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "metrics.json").read_text()), done


def test_metrics_are_those_of_a_classifier_that_learned(trained, table):
    out, metrics, done = trained
    assert "another network" not in done.stdout
    rows = list(csv.DictReader((out / "history.csv").open()))
    losses = [float(row["val_loss"]) for row in rows]
    assert metrics["source"] == str(table)
    assert metrics["sizes"] == {"train": 288, "validation": 192, "test": 120}
    assert metrics["best_epoch"] == losses.index(min(losses)) + 1
    assert metrics["validation_loss"] == min(losses)
    assert metrics["validation_accuracy"] > 0.95
    assert metrics["test_accuracy"] > 0.95
    assert metrics["test_loss"] < 0.4
    assert (metrics["device"], metrics["seed"], metrics["status"]) == ("cpu", 0, "complete")
    assert metrics["seconds_total"] > metrics["seconds_per_epoch"] > 0
    assert metrics["peak_memory_mb"] > 100
    assert len(rows) == 12
    assert "0.8735" in done.stdout  # the lecture's accuracy
    assert all(len(line) <= 80 or line.startswith("written to") for line in done.stdout.splitlines())
    assert done.stdout.index("written to") < done.stdout.index("Film reviews") < done.stdout.index("0.8735")
    assert done.stderr == ""  # no bar, no warnings


def test_the_run_folder_is_complete(trained):
    out, *_ = trained
    for name in ("loss.png", "accuracy.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    assert json.loads((out / "config.json").read_text())["epochs"] == 12
    assert json.loads((out / "vocabulary.json").read_text())["num_words"] == 10_000


def test_the_same_seed_gives_the_same_metrics_digit_for_digit(trained, table, tmp_path, call):
    _, metrics, _ = trained
    out = tmp_path / "again"
    call("train_imdb.py", "--source", table, "--epochs", 12, "--batch-size", 32, "--out", out, "--device", "cpu")
    again = json.loads((out / "metrics.json").read_text())
    timed = {"seconds_per_epoch", "seconds_total", "peak_memory_mb"}
    assert {k: v for k, v in again.items() if k not in timed} == {k: v for k, v in metrics.items() if k not in timed}
    drop = [row | {"seconds": ""} for row in csv.DictReader((out / "history.csv").open())]
    assert drop == [row | {"seconds": ""} for row in csv.DictReader((trained[0] / "history.csv").open())]


def test_own_columns_and_labels_are_those_of_the_predictions(table, tmp_path, call):
    shop, out = tmp_path / "shop.csv", tmp_path / "run"
    with table.open(newline="") as file, shop.open("w", newline="", encoding="utf-8-sig") as own:
        rows = [
            (i, row["text"], "gut" if row["label"] == "1" else "schlecht") for i, row in enumerate(csv.DictReader(file))
        ]
        csv.writer(own, delimiter=";").writerows([("ID", "Meinung", "Urteil"), *rows, (601, "great", "naja")])
    options = ["--source", shop, "--epochs", 12, "--batch-size", 32, "--out", out, "--device", "cpu"]
    columns = ["--text-column", "Meinung", "--label-column", "Urteil"]
    code, said, _ = call("train_imdb.py", *options, *columns, "--labels", "Schlecht", "gut")
    assert code == 0
    assert " ".join(said.split("Test reviews")[0].split()) == (
        f"{shop}: 480 training and 120 test reviews; texts in column 'Meinung', labels in 'Urteil'; "
        "left out 1 with another label"
    )
    assert "probability of gut" in said
    config = json.loads((out / "config.json").read_text())
    assert [config[name] for name in ("text_column", "label_column", "labels")] == [
        "Meinung",
        "Urteil",
        ["Schlecht", "gut"],
    ]
    code, said, _ = call("predict_reviews.py", out, "great wonderful WORD3", "a dull, boring waste")
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()] == ["gut", "Schlecht"]

    code, _, said = call("train_imdb.py", *options[:2], *columns)
    assert code == 2
    assert said == (
        f"error: expected --labels as two of those in column 'Urteil' of {shop}, the negative one first, got none: "
        "it has 'gut', 'naja', 'schlecht'\n"
    )


@pytest.mark.parametrize("rule", [["--schedule", "exponential"], ["--reduce-on-plateau", 1]])
def test_the_final_model_has_the_learning_rates_of_the_study(table, tmp_path, call, rule):
    out = tmp_path / "run"
    code, *_ = call("train_imdb.py", "--source", table, "--epochs", 30, "--batch-size", 16, "--out", out, *rule)
    assert code == 0
    rates = [float(row["learning_rate"]) for row in csv.DictReader((out / "history.csv").open())]
    best = json.loads((out / "metrics.json").read_text())["best_epoch"]
    assert rates[best - 1] < rates[0] == pytest.approx(0.001)
    assert float(keras.saving.load_model(out / "model.keras").optimizer.learning_rate) == pytest.approx(rates[best - 1])


@pytest.mark.parametrize(("rung", "within"), [(2, 1e-4), (5, 0.1)])  # fit draws two orders an epoch, a loop one
def test_another_rung_gives_the_same_metrics(trained, table, tmp_path, call, rung, within):
    out = tmp_path / "run"
    code, *_ = call(
        "train_imdb.py", "--source", table, "--epochs", 12, "--batch-size", 32, "--out", out, "--device", "cpu",
        "--rung", rung,
    )  # fmt: skip
    assert code == 0
    found, expected = json.loads((out / "metrics.json").read_text()), trained[1]
    for name in ("validation_loss", "validation_accuracy", "test_accuracy", "test_loss"):
        assert found[name] == pytest.approx(expected[name], abs=within)


@pytest.mark.parametrize("rung", [1, 5, pytest.param(6, marks=pytest.mark.slow)])
def test_the_network_of_the_options_is_trained_saved_and_compared_with_the_lectures(table, tmp_path, call, rung):
    out = tmp_path / "run"
    code, said, _ = call(
        "train_imdb.py", "--source", table, "--epochs", 1, "--batch-size", 64, "--out", out, "--rung", rung,
        "--units", 5, 4, 3, "--activation", "tanh", "--l2", 0.5, "--optimizer", "sgd", "--learning-rate", 0.25,
    )  # fmt: skip
    assert code == 0
    model = keras.saving.load_model(out / "model.keras")
    *hidden, _ = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    assert [layer.units for layer in hidden] == [5, 4, 3]
    assert {(layer.activation.__name__, float(layer.kernel_regularizer.l2)) for layer in hidden} == {("tanh", 0.5)}
    assert (type(model.optimizer).__name__, float(model.optimizer.learning_rate)) == ("SGD", 0.25)
    config = json.loads((out / "config.json").read_text())
    assert (config["units"], config["l2"], config["learning_rate"], config["momentum"]) == ([5, 4, 3], 0.5, 0.25, None)
    assert " ".join(said.split()).endswith(
        "The lecture trained another network: this run has --units 5 4 3 instead of 16 16, --activation tanh instead "
        "of relu, --l2 0.5 instead of 0, --optimizer sgd instead of rmsprop, --learning-rate 0.25 instead of the "
        "default."
    )


def test_a_diverged_run_is_one_line_and_leaves_nothing(table, tmp_path, call):
    out = tmp_path / "run"
    arguments = ["--source", table, "--epochs", 3, "--out", out, "--optimizer", "sgd", "--learning-rate", 1e38]
    code, _, said = call("train_imdb.py", *arguments)
    assert (code, said) == (2, "error: expected finite outputs of the model, got NaN: lower --learning-rate\n")
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "expected --epochs as a whole number of 1 or more, got 0"),
        (["--source", "missing.csv"], "found no file at missing.csv"),
        (["--epochz", "3"], "did you mean --epochs?"),
        (["--rung", "8"], "expected --rung among 1, 2, 3, 4, 5, 6, 7, got '8'"),
        (["--rung", "5", "--best-checkpoint"], "expected no callbacks on rung 5"),
        (["--rung", "5", "--clipnorm", "1"], "for the loop of rung 5, got clipped gradients: use another rung"),
        (
            ["--units", "16", "0", "--learning-rate", "-1", "--max-norm", "0", "--activation", "rleu", "--l2", "nan"],
            "expected --units as whole numbers of 1 or more, got 0; expected --activation as a known name, got 'rleu', "
            "did you mean 'relu'?; expected --max-norm as a float32 number above 0, got 0.0; expected --learning-rate "
            "as a float32 number above 0, got -1.0; expected --l2 as a float32 number of 0 or more, got nan\n",
        ),
        (
            ["--momentum", "0.9", "--optimizer", "adam"],
            "expected --momentum as an argument of the optimizer, got 'adam'",
        ),
        (
            ["--optimizer", "sgd", "--nesterov"],
            "expected --momentum as a number above 0 for Nesterov momentum, got none",
        ),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, message, tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, said = call("train_imdb.py", *arguments)
    assert code == 2
    assert said.count("\n") == 1
    assert message in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.slow
def test_a_signal_leaves_a_folder_that_says_so(table, tmp_path, number, code):
    out = tmp_path / "run"
    options = ["--source", table, "--epochs", 100_000, "--tensorboard", "--out", out]
    command = [sys.executable, SCRIPTS / "train_imdb.py", *options]
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):  # until the events of an epoch are being written
            if any(out.glob("tensorboard/train/events.*")):
                break
            time.sleep(0.1)
        time.sleep(2)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert said == "interrupted\n"
    assert json.loads((out / "metrics.json").read_text())["status"] == "interrupted"
    assert len((out / "history.csv").read_text().splitlines()) > 2


def test_an_interrupted_run_is_resumed_with_its_settings(trained, table, tmp_path, call):
    out = tmp_path / "run"
    options = ["--source", table, "--epochs", 100_000, "--batch-size", 32, "--out", out, "--device", "cpu"]
    process = forked.start(SCRIPTS / "train_imdb.py", *options, output=tmp_path / "said", errors=tmp_path / "errors")
    for _ in range(600):
        if list(out.glob("checkpoints/study/checkpoint-*.npz")):
            break
        time.sleep(0.1)
    code, _, said = call("train_imdb.py", "--resume", out)
    assert (code, said) == (
        2, f"error: expected a run folder of its own, got {out}, to which another process is writing\n"
    )  # fmt: skip
    os.kill(process.pid, signal.SIGINT)
    process.join(60)
    assert json.loads((out / "metrics.json").read_text())["status"] == "interrupted"
    assert len((out / "history.csv").read_text().splitlines()) > 1

    code, _, said = call("train_imdb.py", "--resume", out, "--epochs", 12, "--rung", 5)
    assert code == 2
    assert said.startswith(
        f"error: expected the settings that are saved in {out} with --resume, got --epochs 12 instead "
    )
    assert json.loads((out / "metrics.json").read_text())["status"] == "interrupted"

    config = json.loads((out / "config.json").read_text())
    done = len((out / "history.csv").read_text().splitlines())
    (out / "config.json").write_text(json.dumps(config | {"epochs": done + 2}))  # or it would take hours
    code, _, said = call("train_imdb.py", "--resume", out)
    assert code == 0
    assert said.startswith(f"resuming from {out}/checkpoints/study/checkpoint-")
    assert json.loads((out / "metrics.json").read_text())["status"] == "complete"
    rows = list(csv.DictReader((out / "history.csv").open()))
    assert [row["epoch"] for row in rows] == [str(epoch + 1) for epoch in range(done + 2)]
    earlier = list(csv.DictReader((trained[0] / "history.csv").open()))
    for row, expected in zip(rows[:12], earlier, strict=False):
        assert row | {"seconds": ""} == expected | {"seconds": ""}
    assert not (out / "checkpoints").exists()


def test_a_folder_of_another_command_is_not_resumed(trained, call, tmp_path):
    for script, folder, said in (
        ("train_imdb.py", trained[0], f"an interrupted run for --resume, got {trained[0]}, whose run is complete"),
        ("train_digits.py", trained[0], f"a run of this command for --resume, got one of 'imdb' in {trained[0]}"),
        (
            "train_imdb.py",
            tmp_path,
            f"the folder of an interrupted run for --resume, got {tmp_path}: its config.json: "
            "No such file or directory",
        ),
    ):
        assert call(script, "--resume", folder)[::2] == (2, f"error: expected {said}\n")
