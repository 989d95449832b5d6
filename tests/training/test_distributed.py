"""Two processes train as one: the same weights, metrics of all samples, one line for what they cannot do."""

import importlib.util
import json
from pathlib import Path
import socket

from k3torch.errors import InputError
from k3torch.processes import OtherProcessEnded
from k3torch.training import distributed
import numpy as np
import pytest
from tests import forked
from tests.review_tables import write_reviews
import torch

CPU = torch.device("cpu")
PATH = Path(__file__).with_name("distributed_cases.py")
spec = importlib.util.spec_from_file_location("distributed_cases", PATH)
cases = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cases)


def run(folder, count):
    """Do the trainings in so many processes, and return the folder of each."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    ranks, log = [str(number) for number in range(count)], folder / "log"
    running = [forked.start(PATH, folder, output=log, errors=log, env=shared | {"RANK": rank}) for rank in ranks]
    for process in running:
        process.join(300)
    assert [process.exitcode for process in running] == [0] * (count - 1) + [9], log.read_text()
    return [folder / rank for rank in ranks]


@pytest.fixture(scope="session")
def pair(tmp_path_factory):
    """The folders of two processes."""
    folder = tmp_path_factory.mktemp("pair")
    write_reviews(folder, 200, words)
    cases.checkpoints.fit(cases.checkpoints.with_dropout, folder / "alone", 2, epochs=1)
    return run(folder, 2)


def words(draw, i):
    return [*draw.choices([f"word{j}" for j in range(38)], k=8), "good" if i % 2 else "bad"]


def weights(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return [file[key] for key in file.files]


def assert_alone_and_together_are_equal(name, folders, together=None):
    model, history = cases.train(name)
    for folder in folders:
        found = json.loads((folder / f"{together or name}.json").read_text())
        assert found.keys() == history.keys()
        for key, values in history.items():
            np.testing.assert_allclose(found[key], values, rtol=1e-5, atol=1e-6, err_msg=key)
        for own, alone in zip(weights(folder, together or name), model.get_weights(), strict=True):
            np.testing.assert_allclose(own, alone, rtol=2e-5, atol=2e-6)
    same = [weights(folder, together or name) for folder in folders]
    assert all(np.array_equal(a, b) for other in same[1:] for a, b in zip(same[0], other, strict=True))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", cases.CASES)
def test_two_processes_train_as_one(name, pair):
    assert_alone_and_together_are_equal(name, pair)


@pytest.mark.filterwarnings("ignore")
def test_keras_316_averages_nothing_a_second_time(pair):
    assert_alone_and_together_are_equal("RMSprop on bags", pair, "Keras 3.16")
    assert json.loads((pair[0] / "wrapped.json").read_text()) == ["Functional"]  # the plain model, no FastModel


def test_dropout_differs_between_the_processes_and_weights_do_not(pair):
    first, second = (weights(folder, "dropout") for folder in pair)
    assert all(np.array_equal(a, b) for a, b in zip(first[:2], second[:2], strict=True))  # then the states of the seeds
    outputs = [np.asarray(json.loads((folder / "dropout.json").read_text())) for folder in pair]
    assert (outputs[0] != outputs[1]).any(axis=(1, 2)).all()  # of a layer without a seed, and of one with a seed
    assert set(np.unique(outputs)) == {0, 2}


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("state", "expected a model that changes nothing but its weights in training in several processes"),
        ("own step", "expected the same weights in all processes after an epoch, got others: a train_step of your own"),
        ("own loss", "expected a model whose gradients several processes can average, got one that needs Keras's own "
         "compute_loss"),
        ("own metric", "expected metrics of Keras or subclasses of keras.metrics.Mean in several processes"),
        ("reductions", "expected losses with reduction='sum_over_batch_size', got mean, sum: train it in one process"),
        ("backup", "expected no BackupAndRestore in several processes: pass resume=folder to fit"),
        ("batches", "expected as many batches in each process, got 2, 4"),
        ("batch size", "expected a batch_size of 2, the number of processes, or more"),
    ],
)  # fmt: skip
def test_what_is_not_supported_is_one_line_in_each_process(pair, name, line):
    for folder in pair:
        assert json.loads((folder / "refusals.json").read_text())[name].startswith(line)


def test_a_process_that_ends_ends_the_other(pair):
    line = json.loads((pair[0] / "ended.json").read_text())
    assert line == "another of the 2 processes has ended, so this one ends too"


@pytest.mark.filterwarnings("ignore")
def test_the_script_has_the_metrics_of_one_process_and_one_process_prints_and_writes(pair, tmp_path):
    folder = pair[0].parent
    cases.script(folder / "reviews.csv", tmp_path / "run")
    alone, together = (json.loads((run / "metrics.json").read_text()) for run in (tmp_path / "run", folder / "run"))
    for name in ("best_epoch", "validation_loss", "validation_accuracy", "test_loss", "test_accuracy"):
        assert together[name] == pytest.approx(alone[name], rel=1e-5), name
    assert (together["status"], together["sizes"]) == ("complete", alone["sizes"])
    assert json.loads((folder / "run/config.json").read_text())["rung"] == 7
    files = {path.relative_to(tmp_path / "run") for path in (tmp_path / "run").rglob("*")}
    assert {path.relative_to(folder / "run") for path in (folder / "run").rglob("*")} == files
    said = [json.loads((rank / "said.json").read_text()) for rank in pair]
    assert f"written to {folder / 'run'}" in said[0]
    assert said[1] == ""


def test_the_script_is_resumed_to_the_same_metrics(pair):
    whole, resumed = (pair[0].parent / name for name in ("run", "resumed"))
    one, other = (json.loads((run / "metrics.json").read_text()) for run in (whole, resumed))
    names = {name for name in one if not name.startswith(("seconds", "peak"))}
    assert {name: other[name] for name in names} == {name: one[name] for name in names}
    assert {path.name for path in resumed.rglob("*")} == {path.name for path in whole.rglob("*")}


def assert_resumed_bit_for_bit(folders):
    for number, folder in enumerate(folders):
        found = json.loads((folder / "resumed.json").read_text())
        lines = {name: each.pop() for name, each in found.items()}
        assert all(resumed == whole for whole, resumed in found.values()), number
        assert found["in an epoch"][0][0] != found["in an epoch"][0][4]  # the second fit changes the state
        where = folder.parent / "checkpoints"
        files = {
            "in an epoch": "checkpoint-000003.npz: at epoch 2, batch 3",
            "before the file is written": "checkpoint-000002.npz: at epoch 2",
            "before a batch without samples for a process": "checkpoint-000001.npz: at epoch 1, batch 4",
            "after the last epoch": "checkpoint-000002.npz: the run had ended",
        }
        expected = {name: [f"resuming from {where / name}/{line}"] for name, line in files.items()}
        assert lines == (expected if number == 0 else {name: [] for name in files})


def test_interrupted_processes_are_resumed_bit_for_bit(pair):
    assert_resumed_bit_for_bit(pair)


def test_what_processes_cannot_resume_is_one_line_in_each(pair):
    where = pair[0].parent
    expected = {
        "number": f"expected number of processes 1, as in {where}/alone/checkpoint-000002.npz, got number of processes "
        "2: give the same, or another folder",
        "new": f"expected a folder without checkpoints for a new run, got {where}/checkpoints/in an epoch: pass "
        "resume=folder to go on from them, or give another folder",
        "plain": "expected a FastModel for checkpoints of several processes, got Functional",
    }
    assert [json.loads((folder / "refused.json").read_text()) for folder in pair] == [expected] * 2
    line = "^expected number of processes 2, as in .*, got number of processes 1: give the same, or another folder$"
    with pytest.raises(InputError, match=line):
        cases.checkpoints.fit(cases.checkpoints.with_dropout, where / "checkpoints/in an epoch", 2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_four_processes_train_as_one(tmp_path):
    write_reviews(tmp_path, 200, words)
    cases.checkpoints.fit(cases.checkpoints.with_dropout, tmp_path / "alone", 2, epochs=1)
    folders = run(tmp_path, 4)
    for name in cases.CASES:
        assert_alone_and_together_are_equal(name, folders)
    assert_resumed_bit_for_bit(folders)


def test_a_process_alone_joins_no_group(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed.process_group(CPU):
        assert not torch.distributed.is_initialized()
        assert cases.processes.count() == 1


def test_an_attempt_of_torchrun_has_names_of_its_own_in_the_store(monkeypatch):
    store = torch.distributed.HashStore()
    monkeypatch.setattr(distributed, "rendezvous", lambda method: iter([(store, 1, 2)]))
    for name, value in {"TORCHELASTIC_RESTART_COUNT": "3", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    found = distributed._store_of_attempt()
    found.pop("store").set("address", "7")
    assert (found, store.get("k3torch/attempt/3/address")) == ({"rank": 1, "world_size": 2}, b"7")
    monkeypatch.setenv("WORLD_SIZE", "4")  # several machines
    assert distributed._store_of_attempt() == {}
    monkeypatch.delenv("TORCHELASTIC_RESTART_COUNT")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert distributed._store_of_attempt() == {}


@pytest.mark.parametrize(
    ("reason", "what"),
    [
        ("Connection closed by peer [127.0.0.1]:1", "has ended"),
        ("Timed out waiting 600000ms for recv", "does not answer"),
    ],
)
def test_what_torch_says_of_another_process_becomes_one_line(monkeypatch, reason, what):
    def fails(tensor):
        raise RuntimeError(reason)

    monkeypatch.setattr(distributed.processes, "count", lambda: 3)
    with pytest.raises(OtherProcessEnded) as ended:
        distributed.together(fails, torch.ones(1))
    assert str(ended.value) == f"another of the 3 processes {what}, so this one ends too"


def test_another_error_of_torch_stays_one():
    def fails():
        raise RuntimeError("a tensor of another dtype")

    with pytest.raises(RuntimeError, match="a tensor of another dtype") as raised:
        distributed.together(fails)
    assert raised.type is RuntimeError


def test_processes_that_do_not_find_each_other_are_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match=r"^expected 2 processes of torchrun, got: \w"), distributed.process_group(CPU):
        pass


def test_each_process_needs_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    line = "expected a GPU for each process, got 1 GPUs: start as many processes"
    with pytest.raises(InputError, match=line), distributed.process_group(torch.device("cuda")):
        pass
