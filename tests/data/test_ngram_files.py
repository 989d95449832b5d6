"""Files of n-grams: what is saved is loaded, and what is damaged is refused."""

from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngram_files import load_ngrams, save_ngrams
from k3torch.data.ngrams import Ngrams
from k3torch.errors import InputError
import numpy as np
import pytest

NGRAMS = Ngrams((np.array([4, 9]), np.array([1, 2]), np.array([], np.int64)))
ARRAYS = {
    "keys_1": np.array([4, 9]),
    "keys_2": np.array([1, 2]),
    "weights": np.array([1, 2, 3, 4], np.float32),
}


@pytest.mark.parametrize("weights", [None, np.array([1, -2, 3.5, 4], np.float32)])
def test_a_vocabulary_is_loaded_as_it_was_saved(tmp_path, weights):
    save_ngrams(tmp_path / "n.npz", NgramFeatures(NGRAMS, weights))
    loaded = load_ngrams(tmp_path / "n.npz")
    assert [keys.tolist() for keys in loaded.ngrams.keys] == [[4, 9], [1, 2], []]
    if weights is None:
        assert loaded.weights is None
    else:
        np.testing.assert_array_equal(loaded.weights, weights)
        assert loaded.weights.dtype == np.float32
    np.testing.assert_array_equal(
        loaded.transform([4, 9], [0, 2]).toarray(), NgramFeatures(NGRAMS, weights).transform([4, 9], [0, 2]).toarray()
    )


def test_hashed_ngrams_are_loaded_as_they_were_saved(tmp_path):
    save_ngrams(tmp_path / "n.npz", NgramFeatures(HashedNgrams(2, 5), np.ones(32, np.float32)))
    loaded = load_ngrams(tmp_path / "n.npz")
    assert loaded.ngrams == HashedNgrams(2, 5)
    assert loaded.weights.tolist() == [1.0] * 32


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"keys_1": np.array([9, 4])}, "sorted word ids, got int64 of shape (2,)"),
        ({"keys_1": np.array([3, 4])}, "sorted word ids"),
        ({"keys_1": np.array([4, 2**31])}, "sorted word ids"),
        ({"keys_1": np.array([], np.int64), "keys_2": np.array([], np.int64)}, "sorted word ids"),
        ({"keys_1": np.array([4.0, 9.0])}, "sorted word ids, got float64"),
        ({"keys_1": np.array([[4, 9]])}, "sorted word ids, got int64 of shape (1, 2)"),
        ({"keys_1": np.array(4)}, "sorted word ids, got int64 of shape ()"),
        ({"keys_2": np.array([1, 4])}, "sorted keys of 2-grams"),  # there are two words: keys are below 4
        ({"keys_2": np.array([-1, 2])}, "sorted keys of 2-grams"),
        ({"keys_2": np.array([2, 2])}, "sorted keys of 2-grams"),
        ({"keys_1": np.array(4), "keys_2": np.array(4)}, "sorted word ids, got int64 of shape ()"),
        ({"keys_4": np.array([1])}, "KeyError"),
        ({"weights": np.array([1, 2, 3], np.float32)}, "4 finite float32 weights, got float32 of shape (3,)"),
        ({"weights": np.array([1, 2, 3, np.nan], np.float32)}, "4 finite float32 weights"),
        ({"weights": np.array([1.0, 2, 3, 4])}, "4 finite float32 weights, got float64"),
        ({"hashed": np.array([2, 5])}, "hashed n-grams or a vocabulary, got both"),
        ({"keys_1": np.array([[]], object)}, "ValueError"),  # a pickle
    ],
)
def test_other_content_is_refused_in_one_line(tmp_path, change, reason):
    path = tmp_path / "n.npz"
    np.savez(path, **(ARRAYS | change))
    with pytest.raises(InputError) as refused:
        load_ngrams(path)
    assert str(refused.value).startswith(f"expected n-grams in {path}, got {reason}")
    assert str(refused.value).endswith(": give a run folder of train_imdb.py")


@pytest.mark.parametrize("hashed", [[2, 99], [2], [1, 2, 3], 7, [2.5, 8]])
def test_hashes_that_do_not_exist_are_refused(tmp_path, hashed):
    np.savez(tmp_path / "n.npz", hashed=np.array(hashed))
    with pytest.raises(InputError, match="expected n-grams in"):
        load_ngrams(tmp_path / "n.npz")


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off", "directory", "missing", "truncated"])
def test_what_is_no_file_of_arrays_is_refused(tmp_path, content):
    path = tmp_path / "n.npz"
    if content == "directory":
        path.mkdir()
    elif content == "truncated":
        save_ngrams(path, NgramFeatures(NGRAMS, None))
        path.write_bytes(path.read_bytes()[:-30])
    elif content != "missing":
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"expected n-grams in .*, got \w+: give a run folder"):
        load_ngrams(path)


def test_every_damaged_byte_is_refused_or_harmless(tmp_path):
    path = tmp_path / "n.npz"
    save_ngrams(path, NgramFeatures(NGRAMS, np.array([1, -2, 3.5, 4], np.float32)))
    content = path.read_bytes()
    refused = 0
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        try:
            load_ngrams(path)
        except InputError:
            refused += 1
    assert refused > 0
