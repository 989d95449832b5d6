"""Models that are mapped over a stack train, validate and report as by Keras's own fit."""

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.mapped_models import MappedModels
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)


def samples(count):
    return Samples(*(DRAW.normal(size=(count, n)).astype("float32") for n in (3, 1)))


TRAINING, VALIDATION = [samples(7), samples(8)], [samples(5), samples(3)]


def build(seed=0):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), "mse", metrics=["mae"])
    stateless.build(model, TRAINING[0].x, TRAINING[0].y)
    return model


def mapped(**options):
    return MappedModels([build(0), build(1)], TRAINING, VALIDATION, 3, **options)


def test_the_graphs_are_named_and_share_the_state():
    group = mapped()
    assert [traced.name for traced in [*group._graphs["training"], *group._graphs["validation"], group._read]] == [
        "training, batches of 3",
        "training, batches of 2",
        "training, batches of 1",
        "validation, batches of 3",
        "validation, batches of 2",
        "reading metrics",
    ]
    first, *others = [*group._graphs["training"], *group._graphs["validation"]]
    count = len(stateless.variables(group.models[0]))
    for traced in others:
        assert all(a is b for a, b in zip(traced.inputs[:count], first.inputs[:count], strict=True))
    assert all(
        a is b for a, b in zip(group._read.inputs[:-1], first.inputs[count - len(group._sums) : count], strict=True)
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_an_epoch_is_that_of_fit(threads):
    group, references = mapped(threads=threads), [build(0), build(1)]
    orders = [np.array([6, 2, 4, 0, 1, 5, 3]), np.arange(8)[::-1].copy()]
    before = torch.get_num_threads()
    for _ in range(2):
        group.load(orders)
        trained, validated = group.train(), group.validate()
    assert torch.get_num_threads() == before
    assert trained.shape == validated.shape == (2, 2)
    group.write_back()
    for number, (reference, order) in enumerate(zip(references, orders, strict=True)):
        x, y = TRAINING[number].x[order], TRAINING[number].y[order]
        history = reference.fit(x, y, batch_size=3, epochs=2, shuffle=False, verbose=0).history
        np.testing.assert_allclose(trained[:, number], [history["loss"][1], history["mae"][1]], rtol=1e-5)
        expected = reference.evaluate(VALIDATION[number].x, VALIDATION[number].y, batch_size=3, verbose=0)
        np.testing.assert_allclose(validated[:, number], expected, rtol=1e-5)
        for mine, theirs in zip(group.models[number].get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("member", [0, 1])
def test_steps_for_the_comparison_change_nothing(member):
    group, model = mapped(), build(member)
    state = [tensor.clone() for tensor in group._state]
    batches = group.batches("training", member, 2)
    assert [len(batch[0]) for batch in batches] == [3, 3]
    after = group.after_steps("training", member, 2)
    assert all(torch.equal(tensor, kept) for tensor, kept in zip(group._state, state, strict=True))
    for batch in batches:
        model.train_step(tuple(batch))
    for tensor, variable in zip(after.state, stateless.variables(model), strict=True):
        torch.testing.assert_close(tensor, variable.value.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.metrics, [float(v) for v in model.get_metrics_result().values()], rtol=1e-5)


def test_batches_are_at_most_those_that_there_are():
    batches = mapped().batches("validation", 0, 5)
    assert [batch[0].tolist() for batch in batches] == [VALIDATION[0].x[:3].tolist()]
