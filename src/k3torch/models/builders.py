"""The lecture's networks: plain functions that return a compiled Keras model.

All four are stacks of Dense layers and differ only in what they start from, so three of them hand their own
defaults to ``vanilla_model``, and every argument of it can be given to any of them::

    model = imdb_classifier(units=(4, 4), dropout=0.5, optimizer="adam", learning_rate=1e-3)
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict, Unpack

from k3torch.errors import Problem, count_problem, is_number, refuse, unless
from k3torch.models.layers import SparseDense
from k3torch.models.names import name_problem
from k3torch.models.optimizers import make_optimizer
import keras
from keras.optimizers import Optimizer
from keras.optimizers.schedules import LearningRateSchedule


class Choices(TypedDict, total=False):
    """What may be varied in every builder; ``vanilla_model`` explains each."""

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


def imdb_classifier(num_words: int = 10_000, **choices: Unpack[Choices]) -> keras.Model:
    """Build the review classifier: 16 relu, 16 relu, 1 sigmoid; RMSprop, binary cross-entropy, accuracy.

    It takes multi-hot rows, (batch, ``num_words``) float32, dense or as a CSR tensor, and gives probabilities,
    (batch, 1). The other arguments are those of ``vanilla_model``.
    """
    chosen: Choices = {"units": (16, 16), "optimizer": "rmsprop", **choices}
    return vanilla_model(num_words, first_layer=SparseDense, **chosen)


def boston_regressor(features: int = 13, **choices: Unpack[Choices]) -> keras.Model:
    """Build the price regressor: 64 relu, 64 relu, 1 linear; RMSprop, squared error, absolute error as metric.

    It takes standardised rows, (batch, ``features``) float32, and gives (batch, 1). The other arguments are those
    of ``vanilla_model``.
    """
    chosen: Choices = {"units": (64, 64), "optimizer": "rmsprop", "loss": "mse", "metrics": ("mae",), **choices}
    return vanilla_model(features, output_activation="linear", **chosen)


def digit_classifier(pixels: int = 784, classes: int = 10, **choices: Unpack[Choices]) -> keras.Model:
    """Build the digit classifier: 32 relu, 10 softmax; RMSprop, cross-entropy over whole-number labels, accuracy.

    It takes flat pictures, (batch, ``pixels``) float32 from 0 to 1, and gives (batch, ``classes``) probabilities.
    For one-hot labels pass ``loss="categorical_crossentropy"``. The other arguments are those of
    ``vanilla_model``.
    """
    chosen: Choices = {"units": (32,), "optimizer": "rmsprop", "loss": "sparse_categorical_crossentropy", **choices}
    return vanilla_model(pixels, outputs=classes, output_activation="softmax", **chosen)


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
    """Build and compile a stack of Dense layers with every choice that the lecture varies.

    Args:
        features: numbers in an input row; the model takes (batch, ``features``) float32.
        units: width of each hidden layer, first to last.
        outputs: width of the last layer.
        output_activation: of the last layer: "sigmoid", "softmax" or "linear".
        activation: of the hidden layers.
        dropout: fraction of each hidden layer's outputs zeroed in training; the rest is scaled by 1 / (1 - dropout),
            so that nothing has to be scaled at prediction.
        kernel_initializer: of all layers. An object draws the same stream of numbers for each layer, a name does not.
        kernel_regularizer: penalty on the weights of the hidden layers, as a name or an object.
        bias_regularizer: penalty on their biases.
        activity_regularizer: penalty on their outputs, averaged over the batch.
        max_norm: largest Euclidean norm of the weights into one hidden unit, enforced after every update.
        loss: what training minimises, penalties added.
        metrics: what is reported beside it.
        optimizer: a name, or an object that has all its settings.
        learning_rate: of a named optimizer, like the four below; None keeps Keras's default.
        momentum: SGD's and RMSprop's.
        nesterov: SGD's.
        clipnorm: largest norm of one variable's gradient.
        clipvalue: largest element of a gradient.
        model_class: ``keras.Model`` or a subclass of it goes through the functional API, ``keras.Sequential``
            through a list of layers; the weights and outputs are the same.
        first_layer: class of the first hidden layer; ``SparseDense`` also takes CSR rows.

    Raises:
        InputError: names every bad argument, with a suggestion for a misspelt name.
    """
    refuse(
        [
            count_problem("features", features),
            count_problem("outputs", outputs),
            *_units_problems(units),
            name_problem("activation", activation),
            name_problem("activation", output_activation),
            name_problem("initializer", kernel_initializer),
            *(name_problem("regularizer", r) for r in (kernel_regularizer, bias_regularizer, activity_regularizer)),
            name_problem("loss", loss),
            unless(not isinstance(metrics, str), f"metrics as a list, got {metrics!r}"),
            *(name_problem("metric", metric) for metric in metrics if not isinstance(metrics, str)),
            name_problem("optimizer", optimizer),
            unless(
                is_number(dropout) and 0 <= dropout < 1,
                f"dropout as a fraction from 0 to, but not including, 1, got {dropout!r}",
            ),
            unless(
                max_norm is None or (is_number(max_norm) and max_norm > 0),
                f"max_norm above 0, or None for no limit, got {max_norm!r} (0 would freeze the layer)",
            ),
            unless(
                isinstance(model_class, type) and issubclass(model_class, keras.Model),
                f"model_class as keras.Model or a subclass of it, got {model_class!r}",
            ),
        ]
    )
    hidden: dict[str, Any] = {
        "activation": activation,
        "kernel_initializer": kernel_initializer,
        "kernel_regularizer": kernel_regularizer,
        "bias_regularizer": bias_regularizer,
        "activity_regularizer": activity_regularizer,
        "kernel_constraint": None if max_norm is None else keras.constraints.MaxNorm(max_norm),
    }
    layers: list[keras.Layer] = []
    # Names of their own: Keras would number the layers of all models, and no state_dict would fit the next model.
    for number, width in enumerate(units, start=1):
        layers.append((keras.layers.Dense if layers else first_layer)(int(width), name=f"hidden_{number}", **hidden))
        if dropout:
            layers.append(keras.layers.Dropout(dropout, name=f"dropout_{number}"))
    layers.append(
        keras.layers.Dense(outputs, activation=output_activation, kernel_initializer=kernel_initializer, name="output")
    )

    model = _chain(keras.Input((features,)), layers, model_class)
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


def _chain(inputs: keras.KerasTensor, layers: Sequence[keras.Layer], model_class: type[keras.Model]) -> keras.Model:
    """Put the layers one after another into a model of the class asked for."""
    if issubclass(model_class, keras.Sequential):
        return model_class([inputs, *layers])
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    return model_class(inputs, outputs)


def _units_problems(units: Any) -> list[Problem]:
    if not isinstance(units, Iterable) or isinstance(units, str):
        return [f"units as a list of widths, got {units!r}"]
    return [count_problem("each width in units", width) for width in units]
