"""Predictions for rows of tables. scripts/test_predict_table.py has the rest."""

from k3torch.errors import InputError
from k3torch.serving.tables import TableModel
import numpy as np
import pandas as pd
import pytest


def test_values_in_the_units_of_the_table(table_run):
    table = TableModel(table_run)
    frame = pd.DataFrame({"town": ["Ulm", "Bonn"], "size": [1.5, -2.0]})
    found = table.predictions(table.outputs(frame))
    assert list(found.columns) == table.new_names() == ["predicted price"]
    np.testing.assert_allclose(found["predicted price"], [20, -20], rtol=1e-6)


def test_classes_with_their_probabilities(class_run):
    table = TableModel(class_run)
    found = table.predictions(table.outputs(pd.DataFrame({"size": [2.0, -2.0]})))
    assert found["predicted kind"].tolist() == ["dear", "cheap"]
    np.testing.assert_allclose(found["probability of dear"], 1 / (1 + np.exp([-2, 2])), rtol=1e-6)


def test_a_folder_without_columns_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected the columns of a table in"):
        TableModel(tmp_path)
