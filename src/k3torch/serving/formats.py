"""Model files of other runtimes: how each is written, and how its own runtime runs it, to compare.

Keras's ``Model.export`` fixes the size of the batch for torch and ONNX, so these two are written by PyTorch itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
import logging
import os
from pathlib import Path
import subprocess
import sys
from typing import Any
import warnings

from k3torch.errors import InputError
from k3torch.serving.plain_layers import save_plain
import keras
import numpy as np
from numpy.typing import NDArray
import torch

Array = NDArray[Any]
Run = Callable[[Array], Array]


@dataclass(frozen=True)
class Format:
    """A format of model files.

    Attributes:
        file: name of the file.
        write: writes a model of plain layers to a path with the suffix of ``file``.
        load: returns the file as a function of a batch, in the format's own runtime.
        needs: packages that ``write`` imports.
        runtime: packages that ``load`` imports.
        install: what installs both.
    """

    file: str
    write: Callable[[keras.Model, Path], None]
    load: Callable[[Path], Run]
    needs: tuple[str, ...] = ()
    runtime: tuple[str, ...] = ()
    install: str = ""

    def check(self) -> None:
        """Refuse a format whose packages are missing, before anything is loaded.

        Raises:
            InputError: names them.
        """
        if absent := missing(self.needs):
            raise InputError(
                f"expected the packages that write {self.file}, found no {' and no '.join(absent)}: "
                f"pip install {self.install}"
            )


def missing(packages: tuple[str, ...]) -> list[str]:
    """Return those of the packages that are not installed."""
    return [name for name in packages if find_spec(name) is None]


def _write_torch(model: keras.Model, path: Path) -> None:
    torch.export.save(_program(model), path)


def _load_torch(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda x: np.asarray(module(torch.from_numpy(x)).detach().numpy())


def _program(model: keras.Model) -> torch.export.ExportedProgram:
    """Return the model as a graph of PyTorch's operators for any size of the batch and any number of word ids."""
    model.eval()
    # Sizes above 1 that differ: the compiler takes 1, and equal sizes, for constants.
    sizes = [size or small for size, small in zip(model.input_shape, (5, 7), strict=False)]
    sample = torch.zeros(sizes, dtype=getattr(torch, keras.backend.standardize_dtype(model.inputs[0].dtype)))
    dynamic = {i: torch.export.Dim.AUTO for i, size in enumerate(model.input_shape) if size is None}
    with _quiet(), keras.device("cpu"):
        return torch.export.export(model, (sample,), dynamic_shapes=[(dynamic,)], strict=False)


def _write_onnx(model: keras.Model, path: Path) -> None:
    name = "ids" if model.inputs[0].dtype == "int32" else "features"
    with _quiet():
        torch.onnx.export(
            _program(model), f=path, dynamo=True, external_data=False, verbose=False, input_names=[name],
            output_names=["outputs"],
        )  # fmt: skip


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _write_openvino(model: keras.Model, path: Path) -> None:
    import openvino

    onnx = path.with_suffix(".onnx")
    try:
        _write_onnx(model, onnx)
        openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)
    finally:
        onnx.unlink(missing_ok=True)


def _load_openvino(path: Path) -> Run:
    import openvino

    # On processors that have bfloat16, OpenVINO computes in it unless it is told otherwise.
    compiled = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: np.asarray(compiled(x)[0])


_LITERT = "import sys, keras; keras.saving.load_model(sys.argv[1]).export(sys.argv[2], format='litert', verbose=False)"


def _write_litert(model: keras.Model, path: Path) -> None:
    """Let Keras on TensorFlow write the file: a process has one backend, so it is another process."""
    saved = path.with_suffix(".keras")
    try:
        save_plain(model, saved)
        variables = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(
            [sys.executable, "-c", _LITERT, str(saved), str(path)], env=os.environ | variables, check=False,
            capture_output=True, text=True, errors="replace",
        )  # fmt: skip
        if done.returncode or not path.exists():
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise InputError(f"expected Keras on TensorFlow to write {path.name}, got: {last}")
    finally:
        saved.unlink(missing_ok=True)


def _load_litert(path: Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(x: Array) -> Array:
        interpreter.resize_tensor_input(given["index"], x.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], x)
        interpreter.invoke()
        return np.asarray(interpreter.get_tensor(returned["index"]))

    return run


def _load_keras(path: Path) -> Run:
    model = keras.saving.load_model(path)
    return lambda x: np.asarray(keras.ops.convert_to_numpy(model(x, training=False)))


class _quiet(warnings.catch_warnings):  # noqa: N801  (a function in use)
    """Keeps warnings and log messages of PyTorch's exporters, on their own internals, from the terminal."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        self._disabled = logging.root.manager.disable
        logging.disable(logging.WARNING)
        return entered

    def __exit__(self, *error: Any) -> None:
        logging.disable(self._disabled)
        super().__exit__(*error)


FORMATS = {
    "keras": Format("model.keras", save_plain, _load_keras),
    "torch": Format("model.pt2", _write_torch, _load_torch),
    "onnx": Format(
        "model.onnx", _write_onnx, _load_onnx, ("onnx", "onnxscript"), ("onnxruntime",), "'k3torch[export]'"
    ),
    "openvino": Format(
        "model.xml", _write_openvino, _load_openvino, ("onnx", "onnxscript", "openvino"), (), "'k3torch[openvino]'"
    ),
    "litert": Format(
        "model.tflite", _write_litert, _load_litert, ("tensorflow",), ("ai_edge_litert",), "'k3torch[litert]'"
    ),
}
"""The formats by name."""
