"""Claims of folders: one process at a time, until it ends, however it ends."""

import subprocess
import sys

from k3torch import claims
from k3torch.claims import Claimed, claim, is_claimed
import pytest

HOLDS = """
import sys, time
from pathlib import Path
from k3torch.claims import claim
claim(Path(sys.argv[1]))
print("claimed", flush=True)
time.sleep(60)
"""
RACES = """
import sys, time
from pathlib import Path
from k3torch.claims import Claimed, claim
print("ready", flush=True)
sys.stdin.readline()
try:
    claim(Path(sys.argv[1]))
    print("won", flush=True)
except Claimed:
    print("lost", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(params=["folders", "names"])
def by_name(request, monkeypatch):
    """Both ways to claim: the folder itself, and a temporary file, as on Windows."""
    if request.param == "names":
        monkeypatch.setattr(claims, "_lock", claims._lock_name)


def test_a_folder_is_claimed_once_until_the_claim_ends(tmp_path, by_name):
    folder, other = tmp_path / "folder", tmp_path / "other"
    folder.mkdir(), other.mkdir()
    end = claim(folder)
    assert is_claimed(folder)
    assert not is_claimed(other)
    with pytest.raises(Claimed):
        claim(folder)
    end()
    end()
    assert not is_claimed(folder)
    claim(folder)()
    assert list(folder.iterdir()) == []


def test_a_link_leads_to_the_same_claim(tmp_path, by_name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    end = claim(tmp_path / "folder")
    assert is_claimed(tmp_path / "link")
    end()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_claim_ends_with_a_killed_process(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "claimed\n"
        assert is_claimed(tmp_path)
        process.kill()
        process.wait()
        assert not is_claimed(tmp_path)


def test_of_processes_that_claim_in_the_same_moment_one_wins(tmp_path):
    command = [sys.executable, "-c", RACES, tmp_path]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    assert sorted(process.stdout.readline() for process in processes) == ["lost\n"] * 3 + ["won\n"]
    for process in processes:
        process.communicate("end\n", timeout=20)


def test_a_folder_that_was_removed_is_not_claimed(tmp_path, by_name):
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "missing")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks a file")
def test_without_locks_in_the_file_system_nothing_is_claimed(tmp_path, monkeypatch):
    import fcntl

    def unsupported(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    claim(tmp_path)()
    assert not is_claimed(tmp_path)
