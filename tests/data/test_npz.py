import io
import os
import pickle
import zipfile

from k3torch.data.npz import load_arrays
from k3torch.errors import InputError
import numpy as np
import pytest


def ragged(*rows):
    array = np.empty(len(rows), dtype=object)
    array[:] = rows
    return array


def test_plain_and_ragged_arrays_come_back(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=ragged([1, 2, 3], [4], np.array([5, 6])), y=np.array([0, 1, 1]))
    x, y = load_arrays(path, ("x", "y"))
    assert [list(row) for row in x] == [[1, 2, 3], [4], [5, 6]]
    np.testing.assert_array_equal(y, [0, 1, 1])


def test_an_array_that_python_2_pickled_comes_back(tmp_path):
    """Its pickles have the bytes of an array as a text of 256 characters, as Keras's imdb.npz was written."""
    path, row = tmp_path / "a.npz", np.array([200, 70_000], "int64")
    pickled = pickle.dumps(ragged(row, [1]), protocol=3)
    as_bytes, as_text = (opcode + b"\x10" + row.tobytes() for opcode in (b"C", b"U"))  # SHORT_BINBYTES, SHORT_BINSTRING
    assert as_bytes in pickled
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (2,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + pickled.replace(as_bytes, as_text))
    (x,) = load_arrays(path, ("x",))
    assert [list(row) for row in x] == [[200, 70_000], [1]]


class Evil:
    """Its pickle runs a command when it is loaded."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path):
    path, mark = tmp_path / "evil.npz", tmp_path / "mark"
    np.savez(path, x=ragged([1], Evil(mark)))
    with pytest.raises(InputError, match=r"cannot be read \(its pickle asks for posix.system"):
        load_arrays(path, ("x",))
    assert not mark.exists()


def test_a_pickle_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"\x80\x04]\x94.")  # an empty list
    with pytest.raises(InputError, match="a list, not an array"):
        load_arrays(path, ("x",))


def test_missing_truncated_and_incomplete_files_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match="found none"):
        load_arrays(path, ("x",))
    np.savez(path, x=np.arange(1000))
    with pytest.raises(InputError, match="found no y"):
        load_arrays(path, ("x", "y"))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        load_arrays(path, ("x",))
    path.write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        load_arrays(path, ("x",))
