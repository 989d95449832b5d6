"""Models of reviews that take word ids: computing bags or n-grams from ids becomes part of the model.

Everything is made of Keras's own operations on int32 and float32, so that one model file runs on all backends, and each
format of ``formats.py`` can express it. The vector of a word is a row of the first layer's kernel, as in an
``EmbeddingBag``; no multi-hot vector is made.
"""

from typing import Any

from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.data.review_features import ReviewFeatures, WordFeatures
from k3torch.data.text import UNKNOWN
from k3torch.errors import InputError
import keras
from keras import layers, ops
import numpy as np
from numpy.typing import ArrayLike, NDArray

NOTHING = -1  # the column of padding, and of what is not in the vocabulary
PADDING = 0  # the id
_SMALL = 1e-30  # in place of a sum of squares that is 0, so that 0 / 0 is 0


def takes_word_ids(model: keras.Model, features: ReviewFeatures) -> keras.Model:
    """Return a model that takes the word ids of reviews instead of their bags.

    Args:
        model: of plain layers, one behind the other. The first is a ``Dense`` for samples of ``features``.
        features: of the model, which are not hashed.

    Returns:
        A model in float32. Its input is int32, (batch, words): the ids of each review as ``Vocabulary.encode`` returns
        them, with 0 for padding at the end; ids that the model does not know count as unknown words. Its outputs
        equal those of ``model`` on the samples to float32 rounding.

    Raises:
        InputError: for hashed n-grams, whose 64-bit arithmetic most formats lack, and for other layers.
    """
    first, *others = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    if not isinstance(first, layers.Dense):
        raise InputError(f"expected a model that begins with a Dense layer for word ids, got {type(first).__name__}")
    kernel, *bias = (np.asarray(weights, np.float32) for weights in first.get_weights())
    ids = keras.Input((None,), dtype="int32", name="ids")
    if isinstance(features, WordFeatures):
        columns = _columns_of_words(ids, features.num_words)
        total = _sum_of_rows(columns, kernel)
    elif isinstance(features, NgramFeatures) and isinstance(features.ngrams, Ngrams):
        columns = _columns_of_ngrams(ids, features.ngrams)
        weights = np.ones(len(kernel), np.float32) if features.weights is None else features.weights
        total = _sum_of_rows(columns, np.column_stack([kernel * weights[:, None], weights**2]))
        total = total[:, :-1] / ops.sqrt(ops.maximum(total[:, -1:], _SMALL))
    else:
        raise InputError("expected words or n-grams of a vocabulary for word ids, got hashed n-grams: export features")
    outputs = layers.Rescaling(1.0, bias[0].tolist(), name="bias", dtype="float32")(total) if bias else total
    outputs = layers.Activation(first.activation, dtype="float32")(outputs)
    for layer in others:
        copy = type(layer).from_config(layer.get_config() | {"dtype": "float32"})
        outputs = copy(outputs)
        copy.set_weights(layer.get_weights())
    return keras.Model(ids, outputs, name=model.name)


def _sum_of_rows(columns: Any, table: NDArray[np.float32]) -> Any:
    """Return the sum of the rows of ``table`` that occur in ``columns``, each once: (batch, units).

    ``columns`` is int32, (batch, any), with ``NOTHING`` where there is none.
    """
    ordered = ops.sort(columns, axis=1)
    before = ops.concatenate([ops.full_like(ordered[:, :1], NOTHING), ordered[:, :-1]], axis=1)
    counted = ops.cast(ops.not_equal(ordered, before), "float32")  # NOTHING comes first, and equals what is before
    rows = _lookup(table, ops.maximum(ordered, 0), "kernel")
    return ops.sum(rows * ops.expand_dims(counted, -1), axis=1)


def _columns_of_words(ids: Any, num_words: int) -> Any:
    known = ops.logical_and(ids >= 0, ids < num_words)
    ids = ops.where(known, ids, ops.full_like(ids, UNKNOWN))
    return ops.where(ops.equal(ids, PADDING), ops.full_like(ids, NOTHING), ids)


def _columns_of_ngrams(ids: Any, ngrams: Ngrams) -> Any:
    """Return the column of the n-gram of each order that begins at each position: (batch, words x orders)."""
    words = ngrams.keys[0]
    table = np.full(int(words[-1]) + 2, NOTHING, np.int64)  # the last row is that of all larger ids
    table[words] = np.arange(len(words))
    numbers = _integers(table, ops.clip(ids, 0, len(table) - 1), "words")
    found, first = [numbers], len(words)
    for order, (below, keys) in enumerate(zip(ngrams.keys, ngrams.keys[1:], strict=False), 2):
        if not len(keys):
            break
        following = ops.concatenate([numbers[:, 1:], ops.full_like(numbers[:, :1], NOTHING)], axis=1)
        numbers = _pairs(numbers, following, len(below), keys, f"order_{order}")
        found.append(ops.where(ops.equal(numbers, NOTHING), numbers, numbers + first))
        first += len(keys)
    return ops.concatenate(found, axis=1)


def _pairs(start: Any, end: Any, below: int, keys: NDArray[np.int64], name: str) -> Any:
    """Return the number of the n-gram that is made of two shorter ones, by their numbers; int32, NOTHING for none.

    ``keys`` are sorted by the first and then by the second part, so the n-grams with one first part are neighbours,
    and the second part is searched among them by bisection.
    """
    firsts, seconds = np.divmod(keys, below)
    bounds = np.searchsorted(firsts, np.arange(below + 1))
    here = ops.maximum(start, 0)
    low, stop = _integers(bounds[:-1], here, f"{name}_low"), _integers(bounds[1:], here, f"{name}_stop")
    high, last = stop, len(keys) - 1
    second = layers.Embedding(len(keys), 1, name=f"{name}_second", trainable=False, dtype="float32")
    for _ in range(int(np.diff(bounds).max()).bit_length()):
        middle = ops.floor_divide(low + high, 2)
        above = _read(second, ops.minimum(middle, last)) < end
        open_ = low < high
        low = ops.where(ops.logical_and(open_, above), middle + 1, low)
        high = ops.where(ops.logical_or(above, ops.logical_not(open_)), high, middle)
    matches = ops.logical_and(low < stop, ops.equal(_read(second, ops.minimum(low, last)), end))
    second.set_weights([seconds[:, None]])
    matches = ops.logical_and(matches, ops.logical_and(start >= 0, end >= 0))
    return ops.where(matches, low, ops.full_like(low, NOTHING))


def _lookup(table: ArrayLike, ids: Any, name: str) -> Any:
    """Return the rows of a table, float32: (batch, ids, width of the table)."""
    rows = np.asarray(table, np.float32)
    layer = layers.Embedding(*rows.shape, name=name, dtype="float32")
    found = layer(ids)
    layer.set_weights([rows])
    return found


def _integers(values: NDArray[np.int64], ids: Any, name: str) -> Any:
    """Return elements of an array of integers below 2**24, which float32 weights represent without rounding; int32."""
    return ops.cast(_lookup(values[:, None], ids, name)[..., 0], "int32")


def _read(layer: keras.Layer, ids: Any) -> Any:
    return ops.cast(layer(ids)[..., 0], "int32")
