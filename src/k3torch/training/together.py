"""Several models on the same batches: gathered once, and a step of each model on every one."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Self

from k3torch import runtime
from k3torch.errors import InputError
from k3torch.training.step import FastStep, Logs
import keras


class Together(FastStep, keras.Model):  # type: ignore[misc]
    """Compiled models as one: ``fit`` it, and each of them is trained as by its own ``fit`` on these batches.

    The models may be of any kind; each takes its own steps, with its own loss, optimizer and metrics. New models end
    to the bit as they do alone, if the batches' order comes from a generator of its own, as ``bag_loader``'s does, and
    random numbers from torch: each model has a stream of them, which begins where torch's stands when this is made.

    Figures go by the models' names, ``l2_accuracy`` or ``val_l2_loss``; ``loss`` and whatever else all models report
    is their mean. Callbacks see and stop all models at once, those that change a learning rate find none. Save the
    models, not this.

    Args:
        models: by name, compiled.

    Raises:
        InputError: for no models, one that is not compiled or averages weights (``use_ema``), models that share
            weights, and names that begin with "val_", as validation figures do.
    """

    def __init__(self, models: Mapping[str, keras.Model]):
        _check(models)
        super().__init__(name="together")
        self.models = dict(models)
        self._streams = {name: runtime.RandomStream() for name in models}
        self._latest: dict[str, Logs] = {}
        super().compile(optimizer=None)

    def compile(self, *_: Any, **__: Any) -> None:
        """Refuse: each model is compiled for itself.

        Raises:
            InputError: always.
        """
        raise InputError("expected Together to be trained as it is, got a call of compile: compile each of its models")

    def train_step(self, data: Any) -> Logs:
        """Train each model on one batch, and return the metrics so far."""
        self._latest = self._each(lambda model: model.train_function([data]))
        return self._logs()

    def test_step(self, data: Any) -> Logs:
        """Evaluate each model on one batch, and return the metrics so far."""
        self._latest = self._each(lambda model: model.test_function([data]))
        return self._logs()

    def predict_step(self, data: Any) -> dict[str, Any]:
        """Return each model's output for one batch, by name."""
        return self._each(lambda model: model.predict_step(data))

    def _each(self, step: Callable[[keras.Model], Any]) -> dict[str, Any]:
        """Return what the step of each model returns, with the random numbers that it draws from the model's stream."""
        found = {}
        for name, model in self.models.items():
            with self._streams[name]:
                found[name] = step(model)
        return found

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

    def train(self, mode: bool = True) -> Self:
        """Switch the torch layers in the models between training and prediction."""
        for model in self.models.values():
            model.train(mode)
        return super().train(mode)  # type: ignore[no-any-return]

    @property
    def metrics(self) -> list[keras.Metric]:
        """Those of all models."""
        return [metric for model in self.models.values() for metric in model.metrics]

    def reset_metrics(self) -> None:
        """Begin an epoch in each model."""
        for model in self.models.values():
            model.reset_metrics()

    def get_metrics_result(self) -> Logs:
        """Return the means of what all models report after their latest steps, and each model's figures by name."""
        results = {name: self.models[name]._get_metrics_result_or_logs(logs) for name, logs in self._latest.items()}
        shared = set.intersection(*map(set, results.values())) if results else set()
        means = {key: sum(result[key] for result in results.values()) / len(results) for key in sorted(shared)}
        return means | {f"{name}_{key}": value for name, result in results.items() for key, value in result.items()}

    def _logs(self) -> Logs:
        return self.get_metrics_result() if self._logs_are_read else {}

    def _get_metrics_result_or_logs(self, logs: Logs) -> Logs:
        return self.get_metrics_result()

    def _flatten_metrics_in_order(self, logs: Logs) -> list[Any]:
        return list(logs.values())  # Keras would look for the metrics' own names

    def _read_logs(self, read: bool) -> None:
        super()._read_logs(read)
        for model in self.models.values():
            if isinstance(model, FastStep):
                model._read_logs(read)

    def _choose_parts(self) -> None:
        """Choose none: a step is made of the models' steps."""

    def _symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Let the models make what they make when they see data."""
        first_batch = _FirstOf(iterator)
        for model in self.models.values():
            model._symbolic_build(first_batch, data_batch)
        self.built = True


class _FirstOf:
    """The first item of an iterable, taken from it once: each walk through a DataLoader draws another order."""

    def __init__(self, items: Iterable[Any]):
        self._items = items
        self._first: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        self._first = self._first or list(islice(self._items, 1))
        return iter(self._first)


def _check(models: Mapping[str, keras.Model]) -> None:
    if not models:
        raise InputError("expected models to train together, got none: name some")
    for name, model in models.items():
        if not model.compiled:
            raise InputError(f"expected compiled models, got {name!r} without: compile it before")
        if getattr(model.optimizer, "use_ema", False):
            raise InputError(f"expected models that keep their weights, got {name!r} with use_ema: train it by itself")
        if f"{name}_".startswith("val_"):
            raise InputError(f'expected names that do not begin with "val_", got {name!r}: choose another')
    parts = [part for model in models.values() for part in (model, *model.variables)]
    if len(set(map(id, parts))) < len(parts):
        raise InputError("expected models with weights of their own, got some that share them: build each anew")
