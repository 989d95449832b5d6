"""The command-line options of a network as arguments of a builder."""

from dataclasses import replace
from typing import Protocol, Unpack

from k3torch.errors import InputError, Problem, first_line, is_number, refuse, unless
from k3torch.models.arguments import argument_problems
from k3torch.models.builders import BuilderOptions
from k3torch.models.optimizers import FLOAT32_MAX
from k3torch.options import Network
import keras
import numpy as np


class Builder(Protocol):
    """Takes the number of inputs and the arguments of ``vanilla_model``: ``imdb_classifier``, for example."""

    def __call__(self, inputs: int, /, **options: Unpack[BuilderOptions]) -> keras.Model:
        """Return a compiled model."""


def builder_options(network: Network, model_class: type[keras.Model] = keras.Model) -> BuilderOptions:
    """Return the arguments of a builder; each call creates its own regularizer."""
    penalized = network.l1 or network.l2
    return {
        "units": network.units,
        "activation": network.activation,
        "dropout": network.dropout,
        "kernel_initializer": network.kernel_initializer,
        "kernel_regularizer": keras.regularizers.L1L2(network.l1, network.l2) if penalized else None,
        "max_norm": network.max_norm,
        "optimizer": network.optimizer,
        "learning_rate": network.learning_rate,
        "momentum": network.momentum,
        "nesterov": network.nesterov or None,  # most optimizers have no such argument
        "clipnorm": network.clipnorm,
        "clipvalue": network.clipvalue,
        "model_class": model_class,
    }


def check_network(network: Network, build: Builder) -> None:
    """Build and train a small model with the options, so that those that do not fit are refused before a run.

    Raises:
        InputError: names all bad options.
    """
    options = builder_options(replace(network, l1=0.0, l2=0.0))
    penalties = [_penalty_problem("l1", network.l1), _penalty_problem("l2", network.l2)]
    refuse([*argument_problems({**options}), *penalties])
    try:
        with keras.device("cpu"):
            model = build(1, **builder_options(network, keras.Sequential))
            model.train_on_batch(np.zeros((1, 1)), np.zeros((1, 1)))
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        raise InputError(f"expected options of a network that Keras can train, got: {first_line(error)}") from error
    finally:
        keras.utils.clear_session(free_memory=False)  # Keras numbers models: the run's own is "functional" again


def _penalty_problem(name: str, value: float) -> Problem:
    fits = is_number(value) and 0 <= value <= FLOAT32_MAX
    return unless(fits, f"{name} as a float32 number of 0 or more, got {value!r}")
