"""Reading .npz files whose arrays hold Python lists, without trusting them.

Such arrays are stored as pickles, and a pickle can run any code while it loads. Here it may only build NumPy arrays
and plain containers; everything else is refused.
"""

from pathlib import Path
import pickle
from typing import IO, Any
import zipfile

from k3torch.errors import InputError
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
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def load_arrays(path: Path, names: tuple[str, ...]) -> list[NDArray[Any]]:
    """Return the named arrays of an .npz file, object arrays of lists included.

    Raises:
        InputError: for a file that is missing, truncated, no .npz, lacks a name, or holds anything but arrays.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise InputError(
                    f"expected the arrays {', '.join(names)} in {path}, found no {', '.join(missing)}: "
                    "give an .npz in the format of Keras's imdb.npz"
                )
            return [_read_array(archive, name) for name in names]
    except FileNotFoundError as error:
        raise InputError(f"expected an .npz file at {path}, found none: check the path") from error
    except InputError:
        raise
    except Exception as error:  # a damaged archive or pickle may raise nearly anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"expected arrays and lists in {path}, got a file that cannot be read ({reason}): replace it"
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
    """Read the header; the file then stands at the data."""
    version = npy.read_magic(file)
    header = npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)
    return bool(header[2].hasobject)
