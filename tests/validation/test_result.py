"""Scores, deviation and interval computed by hand; what the models predict."""

from k3torch import CrossValidation, InputError, cross_validate
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation.result import Interrupted, recorded, score_index
from k3torch.validation.result_views import history_rows
import keras
import numpy as np
import pandas as pd
import pytest

rng = np.random.default_rng(5)
X = rng.normal([3, 300], [1, 100], (20, 2))
Y = X[:, 0] + X[:, 1] / 100


def build(metric="mae"):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.05), "mse", metrics=[metric])
    return model


@pytest.fixture(scope="module")
def result():
    return cross_validate(build, X, Y, folds=4, repeats=2, epochs=12, batch_size=4, normalize="fold")


def scored(scores, training=3, validation=1, **fields):
    pair = (np.arange(training), np.arange(training, training + validation))
    values = {"metric": "mae", "greater_is_better": False, "history": {}, "models": [], "indices": [pair],
              "out_of_fold": np.zeros((1, 1)), "engine": "fit"}  # fmt: skip
    return CrossValidation(np.array(scores), **{**values, **fields})


def test_mean_and_deviation_are_over_folds_and_repeats():
    found = scored([[1.0, 2.0], [3.0, 6.0]])
    assert found.mean == 3
    assert found.std == pytest.approx((14 / 3) ** 0.5)  # squares 4, 1, 0, 9; divisor 3


def test_the_interval_is_that_of_nadeau_and_bengio():
    found = scored([[1.0, 2.0, 3.0, 6.0]], training=3, validation=1).interval
    half_width = 3.182446 * (14 / 3 * (1 / 4 + 1 / 3)) ** 0.5  # t at 0.975 with 3 degrees of freedom
    assert found.low == pytest.approx(3 - half_width, abs=1e-5)
    assert found.high == pytest.approx(3 + half_width, abs=1e-5)
    assert "4 scores" in found.method
    assert "Nadeau, Bengio" in found.method


def test_three_scores_of_equal_value_have_an_interval_of_no_width():
    found = scored([[2.0, 2.0, 2.0]])
    assert (found.mean, found.std, found.interval.low, found.interval.high) == (2, 0, 2, 2)


@pytest.mark.filterwarnings("error")
def test_one_score_has_no_deviation_and_no_interval():
    found = scored([[2.0]])
    assert found.mean == 2
    assert np.isnan([found.std, found.interval.low, found.interval.high]).all()


def test_an_interrupt_is_a_keyboard_interrupt_with_the_result():
    known = scored([[1.0]])
    assert Interrupted(known).result is known
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_the_score_is_the_first_metric_or_the_loss_alone():
    assert score_index(["loss"]) == 0
    assert score_index(["loss", "mae", "mse"]) == 1


@pytest.mark.parametrize(("greater_is_better", "best"), [(False, 2), (True, 3), (None, 1)])
def test_the_best_epoch_is_the_lowest_error_the_highest_score_or_the_lowest_loss(greater_is_better, best):
    curves = {"val_mae": [[[4.0, 0.0, 30.0], [4.0, 2.0, 30.0]]], "val_loss": [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]]}
    history = {name: np.array(values) for name, values in curves.items()}
    assert scored([[30.0, 30.0]], greater_is_better=greater_is_better, history=history).best_epoch == best


def test_indices_are_the_training_and_validation_samples_of_each_model(result):
    assert [len(result.indices), len(result.models)] == [8, 8]
    for training, validation in result.indices:
        assert sorted([*training, *validation]) == list(range(20))
    assert result.indices[1][1].tolist() == [5, 6, 7, 8, 9]


def test_predict_is_the_mean_of_the_models_on_raw_samples(result):
    expected = np.mean([model.predict(X.astype("float32"), verbose=0) for model in result.models], axis=0)
    np.testing.assert_allclose(result.predict(X), expected, rtol=1e-5)
    assert result.predict(X[:3]).shape == (3, 1)


def test_out_of_fold_predictions_are_by_the_models_that_have_not_seen_the_sample(result):
    for sample in (0, 7, 19):
        models = [m for m, (training, _) in zip(result.models, result.indices, strict=True) if sample not in training]
        assert len(models) == 2  # one of each repeat
        expected = np.mean([m.predict(X[[sample]].astype("float32"), verbose=0) for m in models])
        assert result.out_of_fold[sample, 0] == pytest.approx(expected, rel=1e-5)


def test_the_mean_error_out_of_fold_of_one_repeat_is_the_mean_score():
    found = cross_validate(build, X, Y, folds=4, epochs=3, batch_size=4, normalize="fold")
    assert np.abs(found.out_of_fold[:, 0] - Y).mean() == pytest.approx(found.mean, rel=1e-5)


@pytest.mark.parametrize("value", [X[:0], X[:, :1], X[:, 0], np.zeros((2, 2, 2)), [["a", "b"]], X[:1] * np.nan])
def test_predict_refuses_what_the_models_cannot_take(result, value):
    with pytest.raises(InputError, match="expected") as error:
        result.predict(value)
    assert "\n" not in str(error.value)


def test_a_frame_must_have_the_columns_of_training():
    frame = pd.DataFrame(X, columns=["rooms", "area"])
    found = cross_validate(build, frame, pd.Series(Y), folds=2, epochs=1, batch_size=4, normalize="fold")
    assert found.feature_names == ["rooms", "area"]
    np.testing.assert_array_equal(found.predict(frame), found.predict(X))
    with pytest.raises(InputError, match=r"^expected the columns rooms, area, in this order, got area, rooms$"):
        found.predict(frame[["area", "rooms"]])


def test_of_an_interrupted_cross_validation_the_epochs_so_far_are_kept():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted) as stop:
        cross_validate(build, X, Y, folds=2, epochs=5, batch_size=4, callbacks=[Stop()], normalize="fold")
    found = stop.value.result
    assert np.isnan(found.out_of_fold).all()
    assert np.isfinite(found.history["loss"][0, 0]).tolist() == [True, True, False, False, False]
    assert len(repr(found).splitlines()) <= 10


def test_the_models_of_an_interrupted_stack_are_trained_as_far_as_it_came(monkeypatch):
    advance = EpochBar.advance

    def stop(bar, metrics):
        advance(bar, metrics)
        if bar.done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(EpochBar, "advance", stop)
    with pytest.raises(Interrupted) as stopped:
        cross_validate(build, X, Y, folds=2, epochs=9, batch_size=4, normalize="fold", engine="stacked")
    found = stopped.value.result
    for model, (_, validation), score in zip(found.models, found.indices, found.scores[0], strict=True):
        assert np.abs(model.predict(X[validation], verbose=0)[:, 0] - Y[validation]).mean() == pytest.approx(
            score, rel=1e-5
        )


def test_the_scores_of_an_epoch_are_those_of_the_history(result):
    found = result.at_epoch(3)
    np.testing.assert_array_equal(found.scores, result.history["val_mae"][..., 2])
    assert found.models is result.models
    np.testing.assert_array_equal(result.at_epoch(12).scores, result.scores)


@pytest.mark.parametrize("interrupted", [False, True])
def test_the_history_is_recorded_also_of_an_interrupted_cross_validation(result, interrupted):
    def validate():
        if interrupted:
            raise Interrupted(result)
        return result

    rows = [{"epoch": 0.0}]
    if interrupted:
        with pytest.raises(Interrupted):
            recorded(validate, rows)
    else:
        assert recorded(validate, rows) is result
    assert rows[1:] == history_rows(result.history)
