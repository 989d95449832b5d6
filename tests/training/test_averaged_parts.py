"""The loss and the gradients of one process among two; the other is made up. Whole trainings: test_distributed.py."""

import k3torch
from k3torch.errors import InputError
from k3torch.training import averaged_parts
from k3torch.training.averaged_parts import AveragedParts, average, samples_of
from k3torch.training.step_parts import choose_parts
import keras
import pytest
import torch


def built(loss="mse", **options):
    model = k3torch.FastModel(inputs := keras.Input((2,)), keras.layers.Dense(1, **options)(inputs))
    model.compile("sgd", loss)
    model.train_on_batch(torch.ones(1, 2), torch.ones(1, 1))  # builds all that a step needs
    return model


def averaged(model):
    return AveragedParts(model, choose_parts(model).parts)


@pytest.fixture
def other(monkeypatch):
    """What the other process adds to each sum, in order; and what this one sends."""
    added, sent = [], []

    def sum_of_all(tensor):
        sent.append(tensor.clone())
        return tensor.add_(torch.as_tensor(added.pop(0)))

    monkeypatch.setattr(averaged_parts, "sum_of_all", sum_of_all)
    monkeypatch.setattr(averaged_parts, "any_of_all", lambda flags, device: list(flags))
    return added, sent


def test_gradients_are_averaged_by_numbers_of_samples_in_one_message(other):
    added, sent = other
    added.append([0.0, 0.0, 60.0, 1.0])  # one sample, with the gradients (0, 0) and 60
    found = average([torch.tensor([[4.0, 8.0]]), torch.tensor([20.0])], 3)
    assert [gradient.tolist() for gradient in found] == [[[3.0, 6.0]], [30.0]]
    assert [message.tolist() for message in sent] == [[12.0, 24.0, 60.0, 3.0]]


def test_dtypes_stay(other):
    other[0].append(torch.zeros(3, dtype=torch.float64))
    found = average([torch.ones(1, dtype=torch.float64), torch.ones(1)], 2)
    assert [gradient.dtype for gradient in found] == [torch.float64, torch.float32]


def test_the_mean_over_samples_needs_no_message(other):
    model = built(kernel_regularizer="l2")
    parts = averaged(model)
    x, y = torch.ones(3, 2), torch.zeros(3, 1)
    y_pred = parts.parts().forward(x, True)
    assert torch.equal(parts.parts().loss(y, y_pred, None), parts.local.loss(y, y_pred, None))
    assert other[1] == []


def scaled_loss(model, other, theirs, x, y, weights=None):
    """Return the loss of this process, and that of a process alone on the same samples, without penalties."""
    other[0].append(theirs)
    parts = averaged(model).parts()
    y_pred = parts.forward(x, True)
    penalty = sum(term.sum() for term in model.losses)
    alone = choose_parts(model).parts.loss(y, y_pred, weights) - penalty
    return (parts.loss(y, y_pred, weights) - penalty).item(), alone.item()


def test_a_mean_by_sample_weights_is_scaled_to_their_sum(other):
    model = built(keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), kernel_regularizer="l2")
    weights = torch.tensor([1.0, 3.0])
    found, alone = scaled_loss(model, other, [6.0, 3.0], torch.ones(2, 2), torch.zeros(2, 1), weights)
    assert other[1][0].tolist() == [4.0, 2.0]
    assert found == pytest.approx(alone * (4 / 10) / (2 / 5))


def test_weights_of_zero_everywhere_leave_the_penalty(other):
    model = built(keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), kernel_regularizer="l2")
    found, _ = scaled_loss(model, other, [0.0, 3.0], torch.ones(2, 2), torch.zeros(2, 1), torch.zeros(2))
    assert found == 0


def test_a_sum_is_scaled_by_the_number_of_samples(other):
    model = built(keras.losses.MeanSquaredError(reduction="sum"))
    found, alone = scaled_loss(model, other, [0.0, 3.0], torch.ones(2, 2), torch.zeros(2, 1))
    assert found == pytest.approx(alone * 5 / 2)


def test_without_samples_nothing_is_computed_and_the_weights_move_all_the_same(other):
    model = built()
    process = averaged(model)
    process._used = [True, True]  # settled in the first step, for which each process has samples
    parts = process.parts()
    before = [weight.copy() for weight in model.get_weights()]
    y_pred = parts.forward(torch.ones(0, 2), True)
    loss = parts.loss(torch.ones(0, 1), y_pred, None)
    loss.backward()
    parts.update_metrics(torch.ones(0, 1), y_pred, None)
    other[0].append([2.0, 4.0, 6.0, 2.0])
    parts.update_weights([None, None], model.trainable_variables)
    assert loss.item() == 0
    moved = [b - a for a, b in zip(before, model.get_weights(), strict=True)]
    assert moved[0].ravel().tolist() == pytest.approx([-0.01, -0.02], rel=1e-4)
    assert moved[1].tolist() == pytest.approx([-0.03], rel=1e-4)


def test_a_first_batch_without_samples_takes_part_in_the_sum_over_masks_of_another_process(other, monkeypatch):
    monkeypatch.setattr(averaged_parts, "any_of_all", lambda flags, device: [True for _ in flags])
    parts = averaged(built()).parts()
    other[0].append([2.0, 3.0])
    y_pred = parts.forward(torch.ones(0, 2), True)
    assert parts.loss(torch.ones(0, 1), y_pred, None).item() == 0
    assert [message.tolist() for message in other[1]] == [[0.0, 0.0]]


@pytest.mark.parametrize(
    ("losses", "line"),
    [
        ([keras.losses.MeanSquaredError(reduction="none")], "none"),
        ([keras.losses.MeanSquaredError(reduction=None)], "None"),
        ([keras.losses.MeanSquaredError(reduction="sum")] * 2, "sum"),
    ],
)
def test_other_reductions_are_one_line(losses, line):
    inputs = keras.Input((2,))
    model = k3torch.FastModel(inputs, [keras.layers.Dense(1)(inputs) for _ in losses])
    model.compile("sgd", losses)
    model.build((None, 2))
    model._compile_loss.build([torch.ones(1, 1)] * len(losses), [torch.ones(1, 1)] * len(losses))
    with pytest.raises(InputError) as refused:
        averaged(model)
    reason = f"expected losses with reduction='sum_over_batch_size', got {line}: train it in one process"
    assert str(refused.value) == reason


def test_samples_are_counted_in_any_structure():
    assert samples_of((None, {"a": torch.ones(3, 1)})) == 3
    assert samples_of(torch.ones(4, 2)) == 4
    assert samples_of(()) == 0
