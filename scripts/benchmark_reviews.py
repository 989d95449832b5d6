"""Other ways to train the classifier of film reviews, one per function; benchmark.py runs each in a process of its own.

    python benchmark_reviews.py PEER BAGS.npz EPOCHS

Needs NumPy and the packages of the peer, so that any Python environment can run it. BAGS.npz contains ``offsets``,
``ids``, ``labels``, and the indices ``train`` and ``validation`` of the samples. Prints JSON: seconds of each epoch,
the best validation accuracy, peak memory.
"""

import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np

BATCH, WIDTH, RATE, DECAY, EPSILON = 512, 16, 1e-3, 0.9, 1e-7
DEVICE = os.environ.get("KERAS_TORCH_DEVICE", "cpu")  # of the peers in PyTorch
Found = tuple[list[float], list[float]]  # seconds and validation accuracy of each epoch


def dense(bags: Any, samples: Any, words: int) -> Any:
    """Return the bags of these samples as a matrix, (samples, words)."""
    out = np.zeros((len(samples), words), "float32")
    for row, sample in enumerate(samples):
        out[row, bags["ids"][bags["offsets"][sample] : bags["offsets"][sample + 1]]] = 1
    return out


def keras_fit(bags: Any, words: int, epochs: int) -> Found:
    """Keras's ``fit`` on a dense matrix, on the backend named in the environment."""
    import keras

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seconds.append(time.perf_counter() - self.started)

    seconds: list[float] = []
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(WIDTH, activation="relu") for _ in range(2)]
    model = keras.Sequential([keras.Input((words,)), *hidden, keras.layers.Dense(1, activation="sigmoid")])
    model.compile("rmsprop", "binary_crossentropy", metrics=["accuracy"])
    (x, y), held_out = (
        (dense(bags, part, words), bags["labels"][part]) for part in (bags["train"], bags["validation"])
    )
    history = model.fit(x, y, batch_size=BATCH, validation_data=held_out, epochs=epochs, verbose=0, callbacks=[Clock()])
    return seconds, history.history["val_accuracy"]


def torch_dense(bags: Any, words: int, epochs: int) -> Found:
    """PyTorch on a dense matrix."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    arrays = dense(bags, np.arange(len(bags["labels"])), words), bags["labels"]
    x, y = (torch.from_numpy(array).to(DEVICE) for array in arrays)
    model = nn.Sequential(
        nn.Linear(words, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1), nn.Flatten(0)
    ).to(DEVICE)
    return torch_epochs(model.parameters(), lambda batch: model(x[batch]), y, bags, epochs)


def torch_bag(bags: Any, words: int, epochs: int) -> Found:
    """PyTorch with EmbeddingBag, the usual layer for bags of words."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    first, bias = nn.EmbeddingBag(words, WIDTH, mode="sum").to(DEVICE), nn.Parameter(torch.zeros(WIDTH, device=DEVICE))
    nn.init.xavier_uniform_(first.weight)
    rest = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1), nn.Flatten(0)).to(DEVICE)
    offsets, ids, y = (torch.from_numpy(bags[name]).to(DEVICE) for name in ("offsets", "ids", "labels"))
    ids = ids.long()

    def forward(batch: Any) -> Any:
        starts, lengths = offsets[batch], offsets[batch + 1] - offsets[batch]
        bounds = torch.cumsum(lengths, 0) - lengths
        position = torch.arange(int(lengths.sum()), device=DEVICE) + torch.repeat_interleave(starts - bounds, lengths)
        return rest(first(ids[position], bounds) + bias)

    return torch_epochs([*first.parameters(), bias, *rest.parameters()], forward, y, bags, epochs)


def torch_epochs(parameters: Any, forward: Any, y: Any, bags: Any, epochs: int) -> Found:
    """Train and validate with PyTorch's own loop; ``forward`` takes the indices of a batch."""
    import torch

    optimizer = torch.optim.RMSprop(parameters, RATE, alpha=DECAY, eps=EPSILON)
    loss = torch.nn.BCEWithLogitsLoss()
    train, validation = (torch.from_numpy(bags[part]).to(DEVICE) for part in ("train", "validation"))
    seconds, accuracy = [], []
    for _ in range(epochs):
        started = time.perf_counter()
        for batch in torch.split(train[torch.randperm(len(train), device=DEVICE)], BATCH):
            optimizer.zero_grad()
            loss(forward(batch), y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            hits = (forward(validation) > 0) == (y[validation] > 0.5)
            accuracy.append(hits.float().mean().item())
        seconds.append(time.perf_counter() - started)
    return seconds, accuracy


def numba_loop(bags: Any, words: int, epochs: int) -> Found:
    """A loop over words, compiled by Numba for one core."""
    import numba

    f32 = np.float32

    @numba.njit(fastmath=True)
    def hidden(sample, offsets, ids, w, b, out):  # type: ignore[no-untyped-def]
        out[:] = b
        for k in range(offsets[sample], offsets[sample + 1]):
            word = ids[k]
            for j in range(WIDTH):
                out[j] += w[word, j]
        for j in range(WIDTH):
            out[j] = max(out[j], f32(0))

    @numba.njit(fastmath=True)
    def rms(w, g, v):  # type: ignore[no-untyped-def]
        for i in range(w.size):
            v.flat[i] = f32(DECAY) * v.flat[i] + f32(1 - DECAY) * g.flat[i] * g.flat[i]
            w.flat[i] -= f32(RATE) * g.flat[i] / np.sqrt(v.flat[i] + f32(EPSILON))

    @numba.njit(fastmath=True)
    def epoch(order, offsets, ids, y, w1, b1, w2, b2, w3, b3, grads, states):  # type: ignore[no-untyped-def]
        g1, c1, g2, c2, g3, c3 = grads
        v1, u1, v2, u2, v3, u3 = states
        h1, h2, d1, d2 = np.zeros(WIDTH, f32), np.zeros(WIDTH, f32), np.zeros(WIDTH, f32), np.zeros(WIDTH, f32)
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            g1[:], c1[:], g2[:], c2[:], g3[:], c3[:] = 0, 0, 0, 0, 0, 0
            for sample in batch:
                hidden(sample, offsets, ids, w1, b1, h1)
                out = b3[0]
                for j in range(WIDTH):
                    h2[j] = b2[j]
                for i in range(WIDTH):
                    for j in range(WIDTH):
                        h2[j] += h1[i] * w2[i, j]
                for j in range(WIDTH):
                    h2[j] = max(h2[j], f32(0))
                    out += h2[j] * w3[j]
                error = (f32(1) / (f32(1) + np.exp(-out)) - y[sample]) / f32(len(batch))
                c3[0] += error
                for j in range(WIDTH):
                    g3[j] += error * h2[j]
                    d2[j] = error * w3[j] if h2[j] > 0 else f32(0)
                    c2[j] += d2[j]
                for i in range(WIDTH):
                    back = f32(0)
                    for j in range(WIDTH):
                        back += d2[j] * w2[i, j]
                        g2[i, j] += h1[i] * d2[j]
                    d1[i] = back if h1[i] > 0 else f32(0)
                    c1[i] += d1[i]
                for k in range(offsets[sample], offsets[sample + 1]):
                    word = ids[k]
                    for j in range(WIDTH):
                        g1[word, j] += d1[j]
            rms(w1, g1, v1)
            rms(b1, c1, u1)
            rms(w2, g2, v2)
            rms(b2, c2, u2)
            rms(w3, g3, v3)
            rms(b3, c3, u3)

    @numba.njit(fastmath=True)
    def first_layer(samples, offsets, ids, w, b):  # type: ignore[no-untyped-def]
        out = np.zeros((len(samples), WIDTH), f32)
        for i in range(len(samples)):
            hidden(samples[i], offsets, ids, w, b, out[i])
        return out

    draw = np.random.RandomState(0)
    shapes = [(words, WIDTH), (WIDTH,), (WIDTH, WIDTH), (WIDTH,), (WIDTH,), (1,)]
    fans = [words + WIDTH, 0, 2 * WIDTH, 0, WIDTH + 1, 0]

    def fresh() -> list[Any]:
        limits = [np.sqrt(6 / fan) if fan else 0.0 for fan in fans]
        return [draw.uniform(-a, a, shape).astype(f32) for a, shape in zip(limits, shapes, strict=True)]

    def zeros() -> tuple[Any, ...]:
        return tuple(np.zeros(shape, f32) for shape in shapes)

    offsets, ids, y, train, held_out = (bags[name] for name in ("offsets", "ids", "labels", "train", "validation"))
    epoch(train[:BATCH], offsets, ids, y, *fresh(), zeros(), zeros())  # compiles
    weights, grads, states = fresh(), zeros(), zeros()
    first_layer(held_out[:2], offsets, ids, weights[0], weights[1])
    seconds, accuracy = [], []
    for _ in range(epochs):
        started = time.perf_counter()
        epoch(draw.permutation(train), offsets, ids, y, *weights, grads, states)
        w1, b1, w2, b2, w3, b3 = weights
        out = np.maximum(first_layer(held_out, offsets, ids, w1, b1) @ w2 + b2, 0) @ w3 + b3
        accuracy.append(float(((out > 0) == (y[held_out] > 0.5)).mean()))
        seconds.append(time.perf_counter() - started)
    return seconds, accuracy


PEERS = {
    "keras-torch": keras_fit,
    "keras-jax": keras_fit,
    "keras-tensorflow": keras_fit,
    "torch-dense": torch_dense,
    "torch-bag": torch_bag,
    "numba": numba_loop,
}

if __name__ == "__main__":
    name, path, epochs = sys.argv[1:]
    if name.startswith("keras"):
        os.environ["KERAS_BACKEND"] = name.split("-")[1]
    with np.load(path) as file:
        arrays = dict(file)
    seconds, accuracy = PEERS[name](arrays, int(arrays["num_words"]), int(epochs))
    status = Path("/proc/self/status")  # Linux: the peak of this process alone, without that of its parent
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM")), float("nan"))
    print(json.dumps({"seconds": seconds, "validation accuracy": max(accuracy), "peak memory MB": peak}))
