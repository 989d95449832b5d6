"""Which process prints and writes: by torchrun's environment before torch is imported, by torch's group afterwards."""

import subprocess
import sys

from k3torch import processes
import pytest
from torch.distributed import TCPStore


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)


def torchrun(monkeypatch, rank, count, port=None):
    """Set the environment as torchrun does."""
    values = {"RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port or 1}
    for name, value in (values | ({"TORCHELASTIC_USE_AGENT_STORE": True} if port else {})).items():
        monkeypatch.setenv(name, str(value))


def test_a_process_alone_prints():
    assert (processes.started(), processes.count(), processes.rank(), processes.is_main()) == (1, 1, 0, True)
    assert processes.ends_first()
    assert processes.ends_first()


@pytest.mark.parametrize("value", ["", "0", "-1", "two", "1"])
def test_the_environment_of_another_program_means_a_process_alone(monkeypatch, value):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", value)
    assert processes.started() == 1
    assert processes.is_main()


@pytest.mark.parametrize(("rank", "main"), [(0, True), (1, False)])
def test_the_first_of_two_processes_prints(monkeypatch, rank, main):
    torchrun(monkeypatch, rank, 2)
    assert (processes.started(), processes.is_main()) == (2, main)
    assert (processes.count(), processes.rank()) == (1, 0)  # no group has been made
    assert processes.ends_first() is main


def test_one_line_of_a_run_says_why_it_ends(monkeypatch):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    torchrun(monkeypatch, 1, 2, store.port)
    assert [processes.ends_first() for _ in range(3)] == [True, False, False]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert processes.ends_first()


def test_a_process_that_does_not_print_is_silent(monkeypatch):
    code = "from k3torch import processes; processes.silence(); print('said'); import warnings; warnings.warn('warned')"
    said = []
    for rank in (0, 1):
        torchrun(monkeypatch, rank, 2)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        said.append((done.stdout, "warned" in done.stderr))
    assert said == [("said\n", True), ("", False)]


def test_nothing_heavy_is_imported():
    code = "import sys; from k3torch import processes; processes.is_main(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
