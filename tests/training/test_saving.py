"""Model files: what they hold, who loads them, and that training goes on from them with the same numbers."""

import copy
import json
import pickle
import zipfile

import k3torch
from k3torch.errors import InputError
from k3torch.models.layers import SparseDense
from k3torch.training import saving
from k3torch.training.fast_model import FastModel, FastSequential
from k3torch.training.keras_internals import API_REGISTRY
from k3torch.training.saving import load_model
import keras
import numpy as np
import pytest
from tests import forked
import torch

torch.set_num_threads(1)  # two test processes share two cores
DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(64, 5)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")
COMPILED = {"optimizer": "adam", "loss": "binary_crossentropy", "metrics": ["accuracy", "mae"]}


def functional(kind=FastModel, layer=keras.layers.Dense):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    model = kind(inputs, keras.layers.Dense(1, "sigmoid")(layer(4, activation="relu")(inputs)))
    model.compile(**COMPILED)
    return model


def sequential(kind=FastSequential):
    keras.utils.set_random_seed(1)
    model = kind([keras.Input((5,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1, "sigmoid")])
    model.compile(**COMPILED)
    return model


def nested():
    inputs = keras.Input((5,))
    return keras.Model(inputs, functional()(inputs))


def train(model, epochs):
    return model.fit(X, Y, batch_size=16, epochs=epochs, shuffle=False, verbose=0).history


def config(path):
    return json.loads(zipfile.ZipFile(path).read("config.json"))


def in_fresh_process(code, folder):
    """Run the code in a process without k3torch, with ``folder`` defined in it, and return what it prints as JSON."""
    code = f"from pathlib import Path\nfolder = Path({str(folder)!r})\n{code}"
    done = forked.run_code(code, env={"KERAS_BACKEND": "torch"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("build", [functional, pytest.param(sequential, marks=pytest.mark.slow)])
def test_keras_alone_loads_a_fast_model_and_trains_on(tmp_path, build):
    straight, saved = build(), build()
    train(straight, 4)
    train(saved, 2)
    saved.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    code = """
import json, sys
import keras, numpy as np
model = keras.saving.load_model(folder / "model.keras")
x, y = (np.load(folder / "data.npz")[name] for name in "xy")
before = model.predict(x, verbose=0).tolist()
history = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0).history
after = model.predict(x, verbose=0).tolist()
print(json.dumps([type(model).__name__, before, after, list(history), "k3torch" in sys.modules]))
"""
    kind, before, after, history, imported = in_fresh_process(code, tmp_path)

    assert kind == ("Functional" if build is functional else "Sequential")
    assert not imported
    np.testing.assert_allclose(before, saved.predict(X, verbose=0), atol=1e-6)
    np.testing.assert_allclose(after, straight.predict(X, verbose=0), atol=1e-5)
    assert history == ["accuracy", "loss", "mae"]
    assert np.abs(np.subtract(after, before)).max() > 1e-3  # as the optimizer's own state would show


@pytest.mark.slow
def test_keras_alone_loads_what_its_own_functions_save(tmp_path):
    keras.saving.save_model(functional(), tmp_path / "function.keras")
    checkpoint = keras.callbacks.ModelCheckpoint(str(tmp_path / "checkpoint.keras"))
    functional().fit(X, Y, callbacks=[checkpoint], verbose=0)
    (tmp_path / "model.json").write_text(functional().to_json())
    code = """
import json
import keras
models = [keras.saving.load_model(folder / f"{name}.keras") for name in ("function", "checkpoint")]
models.append(keras.models.model_from_json((folder / "model.json").read_text()))
print(json.dumps([type(model).__name__ for model in models]))
"""

    assert in_fresh_process(code, tmp_path) == ["Functional"] * 3


@pytest.mark.slow
def test_a_fresh_process_with_k3torch_loads_every_kind_of_model(tmp_path):
    expected = {
        "functional": (functional(), "FastModel"),
        "sequential": (sequential(), "FastSequential"),
        "sparse": (functional(keras.Model, SparseDense), "Functional"),
        "fast_sparse": (functional(FastModel, SparseDense), "FastModel"),
        "nested": (nested(), "Functional"),
        "subclass": (functional(Registered), "Registered"),
    }
    for name, (model, _) in expected.items():
        model.save(tmp_path / f"{name}.keras")
    code = f"""
import json
import k3torch, keras
@keras.saving.register_keras_serializable("user")
class Registered(k3torch.FastModel): pass
found = []
for name in {list(expected)}:
    model = keras.saving.load_model(folder / f"{{name}}.keras")
    output = model(keras.ops.ones((1, 5))).item()
    found.append([type(model).__name__, isinstance(model, k3torch.FastModel), output])
print(json.dumps(found))
"""

    loaded = in_fresh_process(code, tmp_path)
    for (kind, fast, output), (model, expected_kind) in zip(loaded, expected.values(), strict=True):
        assert kind == expected_kind
        assert fast == isinstance(model, FastModel)
        assert output == pytest.approx(model(np.ones((1, 5))).item(), abs=1e-6)


@keras.saving.register_keras_serializable("user")
class Registered(FastModel):
    """A user's own class without a constructor."""


@keras.saving.register_keras_serializable("user")
class OwnCall(FastModel):
    """A user's own class with its own call."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def test_a_subclass_is_saved_as_itself(tmp_path):
    model = OwnCall(3)
    outputs = model(X)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert config(tmp_path / "model.keras")["registered_name"] == "user>OwnCall"
    assert type(loaded) is OwnCall
    assert torch.equal(loaded(X), outputs)


@pytest.mark.parametrize("build", [functional, sequential])
def test_training_goes_on_as_if_never_stopped(tmp_path, build):
    straight, stopped = build(), build()
    train(straight, 4)
    train(stopped, 2)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    train(loaded, 2)

    assert type(loaded) is type(stopped)
    assert loaded.get_compile_config() == stopped.get_compile_config()
    for a, b in zip(straight.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(np.array(b), np.array(a))


@pytest.mark.parametrize(("build", "kind"), [(functional, keras.Model), (sequential, keras.Sequential)])
def test_a_model_of_plain_keras_loads_as_one_and_can_be_made_fast(tmp_path, build, kind):
    straight, stopped = build(kind), build(kind)
    train(straight, 4)
    train(stopped, 2)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fast = FastModel(loaded.inputs, loaded.outputs)
    fast.compile(loaded.optimizer, loss="binary_crossentropy")
    train(fast, 2)

    assert type(loaded) is type(stopped)
    np.testing.assert_allclose(fast.predict(X, verbose=0), straight.predict(X, verbose=0), atol=1e-5)


@pytest.mark.parametrize("build", [functional, sequential])
def test_copies_are_of_the_same_class(build):
    model = build()
    model.fit(X, Y, verbose=0)
    copies = [model.from_config(model.get_config()), copy.deepcopy(model), pickle.loads(pickle.dumps(model))]

    assert [type(other) for other in copies] == [type(model)] * 3
    for other in copies[1:]:
        assert torch.equal(other(X), model(X))
        assert other.get_compile_config() == model.get_compile_config()


def test_clone_model_clones():
    clone = keras.models.clone_model(functional())

    assert type(clone) is type(functional())
    assert len(keras.models.clone_model(sequential()).layers) == 2  # Keras makes a keras.Sequential of any Sequential


def renamed(path, names):
    """Rewrite a model file with other class names in its config."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    text = parts["config.json"].decode()
    for now, then in names.items():
        assert now in text
        text = text.replace(now, then)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"config.json": text.encode()}).items():
            archive.writestr(name, content)


def test_files_with_the_earlier_names_load(tmp_path):
    model = functional(FastModel, SparseDense)
    model.save(tmp_path / "model.keras")
    renamed(
        tmp_path / "model.keras",
        {
            '"module": "keras.models", "class_name": "Model"': '"module": "k3torch.training.step", '
            '"class_name": "FastFunctional"',
            '"registered_name": null, "build_config": {"input_shape": null}': '"registered_name": '
            '"k3torch>FastFunctional", "build_config": {"input_shape": null}',
            '"class_name": "SparseDense"': '"class_name": "MultiHotDense"',
            "k3torch>SparseDense": "k3torch>MultiHotDense",
        },
    )
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert type(loaded) is type(model)
    assert type(loaded.layers[1]) is SparseDense
    assert torch.equal(loaded(X), model(X))


def test_a_sequential_file_with_the_earlier_name_loads(tmp_path):
    sequential().save(tmp_path / "model.keras")
    text = config(tmp_path / "model.keras")
    earlier = text | {
        "module": "k3torch.training.step",
        "class_name": "FastSequential",
        "registered_name": "k3torch>FastSequential",
    }

    assert type(keras.saving.deserialize_keras_object(earlier)) is FastSequential


def test_without_keras_s_table_files_name_k3torch_s_class(without_keras_parts):
    without_keras_parts(API_REGISTRY)

    class Later(FastModel):
        pass

    saving.save_as(Later, "keras.models.Later")

    assert keras.saving.serialize_keras_object(functional(Later))["registered_name"] == "k3torch>Later"


def test_a_fast_model_shows_the_name_that_it_is_imported_by(capsys):
    model = FastModel(*(lambda i: (i, keras.layers.Dense(1)(i)))(keras.Input((3,))), name="first")
    model.summary(line_length=60)

    assert type(model).__name__ == "FastModel"
    assert isinstance(model, k3torch.FastModel)
    assert repr(model) == "<FastModel name=first, built=True>"
    assert repr(FastSequential(name="second")) == "<FastSequential name=second, built=False>"
    assert "Fast" not in capsys.readouterr().out  # Keras prints the model's own name


def test_a_functional_subclass_of_a_subclass_leaves_fast_model_as_it_was():
    class Middle(FastModel):
        pass

    class Leaf(Middle):
        pass

    functional(Leaf)

    assert FastModel.__mro__[1].__name__ == "FastStep"
    assert keras.src.models.functional.Functional not in FastModel.__mro__
    assert OwnCall(2)(X).shape == (64, 2)


def test_a_model_file_is_loaded(tmp_path):
    model = functional()
    model.save(tmp_path / "model.keras")
    loaded = saving.load_model(tmp_path / "model.keras", (None, 5))
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))
    with pytest.raises(InputError, match=r"expected a model with inputs of shape \(None, 4\) in .*, got \(None, 5\)"):
        saving.load_model(tmp_path / "model.keras", (None, 4))


@pytest.mark.parametrize("content", [None, b"", b"text", "cut"])
def test_a_damaged_model_file_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "model.keras"
    if content == "cut":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"^expected a Keras model in [^\n]*: train again$"):
        saving.load_model(path, (None, 5))


def runs(code):
    return lambda content: content.replace(b"keras.layers", code).replace(b"keras.src.layers", code)


def test_no_code_in_a_model_file_runs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    ran = tmp_path / "ran"

    def writes(x):
        open(ran, "w").close()  # noqa: PTH123  (it is stored as code, without imports)
        return x

    inputs = keras.Input((5,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / "plain.keras")
    keras.Model(inputs, keras.layers.Lambda(writes, output_shape=(5,))(inputs)).save(tmp_path / "lambda.keras")
    ran.unlink(missing_ok=True)  # building the layer called it
    module = tmp_path / "written.py"
    module.write_text(f"open({str(ran)!r}, 'w').close()")
    changed(tmp_path / "plain.keras", tmp_path / "module.keras", config=runs(b"written"))
    changed(
        tmp_path / "plain.keras",
        tmp_path / "function.keras",
        config=lambda content: content.replace(b'"class_name": "Dense"', b'"class_name": "system"').replace(
            b'"module": "keras.layers"', b'"module": "os"'
        ),
    )
    for name in ("lambda", "module", "function"):
        with pytest.raises(InputError, match=r"^expected a Keras model in [^\n]*: train again$"):
            saving.load_model(tmp_path / f"{name}.keras")
        assert not ran.exists()


def changed(source, target, **changes):
    """Copy a .keras file with other content of some members."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            change = changes.get(name.split(".")[0], lambda content: content)
            new.writestr(name, change(old.read(name)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"config": lambda c: c.replace(b'"units": 1,', b'"units": 900000,')}, "12,600,000 weights in its config"),
        ({"config": lambda c: c + b" " * 2**27}, "got config.json of 134,2"),
        ({"metadata": lambda c: c + b" " * 2**27}, "got metadata.json of 134,2"),
        ({"model": lambda c: c + bytes(2**27)}, "got model.weights.h5 of 134,2"),
        ({"config": lambda c: b"[" * 100_000}, "maximum recursion depth"),
        ({"config": lambda c: b"{}"}, "train again"),
    ],
)
def test_a_file_that_would_take_more_memory_than_it_has_weights_is_refused(changes, said, tmp_path):
    resource = pytest.importorskip("resource")  # Windows lacks it
    inputs = keras.Input((13,))
    keras.Model(inputs, keras.layers.Dense(1)(inputs)).save(tmp_path / "whole.keras")
    changed(tmp_path / "whole.keras", tmp_path / "model.keras", **changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "model.keras")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**21  # KiB


@pytest.mark.parametrize("outputs", [2, [1, 1], {"a": 1}])
def test_a_model_of_other_outputs_is_refused_in_one_line(outputs, tmp_path):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.tree.map_structure(lambda n: keras.layers.Dense(n)(inputs), outputs)).save(
        tmp_path / "model.keras"
    )
    load_model(tmp_path / "model.keras", (None, 3))
    with pytest.raises(InputError, match=r"expected a model with 1 output in .*, got (outputs of shape|list|dict)"):
        load_model(tmp_path / "model.keras", (None, 3), [1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_in_one_line(value, tmp_path):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.set_weights([np.full((3, 1), value), np.zeros(1)])
    model.save(tmp_path / "model.keras")
    with pytest.raises(InputError, match="got weights that are NaN or infinite: train again"):
        load_model(tmp_path / "model.keras")
