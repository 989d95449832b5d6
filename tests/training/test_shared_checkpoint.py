"""What processes exchange for a checkpoint, the other process made up, and real processes that are killed and resumed.

Trainings that are interrupted and resumed in two processes are in test_distributed.py.
"""

import json
from pathlib import Path
import random
import signal
import socket
import time

from k3torch import processes
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.training import distributed, shared_checkpoint
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel
from k3torch.training.model_state import has_global_seed_generator
import keras
import numpy as np
import pytest
from tests import forked
import torch

CASES = Path(__file__).with_name("shared_checkpoint_cases.py")
VALUES = {"random": (torch.arange(3, dtype=torch.uint8), np.float64(0.5)), "epochs": [{"loss": 1.5}], "none": None}


class Group:
    """Two processes, of which this is number ``rank``; what the other one sends is the tensors ``other``."""

    def __init__(self, monkeypatch, rank):
        self.rank, self.sent, self.other = rank, [], []
        monkeypatch.setattr(processes, "count", lambda: 2)
        monkeypatch.setattr(processes, "rank", lambda: rank)
        monkeypatch.setattr(processes, "is_main", lambda: rank == 0)
        for module in (distributed, shared_checkpoint):
            monkeypatch.setattr(module, "together", lambda operation, *args, **kwargs: operation(*args, **kwargs))
            monkeypatch.setattr(module, "group_device", lambda: torch.device("cpu"))
        for name in ("broadcast", "all_gather", "all_reduce"):
            monkeypatch.setattr(torch.distributed, name, getattr(self, name))

    def broadcast(self, tensor, src):
        if self.rank == src:
            self.sent.append(tensor.clone())
        else:
            tensor.copy_(self.other.pop(0))

    def all_gather(self, found, tensor):
        self.sent.append(tensor.clone())
        other = self.other.pop(0)
        found[self.rank].copy_(tensor)
        found[1 - self.rank].copy_(torch.cat([other, other.new_zeros(len(tensor) - len(other))]))

    def all_reduce(self, tensor):
        tensor.add_(self.other.pop(0))


def assert_values(found):
    assert found.keys() == VALUES.keys()
    (numbers, scalar), (expected, number) = found["random"], VALUES["random"]
    assert torch.equal(numbers, expected)
    assert (scalar, type(scalar)) == (number, np.float64)
    assert (found["epochs"], found["none"]) == (VALUES["epochs"], None)


def test_a_process_alone_sends_nothing():
    values = {"a": 1}
    assert shared_checkpoint.of_all(values)[0] is values
    assert shared_checkpoint.of_first(lambda: values) is values


def test_all_processes_get_what_the_first_has_read(monkeypatch):
    first = Group(monkeypatch, 0)
    assert shared_checkpoint.of_first(lambda: VALUES) is VALUES
    second = Group(monkeypatch, 1)
    second.other = first.sent
    assert_values(shared_checkpoint.of_first(lambda: pytest.fail("only the first process reads")))


def test_all_processes_get_nothing_where_there_is_no_checkpoint(monkeypatch):
    first = Group(monkeypatch, 0)
    assert shared_checkpoint.of_first(lambda: None) is None
    second = Group(monkeypatch, 1)
    second.other = first.sent
    assert shared_checkpoint.of_first(dict) is None


def test_what_the_first_process_refuses_is_refused_in_all(monkeypatch):
    def refuse():
        raise InputError("expected one, got two")

    first = Group(monkeypatch, 0)
    with pytest.raises(InputError, match=r"^expected one, got two$"):
        shared_checkpoint.of_first(refuse)
    second = Group(monkeypatch, 1)
    second.other = first.sent
    with pytest.raises(InputError, match=r"^expected one, got two$"):
        shared_checkpoint.of_first(dict)


def test_each_process_gets_the_values_of_all_in_order(monkeypatch):
    first, short = Group(monkeypatch, 0), {"short": 1}
    content = shared_checkpoint._to_bytes(short)
    size, message = torch.tensor([len(content)]), torch.frombuffer(bytearray(content), dtype=torch.uint8)
    first.other = [size, message]
    own, other = shared_checkpoint.of_all(VALUES)
    assert_values(own)
    assert other == short
    second = Group(monkeypatch, 1)
    second.other = [size, message]
    other, own = shared_checkpoint.of_all(VALUES)
    assert_values(own)
    assert other == short


@pytest.mark.parametrize("due", [True, False])
def test_the_first_process_decides_when_a_checkpoint_is_due(monkeypatch, tmp_path, due):
    folder = CheckpointFolder(tmp_path)
    monkeypatch.setattr(folder, "is_due", lambda seconds: due)
    assert shared_checkpoint.is_due(folder, 60.0, 5) is due
    group = Group(monkeypatch, 0)
    group.other = [torch.zeros(1)] * 2
    asked = [batch for batch in range(1, 40) if shared_checkpoint.is_due(folder, 60.0, batch)]
    assert asked == ([16, 32] if due else [])
    assert group.other == []
    group = Group(monkeypatch, 1)
    for first in (True, False):
        group.other = [torch.tensor([float(first)])]
        assert shared_checkpoint.is_due(folder) is first


def test_seeds_and_sums_of_metrics_differ_between_processes():
    x = np.random.default_rng(0).random((8, 3), np.float32)
    inputs = keras.Input((3,))
    model = FastModel(inputs, keras.layers.Dense(1)(keras.layers.Dropout(0.5)(inputs)))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit(array_loader(x, x[:, :1], batch_size=4), verbose=0, shuffle=False)
    shapes = [tuple(tensor.shape) for tensor in shared_checkpoint.own_tensors(model)]
    generators = 1 + has_global_seed_generator()
    assert sorted(shapes) == [()] * 4 + [(2,)] * generators  # total and count of the loss and of the metric
    values = [tensor.clone() + 1 for tensor in shared_checkpoint.own_tensors(model)]
    weights = model.get_weights()
    shared_checkpoint.load_own_tensors(model, values)
    assert all(map(torch.equal, shared_checkpoint.own_tensors(model), values))
    assert all(map(np.array_equal, model.trainable_weights, weights))


def start(folder, every, seconds):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    log = folder / "log"
    return [
        forked.start(CASES, folder, every, seconds, output=log, errors=log, env=shared | {"RANK": rank})
        for rank in ("0", "1")
    ]


def ended(running):
    for process in running:
        process.join(60)
    return [process.exitcode for process in running]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each of two processes has that were not killed."""
    folder = tmp_path_factory.mktemp("whole")
    assert ended(start(folder, 100, 0.0)) == [0, 0], (folder / "log").read_text()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_processes_are_resumed_to_the_same_bits(whole, tmp_path, seed):
    draw = random.Random(seed)
    kills = 0
    for _ in range(draw.randint(1, 3)):
        begun = len(said(tmp_path))
        running = start(tmp_path, draw.choice([1, 2, 3, 5]), 0.05)
        while len(said(tmp_path)) == begun and all(process.is_alive() for process in running):
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 2.0))
        victims = draw.choice([running, running[:1], running[1:]])
        for process in victims:
            kills += process.is_alive()
            process.kill()
        assert all(code in (0, 1, -signal.SIGKILL) for code in ended(running)), (tmp_path / "log").read_text()
    assert ended(start(tmp_path, 100, 0.0)) == [0, 0], (tmp_path / "log").read_text()
    assert [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)] == whole
    print(f"{kills} processes killed, resumed {sum('resuming' in line for line in said(tmp_path))} times")


def said(folder):
    """Return the lines that say from where a run goes on."""
    log = folder / "log"
    lines = log.read_text().splitlines() if log.exists() else []
    return [line for line in lines if "training begins" in line or "resuming from" in line]
