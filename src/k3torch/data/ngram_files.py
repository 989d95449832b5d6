"""The file of ``NgramFeatures``: an .npz of arrays, checked when it is read, and never unpickled."""

from itertools import pairwise
from pathlib import Path
from typing import Any
import zipfile
import zlib

from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.data.text import FIRST_WORD
from k3torch.errors import InputError, Problem, refuse, unless
from k3torch.files import atomic_path
import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def save_ngrams(path: Path, features: NgramFeatures) -> None:
    """Write the features to ``path``, an .npz file; the write is atomic."""
    arrays: Arrays = {} if features.weights is None else {"weights": features.weights}
    match features.ngrams:
        case Ngrams(keys):
            arrays |= {f"keys_{n}": order for n, order in enumerate(keys, 1)}
        case HashedNgrams(n, bits):
            arrays |= {"hashed": np.array([n, bits], np.int64)}
    with atomic_path(path) as draft:
        _write(draft, arrays)


def load_ngrams(path: Path) -> NgramFeatures:
    """Read what ``save_ngrams`` wrote.

    Raises:
        InputError: for a file that is missing, damaged, or has other content.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = dict(stored)
        return _features(arrays)
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        NotImplementedError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        reason = str(error).removeprefix("expected ") if isinstance(error, InputError) else type(error).__name__
        raise InputError(f"expected n-grams in {path}, got {reason}: give a run folder of train_imdb.py") from error


def _write(path: Path, arrays: Arrays) -> None:
    with path.open("wb") as file:  # savez would append .npz to another suffix
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _features(arrays: Arrays) -> NgramFeatures:
    weights, hashed = arrays.pop("weights", None), arrays.pop("hashed", None)
    ngrams: Ngrams | HashedNgrams
    if hashed is not None:
        refuse([unless(not arrays, "hashed n-grams or a vocabulary, got both")])
        n, bits = hashed.tolist()
        ngrams = HashedNgrams(n, bits)
    else:
        keys = [arrays.pop(f"keys_{n}") for n in range(1, max(2, len(arrays) + 1))]
        refuse([_words_problem(keys[0]), *(_keys_problem(n, *both) for n, both in enumerate(pairwise(keys), 2))])
        ngrams = Ngrams(tuple(keys))
    refuse([None if weights is None else _weights_problem(weights, ngrams.num_features)])
    return NgramFeatures(ngrams, weights)


def _words_problem(words: NDArray[Any]) -> Problem:
    fits = _is_sorted(words) and len(words) > 0 and words[0] >= FIRST_WORD and words[-1] < 2**31
    return unless(fits, f"sorted word ids, got {words.dtype} of shape {words.shape}")


def _keys_problem(n: int, below: NDArray[Any], keys: NDArray[Any]) -> Problem:
    """Check that each n-gram is made of two of those in the order ``below``."""
    fits = _is_sorted(keys) and (len(keys) == 0 or (keys[0] >= 0 and keys[-1] < below.size**2))
    return unless(fits, f"sorted keys of {n}-grams, got {keys.dtype} of shape {keys.shape}")


def _is_sorted(keys: NDArray[Any]) -> bool:
    return keys.dtype == np.int64 and keys.ndim == 1 and bool((keys[:-1] < keys[1:]).all())


def _weights_problem(weights: NDArray[Any], size: int) -> Problem:
    fits = weights.dtype == np.float32 and weights.shape == (size,) and np.isfinite(weights).all()
    return unless(fits, f"{size} finite float32 weights, got {weights.dtype} of shape {weights.shape}")
