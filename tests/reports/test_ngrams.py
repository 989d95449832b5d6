"""The surest n-grams of a unit with known weights, and what the plots show of them."""

from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.data.text import Vocabulary
from k3torch.errors import InputError
from k3torch.reports.ngrams import order_name, plot_accuracies, plot_surest, surest_ngrams
import numpy as np
import pytest

WORDS = Vocabulary(("good", "bad"))
NGRAMS = Ngrams((np.array([4, 5]), np.array([0, 1, 2])))  # good, bad, good good, good bad, bad good
KERNEL = np.array([[2.0], [-1], [3], [-4], [0]])


def test_the_weight_of_an_ngram_is_the_units_times_that_of_its_column():
    features = NgramFeatures(NGRAMS, np.array([1, 2, -1, 1, 1], np.float32))
    negative, positive = surest_ngrams(features, KERNEL, WORDS)
    assert negative == [("good bad", -4), ("good good", -3), ("bad", -2)]
    assert positive == [("good", 2)]  # 0 is of neither class
    negative, positive = surest_ngrams(NgramFeatures(NGRAMS, None), KERNEL, WORDS, top=1)
    assert (negative, positive) == ([("good bad", -4)], [("good good", 3)])


def test_hashed_ngrams_and_other_kernels_are_refused():
    with pytest.raises(InputError, match="n-grams with a vocabulary, got hashed ones"):
        surest_ngrams(NgramFeatures(HashedNgrams(1, 4), None), np.zeros((16, 1)), WORDS)
    with pytest.raises(InputError, match=r"the weights of one unit, \(5, 1\), got \(5, 2\)"):
        surest_ngrams(NgramFeatures(NGRAMS, None), np.zeros((5, 2)), WORDS)


def test_bars_have_the_lengths_of_the_weights_the_surest_on_top(tmp_path, drawn):
    negative, positive = surest_ngrams(NgramFeatures(NGRAMS, None), KERNEL, WORDS)
    plot_surest(tmp_path / "n.png", negative, positive, ("bad", "fine"), "9 samples")
    left, right = drawn[0].axes
    assert [axes.get_title() for axes in (left, right)] == ["bad", "fine"]
    assert [bar.get_width() for bar in left.patches] == [4, 1]
    assert [label.get_text() for label in left.get_yticklabels()] == ["good bad", "bad"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["good good", "good"]
    assert left.get_ylim() == right.get_ylim() == (1.5, -0.5)  # the first bar is on top
    assert left.get_xlim() == right.get_xlim()
    assert "9 samples" in drawn[0].get_suptitle()
    plot_surest(tmp_path / "none.png", [], [], ("bad", "fine"), "")
    assert (tmp_path / "none.png").read_bytes().startswith(b"\x89PNG")


def test_each_weighting_has_a_panel_with_a_curve_for_each_model(tmp_path, drawn):
    panels = {"plain": {"unit": [0.8, 0.9], "SVC": [0.7, 0.85]}, "tf-idf": {"unit": [0.81, 0.91], "SVC": [0.7, 0.8]}}
    plot_accuracies(tmp_path / "a.png", panels, ("lecture", 0.88), "Reviews")
    for axes, (name, curves) in zip(drawn[0].axes, panels.items(), strict=True):
        assert axes.get_title() == name
        lines = {line.get_label(): line for line in axes.lines}
        assert {label: list(lines[label].get_ydata()) for label in curves} == curves
        assert list(lines["unit"].get_xdata()) == [1, 2]
        assert list(lines["lecture"].get_ydata()) == [0.88, 0.88]
        assert lines["unit"].get_marker() != lines["SVC"].get_marker()
        assert [label.get_text() for label in axes.get_xticklabels()] == ["words", "pairs"]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["unit", "SVC", "lecture"]


def test_orders_have_names():
    assert [order_name(n) for n in (1, 2, 3, 4)] == ["words", "pairs", "triples", "4-grams"]
