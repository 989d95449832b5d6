"""Each group of models is copied after an epoch of its own, and the checkpoint is written with the last of them."""

from k3torch.validation.checkpoints import Current
from k3torch.validation.stack_checkpoint import StackCheckpoint
import numpy as np
import torch


class Stack:
    """Two models, of which each is a group."""

    def __init__(self):
        self.tensors = [torch.zeros(2), torch.ones(2)]
        self.generators = [np.random.default_rng(number) for number in range(2)]

    def state(self, model):
        return [self.tensors[model]]

    def generator(self, model):
        return self.generators[model]


class Recording(Current):
    def __init__(self, due, **stored):
        super().__init__(stored=stored)
        self.due, self.written = due, []

    def is_due(self):
        return self.due

    def write(self):
        self.written.append({number: job["next"] for number, job in self.jobs.items()})


def made(current, stack):
    checkpoint = StackCheckpoint(current, stack, 5, [], np.zeros((2, 2, 1, 9)), range(9))
    checkpoint.begin({0, 1})
    return checkpoint


def test_models_that_are_epochs_apart_are_written_together():
    current, stack = Recording(due=False), Stack()
    checkpoint = made(current, stack)
    checkpoint.after_epoch(range(0, 1), 0, True)
    assert current.jobs == {}
    current.due = True
    checkpoint.after_epoch(range(0, 1), 1, True)
    stack.tensors[0] += 7  # it goes on while the other one has not ended its epoch
    checkpoint.after_epoch(range(0, 1), 2, True)
    checkpoint.after_epoch(range(1, 2), 0, True)
    assert current.written == [{5: 3, 6: 1}]
    assert current.jobs[5]["state"][0].tolist() == [7, 7]


def test_models_that_are_not_trained_further_are_stored_too():
    current, stack = Recording(due=False), Stack()
    checkpoint = made(current, stack)
    checkpoint.after_epoch(range(1, 2), 4, False)
    current.due = True
    checkpoint.after_epoch(range(0, 1), 0, True)
    assert current.written == [{6: 5, 5: 1}]


def test_what_was_stored_is_loaded():
    first, stack = Recording(due=True), Stack()
    checkpoint = made(first, stack)
    stack.tensors[1][:] = 3
    for model in range(2):
        checkpoint.after_epoch(range(model, model + 1), 2, True)
    expected = stack.generators[1].integers(1000, size=4)
    again = Stack()
    loaded = made(Recording(due=False, jobs=first.jobs), again)
    assert loaded.next == [3, 3]
    assert again.tensors[1].tolist() == [3, 3]
    np.testing.assert_array_equal(again.generators[1].integers(1000, size=4), expected)
