"""Ways to cross-validate a network of some size, one per function; benchmark.py runs each in a process of its own.

    python benchmark_sizes.py CONTENDER OPTIMIZER SAMPLES FEATURES WIDTH BATCH FOLDS EPOCHS

Dense(WIDTH, relu) twice and Dense(1), mean squared error, metric mae, random samples; OPTIMIZER is adam, rmsprop or
sgd-momentum with Keras's learning rate; SAMPLES is a multiple of FOLDS. Needs NumPy and the packages of the contender,
so that any Python environment can run it. Prints JSON: seconds of the whole job, seconds of an epoch once all is
compiled (training and validation of all folds; null: not measured), mean absolute error on the validation samples,
peak memory, and how k3torch trained.

The clock starts after the imports of the packages that the contender's user imports: ``keras``, ``torch`` and
``from k3torch import cross_validate``, or ``jax``. It counts building, tracing, verification, compiling, training,
validation and the out-of-fold predictions. torch's compiler is imported inside the job, and therefore counted.
"""

from collections.abc import Callable
from functools import partial
import json
import os
from pathlib import Path
import sys
import time
from typing import Any, NamedTuple

import numpy as np

FIT_EPOCHS = 2  # of Keras's fit; the others would take as long as the second


class Size(NamedTuple):
    """The samples, the network and its training."""

    samples: int
    features: int
    width: int
    batch: int
    folds: int
    epochs: int


class Found(NamedTuple):
    """What a contender measures; None where it does not."""

    seconds: float
    steady: float | None
    error: float | None
    peak: float | None
    engine: str | None = None


def random_samples(size: Size) -> tuple[Any, Any]:
    """Return x, (samples, features), and y, (samples,): a linear function of x with noise."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((size.samples, size.features), dtype="float32")
    slopes = draw.standard_normal(size.features, dtype="float32") / np.sqrt(size.features)
    noise = 0.1 * draw.standard_normal(size.samples, dtype="float32")
    return x, (x @ slopes + noise).astype("float32")


def keras_model(size: Size, optimizer: str, kind: Any) -> Any:
    """Return the compiled network, of a class like ``keras.Sequential``."""
    import keras

    hidden = [keras.layers.Dense(size.width, activation="relu") for _ in range(2)]
    model = kind([keras.Input((size.features,)), *hidden, keras.layers.Dense(1)])
    chosen = keras.optimizers.SGD(momentum=0.9) if optimizer == "sgd-momentum" else optimizer
    model.compile(chosen, "mse", metrics=["mae"])
    return model


def k3torch_job(size: Size, optimizer: str, with_steady: bool) -> Found:
    """``cross_validate`` of this project."""
    from k3torch import cross_validate
    import keras

    x, y = random_samples(size)
    build = partial(keras_model, size, optimizer, keras.Sequential)
    started = time.perf_counter()
    result = cross_validate(build, x, y, folds=size.folds, epochs=size.epochs, batch_size=size.batch, verbose=0)
    seconds, peak = time.perf_counter() - started, peak_memory()
    with_steady = with_steady and result.engine == "stacked"
    steady = stack_epoch(size, build, x, y, result.indices) if with_steady else None
    return Found(seconds, steady, float(result.scores.mean()), peak, result.engine)


def stack_epoch(size: Size, build: Callable[[], Any], x: Any, y: Any, indices: Any) -> float:
    """Return the seconds of an epoch of the stack, after a first one."""
    from k3torch.stack.batch_loop import Samples
    from k3torch.stack.model_stack import ModelStack

    training, validation = ([Samples(x[split[part]], y[split[part], None]) for split in indices] for part in (0, 1))
    stack = ModelStack([build() for _ in indices], training, validation, size.batch, size.epochs)
    draw = np.random.default_rng(0)

    def train(epochs: int) -> None:
        stack.train(range(epochs), lambda model, _: draw.permutation(len(training[model])), lambda _: True)

    train(1)
    epochs = max(1, size.epochs - 1)
    started = time.perf_counter()
    train(epochs)
    return (time.perf_counter() - started) / epochs


def keras_fit(size: Size, optimizer: str) -> Found:
    """Keras's ``fit`` through ``cross_validate``, fold after fold, with torch's default number of threads.

    Two epochs are timed; to the seconds of that job come those of its second epoch, for each of the others.
    """
    from k3torch import cross_validate
    import keras

    ends: list[float] = []

    class Timed(keras.Sequential):  # type: ignore[misc]
        def evaluate(self, *args: Any, **options: Any) -> Any:
            """Evaluate as Keras does: ``fit`` calls it at the end of each epoch."""
            found = super().evaluate(*args, **options)
            ends.append(time.perf_counter())
            return found

    x, y = random_samples(size)
    build = partial(keras_model, size, optimizer, Timed)
    timed = min(FIT_EPOCHS, size.epochs)
    started = time.perf_counter()
    result = cross_validate(build, x, y, folds=size.folds, epochs=timed, batch_size=size.batch, engine="fit", verbose=0)
    seconds = time.perf_counter() - started
    steady = float(np.diff(np.reshape(ends, (size.folds, timed))).sum()) if timed > 1 else None
    seconds += (size.epochs - timed) * (steady or 0.0)
    error = float(result.scores.mean()) if timed == size.epochs else None
    return Found(seconds, steady, error, peak_memory(), result.engine)


def jax_job(size: Size, optimizer: str) -> Found:
    """JAX without Keras: a scan over batches, vmapped over folds, jitted."""
    import jax
    from jax import numpy as jnp

    x, y = random_samples(size)
    draw = np.random.default_rng(0)
    started = time.perf_counter()
    validation = np.arange(size.samples).reshape(size.folds, -1)
    training = np.stack([np.setdiff1d(np.arange(size.samples), part) for part in validation])
    full = training.shape[1] // size.batch * size.batch
    update, slots = jax_optimizer(optimizer)
    widths = [size.features, size.width, size.width, 1]

    def initial(key: Any) -> Any:
        make = jax.nn.initializers.glorot_uniform()
        keys = jax.random.split(key, 3)
        return [(make(k, (a, b)), jnp.zeros(b)) for k, a, b in zip(keys, widths[:-1], widths[1:], strict=True)]

    def predict(weights: Any, x: Any) -> Any:
        for kernel, bias in weights[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        kernel, bias = weights[-1]
        return (x @ kernel + bias)[:, 0]

    def loss(weights: Any, x: Any, y: Any) -> Any:
        errors = predict(weights, x) - y
        return (errors**2).mean(), jnp.stack([(errors**2).sum(), jnp.abs(errors).sum()])

    def step(state: Any, x: Any, y: Any) -> Any:
        weights, slots, count = state
        gradients, sums = jax.grad(loss, has_aux=True)(weights, x, y)
        return (*update(weights, slots, gradients, count + 1), count + 1), sums

    def epoch(state: Any, order: Any, validation: Any, x: Any, y: Any) -> Any:
        batches = order[:full].reshape(-1, size.batch)
        state, sums = jax.lax.scan(lambda s, batch: step(s, x[batch], y[batch]), state, batches)
        sums = sums.sum(0)
        if full < len(order):  # the shorter last batch
            state, last = step(state, x[order[full:]], y[order[full:]])
            sums += last
        held_out = loss(state[0], x[validation], y[validation])[1]
        return state, (sums / len(order), held_out / len(validation))

    weights = jax.jit(jax.vmap(initial))(jax.random.split(jax.random.key(0), size.folds))
    state = (weights, [jax.tree.map(jnp.zeros_like, weights) for _ in range(slots)], jnp.zeros(size.folds))
    run = jax.jit(jax.vmap(epoch, in_axes=(0, 0, 0, None, None)), donate_argnums=0)
    samples = jnp.asarray(x), jnp.asarray(y)
    ends = []
    for _ in range(size.epochs):
        state, metrics = run(state, draw.permuted(training, axis=1), validation, *samples)
        error = float(np.asarray(metrics[1])[:, 1].mean())  # waits for the result
        ends.append(time.perf_counter())
    np.asarray(jax.jit(jax.vmap(lambda w, part: predict(w, samples[0][part])))(state[0], validation))
    seconds = time.perf_counter() - started
    steady = (ends[-1] - ends[0]) / (size.epochs - 1) if size.epochs > 1 else None
    return Found(seconds, steady, error, peak_memory())


def jax_optimizer(name: str) -> tuple[Any, int]:
    """Return Keras's update, with its default settings, and how many arrays it keeps for each weight."""
    import jax
    from jax import numpy as jnp

    def adam(weights: Any, slots: Any, gradients: Any, count: Any) -> Any:
        means = jax.tree.map(lambda m, g: m + (g - m) * (1 - 0.9), slots[0], gradients)
        squares = jax.tree.map(lambda s, g: s + (g * g - s) * (1 - 0.999), slots[1], gradients)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        new = jax.tree.map(lambda w, m, s: w - rate * m / (jnp.sqrt(s) + 1e-7), weights, means, squares)
        return new, [means, squares]

    def rmsprop(weights: Any, slots: Any, gradients: Any, _: Any) -> Any:
        squares = jax.tree.map(lambda s, g: 0.9 * s + (1 - 0.9) * g * g, slots[0], gradients)
        new = jax.tree.map(lambda w, g, s: w - 1e-3 * g / jnp.sqrt(s + 1e-7), weights, gradients, squares)
        return new, [squares]

    def sgd_momentum(weights: Any, slots: Any, gradients: Any, _: Any) -> Any:
        steps = jax.tree.map(lambda m, g: 0.9 * m - 1e-2 * g, slots[0], gradients)
        return jax.tree.map(jnp.add, weights, steps), [steps]

    return {"adam": (adam, 2), "rmsprop": (rmsprop, 1), "sgd-momentum": (sgd_momentum, 1)}[name]


def peak_memory() -> float | None:
    """Return the largest memory of this process so far in MB, without that of the program that started it; on Linux."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), None)


CONTENDERS: dict[str, Callable[[Size, str], Found]] = {
    "k3torch-cached": partial(k3torch_job, with_steady=True),
    "k3torch-cold": partial(k3torch_job, with_steady=False),
    "jax": jax_job,
    "keras-fit": keras_fit,
}

if __name__ == "__main__":
    name, optimizer, *numbers = sys.argv[1:]
    os.environ["KERAS_BACKEND"] = "torch"
    found = CONTENDERS[name](Size(*map(int, numbers)), optimizer)
    names = ("seconds", "steady seconds", "validation error", "peak memory MB", "engine")
    print(json.dumps(dict(zip(names, found, strict=True))))
