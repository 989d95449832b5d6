"""The candidates of a search, and which of them share the graphs of a step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import functools
import gc
import inspect
from typing import Any

from k3torch.errors import InputError, did_you_mean
from k3torch.stack.compiled_models import sizes_of_batches
from k3torch.stack.reasons import NotCompiled, UntraceableStep
from k3torch.stack.step_graphs import sizes_to_trace
from k3torch.stack.traced_steps import StepGraphs, TracedSteps
from k3torch.validation.bag_samples import dense
from k3torch.validation.jobs import Fold, Job
import keras
import numpy as np
from sklearn.model_selection import ParameterGrid

MAX_CANDIDATES = 10_000


@dataclass
class Candidate:
    """A setting of the parameters.

    Attributes:
        params: arguments of ``build_model``.
        build: returns a new model with these parameters.
        group: candidates with the same number share their graphs; None for one that is trained on its own.
        graphs: of its steps, if it shares them.
        verified: whether its steps were compared with Keras's own.
    """

    params: dict[str, Any]
    build: Callable[[], keras.Model]
    group: int | None = None
    graphs: StepGraphs | None = None
    verified: bool = field(default=False)


def make_candidates(build_model: Callable[..., keras.Model], param_grid: Any) -> list[Candidate]:
    """Return a candidate for each setting of the parameters.

    Args:
        build_model: takes the parameters as keyword arguments.
        param_grid: a dict from parameter to its values, a list of such dicts, or scikit-learn's ``ParameterGrid`` or
            ``ParameterSampler``.

    Raises:
        InputError: for a grid that is none, for more than 10 000 candidates, and for a parameter that ``build_model``
            does not take.
    """
    if not callable(build_model) or isinstance(build_model, keras.Layer):
        raise InputError(f"expected build_model as a function that takes the parameters, got {build_model!r}")
    settings = _settings(param_grid)
    for params in settings:
        _check_takes(build_model, params)
    return [Candidate(params, functools.partial(build_model, **params)) for params in settings]


def _settings(param_grid: Any) -> list[dict[str, Any]]:
    shape = "param_grid as a dict from parameter to a list of values, a list of such dicts, a ParameterGrid or a "
    try:
        grid = ParameterGrid(param_grid) if isinstance(param_grid, dict | list | tuple) else param_grid
        if len(grid) > MAX_CANDIDATES:
            raise InputError(f"expected {MAX_CANDIDATES} candidates at most, got {len(grid)}: sample them")
        settings = [dict(params) for params in grid]
    except InputError:
        raise
    except Exception as error:  # of a distribution of the caller's, too
        raise InputError(f"expected {shape}ParameterSampler, got {param_grid!r} ({error})") from error
    if not settings or not all(isinstance(name, str) for params in settings for name in params):
        raise InputError(f"expected {shape}ParameterSampler, got {param_grid!r}")
    return settings


def _check_takes(build_model: Callable[..., Any], params: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(build_model)
    except ValueError:  # a function of C has no signature
        return
    try:
        signature.bind(**params)
    except TypeError as error:
        known = list(signature.parameters)
        unknown = [name for name in params if name not in known]
        hint = did_you_mean(unknown[0], known) if unknown else ""
        raise InputError(f"expected build_model to take the parameters of param_grid, got: {error}{hint}") from error


def share_graphs(candidates: Sequence[Candidate], folds: Sequence[Fold], batch_size: int, make: Any) -> str | None:
    """Let candidates whose steps differ in nothing but numbers share their graphs.

    Args:
        candidates: whose groups and graphs are set.
        folds: all on which they will be trained.
        batch_size: samples in a batch.
        make: returns a job of a candidate: its model on the first fold, built.

    Returns:
        Why candidates are trained on their own, in a few words, if they are.
    """
    sizes = sizes_of_batches([part for fold in folds for part in (fold.training, fold.validation)], batch_size)
    alike: dict[str, list[tuple[Candidate, TracedSteps]]] = {}
    groups: dict[str, list[tuple[Candidate, TracedSteps]]] = {}
    reason, size = None, sizes_to_trace(sizes)[0]
    for candidate in candidates:
        job: Job = make(candidate)
        steps = TracedSteps(job.model, dense(job.training))
        alike.setdefault(steps.quick_signature(size), []).append((candidate, steps))
    for members in alike.values():
        try:
            groups.setdefault(members[0][1].signature(size), []).extend(members)
        except (UntraceableStep, NotCompiled) as error:
            reason = str(error)
    for number, members in enumerate(groups.values()):
        try:
            of_members = StepGraphs.of([steps for _, steps in members], sizes)
        except (UntraceableStep, NotCompiled) as error:
            reason = str(error)
            continue
        for (candidate, _), graphs in zip(members, of_members, strict=True):
            candidate.group, candidate.graphs = number, graphs
    alike.clear()
    groups.clear()
    gc.collect()  # traced graphs are cycles of very many objects, which would slow down the building of the models
    return reason


def differing(candidates: Sequence[Candidate]) -> list[str]:
    """Return the parameters that do not have the same value in all candidates, in the order of their appearance."""
    names = dict.fromkeys(name for candidate in candidates for name in candidate.params)
    return [
        name
        for name in names
        if any(not _equal(c.params.get(name), candidates[0].params.get(name)) for c in candidates)
    ]


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(np.all(a == b))
    except Exception:  # values of the caller's own classes
        return a is b
