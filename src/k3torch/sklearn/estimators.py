"""Networks as estimators of scikit-learn, for ``Pipeline``, ``GridSearchCV`` and all that takes an estimator.

    pipeline = make_pipeline(StandardScaler(), Regressor(table_network, epochs=100))
    search = GridSearchCV(pipeline, {"regressor__build_model__units": [(16,), (64, 64)]})

``k3torch.search`` tries settings in less time: it trains the folds of all of them side by side, as one stack of models.

Keras has ``keras.wrappers.SKLearnClassifier`` and ``SKLearnRegressor``. Those of Keras 3.15 are not used here, since
``clone`` loses their ``fit_kwargs``, and with them the number of epochs; the arguments of the function that builds the
model cannot be searched; targets of a classifier are always one-hot, so that no network with one sigmoid unit can be
trained; and they have no ``predict_proba`` and take no sparse matrices.
"""

from collections.abc import Callable, Iterable, Mapping
import inspect
from typing import Any, Self

from k3torch.data.arrays import finite_array
from k3torch.errors import InputError, Problem, choice_problem, count_problem, refuse, seed_problem, unless
from k3torch.models.probabilities import activated, has_logits, has_margins, of_classes
from k3torch.sklearn.samples import class_targets, float_weights, loader, output_shape
from k3torch.training.model_state import get_random_states, set_random_states
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

_PREFIX = "build_model__"
_BATCH = 1024  # samples at a time


class _Network(BaseEstimator):  # type: ignore[misc]
    """What both estimators share."""

    def __init__(
        self,
        build_model: Callable[..., keras.Model],
        *,
        parameters: Mapping[str, Any] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        seed: int = 0,
        verbose: int = 0,
    ):
        self.build_model = build_model
        self.parameters = parameters
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name; with ``deep`` those of ``build_model`` too, as ``build_model__NAME``."""
        params: dict[str, Any] = super().get_params(deep=False)
        if deep:
            arguments = self._defaults() | (dict(self.parameters) if isinstance(self.parameters, Mapping) else {})
            params |= {f"{_PREFIX}{name}": value for name, value in arguments.items()}
        return params

    def set_params(self, **params: Any) -> Self:
        """Set arguments by name, and those of ``build_model`` as ``build_model__NAME``.

        Raises:
            ValueError: for a name that there is not.
        """
        own = {name: value for name, value in params.items() if not name.startswith(_PREFIX)}
        super().set_params(**own)
        given = {name.removeprefix(_PREFIX): value for name, value in params.items() if name not in own}
        if given:
            refuse([self._unknown_problem(given)])
            self.parameters = {**(self.parameters or {}), **given}
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _defaults(self) -> dict[str, Any]:
        """Return the arguments of ``build_model`` that have a default."""
        try:
            known = inspect.signature(self.build_model).parameters
        except (TypeError, ValueError):  # no function, which fit refuses
            return {}
        return {name: each.default for name, each in known.items() if each.default is not each.empty}

    def _unknown_problem(self, names: Iterable[str]) -> Problem:
        """Return a problem for names that ``build_model`` has no argument of."""
        known = inspect.signature(self.build_model).parameters
        takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
        unknown = [name for name in names if name not in known and not takes_any]
        return unless(not unknown, f"arguments of build_model ({', '.join(known)}), got {', '.join(unknown)}")

    def _build(self, sizes: Mapping[str, int]) -> keras.Model:
        """Return a model from ``build_model``, called with those of ``sizes`` that it names."""
        known = inspect.signature(self.build_model).parameters
        given = {name: size for name, size in sizes.items() if name in known}
        refuse([self._unknown_problem(self.parameters or {})])
        model = self.build_model(**{**given, **(self.parameters or {})})
        if not isinstance(model, keras.Model) or not model.compiled:
            raise InputError(f"expected build_model to return a compiled Keras model, got {type(model).__name__}")
        return model

    def _problems(self) -> list[Problem]:
        return [
            unless(callable(self.build_model), f"build_model as a function, got {self.build_model!r}"),
            unless(
                self.parameters is None or isinstance(self.parameters, Mapping),
                f"parameters as a dictionary, got {self.parameters!r}",
            ),
            count_problem("epochs", self.epochs),
            count_problem("batch_size", self.batch_size),
            seed_problem(self.seed),
            choice_problem("verbose", self.verbose, (0, 1, 2)),
        ]

    def _train(
        self,
        x: Any,
        sizes: Mapping[str, int],
        targets_for: Callable[[keras.Model, Any], NDArray[Any]],
        weight: ArrayLike | None,
    ) -> None:
        """Build and train ``model_``; the random generators are afterwards as before.

        ``targets_for`` returns the targets for a model and the shape of its outputs, without the samples.
        """
        states = get_random_states()
        try:
            keras.utils.set_random_seed(self.seed)
            model = self._build(sizes)
            weights = None if weight is None else float_weights(weight, x.shape[0])
            y = targets_for(model, output_shape(model, x.shape[1]))
            batches = loader(x, y, weights, self.batch_size, shuffle=True, seed=self.seed)
            history = model.fit(batches, epochs=self.epochs, shuffle=False, verbose=self.verbose)
        finally:
            set_random_states(states)
        self.model_, self.history_ = model, history.history

    def _outputs(self, X: Any) -> NDArray[np.float64]:
        """Return the outputs of ``model_``, (samples, outputs)."""
        check_is_fitted(self)
        x = validate_data(self, X, accept_sparse="csr", reset=False, dtype="numeric")
        batches = loader(x, np.zeros(x.shape[0]), None, _BATCH)
        return np.asarray(self.model_.predict(batches, verbose=0), np.float64)


def _has_probabilities(classifier: "Classifier") -> bool:
    if _has_margins(classifier):
        raise AttributeError("expected a loss other than hinge for predict_proba: use decision_function")
    return True


def _has_margins(classifier: "Classifier") -> bool:
    return hasattr(classifier, "model_") and has_margins(classifier.model_)


class Classifier(ClassifierMixin, _Network):  # type: ignore[misc]
    """A network that predicts classes.

    Args:
        build_model: returns a compiled model with one sigmoid output for two classes, or a softmax output for each
            class, or linear outputs for a hinge loss. If it has arguments of the names ``features`` and ``classes``, it
            gets their numbers, as ``k3torch.models.table_network`` does. For a sparse ``X`` the first layer is a
            ``SparseDense``.
        parameters: further arguments of ``build_model``, which ``set_params`` and ``GridSearchCV`` set as
            ``build_model__NAME``.
        epochs: passes over the samples.
        batch_size: samples per update.
        seed: of weights, dropout and the order of samples. The random generators are left as they were.
        verbose: as for ``keras.Model.fit``.

    Attributes:
        classes_: the labels, sorted.
        model_: the trained model.
        history_: metrics of each epoch by name.
        n_features_in_: the number of columns.
        feature_names_in_: their names, if ``X`` was a table with names.
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new model.

        Args:
            X: (samples, features), numbers, dense or a SciPy sparse matrix.
            y: labels of any type, shape (samples,).
            sample_weight: shape (samples,), or None.

        Raises:
            ValueError: for arguments that cannot be used, fewer than two classes, and a model with other outputs.
        """
        refuse(self._problems())
        x, labels = validate_data(self, X, y, accept_sparse="csr", dtype="numeric")
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"expected labels of two classes or more, got one class: {self.classes_.tolist()[0]!r}")
        sizes = {"features": x.shape[1], "classes": len(self.classes_)}

        def targets_for(model: keras.Model, shape: Any) -> NDArray[Any]:
            return class_targets(model, shape, numbers, len(self.classes_))

        self._train(x, sizes, targets_for, sample_weight)
        return self

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class, (samples, classes), in the order of ``classes_``.

        A model trained with a hinge loss does not have this method, as in scikit-learn.
        """
        outputs = keras.ops.convert_to_tensor(self._outputs(X))
        chances = of_classes(keras.ops.convert_to_numpy(activated(self.model_, outputs)))
        sums = chances.sum(axis=1, keepdims=True)  # not 1 for a sigmoid output for each class
        return chances / np.where(sums == 0, 1, sums)

    @available_if(_has_margins)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> NDArray[np.float64]:
        """Return the outputs of a model trained with a hinge loss, (samples, classes), or (samples,) for two classes.

        The latter is positive for the second class: a single output, or by how much that of the second class is larger.
        Other models do not have this method.
        """
        outputs = self._outputs(X)
        if outputs.shape[1] == 2:
            return np.asarray(outputs[:, 1] - outputs[:, 0])
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of the largest output for each sample, (samples,).

        A single output chooses the second class if it is above 0.5, or above 0 if it is a logit or has a hinge loss.
        """
        outputs = self._outputs(X)
        least = 0 if has_logits(self.model_) or has_margins(self.model_) else 0.5
        single = outputs.shape[1] == 1
        return np.asarray(self.classes_[(outputs[:, 0] > least).astype(int) if single else outputs.argmax(axis=1)])


class Regressor(RegressorMixin, _Network):  # type: ignore[misc]
    """A network that predicts numbers.

    Args:
        build_model: returns a compiled model with an output for each target. If it has arguments of the names
            ``features`` and ``outputs``, it gets their numbers.
        parameters: as for ``Classifier``, like all others.
        epochs: passes over the samples.
        batch_size: samples per update.
        seed: of weights, dropout and the order of samples.
        verbose: as for ``keras.Model.fit``.

    Attributes:
        model_: the trained model, like ``history_``, ``n_features_in_`` and ``feature_names_in_`` of ``Classifier``.
    """

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train a new model.

        Args:
            X: (samples, features), numbers, dense or a SciPy sparse matrix.
            y: numbers, shape (samples,) or (samples, targets).
            sample_weight: shape (samples,), or None.

        Raises:
            ValueError: for arguments that cannot be used, and a model with other outputs.
        """
        refuse(self._problems())
        x, numbers = validate_data(self, X, y, accept_sparse="csr", dtype="numeric", multi_output=True, y_numeric=True)
        targets = finite_array("y", numbers).reshape(len(numbers), -1)
        self._one_target = numbers.ndim == 1

        def targets_for(_: keras.Model, shape: Any) -> NDArray[Any]:
            if shape != targets.shape[1:]:
                raise InputError(f"expected a model with {targets.shape[1]} outputs, got {shape}")
            return targets

        self._train(x, {"features": x.shape[1], "outputs": targets.shape[1]}, targets_for, sample_weight)
        return self

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return the outputs, (samples,) or (samples, targets) as ``y`` was."""
        outputs = self._outputs(X)
        return outputs[:, 0] if self._one_target else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
