"""Random compiled models with data for them, by seed: what the fast paths are compared with Keras on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers, losses, metrics, optimizers, regularizers
import numpy as np
import torch


@keras.saving.register_keras_serializable("tests")
class Scale(layers.Layer):
    """A layer of the caller's own: one trainable factor for each feature."""

    def build(self, shape):
        self.factor = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.factor


@keras.saving.register_keras_serializable("tests")
class Alternates(layers.Layer):
    """Counts its calls in Python, and computes something else at every second one."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls_so_far = 0

    def call(self, x):
        self.calls_so_far += 1
        return x * (1.0 + 0.5 * (self.calls_so_far % 2))


@keras.saving.register_keras_serializable("tests")
class NumpyNoise(layers.Layer):
    """Draws from NumPy's global generator."""

    def call(self, x):
        return x * (1.0 + 0.1 * float(np.random.normal()))


@keras.saving.register_keras_serializable("tests")
class TorchLinear(layers.Layer):
    """Holds a torch module."""

    def build(self, shape):
        self.linear = torch.nn.Linear(shape[-1], shape[-1])

    def call(self, x):
        return self.linear(x)


def rmse(y, y_pred):
    """No mean over samples."""
    return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y - y_pred)))


def absolute(y, y_pred):
    """A loss of the caller's own, one value a sample."""
    return keras.ops.mean(keras.ops.abs(y - y_pred), axis=-1)


@dataclass
class Case:
    """A model, as a function of its class, and data for it; ``parts`` says what was drawn."""

    build: Callable[[Any], keras.Model]
    x: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    batch_size: int
    parts: list[str] = field(default_factory=list)

    @property
    def is_random(self) -> bool:
        """Whether an engine of its own random numbers can only be compared by distribution."""
        return any(name in part for part in self.parts for name in ("Dropout", "Noise"))


class _Draw:
    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def one(self, options):
        return options[int(self.rng.integers(len(options)))]

    def chance(self, probability):
        return bool(self.rng.random() < probability)


def draw(seed: int) -> Case:
    """Return the case of this seed, always the same."""
    d = _Draw(seed)
    kind = d.one(["vector", "vector", "sequence", "ids"])
    samples, classes = int(d.rng.integers(9, 30)), 3
    if kind == "vector":
        shape, x = (5,), d.rng.normal(size=(samples, 5)).astype("float32")
    elif kind == "sequence":
        shape, x = (6, 4), d.rng.normal(size=(samples, 6, 4)).astype("float32")
        x[:, int(d.rng.integers(2, 6)) :] = 0
    else:
        shape, x = (6,), d.rng.integers(0, 9, size=(samples, 6)).astype("float32")
    makers = _layers(d, kind)
    task = d.one(["regression", "binary", "classes", "one-hot"])
    head, loss, names = _task(d, task, classes)
    y = {
        "regression": d.rng.normal(size=(samples, 1)).astype("float32"),
        "binary": d.rng.integers(0, 2, (samples, 1)).astype("float32"),
        "classes": d.rng.integers(0, classes, (samples, 1)),
        "one-hot": np.eye(classes, dtype="float32")[d.rng.integers(0, classes, samples)],
    }[task]
    optimizer = _optimizer(d)
    settings = {"weighted_metrics": [d.one(["mse", "mae"])]} if d.chance(0.2) and task == "regression" else {}
    weight = d.rng.uniform(0, 2, samples).astype("float32") if d.chance(0.3) else None
    loss_weights = 0.3 if d.chance(0.1) else None

    def build(model_class=keras.Model):
        keras.utils.set_random_seed(seed)
        inputs = outputs = keras.Input(shape)
        for make in [*makers, head]:
            outputs = make[1]()(outputs)
        model = model_class(inputs, outputs)
        model.compile(optimizer[1](), loss[1](), metrics=[m[1]() for m in names], loss_weights=loss_weights, **settings)
        return model

    parts = [kind, *(name for name, _ in makers), task, loss[0], optimizer[0], *(name for name, _ in names)]
    parts += [f"{key}={value}" for key, value in settings.items()] + ["sample_weight"] * (weight is not None)
    parts += ["loss_weights"] * (loss_weights is not None)
    return Case(build, x, y, weight, int(d.one([1, 2, 4, 5, 8, 32])), parts)


def _layers(d: _Draw, kind: str) -> list[tuple[str, Callable[[], Any]]]:
    found: list[tuple[str, Callable[[], Any]]] = []
    if kind == "ids":
        masked = d.chance(0.5)
        found.append((f"Embedding(mask_zero={masked})", lambda: layers.Embedding(9, 4, mask_zero=masked)))
    if kind == "sequence" and d.chance(0.4):
        found.append(("Masking", lambda: layers.Masking(0.0)))
    if kind != "vector":
        for _ in range(int(d.rng.integers(0, 2))):
            found.append(d.one([_any_width(d), ("Conv1D", lambda: layers.Conv1D(4, 2, activation="relu"))]))
        found.append(
            d.one(
                [
                    ("GRU", lambda: layers.GRU(3)),
                    ("GlobalAveragePooling1D", layers.GlobalAveragePooling1D),
                    ("Flatten", layers.Flatten),
                    ("Flatten", layers.Flatten),
                ]
            )
        )
    found += [_any_width(d) for _ in range(int(d.rng.integers(1, 4)))]
    return found


def _any_width(d: _Draw) -> tuple[str, Callable[[], Any]]:
    name, strength = d.one(["l1", "l2", "l1l2", None, None, None]), float(d.one([0.01, 0.1]))
    penalty = {
        "l1": lambda: regularizers.L1(strength),
        "l2": lambda: regularizers.L2(strength),
        "l1l2": lambda: regularizers.L1L2(strength, strength),
        None: lambda: None,
    }[name]
    activation = d.one(["relu", "tanh", "sigmoid", None, "gelu"])
    norm = keras.constraints.MaxNorm(1.0) if d.chance(0.15) else None
    activity = "l2" if d.chance(0.1) else None
    dense = (
        f"Dense({activation}, {name}{', max-norm' if norm else ''}{', activity l2' if activity else ''})",
        lambda: layers.Dense(
            5,
            activation,
            kernel_regularizer=penalty(),
            kernel_constraint=norm,
            activity_regularizer=activity,
            use_bias=True,
        ),
    )
    return d.one(
        [
            dense,
            dense,
            dense,
            dense,
            ("Dropout", lambda: layers.Dropout(0.4)),
            ("Dropout(seed)", lambda: layers.Dropout(0.4, seed=1)),
            ("GaussianNoise", lambda: layers.GaussianNoise(0.1)),
            ("BatchNormalization", layers.BatchNormalization),
            ("LayerNormalization", layers.LayerNormalization),
            ("PReLU", layers.PReLU),
            ("Activation", lambda: layers.Activation("relu")),
            ("ActivityRegularization", lambda: layers.ActivityRegularization(0.01, 0.01)),
            ("Scale", Scale),
            ("Alternates", Alternates),
            ("NumpyNoise", NumpyNoise),
            ("TorchLinear", TorchLinear),
        ]
    )


def _task(d: _Draw, task: str, classes: int) -> tuple[Any, Any, list[Any]]:
    smoothing, logits = float(d.one([0.0, 0.0, 0.1])), d.chance(0.3)
    reduction = d.one(["sum_over_batch_size"] * 4 + ["sum"])
    if task == "regression":
        head = ("Dense(1)", lambda: layers.Dense(1))
        loss = d.one(
            [
                ("mse", lambda: losses.MeanSquaredError(reduction=reduction)),
                ("mae", lambda: losses.MeanAbsoluteError(reduction=reduction)),
                ("huber", lambda: losses.Huber(delta=0.5)),
                ("own function", lambda: absolute),
                ("rmse", lambda: rmse),
            ]
        )
        choices = [
            ("mae", lambda: "mae"),
            ("rmse", lambda: rmse),
            ("RMSE", lambda: metrics.RootMeanSquaredError(name="rms")),
        ]
    elif task == "binary":
        head = ("sigmoid", lambda: layers.Dense(1, None if logits else "sigmoid"))
        name = f"binary_crossentropy(from_logits={logits}, label_smoothing={smoothing}, {reduction})"
        made = {"from_logits": logits, "label_smoothing": smoothing, "reduction": reduction}
        loss = d.one(
            [(name, lambda: losses.BinaryCrossentropy(**made)), ("focal", lambda: losses.BinaryFocalCrossentropy())]
        )
        choices = [
            ("accuracy", lambda: "accuracy"),
            ("AUC", lambda: metrics.AUC(name="auc")),
            ("BinaryAccuracy(0.3)", lambda: metrics.BinaryAccuracy(threshold=0.3)),
            ("mse", lambda: "mse"),
            ("Precision", lambda: metrics.Precision(name="precision")),
        ]
    else:
        head = ("softmax", lambda: layers.Dense(classes, None if logits else "softmax"))
        kind = losses.SparseCategoricalCrossentropy if task == "classes" else losses.CategoricalCrossentropy
        loss = (f"{kind.__name__}(from_logits={logits})", lambda: kind(from_logits=logits, reduction=reduction))
        choices = [("accuracy", lambda: "accuracy")]
        if task == "one-hot":
            choices.append(("mse", lambda: "mse"))
    chosen = [choice for choice in choices if d.chance(0.6)]
    return head, loss, chosen


def _optimizer(d: _Draw) -> tuple[str, Callable[[], Any]]:
    clip = d.one([{}] * 5 + [{"clipnorm": 0.1}, {"clipvalue": 0.05}, {"global_clipnorm": 0.2}])
    rate: Any = d.one([0.01, 0.003])
    schedule = d.chance(0.15)

    def made(kind, **settings):
        def make():
            step = optimizers.schedules.ExponentialDecay(rate, 3, 0.5) if schedule else rate
            return kind(learning_rate=step, **clip, **settings)

        text = ", ".join(f"{k}={v}" for k, v in {**settings, **clip, "schedule": schedule}.items())
        return f"{kind.__name__}({text})", make

    return d.one(
        [
            made(optimizers.SGD),
            made(optimizers.SGD, momentum=0.9),
            made(optimizers.SGD, momentum=0.8, nesterov=True),
            made(optimizers.RMSprop),
            made(optimizers.RMSprop, rho=0.7, epsilon=1e-4),
            made(optimizers.RMSprop, momentum=0.5, centered=True),
            made(optimizers.Adam),
            made(optimizers.Adam, beta_1=0.8, beta_2=0.9, epsilon=1e-3),
            made(optimizers.Adam, amsgrad=True),
            made(optimizers.AdamW, weight_decay=0.05),
            made(optimizers.Nadam),
            made(optimizers.Adagrad),
            made(optimizers.Adadelta),
            made(optimizers.Adamax),
            made(optimizers.Lion),
            made(optimizers.Ftrl),
            made(optimizers.SGD, gradient_accumulation_steps=2),
            made(optimizers.Adam, use_ema=True, ema_momentum=0.5),
        ]
    )
