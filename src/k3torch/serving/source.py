"""What is exported from a run folder: its model made of plain layers, and what a caller must know to use it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, Literal

from k3torch.data.columns import COLUMNS
from k3torch.data.review_features import VOCABULARY, WordFeatures
from k3torch.data.text import UNKNOWN
from k3torch.errors import InputError
from k3torch.serving.plain_layers import plain_model
from k3torch.serving.reviews import Classifier
from k3torch.serving.tables import TableModel
from k3torch.serving.word_ids import PADDING, takes_word_ids
from k3torch.training.saving import load_model
import keras
import numpy as np
from numpy.typing import NDArray

Takes = Literal["auto", "ids", "features"]
Array = NDArray[Any]

CONFIG = "config.json"
IDS, FEATURES = "ids", "features"
_OF_IDS = "of each review 1, the id of each word (its place in vocabulary.json + 4, 2 if it is not there), 0 at the end"
_OF_BAGS = "of each review 1 for each id that occurs (n-grams: the weight), else 0"
_OF_COLUMNS = "numbers as they are in the table, 1 or 0 for true or false, and for each text of a column 1 or 0"
_OF_PIXELS = "28 x 28 pixels, row by row, 0 for the background to 1 for ink"


@dataclass(frozen=True)
class Source:
    """A model to export.

    Attributes:
        model: of Keras's own layers.
        reference: the model of the run, as a function from inputs of ``model`` to outputs.
        files: names of the files in the run folder that belong to it.
        card: what goes in and what comes out, for export.json.
    """

    model: keras.Model
    reference: Callable[[Array], Array]
    files: tuple[str, ...]
    card: dict[str, Any]


def load_source(run: Path, takes: Takes, form: str) -> Source:
    """Return what is exported from a run folder; arguments and errors are those of ``export_run``."""
    if not (run / "model.keras").is_file():
        raise InputError(
            f"expected a run folder with model.keras, got {run} without it: a complete run of train-imdb, "
            "train-digits, kfold-boston, kfold-table or search-boston writes one"
        )
    if (run / VOCABULARY).is_file():
        return _reviews(run, takes == IDS or (takes == "auto" and form != "keras"))
    if takes == IDS:
        raise InputError(f"expected takes as features for a run without {VOCABULARY}, got ids: {run} has no words")
    if (run / COLUMNS).is_file():
        return _table(run)
    model = load_model(run / "model.keras")
    meanings = (_OF_PIXELS, "probability of each digit") if _is_of_digits(run) else ("as in the run", "as in the run")
    return Source(plain := plain_model(model), _outputs_of(model), (), _card(plain, FEATURES, *meanings))


def _reviews(run: Path, by_ids: bool) -> Source:
    classifier = Classifier(run)
    labels = {"labels": list(classifier.labels)}
    meaning = f"probability of {classifier.labels[1]}"
    plain = plain_model(classifier.model)
    if not by_ids:
        card = _card(plain, FEATURES, _OF_BAGS, meaning, **labels)
        return Source(plain, _outputs_of(classifier.model), (VOCABULARY,), card)

    features, words = classifier.features, len(classifier.vocabulary.words) + 4
    if isinstance(features, WordFeatures):  # columns without a word were never trained
        features = WordFeatures(min(words, features.num_words))

    def reference(ids: Array) -> Array:
        known = np.where(ids < words, ids, UNKNOWN)
        return classifier.probabilities([review[review != PADDING] for review in known])[:, None]

    model = takes_word_ids(plain, features)
    return Source(model, reference, (VOCABULARY,), _card(model, IDS, _OF_IDS, meaning, **labels))


def _table(run: Path) -> Source:
    table = TableModel(run)
    columns, plain = table.columns, plain_model(table.model)
    classes = columns.classes[-plain.output_shape[1] :]
    meaning = f"probability of {', '.join(classes)}" if classes else columns.target
    names = [feature.name for feature in columns.features]
    card = _card(plain, FEATURES, _OF_COLUMNS, meaning, features=names)
    return Source(plain, _outputs_of(table.model), (COLUMNS,), card)


def _card(model: keras.Model, name: str, given: str, returned: str, **more: Any) -> dict[str, Any]:
    (inputs,), (outputs,) = model.inputs, model.outputs
    return {
        "input": {"name": name, "shape": list(inputs.shape), "dtype": inputs.dtype, "meaning": given},
        "output": {"shape": list(outputs.shape), "dtype": outputs.dtype, "meaning": returned},
        **more,
    }


def _outputs_of(model: keras.Model) -> Callable[[Array], Array]:
    return lambda x: np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))


def _is_of_digits(run: Path) -> bool:
    try:
        content = json.loads((run / CONFIG).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("name") == "digits"


def samples(source: Source) -> Iterator[Array]:
    """Yield random batches of several sizes to compare outputs on."""
    model, draw = source.model, np.random.default_rng(0)
    scaling = next((layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)), None)
    for rows, words in ((1, 1), (3, 40), (64, 200)):
        shape = [rows, *(size or words for size in model.input_shape[1:])]
        if source.card["input"]["name"] == IDS:
            ids = np.exp(draw.uniform(0, 10, shape)).astype("int32")  # frequent words have low ids
            lengths = draw.integers(1, shape[1] + 1, (rows, 1))
            yield np.where(np.arange(shape[1]) < lengths, ids, np.int32(PADDING))
        elif scaling is not None:
            mean, variance = (keras.ops.convert_to_numpy(part) for part in (scaling.mean, scaling.variance))
            yield (mean + np.sqrt(variance) * draw.normal(size=shape)).astype("float32")
        else:
            yield draw.uniform(0, 1, shape).astype("float32")
