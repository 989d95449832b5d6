"""Export the model of a run to another format.

    k3torch export runs/imdb-TIME --format onnx
    k3torch export runs/boston-TIME --format torch --out serving/boston
    make export ARGS="runs/imdb-TIME --format keras"

RUN is a folder of train-imdb, train-digits, kfold-boston, kfold-table or search-boston. The new folder gets the model,
export.json, which says what goes in and what comes out, and what turns words or columns into inputs: vocabulary.json or
columns.json. Scaling is part of the model: it takes the numbers of a table as they are. The number of samples in a
batch may vary. The outputs are compared with those of the run's model, and nothing is written if they differ by more
than 1e-5. docs/export.md shows how each format is run.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Flag, shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    run: tyro.conf.Positional[Annotated[Path, shown_as("RUN")]]
    """A run folder with model.keras."""
    format: Literal["keras", "torch", "onnx", "openvino", "litert"] = "onnx"
    """keras: a file that Keras loads without k3torch, on torch, JAX and TensorFlow, and trains further. torch: a
    program for torch.export.load. The others need packages of their own: k3torch[export], k3torch[openvino],
    k3torch[litert]."""
    takes: Literal["auto", "ids", "features"] = "auto"
    """What a model of film reviews takes: ids, the ids of the words of each review, or features, its bag of words as a
    dense array. auto is features for keras, else ids."""
    out: Annotated[Path | None, shown_as("PATH", "export-FORMAT in the run folder")] = None
    """The new folder."""
    force: Flag = False
    """Replace files of the same names in the folder."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from k3torch import runtime
from k3torch.serving.export import Exported, export_run


def main(settings: Settings) -> None:
    """Export, and say what was written."""
    runtime.configure("cpu")
    show(export_run(settings.run, settings.format, settings.out, takes=settings.takes, force=settings.force))


def show(exported: Exported) -> None:
    """Print the files, what goes in and out, and how far the outputs agree."""
    given, returned = exported.card["input"], exported.card["output"]
    print(f"written to {exported.folder}: {', '.join(exported.files)}")
    print(f"input   {given['name']}, {given['dtype']} {shape(given['shape'])}")
    print(f"output  {returned['meaning']}, {returned['dtype']} {shape(returned['shape'])}")
    if exported.difference is None:
        print(f"outputs not compared with the model of the run: {exported.not_compared}")
    else:
        print(f"outputs equal those of the model of the run: largest difference {exported.difference:.1e}")


def shape(sizes: list[int | None]) -> str:
    names = iter(("batch", "words"))
    return f"({', '.join(str(size or next(names)) for size in sizes)})"


if __name__ == "__main__":
    cli.run(main, SETTINGS)
