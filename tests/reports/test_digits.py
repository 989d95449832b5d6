from k3torch.reports.digits import plot_confusion, plot_misclassified
import numpy as np


def test_the_confusion_matrix_has_counts_as_text_and_fractions_of_a_row_as_colours(tmp_path, drawn):
    counts = np.zeros((10, 10), dtype=int)
    counts[3, [3, 5]] = 6, 2
    counts[9, 9] = 40
    plot_confusion(tmp_path / "a.png", counts, "MNIST")
    axes, colours = drawn[0].axes
    fractions = axes.images[0].get_array()
    assert (fractions[3, 3], fractions[3, 5], fractions[9, 9], fractions.sum()) == (0.75, 0.25, 1, 2)
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(3, 3): "6", (5, 3): "2", (9, 9): "40"}  # (predicted, true)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted digit", "true digit")
    assert colours.get_ylabel() == "fraction of the true digit"
    assert axes.get_title() == "MNIST: confusion matrix of 48 test digits"
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_misclassified_digits_are_drawn_row_by_row_with_both_labels(tmp_path, drawn):
    images = np.arange(3, dtype=np.uint8)[:, None, None] * np.ones((1, 28, 28), np.uint8)
    plot_misclassified(tmp_path / "a.png", images, np.array([3, 7, 0]), np.array([5, 1, 8]), "MNIST", columns=2)
    (axes,) = drawn[0].axes
    assert [image.get_array()[0, 0] for image in axes.images] == [0, 1, 2]
    assert [tuple(image.get_extent()[i] for i in (0, 3)) for image in axes.images] == [(0, 0), (1, 0), (0, 1.3)]
    assert [text.get_text() for text in axes.texts] == ["3, predicted 5", "7, predicted 1", "0, predicted 8"]
    assert axes.get_title() == "MNIST: misclassified test digits, most confident first"


def test_a_classifier_without_errors_has_an_empty_plot(tmp_path, drawn):
    plot_misclassified(tmp_path / "a.png", np.zeros((0, 28, 28), np.uint8), np.zeros(0, int), np.zeros(0, int), "MNIST")
    assert not drawn[0].axes[0].images
    assert (tmp_path / "a.png").is_file()
