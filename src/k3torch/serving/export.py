"""Exports the model of a run folder: a folder with the model in another format, and all that its caller needs."""

from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import Any, Literal

from k3torch import __version__
from k3torch.errors import InputError, choice_problem, first_line, refuse
from k3torch.files import atomic_folder, reason_of
from k3torch.serving.formats import FORMATS, Format, missing
from k3torch.serving.source import Source, Takes, load_source, samples
import numpy as np

FormatName = Literal["keras", "torch", "onnx", "openvino", "litert"]
CARD = "export.json"
TOLERANCE = 1e-5  # of outputs, absolute and relative


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        folder: where it is.
        files: names of the files in it, the model's first.
        card: the content of export.json: what goes in and what comes out.
        difference: the largest between its outputs and those of the model of the run, or None if they were not
            compared.
        not_compared: why not, or "".
    """

    folder: Path
    files: tuple[str, ...]
    card: dict[str, Any]
    difference: float | None
    not_compared: str


def export_run(
    run: Path, form: FormatName, out: Path | None = None, *, takes: Takes = "auto", force: bool = False
) -> Exported:
    """Write the model of a run folder in another format, and compare its outputs where its runtime is installed.

    Args:
        run: of train-imdb, train-digits, kfold-boston, kfold-table or search-boston.
        form: a name of ``FORMATS``.
        out: a new folder; None is ``export-FORMAT`` in the run folder.
        takes: for film reviews, "ids" of words or "features", their bags as a dense array. "auto" is "features" for
            keras, whose file can then be trained further, else "ids". Other models take features.
        force: replace files in ``out`` that have the names of new ones.

    Raises:
        InputError: for anything but a run folder with a model, a format whose packages are missing, a folder with
            files, and a model that the format cannot express: nothing is written then.
    """
    refuse([choice_problem("form", form, tuple(FORMATS)), choice_problem("takes", takes, ("auto", "ids", "features"))])
    target, kind = out or run / f"export-{form}", FORMATS[form]
    _check_target(target, force)
    kind.check()
    source = load_source(run, takes, form)
    with atomic_folder(target) as draft:
        try:
            kind.write(source.model, draft / kind.file)
        except InputError:
            raise
        except Exception as error:  # of any of the exporters, for layers that they do not know
            raise InputError(f"expected a model that {form} can express, got: {first_line(error)}") from error
        difference, reason = _compare(source, kind, draft / kind.file)
        card = {"format": form, "k3torch": __version__} | source.card
        (draft / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
        for name in source.files:
            shutil.copyfile(run / name, draft / name)
        written = sorted((path.name for path in draft.iterdir()), key=lambda name: (name != kind.file, name))
    return Exported(target, tuple(written), card, difference, reason)


def _compare(source: Source, kind: Format, path: Path) -> tuple[float | None, str]:
    """Return the largest difference between the outputs of the file and of the run's model, or why there is none.

    Raises:
        InputError: if they differ by more than ``TOLERANCE``.
    """
    if absent := missing(kind.runtime):
        return None, f"no {' and no '.join(absent)} installed, which runs {path.name}"
    run, largest = kind.load(path), 0.0
    for x in samples(source):
        expected, found = source.reference(x), run(x)
        largest = max(largest, float(np.abs(found - expected).max()))
        if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise InputError(
                f"expected {path.name} to have the outputs of the run's model to {TOLERANCE:g}, got differences of "
                f"{largest:.2g}"
            )
    return largest, ""


def _check_target(target: Path, force: bool) -> None:
    try:
        if target.exists() and not target.is_dir():
            raise InputError(f"expected a folder for --out, got the file {target}")
        if target.is_dir() and any(target.iterdir()) and not force:
            raise InputError(f"expected an empty folder for --out, found files in {target}: --force replaces them")
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"expected a folder for --out, got {target}: {reason_of(error)}") from error
