"""Each candidate of a search has the scores that ``cross_validate`` gives it alone, and the best one is selected."""

import importlib

from k3torch import InputError, Interrupted, cross_validate, search
from k3torch.stack import compiled_loops, model_stack
from k3torch.stack.reasons import CompilerUnavailable
from k3torch.validation import candidate_runs, engines
import keras
from keras import layers
import numpy as np
import pytest
import scipy.sparse
from sklearn.model_selection import KFold, ParameterGrid

rng = np.random.default_rng(3)
X = rng.normal(size=(26, 3))
Y = X @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=26)
LABELS = (Y > 0).astype("int64")


def regressor(optimizer=None, layer=None, loss="mse", units=4, activation="tanh", penalty=None, bias=None):
    hidden = layers.Dense(units, activation, kernel_regularizer=penalty, activity_regularizer=bias)
    model = keras.Sequential([keras.Input((3,)), hidden, *([layer] if layer else []), layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.01), loss, metrics=["mae"])
    return model


def classifier(smoothing=0.0):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "relu"), layers.Dense(1, "sigmoid")])
    model.compile("sgd", keras.losses.BinaryCrossentropy(label_smoothing=smoothing), metrics=["accuracy", "mse"])
    return model


def schedule(rate, steps):
    return keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(rate, steps))


# For each kind of parameter: a builder, its grid, and whether all candidates share one graph.
KINDS = {
    "learning rate": (lambda v: regressor(keras.optimizers.RMSprop(v)), [1e-3, 1e-2, 0.03]),
    "momentum": (lambda v: regressor(keras.optimizers.SGD(0.01, momentum=v)), [0.5, 0.9]),
    "nesterov momentum": (lambda v: regressor(keras.optimizers.SGD(0.01, v, nesterov=True)), [0.5, 0.9]),
    "betas": (lambda v: regressor(keras.optimizers.Adam(0.01, v, 1 - v / 10)), [0.5, 0.9]),
    "epsilon": (lambda v: regressor(keras.optimizers.Adam(0.01, epsilon=v)), [1e-7, 1e-2]),
    "rho": (lambda v: regressor(keras.optimizers.RMSprop(0.01, v)), [0.5, 0.9]),
    "weight decay": (lambda v: regressor(keras.optimizers.AdamW(0.01, weight_decay=v)), [0.01, 0.3]),
    "clipnorm": (lambda v: regressor(keras.optimizers.SGD(0.05, clipnorm=v)), [0.1, 1.0]),
    "clipvalue": (lambda v: regressor(keras.optimizers.SGD(0.05, clipvalue=v)), [0.1, 1.0]),
    "global_clipnorm": (lambda v: regressor(keras.optimizers.SGD(0.05, global_clipnorm=v)), [0.1, 1.0]),
    "schedule": (lambda v: regressor(schedule(0.1 * v, 10 * v)), [1, 3]),
    "L2": (lambda v: regressor(penalty=keras.regularizers.L2(v)), [0.01, 0.1]),
    "L1 and L2": (lambda v: regressor(penalty=keras.regularizers.L1L2(v, v / 2)), [0.01, 0.1]),
    "activity": (lambda v: regressor(bias=keras.regularizers.L2(v)), [0.01, 0.1]),
    "Huber": (lambda v: regressor(loss=keras.losses.Huber(v)), [0.5, 1.5]),
    "label smoothing": (classifier, [0.1, 0.3]),
    "batch normalisation": (
        lambda v: regressor(layer=layers.BatchNormalization(momentum=v, epsilon=v / 100)),
        [0.5, 0.9],
    ),
    "max norm": (
        lambda v: regressor(layer=layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(v))),
        [0.5, 1.0],
    ),
    "several": (
        lambda v: regressor(
            keras.optimizers.AdamW(v, weight_decay=v, clipnorm=10 * v),
            penalty=keras.regularizers.L2(v),
            loss=keras.losses.Huber(10 * v),
        ),
        [0.01, 0.02, 0.05],
    ),
}


@pytest.fixture
def compiled(monkeypatch):
    """Searches share their graphs however short they are."""
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)


@pytest.fixture
def stacks(monkeypatch):
    """Collects how many candidates were trained as one stack, for each stack."""
    counts = []
    together = candidate_runs._together

    def counted(runs, *rest):
        done = together(runs, *rest)
        counts.append(len(runs) if done else -len(runs))
        return done

    monkeypatch.setattr(candidate_runs, "_together", counted)
    return counts


ARGUMENTS = {"folds": 2, "epochs": 2, "batch_size": 4, "seed": 5}


def alone(build, grid, y=Y, **arguments):
    """The scores of each candidate by Keras's fit, fold after fold."""
    arguments = {**ARGUMENTS, "engine": "fit", **arguments}
    return np.array([cross_validate(lambda p=p: build(**p), X, y, **arguments).scores for p in ParameterGrid(grid)])


USUAL = ("label smoothing", "several")  # which has weight decay and clipnorm too


@pytest.mark.parametrize(
    "kind", [kind if kind in USUAL else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)
def test_candidates_that_differ_in_numbers_share_a_stack_and_have_the_scores_of_each_alone(kind, compiled, stacks):
    build, values = KINDS[kind]
    y = LABELS if build is classifier else Y
    made = lambda value: build(value)  # noqa: E731
    found = search(made, {"value": values}, X, y, **ARGUMENTS)
    assert stacks[0] == len(values)
    expected = alone(made, {"value": values}, y)
    np.testing.assert_allclose(found.scores, expected, rtol=1e-3, atol=1e-5)
    assert len({scores.tobytes() for scores in found.scores}) == len(values) or build is classifier
    choose = np.argmax if found.greater_is_better else np.argmin
    assert found.best_params == {"value": values[choose(expected.mean(axis=(1, 2)))]}


@pytest.mark.parametrize(
    "arguments",
    [
        {"repeats": 2, "normalize": "fold"},
        {"normalize_y": True, "normalize": "train", "shuffle": False},
        {"sample_weight": np.linspace(0.5, 2, 26), "folds": KFold(3, shuffle=True, random_state=1)},
        {"batch_size": 1},
        {"batch_size": 100},
    ],
    ids=str,
)
def test_all_arguments_of_cross_validate_mean_the_same(arguments, compiled, stacks):
    build = lambda rate: regressor(keras.optimizers.SGD(rate))  # noqa: E731
    found = search(build, {"rate": [0.01, 0.02]}, X, Y, **{**ARGUMENTS, **arguments})
    assert stacks[0] == 2
    np.testing.assert_allclose(found.scores, alone(build, {"rate": [0.01, 0.02]}, **arguments), rtol=1e-3, atol=1e-6)


def test_random_layers_draw_with_the_rate_of_each_candidate(compiled, monkeypatch):
    """Without weights to train, the mean error of the outputs of a dropout is known for each rate."""
    seen = []
    monkeypatch.setattr(candidate_runs, "forget", lambda runs, _: seen.extend(runs))

    def build(rate):
        model = keras.Sequential([keras.Input((500,)), layers.Dropout(rate)])
        model.add(layers.Dense(1, kernel_initializer="ones"))
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mse"])
        return model

    rates = [0.1, 0.5, 0.8]
    search(build, {"rate": rates}, np.ones((200, 500)), np.full(200, 500.0), folds=2, epochs=20, batch_size=50)
    assert [run.candidate.params["rate"] for run in seen] == rates[1:]
    for run in seen:
        rate, mse = run.candidate.params["rate"], np.array(run.training.histories)[:, 0, 1]
        assert mse.mean() == pytest.approx(500 * rate / (1 - rate), rel=0.1)
        assert len(set(mse.ravel())) == mse.size


def test_other_shapes_get_a_stack_each_and_one_line_says_so(compiled, stacks, capsys):
    grid = {"units": [3, 4], "rate": [0.01, 0.02]}
    build = lambda units, rate: regressor(keras.optimizers.SGD(rate), units=units)  # noqa: E731
    found = search(build, grid, X, Y, **ARGUMENTS)
    np.testing.assert_allclose(found.scores, alone(build, grid), rtol=1e-3)
    assert capsys.readouterr().err == "4 candidates differ in more than numbers: 2 stacks, one after another\n"
    assert stacks == [2, 2, 1]


class Untraceable(layers.Layer):
    def call(self, x):
        return x * float(keras.ops.sum(x) > -1e9)


class Noisy(layers.Layer):
    """Cannot be compared with Keras's own step: NumPy's numbers are drawn once, when the step is traced."""

    def call(self, x):
        return x * (1 + 0 * float(np.random.normal()))


NOT_SHARED = {
    "short": (None, ""),
    "no compiler": (None, "training each candidate on its own: no C++ compiler works here"),
    "untraceable": (Untraceable, "training 2 of 2 candidates on their own: "),
    "settings": (None, "training each candidate on its own: the optimizer averages weights (use_ema)\n"),
    "another step": (Noisy, "training each candidate on its own: its step differs from Keras's own"),
}


@pytest.mark.parametrize("reason", NOT_SHARED)
def test_without_shared_graphs_each_candidate_is_trained_on_its_own(reason, monkeypatch, capsys, stacks):
    layer, line = NOT_SHARED[reason]
    if reason != "short":
        monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    if reason == "no compiler":

        def fails(_):
            raise CompilerUnavailable("no C++ compiler works here")

        monkeypatch.setattr(compiled_loops, "compile_loops", fails)

    def build(rate):
        optimizer = keras.optimizers.SGD(rate, use_ema=reason == "settings")
        return regressor(optimizer, layer() if layer else None)

    found = search(build, {"rate": [0.01, 0.02]}, X, Y, **ARGUMENTS)
    np.testing.assert_allclose(found.scores, alone(build, {"rate": [0.01, 0.02]}), rtol=1e-3)
    assert [count for count in stacks if count > 0] == []
    assert capsys.readouterr().err.startswith(line)


def test_memory_bounds_how_many_candidates_are_in_a_stack(compiled, stacks, monkeypatch):
    build, values = KINDS["weight decay"][0], [0.01, 0.1, 0.3]
    made = lambda value: build(value)  # noqa: E731
    whole = search(made, {"value": values}, X, Y, **ARGUMENTS)
    monkeypatch.setattr(engines, "STACK_BYTES", 1)
    parts = search(made, {"value": values}, X, Y, **ARGUMENTS)
    assert stacks == [3, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-4)


def test_the_best_model_is_trained_on_all_samples_by_fit_and_takes_raw_ones(compiled):
    x = X * [1, 100, 0.01] + [0, 500, 0]
    found = search(regressor, {"units": [3, 4]}, x, Y, normalize="fold", normalize_y=True, **ARGUMENTS)
    keras.utils.set_random_seed(int(np.random.SeedSequence((5, 0, 0)).generate_state(1)[0]))
    expected = regressor(**found.best_params)
    scaled, target = (x - x.mean(axis=0)) / x.std(axis=0), (Y - Y.mean()) / Y.std()
    for epoch in range(2):
        order = np.random.default_rng([5, 0, 0, epoch]).permutation(26)
        expected.fit(scaled[order], target[order], batch_size=4, shuffle=False, verbose=0)
    predicted = expected.predict(scaled, verbose=0) * Y.std() + Y.mean()
    np.testing.assert_allclose(found.best_model.predict(x, verbose=0), predicted, rtol=1e-3, atol=1e-4)


def test_the_ensemble_is_the_mean_of_the_best_candidates_models(compiled):
    found = search(regressor, {"units": [3, 4]}, X, Y, **ARGUMENTS)
    models = found.ensemble.models
    assert models[0].layers[0].units == found.best_params["units"]
    mean = np.mean([model.predict(X, verbose=0) for model in models], axis=0)
    np.testing.assert_allclose(found.ensemble.predict(X), mean, rtol=1e-4)
    errors = np.abs(found.ensemble.out_of_fold[:, 0] - Y)
    assert found.ensemble_score == pytest.approx(errors.mean(), rel=1e-5)
    assert found.ensemble.mean == pytest.approx(found.best_score)


def test_early_stopping_gives_the_scores_of_cross_validate_with_the_callback(compiled, stacks):
    build = lambda rate: regressor(keras.optimizers.Adam(rate))  # noqa: E731
    grid, stop = {"rate": [0.02, 0.3]}, keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    found = search(build, grid, X, Y, early_stopping=2, **{**ARGUMENTS, "epochs": 20})
    np.testing.assert_allclose(found.scores, alone(build, grid, callbacks=[stop], epochs=20), rtol=1e-2)
    assert stacks[0] == 2
    assert 1 <= found.epochs[1] < 20
    explicit = search(build, grid, X, Y, early_stopping=stop, **{**ARGUMENTS, "epochs": 20})
    np.testing.assert_array_equal(explicit.scores, found.scores)


def test_choose_epochs_scores_a_candidate_at_its_best_epoch(compiled):
    build = lambda rate: regressor(keras.optimizers.Adam(rate))  # noqa: E731
    found = search(build, {"rate": [0.01, 0.5]}, X, Y, choose_epochs=True, **{**ARGUMENTS, "epochs": 15})
    for number, rate in enumerate([0.01, 0.5]):
        expected = cross_validate(lambda r=rate: build(r), X, Y, engine="fit", **{**ARGUMENTS, "epochs": 15})
        assert found.epochs[number] == expected.best_epoch
        np.testing.assert_allclose(found.scores[number], expected.at_epoch(expected.best_epoch).scores, rtol=1e-2)


def test_the_same_seed_gives_the_same_digits(compiled):
    first, second = (search(regressor, {"units": [3, 4]}, X, Y, **ARGUMENTS) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.best_model.predict(X, verbose=0), second.best_model.predict(X, verbose=0))


@pytest.mark.parametrize(
    ("grid", "arguments", "message"),
    [
        ({"units": 4}, {}, "expected param_grid as a dict from parameter to a list of values"),
        ({"units": [4]}, {"early_stopping": -1}, "early_stopping as a whole number of 0 or more, its patience"),
        ({"units": [4]}, {"halving": 1}, "expected halving as a whole number of 2 or more, got 1"),
        ({"units": [4]}, {"halving": 3, "choose_epochs": True}, "one of choose_epochs and halving, got both"),
        ({"units": [4]}, {"cv": 3}, "expected folds= as the number of folds or the splitter, got cv="),
        ({"units": [4]}, {"n_iter": 3}, r"param_grid= as ParameterSampler\(distributions, n_iter\), got n_iter="),
        ({"units": [4]}, {"epoch": 3}, "expected an argument of search, got epoch=, did you mean 'epochs'"),
        ({"units": [4]}, {"outer": 1}, "expected from 2 folds to 26"),
        ({"units": [0]}, {}, "units"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(grid, arguments, message):
    with pytest.raises((InputError, ValueError), match=message) as error:
        search(regressor, grid, X, Y, **arguments)
    assert "\n" not in str(error.value)


def test_early_stopping_with_halving_is_refused_for_a_sparse_x_before_any_work():
    def build(units):
        raise AssertionError

    with pytest.raises(InputError, match=r"^expected one of early_stopping and halving for a sparse x, got both$"):
        search(build, {"units": [4]}, scipy.sparse.csr_matrix(X), Y, halving=2, early_stopping=1)


def test_candidates_with_different_metrics_are_refused():
    def build(metric):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[metric])
        return model

    with pytest.raises(InputError, match="the same first metric of all candidates, got mae, mse"):
        search(build, {"metric": ["mae", "mse"]}, X, Y, **ARGUMENTS)
    own = lambda y, p: keras.ops.mean(y - p)  # noqa: E731
    with pytest.raises(InputError, match="of which Keras says whether higher is better"):
        search(build, {"metric": [own]}, X, Y, **ARGUMENTS)


def test_halving_drops_the_worse_and_goes_on_with_the_others_where_they_stand(compiled, stacks):
    rates = [1e-6, 0.1, 0.02, 1e-5, 0.05, 1e-4]
    build = lambda rate: regressor(keras.optimizers.SGD(rate))  # noqa: E731
    arguments = {**ARGUMENTS, "epochs": 9}
    found = search(build, {"rate": rates}, X, Y, halving=3, **arguments)
    assert stacks == [6, 2, 1, 1]
    assert sorted(found.epochs) == [1, 1, 1, 1, 3, 9]
    for number in np.argsort(found.epochs)[-2:]:
        epochs = int(found.epochs[number])
        expected = alone(build, {"rate": [rates[number]]}, epochs=epochs)[0]
        np.testing.assert_allclose(found.scores[number], expected, rtol=1e-3)
    assert found.best_index == np.argmax(found.epochs)
    assert found.to_frame().index[0] == found.best_index


def test_halving_of_candidates_on_their_own_and_with_early_stopping(stacks):
    build = lambda rate: regressor(keras.optimizers.Adam(rate))  # noqa: E731
    arguments, stop = {**ARGUMENTS, "epochs": 18}, keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)
    found = search(build, {"rate": [1e-6, 0.3, 0.1]}, X, Y, halving=3, early_stopping=stop, **arguments)
    assert stacks == []
    expected = alone(build, {"rate": [found.best_params["rate"]]}, callbacks=[stop], epochs=18)
    np.testing.assert_allclose(found.scores[found.best_index], expected[0], rtol=1e-2)


def test_outer_folds_are_tested_by_models_that_were_selected_without_them(compiled):
    build = lambda rate: regressor(keras.optimizers.SGD(rate))  # noqa: E731
    outer = KFold(3, shuffle=True, random_state=0)
    found = search(build, {"rate": [1e-5, 0.05]}, X, Y, outer=outer, normalize="fold", **ARGUMENTS)
    assert found.outer_scores.shape == (3,)
    assert found.outer_params == [{"rate": 0.05}] * 3
    assert [fold.epochs for fold in found.outer] == [2] * 3
    for score, pair in zip(found.outer_scores, outer.split(X), strict=True):
        model = lambda: build(0.05)  # noqa: E731
        arguments = {**ARGUMENTS, "folds": [pair], "normalize": "fold", "engine": "fit"}
        assert score == pytest.approx(cross_validate(model, X, Y, **arguments).mean, rel=1e-3)
    assert "outer folds: mean" in repr(found)


def test_the_selection_of_an_outer_fold_does_not_see_its_test_samples(compiled):
    build = lambda rate: regressor(keras.optimizers.SGD(rate))  # noqa: E731
    grid, outer = {"rate": [0.001, 0.01, 0.05]}, [(np.arange(13), np.arange(13, 26))]
    first = search(build, grid, X, Y, outer=outer, **ARGUMENTS)
    changed = np.where(np.arange(26) < 13, Y, -1000)
    second = search(build, grid, X, changed, outer=outer, **ARGUMENTS)
    assert first.outer_params == second.outer_params
    assert first.outer_scores != second.outer_scores
    inner = search(build, grid, X[:13], Y[:13], **ARGUMENTS)
    assert first.outer_params == [inner.best_params]
    assert first.outer[0].inner_score == pytest.approx(inner.best_score, rel=1e-4)
    np.testing.assert_array_equal(np.isnan(first.outer_predictions[:, 0]), np.arange(26) < 13)
    np.testing.assert_allclose(first.outer_predictions[13:], inner.ensemble.predict(X[13:]), rtol=1e-4)


@pytest.mark.parametrize("done", [None, 1])
def test_an_interrupt_in_the_outer_folds_leaves_a_result_and_one_before_says_that_nothing_is_kept(done, monkeypatch):
    function = "refit" if done is None else "search_runs"
    module = candidate_runs if done is None else importlib.import_module("k3torch.validation.search")
    original, calls = getattr(module, function), []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == (1 if done is None else 2 + done):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, function, interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        search(regressor, {"units": [3]}, X, Y, outer=2, verbose=0, **{**ARGUMENTS, "epochs": 1})
    if done is None:
        assert not isinstance(stop.value, Interrupted)
        assert str(stop.value) == "the search was interrupted before its result: nothing is kept"
        return
    found = stop.value.result
    assert found.best_params == {"units": 3}
    assert len(found.outer) == len(found.outer_scores) == done
    assert ("outer folds" in repr(found)) == (found.outer_predictions is not None) == bool(done)
