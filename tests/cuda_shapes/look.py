"""What ``test_cuda_shapes.py`` asserts about, printed as one line of JSON: Keras's device is set once in a process."""

import contextlib
import json
import os
import sys
import tempfile
import traceback
import warnings

import device

FOLDER = tempfile.TemporaryDirectory()
device.enable(FOLDER.name)
os.environ |= {"KERAS_TORCH_DEVICE": "cuda", "K3TORCH_CACHE": FOLDER.name}

import k3torch  # noqa: F401
from k3torch.data import bags
from k3torch.models.builders import imdb_classifier
from k3torch.training import custom_loop
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import shapes
import torch

WORDS, BATCH = 300, 64
recorder = shapes.Recorder()
draw = np.random.default_rng(0)


def dataset(samples, weighted=False):
    offsets = np.concatenate([[0], np.cumsum(draw.integers(1, 20, samples))])
    x = bags.bag_of_words(draw.integers(0, WORDS, offsets[-1]), offsets, WORDS)
    weights = draw.random(samples) if weighted else None
    return bags.BagDataset(x, draw.integers(0, 2, samples), weights, device="cuda")


def summary():
    """Return the number of events of each kind, and what the host waits for."""
    events = recorder.take()
    kinds = [event.kind for event in events]
    waits = [f"{event.kind}: {event.operator} at {event.where}" for event in events if event.where]
    return {kind: kinds.count(kind) for kind in ("wait", "pageable", "pinned", "kernel", "random")} | {"where": waits}


def step(weighted=False, policy="float32", change=None, **options):
    """Return what gathering a batch, training on it and evaluating it ask of the device, once they are verified."""
    keras.config.set_dtype_policy(policy)
    try:
        model = imdb_classifier(WORDS, model_class=FastModel, **options)
        if change:
            change(model)
        data = dataset(3 * BATCH, weighted)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            model.fit(bags.bag_loader(data, BATCH), epochs=1, validation_data=bags.bag_loader(data, BATCH), verbose=0)
    finally:
        keras.config.set_dtype_policy("float32")
    model._logs_are_read = False
    recorder.take()
    batch = data.__getitems__(np.arange(BATCH))
    found = {"gather": summary()}
    model.train_step(batch)
    found["train"] = summary()
    with torch.no_grad():
        model.test_step(batch)
    return found | {"test": summary(), "warnings": [str(w.message) for w in warned if 'falls back' in str(w.message)]}


def main():
    warnings.simplefilter("ignore")
    bags._csr = shapes.Bags
    found = {}
    looks = {name: value for name, value in LOOKS.items() if len(sys.argv) < 2 or name in sys.argv[1:]}
    with recorder:
        for name, look in looks.items():
            recorder.take()
            try:
                found[name] = look()
            except Exception:
                found[name] = {"error": traceback.format_exc()[-3000:]}
    print(json.dumps(found), flush=True)
    FOLDER.cleanup()
    os._exit(0)  # the thread of the device, which autograd has started, does not end


LOOKS = {"rmsprop": step, "adam": lambda: step(optimizer="adam"), "sgd": lambda: step(optimizer="sgd", momentum=0.9), 
  "l2": lambda: step(kernel_regularizer="l2"), "clip": lambda: step(clipnorm=1.0), "max": lambda: step(max_norm=2.0),
  "weights": lambda: step(weighted=True), "bf16": lambda: step(policy="mixed_bfloat16"), "activity": lambda: step(activity_regularizer="l2")}
if __name__ == "__main__":
    main()
