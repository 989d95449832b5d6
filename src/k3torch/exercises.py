"""Checks of the exercises in docs/notebooks. An answer is compared by its hash, which does not show the right one.

In a notebook::

    from k3torch.exercises import exercise

    first = exercise("E1.1")
    first.check(...)  # put the answer in place of the dots
    first.hint()

To add an exercise, put ``digest_of(name, [answer])`` into ``_EXERCISES``, for a function the digest of its results.
"""

from collections.abc import Sequence
from dataclasses import dataclass
import hashlib
import math
from typing import Any

from k3torch.errors import choice_problem, first_line, is_number, refuse
import numpy as np

DECIMALS = 3
"""Results of functions are compared after rounding to so many decimals."""


@dataclass(frozen=True)
class Exercise:
    """An exercise whose answer is a number, a word or a function.

    Attributes:
        name: as "E1.1".
        expects: what kind of answer, for messages.
        advice: what ``hint`` prints.
        digest: of the right answer, as ``digest_of`` returns it.
        step: of a number: the unit in which it is compared. An answer may be one unit off; 0 asks for equality.
        calls: the arguments that a function is called with; none for a number or a word.
    """

    name: str
    expects: str
    advice: str
    digest: str
    step: float = 0.0
    calls: tuple[tuple[Any, ...], ...] = ()

    def hint(self) -> None:
        """Print a hint."""
        print(f"Hint for {self.name}: {self.advice}")

    def check(self, answer: Any = ...) -> None:
        """Print whether ``answer`` is right; an ellipsis is no answer yet."""
        if answer is ...:
            print(f"{self.name} has no answer yet: put {self.expects} in place of the dots.")
            return
        right, problem = self._judge(answer)
        if right:
            print(f"{self.name} is right.")
        else:
            print(f"{self.name} is not right yet: {problem or f'expected {self.expects}'}. hint() helps.")

    def _judge(self, answer: Any) -> tuple[bool, str]:
        """Return whether the answer is right, and what is wrong with one of the wrong kind."""
        if self.calls:
            return self._judge_function(answer)
        if isinstance(answer, str):
            return digest_of(self.name, [answer]) == self.digest, ""
        if not is_number(answer):
            return False, f"expected {self.expects}, got {answer!r}"
        if not self.step:
            return digest_of(self.name, [answer]) == self.digest, ""
        units = float(answer) / self.step
        return self.digest in {digest_of(self.name, [unit]) for unit in (math.floor(units), math.ceil(units))}, ""

    def _judge_function(self, answer: Any) -> tuple[bool, str]:
        if not callable(answer):
            return False, f"expected {self.expects}, got {answer!r}"
        results = []
        for arguments in self.calls:
            try:
                results.append(answer(*_copied(arguments)))
            except Exception as error:  # of the student's function
                return False, f"the function raised {first_line(error, with_type=True)}"
        return digest_of(self.name, results) == self.digest, "the function returns something else"


def exercise(name: str) -> Exercise:
    """Return the exercise of this name, as "E1.1".

    Raises:
        InputError: for a name that does not exist.
    """
    refuse([choice_problem("name", name, _EXERCISES)])
    return _EXERCISES[name]


def digest_of(name: str, answers: Sequence[Any]) -> str:
    """Return the hash of answers: words in any case, numbers, arrays and lists of them rounded to ``DECIMALS``."""
    text = "|".join([name, *map(_canonical, answers)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> str:
    """Return the same text for equal values of any type: 1, 1.0, an array of it, float32 or a tensor."""
    if value is None or isinstance(value, str):
        return str(value).strip().lower()
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(_canonical, value)) + "]"
    if hasattr(value, "tolist") and not np.isscalar(value):
        listed = value.tolist()
        return _canonical(listed)
    return f"{round(float(value), DECIMALS) + 0.0:.{DECIMALS}f}" if is_number(value) else repr(value)


def _copied(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return copies, so that a function that changes its arguments changes nothing here."""
    return tuple(np.array(value) if isinstance(value, np.ndarray) else value for value in arguments)


_ROWS = np.array([[1.0, 200.0], [3.0, 400.0], [5.0, 300.0], [7.0, 500.0]])

_ALL = (
    Exercise(
        "E1.1",
        "a whole number",
        "a Dense layer of n units on m inputs has m * n weights and n biases; model.count_params() adds them up.",
        "1f3040de24ad9749",
    ),
    Exercise(
        "E1.2",
        "a function multi_hot(ids, num_words)",
        "begin with np.zeros(num_words); an array of ids selects all of its elements at once, a repeated id once.",
        "a5e44ee09dc27652",
        calls=(([1, 4, 4, 2], 6), ([0], 3), ([], 2)),
    ),
    Exercise(
        "E1.3",
        "a number with three decimals",
        "the cross-entropy of a sample is -log of the probability that its own label was given.",
        "174d5adea06e58fa",
        step=0.001,
    ),
    Exercise(
        "E2.1",
        "a function standardize(training, samples)",
        "mean(axis=0) and std(axis=0) of the training samples, whichever samples they are then used for.",
        "d517f9c74d6f5a2d",
        calls=((_ROWS, _ROWS), (_ROWS, np.array([[4.0, 350.0], [0.0, 0.0]]))),
    ),
    Exercise(
        "E2.2",
        "a whole number",
        "the last batch of an epoch may be smaller than the others, and is an update too.",
        "848aadfb9b1178be",
    ),
    Exercise(
        "E2.3",
        "a number with two decimals",
        "np.median(y) is one number; the mean absolute error is the mean of abs(y_test - that number).",
        "b725748ae43cca97",
        step=0.01,
    ),
    Exercise(
        "E3.1",
        "a number with three decimals",
        "L2 adds up the squares of the weights, and multiplies the sum by its factor.",
        "a1810bafe65ac074",
        step=0.001,
    ),
    Exercise(
        "E3.2",
        "a function inverted_dropout(outputs, kept, rate)",
        "what is kept is divided by the fraction that is kept, so that the mean stays the same.",
        "957eb52e5b85cfb6",
        calls=(
            (np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, 1.0, 0.0]), 0.5),
            (np.array([1.0, 5.0]), np.array([1.0, 1.0]), 0.2),
        ),
    ),
    Exercise(
        "E3.3",
        "a whole number",
        "training stops after the epoch that is the second in a row without a new lowest loss.",
        "fa9015a4326f29e7",
    ),
    Exercise(
        "E4.1",
        "a whole number",
        "build it and ask count_params(), or count 784 * 64 weights and 64 biases, and then those of the output layer.",
        "42e6bce48a86b52e",
    ),
    Exercise(
        "E4.2",
        "a number with three decimals",
        "sparse categorical cross-entropy is -log of the probability of the label's class.",
        "938efd6e6a723804",
        step=0.001,
    ),
    Exercise(
        "E4.3",
        "a function clip_by_norm(gradient, norm)",
        "a gradient that is too long keeps its direction: multiply it by norm / its length; a shorter one stays.",
        "562f73401d9ca8b2",
        calls=((np.array([3.0, 4.0]), 1.0), (np.array([0.3, 0.4]), 1.0), (np.array([0.0, -8.0, 6.0]), 2.0)),
    ),
    Exercise(
        "E5.1",
        "a function momentum_step(weight, velocity, gradient, rate, momentum)",
        "the new velocity is momentum * velocity - rate * gradient; the weight moves by the new velocity. Return both.",
        "611ddbf746a47991",
        calls=((1.0, 0.0, 2.0, 0.1, 0.9), (1.0, -0.5, 2.0, 0.1, 0.9), (0.0, 1.0, 0.0, 0.5, 0.5)),
    ),
    Exercise(
        "E5.2",
        "a whole number",
        "each cross-entropy is -log(p); compare log(0.001) and log(0.1).",
        "ee6d87498794f254",
        step=0.01,
    ),
    Exercise(
        "E6.1",
        "a whole number",
        "each candidate is trained once for each fold; the best one is trained once more, on all samples.",
        "b0619b92e9376c12",
    ),
    Exercise(
        "E6.2",
        "a whole number",
        "in each outer fold: all candidates on all inner folds, and then the selected one on everything but the fold.",
        "40e15948d9fb8121",
    ),
    Exercise(
        "E6.3",
        "the word lower or the word higher",
        "the winner owes its place in part to luck on the very samples that it was compared on.",
        "2acca0828dad5159",
    ),
    Exercise(
        "E7.1",
        "a function word_ngrams(words, n)",
        "for words a, b, c and n = 2 it returns the list ['a b', 'b c']; slices words[i:i + n] and ' '.join help.",
        "0e808177257400c7",
        calls=((["not", "a", "good", "film"], 2), (["not", "a", "good", "film"], 3), (["good"], 1), (["good"], 2)),
    ),
    Exercise(
        "E7.2",
        "a number with two decimals",
        "log((31 / 1000) / (11 / 1200)): 1 was added to both counts.",
        "d45c5f5519a6e017",
        step=0.01,
    ),
)
_EXERCISES = {one.name: one for one in _ALL}
