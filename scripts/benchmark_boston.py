"""Ways to train the price regressor with batches of one sample, one per function; benchmark.py runs each in a process.

    python benchmark_boston.py CONTENDER SAMPLES.npz EPOCHS

13-64-64-1, RMSprop, squared error. The stacks train 4 or 32 models at once, each on three quarters of the samples (the
others would validate it), the other contenders one. Needs NumPy and the packages of the contender, so that any Python
environment can run it. SAMPLES.npz contains ``x`` and ``y``, standardised. Prints JSON: microseconds per update of one
model in each epoch, training error, peak memory.
"""

from collections.abc import Callable
from functools import partial
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np

WIDTH, RATE, DECAY, EPSILON = 64, 1e-3, 0.9, 1e-7
DEVICE = os.environ.get("KERAS_TORCH_DEVICE", "cpu")  # of the peer in PyTorch
Found = tuple[list[float], float]  # seconds of each epoch, mean absolute error on the training samples


def folds(x: Any, y: Any, models: int) -> tuple[Any, Any]:
    """Return each model's training samples, (models, samples, ...): all but one quarter, in turn."""
    quarters = np.array_split(np.arange(len(x)), 4)
    chosen = [np.setdiff1d(np.arange(len(x)), quarters[model % 4]) for model in range(models)]
    return np.stack([x[part] for part in chosen]), np.stack([y[part] for part in chosen])


def stacked(x: Any, y: Any, epochs: int, models: int) -> Found:
    """The stack of this project, metrics of every epoch included; it validates on one sample, the least it can."""
    from k3torch.models.builders import boston_regressor
    from k3torch.stack.batch_loop import Samples
    from k3torch.stack.model_group import EpochResult
    from k3torch.stack.model_stack import ModelStack
    import keras

    keras.utils.set_random_seed(0)
    samples = [Samples(a, b[:, None]) for a, b in zip(*folds(x, y, models), strict=True)]
    first = [Samples(part.x[:1], part.y[:1]) for part in samples]
    of_models = [boston_regressor(x.shape[1]) for _ in samples]
    stack = ModelStack(of_models, samples, first, 1, epochs=1000)  # compiled, as for a long training
    draw = np.random.default_rng(0)
    ends = [time.perf_counter()] * (epochs + 1)  # of an epoch: when the last model has completed it

    def report(done: EpochResult) -> bool:
        ends[done.epoch + 1] = time.perf_counter()
        return True

    stack.train(range(epochs), lambda model, _: draw.permutation(len(samples[model])), report)
    outputs = [model.predict_on_batch(part.x) for model, part in zip(stack.unstack(), samples, strict=True)]
    errors = [np.abs(own - part.y).mean() for own, part in zip(outputs, samples, strict=True)]
    return np.diff(ends).tolist(), float(np.mean(errors))


def keras_fit(x: Any, y: Any, epochs: int) -> Found:
    """Keras's fit on arrays, on the backend named in the environment."""
    import keras

    keras.utils.set_random_seed(0)
    (x,), (y,) = folds(x, y, 1)
    hidden = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((x.shape[1],)), *hidden, keras.layers.Dense(1)])
    model.compile("rmsprop", "mse", metrics=["mae"])
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        model.fit(x, y, batch_size=1, verbose=0)
        seconds.append(time.perf_counter() - started)
    return seconds, float(model.evaluate(x, y, verbose=0)[1])


def torch_loop(x: Any, y: Any, epochs: int) -> Found:
    """PyTorch's own loop, on one thread: its operations are too small to gain from two."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    samples, targets = (torch.from_numpy(part[0]).to(DEVICE) for part in folds(x, y, 1))
    layers = [nn.Linear(x.shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1)]
    model = nn.Sequential(*layers, nn.Flatten(0)).to(DEVICE)
    optimizer = torch.optim.RMSprop(model.parameters(), RATE, alpha=DECAY, eps=EPSILON)
    loss = nn.MSELoss()
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        for index in torch.split(torch.randperm(len(samples), device=DEVICE), 1):
            optimizer.zero_grad()
            loss(model(samples[index]), targets[index]).backward()
            optimizer.step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()  # the kernels of the last steps may still be running
        seconds.append(time.perf_counter() - started)
    with torch.no_grad():
        return seconds, float((model(samples) - targets).abs().mean())


def jax_scan(x: Any, y: Any, epochs: int, models: int) -> Found:
    """JAX without Keras: a scan over samples, vmapped over models, jitted."""
    import jax
    from jax import numpy as jnp

    samples, targets = map(jnp.asarray, folds(x, y, models))
    sizes = [x.shape[1], WIDTH, WIDTH, 1]

    def fresh(key: Any) -> Any:
        make = jax.nn.initializers.glorot_uniform()
        keys = jax.random.split(key, 3)
        return [(make(k, (a, b)), jnp.zeros(b)) for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)]

    def predict(weights: Any, x: Any) -> Any:
        for kernel, bias in weights[:-1]:
            x = jax.nn.relu(x @ kernel + bias)
        kernel, bias = weights[-1]
        return (x @ kernel + bias)[0]

    def step(state: Any, pair: Any) -> Any:
        weights, squares = state
        error, gradients = jax.value_and_grad(lambda w: (predict(w, pair[0]) - pair[1]) ** 2)(weights)
        squares = jax.tree.map(lambda s, g: DECAY * s + (1 - DECAY) * g * g, squares, gradients)
        weights = jax.tree.map(lambda w, g, s: w - RATE * g / jnp.sqrt(s + EPSILON), weights, gradients, squares)
        return (weights, squares), error

    def epoch(state: Any, key: Any, samples: Any, targets: Any) -> Any:
        order = jax.random.permutation(key, len(samples))
        state, errors = jax.lax.scan(step, state, (samples[order], targets[order]))
        return state, errors.mean()

    run = jax.jit(jax.vmap(epoch))
    weights = jax.vmap(fresh)(jax.random.split(jax.random.key(0), models))
    state = (weights, jax.tree.map(jnp.zeros_like, weights))
    seconds = []
    for number in range(epochs):
        started = time.perf_counter()
        state, _ = jax.block_until_ready(run(state, jax.random.split(jax.random.key(number), models), samples, targets))
        seconds.append(time.perf_counter() - started)
    outputs = jax.vmap(jax.vmap(predict, (None, 0)))(state[0], samples)
    return seconds, float(jnp.abs(outputs - targets).mean())


def numba_loop(x: Any, y: Any, epochs: int) -> Found:
    """Loops over samples and units, compiled by Numba for one core."""
    import numba

    f32 = np.float32

    @numba.njit(fastmath=True)
    def update(w, s, g):  # type: ignore[no-untyped-def]
        s = f32(DECAY) * s + f32(1 - DECAY) * g * g
        return w - f32(RATE) * g / np.sqrt(s + f32(EPSILON)), s

    @numba.njit(fastmath=True)
    def dense(x, w, b, out):  # type: ignore[no-untyped-def]
        out[:] = b
        for i in range(len(x)):
            for j in range(len(out)):
                out[j] += x[i] * w[i, j]

    @numba.njit(fastmath=True)
    def back(x, w, sw, b, sb, gradient, below):  # type: ignore[no-untyped-def]
        for i in range(len(x)):
            total = f32(0)
            for j in range(len(gradient)):
                total += gradient[j] * w[i, j]
                w[i, j], sw[i, j] = update(w[i, j], sw[i, j], x[i] * gradient[j])
            below[i] = total if x[i] > 0 else f32(0)
        for j in range(len(gradient)):
            b[j], sb[j] = update(b[j], sb[j], gradient[j])

    @numba.njit(fastmath=True)
    def epoch(order, x, y, w1, b1, w2, b2, w3, b3, s1, t1, s2, t2, s3, t3):  # type: ignore[no-untyped-def]
        h1, h2, out = np.zeros(WIDTH, f32), np.zeros(WIDTH, f32), np.zeros(1, f32)
        d0, d1, d2, d3 = np.zeros(x.shape[1], f32), np.zeros(WIDTH, f32), np.zeros(WIDTH, f32), np.zeros(1, f32)
        for i in order:
            dense(x[i], w1, b1, h1)
            np.maximum(h1, f32(0), h1)
            dense(h1, w2, b2, h2)
            np.maximum(h2, f32(0), h2)
            dense(h2, w3, b3, out)
            d3[0] = f32(2) * (out[0] - y[i])
            back(h2, w3, s3, b3, t3, d3, d2)
            back(h1, w2, s2, b2, t2, d2, d1)
            back(x[i], w1, s1, b1, t1, d1, d0)

    (x,), (y,) = folds(x, y, 1)
    draw = np.random.RandomState(0)
    shapes = [(x.shape[1], WIDTH), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (WIDTH, 1), (1,)]
    limits = [np.sqrt(6 / sum(shape)) if len(shape) == 2 else 0.0 for shape in shapes]
    weights = [draw.uniform(-a, a, shape).astype(f32) for a, shape in zip(limits, shapes, strict=True)]
    state = [np.zeros(shape, f32) for shape in shapes]
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        epoch(draw.permutation(len(x)), x, y, *weights, *state)
        seconds.append(time.perf_counter() - started)
    w1, b1, w2, b2, w3, b3 = weights
    outputs = np.maximum(np.maximum(x @ w1 + b1, 0) @ w2 + b2, 0) @ w3 + b3
    return seconds, float(np.abs(outputs[:, 0] - y).mean())


CONTENDERS: dict[str, Callable[[Any, Any, int], Found]] = {
    "stacked-4": partial(stacked, models=4),
    "stacked-32": partial(stacked, models=32),
    "keras-torch": keras_fit,
    "keras-jax": keras_fit,
    "keras-tensorflow": keras_fit,
    "torch": torch_loop,
    "numba": numba_loop,
    "jax-4": partial(jax_scan, models=4),
    "jax-32": partial(jax_scan, models=32),
}

if __name__ == "__main__":
    name, path, epochs = sys.argv[1:]
    if name.startswith("keras"):
        os.environ["KERAS_BACKEND"] = name.split("-")[1]
    with np.load(path) as file:
        x, y = file["x"], file["y"]
    seconds, error = CONTENDERS[name](x, y, int(epochs))
    models = int(name.split("-")[1]) if name[-1].isdigit() else 1
    updates = len(folds(x, y, 1)[0][0]) * models
    status = Path("/proc/self/status")  # Linux: the peak of this process alone, without that of its parent
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), float("nan"))
    found = {"microseconds": [1e6 * s / updates for s in seconds], "training error": error, "peak memory MB": peak}
    print(json.dumps(found))
