"""Candidates that are trained in other processes have the bits of those that are trained here."""

from k3torch import search
from k3torch.validation import candidate_tasks
import keras
import numpy as np
import pytest
from tests.validation.test_selection import GRID, X, Y, bits, build


def searched(n_jobs, **arguments):
    arguments = {"folds": 2, "epochs": 3, "batch_size": 8, "verbose": 0, **arguments}
    return search(lambda **parameters: build(**parameters), GRID, X, Y, n_jobs=n_jobs, **arguments)


@pytest.fixture
def each_alone(monkeypatch):
    """Each candidate is a task."""
    monkeypatch.setattr(candidate_tasks, "TASK_SECONDS", 1e-9)


def test_tasks_of_this_process_have_the_scores_of_a_search_without(each_alone, tmp_path):
    found = searched(1, checkpoint=tmp_path, halving=2)
    assert isinstance(found.best_model, keras.Model)
    np.testing.assert_allclose(found.scores, searched(None, halving=2).scores, rtol=1e-4)
    assert bits(searched(1, checkpoint=tmp_path, halving=2)) == bits(found)  # loaded


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_processes(each_alone):
    assert bits(searched(1, halving=2)) == bits(searched(2, halving=2))


@pytest.mark.slow
def test_scores_are_those_of_a_search_in_this_process():
    here = search(build, GRID, X, Y, folds=2, epochs=3, batch_size=8, outer=2, verbose=0)
    there = searched(2, outer=2)
    np.testing.assert_allclose(there.scores, here.scores, rtol=1e-4)
    assert there.outer_params == here.outer_params


def test_the_size_of_a_task_follows_from_the_work_alone(monkeypatch):
    monkeypatch.setattr(candidate_tasks, "uncompiled_seconds", lambda *_: 30.0)

    class Settings:
        batch_size = 1

        def jobs(self, *_):
            return [type("Job", (), {"model": None, "training": ()})]

    class Run:
        candidate = None

    assert candidate_tasks._candidates_of_a_task(Run, None, [], Settings(), 1) == 7
