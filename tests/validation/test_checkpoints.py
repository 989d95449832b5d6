"""An interrupted cross-validation goes on from its checkpoint to the same bits; what cannot be used is refused."""

import contextlib
import errno
import os
import shutil
import signal

from k3torch import InputError, cross_validate, search
from k3torch.stack import model_stack
from k3torch.training import checkpoint_file
from k3torch.training.checkpoint import resume_fit
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.validation import engines
from k3torch.validation.checkpoints import Checkpoints, Current, Stored, claimed
import keras
import numpy as np
import pytest

rng = np.random.default_rng(3)
X, Y = rng.normal(3, 2, (24, 3)), rng.normal(size=24)


def build(units=4, optimizer="adam", activation="relu"):
    dropout = keras.layers.Dropout(0.3)
    hidden = keras.layers.Dense(units, activation)
    model = keras.Sequential([keras.Input((3,)), hidden, dropout, keras.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def stopping():
    return [keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True)]


def validated(folder=None, **arguments):
    arguments = {"folds": 3, "epochs": 5, "batch_size": 4, "engine": "fit", "verbose": 0, **arguments}
    return cross_validate(arguments.pop("build", build), X, Y, checkpoint=folder, **arguments)


def bits(result):
    """All arrays of a result, models and optimizers included."""
    variables = [v for model in result.models for v in (*model.variables, *model.optimizer.variables)]
    arrays = [result.scores, result.out_of_fold, *result.history.values(), *(v.numpy() for v in variables)]
    return [array.tobytes() for array in map(np.asarray, arrays)]


class Killed(Exception):  # noqa: N818
    pass


@pytest.fixture
def killed(monkeypatch):
    """A function that calls another, which ends after so many checkpoints, written as often as possible."""
    write = checkpoint_file.CheckpointFolder.write
    monkeypatch.setattr(checkpoint_file, "COST", 1e9)

    def call(function, checkpoints):
        written = []

        def writing(self, number, content):
            write(self, number, content)
            written.append(number)
            if len(written) == checkpoints:
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):  # noqa: PT012
            patched.setattr(checkpoint_file.CheckpointFolder, "write", writing)
            function()

    return call


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param({"engine": "stacked"}, marks=pytest.mark.slow),
        {"engine": "stacked", "callbacks": stopping()},
        pytest.param({"engine": "fit"}, marks=pytest.mark.slow),
        {"engine": "fit", "callbacks": stopping()},
        pytest.param(
            {"engine": "fit", "repeats": 2, "normalize": "fold", "normalize_y": True, "sample_weight": np.ones(24)},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_interrupted_cross_validation_goes_on_to_the_same_bits(arguments, killed, tmp_path, capsys):
    expected = bits(validated(**arguments))
    killed(lambda: validated(tmp_path, **arguments), 4)
    assert bits(validated(tmp_path, **arguments)) == expected
    assert capsys.readouterr().err == f"resuming from {tmp_path}/checkpoint-000004.npz\n"
    assert bits(validated(tmp_path, **arguments)) == expected  # it is complete: nothing is trained
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
@pytest.mark.parametrize("callbacks", [None, stopping()])
@pytest.mark.parametrize("stack_bytes", [1, 2**30])
def test_compiled_and_several_stacks_go_on_to_the_same_bits(callbacks, stack_bytes, killed, monkeypatch, tmp_path):
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    monkeypatch.setattr(engines, "STACK_BYTES", stack_bytes)
    expected = bits(validated(engine="stacked", callbacks=callbacks))
    for checkpoints in (1, 3, 5):
        folder = tmp_path / str(checkpoints)
        killed(lambda folder=folder: validated(folder, engine="stacked", callbacks=callbacks), checkpoints)
        assert bits(validated(folder, engine="stacked", callbacks=callbacks)) == expected


def searched(folder=None):
    def build_with(rate):
        inputs = keras.Input((3,))
        hidden = keras.layers.Dropout(rate)(keras.layers.Dense(3)(inputs))
        outputs = keras.layers.Concatenate()([keras.layers.Dense(1)(hidden), keras.layers.Dense(1)(hidden)])
        model = keras.Model(inputs, outputs)
        model.compile("adam", "mse", metrics=["mae"])
        return model

    y = np.stack([Y, X[:, 0]], 1)
    found = search(
        build_with, {"rate": [0.0, 0.1]}, X, y, folds=2, epochs=2, batch_size=12, halving=2, outer=2, verbose=0,
        checkpoint=folder,
    )  # fmt: skip
    of_outer = [part for fold in found.outer for part in (fold.predictions, fold.score, fold.inner_score)]
    variables = [v.numpy() for v in found.best_model.variables]
    return [np.asarray(part).tobytes() for part in (found.scores, *of_outer, *variables)] + bits(found.ensemble)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoints", [2, 5, 9])
def test_a_nested_search_with_and_without_dropout_goes_on_to_the_same_bits(checkpoints, killed, tmp_path):
    expected = searched()
    killed(lambda: searched(tmp_path), checkpoints)
    assert searched(tmp_path) == expected


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(killed, tmp_path, capsys):
    expected = bits(validated())
    killed(lambda: validated(tmp_path), 4)
    newest = tmp_path / "checkpoint-000004.npz"
    newest.write_bytes(newest.read_bytes()[:-100])
    assert bits(validated(tmp_path)) == expected
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"passing over the damaged checkpoint {newest}: ")
    assert second == f"resuming from {tmp_path}/checkpoint-000003.npz"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 6}, "expected epochs 5, as in .*000001.npz, got epochs 6: give the same, or another folder"),
        ({"folds": 4}, r"expected folds 3 \(16, checksum"),
        (
            {"build": lambda: build(5)},
            "expected layer 1.units 4, weights 3x4, 4, 4x1, 1, as in .*, got layer 1",
        ),
        ({"build": lambda: build(optimizer="sgd")}, "expected optimizer Adam"),
        ({"build": lambda: build(optimizer=keras.optimizers.Adam(0.5))}, "expected learning rate 0.001, as in"),
        ({"build": lambda: build(activation="tanh")}, "expected layer 1.activation relu, as in .*, got layer 1.acti"),
        ({"callbacks": stopping()}, r"expected callbacks none, as in .*EarlyStopping\(monitor=val_loss, patience=1"),
        ({"n_jobs": 1}, "expected n_jobs None, as in .*000001.npz, got n_jobs as a number: give the same"),
        ({"sample_weight": np.ones(24)}, "expected sample weights None"),
    ],
)
def test_a_checkpoint_of_another_call_is_refused_in_one_line(arguments, message, killed, tmp_path):
    killed(lambda: validated(tmp_path), 1)
    with pytest.raises(InputError, match=message) as refused:
        validated(tmp_path, **arguments)
    assert "\n" not in str(refused.value)


def test_a_checkpoint_of_fit_and_a_file_in_place_of_the_folder_are_refused(tmp_path):
    checkpoint_file.CheckpointFolder(tmp_path).write(1, {"format": 1, "epoch": 2})
    with pytest.raises(InputError, match="by cross_validate or search: give another folder to begin"):
        validated(tmp_path)
    shutil.rmtree(tmp_path)
    tmp_path.touch()
    with pytest.raises(InputError, match="expected a folder for checkpoints, got the file"):
        validated(tmp_path)


def test_fit_refuses_a_checkpoint_of_another_function_in_one_line(tmp_path):
    validated(tmp_path, epochs=1)
    with pytest.raises(InputError) as refused:
        resume_fit(build(), tmp_path, X, Y)
    where = tmp_path / "checkpoint-000002.npz"
    assert str(refused.value) == (
        f"expected a checkpoint of cross_validate, as in {where}, got a checkpoint of fit: give the same, or another "
        "folder"
    )


def without(values, place):
    """Return a copy of nested values without the one at a place."""
    first, *rest = place
    changed = dict(values) if isinstance(values, dict) else list(values)
    if rest:
        changed[first] = without(changed[first], rest)
    else:
        del changed[first]
    return changed


PARTS = {
    "fit": [("parts",), ("settings",), ("current",), ("current", "key"), ("current", "jobs", 0, "stopped"),
            ("current", "jobs", 1, "stopped"), ("current", "jobs", 1, "model"), ("current", "jobs", 1, "python"),
            ("current", "jobs", 1, "random", "global", 2, 1, 7)],
    "stacked": [("current", "random", 1), ("current", "jobs", 0, "state", 0), ("current", "jobs", 1, "history")],
    "complete": [("trainings", "folds", "models", 0), ("trainings", "folds", "histories", 1),
                 ("trainings", "folds", "kept"), ("trainings", "folds", "kept", 0)],
}  # fmt: skip


@pytest.mark.parametrize("kind", PARTS)
def test_a_whole_checkpoint_with_other_parts_is_refused_in_one_line(kind, killed, tmp_path):
    """As another version may have written it."""
    arguments = {"engine": "stacked" if kind == "stacked" else "fit", "folds": 2, "callbacks": stopping()}
    folder = CheckpointFolder(tmp_path / "written")
    if kind == "complete":
        validated(folder.path, **arguments)
    else:
        killed(lambda: validated(folder.path, **arguments), 7 if kind == "fit" else 2)
    _, content = folder.newest()
    for place in PARTS[kind]:
        other = CheckpointFolder(tmp_path / ",".join(map(str, place)))
        other.write(1, without(content, place))
        with pytest.raises(InputError, match=r"expected a checkpoint .*give (the same, or )?another folder") as refused:
            validated(other.path, **arguments)
        assert "\n" not in str(refused.value)


def test_a_stack_that_was_compiled_is_not_trained_uncompiled():
    current = Current("folds", Checkpoints(None, {}), {"compiled": True, "engine": "stacked", "jobs": {}})
    current.compiled_as(True)
    with pytest.raises(InputError, match="expected a compiled step, as before the interruption, got an uncompiled"):
        current.compiled_as(False)


def test_a_search_of_other_candidates_is_refused_in_one_line(killed, tmp_path):
    def searched(rates):
        grid = {"learning_rate": rates}
        return search(lambda learning_rate: build(optimizer=keras.optimizers.Adam(0.1)), grid, X, Y, folds=2, epochs=1,
                      batch_size=12, checkpoint=tmp_path, verbose=0)  # fmt: skip

    killed(lambda: searched([0.1, 0.2]), 1)
    with pytest.raises(InputError, match=r"^expected candidates \[.*0.2.*, as in .*, got candidates \[.*0.3.*: give"):
        searched([0.1, 0.3])


def test_a_full_disk_ends_a_call_in_one_line_and_it_goes_on_later_to_the_same_bits(monkeypatch, tmp_path):
    expected, savez = bits(validated()), np.savez

    def full(path, **arrays):
        if path.parent == tmp_path and len(list(tmp_path.glob("checkpoint-*"))) == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        savez(path, **arrays)

    monkeypatch.setattr(checkpoint_file, "COST", 1e9)
    with monkeypatch.context() as patched, pytest.raises(InputError) as refused:  # noqa: PT012
        patched.setattr(checkpoint_file.np, "savez", full)
        validated(tmp_path)
    assert str(refused.value) == f"expected to write a checkpoint to {tmp_path}, got: No space left on device"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000001.npz", "checkpoint-000002.npz"]
    assert bits(validated(tmp_path)) == expected


def test_a_checkpoint_of_other_versions_is_refused_in_one_line(killed, tmp_path, monkeypatch):
    killed(lambda: validated(tmp_path), 1)
    before = keras.__version__
    monkeypatch.setattr(keras, "__version__", "9.9.9")
    with pytest.raises(InputError, match=f"^expected keras {before}, as in .*, got keras 9.9.9: give the same, or"):
        validated(tmp_path)


def test_a_checkpoint_keeps_what_the_call_has_not_come_to_yet(tmp_path):
    folder = CheckpointFolder(tmp_path)
    first = Checkpoints(folder, {})
    first.complete({"a": Stored({"n": 1}), "b": Stored({"n": 2}), "c": Stored({"n": 3})})
    first.write()
    second = Checkpoints(folder, {})
    second.complete({"a": Stored({"n": 4})})
    second.forget("c")
    second.write()
    third = Checkpoints(folder, {})
    assert [third.trained(key) for key in "abc"] == [{"n": 4}, {"n": 2}, None]


def test_without_a_folder_nothing_is_stored():
    checkpoints = Checkpoints(None, {})
    assert not checkpoints.is_due()
    assert not checkpoints.begin("folds").is_stored
    checkpoints.write()


@pytest.mark.parametrize("where", [5, True, ["folder"]])
def test_a_checkpoint_that_is_no_folder_is_refused(where):
    with pytest.raises(InputError, match="expected checkpoint as a folder, got "):
        validated(where)


def test_an_interrupt_that_is_swallowed_ends_the_call_and_it_goes_on_later_to_the_same_bits(tmp_path, monkeypatch):
    """PyTorch swallows Ctrl-C in callbacks of weak references while a step is traced."""
    sent = []

    def swallowed(*_):
        if len(sent) < 2:
            sent.append(1)
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)

    def rules():
        return [keras.callbacks.LambdaCallback(on_epoch_begin=swallowed)]

    expected = bits(validated(callbacks=[keras.callbacks.LambdaCallback()]))
    monkeypatch.setattr(checkpoint_file, "COST", 1e9)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            validated(tmp_path, callbacks=rules())
    assert bits(validated(tmp_path, callbacks=rules())) == expected


def test_a_folder_that_another_call_uses_is_refused_before_any_work(tmp_path):
    def build_nothing():
        raise AssertionError

    with (
        claimed(tmp_path / "folder") as folder,
        pytest.raises(InputError, match=f"^expected a folder for checkpoints of its own, got {folder.path}, which "),
    ):
        validated(tmp_path / "folder", build=build_nothing)
    with pytest.raises(AssertionError):
        validated(tmp_path / "folder", build=build_nothing)
    assert list(tmp_path.iterdir()) == []  # nothing is left of what was refused


def test_what_is_kept_of_a_training_does_not_follow_its_models():
    class Training:
        variables = 14

        def record(self):
            return {"variables": self.variables}

    checkpoints, training = Checkpoints(None, {}), Training()
    checkpoints.complete({"best model": training})
    checkpoints.keep("best model")
    checkpoints.keep("dropped")
    training.variables = 17  # as layers for the scaling add some
    assert checkpoints._trainings["best model"].record() == {"variables": 14}
    assert list(checkpoints._trainings) == ["best model"]
