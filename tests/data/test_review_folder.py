"""Folders of reviews: exactly the files that they contain, what is passed over, and one line for each other folder."""

import os

from k3torch.data.review_folder import ReviewFolder
from k3torch.data.review_labels import ReviewFormat
from k3torch.errors import InputError
import pytest


@pytest.fixture
def write(tmp_path):
    """A function that writes files, given as paths and texts, and returns their folder."""

    def write_files(**texts):
        for path, text in texts.items():
            file = tmp_path / "reviews" / f"{path.replace('__', '/')}.txt"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return tmp_path / "reviews"

    return write_files


def read(path, *labels):
    folder = ReviewFolder(path, ReviewFormat(labels=labels), seed=1)
    return {part: sorted(reviews) for part, reviews in folder.parts().items()}, folder.labels


def test_train_and_test_keep_their_files(write):
    path = write(
        train__pos__1="great", train__neg__1="bad", train__unsup__1="?", test__pos__1="good", test__neg__1="dull"
    )
    parts, labels = read(path)
    assert parts == {"train": [("bad", "neg"), ("great", "pos")], "test": [("dull", "neg"), ("good", "pos")]}
    assert (labels.names, labels.target("pos"), labels.target("neg")) == (("negative", "positive"), 1, 0)


def test_two_folders_are_enough(write):
    path = write(Positive__1="great", Positive__2="caf\u00e9", Negative__1="bad")
    assert read(path)[0] == {"all": [("bad", "Negative"), ("caf\u00e9", "Positive"), ("great", "Positive")]}


def test_other_names_are_given_as_labels(write):
    path = write(**{f"{stars}__a": f"{stars} stars" for stars in "1235"})
    parts, labels = read(path, "1,2", "5")
    assert parts == {"all": [("1 stars", "1"), ("2 stars", "2"), ("5 stars", "5")]}
    assert labels.names == ("1,2", "5")


def test_files_of_the_system_and_of_other_formats_are_passed_over(write):
    path = write(pos__1="great", neg__1="bad")
    for name in ("pos/._1.txt", "pos/.DS_Store", "neg/.hidden.txt", ".DS_Store", "README", "pos/notes.md"):
        (path / name).write_bytes(b"\x00\xff")
    (path / "__MACOSX/pos").mkdir(parents=True)
    (path / ".git").mkdir()
    (path / "neg/2.TXT").write_text("dull")
    assert read(path)[0] == {"all": [("bad", "neg"), ("dull", "neg"), ("great", "pos")]}


def test_the_order_of_a_training_set_is_shuffled_and_the_same_every_time(write):
    path = write(**{f"{subset}__{label}__{i}": f"{label}{i}" for subset in ("train", "test") for label in ("pos", "neg")
                    for i in range(8)})  # fmt: skip
    first, again, other = (list(ReviewFolder(path, ReviewFormat(), seed).parts()["train"]) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)
    assert first != sorted(first)


def test_the_key_changes_with_names_sizes_and_times(write):
    path = write(pos__1="great", neg__1="bad")
    keys = [ReviewFolder(path, ReviewFormat(), 1).key() for _ in range(2)]
    assert keys[0] == keys[1]
    (path / "pos/1.txt").rename(path / "pos/2.txt")
    keys.append(ReviewFolder(path, ReviewFormat(), 1).key())
    (path / "pos/2.txt").write_text("greater")
    keys.append(ReviewFolder(path, ReviewFormat(), 1).key())
    os.utime(path / "pos/2.txt", ns=(1, 1))
    keys.append(ReviewFolder(path, ReviewFormat(), 1).key())
    assert len(set(keys)) == 4


BAD = {
    "no test": (
        {"train__pos__1": "a", "train__neg__1": "a"},
        (),
        "expected train and test in {path}, found 'train' alone: "
        "add the other, or give {path}/train, a fifth of which is then the test set",
    ),
    "no labels": (
        {"1": "a"},
        (),
        "expected the folders neg and pos in {path}, or train and test with neg and pos each, "
        "found none: give the folder that contains them",
    ),
    "too high": (
        {"aclImdb__train__pos__1": "a"},
        (),
        "expected the folders neg and pos in {path}, or train and test with "
        "neg and pos each, found 'aclImdb': give the folder that contains them",
    ),
    "unknown": (
        {"ham__1": "a", "spam__1": "a"},
        (),
        "expected labels as two of those in the folder {path}, the negative one first, got none: it has 'ham', 'spam'",
    ),
    "chosen": (
        {"ham__1": "a", "spam__1": "a"},
        ("ham", "eggs"),
        "expected labels as those in the folder {path}, got 'eggs': it has 'ham', 'spam'",
    ),
    "empty test": (
        {"train__pos__1": "a", "train__neg__1": "a", "test__pos__1": "a"},
        (),
        "expected reviews as .txt files in {path}/test, in a folder for negative, found none",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_folders_are_refused_in_one_line(write, case):
    files, labels, message = BAD[case]
    path = write(**files)
    with pytest.raises(InputError) as error:
        read(path, *labels)
    assert str(error.value) == message.format(path=path)


def test_an_empty_class_is_refused(write):
    path = write(pos__1="great", neg__1="bad")
    (path / "neg/1.txt").rename(path / "neg/._1.txt")
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == f"expected reviews as .txt files in {path}/neg, found none"


def test_a_file_that_cannot_be_read_is_named(write):
    path = write(pos__1="great", neg__1="bad")
    (path / "neg/1.txt").write_bytes(b"caf\xe9")
    with pytest.raises(InputError) as error:
        read(path)
    assert str(error.value) == f"expected a review in UTF-8 in {path}/neg/1.txt, got other bytes: save it in UTF-8"
    (path / "neg/1.txt").unlink()
    (path / "neg/1.txt").mkdir()
    with pytest.raises(InputError, match=f"expected a review in {path}/neg/1.txt, got: Is a directory"):
        read(path)
