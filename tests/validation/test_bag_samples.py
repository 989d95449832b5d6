"""Cross-validation and search on sparse bags: equal to fit on bag loaders by hand, and never dense."""

from k3torch import InputError, cross_validate, search
from k3torch.data.bags import BagDataset
from k3torch.models.layers import SparseDense
from k3torch.training.fast_model import FastModel
from k3torch.validation.bag_samples import BagSamples, dense
from k3torch.validation.folds import make_folds
from k3torch.validation.jobs import Data, make_jobs
import keras
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
from sklearn.model_selection import GroupKFold, StratifiedKFold

WORDS, SAMPLES = 30, 42
RNG = np.random.default_rng(0)
BAGS = csr_matrix(random_array((SAMPLES, WORDS), density=0.2, rng=RNG, dtype=np.float32))
LABELS = RNG.integers(0, 2, SAMPLES)
WEIGHTS = np.linspace(0.5, 2, SAMPLES)


def build(kind=FastModel, first=SparseDense, rate=0.05, units=4):
    inputs = keras.Input((WORDS,))
    model = kind(inputs, keras.layers.Dense(1, activation="sigmoid")(first(units, activation="relu")(inputs)))
    model.compile(keras.optimizers.RMSprop(rate), "binary_crossentropy", metrics=["accuracy"])
    return model


def validate(build_model=build, x=BAGS, y=LABELS, **arguments):
    settings = {"folds": 3, "epochs": 2, "batch_size": 8, "engine": "fit", "seed": 7, **arguments}
    return cross_validate(build_model, x, y, **settings)


@pytest.fixture
def never_dense(monkeypatch):
    """No more than the one row that models are built for becomes dense."""

    def refused(*_, **__):
        raise AssertionError("a sparse matrix was made dense")

    for name in ("toarray", "todense"):
        monkeypatch.setattr(csr_matrix, name, refused)


def by_hand(kind, first, weights, class_weight, folds=3, epochs=2, batch_size=8, seed=7):
    """Keras's fit on batches of each fold's rows, in the orders and from the initial weights of cross_validate."""
    splits = make_folds(folds, BAGS, LABELS)
    models, histories, predictions = [], [], np.zeros((SAMPLES, 1))
    weighted = [w for w in (weights, class_weight) if w is not None]
    train_weights = np.prod(weighted, axis=0) if weighted else None
    training, validation = (BagDataset(BAGS, LABELS, w) for w in (train_weights, weights))
    for number, (rows, held_out) in enumerate(splits):
        keras.utils.set_random_seed(int(np.random.SeedSequence((seed, 0, number)).generate_state(1)[0]))
        models.append(build(kind, first))
        histories.append({})
        for epoch in range(epochs):
            order = rows[np.random.default_rng([seed, 0, number, epoch]).permutation(len(rows))]
            batches = [training.__getitems__(order[i : i + batch_size]) for i in range(0, len(order), batch_size)]
            tested = [validation.__getitems__(held_out[i : i + batch_size]) for i in range(0, len(held_out), 8)]
            fitted = models[-1].fit(Repeated(batches), validation_data=Repeated(tested), verbose=0, shuffle=False)
            for name, values in fitted.history.items():
                histories[-1].setdefault(name, []).extend(values)
        predictions[held_out] = models[-1](validation.__getitems__(held_out)[0], training=False).detach().numpy()
    return models, histories, predictions


class Repeated(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


@pytest.mark.parametrize(
    ("kind", "first", "weighted"),
    [
        (FastModel, SparseDense, True),
        (FastModel, keras.layers.Dense, False),
        (keras.Model, SparseDense, True),
        (keras.Model, keras.layers.Dense, False),
    ],
)
def test_folds_are_those_of_fit_by_hand(kind, first, weighted, never_dense):
    weights, classes = (WEIGHTS, {1: 3.0}) if weighted else (None, None)
    of_samples = np.where(LABELS == 1, 3.0, 1.0) if weighted else None
    models, histories, predictions = by_hand(kind, first, weights, of_samples)
    result = validate(lambda: build(kind, first), sample_weight=weights, class_weight=classes)
    assert result.engine == "fit"
    for fold, (model, history) in enumerate(zip(models, histories, strict=True)):
        for name, values in history.items():
            np.testing.assert_allclose(result.history[name][0, fold], values, rtol=1e-5, err_msg=name)
        for ours, theirs in zip(result.models[fold].get_weights(), model.get_weights(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(result.out_of_fold, predictions, rtol=1e-5)
    np.testing.assert_array_equal(result.scores, result.history["val_accuracy"][..., -1])


def test_sparse_and_dense_samples_give_the_same(never_dense):
    array = np.zeros(BAGS.shape, np.float32)
    array[BAGS.nonzero()] = BAGS.data
    sparse, full = validate(), validate(x=array)
    for name, values in sparse.history.items():
        np.testing.assert_allclose(values, full.history[name], rtol=1e-5)
    np.testing.assert_allclose(sparse.predict(BAGS), full.predict(array), rtol=1e-5)
    np.testing.assert_allclose(sparse.predict(BAGS), sparse.predict(array), rtol=1e-5)
    np.testing.assert_allclose(sparse.out_of_fold, full.out_of_fold, rtol=1e-5)


@pytest.mark.parametrize("kind", ["csc", "coo", "bool", "int64"])
def test_other_formats_and_numbers_are_converted(kind):
    ones = BAGS.astype(bool)
    given = ones.asformat(kind) if kind in ("csc", "coo") else ones.astype(kind)
    np.testing.assert_array_equal(validate(x=given).scores, validate(x=ones.astype(np.float32)).scores)


def test_repeats_groups_and_splitters_work_on_rows():
    groups = np.arange(SAMPLES) // 7
    result = validate(folds=GroupKFold(3), groups=groups, repeats=2)
    assert result.scores.shape == (2, 3)
    for training, validation in result.indices:
        assert not set(groups[training]) & set(groups[validation])
    stratified = validate(folds=StratifiedKFold(3))
    expected = list(StratifiedKFold(3).split(np.zeros(SAMPLES), LABELS))
    for (_, found), (_, validation) in zip(stratified.indices, expected, strict=True):
        np.testing.assert_array_equal(found, validation)


def test_targets_may_be_scaled_and_classes_numbers():
    def regressor():
        inputs = keras.Input((WORDS,))
        model = FastModel(inputs, keras.layers.Dense(1)(SparseDense(4, activation="relu")(inputs)))
        model.compile(keras.optimizers.RMSprop(0.05), "mse", metrics=["mae"])
        return model

    y = 100 + 20 * BAGS.sum(1)
    result = validate(regressor, y=np.asarray(y).ravel(), normalize_y=True, epochs=20)
    assert result.mean < 20
    assert abs(result.predict(BAGS).mean() - y.mean()) < 10

    def classifier():
        inputs = keras.Input((WORDS,))
        model = keras.Model(inputs, SparseDense(3, activation="softmax")(inputs))
        model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    assert validate(classifier, y=np.arange(SAMPLES) % 3).out_of_fold.shape == (SAMPLES, 3)
    with pytest.raises(InputError, match="expected labels and ids below the widths of the model's layers"):
        validate(classifier, y=np.arange(SAMPLES) % 4)


def test_folds_share_one_matrix():
    splits = [make_folds(4, BAGS, LABELS)]
    jobs = make_jobs(
        build, Data.of(BAGS, LABELS, None, None), splits, normalize=None, normalize_y=False, shuffle=True, seed=0
    )
    for job, (training, validation) in zip(jobs, splits[0], strict=True):
        for part, rows in ((job.training, training), (job.validation, validation)):
            assert isinstance(part, BagSamples)
            assert np.shares_memory(part.dataset.bags.data, BAGS.data)
            np.testing.assert_array_equal(part.rows, rows)
            assert len(part) == len(rows)
            x, y = part.__getitems__(np.array([2, 0]))
            np.testing.assert_array_equal(x.to_dense().numpy(), BAGS[rows[[2, 0]]].toarray())
            np.testing.assert_array_equal(y.numpy()[:, 0], LABELS[rows[[2, 0]]])
    with pytest.raises(AssertionError):
        dense(jobs[0].training)


def test_an_example_has_the_shapes_of_a_batch():
    x, y, weights = BagSamples(BagDataset(BAGS, LABELS, WEIGHTS), np.arange(3)).example()
    assert (x.shape, y.shape, weights.shape) == ((1, WORDS), (1, 1), (1,))
    assert BagSamples(BagDataset(BAGS, LABELS), np.arange(3)).example()[2] is None


def test_auto_says_in_one_line_why_it_is_fit(capsys):
    auto = validate(engine="auto")
    assert capsys.readouterr().err == "training with fit, fold after fold: x is a sparse matrix\n"
    np.testing.assert_array_equal(auto.history["val_loss"], validate().history["val_loss"])
    assert auto.engine == "fit"


def _chain(*layers):
    model = keras.Sequential([keras.Input((WORDS,)), *layers, keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"normalize": "fold"},
            "normalize=None for a sparse x, got 'fold', which subtracts means and so makes it dense",
        ),
        ({"normalize": "train"}, "normalize=None for a sparse x, got 'train'"),
        ({"engine": "stacked"}, 'a model that can be stacked, but x is a sparse matrix: use engine="fit"'),
        ({"x": BAGS.tolil()}, r"x in CSR, CSC or COO format, got lil: call its method tocsr\(\)"),
        ({"x": BAGS[:5]}, r"as many samples in y as in x \(5\), got 42"),
        ({"x": BAGS * np.float32(np.nan)}, "finite float32 values in x, got nan in row 0"),
        ({"x": BAGS[:, :0]}, r"x with at least one number a sample, got shape \(42, 0\)"),
        ({"x": BAGS[:, :9]}, r"a model with a loss that takes x of shape \(None, 9\)"),
        ({"folds": 43}, "from 2 folds to 42, the number of samples, got 43"),
        ({"folds": GroupKFold(2), "groups": [1, 2]}, r"groups of shape \(42,\), got shape \(2,\)"),
        ({"sample_weight": [1.0]}, r"sample_weight of shape \(42,\), got shape \(1,\)"),
        ({"build_model": lambda: _chain(keras.layers.Dropout(0.5))}, ".* such as SparseDense, got Dropout$"),
        ({"build_model": lambda: _chain(keras.layers.BatchNormalization())}, ".* got BatchNormalization$"),
        ({"build_model": lambda: _chain(keras.layers.Rescaling(2.0))}, ".* takes a sparse x.* got Rescaling$"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(arguments, message):
    with pytest.raises(InputError, match=f"^expected {message}") as caught:
        validate(**arguments)
    assert "\n" not in str(caught.value)


def test_an_error_of_another_kind_is_not_hidden():
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("of the caller")

    with pytest.raises(RuntimeError, match="of the caller"):
        validate(callbacks=[Broken()])


def test_predict_checks_the_width():
    with pytest.raises(InputError, match=r"expected x of shape \(None, 30\), got shape \(42, 9\)"):
        validate(epochs=1).predict(BAGS[:, :9])


def test_a_search_trains_with_fit_and_says_so_once(capsys, never_dense):
    arguments = {"folds": 3, "epochs": 2, "batch_size": 8, "seed": 7}
    found = search(build, {"rate": [0.01], "units": [2, 4]}, BAGS, LABELS, **arguments)
    assert capsys.readouterr().err == "training with fit, model after model: x is a sparse matrix\n"
    for params, scores in zip(found.params, found.scores, strict=True):
        np.testing.assert_array_equal(scores, validate(lambda p=params: build(**p)).scores)
    assert found.ensemble.out_of_fold.shape == (SAMPLES, 1)


def test_a_search_with_outer_folds_and_early_stopping(capsys):
    found = search(
        build, {"rate": [0.01, 0.1]}, BAGS, LABELS, folds=2, outer=2, epochs=3, batch_size=8, early_stopping=1
    )
    assert found.outer_scores.shape == (2,)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_search_does_not_normalize_bags():
    with pytest.raises(InputError, match="expected normalize=None for a sparse x, got 'fold'"):
        search(build, {"rate": [0.01]}, BAGS, LABELS, normalize="fold")
