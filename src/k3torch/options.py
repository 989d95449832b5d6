"""Groups of command-line options that several scripts share. Imports neither torch nor Keras, so that parsing is fast.

A script's settings hold them as fields, and ``cli.parse`` shows each group under a title of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import tyro

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]
Schedule = Literal["constant", "step", "exponential", "cosine"]
Rung = Literal[1, 2, 3, 4, 5, 6, 7]
Format = Literal["png", "svg", "pdf"]
Weighting = Literal["naive-bayes", "tf-idf", "plain"]

OF_THE_CALL = {"out", "force", "resume", "open"}
"""Options that say where a run is, not what it does."""


def shown_as(metavar: str, default: str | None = None) -> Any:
    """Return how the help page shows an option: what it takes, and in words what its default does.

    Without ``default`` the page shows the value of the default.
    """
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=None if default is None else f"(default: {default})")


Flag = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
ReviewSource = Annotated[str, shown_as("{auto,keras,reviews}|PATH")]


@dataclass(frozen=True)
class ReviewLabels:
    """Columns and labels of your own reviews, where --source is a table or a folder."""

    text_column: Annotated[str | None, shown_as("NAME", "text, review or a similar name")] = None
    """Column of a table with the texts."""
    label_column: Annotated[str | None, shown_as("NAME", "label, sentiment or a similar name")] = None
    """Column of a table with the labels."""
    labels: Annotated[tuple[str, ...], shown_as("NEGATIVE POSITIVE", "0 1, neg pos or negative positive")] = ()
    """The two labels, or the two folders of texts. Reviews with any other label are left out, and counted. Several
    labels are joined by commas: `--labels 1,2 4,5` for one to five stars, where three stars are neither."""


@dataclass(frozen=True)
class Ngrams:
    """Sequences of up to n words instead of single words, weighted and scaled to length 1."""

    ngrams: Annotated[int | None, shown_as("INT", "bags of single words")] = None
    """Longest sequence, such as 2 for words and pairs. Unless --units or --optimizer say otherwise, the network is
    then a single sigmoid unit trained with Adam, and --learning-rate is the best of 0.03, 0.1 and 0.3 on validation."""
    min_count: int = 2
    """Leave out what occurs less often in the training samples."""
    max_features: Annotated[int | None, shown_as("INT", "all")] = None
    """Keep this many of the most frequent."""
    hash_bits: Annotated[int | None, shown_as("INT", "learn a vocabulary")] = None
    """Hash to 2**INT columns instead, from 4 to 24."""
    weighting: Weighting = "naive-bayes"
    """naive-bayes: how much more often an n-gram occurs in positive reviews (log-count ratio). tf-idf: in how few
    reviews it occurs. plain: none."""


@dataclass(frozen=True)
class Output:
    """The run folder, which gets the settings and all files that the command writes."""

    out: Annotated[Path | None, shown_as("PATH", "a new folder in runs/")] = None
    """The run folder."""
    force: Flag = False
    """Use the folder even if it contains files. Those that an earlier run wrote, as listed in its manifest.json, are
    replaced: they are deleted when the new run ends, unless it was refused. All others are kept."""
    format: Format = "png"
    """Format of the plots: png with 150 dots per inch, or svg or pdf, which can be enlarged."""
    open: Flag = False
    """Show report.html, which has all results of the run, in the browser at the end."""


@dataclass(frozen=True)
class Resumable(Output):
    """The run folder of a command that can go on with an interrupted run."""

    resume: Annotated[Path | None, shown_as("RUN", "begin a new run")] = None
    """Go on with the run in this folder, which was interrupted, killed or has failed, with the settings that are saved
    there. The results are those of a run without interruption. Options that contradict the saved ones are refused."""


@dataclass(frozen=True)
class TableFormat:
    """How the text of a table is to be read, where it does not show by itself."""

    separator: Annotated[str | None, shown_as("TEXT", "recognised")] = None
    """Between the cells of a row: "," or ";" or "|" or tab."""
    decimal: Annotated[str | None, shown_as("TEXT", "recognised")] = None
    """Decimal mark of numbers: "." or ","."""


@dataclass(frozen=True)
class Machine:
    """Where and how to compute."""

    device: Device = "auto"
    """auto is cuda where there is a GPU, else cpu. mps lacks sparse CSR tensors, so it is never chosen by auto."""
    precision: Precision = "float32"
    """Arithmetic of the layers. bfloat16 is Keras's mixed_bfloat16: the weights stay float32."""
    seed: int = 0
    """Seed of Python, NumPy, torch and Keras. The same seed on the same machine gives the same results."""


@dataclass(frozen=True)
class Callbacks:
    """Keras callbacks of the training run that has validation data."""

    early_stopping: Annotated[int, shown_as("EPOCHS", "0, never stop")] = 0
    """Stop after this many epochs without a lower validation loss, and restore the best weights."""
    best_checkpoint: Flag = False
    """Keep the weights of the epoch with the lowest validation loss in best.weights.h5."""
    schedule: Schedule = "constant"
    """Learning rate over the epochs: halved every 5 (step), times 0.9 every epoch (exponential), down to 0 (cosine)."""
    reduce_on_plateau: Annotated[int, shown_as("EPOCHS", "0, never reduce")] = 0
    """Divide the learning rate by 5 after this many epochs without a lower validation loss."""
    tensorboard: Flag = False
    """Write the metrics of each epoch to the folder tensorboard, for `tensorboard --logdir`."""


@dataclass(frozen=True)
class Network:
    """The network and its optimizer, by default the lecture's. A NAME is Keras's."""

    units: Annotated[tuple[int, ...], shown_as("INT ...")]
    """Widths of the hidden layers."""
    activation: Annotated[str, shown_as("NAME")] = "relu"
    """Activation of the hidden layers."""
    dropout: Annotated[float, shown_as("FLOAT", "0")] = 0.0
    """Fraction of hidden outputs dropped."""
    l1: Annotated[float, shown_as("FLOAT", "0")] = 0.0
    """L1 penalty on the weights of hidden layers."""
    l2: Annotated[float, shown_as("FLOAT", "0")] = 0.0
    """L2 penalty on the weights of hidden layers."""
    max_norm: Annotated[float | None, shown_as("FLOAT", "none")] = None
    """Largest norm of a unit's weights."""
    kernel_initializer: Annotated[str, shown_as("NAME")] = "glorot_uniform"
    """Initial weights of all layers."""
    optimizer: Annotated[str, shown_as("NAME")] = "rmsprop"
    """Optimizer."""
    learning_rate: Annotated[float | None, shown_as("FLOAT", "Keras's")] = None
    """Learning rate of the first update."""
    momentum: Annotated[float | None, shown_as("FLOAT", "0")] = None
    """Momentum of sgd or rmsprop."""
    nesterov: Flag = False
    """Use Nesterov momentum with sgd."""
    clipnorm: Annotated[float | None, shown_as("FLOAT", "none")] = None
    """Largest norm of a variable's gradient."""
    clipvalue: Annotated[float | None, shown_as("FLOAT", "none")] = None
    """Largest absolute value in a gradient."""

    def differences(self, other: "Network") -> list[str]:
        """Return each option whose value differs from ``other``'s, such as ``"--dropout 0.5 instead of 0"``."""
        return [
            f"{option(field.name)} {typed(mine)} instead of {typed(theirs)}"
            for field in fields(self)
            if (mine := getattr(self, field.name)) != (theirs := getattr(other, field.name))
        ]


def option(name: str) -> str:
    """Return the option of a field: ``"--batch-size"`` for ``"batch_size"``."""
    return f"--{name.replace('_', '-')}"


def typed(value: object) -> str:
    """Return a value as on the command line."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bool):
        return "on" if value else "off"
    return "the default" if value is None else str(value)


class HasOutput(Protocol):
    """Settings of a script that writes a run folder."""

    @property
    def output(self) -> Output:
        """Where the run folder is."""


def flat(settings: Any) -> Mapping[str, Any]:
    """Return the options of a settings dataclass by name, those of its groups among them."""
    values: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        values |= flat(value) if is_dataclass(value) else {field.name: value}
    return values
