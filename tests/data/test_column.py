"""One column as features."""

from k3torch.data.column import Column, Feature
from k3torch.errors import InputError
import pytest


def test_numbers_and_bools_are_one_feature():
    assert Column("a", "number").features == (Feature("a", "a", None),)
    assert Column("a", "number").encode([1.5, -2.0]).tolist() == [[1.5], [-2.0]]
    assert Column("a", "bool").encode([True, "false", 1.0]).tolist() == [[1], [0], [1]]


def test_texts_are_one_hot():
    column = Column("city", "text", ("Bonn", "Ulm"))
    assert column.features == (Feature("city=Bonn", "city", "Bonn"), Feature("city=Ulm", "city", "Ulm"))
    assert column.encode(["Ulm", "Bonn", None]).tolist() == [[0, 1], [1, 0], [0, 0]]


def test_a_missing_number_is_the_median_or_0():
    assert Column("a", "number", median=2.5).encode([None, "?", 1.0]).tolist() == [[2.5], [2.5], [1]]
    assert Column("a", "bool", median=1.0).encode([None, "false"]).tolist() == [[1], [0]]
    assert Column("a", "number").encode([None]).tolist() == [[0]]


def test_an_unknown_text_is_refused():
    with pytest.raises(InputError) as caught:
        Column("city", "text", ("Bonn", "Ulm")).encode(["Ulm", "Boon"])
    assert str(caught.value) == (
        "expected a value of column 'city' that occurs in the table of the training samples (Bonn, Ulm), "
        "found 'Boon' in data row 2, did you mean 'Bonn'?"
    )
