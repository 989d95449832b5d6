"""Folders that a run may not write to, or cannot go on with: one line."""

import os
import sys

from k3torch import processes
from k3torch.errors import InputError
from k3torch.options import Output, Resumable
from k3torch.reports.run_checks import check_free, resumable_metrics
import pytest


def test_a_missing_or_empty_folder_is_free(tmp_path):
    check_free(Output(tmp_path))
    check_free(Output(tmp_path / "missing"))
    check_free(Output(None))
    assert list(tmp_path.iterdir()) == []


def test_what_a_run_killed_in_its_first_moment_left_is_no_file(tmp_path):
    (tmp_path / ".manifest-abcdefgh.json").write_text("")
    check_free(Output(tmp_path))
    (tmp_path / ".manifest-mine.json").write_text("")
    with pytest.raises(InputError, match="found files in"):
        check_free(Output(tmp_path))
    check_free(Output(tmp_path, force=True))


@pytest.mark.parametrize("name", ["x" * 256, "a/" * 3000, "file/below", "loop", "a\0b"])
def test_a_name_that_cannot_be_a_folder_is_refused_in_one_line(name, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(InputError, match="expected a folder for --out, got "):
        check_free(Output(tmp_path / name))


def test_a_dangling_link_is_refused_in_one_line(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(InputError, match=f"expected a folder for --out, got the dangling link {tmp_path / 'link'}"):
        check_free(Output(tmp_path / "link", force=True))


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="needs a user who may not read a folder")
def test_a_folder_that_may_not_be_read_is_refused_in_one_line(tmp_path):
    tmp_path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        check_free(Output(tmp_path))


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_a_run_that_is_not_complete_can_be_resumed(status, tmp_path):
    content = f'{{"status": "{status}"}}'.encode()
    (tmp_path / "metrics.json").write_bytes(content)
    assert resumable_metrics(tmp_path) == content
    check_free(Resumable(resume=tmp_path))


def test_a_run_that_was_killed_before_its_metrics_can_be_resumed(tmp_path):
    assert resumable_metrics(tmp_path) == b""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"status": "complete"}', "whose run is complete"),
        (b"[]", "has no attribute"),
        (b"{", "Expecting property name"),
        (b"\xff", "can't decode"),
        (b"[" * 100_000, "recursion"),
    ],
)
def test_any_other_folder_is_refused_in_one_line(content, said, tmp_path):
    (tmp_path / "metrics.json").write_bytes(content)
    with pytest.raises(InputError, match=said):
        check_free(Resumable(resume=tmp_path))


def test_a_process_that_does_not_write_checks_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(processes, "is_main", lambda: False)
    check_free(Output(tmp_path))
