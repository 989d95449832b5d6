"""What ``import k3torch`` offers, costs and does to Keras; each in a fresh process where imports matter."""

import ast
import os
from pathlib import Path
import subprocess
import sys

import k3torch
import pytest
from tests import forked

PACKAGE = Path(k3torch.__file__).parent
SUBPACKAGES = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))


def python(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def printed(code, **env):
    """Return what code prints in a process that has large libraries loaded, but neither Keras nor this package."""
    done = forked.run_code(code, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_selects_torch_whatever_the_environment_says():
    assert printed("import k3torch, keras; print(keras.config.backend())", KERAS_BACKEND="jax") == ["torch"]


def test_importing_is_cheap():
    heavy = ["torch", "keras", "numpy", "scipy", "sklearn", "pandas", "matplotlib", "rich"]
    code = f"import sys, k3torch; dir(k3torch); print(*(name for name in {heavy} if name in sys.modules))"
    assert python(code).stdout == "\n"


def test_keras_already_on_another_backend_is_an_error_that_says_what_to_do():
    code = """
import sys, types
keras = types.ModuleType("keras")
keras.config = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = keras
import k3torch
"""
    done = python(code)
    assert done.returncode == 1
    assert "already loaded on 'jax': import k3torch before keras, or set KERAS_BACKEND=torch" in done.stderr


def test_dir_shows_public_names_and_subpackages_and_nothing_else():
    assert set(SUBPACKAGES) < set(dir(k3torch)) == set(k3torch.__all__)
    assert {name for name in dir(k3torch) if name.startswith("_")} == set()
    assert {"FastModel", "SparseDense", "cross_validate", "Interval", "imdb_classifier"} < set(dir(k3torch))
    with pytest.raises(AttributeError, match="nothing"):
        k3torch.nothing  # noqa: B018


def test_every_public_name_is_exported_under_the_name_that_it_shows():
    for name in set(k3torch.__all__) - set(SUBPACKAGES):
        assert getattr(k3torch, name).__name__ == name
    for package in SUBPACKAGES:
        assert getattr(k3torch, package).__name__ == f"k3torch.{package}"


@pytest.mark.parametrize("package", SUBPACKAGES)
def test_a_subpackage_lists_its_modules_and_the_names_exported_from_it(package):
    listed = set(dir(getattr(k3torch, package)))

    assert listed >= {path.stem for path in (PACKAGE / package).glob("[!_]*.py")}
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    exported = [line for line in stub.body if isinstance(line, ast.ImportFrom) and line.module]
    assert listed >= {line.names[0].name for line in exported if line.module.startswith(f"{package}.")}


@pytest.mark.slow
def test_modules_are_attributes_after_a_bare_import():
    code = """
import k3torch
modules = [k3torch.data.imdb, k3torch.data.boston, k3torch.data.scaling, k3torch.models.builders,
           k3torch.training.callbacks, k3torch.validation.folds, k3torch.stack.model_stack, k3torch.reports.tables]
print(*(module.__name__ for module in modules))
"""
    assert printed(code) == [
        "k3torch.data.imdb", "k3torch.data.boston", "k3torch.data.scaling", "k3torch.models.builders",
        "k3torch.training.callbacks", "k3torch.validation.folds", "k3torch.stack.model_stack", "k3torch.reports.tables",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "first",
    ["k3torch.cross_validate", pytest.param("import k3torch.validation.cross_validate", marks=pytest.mark.slow)],
)
def test_cross_validate_is_the_function_beside_the_module_of_that_name(first):
    code = f"""
import k3torch
{first}
from k3torch.validation.cross_validate import cross_validate
print(callable(cross_validate) and k3torch.validation.cross_validate is cross_validate is k3torch.cross_validate)
"""
    assert printed(code) == ["True"]


def test_the_names_can_be_imported_at_once():
    code = "import sys, k3torch; print('keras' in sys.modules, k3torch.FastModel.__name__)"
    assert printed(code, EAGER_IMPORT="1") == ["True", "FastModel"]
