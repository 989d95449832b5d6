"""The result of a search: the candidates with their scores, the best one's models, and what they are worth."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k3torch.errors import choice_problem, refuse
from k3torch.formats import counted, format_number
from k3torch.validation import search_files
from k3torch.validation.halving import ranked
from k3torch.validation.predictions import averaged
from k3torch.validation.result import CrossValidation, Interval, mean_interval
import keras
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # imported when they are used
    from matplotlib.axes import Axes
    import pandas as pd

_SHOWN = 5  # candidates in the text


@dataclass(frozen=True, eq=False)
class OuterFold:
    """What was selected without the samples of an outer fold, and its score on them.

    Attributes:
        params: of the candidate with the best mean score on the inner folds.
        epochs: for which its model was trained on the samples of the inner folds.
        inner_score: that mean score, which is too good.
        score: of the model on the samples of the outer fold.
        samples: their numbers.
        predictions: of these samples, (samples, outputs): the mean of the candidate's models of the inner folds.
    """

    params: dict[str, Any]
    epochs: int
    inner_score: float
    score: float
    samples: NDArray[np.int64]
    predictions: NDArray[np.float64]


@dataclass(frozen=True, repr=False, eq=False)
class SearchResult:
    """Scores of all candidates, and models of the best one.

    Attributes:
        params: of each candidate, in the order of the grid.
        scores: (candidates, repeats, folds), the first metric on the validation samples. A candidate that halving has
            dropped has the scores that it was dropped with.
        epochs: (candidates,): for which a model of the candidate would be trained on new samples; of a dropped
            candidate those that it was trained for.
        seconds: (candidates,), of training, which candidates of one stack have in equal parts.
        best_index: the position of the best candidate.
        best_model: with its parameters, trained on all samples, for ``epochs[best_index]`` epochs. It takes x as
            ``search`` got it.
        ensemble: the cross-validation of the best candidate: the models of its folds, whose mean prediction is
            ``ensemble.predict(x)``, and the predictions out of fold.
        ensemble_score: the metric of ``ensemble.out_of_fold``, which are means over the repeats: with several repeats
            the score of an ensemble of as many models on samples that they have not seen. NaN for a loss, and where a
            sample is in no validation fold.
        outer: what was selected without each outer fold, and its score there; None without ``outer=``. If the search
            was interrupted, those that were done.
    """

    params: list[dict[str, Any]]
    scores: NDArray[np.float64]
    epochs: NDArray[np.int64]
    seconds: NDArray[np.float64]
    best_index: int
    best_model: keras.Model
    ensemble: CrossValidation
    ensemble_score: float = float("nan")
    outer: list[OuterFold] | None = None

    @property
    def metric(self) -> str:
        """Name of the metric of the scores."""
        return self.ensemble.metric

    @property
    def greater_is_better(self) -> bool:
        """Whether a higher score is better."""
        return bool(self.ensemble.greater_is_better)

    @property
    def best_params(self) -> dict[str, Any]:
        """The parameters of the best candidate."""
        return self.params[self.best_index]

    @property
    def best_score(self) -> float:
        """The mean score of the best candidate, which is too good, since the candidate was selected for it."""
        return float(self.scores[self.best_index].mean())

    @property
    def outer_scores(self) -> NDArray[np.float64] | None:
        """The score on each outer fold, (outer folds,), of the model that was selected without it."""
        return None if self.outer is None else np.array([fold.score for fold in self.outer])

    @property
    def outer_params(self) -> list[dict[str, Any]] | None:
        """The parameters that were selected without each outer fold."""
        return None if self.outer is None else [fold.params for fold in self.outer]

    @property
    def outer_predictions(self) -> NDArray[np.float64] | None:
        """The prediction of each sample, (samples, outputs), by an ensemble that was selected and trained without it.

        The ensemble is that of the models of the inner folds. NaN for a sample that is in no outer fold, None without
        outer folds.
        """
        if not self.outer:
            return None
        return averaged([(fold.samples, fold.predictions) for fold in self.outer], len(self.ensemble.out_of_fold))

    def interval(self, candidate: int) -> Interval:
        """Return the confidence interval of a candidate's mean score, as ``CrossValidation.interval``."""
        return mean_interval(self.scores[candidate], self.ensemble.validation_ratio)

    def to_frame(self) -> "pd.DataFrame":
        """Return a pandas DataFrame with a row for each candidate, the best first.

        Columns: the parameters, mean, std, low and high of the confidence interval, epochs, seconds.
        """
        import pandas as pd

        rows = []
        for number in self._order():
            scores, interval = self.scores[number], self.interval(number)
            std = float(scores.std(ddof=1)) if scores.size > 1 else float("nan")
            values = {"mean": float(scores.mean()), "std": std, "low": interval.low, "high": interval.high}
            values |= {"epochs": int(self.epochs[number]), "seconds": float(self.seconds[number])}
            rows.append({**self.params[number], **values})
        return pd.DataFrame(rows, index=pd.Index(self._order(), name="candidate"))

    def plot(self, parameter: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Draw the mean score and its confidence interval by the values of a parameter.

        Args:
            parameter: the first of those that differ by default.
            ax: matplotlib axes to draw on; new ones by default.

        Raises:
            InputError: for a parameter that no candidate has.
        """
        from k3torch.validation import search_plot

        names = list(dict.fromkeys(name for params in self.params for name in params))
        differing = [name for name in names if len({repr(params.get(name)) for params in self.params}) > 1]
        chosen = parameter if parameter is not None else next(iter([*differing, *names]), "")
        refuse([choice_problem("parameter", chosen, names)])
        return search_plot.draw(self, chosen, ax)

    def save(self, folder: str | Path) -> None:
        """Write everything to a new folder: the models as .keras files, arrays as .npz, the rest as .json.

        ``ensemble`` is in a folder of its own, which ``CrossValidation.load`` reads too. A parameter that is neither a
        number, a text, a bool, None nor a list of them is saved as its ``repr``.

        Raises:
            InputError: if the folder exists and is not empty, or cannot be written.
        """
        outer = None if self.outer is None else [vars(fold) for fold in self.outer]
        search_files.save({**vars(self), "outer": outer, "ensemble": vars(self.ensemble)}, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "SearchResult":
        """Return a result that ``save`` wrote. Nothing in the folder is executed or unpickled.

        Raises:
            InputError: if the folder has no such result, or a damaged one.
        """
        fields = search_files.load(Path(folder))
        outer = None if fields["outer"] is None else [OuterFold(**fold) for fold in fields["outer"]]
        return cls(**{**fields, "outer": outer, "ensemble": CrossValidation(**fields["ensemble"])})

    def __repr__(self) -> str:
        repeats, folds = self.scores.shape[1:]
        parts = (counted(len(self.params), "candidate"), counted(folds, "fold"), counted(repeats, "repeat"))
        lines = [f"SearchResult: {', '.join(parts)}; {self.metric}, mean and 95% confidence interval"]
        order = self._order()
        for number in order[:_SHOWN]:
            interval = self.interval(number)
            bounds = f"{format_number(interval.low)} to {format_number(interval.high)}"
            mean = format_number(float(self.scores[number].mean()))
            lines.append(f"  {mean} ({bounds}), epochs {self.epochs[number]}: {_shown(self.params[number])}")
        if len(order) > _SHOWN:
            lines.append(f"  ... ({len(order)} candidates)")
        if (outer := self.outer_scores) is not None and len(outer):
            lines.append(
                f"  outer folds: mean {format_number(float(outer.mean()))} of {len(outer)}, not biased by the selection"
            )
        lines.append("  best_params, best_model, ensemble, scores, outer, to_frame(), plot(parameter), save(folder)")
        return "\n".join(lines)

    def _order(self) -> list[int]:
        """Return the candidates from the best on; those that were dropped come after those trained to the end."""
        order = ranked([float(s.mean()) for s in self.scores], greater_is_better=self.greater_is_better)
        return [self.best_index, *(number for number in order if number != self.best_index)]


def _shown(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items()) or "no parameters"
