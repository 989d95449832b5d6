"""Without any one of Keras's private parts, FastModel trains to Keras's numbers, with one warning that names it."""

import ast
from pathlib import Path
import warnings

import k3torch
from k3torch.training import keras_internals, sparse_updates
from k3torch.training.fast_model import FastModel
from k3torch.training.keras_internals import (
    API_REGISTRY,
    GLOBAL_STATE,
    PRIVATE_PARTS,
    MissingPart,
    functional_init_arguments,
    is_default,
    private_attribute,
    private_import,
    private_method,
)
import keras
import numpy as np
import pytest

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(48, 6)).astype("float32"), DRAW.random((48, 1)).astype("float32").round()

# Settings that between them use every part.
OPTIMIZERS = {
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01, weight_decay=0.01),
    "amsgrad": lambda: keras.optimizers.Adam(0.01, amsgrad=True),
    "sgd": lambda: keras.optimizers.SGD(0.1),
}
# Used by training.sparse_updates alone, for large kernels.
SPARSE_OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
}
# Used by stack.stateless alone; tests/validation/test_engines.py takes them away.
STACK_PARTS = {keras_internals.BASE_OPTIMIZER, "_losses_override", "_symbolic_build", "_user_metrics"}


def fitted(kind, optimizer, mixed=False):
    keras.config.set_dtype_policy("mixed_bfloat16" if mixed else "float32")
    try:
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,))
        hidden = keras.layers.Dense(4, "relu")(inputs)
        model = kind(inputs, keras.layers.Dense(1, "sigmoid", dtype="mixed_bfloat16" if mixed else None)(hidden))
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(
        (OPTIMIZERS | SPARSE_OPTIMIZERS)[optimizer](),
        "binary_crossentropy",
        metrics=["accuracy"],
        weighted_metrics=["mae"],
    )
    history = model.fit(X, Y, epochs=2, batch_size=16, shuffle=False, verbose=0, validation_data=(X, Y)).history
    return model, history


@pytest.fixture(scope="module")
def by_keras():
    return {
        (optimizer, mixed): fitted(keras.Model, optimizer, mixed) for optimizer in OPTIMIZERS for mixed in (False, True)
    }


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("part", PRIVATE_PARTS)
def test_without_it_training_gives_keras_numbers_and_one_warning(without_keras_parts, by_keras, part, optimizer, mixed):
    asked = without_keras_parts(part)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model, history = fitted(FastModel, optimizer, mixed)

    tolerance = {"rtol": 3e-2, "atol": 3e-3} if mixed else {"rtol": 1e-4, "atol": 1e-5}
    theirs, their_history = by_keras[optimizer, mixed]
    for mine, expected in zip(model.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(mine, expected, **tolerance)
    for name, values in their_history.items():
        np.testing.assert_allclose(history[name], values, **tolerance)
    lines = [str(w.message) for w in said if "falls back to Keras" in str(w.message)]
    assert len(lines) == (part in asked and part != GLOBAL_STATE)  # without it less is verified
    assert all(part.rpartition(":")[2] in line for line in lines)


def test_every_part_is_used(without_keras_parts, monkeypatch):
    asked = without_keras_parts()
    monkeypatch.setattr(sparse_updates, "WEIGHTS", 1)
    for optimizer in SPARSE_OPTIMIZERS:
        fitted(FastModel, optimizer)
    for optimizer in OPTIMIZERS:
        fitted(FastModel, optimizer)
    fitted(FastModel, "sgd", mixed=True)
    assert set(asked) | STACK_PARTS | {API_REGISTRY} == set(PRIVATE_PARTS)  # the last is used when classes are made


def test_a_name_that_is_not_listed_is_refused():
    with pytest.raises(KeyError, match="add it there"):
        private_attribute(object(), "_other")
    with pytest.raises(KeyError, match="add it there"):
        private_import("keras.src:other")


def test_what_is_missing_is_named_with_its_owner():
    with pytest.raises(MissingPart, match=r"Keras 3\.\S+ has no Layer\._fn$"):
        private_attribute(keras.Layer(), "_fn")
    with pytest.raises(MissingPart, match=r" has no Layer\._fn$"):  # a class is named by its own name, not its type's
        private_attribute(keras.Layer, "_fn")


def test_a_method_with_other_arguments_counts_as_missing():
    class Changed:
        def _apply_weight_decay(self, variables, rate):
            """Take one argument more."""

    assert private_method(Changed(), "_apply_weight_decay", "variables", "rate")
    with pytest.raises(MissingPart, match=r"has another Changed\._apply_weight_decay .*missing a req"):
        private_method(Changed(), "_apply_weight_decay", "variables")


def test_functional_arguments_are_recognised_as_keras_does():
    from keras.src.models.model import functional_init_arguments as keras_own

    for args, kwargs in [((), {}), ((1,), {}), ((1, 2), {}), ((1,), {"outputs": 2}), ((), {"inputs": 1, "outputs": 2}),
                         ((), {"outputs": 2}), ((1,), {"name": "x"})]:  # fmt: skip
        assert functional_init_arguments(args, kwargs) == bool(keras_own(args, kwargs))


def test_default_hooks_are_recognised_as_keras_does():
    from keras.src.utils.python_utils import is_default as keras_own

    class Mine(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            """Override."""

    def hook(batch, logs):
        """Be a function on an object."""

    for callback in (Mine(), keras.callbacks.Callback(), keras.callbacks.LambdaCallback(on_train_batch_end=hook),
                     keras.callbacks.EarlyStopping(), keras.callbacks.TerminateOnNaN()):  # fmt: skip
        for name in ("on_train_batch_end", "on_batch_end", "on_test_batch_end"):
            assert is_default(getattr(callback, name)) == keras_own(getattr(callback, name))


def test_no_other_file_imports_keras_src_or_reads_a_listed_attribute():
    names = {part for part in PRIVATE_PARTS if ":" not in part}
    for path in Path(k3torch.__path__[0]).rglob("*.py"):
        if path.name == "keras_internals.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("keras.src"), path.name
            if isinstance(node, ast.Attribute):
                assert "keras.src" not in ast.unparse(node), path.name
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                reads = isinstance(node.ctx, ast.Load)
                assert own or not reads or node.attr not in names, f"{path.name}: {ast.unparse(node)}"
