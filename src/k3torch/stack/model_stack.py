"""Many Keras models of one architecture, trained side by side.

Where a model's step becomes a compiled C++ loop, it is compiled once, and the models run their epochs in parallel, one
thread for each core: a model's state then stays in its core's cache, and threads need no synchronisation. So are few
small models on a machine with a GPU (``device_choice``). Elsewhere
one step trains all models at once: ``torch.vmap`` of one model's step, whose operators are called one by one, or
captured on an accelerator.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from k3torch import runtime
from k3torch.stack import blas, compiled_loops, stateless
from k3torch.stack.batch_loop import Order, Samples
from k3torch.stack.compiled_models import CompiledModel, StepGraphs, batch_sizes
from k3torch.stack.device_choice import ON_CPU, cpu_is_faster
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.model_group import EpochMetrics, ModelGroup
from k3torch.stack.reasons import DifferentStep, NotCompiled, SlowerThanFit
from k3torch.stack.verified_stack import Comparison, compare_with_keras
from k3torch.training.asynchronous import device_of
from k3torch.training.model_state import State
import keras
import torch

# Seconds that uncompiled training would take for which it pays to look in the cache for a compiled library (tracing
# the step for that takes half a second), and to compile, which takes some two seconds the first time.
WORTH_LOOKING = 0.5
WORTH_COMPILING = 1.0
_STEP_SECONDS = 1e-3  # of an uncompiled step: some 150 operators
_MULTIPLICATIONS_PER_SECOND = 3e10  # of one core
# Multiplications of a matrix product from which a second thread gains.
_LARGE_PRODUCT = 2**22


@dataclass(frozen=True)
class EpochResult:
    """An epoch that some models of a stack have completed.

    Attributes:
        models: their numbers.
        epoch: from 0 on.
        training, validation: the metrics, (metrics, models).
    """

    models: range
    epoch: int
    training: EpochMetrics
    validation: EpochMetrics


class ModelStack:
    """Trains models of one architecture side by side, each on its own samples.

    Args:
        models: compiled alike, with their initial weights: read now, written by ``unstack``.
        training: each model's training samples; their numbers may differ.
        validation: each model's validation samples; their numbers may differ.
        batch_size: samples in a batch, of training and of validation; a model's last batch may be shorter.
        epochs: to expect; with the samples they decide whether compiling pays.
        notice: is called with one line when a step that is worth compiling cannot be compiled, or is not captured on
            CUDA, and when models on CUDA are trained on the CPU.
        status: is called with what is being done until the stack can train, in a few words.
        required: whether to train as a stack even where Keras's own steps are faster.

    Attributes:
        names: of the metrics that ``train`` reports, ``"loss"`` first.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be traced, or not be mapped over models.
        reasons.DifferentStep: if that gives other numbers than Keras's own step.
        reasons.SlowerThanFit: if the step cannot be compiled and Keras's own is clearly faster, unless ``required``.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        training: Sequence[Samples],
        validation: Sequence[Samples],
        batch_size: int,
        epochs: int,
        notice: Callable[[str], None] = print,
        status: Callable[[str], None] = lambda _: None,
        required: bool = True,
    ):
        self.models = list(models)
        self._training, self._validation, self._batch_size = training, validation, batch_size
        self._notice, self._status = notice, status
        for model in self.models:
            stateless.build(model, training[0].x, training[0].y, training[0].sample_weight)
        self.names = stateless.metric_names(self.models[0])
        seconds = self._uncompiled_seconds(epochs)
        self._groups = self._compiled_groups(seconds) or self._mapped_groups(
            may_refuse=not required and seconds >= WORTH_LOOKING
        )
        self._starts = [0]
        for group in self._groups:
            self._starts.append(self._starts[-1] + len(group.models))
        self._workers = min(torch.get_num_threads(), len(self._groups))

    def train(self, epochs: int, order: Callable[[int, int], Order], report: Callable[[EpochResult], None]) -> None:
        """Train all models, and report what each has done as soon as it is done.

        A group of models does not wait for another: it may be some epochs ahead. After an exception, such as Ctrl-C,
        each group completes the epoch that it is in, and that is reported too.

        Args:
            epochs: how many.
            order: ``order(model, epoch)`` returns the indices of the model's samples, (samples,), in the order of
                training.
            report: is called, like ``order``, in the thread of the caller.
        """
        large = self._batch_size * _largest_layer(self.models[0]) > _LARGE_PRODUCT
        threads = max(1, torch.get_num_threads() // self._workers) if large else 1
        running: dict[Future[tuple[EpochMetrics, EpochMetrics]], tuple[int, int]] = {}

        def start(number: int, epoch: int) -> None:
            self._groups[number].load([order(model, epoch) for model in self._members(number)])
            running[pool.submit(_epoch, self._groups[number])] = (number, epoch)

        def complete(future: Future[tuple[EpochMetrics, EpochMetrics]]) -> None:
            number, epoch = running.pop(future)
            training, validation = future.result()
            report(EpochResult(self._members(number), epoch, training, validation))
            if epoch + 1 < epochs and not stopping:
                start(number, epoch + 1)

        stopping = False
        with (
            blas.threads(threads),
            ThreadPoolExecutor(self._workers, initializer=_begin_thread, initargs=(threads,)) as pool,
        ):
            try:
                for number in range(len(self._groups) if epochs else 0):
                    start(number, 0)
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        complete(future)
            finally:
                stopping = True
                for future in wait(running).done:
                    complete(future)

    def unstack(self) -> list[keras.Model]:
        """Write weights, optimizer slots and other state back into the models, and return them."""
        for group in self._groups:
            group.write_back()
        return self.models

    def _members(self, number: int) -> range:
        return range(self._starts[number], self._starts[number + 1])

    def _compiled_groups(self, seconds: float) -> list[ModelGroup] | None:
        """Return a group for each model, which runs compiled C++ loops, or None where that is not to be."""
        on_cpu = device_of(self.models[0]).type == "cpu"
        if seconds < WORTH_LOOKING or not (on_cpu or self._cpu_is_faster()):
            return None
        self._status("tracing the step")
        try:
            samples = [*self._training, *self._validation]
            sizes = {size for part in samples for size in batch_sizes(len(part), self._batch_size)}
            with _restored(self.models[0]):
                graphs = StepGraphs(self.models[0], self._training[0], sizes)
            groups = [
                CompiledModel(model, graphs, training, validation, self._batch_size)
                for model, training, validation in zip(self.models, self._training, self._validation, strict=True)
            ]
            examples = groups[0].examples()
            if seconds < WORTH_COMPILING and not compiled_loops.is_cached(examples):
                return None
            self._verify(groups)
            self._status("compiling")
            loops = compiled_loops.compile_loops(examples)
            for group in groups:
                group.bind(loops)
            if not on_cpu:
                self._notice(ON_CPU)
        except DifferentStep:  # the mapped step is compared too, and says in what it differs
            return None
        except NotCompiled as reason:
            self._notice(f"training uncompiled: {reason}")
            return None
        return list(groups)

    def _mapped_groups(self, may_refuse: bool) -> list[ModelGroup]:
        """Return one group of all models, or refuse it if it may be and is clearly slower than ``fit``."""
        large = self._batch_size * _largest_layer(self.models[0]) > _LARGE_PRODUCT
        threads = torch.get_num_threads() if large else 1
        with _restored(self.models[0]):
            group = MappedModels(self.models, self._training, self._validation, self._batch_size, threads, self._notice)
        compared = self._verify([group])
        seconds = _seconds_of_step(group) if may_refuse else 0.0
        if seconds > 1.5 * len(self.models) * compared.keras_seconds:
            raise SlowerThanFit(
                f"a step of all models takes {1000 * seconds:.1f} ms, Keras's own "
                f"{1000 * compared.keras_seconds:.1f} ms a model"
            )
        return [group]

    def _verify(self, groups: Sequence[ModelGroup]) -> Comparison:
        self._status("checking the step against Keras")
        compared = compare_with_keras(groups)
        if compared.difference:
            raise DifferentStep(f"its step differs from Keras's own: {compared.difference}")
        return compared

    def _cpu_is_faster(self) -> bool:
        weights = sum(int(variable.value.numel()) for variable in self.models[0].trainable_variables)
        return cpu_is_faster(len(self.models), weights, self._batch_size, torch.get_num_threads())

    def _uncompiled_seconds(self, epochs: int) -> float:
        """Estimate how long training takes without compiling."""
        steps = epochs * max(map(len, self._training)) / self._batch_size
        weights = sum(int(variable.value.numel()) for variable in self.models[0].trainable_variables)
        work = 3 * weights * self._batch_size * len(self.models) / _MULTIPLICATIONS_PER_SECOND
        return steps * (_STEP_SECONDS + work)


@contextmanager
def _restored(model: keras.Model) -> Iterator[None]:
    """Put back the state of a model after a block that traces its step, which calls layers, losses and metrics."""
    before = State(model)
    try:
        yield
    finally:
        before.restore()


def _seconds_of_step(group: ModelGroup) -> float:
    """Return how long a training step of all models takes: the shortest of three."""
    seconds = []
    for _ in range(3):
        start = perf_counter()
        group.after_steps("training", 0, 1)
        seconds.append(perf_counter() - start)
    return min(seconds)


def _begin_thread(threads: int) -> None:
    runtime.flush_denormals()
    torch.set_num_threads(threads)  # OpenMP and MKL keep a number of threads for each thread that calls them


def _epoch(group: ModelGroup) -> tuple[EpochMetrics, EpochMetrics]:
    return group.train(), group.validate()


def _largest_layer(model: keras.Model) -> int:
    """Return the number of weights of the largest matrix."""
    return max((int(variable.value.numel()) for variable in model.trainable_variables), default=0)
