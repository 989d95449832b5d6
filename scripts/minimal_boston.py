"""Predict prices of homes in one view.

    make minimal-boston
    k3torch minimal-boston --epochs 40

Loads the Boston table, scales it, makes batches, builds, compiles and fits the lecture's network, evaluates it, and
predicts.
"""

from dataclasses import dataclass

from k3torch import cli


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    epochs: int = 80
    """Passes over the training samples."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

from k3torch import FastSequential, Standardizer, array_loader
from k3torch.data import boston
import keras


def main(settings: Settings) -> None:
    """Train on the training samples, and test once."""
    cli.check_counts(settings, "epochs")
    (x, y), (x_test, y_test) = boston.load_data()
    scale = Standardizer.fit(x)  # mean and deviation of the training samples alone
    train = array_loader(scale.transform(x), y[:, None], batch_size=16, shuffle=True)
    test = array_loader(scale.transform(x_test), y_test[:, None], batch_size=len(x_test))

    keras.utils.set_random_seed(0)
    model = FastSequential(
        [
            keras.Input((13,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(optimizer="rmsprop", loss="mse", metrics=["mae"])
    model.fit(train, epochs=settings.epochs, shuffle=False)
    metrics = model.evaluate(test, return_dict=True, verbose=0)
    print(f"test: mean absolute error {metrics['mae']:.2f} (1000 USD)")

    for predicted, price in zip(model.predict(test, verbose=0)[:3, 0], y_test, strict=False):
        print(f"predicted {predicted:.1f}, price {price:.1f}")


if __name__ == "__main__":
    cli.run(main, SETTINGS)
