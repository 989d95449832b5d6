"""What may be stacked, and what both engines train."""

import sys

from k3torch import cross_validate
from k3torch.errors import InputError
from k3torch.training import keras_internals
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.keras_internals import GLOBAL_STATE, PRIVATE_PARTS
from k3torch.validation import engines
from k3torch.validation.engines import _kinds, why_not_stacked
from k3torch.validation.result import Interrupted
import keras
import numpy as np
import pytest

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 3)), rng.normal(size=20)


def build(units=4, optimizer="rmsprop", **compiling):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", **{"metrics": ["mae"], **compiling})
    return model


def test_models_that_differ_only_in_weights_are_stacked():
    assert why_not_stacked([build(), build(), build()]) is None


def test_the_reason_names_the_difference():
    assert why_not_stacked([build(), build(), build(5)]) == (
        "the models differ in more than their weights (layer 1: units 4 and 5)"
    )
    rates = [build(optimizer=keras.optimizers.SGD(rate)) for rate in (0.25, 0.5)]
    assert "optimizer: learning_rate 0.25 and 0.5" in why_not_stacked(rates)


@pytest.mark.parametrize(
    ("optimizer", "reason"),
    [
        (lambda: keras.optimizers.SGD(use_ema=True), "averages weights (use_ema)"),
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=2), "accumulates gradients"),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "adapts the loss scale"),
    ],
)
def test_settings_that_fit_alone_handles(optimizer, reason):
    assert reason in why_not_stacked([build(optimizer=optimizer())])


@pytest.mark.parametrize(("inputs", "outputs", "stacked"), [(1, 1, True), (2, 1, False), (1, 2, False)])
def test_several_inputs_or_outputs_are_a_reason(inputs, outputs, stacked):
    def made():
        ins = [keras.Input((3,)) for _ in range(inputs)]
        joined = ins[0] if inputs == 1 else keras.layers.Add()(ins)
        model = keras.Model(ins, [keras.layers.Dense(1)(joined) for _ in range(outputs)])
        model.compile("sgd", "mse")
        return model

    expected = None if stacked else "the model has several inputs or outputs"
    assert why_not_stacked([made(), made()]) == expected


@pytest.fixture(scope="module")
def expected():
    return cross_validate(build, X, Y, folds=2, epochs=2, batch_size=4, engine="fit")


@pytest.mark.parametrize("part", PRIVATE_PARTS)
def test_without_a_private_part_of_keras_the_numbers_stay(without_keras_parts, capsys, expected, part):
    asked = without_keras_parts(part)
    result = cross_validate(build, X, Y, folds=2, epochs=2, batch_size=4)
    np.testing.assert_allclose(result.scores, expected.scores, rtol=1e-4)
    lines = [line for line in capsys.readouterr().err.splitlines() if "training with fit" in line]
    needed = part in asked and part != GLOBAL_STATE  # without it less is compared
    assert result.engine == ("fit" if needed else "stacked")
    assert len(lines) == needed
    assert all(part.rpartition(":")[2] in line for line in lines)


@pytest.fixture
def said(monkeypatch):
    """Titles, counts and statuses of the bars of cross_validate."""
    said = []

    class Bar(EpochBar):
        def status(self, text):
            said.append((self.title, text))

        def advance(self, metrics):
            super().advance(metrics)
            said.append((self.title, self.count()))

        def close(self):
            said.append((self.title, self.count(), "closed"))

    monkeypatch.setattr(sys.modules["k3torch.validation.cross_validate"], "EpochBar", Bar)
    return said


def test_the_bar_says_what_a_stack_does(said, monkeypatch):
    monkeypatch.setattr(engines, "STACK_BYTES", 1)  # a stack for each model
    cross_validate(build, X, Y, folds=2, epochs=2, batch_size=4)
    assert said == [
        ("cross-validation", "building the models"),
        *[("stack 1 of 2", "checking the step against Keras"), ("stack 1 of 2", "training")],
        *[("stack 1 of 2", "1/4"), ("stack 1 of 2", "2/4")],
        *[("stack 2 of 2", "checking the step against Keras"), ("stack 2 of 2", "training")],
        *[("stack 2 of 2", "3/4"), ("stack 2 of 2", "4/4")],
        ("cross-validation", "4/4", "closed"),
    ]


def test_the_bar_numbers_the_models_of_fit(said):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    cross_validate(build, X, Y, folds=3, epochs=2, batch_size=4, callbacks=[Stop()])
    assert said == [
        ("cross-validation", "building the models"),
        *[("model 1 of 3", "1/6"), ("model 2 of 3", "3/6"), ("model 3 of 3", "5/6")],
        ("cross-validation", "6/6", "closed"),
    ]


def test_the_bar_is_closed_after_an_error(said):
    class Fails(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cross_validate(build, X, Y, folds=2, epochs=2, batch_size=4, callbacks=[Fails()])
    assert said[-1] == ("model 1 of 2", "0/4", "closed")


@pytest.mark.parametrize("verbose", ["auto", 0, 1])
def test_verbose_0_is_silent(capsys, verbose):
    callback = keras.callbacks.TerminateOnNaN()
    result = cross_validate(build, X, Y, folds=2, epochs=1, batch_size=4, callbacks=[callback], verbose=verbose)
    assert result.engine == "fit"
    out, err = capsys.readouterr()
    lines = [line.split("  ")[0] for line in err.splitlines()]
    reason = "training with fit, fold after fold: callbacks act on one model at a time"
    assert lines == {"auto": [reason], 0: [], 1: [reason, "cross-validation"]}[verbose]
    assert out == ""


def test_the_stack_needs_few_private_parts(without_keras_parts):
    asked = without_keras_parts()
    assert cross_validate(build, X, Y, folds=2, epochs=1, batch_size=4).engine == "stacked"
    assert set(asked) == {
        "_symbolic_build",
        "_losses_override",
        "_loss_tracker",
        "_compile_metrics",
        "_user_metrics",
        "_backend_update_step",
        "_apply_weight_decay",
        keras_internals.BASE_OPTIMIZER,
        GLOBAL_STATE,
    }


def test_a_model_interrupted_in_its_first_epoch_has_no_metrics():
    class Interrupt(keras.callbacks.Callback):
        started = 0

        def on_train_begin(self, logs=None):
            self.started += 1

        def on_train_batch_end(self, batch, logs=None):
            if self.started == 2:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        cross_validate(build, X, Y, folds=2, epochs=2, batch_size=4, callbacks=[Interrupt()])
    result = interrupted.value.result
    assert list(result.history) == ["loss", "mae", "val_loss", "val_mae"]
    assert all(np.isnan(values[0]).tolist() == [[False] * 2, [True] * 2] for values in result.history.values())
    assert np.isnan(result.scores).tolist() == [[False, True]]


class Loss(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(keras.ops.abs(y - y_pred))


def without_loss(model_class=keras.Model, optimizer="sgd", **options):
    inputs = keras.Input((3,))
    model = model_class(inputs, keras.layers.Dense(1, **options)(inputs))
    model.compile(optimizer, metrics=["mae"])
    return model


@pytest.mark.parametrize("engine", ["auto", "stacked", "fit"])
@pytest.mark.parametrize(
    ("build_model", "message"),
    [
        (without_loss, "expected build_model() to return a model with a loss, got none: pass loss to compile"),
        (
            lambda: without_loss(optimizer=None),
            "expected build_model() to return a model with an optimizer, got none: pass one to compile",
        ),
    ],
)
def test_a_model_without_a_loss_or_an_optimizer_is_refused(engine, build_model, message):
    with pytest.raises(InputError) as caught:
        cross_validate(build_model, X, Y, folds=2, epochs=1, batch_size=4, engine=engine)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "options", [{"activity_regularizer": "l2"}, {"kernel_regularizer": "l2"}, {"model_class": Loss}]
)
def test_a_penalty_or_an_own_loss_is_enough(options):
    result = cross_validate(lambda: without_loss(**options), X, Y, folds=2, epochs=1, batch_size=4, engine="fit")
    assert np.isfinite(result.history["loss"]).all()


def mean_error(y, y_pred):
    return keras.ops.mean(keras.ops.abs(y - y_pred), axis=-1)


class Doubles(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_models_of_keras_parts_and_of_common_functions_are_of_one_kind():
    assert len(set(_kinds([build(), build(), build()], None))) == 1
    assert len(set(_kinds([build(metrics=[mean_error]) for _ in range(3)], None))) == 1
    assert len(set(_kinds([build(metrics=[lambda y, p: mean_error(y, p)]) for _ in range(3)], None))) == 3
    own = [keras.Sequential([keras.Input((3,)), Doubles(), keras.layers.Dense(1)]) for _ in range(3)]
    assert len(set(_kinds(own, None))) == 3


def test_models_of_different_graphs_are_of_different_kinds():
    first, second = object(), object()
    kinds = _kinds([build() for _ in range(4)], [first, first, second, second])
    assert kinds[0] == kinds[1] != kinds[2] == kinds[3]
