"""Reading of .npz files whose arrays contain Python lists, without running code from them.

NumPy stores such arrays as pickles, and unpickling can run any code. The unpickler of this module creates NumPy
arrays and built-in containers only, and refuses a pickle that asks for anything else.
"""

from pathlib import Path
import pickle
from typing import IO, Any
import zipfile

from k3torch.errors import InputError, first_line
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_ALLOWED = {
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar", "ndarray", "dtype")
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"its pickle asks for {module}.{name}")
        return super().find_class(module, name)


def load_arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return the arrays ``names`` of an .npz file, in that order; object arrays may contain lists.

    Raises:
        InputError: for a file that is missing, truncated or no .npz file, lacks one of the arrays, or contains
            anything but arrays and lists.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise InputError(
                    f"expected the arrays {', '.join(names)} in {path}, as in Keras's imdb.npz, "
                    f"found no {', '.join(missing)}"
                )
            return [_read_array(archive, name) for name in names]
    except FileNotFoundError as error:
        raise InputError(f"expected an .npz file at {path}, found none") from error
    except InputError:
        raise
    except Exception as error:  # a damaged archive or pickle may raise almost any exception
        raise InputError(
            f"expected arrays and lists in {path}, got a file that cannot be read ({first_line(error)})"
        ) from error


def _read_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        if not _holds_objects(file):
            file.seek(0)
            return npy.read_array(file, allow_pickle=False)
        array = _ArraysOnly(file, encoding="latin1").load()  # Python 2 wrote the original file
        if not isinstance(array, np.ndarray):
            raise pickle.UnpicklingError(f"{name} is a {type(array).__name__}, not an array")
        return array


def _holds_objects(file: IO[bytes]) -> bool:
    """Return whether the array is pickled; reads the header, so that the data come next."""
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    return bool(header[2].hasobject)
