"""Reasons are one line."""

from k3torch.stack.reasons import first_line


def test_the_first_line_of_an_error_with_its_type():
    assert first_line(ValueError("\none\ntwo")) == "ValueError: one"
    assert first_line(KeyError()) == "KeyError: "
