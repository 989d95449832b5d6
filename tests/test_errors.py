"""InputError and the checks of arguments: what passes, and the wording of each problem."""

from decimal import Decimal
from fractions import Fraction

from k3torch.errors import (
    InputError,
    choice_problem,
    count_problem,
    did_you_mean,
    first_line,
    is_number,
    refuse,
    seed_problem,
    unless,
)
import numpy as np
import pytest
import torch


def test_an_input_error_is_a_value_error():
    assert issubclass(InputError, ValueError)


def test_refuse_raises_nothing_without_problems():
    refuse([])
    refuse([None, None])
    refuse(problem for problem in ())


def test_refuse_lists_every_problem_in_one_line():
    with pytest.raises(InputError) as caught:
        refuse([None, "a as a list, got 1", None, "b above 0, got -1"])
    assert str(caught.value) == "expected a as a list, got 1; expected b above 0, got -1"


@pytest.mark.parametrize(
    ("fits", "expected"), [(True, None), (1, None), ([0], None), (False, "p"), (0, "p"), ([], "p")]
)
def test_unless(fits, expected):
    assert unless(fits, "p") == expected


@pytest.mark.parametrize("value", [1, 2, 10**30, np.int8(1), np.int64(5), np.uint64(2**63)])
def test_integers_of_any_type_are_counts(value):
    assert count_problem("epochs", value) is None


@pytest.mark.parametrize(
    "value",
    [0, -1, np.int64(0), True, np.True_, 1.0, np.float64(2), "1", None, float("nan"), [1], np.array([1]), 1j],
)
def test_everything_else_is_no_count(value):
    assert count_problem("epochs", value) == f"epochs as a whole number of 1 or more, got {value!r}"


def test_the_minimum_of_a_count():
    assert count_problem("seed", 0, minimum=0) is None
    assert count_problem("seed", -1, minimum=0) == "seed as a whole number of 0 or more, got -1"
    assert count_problem("seed", False, minimum=0) == "seed as a whole number of 0 or more, got False"
    assert count_problem("folds", np.int32(1), minimum=2) == "folds as a whole number of 2 or more, got np.int32(1)"


@pytest.mark.parametrize(
    "value", [0, -3, 0.5, 1e308, np.int8(1), np.uint64(7), np.float16(2), np.float32(0.1), Fraction(1)]
)
def test_finite_real_numbers_are_numbers(value):
    assert is_number(value) is True


@pytest.mark.parametrize(
    "value",
    [
        True, np.True_, "1", b"1", None, 1j, np.complex64(1), float("nan"), float("inf"), -float("inf"),
        np.float32("nan"), np.float16("inf"), [1], np.array(1.0), torch.tensor(1.0), Decimal(1), 10**400,
    ],
)  # fmt: skip
def test_everything_else_is_no_number(value):
    assert is_number(value) is False


@pytest.mark.parametrize("value", ["auto", None, 3])
def test_a_choice_is_one_of_the_list(value):
    assert choice_problem("engine", value, ("auto", None, 3)) is None


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("atuo", ", did you mean 'auto'?"),
        ("AUTO", ", did you mean 'auto'?"),
        ("xyz", ""),
        (3.0, ""),  # equal to 3, but of another type
        (True, ""),
        (np.array([1, 2]), ""),
        (float("nan"), ""),
        ([], ""),
    ],
)
def test_what_is_no_choice_is_named_with_all_choices(value, hint):
    expected = f"engine as one of 'auto', 'fit', None, 3, 1, got {value!r}{hint}"
    assert choice_problem("engine", value, ("auto", "fit", None, 3, 1)) == expected


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("rmsprp", ["adam", "rmsprop"], ", did you mean 'rmsprop'?"),
        ("RMSPROP", ["adam", "RMSprop"], ", did you mean 'RMSprop'?"),
        ("xyz", ["adam"], ""),
        ("", ["adam"], ""),
        ("adam", [], ""),
    ],
)
def test_did_you_mean(name, known, hint):
    assert did_you_mean(name, known) == hint


def test_a_message_is_always_one_line_of_moderate_length():
    assert str(InputError("expected\n\n\x1b[1ma line\x1b[0m,\tgot  two")) == "expected a line, got two"
    assert len(str(InputError("x" * 10_000))) == 600


@pytest.mark.parametrize("seed", [0, 2**32 - 1, np.int64(3)])
def test_seeds(seed):
    assert seed_problem(seed) is None


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", True, None])
def test_what_is_no_seed(seed):
    assert seed_problem(seed).startswith("seed as a whole number from 0 to 4294967295, got ")


FRAME = "Exception encountered when calling Own.call()."


@pytest.mark.parametrize(
    ("error", "line", "with_type"),
    [
        (ValueError("\n one \ntwo"), "one", "ValueError: one"),
        (KeyError(), "KeyError", "KeyError"),
        (OSError("  \n"), "OSError", "OSError"),
        (RuntimeError(f"\x1b[1m{FRAME}\x1b[0m\n\n\x1b[1mbad\x1b[0m\n\nArguments"), "bad", "RuntimeError: bad"),
    ],
)
def test_the_first_line_of_an_error(error, line, with_type):
    assert first_line(error) == line
    assert first_line(error, with_type=True) == with_type


def test_a_notebook_shows_the_message_and_the_callers_lines(tmp_path):
    caller = tmp_path / "caller.py"
    caller.write_text("def call(refuse):\n    refuse(['x as y, got z'])\n")
    names = {}
    exec(compile(caller.read_text(), str(caller), "exec"), names)
    with pytest.raises(InputError) as raised:
        names["call"](refuse)
    shown = raised.value._render_traceback_()
    assert shown[0] == "InputError: expected x as y, got z"
    assert shown[-1] == f"  {caller}:2: refuse(['x as y, got z'])"
    assert not any("k3torch/errors.py" in line for line in shown)


def test_an_error_that_was_not_raised_is_shown_too():
    assert InputError("expected x")._render_traceback_() == ["InputError: expected x"]
