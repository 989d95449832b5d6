"""The folder of an exported model, and that a refused export leaves nothing."""

from dataclasses import replace
import json

from k3torch.errors import InputError
from k3torch.serving import export
from k3torch.serving.export import export_run
from k3torch.serving.formats import FORMATS
import numpy as np
import pytest
import torch


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_has_the_model_and_what_belongs_to_it(review_run, tmp_path):
    exported = export_run(review_run, "torch", tmp_path / "new/out")
    assert exported.files == ("model.pt2", "export.json", "vocabulary.json")
    assert sorted(exported.files) == names(tmp_path / "new/out")
    assert names(tmp_path / "new") == ["out"]
    assert exported.difference < 1e-6
    card = json.loads((tmp_path / "new/out/export.json").read_text("utf-8"))
    assert card == exported.card
    assert (card["format"], card["labels"]) == ("torch", ["negative", "positive"])
    program = torch.export.load(tmp_path / "new/out/model.pt2").module()
    ids = torch.tensor([[1, 4, 6, 0], [1, 5, 0, 0]], dtype=torch.int32)
    np.testing.assert_allclose(program(ids).detach()[:, 0], 1 / (1 + np.exp([-2, 2])), rtol=1e-6)


def test_files_of_others_stay(table_run, tmp_path):
    (tmp_path / "model.keras").write_text("mine")
    with pytest.raises(InputError, match="expected an empty folder for --out, found files in"):
        export_run(table_run, "keras", tmp_path)
    assert (tmp_path / "model.keras").read_text() == "mine"
    (tmp_path / "notes.txt").write_text("mine")
    export_run(table_run, "keras", tmp_path, force=True)
    assert names(tmp_path) == ["columns.json", "export.json", "model.keras", "notes.txt"]
    with pytest.raises(InputError, match="expected a folder for --out, got the file"):
        export_run(table_run, "keras", tmp_path / "notes.txt")


def test_other_outputs_are_refused_and_leave_nothing(table_run, tmp_path, monkeypatch):
    wrong = replace(FORMATS["keras"], load=lambda _: lambda x: np.full((len(x), 1), 7.0))
    monkeypatch.setitem(export.FORMATS, "keras", wrong)
    with pytest.raises(InputError, match=r"expected model\.keras to have the outputs of the run.s model to 1e-05, got"):
        export_run(table_run, "keras", tmp_path / "out")
    assert names(tmp_path) == []


def test_what_a_format_cannot_express_is_one_line(table_run, tmp_path, monkeypatch):
    def fail(model, path):
        path.write_text("half")
        raise RuntimeError("unsupported operator\n  in line 3")

    monkeypatch.setitem(export.FORMATS, "keras", replace(FORMATS["keras"], write=fail))
    with pytest.raises(InputError, match=r"expected a model that keras can express, got: unsupported operator$"):
        export_run(table_run, "keras", tmp_path / "out")
    assert names(tmp_path) == []


def test_without_its_runtime_a_file_is_not_compared(table_run, tmp_path, monkeypatch):
    monkeypatch.setitem(export.FORMATS, "keras", replace(FORMATS["keras"], runtime=("no_such_package",)))
    exported = export_run(table_run, "keras", tmp_path / "out")
    assert exported.difference is None
    assert exported.not_compared == "no no_such_package installed, which runs model.keras"


def test_bad_arguments_are_refused_together(table_run):
    with pytest.raises(
        InputError, match=r"form as one of .*got 'onx', did you mean 'onnx'\?; expected takes as one of"
    ):
        export_run(table_run, "onx", takes="words")
