"""Several models on the same batches: gathered once, and a step of each model on every one."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self

from k3torch import runtime
from k3torch.errors import InputError
from k3torch.training.step import FastStep, Logs
import keras


class Together(FastStep, keras.Model):  # type: ignore[misc]
    """Compiled models as one: ``fit`` it, and each of them is trained as by its own ``fit`` on these batches.

    The models may be of any kind; each keeps its loss, optimizer and metrics, draws dropout masks from a stream of its
    own, and ends with the very weights that it would have by itself after the same ``set_random_seed``. Figures go by
    the models' names, ``l2_accuracy`` or ``val_l2_loss``; ``loss`` and whatever else all models report is their mean.
    Save the models, not this.

    Args:
        models: by name, compiled.

    Raises:
        InputError: for a model that is not compiled, or no models.
    """

    def __init__(self, models: Mapping[str, keras.Model]):
        uncompiled = [name for name, model in models.items() if not model.compiled]
        if uncompiled or not models:
            raise InputError(f"expected compiled models, got {uncompiled or 'none'}: compile each before")
        super().__init__(name="together")
        self.models = dict(models)
        self._streams = {name: runtime.RandomStream() for name in models}
        self.compile(optimizer=None)

    def call(self, x: Any, training: bool = False) -> dict[str, Any]:
        """Return each model's output, by name."""
        return {name: model(x, training=training) for name, model in self.models.items()}

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As ``keras.Model.fit``."""
        history = super().fit(*args, **kwargs)
        for model in self.models.values():  # averaged weights, if asked for, as Keras's own fit does in the end
            model.optimizer.finalize_variable_values(model.trainable_weights)
        return history

    def train(self, mode: bool = True) -> Self:
        """Switch the torch layers in the models between training and prediction."""
        for model in self.models.values():
            model.train(mode)
        return super().train(mode)  # type: ignore[no-any-return]

    def train_step(self, data: Any) -> Logs:
        """Train each model on one batch, and return the metrics so far."""
        for name, model in self.models.items():
            with self._streams[name]:
                model.train_function([data])
        return self._logs()

    def test_step(self, data: Any) -> Logs:
        """Evaluate each model on one batch, and return the metrics so far."""
        for model in self.models.values():
            model.test_function([data])
        return self._logs()

    @property
    def metrics(self) -> list[keras.Metric]:
        """Those of all models."""
        return [metric for model in self.models.values() for metric in model.metrics]

    def get_metrics_result(self) -> Logs:
        """Return the means of what all models report, and each model's figures under its name."""
        results = {name: model.get_metrics_result() for name, model in self.models.items()}
        shared = set.intersection(*(set(result) for result in results.values()))
        means = {key: sum(result[key] for result in results.values()) / len(results) for key in sorted(shared)}
        return means | {f"{name}_{key}": value for name, result in results.items() for key, value in result.items()}

    def make_train_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch."""
        for model in self.models.values():
            model.make_train_function(force)
        return super().make_train_function(force)

    def make_test_function(self, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch."""
        for model in self.models.values():
            model.make_test_function(force)
        return super().make_test_function(force)

    def _choose_parts(self) -> None:
        """Leave the parts of a step to the models."""
        self._log_names = tuple(self.get_metrics_result())

    def _logs(self) -> Logs:
        return self.get_metrics_result() if self._logs_are_read else dict.fromkeys(self._log_names)

    def _with_quiet_logs(self, *args: Any, **kwargs: Any) -> Any:
        """As in FastStep; the logs of the models themselves are read by nobody."""
        before = {name: model._logs_are_read for name, model in self.models.items() if isinstance(model, FastStep)}
        for name in before:
            self.models[name]._logs_are_read = False
        try:
            return super()._with_quiet_logs(*args, **kwargs)
        finally:
            for name, value in before.items():
                self.models[name]._logs_are_read = value

    def _symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Let the models make what they make when they see data."""
        first_batch = _FirstOf(iterator)
        for model in self.models.values():
            model._symbolic_build(first_batch, data_batch)

    def _flatten_metrics_in_order(self, logs: Logs) -> list[Any]:
        return list(logs.values())  # Keras would look for the metrics' own names


class _FirstOf:
    """The first item of an iterable, taken from it once: each walk through a DataLoader draws another order."""

    def __init__(self, items: Iterable[Any]):
        self._items = items
        self._first: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        self._first = self._first or list(islice(self._items, 1))
        return iter(self._first)
