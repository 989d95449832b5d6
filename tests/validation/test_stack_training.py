"""The bar goes on when all models have completed an epoch; stacks that were complete are loaded."""

from k3torch.training.checkpoint_state import model_values
from k3torch.validation.checkpoints import Current
from k3torch.validation.stack_training import _Progress, load_finished
import keras
import numpy as np


class Bar:
    def __init__(self):
        self.shown = []

    def advance(self, metrics):
        self.shown.append(metrics)


class Job:
    def __init__(self):
        self.model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.model.compile("sgd", "mse")


def test_the_bar_waits_for_the_slowest_model():
    bar = Bar()
    progress = _Progress(bar, ["loss"], 2, range(3))
    for epoch in range(3):
        progress.add(0, epoch, np.array([4.0]), stopped=False)
    assert bar.shown == []
    progress.add(1, 0, np.array([2.0]), stopped=True)
    assert bar.shown == [{"mean val_loss": 3.0}] * 3


def test_a_stack_is_loaded_if_all_of_its_jobs_were_complete():
    trained, jobs = Job(), [Job(), Job()]
    stored = {"model": model_values(trained.model), "history": np.zeros((2, 1, 3)), "kept": 2, "finished": True}
    histories, kept = [], []
    assert not load_finished(Current(stored={"jobs": {4: dict(stored)}}), 4, jobs, [], histories, kept)
    current = Current(stored={"jobs": {4: dict(stored), 5: dict(stored)}})
    assert load_finished(current, 4, jobs, [], histories, kept)
    assert (len(histories), kept) == (2, [2, 2])
    for job in jobs:
        np.testing.assert_array_equal(job.model.get_weights()[0], trained.model.get_weights()[0])
