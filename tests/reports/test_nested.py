from k3torch.reports.nested import plot_nested


def test_inner_and_outer_errors_of_each_fold_and_their_means(tmp_path, drawn):
    plot_nested(tmp_path / "a.png", [2.0, 3.0], [4.0, 2.0], "mean absolute error (1000 USD)", "Boston prices")
    (axes,) = drawn[0].axes
    inner, inner_mean, outer, outer_mean = axes.lines
    assert inner.get_xydata().tolist() == [[1, 2], [2, 3]]
    assert outer.get_xydata().tolist() == [[1, 4], [2, 2]]
    assert (inner_mean.get_ydata()[0], outer_mean.get_ydata()[0]) == (2.5, 3)
    assert inner.get_marker() != outer.get_marker()
    assert inner_mean.get_linestyle() != outer_mean.get_linestyle()
    assert [path.vertices.tolist() for path in axes.collections[0].get_paths()] == [[[1, 2], [1, 4]], [[2, 3], [2, 2]]]
    legend = [text.get_text() for text in drawn[0].legends[0].texts]
    assert legend == ["inner folds, used to select", "their mean 2.50", "outer fold, unseen", "their mean 3.00"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("outer fold", "mean absolute error (1000 USD)")
    assert axes.get_title() == "Boston prices: error of the selected models"
