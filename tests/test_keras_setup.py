"""The hook on Keras's import, with a stand-in for Keras where its failures matter."""

from pathlib import Path

import pytest
from tests import forked

CHECKS = """
import sys
def hooked():
    return any(type(finder).__name__ == "_KerasFinder" for finder in sys.meta_path)
"""


def python(code, path=None):
    """Run the code in a process without Keras, with the folder ``path`` before all others on its import path."""
    first = f"import sys; sys.path.insert(0, {str(path)!r})\n" if path else ""
    done = forked.run_code(first + CHECKS + code, env={"KERAS_BACKEND": "torch"})
    return done.stdout.splitlines() or [done.stderr], done.stderr


REGISTERED = 'print(*(f"k3torch>{name}" in keras.saving.get_custom_objects() for name in ("SparseDense", "FastModel")))'


@pytest.mark.parametrize(
    "imports",
    [
        "import k3torch; import keras",
        "import keras; import k3torch",
        *(
            pytest.param(line, marks=pytest.mark.slow)
            for line in (
                "import k3torch; from keras.saving import load_model; import keras",
                # These are among the modules that the end of Keras's import loads.
                "import k3torch.models.layers; import keras",
                "from k3torch.training.fused_losses import is_fusable; import keras",
            )
        ),
    ],
)
def test_classes_are_registered_once_both_are_imported(imports):
    output, errors = python(f"{imports}; {REGISTERED}; print(hooked(), type(keras.__spec__.loader).__name__)")

    assert output == ["True True", "False SourceFileLoader"], errors


@pytest.mark.slow
def test_every_thread_finds_the_classes_registered_after_its_import_of_keras():
    code = """
import threading
import k3torch
def load():
    import keras
    names.append(keras.saving.get_registered_name(k3torch.SparseDense))
names = []
threads = [threading.Thread(target=load) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(names, hooked())
"""
    output, errors = python(code)

    assert output == [f"{['k3torch>SparseDense'] * 4} False"], errors


def stand_in(folder: Path, code: str) -> Path:
    """Write a package named keras that runs the code."""
    (folder / "keras").mkdir()
    (folder / "keras/__init__.py").write_text(code)
    return folder


def test_a_failing_import_of_keras_raises_what_it_did_and_can_be_tried_again(tmp_path):
    path = stand_in(tmp_path, "import os\nif 'BROKEN' in os.environ: raise ImportError('no backend here')\n")
    code = """
import os, warnings
import k3torch
os.environ["BROKEN"] = "1"
try:
    import keras
except ImportError as error:
    print(error, "keras" in sys.modules, hooked())
del os.environ["BROKEN"]
warnings.simplefilter("ignore")
import keras
print(keras.__file__ == keras.__spec__.loader.path, hooked())
"""
    output, errors = python(code, path)

    assert output == ["no backend here False True", "True False"], errors


def test_classes_that_cannot_be_registered_leave_keras_imported_with_a_warning(tmp_path):
    path = stand_in(tmp_path, "answer = 42")  # without the parts of Keras that the classes need
    output, errors = python("import k3torch, keras; print(keras.answer)", path)

    assert output == ["42"]
    assert "UserWarning: Keras cannot load models that contain k3torch's classes: AttributeError(" in errors


def test_a_missing_keras_is_missing():
    code = """
import k3torch
sys.path = []
try:
    import keras
except ModuleNotFoundError as error:
    print(error, hooked())
"""
    output, errors = python(code)

    assert output == ["No module named 'keras' True"], errors


@pytest.mark.slow
def test_other_hooks_of_the_same_kind_do_not_call_each_other_for_ever():
    code = """
import importlib.util
class Other:
    busy = False
    def find_spec(self, name, path=None, target=None):
        if name != "keras" or self.busy:
            return None
        self.busy = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self.busy = False
import k3torch
sys.meta_path[:0] = [Other()]
sys.meta_path.insert(2, Other())
import keras
"""
    output, errors = python(code + REGISTERED)

    assert output == ["True True"], errors
