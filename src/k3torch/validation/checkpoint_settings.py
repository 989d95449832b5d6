"""What has to be the same when a call of ``cross_validate`` or ``search`` goes on from a checkpoint."""

from collections.abc import Iterable, Sequence
import hashlib
from typing import Any

from k3torch.training.checkpoint_run import Settings, described, model_settings
from k3torch.validation.folds import Split
from k3torch.validation.jobs import Data
import keras
import numpy as np
from scipy import sparse

_OF_EARLY_STOPPING = ("monitor", "patience", "min_delta", "baseline", "restore_best_weights", "start_from_epoch")


def call_settings(
    function: str,
    model: keras.Model,
    data: Data,
    splits: Iterable[Sequence[Split]],
    callbacks: Sequence[Any] | None = None,
    n_jobs: int | None = None,
    **arguments: Any,
) -> Settings:
    """Return what changes the result of a call, by its name for the user.

    Args:
        function: its name.
        model: a model that ``build_model`` returned, built.
        data: all samples.
        splits: the folds of each repeat.
        callbacks: of the caller.
        n_jobs: of the call; the result is the same for any number.
        arguments: other arguments of the call.
    """
    folds = [split for of_repeat in splits for split in of_repeat]
    return {
        "a checkpoint of": function,
        "x": checksum(data.x),
        "y": checksum(data.y),
        "sample weights": None if data.weights is None else checksum(data.weights),
        "weights in training": None if data.training_weights is None else checksum(data.training_weights),
        "folds": f"{len(folds)} ({checksum(*(part for split in folds for part in split))})",
        "n_jobs": None if n_jobs is None else "as a number",
        **{name: described(value) for name, value in arguments.items()},
        **model_settings(model),
        "learning rate": _learning_rate(model),
        "weights": ", ".join("x".join(map(str, weight.shape)) or "1" for weight in model.weights),
        "callbacks": ", ".join(map(_callback, callbacks or ())) or "none",
    }


def _learning_rate(model: keras.Model) -> float | None:
    """Return the learning rate of a new model; that of a schedule is among the optimizer's settings."""
    rate = model.optimizer.get_config().get("learning_rate")
    return float(f"{rate:.6g}") if isinstance(rate, int | float) else None  # Keras has rounded it to float32


def _callback(callback: Any) -> str:
    name = type(callback).__name__
    if type(callback) is not keras.callbacks.EarlyStopping:
        return name
    values: dict[str, Any] = {each: getattr(callback, each, None) for each in _OF_EARLY_STOPPING}
    values["min_delta"] = abs(values["min_delta"])  # Keras changes its sign
    return f"{name}({', '.join(f'{each}={value}' for each, value in values.items())})"


def checksum(*arrays: Any) -> str:
    """Return the shape of the first array and a checksum of all; sparse matrices may be among them."""
    digest = hashlib.blake2b(digest_size=8)
    for array in arrays:
        parts = (array.indptr, array.indices, array.data) if sparse.issparse(array) else (array,)
        for part in map(np.ascontiguousarray, parts):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(part.tobytes() if part.dtype.hasobject else part.reshape(-1).view(np.uint8).data)
    return f"{'x'.join(map(str, arrays[0].shape))}, checksum {digest.hexdigest()}"
