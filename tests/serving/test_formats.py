"""Each format has the outputs of the model, for any number of samples and words. Others than torch are extras."""

import os
import subprocess
import sys

from k3torch.errors import InputError
from k3torch.serving.formats import FORMATS, Format, missing
from k3torch.serving.source import load_source, samples
import numpy as np
import pytest


def compared(run, form, path, takes="auto"):
    kind = FORMATS[form]
    if absent := missing((*kind.needs, *kind.runtime)):
        pytest.skip(f"no {', '.join(absent)}")
    source = load_source(run, takes, form)
    kind.write(source.model, path / kind.file)
    loaded = kind.load(path / kind.file)
    for x in samples(source):
        np.testing.assert_allclose(loaded(x), source.reference(x), rtol=1e-5, atol=1e-5)
    return source


@pytest.mark.parametrize("form", ["keras", "torch"])
@pytest.mark.parametrize("run", ["review_run", "table_run"])
def test_formats_without_extras(request, run, form, tmp_path):
    compared(request.getfixturevalue(run), form, tmp_path)


def test_onnx(review_run, tmp_path):
    compared(review_run, "onnx", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("run", ["review_run", "ngram_run", "table_run", "class_run", "digits_run"])
def test_all_formats_of_all_runs(request, run, form, tmp_path):
    compared(request.getfixturevalue(run), form, tmp_path)
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == {"openvino": [".bin", ".xml"]}.get(
        form,
        [os.path.splitext(FORMATS[form].file)[1]],  # noqa: PTH122
    )


PROGRAM = """
import sys
sys.modules["keras"] = sys.modules["k3torch"] = None  # importing them fails
import numpy as np, torch
program = torch.export.load(sys.argv[1]).module()
print(program(torch.tensor([[1, 4, 6, 0], [1, 5, 0, 0]], dtype=torch.int32)).flatten().tolist())
"""


@pytest.mark.slow
def test_a_torch_program_needs_no_keras(review_run, tmp_path):
    compared(review_run, "torch", tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "model.pt2")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    np.testing.assert_allclose(eval(done.stdout), 1 / (1 + np.exp([-2, 2])), rtol=1e-6)


def test_missing_packages_are_named():
    kind = Format("model.x", print, print, needs=("json", "no_such_package", "nor_this"), install="'k3torch[x]'")
    with pytest.raises(InputError, match=r"found no no_such_package and no nor_this: pip install 'k3torch\[x\]'$"):
        kind.check()
    Format("model.x", print, print, needs=("json",)).check()
