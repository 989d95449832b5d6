"""Candidates are compared by one metric; ``test_search`` tests their training."""

from k3torch import InputError
from k3torch.validation.candidate_runs import best_of, check_same_metric
from k3torch.validation.candidates import Candidate
from k3torch.validation.runs import Run
import numpy as np
import pytest


def run(score, metric="mae"):
    return Run(Candidate({}, lambda: None), "", scores=np.array([[score, score]]), metric=metric)


def test_the_best_has_the_lowest_mean_error_and_nan_is_never_best():
    assert best_of([run(3.0), run(float("nan")), run(1.0), run(1.0)]) == 2


def test_scores_of_several_metrics_are_refused():
    check_same_metric([run(1.0), run(2.0)])
    with pytest.raises(InputError, match="expected the same first metric of all candidates, got mae, mse"):
        check_same_metric([run(1.0), run(2.0, "mse")])
