"""One model, trained by compiled loops over its own samples."""

from k3torch.stack import compiled_loops, stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_models import CompiledModel, batch_sizes
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.traced_steps import StepGraphs
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)


def samples(count, weighted=False):
    weights = DRAW.uniform(0.5, 2, count).astype("float32") if weighted else None
    return Samples(*(DRAW.normal(size=(count, n)).astype("float32") for n in (3, 1)), weights)


def build(*layers, seed=0, metrics=("mae",)):
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "tanh"), *layers, keras.layers.Dense(1)])
    model.compile("rmsprop", "mse", metrics=list(metrics))
    stateless.build(model, np.zeros((2, 3), "float32"), np.zeros((2, 1), "float32"))
    return model


def bound(model, training, validation, batch_size):
    sizes = {*batch_sizes(len(training), batch_size), *batch_sizes(len(validation), batch_size)}
    group = CompiledModel(model, StepGraphs(model, training, sizes), training, validation, batch_size)
    group.bind(compiled_loops.compile_loops(group.examples()))
    return group


@pytest.mark.parametrize(
    ("samples", "batch_size", "sizes"),
    [(10, 4, (4, 2)), (8, 4, (4,)), (3, 4, (3,)), (9, 4, (4, 1)), (5, 1, (1,)), (0, 4, ())],
)
def test_batch_sizes_are_the_full_one_and_the_rest(samples, batch_size, sizes):
    assert batch_sizes(samples, batch_size) == sizes


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("count", "batch_size"), [(10, 4), (9, 4), (6, 32), (5, 1)])
def test_epochs_are_those_of_fit(count, batch_size, weighted):
    training, validation = samples(count, weighted), samples(7, weighted)
    group, reference = bound(build(), training, validation, batch_size), build()
    for _ in range(3):
        order = DRAW.permutation(count)
        group.load([order])
        trained, validated = group.train(), group.validate()
        shuffled = [array[order] for array in training.arrays()]
        weight = shuffled[2] if weighted else None
        history = reference.fit(*shuffled[:2], batch_size, sample_weight=weight, shuffle=False, verbose=0).history
        np.testing.assert_allclose(trained[:, 0], [history["loss"][0], history["mae"][0]], rtol=1e-4)
        expected = reference.evaluate(
            validation.x, validation.y, batch_size, sample_weight=validation.sample_weight, verbose=0
        )
        np.testing.assert_allclose(validated[:, 0], expected, rtol=1e-4)
    group.write_back()
    for mine, theirs in zip(
        stateless.variables(group.models[0])[:-4], stateless.variables(reference)[:-4], strict=True
    ):
        torch.testing.assert_close(mine.value, theirs.value, rtol=1e-4, atol=1e-6)


def test_the_graphs_of_one_model_serve_another():
    training, validation = samples(9), samples(5)
    first, second = build(seed=0), build(seed=1)
    graphs = StepGraphs(first, training, {4, 1})
    groups = [CompiledModel(model, graphs, training, validation, 4) for model in (first, second)]
    loops = compiled_loops.compile_loops(groups[0].examples())
    weights = second.get_weights()
    for group in groups:
        group.bind(loops)
        group.load([np.arange(9)])
    assert not np.allclose(groups[0].train(), groups[1].train())
    for mine, kept in zip(second.get_weights(), weights, strict=True):  # until write_back
        np.testing.assert_array_equal(mine, kept)
    alone = bound(build(seed=1), training, validation, 4)
    alone.load([np.arange(9)])
    alone.train()
    np.testing.assert_array_equal(groups[1].validate(), alone.validate())


def test_validation_leaves_the_weights_and_metrics_start_anew_each_epoch():
    group = bound(build(keras.layers.BatchNormalization()), samples(9), samples(5), 4)
    state = [tensor.clone() for tensor in group._state[: group._graphs.first_sum]]
    first = group.validate()
    np.testing.assert_array_equal(group.validate(), first)
    assert all(torch.equal(a, b) for a, b in zip(state, group._state, strict=False))


def test_batches_for_the_comparison_are_a_full_one_then_the_shorter_last_one():
    training = samples(11)
    model = build()
    group = CompiledModel(model, StepGraphs(model, training, {4, 3}), training, samples(3), 4)
    arrays = training.arrays()

    def rows(kind, count):
        return [batch[0].tolist() for batch in group.batches(kind, 0, count)]

    assert rows("training", 2) == [arrays[0][:4].tolist(), arrays[0][8:].tolist()]
    assert rows("training", 5) == [arrays[0][:4].tolist(), arrays[0][8:].tolist(), arrays[0][4:8].tolist()]
    assert [len(batch) for batch in rows("validation", 2)] == [3]


def test_steps_for_the_comparison_change_nothing():
    training, validation = samples(9), samples(5)
    group, model = bound(build(), training, validation, 4), build()
    state = [tensor.clone() for tensor in group._state]
    after = group.after_steps("training", 0, 2)
    assert all(torch.equal(tensor, kept) for tensor, kept in zip(group._state, state, strict=True))
    for batch in group.batches("training", 0, 2):
        model.train_step(tuple(batch))
    for tensor, variable in zip(after.state, stateless.variables(model), strict=True):
        torch.testing.assert_close(tensor, variable.value.detach(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.metrics, [float(v) for v in model.get_metrics_result().values()], rtol=1e-5)


def test_each_epoch_draws_another_seed():
    group = bound(build(), samples(9), samples(5), 4)
    seeds = []
    for _ in range(2):
        group.load([np.arange(9)])
        seeds.append(int(group._seed))
        group.train()
        assert group._seed == seeds[-1] + 3  # one a batch
    assert seeds[0] != seeds[1]


def test_an_order_of_any_integer_type_and_layout_is_taken():
    training, validation = samples(6), samples(5)
    results = []
    for order in (np.arange(6)[::-1], np.arange(6, dtype="int32")[::-1].copy(), np.arange(6)[::-1].copy()):
        group = bound(build(), training, validation, 4)
        group.load([order])
        results.append(group.train())
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_batches_larger_than_the_loops_are_for_are_refused(monkeypatch):
    training, validation = samples(10), samples(7)
    group = CompiledModel(build(), StepGraphs(build(), training, {4, 2, 3}), training, validation, 4)
    loops = compiled_loops.compile_loops(group.examples())
    monkeypatch.setattr(loops[0], "valid", lambda size: size != 2)
    with pytest.raises(UnsupportedGraph, match="the compiled step is not for batches of 2 samples"):
        group.bind(loops)
