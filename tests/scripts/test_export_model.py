"""export_model.py: what it prints, and one-line refusals. tests/serving has the models."""

from k3torch.data.column import Column
from k3torch.data.columns import Columns
from k3torch.models.builders import table_network
import numpy as np
import pytest


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    Columns("price", "regression", (), (Column("size", "number"), Column("rooms", "number"))).save(
        folder / "columns.json"
    )
    model = table_network(2, units=())
    model.set_weights([np.ones((2, 1)), np.zeros(1)])
    model.save(folder / "model.keras")
    return folder


def test_it_says_what_was_written_and_how_far_outputs_agree(run, call):
    code, printed, said = call("export_model.py", run, "--format", "keras")
    assert (code, said) == (0, "")
    assert printed == (
        f"written to {run}/export-keras: model.keras, columns.json, export.json\n"
        "input   features, float32 (batch, 2)\n"
        "output  price, float32 (batch, 1)\n"
        "outputs equal those of the model of the run: largest difference 0.0e+00\n"
    )
    code, _, said = call("export_model.py", run, "--format", "keras")
    assert (code, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: expected an empty folder for --out, found files in {run}/export-keras: --force")
    assert call("export_model.py", run, "--format", "keras", "--force")[0] == 0


def test_what_cannot_be_exported_is_one_line(run, tmp_path, call):
    for arguments, message in (
        ([tmp_path, "--format", "torch"], f"got {tmp_path} without it: a complete run of train-imdb"),
        (
            [run, "--takes", "ids", "--format", "torch", "--out", tmp_path / "x"],
            "expected --takes as features for a run",
        ),
        ([run, "--format", "onx"], "expected --format among keras, torch, onnx, openvino, litert, got 'onx', did you"),
    ):
        code, printed, said = call("export_model.py", *arguments)
        assert (code, printed, said.count("\n")) == (2, "", 1)
        assert message in said
    assert list(tmp_path.iterdir()) == []
