"""What a single unit learned from n-grams: those that add the most to each class, as numbers and as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.data.text import Vocabulary
from k3torch.errors import InputError
from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, figure_to
import numpy as np
from numpy.typing import ArrayLike, NDArray

Curves = Mapping[str, Sequence[float]]

TOP = 15
"""n-grams of each class that are listed."""


class Surest(NamedTuple):
    """An n-gram and how much it adds to the unit's input, before the rows are scaled to length 1."""

    ngram: str
    weight: float


def surest_ngrams(
    features: NgramFeatures, kernel: ArrayLike, vocabulary: Vocabulary, top: int = TOP
) -> tuple[list[Surest], list[Surest]]:
    """Return the n-grams with the lowest and with the highest weights, the surest first.

    The weight of an n-gram is the unit's times that of its column (the log-count ratio, for example).

    Args:
        features: with a vocabulary, not hashed.
        kernel: the weights of the unit, (num_features, 1).
        vocabulary: the words of the ids.
        top: how many of each class; fewer if there are not as many of that sign.

    Raises:
        InputError: for hashed n-grams, whose words are not known, and a kernel of another shape.
    """
    ngrams = features.ngrams
    if not isinstance(ngrams, Ngrams):
        raise InputError("expected n-grams with a vocabulary, got hashed ones")
    unit = np.asarray(kernel, np.float64)
    if unit.shape != (features.num_features, 1):
        raise InputError(f"expected the weights of one unit, ({features.num_features}, 1), got {unit.shape}")
    weights = unit[:, 0] * (1 if features.weights is None else features.weights)
    order = np.argsort(weights, kind="stable")
    lowest, highest = order[:top], order[::-1][:top]

    def named(columns: NDArray[np.int64]) -> list[Surest]:
        ids = ngrams.word_ids(columns)
        return [Surest(vocabulary.decode(i), float(weights[c])) for i, c in zip(ids, columns, strict=True)]

    return named(lowest[weights[lowest] < 0]), named(highest[weights[highest] > 0])


def plot_surest(
    path: Path, negative: Sequence[Surest], positive: Sequence[Surest], labels: tuple[str, str], data: str
) -> None:
    """Draw a bar for each n-gram, those of the label 0 on the left and those of the label 1 on the right.

    Args:
        path: of the plot.
        negative: as ``surest_ngrams`` returns them, like ``positive``.
        positive: of the label 1.
        labels: names of the labels 0 and 1.
        data: what was learned from, for the title.
    """
    rows = max(len(negative), len(positive), 1)
    with figure_to(path, 9.0, 1.4 + 0.26 * rows, columns=2) as (figure, axes):
        for axis, surest, label, colour in zip(axes, (negative, positive), labels, (RED, BLUE), strict=True):
            names = [one.ngram for one in surest]
            axis.barh(range(len(names)), [abs(one.weight) for one in surest], color=colour)
            axis.set_yticks(range(len(names)), names)
            axis.set(title=label, xlabel="weight (absolute value)", ylim=(rows - 0.5, -0.5))
            axis.grid(axis="x", alpha=0.25)
            axis.set_axisbelow(True)
        limit = max((axis.get_xlim()[1] for axis in axes), default=1.0)
        for axis in axes:
            axis.set_xlim(0, limit)  # so that the bars of both classes can be compared
        figure.suptitle(f"The surest n-grams of each label ({data})")


def order_name(n: int) -> str:
    """Return what n-grams of up to ``n`` words are called."""
    return {1: "words", 2: "pairs", 3: "triples"}.get(n, f"{n}-grams")


def plot_accuracies(path: Path, panels: Mapping[str, Curves], baseline: tuple[str, float], title: str) -> None:
    """Draw test accuracies over the longest n-gram, in a panel for each way to weight them.

    Args:
        path: of the plot.
        panels: name of each panel to its curves: name of a model to its accuracies, from n = 1.
        baseline: name and accuracy of a model that is drawn as a horizontal line in all panels.
        title: of the plot, with the data set.
    """
    looks = list(zip((BLUE, ORANGE, GREEN, PURPLE), "os^D", strict=True))
    with figure_to(path, 10.0, 4.2, columns=len(panels), sharey=True) as (figure, axes):
        for axis, (name, curves) in zip(axes, panels.items(), strict=True):
            orders = range(1, 1 + max(map(len, curves.values())))
            for (model, accuracies), (colour, marker) in zip(curves.items(), looks, strict=False):
                axis.plot(orders, accuracies, color=colour, marker=marker, label=model)
            axis.axhline(baseline[1], color=BLACK, linestyle=":", label=baseline[0])
            axis.set(title=name, xlim=(0.7, len(orders) + 0.3))
            axis.set_xticks(orders, [order_name(n) for n in orders])
            axis.grid(alpha=0.25)
        axes[0].set_ylabel("test accuracy")
        figure.suptitle(title)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
