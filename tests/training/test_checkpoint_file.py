"""Files of checkpoints: all values come back with their types, and a damaged file is noticed."""

from collections import OrderedDict, deque, namedtuple
import json
import os
from pathlib import Path
import random

from k3torch import files
from k3torch.errors import InputError
from k3torch.training import checkpoint_file
from k3torch.training.checkpoint_file import CheckpointFolder, NotPlain, decode, encode, fitting, plain_attributes, read
import keras
import numpy as np
import pytest
import torch

VALUES = {
    "none": None,
    "bool": True,
    "integer": 2**127 + 1,
    "float": 0.1 + 0.2,
    "smallest": 5e-324,
    "infinity": float("-inf"),
    "text": "é\n\U0001f600",
    "list": [1, [2.5, "x"], []],
    "tuple": (1, (2,), None),
    "dict": {1: "a", (2, 3): [4], "b": {}},
    "set": {1, (2, "x")},
    "deque": deque([1, 2]),
}


def written(folder, content):
    CheckpointFolder(folder).write(1, content)
    return read(folder / "checkpoint-000001.npz")


@pytest.mark.parametrize("name", VALUES)
def test_plain_values_come_back_with_their_types(name, tmp_path):
    found = written(tmp_path, {"value": VALUES[name]})["value"]

    assert found == VALUES[name]
    assert type(found) is type(VALUES[name])


def test_nan_comes_back(tmp_path):
    assert np.isnan(written(tmp_path, {"value": [float("nan")]})["value"][0])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "int8", "int64", "bool", "complex64"])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)])
def test_tensors_come_back_with_their_bits(dtype, shape, tmp_path):
    tensor = (torch.rand(shape) * 3).to(getattr(torch, dtype))
    found = written(tmp_path, {"value": [tensor, tensor.T if len(shape) == 2 else tensor]})["value"]

    assert found[0].dtype == tensor.dtype
    assert torch.equal(found[0], tensor)
    assert torch.equal(found[1], tensor.T if len(shape) == 2 else tensor)


@pytest.mark.parametrize(
    "array", [np.float32(0.1), np.int64(3), np.bool_(True), np.zeros((0, 2)), np.arange(6.0).reshape(2, 3).T,
              np.array("text"), np.array(["2024-01-01"], "datetime64[D]")]
)  # fmt: skip
def test_arrays_and_numpy_numbers_come_back(array, tmp_path):
    found = written(tmp_path, {"value": array})["value"]

    assert type(found) is type(array)
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        (len, "builtin_function_or_method"),
        ([1, {2: object()}], "object"),
        (np.array([object()]), "an array of Python objects"),
        (Pair(1, 2), "Pair"),
        (torch.nn.Parameter(torch.zeros(1)), "Parameter"),
        (torch.zeros(1).to_sparse(), "Tensor"),
        (b"bytes", "bytes"),
    ],
)
def test_other_values_cannot_be_stored(value, name):
    with pytest.raises(NotPlain, match=name):
        encode(value, {})


def test_attributes_that_cannot_be_stored_are_left_out():
    class Owner:
        def __init__(self):
            self.number, self.function, self.kept, self.variable = 1, len, "no", keras.Variable(0.0)
            self.itself = [self]
            self.loop = []
            self.loop.append(self.loop)

    assert dict(plain_attributes(Owner(), frozenset({"kept"}))) == {"number": 1}


def test_a_file_is_text_and_arrays_without_pickles(tmp_path):
    CheckpointFolder(tmp_path).write(3, {"a": OrderedDict(x=np.ones(2)), "b": 1})
    with np.load(tmp_path / "checkpoint-000003.npz", allow_pickle=False) as stored:
        text = json.loads(stored["json"].tobytes())
        assert text == {"dict": [["a", {"dict": [["x", {"array": "0"}]]}], ["b", 1]]}
        np.testing.assert_array_equal(stored["0"], [1, 1])
    assert decode(5, {}) == 5


def test_the_last_two_are_kept_and_other_files_are_left_alone(tmp_path):
    folder = CheckpointFolder(tmp_path / "new" / "folder")
    assert folder.newest() is None
    folder.write(1, {"n": 1})
    (folder.path / "checkpoint-1.npz").write_text("the user's")
    (folder.path / "notes.txt").write_text("the user's")
    for number in (2, 3, 4):
        folder.write(number, {"n": number})

    assert folder.numbers() == [3, 4]
    assert {path.name for path in folder.path.iterdir()} == {
        "checkpoint-000003.npz", "checkpoint-000004.npz", "checkpoint-1.npz", "notes.txt",
    }  # fmt: skip
    assert folder.newest() == (4, {"n": 4})


def damaged(path, how):
    content = bytearray(path.read_bytes())
    if how == "truncated":
        del content[-40:]
    elif how == "empty":
        content.clear()
    elif how == "one bit":
        place = content.index(np.arange(50, dtype=np.int64).tobytes())
        content[place + 100] ^= 1
    elif how == "text":
        content[:] = b"not a checkpoint"
    path.write_bytes(content)


@pytest.mark.parametrize("how", ["truncated", "empty", "one bit", "text"])
def test_a_damaged_file_is_passed_over_with_one_line(how, tmp_path, capsys):
    folder = CheckpointFolder(tmp_path)
    for number in (1, 2):
        folder.write(number, {"n": number, "array": np.arange(50, dtype=np.int64)})
    damaged(folder.file(2), how)

    number, content = folder.newest()

    assert (number, content["n"]) == (1, 1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"passing over the damaged checkpoint {tmp_path}/checkpoint-000002.npz: ")


def test_other_npz_files_and_pickles_are_passed_over(tmp_path, capsys):
    folder = CheckpointFolder(tmp_path)
    np.savez(folder.file(1), json=np.frombuffer(b"[1]", np.uint8))
    np.savez(folder.file(2), json=np.array([object()]))
    np.savez(folder.file(3), other=np.ones(1))

    with pytest.raises(InputError) as refused:
        folder.newest()

    assert str(refused.value) == (
        f"expected a usable checkpoint in {tmp_path}, got 3 damaged: give another folder to begin"
    )
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_a_folder_that_cannot_be_used_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^expected a folder for checkpoints, got the file .*: give another name$"):
        CheckpointFolder(tmp_path / "file")
    with pytest.raises(InputError, match=r"^expected to write a checkpoint to .*below, got: Not a directory$"):
        CheckpointFolder(tmp_path / "file" / "below").write(1, {})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("n" * 256, r"'n+': File name too long"),
        ("~no-such-user/x", "'~no-such-user/x': Could not determine home directory."),
        (5, "5: .*str.*"),
        ("dangling", "the dangling link dangling: give another name"),
        ("fifo", "the file fifo: give another name"),
    ],
)
def test_a_name_that_no_folder_can_have_is_one_line(name, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dangling").symlink_to("nowhere")
    os.mkfifo("fifo") if hasattr(os, "mkfifo") else Path("fifo").touch()
    with pytest.raises(InputError, match=f"^expected a folder for checkpoints, got {reason}$"):
        CheckpointFolder(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "fifo"]


@pytest.mark.parametrize(
    ("name", "reason"), [("a\0b", "embedded null .*"), ("a\ud800", ".*surrogates not allowed"), ("file/x", ".*")]
)
def test_a_folder_that_cannot_be_made_is_one_line(name, reason, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=f"^expected to write a checkpoint to .*, got: {reason}$"):
        CheckpointFolder(tmp_path / name).claimed().__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_values_that_do_not_fit_are_refused_in_one_line():
    with (
        pytest.raises(InputError, match=r"got another, which does not fit \(KeyError: 'x'\): give another folder"),
        fitting(),
    ):
        raise KeyError("x")
    with pytest.raises(InputError, match=r"^expected the same$"), fitting():
        raise InputError("expected the same")
    with pytest.raises(KeyboardInterrupt), fitting():
        raise KeyboardInterrupt


@pytest.mark.parametrize("seed", range(3))
def test_random_bits_bytes_and_cuts_are_noticed_or_change_nothing(seed, tmp_path):
    draw, path = random.Random(seed), tmp_path / "damaged.npz"
    content = {"tensor": torch.rand(30, 4), "array": np.arange(40.0), "plain": {"x": (1, 2.5, None), 3: {1, 2}}}
    CheckpointFolder(tmp_path).write(1, content)
    valid = (tmp_path / "checkpoint-000001.npz").read_bytes()
    expected = repr(read(tmp_path / "checkpoint-000001.npz"))
    refused = 0
    for number in range(60):
        damaged = bytearray(valid)
        place = draw.randrange(len(valid))
        if number % 3 == 0:
            damaged[place] ^= 1 << draw.randrange(8)
        elif number % 3 == 1:
            damaged[place : place + 300] = bytes(len(damaged[place : place + 300]))
        else:
            del damaged[place:]
        path.write_bytes(damaged)
        try:
            found = read(path)
        except Exception:
            refused += 1
        else:
            assert repr(found) == expected
    assert refused > 50


def test_a_claimed_folder_is_made_and_one_without_files_is_removed(tmp_path):
    folder, other = CheckpointFolder(tmp_path / "new" / "folder"), CheckpointFolder(tmp_path / "new" / "folder")
    with folder.claimed(), pytest.raises(InputError) as refused, other.claimed():
        pass
    assert str(refused.value) == (
        f"expected a folder for checkpoints of its own, got {folder.path}, which another process uses: give another "
        "folder, or wait for it"
    )
    assert not folder.path.parent.exists()
    folder.path.mkdir(parents=True)
    with folder.claimed():
        pass
    assert folder.path.exists()  # it is the user's
    with folder.claimed():
        folder.write(1, {"a": 1})
    with other.claimed():
        assert other.newest() == (1, {"a": 1})


def test_a_folder_that_cannot_be_written_to_is_refused_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^expected to write a checkpoint to .*below, got: Not a directory$"):
        CheckpointFolder(tmp_path / "file" / "below").claimed().__enter__()
    monkeypatch.setattr(checkpoint_file.os, "access", lambda path, mode: False)  # the superuser may write anywhere
    with pytest.raises(InputError, match=r"^expected to write a checkpoint to .*, got: it is read-only$"):
        CheckpointFolder(tmp_path).claimed().__enter__()
    monkeypatch.undo()
    CheckpointFolder(tmp_path).claimed().__enter__()  # the claim had ended


def test_a_checkpoint_is_due_once_writing_the_last_one_took_1_percent_of_the_time(tmp_path, monkeypatch):
    now, savez = [100.0], np.savez

    def slow(*arguments, **arrays):
        now[0] += 0.25
        savez(*arguments, **arrays)

    monkeypatch.setattr(checkpoint_file.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint_file.np, "savez", slow)
    folder = CheckpointFolder(tmp_path)
    assert folder.is_due()
    assert not folder.is_due(60.0)
    folder.write(1, {"a": 1})
    for seconds, due in ((0.0, False), (24.9, False), (25.0, True)):
        now[0] = 100.25 + seconds
        assert folder.is_due() is due
    assert not folder.is_due(60.0)
    now[0] = 160.25
    assert folder.is_due(60.0)


def test_a_checkpoint_is_flushed_to_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    folder = CheckpointFolder(tmp_path)
    folder.write(1, {"a": 1})
    assert flushed == [folder.file(1).stat().st_ino, tmp_path.stat().st_ino]


def test_each_checkpoint_is_registered_before_it_is_written(tmp_path):
    registered = []
    folder = CheckpointFolder(tmp_path, lambda path: registered.append((path, path.exists())))
    folder.write(1, {"a": 1})
    folder.write(2, {"a": 1})
    assert registered == [(folder.file(1), False), (folder.file(2), False)]


def test_drafts_of_a_killed_process_are_removed_and_nothing_else(tmp_path):
    folder = CheckpointFolder(tmp_path)
    names = [".checkpoint-000001-abcdefgh.npz", ".checkpoint-000002-abcdefgh.npz", ".checkpoint-mine.npz"]
    for name in names:
        (tmp_path / name).write_text("half")
    assert folder.newest() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == names[1:]
    folder.write(1, {"a": 1})
    folder.newest()
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[2], "checkpoint-000001.npz"]
