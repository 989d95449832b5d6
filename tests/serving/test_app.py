"""The JSON API and the pages: answers are those of the model, bad requests are refused in one line."""

from concurrent.futures import ThreadPoolExecutor
import re

import pytest

pytest.importorskip("fastapi")

from fastapi.testclient import TestClient
from k3torch.errors import InputError
from k3torch.serving.app import make_app
from k3torch.serving.limits import MAX_CHARACTERS
import numpy as np

P = 1 / (1 + np.exp(-2))


def client_of(run):
    return TestClient(make_app(run, ("testserver",)), raise_server_exceptions=False)


@pytest.fixture(scope="module")
def reviews(review_run):
    return client_of(review_run)


@pytest.fixture(scope="module")
def tables(table_run):
    return client_of(table_run)


def error(answer, status=400):
    assert answer.status_code == status
    return answer.json()["error"]


def test_reviews_get_label_probability_and_words(reviews):
    answer = reviews.post("/predict", json={"texts": ["great film", "Dull, dull xyz"]}).json()
    assert answer["labels"] == ["negative", "positive"]
    first, second = answer["predictions"]
    assert (first["label"], first["known_words"], first["words"]) == ("positive", 2, 2)
    assert first["probability"] == pytest.approx(P)
    assert (second["label"], second["known_words"], second["words"]) == ("negative", 2, 3)
    assert [one["word"] for one in second["contributions"]] == ["dull"]
    assert second["contributions"][0]["log_odds"] == pytest.approx(-2, rel=1e-5)


def test_reviews_that_cannot_be_predicted_are_refused(reviews):
    assert error(reviews.post("/predict", json={"texts": ["great", "?!"]})) == (
        "expected words in each text, got none in text 2"
    )
    long = "a " * (MAX_CHARACTERS // 2)
    assert error(reviews.post("/predict", json={"texts": [long] * 6})) == (
        "expected texts of up to 100,000 characters in all, got 120,000"
    )
    for request in ({"texts": []}, {"texts": ["x"] * 101}, {"texts": [long + "b"]}, {"texts": 3}, {}, []):
        assert "expected a request as in /openapi.json" in error(reviews.post("/predict", json=request), 422)


def test_many_requests_at_once_get_their_own_answers(reviews):
    texts = ["great", "dull", "film", "great film", "not dull"] * 40

    def label(text):
        answer = reviews.post("/predict", json={"texts": [text]})
        assert answer.status_code == 200
        return round(answer.json()["predictions"][0]["probability"], 4)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(label, texts))
    assert found == [0.8808, 0.8808, 0.5, 0.8808, 0.8808] * 40


def test_rows_get_the_prediction_as_a_column(tables):
    answer = tables.post("/predict", json={"rows": [{"size": 1.5, "town": "Ulm"}, {"town": "Bonn", "size": -2}]}).json()
    assert answer["columns"] == ["size", "town", "predicted price"]
    assert (answer["added"], answer["ignored"]) == (1, [])
    np.testing.assert_allclose([row[-1] for row in answer["rows"]], [20, -20], rtol=1e-6)
    assert tables.get("/columns").json()["columns"][1] == {"name": "town", "kind": "text", "values": ["Bonn", "Ulm"]}


def test_tables_are_read_as_files_are(tables):
    answer = tables.post("/table", content="town;note;size\nUlm;007;1,5\n").json()
    assert answer["rows"] == [["Ulm", "007", "1,5", pytest.approx(20)]]
    assert answer["ignored"] == ["note"]


def test_classes_have_probabilities(class_run):
    answer = client_of(class_run).post("/table", content="size,x\n2,a\n").json()
    assert answer["columns"] == ["size", "x", "predicted kind", "probability of cheap", "probability of dear"]
    assert answer["rows"] == [["2", "a", "dear", pytest.approx(1 - P), pytest.approx(P)]]


def test_tables_that_cannot_be_predicted_are_refused(tables, monkeypatch):
    assert error(tables.post("/table", content=b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x05\0\xff")).endswith(
        "in the upload, found another encoding or a binary file: save it as CSV in UTF-8"
    )
    assert error(tables.post("/table", content="")) == "expected a table in the upload, found an empty file"
    assert "found none named 'town'" in error(tables.post("/table", content="size,x\n1,2\n"))
    assert "found 'Rome' in data row 1" in error(tables.post("/predict", json={"rows": [{"size": 1, "town": "Rome"}]}))
    rows = "size,town\n" + "1,Ulm\n" * 10_001
    assert error(tables.post("/table", content=rows)) == "expected a table of up to 10,000 rows, got 10,001"
    for request in ({"rows": []}, {"rows": [{"size": [1]}]}, {"rows": [3]}):
        error(tables.post("/predict", json=request), 422)


def test_pages_load_nothing_from_elsewhere(reviews, tables):
    for client, title in ((reviews, "Film reviews"), (tables, "Table")):
        page = client.get("/")
        assert f"<title>{title} - k3torch</title>" in page.text
        for path in re.findall(r'(?:src|href)="([^"]*)"', page.text):
            assert path == "data:," or (path.startswith("/") and client.get(path).status_code == 200)
        assert client.get("/page.js").headers["content-type"].startswith("text/javascript")
        assert "innerHTML" not in client.get("/page.js").text  # what a user sends is never markup
        assert client.get("/docs").status_code == 404


def test_another_name_of_the_host_is_refused(review_run):
    answer = TestClient(make_app(review_run)).get("/", headers={"host": "evil.example"})
    assert answer.status_code == 400


def test_other_folders_are_refused(tmp_path, digits_run):
    for folder in (tmp_path, digits_run):
        with pytest.raises(
            InputError, match=r"expected a run folder with model\.keras and vocabulary\.json or columns"
        ):
            make_app(folder)
