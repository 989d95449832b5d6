"""The exercises of the notebooks: each accepts its answer in any form, and says what is wrong with another one."""

import math
from pathlib import Path

from k3torch import exercises
from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.exercises import exercise
import keras
import numpy as np
import pytest
import torch

(X, Y), (_, Y_TEST) = boston.load_data()


def multi_hot(ids, num_words):
    vector = np.zeros(num_words)
    vector[list(ids)] = 1
    return vector


def standardize(training, samples):
    return (samples - training.mean(axis=0)) / training.std(axis=0)


def inverted_dropout(outputs, kept, rate):
    return outputs * kept / (1 - rate)


def clip_by_norm(gradient, norm):
    return gradient * min(1, norm / np.linalg.norm(gradient))


def momentum_step(weight, velocity, gradient, rate, momentum):
    velocity = momentum * velocity - rate * gradient
    return weight + velocity, velocity


def word_ngrams(words, n):
    return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]


RIGHT = {
    "E1.1": 10_000 * 4 + 4 + 4 * 4 + 4 + 4 + 1,
    "E1.2": multi_hot,
    "E1.3": -math.log(0.5),
    "E2.1": standardize,
    "E2.2": 100 * math.ceil(303 / 16),
    "E2.3": np.abs(Y_TEST - np.median(Y)).mean(),
    "E3.1": 0.001 * (1 + 4 + 9),
    "E3.2": inverted_dropout,
    "E3.3": 7,
    "E4.1": 784 * 64 + 64 + 64 * 10 + 10,
    "E4.2": -math.log(0.7),
    "E4.3": clip_by_norm,
    "E5.1": momentum_step,
    "E5.2": 3,
    "E6.1": 12 * 4 + 1,
    "E6.2": 5 * (4 * 6 + 1),
    "E6.3": "Lower",
    "E7.1": word_ngrams,
    "E7.2": math.log((31 / 1000) / (11 / 1200)),
}
FUNCTIONS = [name for name, answer in RIGHT.items() if callable(answer)]
NUMBERS = [name for name, answer in RIGHT.items() if not callable(answer) and not isinstance(answer, str)]


def said(capsys, name, *answer):
    exercise(name).check(*answer)
    (line,) = capsys.readouterr().out.splitlines()
    return line


@pytest.mark.parametrize("name", RIGHT)
def test_the_right_answer_is_accepted(name, capsys):
    assert said(capsys, name, RIGHT[name]) == f"{name} is right."


def test_every_exercise_is_tested():
    assert set(RIGHT) == set(exercises._EXERCISES)


@pytest.mark.parametrize("name", NUMBERS)
def test_another_number_is_refused(name, capsys):
    right, step = RIGHT[name], exercise(name).step
    for wrong in (right + (2.5 * step or 1), right - (2.5 * step or 1), -right, 0, 1e9, math.inf, True, None, "many"):
        assert said(capsys, name, wrong).startswith(f"{name} is not right yet: ")


@pytest.mark.parametrize("name", [name for name in NUMBERS if exercise(name).step])
def test_a_rounded_number_is_accepted(name, capsys):
    decimals = round(-math.log10(exercise(name).step))
    for answer in (round(RIGHT[name], decimals), np.float32(RIGHT[name])):
        assert said(capsys, name, answer) == f"{name} is right."


@pytest.mark.parametrize("name", FUNCTIONS)
def test_another_function_is_refused(name, capsys):
    for wrong in (lambda *arguments: arguments[0], lambda *arguments: None, lambda *arguments: 0.0):
        assert said(capsys, name, wrong).startswith(f"{name} is not right yet: the function returns something else.")
    expected = f"{name} is not right yet: expected a function {RIGHT[name].__name__}("
    assert said(capsys, name, 3).startswith(expected)


def test_a_function_may_return_lists_tensors_and_other_dtypes(capsys):
    for convert in (list, torch.tensor, np.float32, lambda vector: vector.astype(int)):
        assert said(capsys, "E1.2", lambda *given, c=convert: c(multi_hot(*given))) == "E1.2 is right."


def test_what_a_function_raises_is_said_in_one_line(capsys):
    line = said(capsys, "E1.2", lambda ids: ids)
    assert line.startswith("E1.2 is not right yet: the function raised TypeError: ")
    assert line.endswith("hint() helps.")


def test_a_function_that_changes_its_arguments_does_not_change_the_exercise(capsys):
    def in_place(gradient, norm):
        gradient *= 0

    exercise("E4.3").check(in_place)
    capsys.readouterr()
    assert said(capsys, "E4.3", clip_by_norm) == "E4.3 is right."


def test_the_word_may_have_any_case(capsys):
    assert said(capsys, "E6.3", " lower ") == "E6.3 is right."
    for wrong in ("higher", 3):
        expected = "E6.3 is not right yet: expected the word lower or the word higher. hint() helps."
        assert said(capsys, "E6.3", wrong) == expected


@pytest.mark.parametrize("name", RIGHT)
def test_dots_are_no_answer_yet(name, capsys):
    expected = f"{name} has no answer yet: put {exercise(name).expects} in place of the dots."
    assert said(capsys, name, ...) == said(capsys, name) == expected


def test_hints(capsys):
    for name in RIGHT:
        exercise(name).hint()
        assert capsys.readouterr().out.startswith(f"Hint for {name}: ")


def test_the_module_does_not_show_the_answers():
    text = Path(exercises.__file__).read_text("utf-8")
    large = [name for name in NUMBERS if RIGHT[name] > 1000]  # a small number may be there for another reason
    assert [name for name in large if str(RIGHT[name]) in text] == []
    assert [name for name in FUNCTIONS if f"def {RIGHT[name].__name__}" in text] == []
    assert f"{RIGHT['E1.3']:.3f}" not in text


def test_unknown_names():
    with pytest.raises(InputError, match=r"expected name as one of 'E1\.1', .*, got 'E1\.4'"):
        exercise("E1.4")


def test_early_stopping_of_exercise_3_is_that_of_keras():
    losses = iter([0.5, 0.4, 0.35, 0.36, 0.34, 0.37, 0.38, 0.33])

    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = next(losses)

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((1, 1))
    stop = keras.callbacks.EarlyStopping(patience=2)
    history = model.fit(x, x, validation_data=(x, x), epochs=8, verbose=0, callbacks=[Losses(), stop])
    assert len(history.history["loss"]) == RIGHT["E3.3"]
