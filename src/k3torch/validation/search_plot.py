"""The plot of a search: scores by the values of a parameter. ``result`` is a ``SearchResult``."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from k3torch.validation.result_views import TRAINING, VALIDATION
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_FEW = 12  # candidates whose intervals can be told apart
_DECADES = 200.0  # from the lowest value to the highest: more labels than one for each decade would overlap
_WIDTH = 0.6  # of the candidates that have the same text, on an axis with one unit for each text


def draw(result: Any, parameter: str, ax: "Axes | None") -> "Axes":
    """Draw the mean and the confidence interval of each candidate by a parameter, the best one marked."""
    import matplotlib.pyplot as plt

    axes: Any = plt.subplots(layout="constrained")[1] if ax is None else ax
    values = [params.get(parameter) for params in result.params]
    means = np.array([scores.mean() for scores in result.scores])
    places = _places(values, means, axes)
    bounds = [result.interval(number) for number in range(len(means))]
    errors = np.abs(np.array([[b.low, b.high] for b in bounds]).T - means)
    style = {"fmt": "o", "capsize": 3 if len(means) <= _FEW else 0, "alpha": 0.7, "elinewidth": 1}
    axes.errorbar(
        places, means, errors if np.isfinite(errors).all() else None, color=TRAINING, label="candidates", **style
    )
    best = result.best_index
    axes.plot(places[best], means[best], "D", color=VALIDATION, markersize=9, label="the best", zorder=3)
    axes.set(xlabel=parameter, ylabel=f"{result.metric}, mean and 95% interval", title=f"{len(means)} candidates")
    axes.legend()
    return axes  # type: ignore[no-any-return]


def _places(values: Sequence[Any], means: NDArray[np.float64], axes: Any) -> list[float]:
    """Return where the values are on the x-axis, which becomes logarithmic for numbers over about a decade.

    Candidates with the same text are side by side, ordered by their means, so that all are seen.
    """
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        if min(numbers) > 0 and max(numbers) >= 7 * min(numbers):
            _make_logarithmic(axes, max(numbers) / min(numbers))
        return numbers
    texts = np.array([str(value) for value in values])
    names = list(dict.fromkeys(texts.tolist()))
    axes.set_xticks(range(len(names)), names)
    axes.set_xlim(-0.5, len(names) - 0.5)
    places = np.zeros(len(texts))
    for number, name in enumerate(names):
        (same,) = np.nonzero(texts == name)
        places[same[np.argsort(means[same], kind="stable")]] = number + _WIDTH * _centred(len(same))
    return places.tolist()


def _make_logarithmic(axes: Any, ratio: float) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if ratio > _DECADES else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _centred(count: int) -> NDArray[np.float64]:
    """Return this many places at equal distances, from -0.5 to 0.5."""
    return np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(1)
