"""What of a candidate is stored, and taken from a checkpoint."""

from k3torch.training.epoch_bar import EpochBar
from k3torch.validation.candidates import Candidate
from k3torch.validation.checkpoints import Checkpoints
from k3torch.validation.runs import Run, Settings
import numpy as np


def settings(checkpoints):
    return Settings(4, 6, None, False, 3, False, False, 7, EpochBar("search", 1, 0), checkpoints, {"seed": 7}, 2)


def test_the_scores_of_a_dropped_candidate_are_loaded_without_models():
    used = settings(Checkpoints(None, {}))
    run = Run(Candidate({}, lambda: None), "candidate 1", scores=np.array([[1.0, 3.0]]), epochs=2, metric="mae")
    run.stored(used)[2] = run.values()
    again = Run(Candidate({}, lambda: None), "candidate 1")
    assert not again.needs_models(range(2), used)
    assert again.load(range(2), used)
    assert (again.mean, again.metric, again.epochs, again.training) == (2.0, "mae", 2, None)
    assert not again.load(range(2, 6), used)
    assert again.needs_models(range(2, 6), used)


def test_another_process_gets_the_settings_of_the_training_alone():
    plain = settings(Checkpoints(None, {})).plain()
    assert plain["batch_size"] == 4
    assert not {"bar", "checkpoints", "n_jobs", "scaling"} & set(plain)
