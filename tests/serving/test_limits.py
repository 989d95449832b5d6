"""What requests may contain, and that every error is one line of JSON."""

import pytest

pytest.importorskip("fastapi")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from k3torch.errors import InputError
from k3torch.serving.limits import MAX_BYTES, LimitedBody, answer_errors
from pydantic import BaseModel


class Numbers(BaseModel):
    values: list[int]


@pytest.fixture(scope="module")
def client():
    app = FastAPI()
    app.add_middleware(LimitedBody)
    answer_errors(app)

    @app.post("/sum")
    def add(numbers: Numbers) -> int:
        if not numbers.values:
            raise InputError("expected values,\ngot none")
        return sum(numbers.values) // (1 if len(numbers.values) > 1 else 0)

    return TestClient(app, raise_server_exceptions=False)


def error(answer):
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]
    return answer.status_code, answer.json()["error"]


def test_answers_have_headers_that_keep_other_pages_out(client):
    answer = client.post("/sum", json={"values": [1, 2]})
    assert (answer.status_code, answer.json()) == (200, 3)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_each_error_is_a_line_of_json(client):
    assert error(client.post("/sum", json={"values": []})) == (400, "expected values, got none")
    status, line = error(client.post("/sum", json={"values": ["x"]}))
    assert status == 422
    assert line.startswith("expected a request as in /openapi.json, got values.0: Input should be a valid integer")
    assert error(client.post("/sum", content=b"{"))[0] == 422
    assert error(client.get("/sum")) == (405, "Method Not Allowed")
    status, line = error(client.post("/sum", json={"values": [1]}))
    assert (status, line.split(", got ")[0]) == (500, "expected an answer")
    assert "ZeroDivisionError" in line


@pytest.mark.parametrize("streamed", [False, True])
def test_large_requests_are_refused_whatever_their_header_says(client, streamed):
    content = b" " * (MAX_BYTES + 1)
    body = (content[i : i + 100_000] for i in range(0, len(content), 100_000)) if streamed else content
    answer = client.post("/sum", content=body, headers={"content-type": "application/json"})
    assert error(answer) == (413, "expected a request of up to 2,000,000 bytes, got more")
