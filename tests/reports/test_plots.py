import itertools

from k3torch.reports import plots
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
import pytest

SCORES = {"data": "Boston prices (1000 USD)", "epoch": 100}


def legend(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def texts_inside(figure):
    """Return whether the legend and the titles lie within the figure, and the legend below the axes."""
    renderer = figure.canvas.get_renderer()
    (axes,), box = figure.axes, figure.bbox
    boxes = [figure.legends[0].get_window_extent(renderer), axes.title.get_window_extent(renderer)]
    inside = all(box.x0 <= b.x0 and b.x1 <= box.x1 and box.y0 <= b.y0 and b.y1 <= box.y1 for b in boxes)
    return inside and boxes[0].y1 <= axes.get_tightbbox(renderer).y0


def test_plots_are_written_and_figures_closed(tmp_path):
    plots.plot_learning_curves(tmp_path / "a.png", [0.5, 0.3], [0.6, 0.4], "loss", best_epoch=2)
    plots.plot_band(tmp_path / "b.png", np.random.RandomState(0).rand(4, 9), "MAE", first_epoch=11)
    plots.plot_scores(tmp_path / "c.png", [[1, 2]], "MAE", **SCORES)
    for name in "abc":
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size == (1050, 675)
            assert len(set(image.convert("L").tobytes())) > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
    assert plt.get_fignums() == []


def test_the_suffix_is_the_format_and_the_text_of_an_svg_is_text(tmp_path):
    for suffix in ("png", "svg", "pdf"):
        plots.plot_learning_curves(tmp_path / f"a.{suffix}", [0.5, 0.3], [0.6, 0.4], "loss", title="Film reviews")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")
    svg = (tmp_path / "a.svg").read_text()
    assert all(f">{text}</text>" in svg for text in ("Film reviews", "validation", "epoch"))


@pytest.mark.parametrize("name", [r"price $\bad$", "a$x_$b", "$", r"US$ and $\frac{1}{2}$"])
def test_a_name_with_dollar_signs_is_drawn_as_it_is(name, tmp_path):
    with plots.plot_to(tmp_path / "a.svg") as axes:
        axes.barh([name], [1], label=name)
        axes.set(title=name, ylabel=name)
        plots.legend_below(axes)
    assert (tmp_path / "a.svg").read_text().count(f">{name}</text>") == 4


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_the_same_plot_is_the_same_file(tmp_path, suffix):
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    for path in (first, second):
        plots.plot_band(path, [[1.0, 2.0], [3.0, 6.0]], "MAE")
    assert first.read_bytes() == second.read_bytes()


def test_an_exception_while_drawing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), plots.plot_to(tmp_path / "a.png"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == []


def test_a_figure_has_its_size_and_its_axes_row_by_row(tmp_path):
    with plots.figure_to(tmp_path / "a.png", 6, 4, rows=2, columns=3) as (figure, axes):
        assert axes == figure.axes
        assert len(axes) == 6
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (900, 600)


def test_learning_curves_are_drawn_from_epoch_1(tmp_path, drawn):
    plots.plot_learning_curves(tmp_path / "a.png", [0.5, 0.3], [0.6, 0.4], "loss", best_epoch=2)
    plots.plot_learning_curves(tmp_path / "b.png", [0.5], [0.6], "loss", title="MNIST: loss")
    (axes,) = drawn[0].axes
    training, validation, best = axes.lines
    assert training.get_xydata().tolist() == [[1, 0.5], [2, 0.3]]
    assert (training.get_marker(), training.get_linestyle()) == ("o", "None")
    assert validation.get_xydata().tolist() == [[1, 0.6], [2, 0.4]]
    assert validation.get_linestyle() == "-"
    assert (list(best.get_xdata()), best.get_linestyle()) == ([2, 2], ":")
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim()) == ("epoch", "loss", (0.5, 2.5))
    assert legend(drawn[0]) == ["training", "validation", "best epoch: 2"]
    assert axes.get_title() == "Training and validation loss"
    assert drawn[1].axes[0].get_title() == "MNIST: loss"
    assert legend(drawn[1]) == ["training", "validation"]
    assert all(map(texts_inside, drawn))


def test_the_band_spans_the_models_and_the_best_epoch_is_marked(tmp_path, drawn):
    title = "Boston prices (1000 USD), 4 folds, every epoch"
    plots.plot_band(tmp_path / "b.png", [[1.0, 2.0], [3.0, 6.0]], "MAE (1000 USD)", 11, title, best_epoch=12)
    plots.plot_band(tmp_path / "c.png", [1.0, 2.0, 3.0], "MAE (1000 USD)", title="One")
    (axes,) = drawn[0].axes
    mean, best = axes.lines
    assert mean.get_xydata().tolist() == [[11, 2], [12, 4]]
    corners = axes.collections[0].get_paths()[0].vertices
    assert (corners[:, 1].min(), corners[:, 1].max()) == (1, 6)
    assert (list(best.get_xdata()), best.get_linestyle()) == ([12, 12], ":")
    assert legend(drawn[0]) == ["mean of 2 models", "lowest to highest", "best epoch: 12"]
    assert (axes.get_title(), axes.get_ylabel(), axes.get_xlim()) == (title, "MAE (1000 USD)", (10.5, 12.5))
    assert legend(drawn[1]) == ["mean of 1 model", "lowest to highest"]
    assert all(map(texts_inside, drawn))


def test_scores_are_points_with_the_numbers_of_their_folds(tmp_path, drawn):
    quantity = "mean absolute error (1000 USD)"
    plots.plot_scores(tmp_path / "a.png", [[2.0, 3.0], [5.0, 4.0]], quantity, interval=(2.5, 4.5), **SCORES)
    (axes,) = drawn[0].axes
    points, mean = axes.lines
    np.testing.assert_allclose(points.get_xydata(), [[0.8, 2], [1.2, 3], [1.8, 5], [2.2, 4]])
    assert [text.get_text() for text in axes.texts] == ["1", "2", "1", "2"]
    np.testing.assert_allclose([text.xy for text in axes.texts], points.get_xydata())
    assert list(mean.get_ydata()) == [3.5, 3.5]
    band = axes.patches[0].get_bbox()
    assert (band.y0, band.y1) == (2.5, 4.5)
    assert legend(drawn[0]) == ["fold, with its number", "mean 3.50", "95% confidence interval 2.50 to 4.50"]
    assert axes.get_title() == "Boston prices (1000 USD): scores of 4 models after epoch 100"
    assert (axes.get_xlabel(), axes.get_ylabel(), list(axes.get_xticks())) == ("repeat", quantity, [1, 2])


@pytest.mark.parametrize("shape", [(1, 2), (1, 4), (1, 10), (2, 5), (8, 4), (8, 10), (10, 10)])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_no_number_overlaps_another_a_point_or_the_mean(tmp_path, drawn, shape, spread):
    scores = 2.5 + spread * np.random.default_rng(0).normal(size=shape)
    plots.plot_scores(tmp_path / "a.png", scores, "MAE (1000 USD)", interval=(2.3, 2.75), **SCORES)
    (axes,) = drawn[0].axes
    renderer = drawn[0].canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in axes.texts]
    assert len(boxes) == scores.size
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    points = axes.transData.transform(axes.lines[0].get_xydata())
    assert not any(box.contains(*point) for box in boxes for point in points)
    mean = axes.transData.transform((1, scores.mean()))[1]
    assert not any(box.y0 < mean < box.y1 for box in boxes)
    assert texts_inside(drawn[0])


def test_many_scores_have_no_numbers_and_a_plot_of_limited_width(tmp_path, drawn):
    plots.plot_scores(tmp_path / "a.png", np.random.default_rng(0).normal(size=(8, 404)), "MAE", **SCORES)
    assert not drawn[0].axes[0].texts
    assert drawn[0].get_figwidth() == 16
    assert legend(drawn[0])[0] == "fold"


def test_one_score_and_those_that_are_no_numbers(tmp_path, drawn):
    plots.plot_scores(tmp_path / "a.png", [[20_000.4]], "MAE", interval=(np.nan, np.nan), **SCORES)
    plots.plot_scores(tmp_path / "b.png", [[0.125, np.nan, 0.25]], "MAE", **SCORES)
    assert legend(drawn[0]) == ["fold, with its number", "mean 20,000"]
    assert drawn[0].axes[0].get_title().endswith("scores of 1 model after epoch 100")
    assert [text.get_text() for text in drawn[1].axes[0].texts] == ["1", "3"]
    assert legend(drawn[1])[1] == "mean nan"
