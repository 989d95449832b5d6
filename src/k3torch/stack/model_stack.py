"""Many Keras models of one architecture, trained side by side.

Where a model's step becomes a compiled C++ loop, it is compiled once, and the models run their epochs in parallel, one
thread for each core: a model's state then stays in its core's cache, and threads need no synchronisation. So are few
small models on a machine with a GPU (``device_choice``). More of them are trained by one Triton kernel on the GPU. In
all other cases one step trains all models at once: ``torch.vmap`` of one model's step, whose operators are called one
by one, or captured on an accelerator.
"""

import bisect
from collections.abc import Callable, Container, Hashable, Sequence
import math
from time import perf_counter

from k3torch import runtime
from k3torch.errors import first_line
from k3torch.stack import blas, compiled_loops, stateless
from k3torch.stack.batch_loop import Order, Samples
from k3torch.stack.compiled_models import CompiledModel, sizes_of_batches
from k3torch.stack.device_choice import ON_CPU, cpu_is_faster, uncompiled_seconds, weight_sizes
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.model_group import EpochMetrics, EpochResult, ModelGroup
from k3torch.stack.reasons import DifferentStep, NotCompiled, SlowerThanFit
from k3torch.stack.traced_steps import StepGraphs, restored
from k3torch.stack.triton_models import TritonModels
from k3torch.stack.verified_stack import Comparison, compare_with_keras
from k3torch.stack.workers import Workers
from k3torch.training.asynchronous import device_of
from k3torch.training.step_threads import MULTIPLICATIONS
import keras
import numpy as np
import torch

# Seconds that uncompiled training would take for which it pays to look in the cache for a compiled library (tracing
# the step for that takes half a second), and to compile, which takes a second or two the first time.
WORTH_LOOKING = 0.5
WORTH_COMPILING = 1.0
WORTH_FUSING = 30.0  # by torch.compile for CUDA: some ten seconds the first time


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
        graphs: of each model, from one call of ``StepGraphs.of``, where the models differ in numbers; they are then
            trained by compiled C++ loops or not at all.
        verified: whether the steps of these graphs were compared with Keras's own before.
        kinds: of each model, as ``compare_with_keras`` gets them.
        compiled: whether to compile, for a stack that goes on with an earlier one; None decides by the work.

    Attributes:
        names: of the metrics that ``train`` reports, ``"loss"`` first.
        compiled: whether compiled C++ loops train the models.

    Raises:
        reasons.NotCompiled: if ``graphs`` are given and cannot be compiled.
        reasons.UntraceableStep: if the step of such a model cannot be traced, or not be mapped over models.
        reasons.DifferentStep: if that gives other numbers than Keras's own step.
        reasons.SlowerThanFit: if the step cannot be compiled and Keras's own is clearly faster, unless ``required``.
    """

    @runtime.garbage_collection_paused()
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
        graphs: Sequence[StepGraphs] | None = None,
        verified: bool = False,
        kinds: Sequence[Hashable] | None = None,
        compiled: bool | None = None,
    ):
        self.models = list(models)
        self._training, self._validation, self._batch_size = training, validation, batch_size
        self._notice, self._status, self._kinds = notice, status, kinds
        for model in self.models:
            stateless.build(model, training[0].x, training[0].y, training[0].sample_weight)
        self.names = stateless.metric_names(self.models[0])
        longest = max(map(len, training))
        seconds = uncompiled_seconds(self.models[0], longest, len(self.models), batch_size, epochs)
        self._groups = (
            self._sharing_groups(graphs, verified)
            if graphs is not None
            else (None if compiled is False else self._compiled_groups(math.inf if compiled else seconds))
            or self._kernel_groups(seconds)
            or self._mapped_groups(seconds, required)
        )
        self.compiled = not self._groups[0].stacked
        self._starts = [0]
        for group in self._groups:
            self._starts.append(self._starts[-1] + len(group.models))
        self._workers = min(torch.get_num_threads(), len(self._groups))

    def train(
        self,
        epochs: range,
        order: Callable[[int, int], Order],
        report: Callable[[EpochResult], bool],
        models: Container[int] | None = None,
        first: Callable[[int], int] | None = None,
    ) -> None:
        """Train all models, and report what each has done as soon as it is done.

        A group of models does not wait for another: it may be some epochs ahead. After an exception, such as Ctrl-C,
        each group completes the epoch that it is in, and that is reported too.

        Args:
            epochs: their numbers, as ``order`` and ``report`` get them.
            order: ``order(model, epoch)`` returns the indices of the model's samples, (samples,), in the order of
                training.
            report: is called, like ``order``, in the thread of the caller; it returns whether these models are to be
                trained further.
            models: the numbers of those to train, or None for all. Where one step trains all models, none is left out
                while another is trained.
            first: returns the epoch that a model begins with; by default it is that of ``epochs``.
        """
        threads = self._threads_of_each(self._workers)
        stopping = False

        def start(number: int, epoch: int) -> None:
            group = self._groups[number]
            group.load([order(model, epoch) for model in self._members(number)])
            workers.submit((number, epoch), lambda: _epoch(group))

        def complete() -> None:
            (number, epoch), (training, validation) = workers.take()
            further = report(EpochResult(self._members(number), epoch, training, validation))
            if further and epoch + epochs.step in epochs and not stopping:
                start(number, epoch + epochs.step)

        with blas.threads(threads), Workers(self._workers, lambda: _begin_thread(threads)) as workers:
            try:
                for number in range(len(self._groups) if epochs else 0):
                    if models is None or any(model in models for model in self._members(number)):
                        start(number, epochs.start if first is None else first(self._starts[number]))
                while workers.pending:
                    complete()
            finally:
                stopping = True
                while workers.pending:
                    complete()

    def unstack(self) -> list[keras.Model]:
        """Write weights, optimizer slots and other state back into the models, and return them."""
        for group in self._groups:
            group.write_back()
        return self.models

    def weights(self, model: int) -> list[torch.Tensor]:
        """Return copies of a model's weights, in the order of ``stateless.variables``."""
        return [tensor.clone() for tensor in self._weights(model)]

    def set_weights(self, model: int, weights: Sequence[torch.Tensor]) -> None:
        """Put back what ``weights`` has returned; optimizer slots and random states stay."""
        for tensor, value in zip(self._weights(model), weights, strict=True):
            tensor.copy_(value)

    def state(self, model: int) -> list[torch.Tensor]:
        """Return the tensors of a model, in the order of ``stateless.variables``: views, which training changes."""
        number = self._group(model)
        return self._groups[number].state(model - self._starts[number])

    def generator(self, model: int) -> np.random.Generator | None:
        """Return what draws the seeds of a model's epochs; None stands for torch's global generator."""
        return self._groups[self._group(model)].generator

    def _group(self, model: int) -> int:
        return bisect.bisect_right(self._starts, model) - 1

    def _weights(self, model: int) -> list[torch.Tensor]:
        held = {id(variable) for variable in self.models[model].weights}
        variables = stateless.variables(self.models[model])
        pairs = zip(self.state(model), variables, strict=True)
        return [tensor for tensor, variable in pairs if id(variable) in held]

    def _members(self, number: int) -> range:
        return range(self._starts[number], self._starts[number + 1])

    def _compiled_groups(self, seconds: float) -> list[ModelGroup] | None:
        """Return a group for each model, which runs compiled C++ loops, or None where that is not to be."""
        on_cpu = device_of(self.models[0]).type == "cpu"
        if seconds < WORTH_LOOKING or not (on_cpu or self._cpu_is_faster()):
            return None
        self._status("tracing the step")
        try:
            sizes = sizes_of_batches([*self._training, *self._validation], self._batch_size)
            graphs = StepGraphs(self.models[0], self._training[0], sizes)
            groups = self._with_graphs([graphs] * len(self.models))
            if seconds < WORTH_COMPILING and not compiled_loops.is_cached(groups[0].examples()):
                return None
            self._verify(groups)
            self._compile(groups)
            if not on_cpu:
                self._notice(ON_CPU)
        except DifferentStep:  # the mapped step is compared too, and says in what it differs
            return None
        except NotCompiled as reason:
            self._notice(f"training uncompiled: {reason}")
            return None
        return list(groups)

    def _kernel_groups(self, seconds: float) -> list[ModelGroup] | None:
        """Return one group of all models, which one kernel trains, or None where that is not to be."""
        if seconds < WORTH_COMPILING or device_of(self.models[0]).type != "cuda":
            return None
        self._status("compiling")
        try:
            group = TritonModels(self.models, self._training, self._validation, self._batch_size)
            self._verify([group])
        except (NotCompiled, DifferentStep):  # the mapped step is compared too, and says in what it differs
            return None
        except Exception as error:  # of any kind: Triton and its compilers are asked
            self._notice(f"training by several kernels, which is slower: {first_line(error, with_type=True)}")
            return None
        return [group]

    def _sharing_groups(self, graphs: Sequence[StepGraphs], verified: bool) -> list[ModelGroup]:
        """Return a group for each model, which runs the loop of all with constants of its own."""
        if device_of(self.models[0]).type != "cpu":
            raise NotCompiled("compiled C++ loops run on the CPU alone")
        groups = self._with_graphs(graphs)
        if not verified:
            self._verify(groups)
        self._compile(groups)
        return list(groups)

    def _with_graphs(self, graphs: Sequence[StepGraphs]) -> list[CompiledModel]:
        parts = zip(self.models, graphs, self._training, self._validation, strict=True)
        return [CompiledModel(*part, self._batch_size) for part in parts]

    def _compile(self, groups: Sequence[CompiledModel]) -> None:
        self._status("compiling")
        loops = compiled_loops.compile_loops(groups[0].examples())
        for group in groups:
            group.bind(loops)

    def _mapped_groups(self, seconds: float, required: bool) -> list[ModelGroup]:
        """Return one group of all models; refuse it, unless ``required``, if it is clearly slower than ``fit``."""
        threads, compiled = self._threads_of_each(1), seconds >= WORTH_FUSING
        with restored(self.models[0]):
            group = MappedModels(
                self.models, self._training, self._validation, self._batch_size, threads, self._notice, compiled
            )
        compared = self._verify([group])
        step = 0.0 if required or seconds < WORTH_LOOKING else _seconds_of_step(group)
        if step > 1.5 * len(self.models) * compared.keras_seconds:
            raise SlowerThanFit(
                f"a step of all models takes {1000 * step:.1f} ms, Keras's own "
                f"{1000 * compared.keras_seconds:.1f} ms a model"
            )
        return [group]

    def _verify(self, groups: Sequence[ModelGroup]) -> Comparison:
        self._status("checking the step against Keras")
        compared = compare_with_keras(groups, self._kinds)
        if compared.difference:
            raise DifferentStep(f"its step differs from Keras's own: {compared.difference}")
        return compared

    def _cpu_is_faster(self) -> bool:
        weights = sum(weight_sizes(self.models[0]))
        return cpu_is_faster(len(self.models), weights, self._batch_size, torch.get_num_threads())

    def _threads_of_each(self, workers: int) -> int:
        """Return in how many threads each of so many workers computes: one for products that gain nothing from two."""
        large = self._batch_size * max(weight_sizes(self.models[0]), default=0) > MULTIPLICATIONS
        return max(1, torch.get_num_threads() // workers) if large else 1


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
