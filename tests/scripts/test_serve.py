"""serve.py: a server in a process of its own, its end by Ctrl-C, and one-line refusals. tests/serving has the app."""

import json
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import urllib.request

from k3torch.data.column import Column
from k3torch.data.columns import Columns
from k3torch.models.builders import table_network
import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")

SCRIPT = Path(__file__).parents[2] / "scripts/serve.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    Columns("price", "regression", (), (Column("size", "number"),)).save(folder / "columns.json")
    model = table_network(1, units=())
    model.set_weights([np.array([[10.0]]), np.zeros(1)])
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "model.keras")
    return folder


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to a process on Windows")
def test_it_serves_until_ctrl_c(run):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(run), "--port", str(port)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == f"http://127.0.0.1:{port} (Ctrl-C ends)\n"
        body = json.dumps({"rows": [{"size": 1.5}]}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["rows"] == [[1.5, 15.0]]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (130, "interrupted\n")
    finally:
        process.kill()


def test_what_cannot_be_served_is_one_line(run, tmp_path, call):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for arguments, message in (
            (
                [run, "--port", port],
                f"expected to listen at 127.0.0.1:{port}, got: Address already in use: give another",
            ),
            ([run, "--port", 0], "expected --port as a number from 1 to 65535, got 0"),
            ([run, "--host", "no such host"], "expected to listen at no such host:8000, got: "),
            ([tmp_path, "--port", 8765], f"got {tmp_path}: a complete run of train-imdb"),
        ):
            code, printed, said = call("serve.py", *arguments)
            assert (code, printed, said.count("\n")) == (2, "", 1)
            assert message in said
