"""What the text, the HTML, the table and the plot of a result say."""

from html.parser import HTMLParser

from k3torch import CrossValidation, InputError
from k3torch.validation.result_views import history_rows
import numpy as np
import pytest

rng = np.random.default_rng(5)


def made(scores, **fields):
    """Return a result with curves that end in the scores."""
    scores = np.array(scores)
    curves = {name: np.linspace(scores + lift, scores, 12, axis=-1) for lift, name in enumerate(("loss", "mae"), 1)}
    history = {**curves, **{f"val_{name}": values * 2 for name, values in curves.items()}}
    pairs = [(np.arange(3), np.arange(3, 4))] * scores.size
    values = {"metric": "mae", "greater_is_better": False, "history": history, "models": [None] * scores.size,
              "indices": pairs, "out_of_fold": np.zeros((1, 1)), "engine": "stacked"}  # fmt: skip
    return CrossValidation(scores, **{**values, **fields})


@pytest.fixture
def result():
    return made(rng.uniform(1, 3, (2, 4)))


def test_the_frame_is_tidy(result):
    frame = result.to_frame()
    assert list(frame.columns) == ["repeat", "fold", "epoch", "metric", "value"]
    assert len(frame) == 2 * 4 * 12 * 4
    chosen = frame.query("repeat == 2 and fold == 3 and epoch == 7 and metric == 'val_mae'")
    assert chosen["value"].tolist() == [result.history["val_mae"][1, 2, 6]]
    last = frame[(frame["metric"] == "val_mae") & (frame["epoch"] == 12)]["value"]
    assert last.mean() == pytest.approx(2 * result.mean)


def test_the_text_has_ten_lines_at_most(result):
    assert repr(result).splitlines()[0] == "CrossValidation: 4 folds, 2 repeats, 12 epochs, engine stacked"
    assert f"mae: mean {result.mean:.4g}, standard deviation {result.std:.4g}, 95%" in repr(result)
    assert f"repeat 2: {' '.join(f'{score:.4g}' for score in result.scores[1])}\n" in repr(result)
    many = made(rng.normal(2e5, 1e4, (50, 30)))
    lines = repr(many).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 120
    assert f"{many.scores[0, 0]:,.0f}" in lines[2]
    assert "... (50 repeats)" in repr(many)


def test_the_html_is_well_formed_and_has_every_score(result):
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.cells, self.open = [], []

        def handle_starttag(self, tag, attrs):
            if tag != "br":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            if self.open[-1] == "td":
                self.cells.append(data)

    parser = Cells()
    parser.feed(result._repr_html_())
    expected = np.column_stack([result.scores, result.scores.mean(axis=1)]).ravel()
    assert parser.cells == [f"{value:.4g}" for value in expected]
    assert parser.open == []


def test_the_html_escapes_names():
    assert (
        "<script>" not in made([[1.0]], metric="<script>", history={"val_<script>": np.zeros((1, 1, 1))})._repr_html_()
    )


def test_the_plot_has_the_means_and_the_best_epoch(result):
    import matplotlib.pyplot as plt

    axes = result.plot()
    training, validation, best = axes.get_lines()
    np.testing.assert_allclose(training.get_ydata(), result.history["mae"].mean(axis=(0, 1))[10:])
    np.testing.assert_allclose(validation.get_ydata(), result.history["val_mae"].mean(axis=(0, 1))[10:])
    assert training.get_xdata().tolist() == [11, 12]
    assert best.get_xdata()[0] == result.best_epoch
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "mae")
    _, mine = plt.subplots()
    assert result.plot("loss", ax=mine) is mine
    assert mine.get_ylabel() == "loss"
    with pytest.raises(InputError, match="metric as one of 'loss', 'mae', got 'mea', did you mean 'mae'"):
        result.plot("mea")
    plt.close("all")


def test_the_rows_of_the_history_are_the_epochs_that_were_trained():
    history = {"loss": np.array([[[1.0, 2.0], [3.0, np.nan]]]), "val_loss": np.array([[[5.0, 6.0], [np.nan, np.nan]]])}
    rows = history_rows(history)
    assert [(row["repeat"], row["fold"], row["epoch"], row["loss"]) for row in rows] == [
        (1, 1, 1, 1),
        (1, 1, 2, 2),
        (1, 2, 1, 3),
    ]
    assert np.isnan(rows[2]["val_loss"])  # a diverged loss was trained nevertheless
