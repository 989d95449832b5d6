"""The curves of several runs: read by epoch, and drawn in one plot."""

from k3torch.errors import InputError
from k3torch.reports.plots import BLUE, ORANGE
from k3torch.reports.run_curves import common_metrics, plot_runs, read_curves
import matplotlib.pyplot as plt
import pytest


def history(folder, text):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "history.csv").write_text(text)
    return folder


def test_curves_are_read_by_epoch_and_averaged_over_models(tmp_path):
    text = "epoch,seconds,fold,name,loss,val_loss\n1,9,1,a,1.0,2.0\n1,9,2,a,3.0,4.0\n2,9,1,a,0.5,\n"
    curves = read_curves(history(tmp_path, text))
    assert set(curves) == {"loss", "val_loss"}
    assert curves["loss"].to_dict() == {1: 2.0, 2: 0.5}
    assert read_curves(tmp_path / "none") == {}


@pytest.mark.parametrize(
    "text",
    ["", "loss\n1\n", "epoch\n\0\n", 'epoch,a\n1,"2\n', "epoch,a\ninf,1\n", "epoch,a\n1,1\n,2\n", "epoch,a\n1e300,1\n"],
)
def test_a_damaged_history_is_one_line(text, tmp_path):
    with pytest.raises(InputError, match="expected the history of a run in"):
        read_curves(history(tmp_path, text))


def test_what_cannot_be_drawn_is_left_out(tmp_path):
    curves = read_curves(history(tmp_path, "epoch,loss\n1,1e308\n2,-1e308\n3,inf\n4,0.5\n"))
    plot_runs(tmp_path / "plot.svg", {"a\udcff$x$": curves, "\ud800": curves}, "Runs of \udcff")
    said = (tmp_path / "plot.svg").read_text()
    assert all(text in said for text in (r">a\udcff$x$: training<", r">\ud800: training<", r">Runs of \udcff<"))


def test_metrics_that_all_runs_have(tmp_path):
    a = read_curves(history(tmp_path / "a", "epoch,loss,val_loss,mae\n1,1,1,1\n"))
    b = read_curves(history(tmp_path / "b", "epoch,val_loss\n1,1\n"))
    assert common_metrics({"a": a, "b": b}) == ["loss"]
    assert common_metrics({"a": a}) == ["loss", "mae"]
    assert common_metrics({"a": a, "b": {}}) == common_metrics({}) == []


def test_each_metric_has_a_part_and_each_run_a_colour(tmp_path, monkeypatch):
    a = read_curves(history(tmp_path / "a", "epoch,loss,val_loss,mae\n1,1,2,3\n2,4,5,6\n"))
    b = read_curves(history(tmp_path / "b", "epoch,loss,val_loss,mae\n1,7,8,9\n"))
    monkeypatch.setattr(plt, "close", lambda figure: kept.append(figure))
    kept = []
    plot_runs(tmp_path / "plot.png", {"first": a, "second": b}, "Runs")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = kept
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "mae"]
    lines = [
        (line.get_label(), line.get_color(), line.get_linestyle(), list(line.get_ydata()))
        for line in figure.axes[0].lines
    ]
    assert lines == [
        ("first: training", BLUE, "--", [1, 4]),
        ("first: validation", BLUE, "-", [2, 5]),
        ("second: training", ORANGE, "--", [7]),
        ("second: validation", ORANGE, "-", [8]),
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [label for label, *_ in lines]
