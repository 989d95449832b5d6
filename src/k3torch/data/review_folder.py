"""Reviews in a folder: text files, in one folder for each label."""

from collections.abc import Iterator, Mapping
import hashlib
import json
from pathlib import Path

from k3torch.data.review_labels import Labels, ReviewFormat, find_labels, listed
from k3torch.errors import InputError
import numpy as np

_Files = list[tuple[Path, str]]  # each with its label


class ReviewFolder:
    """A folder like ``aclImdb``: ``train`` and ``test``, each with ``neg`` and ``pos``; or a folder with only these.

    The names of hidden files begin with a dot; they are passed over, and so are folders beside the two labels'.

    Args:
        path: the folder.
        chosen: ``labels`` names the folders of the labels, if not ``neg`` and ``pos`` or the like.
        seed: of the order of the reviews in ``train`` and in ``test``.

    Attributes:
        labels: what the names of the folders mean.
        description: where the labels come from, in words.

    Raises:
        InputError: for a folder of another form, or without a .txt file for one of the labels.
    """

    description = "labels are the names of folders"

    def __init__(self, path: Path, chosen: ReviewFormat, seed: int):
        subsets = [name for name in ("train", "test") if (path / name).is_dir()]
        if len(subsets) == 1:
            raise InputError(
                f"expected train and test in {path}, found {subsets[0]!r} alone: "
                f"add the other, or give {path / subsets[0]}, a fifth of which is then the test set"
            )
        self._path = path
        self.labels = _labels(path / subsets[0] if subsets else path, chosen)
        if subsets:
            self._parts = {name: _shuffled(_files(path / name, self.labels), seed) for name in subsets}
        else:
            self._parts = {"all": _files(path, self.labels)}

    def key(self) -> str:
        """Return a hash of the names, sizes and modification times of the files; to read 50,000 takes minutes."""
        files = sorted(file for part in self._parts.values() for file, _ in part)
        stats = [(file.relative_to(self._path).as_posix(), file.stat()) for file in files]
        listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]

    def parts(self) -> Mapping[str, Iterator[tuple[str, str]]]:
        """Return the texts and labels of "train" and "test", or of "all" where the folder has no test set."""
        return {name: ((_text(file), label) for file, label in part) for name, part in self._parts.items()}


def _labels(folder: Path, chosen: ReviewFormat) -> Labels:
    names = [inner.name for inner in _visible(folder) if inner.is_dir()]
    if len(names) < 2:
        raise InputError(
            f"expected the folders neg and pos in {folder}, or train and test with neg and pos each, "
            f"found {listed(names)}: give the folder that contains them"
        )
    return find_labels(names, chosen.labels, f"the folder {folder}", others_allowed=True)


def _files(folder: Path, labels: Labels) -> _Files:
    """Return the .txt files of the negative and then of the positive reviews, each with its label."""
    inner = [path for path in _visible(folder) if path.is_dir()]
    files: _Files = []
    for target in (0, 1):
        of_target = [path for path in inner if labels.target(path.name) == target]
        found = [(file, path.name) for path in of_target for file in _visible(path) if file.suffix.lower() == ".txt"]
        if not found:
            where = ", ".join(map(str, of_target)) or f"{folder}, in a folder for {labels.names[target]}"
            raise InputError(f"expected reviews as .txt files in {where}, found none")
        files += found
    return files


def _visible(folder: Path) -> list[Path]:
    """Return what a folder contains, in order, without hidden files such as the ``._*`` and ``.DS_Store`` of macOS."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _shuffled(files: _Files, seed: int) -> _Files:
    return [files[i] for i in np.random.RandomState(seed).permutation(len(files))]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"expected a review in UTF-8 in {file}, got other bytes: save it in UTF-8") from error
    except OSError as error:
        raise InputError(f"expected a review in {file}, got: {error.strerror}") from error
