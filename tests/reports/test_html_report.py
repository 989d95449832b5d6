"""The report as a browser parses it: texts stay texts, plots are embedded, and nothing is loaded from elsewhere."""

import base64
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
import webbrowser

from k3torch.options import Machine, Output
from k3torch.reports import html_report
from k3torch.reports.html_report import Content, open_report, write_report
from k3torch.reports.tables import ResultTable
import numpy as np
import pytest

EVIL = "<script>alert(1)</script>\"'&<img src=x onerror=alert(2)>{{ 7 * 7 }}"
VOID = {"meta", "img"}


@dataclass(frozen=True)
class Settings:
    table: Path
    epochs: int = 3
    output: Output = Output()
    machine: Machine = Machine()


class Page(HTMLParser):
    """Elements with their attributes, texts, and whether each element was closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append(data.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tmp_path, **changes):
    content = {
        "name": "job", "folder": tmp_path, "status": "complete", "seconds": 1.0, "settings": Settings(Path("t.csv")),
        "metrics": {}, "history": [], "results": [], "plots": [], "files": [],
    }  # fmt: skip
    write_report(tmp_path / "report.html", Content(**content | changes))
    return Page((tmp_path / "report.html").read_text("utf-8"))


def test_texts_of_the_users_are_shown_as_they_are_and_never_become_elements(tmp_path):
    name = "a\"'&{{7}}.png"
    (tmp_path / name).write_bytes(b"plot")
    page = page_of(
        tmp_path,
        name=EVIL,
        settings=Settings(Path(EVIL)),
        metrics={EVIL: EVIL, "list": [EVIL], "inner": {EVIL: 1}},
        history=[{"epoch": 1, EVIL: 1.0, f"{EVIL} training": 1.0}],
        results=[EVIL, ResultTable(EVIL, [EVIL, EVIL], [(EVIL, None)])],
        plots=[name],
        files=[name],
    )
    results = ["a", ResultTable("b", ["c", "d"], [("e", None)])]
    curves = [{"epoch": 1, "b": 1.0, "c training": 1.0}]
    clean = page_of(tmp_path, history=curves, results=results, plots=[name], files=[name])
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in clean.elements}
    assert page.all("script") == []
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert sum(text.startswith(EVIL) or text.endswith(EVIL) for text in page.texts) >= 12
    assert page.all("img") == [{"src": f"data:image/png;base64,{base64.b64encode(b'plot').decode()}", "alt": name}]
    assert page.all("a") == [{"href": "a%22%27%26%7B%7B7%7D%7D.png"}]


def test_a_link_to_a_file_cannot_be_a_link_to_elsewhere(tmp_path):
    for name in ("javascript:alert(1)", "http:x"):
        (tmp_path / name).write_text("")
        assert page_of(tmp_path, files=[name]).all("a") == [
            {"href": name.replace(":", "%3A").replace("(1)", "%281%29")}
        ]


def test_nothing_is_loaded_and_no_script_may_run(tmp_path):
    page = page_of(tmp_path, history=[{"epoch": e, "loss": e, "val_loss": e} for e in (1, 2)])
    assert [meta["content"] for meta in page.all("meta") if "http-equiv" in meta] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ]
    assert "http" not in (tmp_path / "report.html").read_text("utf-8").replace("http-equiv", "")


def test_plots_are_embedded_and_a_pdf_is_a_link(tmp_path):
    for name in ("a.png", "b.svg", "c.pdf"):
        (tmp_path / name).write_bytes(name.encode())
    page = page_of(tmp_path, plots=["a.png", "b.svg", "c.pdf", "never.png"])
    assert [image["src"].partition(",")[0] for image in page.all("img")] == [
        "data:image/png;base64", "data:image/svg+xml;base64",
    ]  # fmt: skip
    assert page.all("a") == [{"href": "c.pdf"}]


def test_settings_that_differ_from_their_defaults_are_listed_with_them(tmp_path):
    settings = Settings(Path("t.csv"), epochs=5, output=Output(tmp_path, True, "svg"), machine=Machine(seed=7))
    page = page_of(tmp_path, settings=settings)
    first = page.texts[page.texts.index("Settings") + 4 : page.texts.index("All settings")]
    assert first == ["--table", "t.csv", "none", "--epochs", "5", "3", "--format", "svg", "png", "--seed", "7", "0"]
    rest = page.texts[page.texts.index("All settings") :]
    assert ("--device" in rest, "--force" in rest, "--out" in rest) == (True, False, False)


def test_results_metrics_and_curves_are_numbers_as_on_the_terminal(tmp_path):
    page = page_of(
        tmp_path,
        metrics={"score": np.float64(0.123456), "nested": {"a": {"b": 2}}, "list": np.arange(200), "best_epoch": 2},
        results=["warning: too good", ResultTable("T", ["", "loss"], [("test", 0.98765432), ("none", None)])],
        history=[{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25}],
    )
    assert {"0.1235", "nested, a, b", "0.9877", "0.25", "epoch 2", "epoch (dotted: best epoch, 2)"} <= set(page.texts)
    assert {"class": "warning"} in page.all("p")
    assert max(map(len, page.texts)) < 3000
    assert next(text for text in page.texts if text.startswith("[0, 1")).endswith(" ...")
    assert len([g for g in page.all("g") if g.get("class") == "epoch"]) == 2


def test_the_status_is_at_the_top(tmp_path):
    page = page_of(tmp_path, status="interrupted")
    assert page.texts.index("interrupted") < page.texts.index("Settings")


def test_a_name_that_is_no_utf_8_is_written(tmp_path):
    page = page_of(tmp_path, settings=Settings(Path("bad\udcff.csv")))
    assert "bad\\udcff.csv" in page.texts


@pytest.mark.parametrize("fails", [lambda url: False, None])
def test_without_a_browser_one_line_says_so(tmp_path, monkeypatch, capsys, fails):
    def missing(url):
        raise webbrowser.Error("no")

    monkeypatch.setattr(html_report.webbrowser, "open", fails or missing)
    open_report(tmp_path / "report.html")
    assert capsys.readouterr().err == f"no browser was found to open {tmp_path / 'report.html'}\n"


def test_the_browser_gets_the_address_of_the_file(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(html_report.webbrowser, "open", lambda url: opened.append(url) or True)
    monkeypatch.chdir(tmp_path)
    open_report(Path("a b#.html"))
    assert opened == [f"{tmp_path.as_uri()}/a%20b%23.html"]
    assert capsys.readouterr().err == ""
