"""Plot what the lecture explains, momentum for example.

    make figures
    k3torch figures --out plots

The plots show losses, momentum, overfitting, folds and dropout. Each curve is computed by Keras's own
losses, SGD and Dropout, NumPy's least squares or scikit-learn's KFold. Takes about 10 seconds.
"""

from dataclasses import dataclass

from k3torch import cli
from k3torch.options import Output


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    output: Output = Output()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from k3torch import runtime
from k3torch.reports import demos, explain
from k3torch.reports.run_folder import RunFolder
import keras
import numpy as np
from numpy.typing import NDArray
import torch

RATE = 0.01  # of SGD
VALIDATION, TEST = (explain.ROLES.index(role) for role in ("validation", "test"))


def main(settings: Settings) -> None:
    """Draw all plots into a run folder."""
    runtime.configure("cpu")
    with RunFolder("figures", settings) as run:
        for draw in (losses, momentum, polynomials, folds, dropout):
            draw(run)
    print(f"written to {run.path}:")
    for path in sorted(run.path.glob(f"*.{settings.output.format}")):
        print(f"  {path.name}")


def losses(run: RunFolder) -> None:
    """Cross-entropy of a confident mistake grows without limit, squared error is at most 1."""
    probabilities = np.linspace(0.001, 1, 400)
    cross_entropy, squared_error = demos.losses_for_label_one(probabilities)
    explain.plot_losses(run.plot("losses"), probabilities, cross_entropy, squared_error)
    run.metrics["losses_at_0.001"] = {"cross_entropy": cross_entropy[0], "squared_error": squared_error[0]}


def momentum(run: RunFolder) -> None:
    """Without momentum SGD ends in the first minimum; with momentum it reaches the lower one."""
    weights = np.linspace(-2.3, 2.3, 300)
    descents = {}
    for momentum in (0.0, 0.9):
        name = f"SGD, learning rate {RATE}, momentum {momentum:g}"
        optimizer = keras.optimizers.SGD(RATE, momentum=momentum)
        path = demos.descend(demos.two_valleys, start=2.2, optimizer=optimizer, steps=120)
        descents[name] = (path, _heights(path))
        run.metrics[name] = {"weight": path[-1], "loss": descents[name][1][-1]}
    explain.plot_momentum(run.plot("momentum"), (weights, _heights(weights)), descents)


def polynomials(run: RunFolder) -> None:
    """Degree 1 underfits a cosine, 4 fits it, 15 fits the noise."""
    fits = demos.fit_polynomials()
    verdicts = {1: "underfits", 4: "fits", 15: "overfits"}
    names = {degree: f"degree {degree}: {verdict}" for degree, verdict in verdicts.items()}
    explain.plot_polynomials(
        run.plot("polynomials"),
        (fits.x, fits.y),
        (fits.grid, fits.truth),
        {names[degree]: curve for degree, curve in fits.curves.items()},
        {names[degree]: (fits.sample_error[degree], fits.true_error[degree]) for degree in fits.curves},
    )
    run.metrics["polynomials"] = {"sample_error": fits.sample_error, "true_error": fits.true_error}


def folds(run: RunFolder) -> None:
    """From one split to nested cross-validation."""
    schemes = {
        "One split: the test samples are used once, at the end": demos.fold_roles(5, TEST)[-1:],
        "A validation part, to select epochs, widths, rates": demos.fold_roles(5, VALIDATION, TEST)[3:4],
        "3-fold: each part validates once, scores are averaged": demos.fold_roles(3, VALIDATION),
        "Validation and test cycled through the data": demos.fold_roles(5, VALIDATION, TEST),
    }
    explain.plot_folds(run.plot("folds"), schemes)


def dropout(run: RunFolder) -> None:
    """What Dropout(0.5) does to a layer's outputs."""
    passes = demos.drop_out(rate=0.5)
    stages = {
        "before Dropout(0.5)": passes.before,
        "training: a random half becomes 0": passes.dropped,
        "training: the others are scaled by 2": passes.training,
        "prediction: nothing changes": passes.prediction,
    }
    explain.plot_dropout(run.plot("dropout"), stages)
    run.metrics["dropout_means"] = {name: values.mean() for name, values in stages.items()}


def _heights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(demos.two_valleys(torch.from_numpy(weights)))


if __name__ == "__main__":
    cli.run(main, SETTINGS)
