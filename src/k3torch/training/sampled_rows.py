"""Verification of steps on bags with a first kernel of many rows: Keras's own step is taken with a part of the rows.

A dense step goes through all rows, and comparing two of them holds copies of all rows several times. But a step
changes the row of a word that does not occur only by what the optimizer does with gradient zero, and the optimizers of
``sparse_updates`` treat each row by itself. So Keras takes its step with a kernel, and an optimizer variable, of the
rows of the words that occur and of ``OTHERS`` more, on bags whose word ids count these rows. The fast step works on all
rows, which leaves the same numbers in those.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from k3torch.errors import first_line
from k3torch.training.model_state import State
from k3torch.training.sparse_inputs import check_bags
from k3torch.training.sparse_updates import SparseUpdates
from k3torch.training.state_comparison import compare_steps, in_short
from k3torch.training.step_parts import Parts
from k3torch.training.verified_step import Kind, Logs, Outcome, Verification, compare_updates
import keras
import numpy as np
import torch

R = TypeVar("R")
OTHERS = 2**12  # rows of words that do not occur, and rows of words that occurred in the batch before


class SampledRows:
    """The rows of a batch's words and some others, and how they take the place of all rows.

    Args:
        model: compiled and built.
        sparse: of the model; all rows have caught up.
        x: bags, a CSR tensor (samples, words) whose ids are below ``words``.
        steps: that the optimizer takes in a step: 1, or 0 in an evaluation.

    Attributes:
        x: the bags with the positions of the words' rows as ids, CSR, (samples, rows).
    """

    def __init__(self, model: keras.Model, sparse: SparseUpdates, x: torch.Tensor, steps: int):
        ids = x.col_indices().numpy()
        others = np.linspace(0, x.shape[1] - 1, OTHERS).astype(np.int32)
        before = sparse.last_rows().numpy()
        chosen = np.unique(np.concatenate([ids, others, before[:: max(1, len(before) // OTHERS)]]))
        places = torch.from_numpy(np.searchsorted(chosen, ids).astype(np.int32))
        self._sparse, self._model, self._steps = sparse, model, steps
        self._rows = torch.from_numpy(chosen)
        self._tensors = sparse.tensors()
        self._whole = [tensor.data for tensor in self._tensors]
        self._part = [tensor[self._rows] for tensor in self._whole]
        shape = len(x), len(chosen)
        self.x = torch.sparse_csr_tensor(x.crow_indices(), places, x.values(), shape, check_invariants=False)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let the model have these rows alone."""
        layers = [self._model, next(layer for layer in self._model.layers if isinstance(layer, keras.layers.Dense))]
        specs = [layer.input_spec for layer in layers]
        for layer in layers:
            layer.input_spec = None
        self._place(self._part)
        try:
            yield
        finally:
            self._place(self._whole)
            for layer, spec in zip(layers, specs, strict=True):
                layer.input_spec = spec

    def on_all(self, step: Callable[[], R], gradient: torch.Tensor | None = None) -> R:
        """Return ``step()``, taken on all rows, from the values that these rows have now and to those they get.

        ``gradient`` is that of these rows; by default the one that the step computes.
        """
        self._write(steps=0)
        self._place(self._whole)
        try:
            result = step()
            self._sparse.catch_up(self._rows)
            for whole, part in zip(self._whole, self._part, strict=True):
                torch.index_select(whole, 0, self._rows, out=part)
        finally:
            self._place(self._part)
        if self._steps:
            self._tensors[0].grad = self._sparse.gradient_of(self._rows) if gradient is None else gradient
        return result

    def update(self, gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        """Take one step of the sparse update with given gradients; that of the kernel is one of these rows."""
        gradient = self._tensors[0].grad
        self.on_all(lambda: self._sparse.update_rows(self._rows, gradients, variables), gradient)

    def finish(self, taken: bool) -> None:
        """Write these rows to all rows, of which the others lag by the step if it was taken."""
        self._write(self._steps if taken else 0)

    def _write(self, steps: int) -> None:
        for whole, part in zip(self._whole, self._part, strict=True):
            whole.index_copy_(0, self._rows.long(), part)
        self._sparse.count_steps(self._rows, steps)

    def _place(self, values: list[torch.Tensor]) -> None:
        self._tensors[0].grad = None  # of the other shape
        for tensor, value in zip(self._tensors, values, strict=True):
            tensor.data = value


def verify_on_rows(
    model: keras.Model,
    verification: Verification,
    kind: Kind,
    data: tuple[Any, ...],
    parts: Parts,
    keras_step: Callable[[Any], Logs],
    fast_step: Callable[[], Logs],
) -> Outcome:
    """Take a fast step on bags, and compare it with Keras's own on the rows that matter.

    Args:
        model: compiled and built.
        verification: of its steps; counts this one.
        kind: "sparse train" or "sparse test".
        data: the batch, whose first part are bags.
        parts: of the fast step, with sparse updates, whose rows have all caught up.
        keras_step: Keras's own step on a batch.
        fast_step: the step on ``data``.

    Raises:
        InputError: for a CSR tensor whose arrays are not those of bags.

    Returns:
        The parts to go on with and the logs. If the steps differ, these are empty, and the model is as it was: the step
        on all rows is still to be taken and to be verified. After training, the parts then have no sparse updates.
    """
    assert parts.sparse is not None
    check_bags(data[0])
    assert verification.keras_parts is not None
    logs, training = dict[str, Any](), kind == "sparse train"
    rows = SampledRows(model, parts.sparse, data[0], steps=int(training))
    with rows.alone():
        before = State(model, gradients=False)
        try:
            problems = compare_steps(
                model,
                lambda: keras_step((rows.x, *data[1:])),
                lambda: logs.update(rows.on_all(fast_step)),
                before,
            )
        except Exception as error:  # of Keras's step: if it is not due to these rows, the one on all rows raises it too
            problems = [first_line(error, with_type=True)]
        if training and not problems and verification.is_first(kind, data):
            gradients, after = [v.value.grad for v in model.trainable_variables], State(model, gradients=False)
            before.restore()
            problems = compare_updates(model, before, gradients, rows.update, verification.keras_parts.update_weights)
            after.restore()
        if problems:
            before.restore()
    rows.finish(taken=not problems)
    verification.count(kind, data)
    if not problems:
        return Outcome(parts, logs, [])
    if not training:
        return Outcome(parts, {}, [])
    return Outcome(
        replace(parts, sparse=None), {}, [f"its sparse updates (otherwise this differs: {in_short(problems)})"]
    )
