"""Early stopping of the models of a stack is that of Keras's EarlyStopping under ``fit``."""

from functools import cache

from k3torch import cross_validate
from k3torch.stack import model_stack
from k3torch.stack.model_stack import ModelStack
from k3torch.validation import engines, stopping
from k3torch.validation.result import Interrupted
import keras
from keras.callbacks import EarlyStopping
import numpy as np
import pytest

rng = np.random.default_rng(3)
X, Y = rng.normal(size=(24, 3)), rng.normal(size=24)


def build():
    hidden = [keras.layers.Dense(8, "tanh"), keras.layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((3,)), *hidden, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse", metrics=["mae"])
    return model


def validated(engine, callbacks=None, epochs=14, **arguments):
    arguments = {"folds": 3, "batch_size": 4, **arguments}
    return cross_validate(build, X, Y, engine=engine, callbacks=callbacks, epochs=epochs, **arguments)


@pytest.fixture(params=["compiled", "mapped"])
def kind(request, monkeypatch):
    """Each model on its own in a compiled loop, or all in one step."""
    worth = 0 if request.param == "compiled" else np.inf
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", worth)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", worth)
    return request.param


RULES = {
    "last weights": {"patience": 2},
    "best weights": {"patience": 2, "restore_best_weights": True},
    "training loss": {"monitor": "loss", "min_delta": 0.3, "patience": 1, "restore_best_weights": True},
    "a metric": {"monitor": "val_mae", "mode": "min", "patience": 1},
    "higher is better": {"monitor": "val_mae", "mode": "max", "patience": 3, "restore_best_weights": True},
    "from an epoch on": {"patience": 1, "start_from_epoch": 4, "restore_best_weights": True},
    "a baseline": {"patience": 3, "baseline": 0.1, "restore_best_weights": True},
    "no patience": {"patience": 0},
    "never": {"patience": 100, "restore_best_weights": True},
}


@cache
def fitted(rule):
    return validated("fit", [EarlyStopping(**RULES[rule])])


# The same code decides for both kinds of stacks, so some rules are enough to test compiled loops.
USUAL = ("last weights", "best weights", "training loss", "never")
RULES_OF_KINDS = [
    *(pytest.param("compiled", rule, marks=() if rule in USUAL else pytest.mark.slow) for rule in RULES),
    *(("mapped", rule) for rule in RULES),
]


@pytest.mark.parametrize(("kind", "rule"), RULES_OF_KINDS, indirect=["kind"])
def test_each_model_stops_as_under_fit_and_has_the_same_weights(rule, kind):
    stacked, fit = validated("stacked", [EarlyStopping(**RULES[rule])]), fitted(rule)
    epochs = np.isfinite(fit.history["val_loss"]).sum(axis=-1)
    assert (np.isfinite(stacked.history["val_loss"]).sum(axis=-1) == epochs).all()
    assert (epochs == 14).all() if rule == "never" else epochs.min() < 14
    for name, values in fit.history.items():
        np.testing.assert_allclose(stacked.history[name], values, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(stacked.scores, fit.scores, rtol=1e-3)
    for mine, theirs in zip(stacked.models, fit.models, strict=True):
        for weight, expected in zip(mine.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_allclose(weight, expected, rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(stacked.out_of_fold, fit.out_of_fold, rtol=1e-2, atol=1e-4)


def test_a_model_that_has_stopped_is_left_alone(kind):
    """Also its optimizer, so that training can go on as after ``fit``."""
    found = validated("stacked", [EarlyStopping(patience=1)])
    epochs = np.isfinite(found.history["loss"])[0].sum(axis=-1)
    assert len(set(epochs)) > 1
    assert [int(model.optimizer.iterations) for model in found.models] == [4 * number for number in epochs]


def test_a_stopped_model_of_compiled_loops_costs_no_epochs(monkeypatch):
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    done = []
    epoch = model_stack._epoch
    monkeypatch.setattr(model_stack, "_epoch", lambda group: (done.append(group), epoch(group))[1])
    found = validated("stacked", [EarlyStopping(patience=1)])
    assert len(done) == np.isfinite(found.history["loss"]).sum()


def test_scores_do_not_depend_on_how_many_models_are_in_a_stack(kind, monkeypatch):
    callbacks = [EarlyStopping(patience=2, restore_best_weights=True)]
    whole = validated("stacked", callbacks)
    monkeypatch.setattr(engines, "STACK_BYTES", 1)
    np.testing.assert_allclose(validated("stacked", callbacks).scores, whole.scores, rtol=1e-3)


def test_the_callback_of_the_caller_is_not_changed(kind):
    callback = EarlyStopping(patience=1)
    before = dict(vars(callback))
    validated("stacked", [callback])
    assert vars(callback) == before


def test_metrics_in_the_unit_of_the_targets_are_those_of_the_weights_put_back(kind):
    callbacks = [EarlyStopping(patience=2, restore_best_weights=True)]
    found = validated("stacked", callbacks, normalize_y=True)
    best = np.nanargmin(found.history["val_loss"], axis=-1)[..., None]
    np.testing.assert_array_equal(found.scores[..., None], np.take_along_axis(found.history["val_mae"], best, -1))


class Own(EarlyStopping):
    """May do anything."""


@pytest.mark.parametrize(
    ("callbacks", "supported"),
    [
        ((), True),
        ([EarlyStopping()], True),
        ([EarlyStopping(), EarlyStopping(monitor="loss")], False),
        ([Own()], False),
        ([EarlyStopping(), keras.callbacks.TerminateOnNaN()], False),
    ],
)
def test_only_keras_early_stopping_is_followed(callbacks, supported):
    assert stopping.supported(callbacks) == supported
    assert validated("auto", callbacks, epochs=1).engine == ("stacked" if supported else "fit")


def test_an_unknown_monitor_warns_as_keras_does_and_never_stops():
    with pytest.warns(UserWarning, match="`val_auc` which is not available"):
        found = validated("stacked", [EarlyStopping(monitor="val_auc", mode="max", patience=0)], epochs=3)
    assert np.isfinite(found.scores).all()


def test_an_interrupt_leaves_the_models_as_far_as_they_came(monkeypatch):
    train = ModelStack.train

    def interrupted(self, epochs, order, report, *rest):
        def stop(done):
            if done.epoch == 3:
                raise KeyboardInterrupt
            return report(done)

        train(self, epochs, order, stop, *rest)

    monkeypatch.setattr(ModelStack, "train", interrupted)
    with pytest.raises(Interrupted) as stop:
        validated("stacked", [EarlyStopping(patience=50, restore_best_weights=True)])
    kept = np.nanargmin(stop.value.result.history["val_loss"], axis=-1)[..., None]
    expected = np.take_along_axis(stop.value.result.history["val_mae"], kept, -1)[..., 0]
    np.testing.assert_array_equal(stop.value.result.scores, expected)
