import json

from hypothesis import given
from hypothesis import strategies as st
from k3torch.data.text import TokenStore, Vocabulary, tokenize
from k3torch.errors import InputError
import numpy as np
import pytest


def test_tokenize_drops_markup_and_keeps_inner_apostrophes():
    text = "It's <br /><br />GREAT, isn\u2019t it? 'Quoted' 10/10 caf\u00e9 foo_bar"
    assert tokenize(text) == ["it's", "great", "isn't", "it", "quoted", "10", "10", "caf\u00e9", "foo", "bar"]


@given(st.text())
def test_tokens_are_words_and_tokenize_to_themselves(text):
    words = tokenize(text)
    assert all(word.replace("'", "").isalnum() and word[0] != "'" != word[-1] for word in words)
    assert tokenize(" ".join(words)) == words


def test_a_token_store_numbers_words_in_the_order_of_first_occurrence():
    store = TokenStore()
    assert store.add("The film, the END")
    assert store.add("An end?")
    first, second = store.texts()
    assert first.dtype == np.int32
    assert first.tolist() == [0, 1, 2, 1, 3]
    assert second.tolist() == [0, 4, 3]
    assert store.words(first) == ["the", "film", "the", "end"]
    assert store.words(second) == ["an", "end"]
    ids = store.vocabulary_ids(Vocabulary(("end", "film")))
    assert ids.dtype == np.int32
    assert ids.tolist() == [1, 2, 5, 4, 2]
    assert ids[second].tolist() == [1, 2, 4]


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "it's"]), min_size=1, max_size=5), min_size=1, max_size=5))
def test_a_token_store_encodes_as_the_vocabulary_does(texts):
    store = TokenStore()
    for text in texts:
        store.add(" ".join(text))
    vocabulary = Vocabulary.count(texts[:1])
    ids = store.vocabulary_ids(vocabulary)
    for stored, text in zip(store.texts(), texts, strict=True):
        assert store.words(stored) == text
        assert ids[stored].tolist() == vocabulary.encode(text).tolist()


@pytest.mark.parametrize("text", ["", " ?! ", "<br />"])
def test_a_text_without_words_is_not_stored(text):
    store = TokenStore()
    assert not store.add(text)
    assert store.texts() == []


def test_ids_follow_the_convention_of_keras():
    vocabulary = Vocabulary.count([["a", "b", "a"], ["c", "a", "b"]])
    assert vocabulary.words == ("a", "b", "c")
    np.testing.assert_array_equal(vocabulary.encode(["c", "zebra", "a"]), [1, 6, 2, 4])
    assert vocabulary.decode([1, 6, 2, 4, 0, 3, 99]) == "? c ? a ? ? ?"
    assert vocabulary.limit(6).words == ("a", "b")
    np.testing.assert_array_equal(vocabulary.limit(6).encode(["c", "b"]), [1, 2, 5])


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1))
def test_decode_undoes_encode(words):
    vocabulary = Vocabulary.count([words])
    assert vocabulary.decode(vocabulary.encode(words)[1:]) == " ".join(words)


def test_save_and_load(tmp_path):
    vocabulary = Vocabulary(("caf\u00e9", "b"))
    vocabulary.save(tmp_path / "vocabulary.json", 6, ("schlecht", "\u597d"))
    assert Vocabulary.load(tmp_path / "vocabulary.json") == (vocabulary, 6, ("schlecht", "\u597d"))
    (tmp_path / "vocabulary.json").write_text('{"num_words": 5, "words": ["a"]}')  # of version 0.1.0
    assert Vocabulary.load(tmp_path / "vocabulary.json") == (Vocabulary(("a",)), 5, ("negative", "positive"))


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "[]",
        json.dumps({"words": ["a"]}),
        json.dumps({"words": 3, "num_words": 5}),
        json.dumps({"words": ["a"], "num_words": 5, "labels": ["0"]}),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused(tmp_path, content):
    path = tmp_path / "vocabulary.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=f"expected a vocabulary in {path}, got .*: give a run folder of"):
        Vocabulary.load(path)
