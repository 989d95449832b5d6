"""The result of a cross-validation as text, as HTML for notebooks, as a table and as a plot.

``result`` is a ``CrossValidation``, whose module imports this one.
"""

import html as html_characters
from typing import TYPE_CHECKING, Any

from k3torch.formats import counted, format_number
from k3torch.validation.curves import skipped_epochs
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    import pandas as pd

# Colours that colour-blind readers can distinguish (Okabe and Ito, 2008).
TRAINING, VALIDATION = "#0072B2", "#E69F00"

_SHOWN_REPEATS, _SHOWN_FOLDS = 4, 10


def text(result: Any) -> str:
    """Return the scores and what else there is, in at most ten lines."""
    lines = [_title(result), "  " + _summary(result)]
    for number, scores in enumerate(result.scores[:_SHOWN_REPEATS], start=1):
        values = [f"{format_number(score)}" for score in scores[:_SHOWN_FOLDS]]
        more = [f"... ({len(scores)} folds)"] if len(scores) > _SHOWN_FOLDS else []
        lines.append(f"  repeat {number}: {' '.join([*values, *more])}")
    if len(result.scores) > _SHOWN_REPEATS:
        lines.append(f"  ... ({len(result.scores)} repeats)")
    lines.append(f"  {_best(result)}")
    lines.append("  scores, history, models, indices, out_of_fold, predict(x), to_frame(), plot(), save(folder)")
    return "\n".join(lines)


def html(result: Any) -> str:
    """Return the summary and a table of all scores as HTML."""
    folds = result.scores.shape[1]
    head = "".join(f"<th>{name}</th>" for name in ["", *(f"fold {n}" for n in range(1, folds + 1)), "mean"])
    rows = []
    for repeat, scores in enumerate(result.scores, start=1):
        cells = "".join(f"<td>{format_number(value)}</td>" for value in [*scores, scores.mean()])
        rows.append(f"<tr><th>repeat {repeat}</th>{cells}</tr>")
    lines = [html_characters.escape(line) for line in (_title(result), _summary(result), _best(result))]
    return (
        f"<div><p><b>{lines[0]}</b><br>{lines[1]}<br>{lines[2]}</p>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _title(result: Any) -> str:
    repeats, folds = result.scores.shape
    epochs = next(iter(result.history.values())).shape[-1]
    parts = (counted(folds, "fold"), counted(repeats, "repeat"), counted(epochs, "epoch"))
    return f"CrossValidation: {', '.join(parts)}, engine {result.engine}"


def _summary(result: Any) -> str:
    interval = result.interval
    summary = f"{result.metric}: mean {format_number(result.mean)}"
    if result.scores.size < 2:
        return summary
    bounds = f"{format_number(interval.low)} to {format_number(interval.high)}"
    return f"{summary}, standard deviation {format_number(result.std)}, 95% confidence interval {bounds}"


def _best(result: Any) -> str:
    by = "loss" if result.greater_is_better is None else result.metric
    return f"best epoch by the smoothed validation {by}: {result.best_epoch}"


def frame(history: dict[str, NDArray[np.float64]]) -> "pd.DataFrame":
    """Return the history with one row per repeat, fold, epoch (each from 1) and metric."""
    import pandas as pd

    repeats, folds, epochs = next(iter(history.values())).shape
    numbers = [range(1, n + 1) for n in (repeats, folds, epochs)]
    index = pd.MultiIndex.from_product([*numbers, list(history)], names=["repeat", "fold", "epoch", "metric"])
    values = np.stack(list(history.values()), axis=-1)
    return pd.DataFrame({"value": values.ravel()}, index=index).reset_index()


def history_rows(history: dict[str, NDArray[np.float64]]) -> list[dict[str, float]]:
    """Return a dict of repeat, fold, epoch (each from 1) and all metrics for each epoch that was trained."""
    repeats, folds, epochs = history["loss"].shape
    return [
        {"repeat": r + 1, "fold": f + 1, "epoch": e + 1, **{name: float(v[r, f, e]) for name, v in history.items()}}
        for r in range(repeats)
        for f in range(folds)
        for e in range(epochs)
        if not all(np.isnan(values[r, f, e]) for values in history.values())
    ]


def plot(result: Any, metric: str, ax: "Axes | None") -> "Axes":
    """Draw the curves of a metric over the epochs, without the first ones of long runs, and mark the best epoch."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    axes: Any = plt.subplots(layout="constrained")[1] if ax is None else ax
    skipped = skipped_epochs(result.history[metric].shape[-1])
    for prefix, label, colour, line in (("", "training", TRAINING, "--"), ("val_", "validation", VALIDATION, "-")):
        curves = result.history[prefix + metric]
        curves = curves.reshape(-1, curves.shape[-1])[:, skipped:]
        epochs = np.arange(skipped + 1, skipped + curves.shape[1] + 1)
        marker = "o" if len(epochs) == 1 else None
        axes.plot(epochs, curves.mean(axis=0), line, color=colour, marker=marker, label=f"{label}, mean")
        axes.fill_between(epochs, curves.min(axis=0), curves.max(axis=0), color=colour, alpha=0.2, linewidth=0)
    axes.axvline(result.best_epoch, color="black", linestyle=":", label=f"best epoch: {result.best_epoch}")
    models = counted(result.scores.size, "model")
    axes.set(xlabel="epoch", ylabel=metric, title=f"{metric} of {models}; bands: lowest to highest")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return axes  # type: ignore[no-any-return]
