"""The divisions of the samples that a search selects on: all samples, and the training samples of each outer fold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k3torch.validation.folds import Split, make_folds, make_repeats
from k3torch.validation.jobs import Data, Fold, scaled_folds
import numpy as np


@dataclass(frozen=True)
class Division:
    """How a search divides samples, and how it scales them.

    Attributes:
        folds: number, splitter or pairs of index arrays, as in ``cross_validate``.
        repeats: of the folds.
        outer: number of outer folds, splitter or pairs, or None.
        groups: of the samples, for splitters, or None.
        seed: of the division, of initial weights and of orders of samples.
        scaling: the further arguments of ``scaled_folds``.
    """

    folds: Any
    repeats: int
    outer: Any
    groups: Any
    seed: int
    scaling: dict[str, Any]

    def problems(self, data: Data, batch_size: int) -> list["Problem"]:
        """Return the selection on all samples, then the one of each outer fold.

        Args:
            data: all samples.
            batch_size: samples of all that a model trained on all of them is validated on, of which nothing is used.

        Raises:
            InputError: as ``make_folds`` and ``scaled_folds``.
        """
        whole = np.arange(len(data.y))
        splits = self._divided(data, whole, self.groups)
        outer = [] if self.outer is None else make_folds(self.outer, data.x, data.y)
        inner = [self._divided(data, training) for training, _ in outer]
        size = min(batch_size, max(len(training) for problem in (splits, *inner) for training, _ in _flat(problem)))
        tests = [(whole, whole[:size]), *outer]
        return [
            Problem(self._scaled(data, problem), self._scaled(data, [[test]])[0])
            for problem, test in zip((splits, *inner), tests, strict=True)
        ]

    def _divided(self, data: Data, training: Any, groups: Any = None) -> list[list[Split]]:
        """Return the folds of some samples, as numbers of all samples."""
        x, y = data.x[training], data.y[training]
        splits = make_repeats(self.folds, x, y, groups, repeats=self.repeats, seed=self.seed)
        return [[(training[a], training[b]) for a, b in folds] for folds in splits]

    def _scaled(self, data: Data, splits: Sequence[Sequence[Split]]) -> list[Fold]:
        return scaled_folds(data, splits, seed=self.seed, **self.scaling)


@dataclass(frozen=True)
class Problem:
    """The samples of one selection.

    Attributes:
        folds: on which candidates are compared, those of one repeat after those of the one before.
        test: trains a model of the selected candidate on the samples of all folds, and tests it on others.
    """

    folds: list[Fold]
    test: Fold


def _flat(splits: Sequence[Sequence[Split]]) -> list[Split]:
    return [split for folds in splits for split in folds]
