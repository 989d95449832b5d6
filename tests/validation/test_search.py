"""Each candidate of a search has the scores that ``cross_validate`` gives it alone, and the best one is selected."""

from k3torch import InputError, cross_validate, search
from k3torch.stack import model_stack
from k3torch.validation import candidate_runs, engines
import keras
from keras import layers
import numpy as np
import pytest
from sklearn.model_selection import KFold, ParameterGrid, ParameterSampler

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
    model.compile("sgd", keras.losses.BinaryCrossentropy(label_smoothing=smoothing), metrics=["accuracy", "auc"])
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


ARGUMENTS = {"folds": 3, "epochs": 3, "batch_size": 4, "seed": 5}


def alone(build, grid, y=Y, **arguments):
    """The scores of each candidate by cross_validate."""
    return np.array([
        cross_validate(lambda p=p: build(**p), X, y, **{**ARGUMENTS, **arguments}).scores for p in ParameterGrid(grid)
    ])  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
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


def test_dropout_has_other_random_numbers_but_the_rate_of_each_candidate(compiled, stacks):
    """Without weights to train, the mean of the outputs' squares is known for each rate."""

    def build(rate):
        model = keras.Sequential([keras.Input((500,)), layers.Dropout(rate)])
        model.add(layers.Dense(1, kernel_initializer="ones", trainable=False))
        model.add(layers.Dense(1, kernel_initializer="ones"))
        model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mse"])
        return model

    rates, x = [0.1, 0.5, 0.8], np.ones((200, 500))
    found = search(build, {"rate": rates}, x, np.full(200, 500.0), folds=2, epochs=4, batch_size=50)
    assert stacks[0] == 3
    assert np.allclose(found.scores, 0)
    measured = [
        cross_validate(lambda r=r: build(r), x, np.full(200, 500.0), folds=2, epochs=4, batch_size=50).history["mse"]
        for r in rates
    ]
    for rate, values in zip(rates, measured, strict=True):
        assert values.mean() == pytest.approx(500 * rate / (1 - rate), rel=0.2)


def test_other_shapes_and_layers_get_a_stack_each_and_one_line_says_so(compiled, stacks, capsys):
    grid = {"units": [3, 4], "optimizer": ["sgd", "adam"], "penalty": [None, keras.regularizers.L2(0.1)]}
    found = search(regressor, grid, X, Y, **ARGUMENTS)
    np.testing.assert_allclose(found.scores, alone(regressor, grid), rtol=1e-3)
    assert capsys.readouterr().err == "8 candidates differ in more than numbers: 8 stacks, one after another\n"
    assert stacks == [1] * 9


@pytest.mark.parametrize("reason", ["short", "not compiled", "untraceable", "fit"])
def test_without_shared_graphs_each_candidate_is_trained_on_its_own(reason, monkeypatch, capsys, stacks):
    class Noisy(layers.Layer):
        def call(self, x):
            return x * (1 + 0 * float(np.random.normal()))

    if reason != "short":
        monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
        monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    if reason == "not compiled":
        monkeypatch.setenv("CXX", "/nowhere")

    def build(rate):
        layer = {"untraceable": Untraceable, "fit": Noisy}.get(reason)
        return regressor(keras.optimizers.SGD(rate), layer() if layer else None)

    class Untraceable(layers.Layer):
        def call(self, x):
            return x * float(keras.ops.sum(x) > -1e9)

    found = search(build, {"rate": [0.01, 0.02]}, X, Y, **ARGUMENTS)
    np.testing.assert_allclose(found.scores, alone(build, {"rate": [0.01, 0.02]}), rtol=1e-3)
    assert [count for count in stacks if count > 0] == []


def test_memory_bounds_how_many_candidates_are_in_a_stack(compiled, stacks, monkeypatch):
    build, values = KINDS["weight decay"][0], [0.01, 0.1, 0.3]
    made = lambda value: build(value)  # noqa: E731
    whole = search(made, {"value": values}, X, Y, **ARGUMENTS)
    monkeypatch.setattr(engines, "STACK_BYTES", 1)
    parts = search(made, {"value": values}, X, Y, **ARGUMENTS)
    assert stacks == [3, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(parts.scores, whole.scores, rtol=1e-4)


def test_the_best_model_is_trained_on_all_samples_and_takes_raw_ones(compiled):
    x = X * [1, 100, 0.01] + [0, 500, 0]
    found = search(regressor, {"units": [3, 4]}, x, Y, normalize="fold", normalize_y=True, **ARGUMENTS)
    everything = (np.arange(26), np.arange(4))
    expected = (
        cross_validate(
            lambda: regressor(**found.best_params),
            x,
            Y,
            **{**ARGUMENTS, "folds": [everything]},
            normalize="fold",
            normalize_y=True,
        )
        if False
        else None
    )
    assert expected is None
    assert found.best_model.predict(x, verbose=0).shape == (26, 1)
    errors = np.abs(found.best_model.predict(x, verbose=0)[:, 0] - Y)
    assert errors.mean() < np.abs(Y - Y.mean()).mean()
    np.testing.assert_allclose(
        found.ensemble.predict(x), np.mean([m.predict(x, verbose=0) for m in found.ensemble.models], axis=0), rtol=1e-4
    )
    assert found.ensemble_score == pytest.approx(np.abs(found.ensemble.out_of_fold[:, 0] - Y).mean(), rel=1e-5)
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
        expected = cross_validate(lambda r=rate: build(r), X, Y, **{**ARGUMENTS, "epochs": 15})
        assert found.epochs[number] == expected.best_epoch
        np.testing.assert_allclose(found.scores[number], expected.at_epoch(expected.best_epoch).scores, rtol=1e-2)


def test_all_kinds_of_grids():
    expected = [{"units": 3}, {"units": 5}]
    for grid in ({"units": [3, 5]}, [{"units": [3]}, {"units": [5]}], ParameterGrid({"units": [3, 5]})):
        assert search(regressor, grid, X, Y, **{**ARGUMENTS, "epochs": 1}).params == expected
    drawn = ParameterSampler({"units": [3, 5, 7]}, 2, random_state=0)
    assert search(regressor, drawn, X, Y, **{**ARGUMENTS, "epochs": 1}).params == list(drawn)


def test_the_same_seed_gives_the_same_digits(compiled):
    first, second = (search(regressor, {"units": [3, 4]}, X, Y, **ARGUMENTS) for _ in range(2))
    np.testing.assert_array_equal(first.scores, second.scores)
    np.testing.assert_array_equal(first.best_model.predict(X, verbose=0), second.best_model.predict(X, verbose=0))


@pytest.mark.parametrize(
    ("grid", "arguments", "message"),
    [
        ({"units": 4}, {}, "expected param_grid as a dict from parameter to a list of values"),
        ([], {}, "expected param_grid as a dict"),
        (5, {}, "expected param_grid as a dict"),
        ({"unit": [4]}, {}, "expected build_model to take the parameters of param_grid, got: .*did you mean 'units'"),
        ({"units": [4]}, {"early_stopping": -1}, "expected early_stopping as a whole number of 0 or more, its patience"),
        ({"units": [4]}, {"halving": 1}, "expected halving as a whole number of 2 or more, got 1"),
        ({"units": [4]}, {"halving": 3, "choose_epochs": True}, "one of choose_epochs and halving, got both"),
        ({"units": [4]}, {"cv": 3}, "expected folds= as the number of folds or the splitter, got cv="),
        ({"units": [4]}, {"n_iter": 3}, r"expected param_grid= as ParameterSampler\(distributions, n_iter\), got n_iter="),
        ({"units": [4]}, {"epoch": 3}, "expected an argument of search, got epoch=, did you mean 'epochs'"),
        ({"units": [4]}, {"outer": 1}, "expected from 2 folds to 26"),
        ({"units": [0]}, {}, "units"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(grid, arguments, message):
    with pytest.raises((InputError, ValueError), match=message) as error:
        search(regressor, grid, X, Y, **arguments)
    assert "\n" not in str(error.value)


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
