"""The networks of the lecture, and one for any table: functions that return a compiled Keras model.

All are stacks of Dense layers. They call ``vanilla_model`` with other defaults and pass every other argument on to it::

    model = imdb_classifier(units=(4, 4), dropout=0.5, optimizer="adam", learning_rate=1e-3)
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypedDict, Unpack

from k3torch.errors import InputError, first_line, refuse
from k3torch.models.arguments import argument_problems
from k3torch.models.layers import SparseDense
from k3torch.models.optimizers import make_optimizer
import keras
from keras.optimizers import Optimizer
from keras.optimizers.schedules import LearningRateSchedule


class BuilderOptions(TypedDict, total=False):
    """The keyword arguments common to all builders, documented in ``vanilla_model``."""

    units: Sequence[int]
    activation: str
    dropout: float
    kernel_initializer: str | keras.initializers.Initializer
    kernel_regularizer: str | keras.regularizers.Regularizer | None
    bias_regularizer: str | keras.regularizers.Regularizer | None
    activity_regularizer: str | keras.regularizers.Regularizer | None
    max_norm: float | None
    loss: str | keras.losses.Loss
    metrics: Sequence[str | keras.metrics.Metric]
    optimizer: str | Optimizer
    learning_rate: float | LearningRateSchedule | None
    momentum: float | None
    nesterov: bool | None
    clipnorm: float | None
    clipvalue: float | None
    model_class: type[keras.Model]


def imdb_classifier(num_words: int = 10_000, **options: Unpack[BuilderOptions]) -> keras.Model:
    """Build the review classifier: 16 relu, 16 relu, 1 sigmoid; RMSprop, binary cross-entropy, accuracy.

    The input is multi-hot, (batch, ``num_words``) float32, dense or a CSR tensor; the output is the probability of a
    positive review, (batch, 1). ``options`` are arguments of ``vanilla_model``, and the errors are its errors.
    """
    arguments: BuilderOptions = {"units": (16, 16), "optimizer": "rmsprop", **options}
    return vanilla_model(num_words, first_layer=SparseDense, **arguments)


def boston_regressor(features: int = 13, **options: Unpack[BuilderOptions]) -> keras.Model:
    """Build the price regressor: 64 relu, 64 relu, 1 linear; RMSprop, mean squared error, MAE as the metric.

    The input is standardised features, (batch, ``features``) float32; the output is (batch, 1) in the units of the
    target. ``options`` are arguments of ``vanilla_model``, and the errors are its errors.
    """
    return table_network(features, **options)


# The activation and the loss of a table's network, by its number of classes: 0 for a regression, 3 for 3 or more.
_OUTPUTS = {
    0: ("linear", "mse"),
    2: ("sigmoid", "binary_crossentropy"),
    3: ("softmax", "sparse_categorical_crossentropy"),
}


def table_network(features: int, classes: int = 0, **options: Unpack[BuilderOptions]) -> keras.Model:
    """Build a network for the rows of a table: 64 relu, 64 relu, and the output; RMSprop.

    The input is standardised features, (batch, ``features``) float32. ``options`` are arguments of ``vanilla_model``,
    and the errors are its errors.

    Args:
        features: number of input features.
        classes: 0, a regression: 1 linear output, mean squared error, MAE as the metric. 2: 1 sigmoid output, the
            probability of class 1, and binary cross-entropy. More: a softmax output for each, and sparse categorical
            cross-entropy. The metric of classes is the accuracy; labels are their numbers, from 0.
        options: further arguments.
    """
    activation, loss = _OUTPUTS[min(classes, 3)]
    arguments: BuilderOptions = {
        "units": (64, 64),
        "optimizer": "rmsprop",
        "loss": loss,
        "metrics": ("accuracy" if classes else "mae",),
        **options,
    }
    outputs = classes if classes > 2 else 1
    return vanilla_model(features, outputs=outputs, output_activation=activation, **arguments)


def digit_classifier(pixels: int = 784, classes: int = 10, **options: Unpack[BuilderOptions]) -> keras.Model:
    """Build the digit classifier: 32 relu, 10 softmax; RMSprop, sparse categorical cross-entropy, accuracy.

    The input is flattened images, (batch, ``pixels``) float32 from 0 to 1; the output is probabilities, (batch,
    ``classes``). Labels are integers; for one-hot labels pass ``loss="categorical_crossentropy"``. ``options`` are
    arguments of ``vanilla_model``, and the errors are its errors.
    """
    arguments: BuilderOptions = {
        "units": (32,),
        "optimizer": "rmsprop",
        "loss": "sparse_categorical_crossentropy",
        **options,
    }
    return vanilla_model(pixels, outputs=classes, output_activation="softmax", **arguments)


def vanilla_model(
    features: int,
    units: Sequence[int] = (8,),
    *,
    outputs: int = 1,
    output_activation: str = "sigmoid",
    activation: str = "relu",
    dropout: float = 0.0,
    kernel_initializer: str | keras.initializers.Initializer = "glorot_uniform",
    kernel_regularizer: str | keras.regularizers.Regularizer | None = None,
    bias_regularizer: str | keras.regularizers.Regularizer | None = None,
    activity_regularizer: str | keras.regularizers.Regularizer | None = None,
    max_norm: float | None = None,
    loss: str | keras.losses.Loss = "binary_crossentropy",
    metrics: Sequence[str | keras.metrics.Metric] = ("accuracy",),
    optimizer: str | Optimizer = "adam",
    learning_rate: float | LearningRateSchedule | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
    model_class: type[keras.Model] = keras.Model,
    first_layer: type[keras.layers.Dense] = keras.layers.Dense,
) -> keras.Model:
    """Build and compile a stack of Dense layers, with every argument that the lecture varies.

    Args:
        features: number of input features; the input is (batch, ``features``) float32.
        units: width of each hidden layer, first to last.
        outputs: width of the last layer.
        output_activation: of the last layer: "sigmoid", "softmax" or "linear".
        activation: of the hidden layers.
        dropout: fraction of each hidden layer's outputs set to zero in training; the others are multiplied by
            1 / (1 - dropout). At prediction nothing is dropped or scaled.
        kernel_initializer: of all layers. An initializer object draws the same random numbers for each layer; a name
            creates a new initializer for each layer.
        kernel_regularizer: penalty on the weights of the hidden layers, as a name or an object.
        bias_regularizer: penalty on their biases.
        activity_regularizer: penalty on their outputs, averaged over the batch.
        max_norm: largest Euclidean norm of the weights into one hidden unit, enforced after every update.
        loss: the loss function; penalties are added to it.
        metrics: the metrics that ``fit`` and ``evaluate`` report.
        optimizer: a name, or an optimizer object, which excludes the five arguments below.
        learning_rate: as in ``make_optimizer``, like the next four; None is Keras's default.
        momentum: for SGD and RMSprop.
        nesterov: for SGD.
        clipnorm: largest Euclidean norm of each variable's gradient.
        clipvalue: largest absolute value of each element of the gradients.
        model_class: ``keras.Model`` or a subclass of it, built with the functional API; or ``keras.Sequential`` or a
            subclass of it, built from the list of layers. Weights and outputs are the same.
        first_layer: class of the first layer; ``SparseDense`` also accepts CSR tensors.

    Returns:
        The compiled model, output (batch, ``outputs``). Its layers are named ``hidden_1``, ``dropout_1``, ...,
        ``output``.

    Raises:
        InputError: lists every bad argument, with a suggestion for a misspelt name.
    """
    refuse(argument_problems(locals()))
    hidden: dict[str, Any] = {
        "activation": activation,
        "kernel_initializer": kernel_initializer,
        "kernel_regularizer": kernel_regularizer,
        "bias_regularizer": bias_regularizer,
        "activity_regularizer": activity_regularizer,
        "kernel_constraint": None if max_norm is None else keras.constraints.MaxNorm(float(max_norm)),
    }
    with _one_line_errors():
        # Keras numbers unnamed layers across all models, so that the state_dict of one would not load into another.
        layers: list[keras.Layer] = []
        for number, width in enumerate(units, start=1):
            layers.append(
                (keras.layers.Dense if layers else first_layer)(int(width), name=f"hidden_{number}", **hidden)
            )
            if dropout:
                layers.append(keras.layers.Dropout(float(dropout), name=f"dropout_{number}"))
        layers.append(
            (keras.layers.Dense if layers else first_layer)(
                int(outputs), activation=output_activation, kernel_initializer=kernel_initializer, name="output"
            )
        )
        model = _chain(keras.Input((int(features),)), layers, model_class)
        model.compile(
            optimizer=make_optimizer(
                optimizer,
                learning_rate=learning_rate,
                momentum=momentum,
                nesterov=nesterov,
                clipnorm=clipnorm,
                clipvalue=clipvalue,
            ),
            loss=loss,
            metrics=list(metrics),
        )
    return model


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what Keras raises for arguments that only fail together, or in the caller's own functions, into one line."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError, AssertionError, MemoryError) as error:
        raise InputError(f"expected arguments of which Keras builds a model, got: {first_line(error)}") from error


def _chain(inputs: keras.KerasTensor, layers: Sequence[keras.Layer], model_class: type[keras.Model]) -> keras.Model:
    """Return a model of class ``model_class`` that applies the layers one after another."""
    if issubclass(model_class, keras.Sequential):
        return model_class([inputs, *layers])
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return model_class(inputs, outputs)
