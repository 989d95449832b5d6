"""The plot of a search: scores by the values of a parameter. ``result`` is a ``SearchResult``."""

from typing import TYPE_CHECKING, Any

from k3torch.validation.result_views import TRAINING, VALIDATION
import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(result: Any, parameter: str, ax: "Axes | None") -> "Axes":
    """Draw the mean and the confidence interval of each candidate by a parameter, the best one marked."""
    import matplotlib.pyplot as plt

    axes: Any = plt.subplots(layout="constrained")[1] if ax is None else ax
    values = [params.get(parameter) for params in result.params]
    places = _places(values, axes)
    means = np.array([scores.mean() for scores in result.scores])
    bounds = [result.interval(number) for number in range(len(means))]
    errors = np.abs(np.array([[b.low, b.high] for b in bounds]).T - means)
    style = {"fmt": "o", "capsize": 3, "alpha": 0.7}
    axes.errorbar(
        places, means, errors if np.isfinite(errors).all() else None, color=TRAINING, label="candidates", **style
    )
    best = result.best_index
    axes.plot(places[best], means[best], "D", color=VALIDATION, markersize=9, label="the best", zorder=3)
    axes.set(xlabel=parameter, ylabel=f"{result.metric}, mean and 95% interval", title=f"{len(means)} candidates")
    axes.legend()
    return axes  # type: ignore[no-any-return]


def _places(values: list[Any], axes: Any) -> list[float]:
    """Return where the values are on the x-axis, which becomes logarithmic for numbers over several decades."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        numbers = [float(value) for value in values]
        if min(numbers) > 0 and max(numbers) >= 20 * min(numbers):
            axes.set_xscale("log")
        return numbers
    names = list(dict.fromkeys(str(value) for value in values))
    axes.set_xticks(range(len(names)), names)
    return [float(names.index(str(value))) for value in values]
