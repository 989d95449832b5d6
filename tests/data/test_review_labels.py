"""Labels as users write them: which pairs are recognised, which are chosen, and one line for each other case."""

from k3torch.data.review_labels import find_labels, listed, normalized
from k3torch.errors import InputError
import pytest


@pytest.mark.parametrize(
    "found",
    [
        ("0", "1"),
        ("-1", "1"),
        ("0.0", "1.0"),
        ("Negative", " POSITIVE "),
        ("neg", "Pos"),
        ("False", "True"),
        ('"0"', "1"),
    ],
)
def test_pairs_that_every_user_calls_so_are_recognised(found):
    labels = find_labels(found, (), "x")
    assert labels.names == ("negative", "positive")
    assert [labels.target(label) for label in (*found, "other", "")] == [0, 1, None, None]


def test_spellings_of_one_label_are_one():
    labels = find_labels(("pos", "Pos ", "NEG", "neg"), (), "x")
    assert [labels.target(label) for label in ("POS", " neg")] == [1, 0]


def test_chosen_labels_keep_the_users_spelling_and_leave_others_out():
    labels = find_labels(("gut", "Schlecht", "naja"), ("schlecht", "Gut "), "x")
    assert labels.names == ("schlecht", "Gut")
    assert [labels.target(label) for label in ("gut", "Schlecht", "naja")] == [1, 0, None]


def test_several_labels_are_joined_by_commas():
    labels = find_labels(("1.0", "2.0", "3.0", "4.0", "5.0"), ("1, 2", "4,5"), "x")
    assert labels.names == ("1, 2", "4,5")
    assert [labels.target(f"{stars}.0") for stars in range(1, 6)] == [0, 0, None, 1, 1]


@pytest.mark.parametrize(
    ("found", "chosen", "message"),
    [
        (
            ("1", "5", "3"),
            (),
            "expected labels as two of those in x, the negative one first, got none: it has '1', '3', '5'",
        ),
        (("1", "2"), (), "expected labels as two of those in x, the negative one first, got none: it has '1', '2'"),
        (("pos", " POS"), (), "expected two labels in x, found only 'POS'"),
        (("1", "5"), ("1", "6"), "expected labels as those in x, got '6': it has '1', '5'"),
        (("1", "5"), ("1", "5,"), "expected labels as those in x, got '': it has '1', '5'"),
        (("a", "b"), ("a", "A"), "expected labels as two different values, got 'a' and 'A'"),
        (("1", "2", "3"), ("1,2", "2,3"), "expected labels as two different values, got '1,2' and '2,3'"),
        (("a", "b"), ("a",), "expected labels as two, the negative one first, got 'a'"),
        (("a", "b"), ("a", "b", "c"), "expected labels as two, the negative one first, got 'a', 'b', 'c'"),
    ],
)
def test_labels_that_cannot_be_told_are_refused(found, chosen, message):
    with pytest.raises(InputError) as error:
        find_labels(found, chosen, "x")
    assert str(error.value) == message


def test_of_folders_a_recognised_pair_is_enough():
    assert find_labels(("unsup", "neg", "pos"), (), "x", others_allowed=True).target("unsup") is None


def test_a_message_lists_few_and_short_values():
    assert listed([]) == "none"
    assert listed(["10", "9"]) == "'9', '10'"
    assert listed(map(str, range(12))) == "'0', '1', '2', '3', '4', '5', '6', '7', '8', '9' and 2 others"
    assert len(listed(["word " * 100])) == 30


def test_normalized():
    assert [normalized(label) for label in (" 1.00 ", "-1.0", "1.5", "'Pos'", "STRASSE")] == [
        "1",
        "-1",
        "1.5",
        "pos",
        "strasse",
    ]
