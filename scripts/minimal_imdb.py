"""Classify film reviews in one view.

    make minimal-imdb
    k3torch minimal-imdb --source reviews.csv

Loads reviews, makes sparse batches, builds, compiles and fits the lecture's network, evaluates it, and predicts.
"""

from dataclasses import dataclass

from k3torch import cli
from k3torch.options import ReviewSource


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

from k3torch import BagDataset, FastModel, SparseDense, bag_loader, bag_of_words
from k3torch.data.imdb import load_data
import keras

NUM_WORDS = 10_000


def main(settings: Settings) -> None:
    """Train on the training half for 4 epochs, which is where the validation loss of train-imdb is lowest."""
    data = load_data(settings.source, NUM_WORDS)
    train, test = (
        BagDataset(bag_of_words(reviews.ids, reviews.offsets, NUM_WORDS), reviews.labels)
        for reviews in (data.train, data.test)
    )

    keras.utils.set_random_seed(0)
    inputs = keras.Input((NUM_WORDS,))
    hidden = SparseDense(16, activation="relu")(inputs)
    hidden = keras.layers.Dense(16, activation="relu")(hidden)
    model = FastModel(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))

    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    model.fit(bag_loader(train, batch_size=512, shuffle=True), epochs=4, shuffle=False)
    testing = bag_loader(test, batch_size=512)
    metrics = model.evaluate(testing, return_dict=True, verbose=0)
    print(f"test loss {metrics['loss']:.3f}, accuracy {metrics['accuracy']:.3f}")

    for probability, label in zip(model.predict(testing, verbose=0)[:3, 0], data.test.labels, strict=False):
        print(f"probability of {data.labels[1]} {probability:.3f}, label {data.labels[int(label)]}")


if __name__ == "__main__":
    cli.run(main, SETTINGS)
