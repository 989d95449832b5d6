"""The callbacks from options: what each does to a run, by exact numbers."""

from dataclasses import dataclass
import importlib.util
import json
import math

from k3torch.errors import InputError
from k3torch.models.builders import vanilla_model
from k3torch.options import Callbacks, Output
from k3torch.reports.run_folder import RunFolder
from k3torch.training.callbacks import any_callback, make_callbacks
import keras
import numpy as np
import pytest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype("float32")
Y = (X @ [[1.0], [-2.0], [0.5]]).astype("float32")


def _fit(tmp_path, settings, epochs=6, initial_epoch=0, model=None, learning_rate=0.1, y_val=Y):
    keras.utils.set_random_seed(3)
    model = model or vanilla_model(
        3, (4,), output_activation="linear", loss="mse", metrics=(), optimizer="sgd", learning_rate=learning_rate
    )
    history = model.fit(
        X,
        Y,
        epochs=epochs,
        initial_epoch=initial_epoch,
        validation_data=(X, y_val),
        callbacks=make_callbacks(settings, lambda name, written=False: tmp_path / name, epochs),
        shuffle=False,
        verbose=0,
    )
    return model, history.history


def test_default_settings_add_nothing(tmp_path):
    assert make_callbacks(Callbacks(), lambda name: tmp_path / name, 5) == []
    assert not any_callback(Callbacks())
    assert any_callback(Callbacks(tensorboard=True))


@pytest.mark.parametrize(
    ("schedule", "rate"),
    [
        ("step", lambda e: 0.1 * 0.5 ** (e // 5)),
        ("exponential", lambda e: 0.1 * 0.9**e),
        ("cosine", lambda e: 0.05 * (1 + math.cos(math.pi * e / 6))),
    ],
)
def test_schedules_follow_their_formula(tmp_path, schedule, rate):
    _, history = _fit(tmp_path, Callbacks(schedule=schedule))
    np.testing.assert_allclose(history["learning_rate"], [rate(epoch) for epoch in range(6)], rtol=1e-5)


def test_a_resumed_run_goes_on_with_the_schedule(tmp_path):
    settings = Callbacks(schedule="exponential")
    model, whole = _fit(tmp_path, settings, epochs=6)
    model, first = _fit(tmp_path, settings, epochs=2)
    _, rest = _fit(tmp_path, settings, epochs=6, initial_epoch=2, model=model)
    assert len(rest["loss"]) == 4
    np.testing.assert_allclose(first["loss"] + rest["loss"], whole["loss"], rtol=1e-6)
    np.testing.assert_allclose(rest["learning_rate"], whole["learning_rate"][2:], rtol=1e-6)


def test_early_stopping_stops_and_takes_the_best_weights_back(tmp_path):
    # Held-out targets of the opposite sign: whatever is learned makes the validation loss worse.
    model, history = _fit(tmp_path, Callbacks(early_stopping=2), epochs=30, y_val=-Y)
    losses = history["val_loss"]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 2 < 30
    assert model.evaluate(X, -Y, verbose=0) == pytest.approx(losses[best], rel=1e-6)


def test_best_checkpoint_holds_the_best_epoch(tmp_path):
    model, history = _fit(tmp_path, Callbacks(best_checkpoint=True), epochs=8, y_val=-Y)
    assert model.evaluate(X, -Y, verbose=0) > min(history["val_loss"])
    model.load_weights(tmp_path / "best.weights.h5")
    assert model.evaluate(X, -Y, verbose=0) == pytest.approx(min(history["val_loss"]), rel=1e-6)


def test_plateau_divides_the_rate_by_five(tmp_path):
    _, history = _fit(tmp_path, Callbacks(reduce_on_plateau=3), epochs=9, y_val=-Y)
    best = int(np.argmin(history["val_loss"]))
    rates = history["learning_rate"]
    np.testing.assert_allclose(rates[: best + 4], 0.1, rtol=1e-6)
    assert rates[best + 4] == pytest.approx(0.02, rel=1e-6)


def test_tensorboard_holds_both_curves_without_tensorflow(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, history = _fit(tmp_path, Callbacks(tensorboard=True))
    for run, name in (("train", "loss"), ("validation", "val_loss")):
        events = EventAccumulator(str(tmp_path / "tensorboard" / run))
        events.Reload()
        written = events.Scalars("loss")
        assert [event.step for event in written] == list(range(6))
        np.testing.assert_allclose([event.value for event in written], history[name], rtol=1e-6)


def test_the_manifest_lists_what_callbacks_write(tmp_path):
    pytest.importorskip("tensorboard")

    @dataclass(frozen=True)
    class Settings:
        output: Output
        callbacks: Callbacks = Callbacks(best_checkpoint=True, tensorboard=True)

    def run(out):
        with RunFolder("job", Settings(out)) as folder:
            model = vanilla_model(3, (4,), output_activation="linear", loss="mse", metrics=())
            callbacks = make_callbacks(folder.settings.callbacks, folder.file, 1)
            model.fit(X, Y, validation_data=(X, Y), callbacks=callbacks, verbose=0)

    def files():
        return {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}

    run(Output(tmp_path))
    first = files()
    assert set(json.loads((tmp_path / "manifest.json").read_text())["files"]) == first - {"manifest.json"}
    assert sum("tensorboard/" in name for name in first) == 2
    (tmp_path / "tensorboard/train/events.mine").write_text("mine")
    run(Output(tmp_path, force=True))
    kept = {"tensorboard/train/events.mine", "config.json", "metrics.json", "manifest.json", "best.weights.h5"}
    kept |= {"report.html"}
    assert first & files() == kept - {"tensorboard/train/events.mine"}
    assert len(files()) == len(first) + 1


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (Callbacks(early_stopping=-1), "early_stopping"),
        (Callbacks(reduce_on_plateau=-2), "reduce_on_plateau"),
        (Callbacks(schedule="cosine", reduce_on_plateau=2), "one rule"),
    ],
)
def test_bad_settings_are_refused(tmp_path, settings, word):
    with pytest.raises(InputError, match=word):
        make_callbacks(settings, lambda name: tmp_path / name, 5)


def test_without_tensorboard_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tensorboard" else 1)
    with pytest.raises(InputError) as error:
        make_callbacks(Callbacks(tensorboard=True), lambda name: tmp_path / name, 5)
    advice = "found none: pip install 'k3torch[tensorboard]'"
    assert str(error.value) == f"expected the package tensorboard for --tensorboard, {advice}"
