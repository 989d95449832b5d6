import subprocess
import sys

import k3torch
import pytest


def python(code, **env):
    import os

    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, check=False
    )


def test_importing_selects_torch_whatever_the_environment_says():
    done = python("import k3torch, keras; print(keras.config.backend())", KERAS_BACKEND="jax")
    assert done.stdout.strip() == "torch"


def test_importing_is_cheap():
    done = python("import sys, k3torch; print('torch' in sys.modules, 'keras' in sys.modules)")
    assert done.stdout.strip() == "False False"


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


def test_every_public_name_is_there_and_no_other():
    for name in k3torch.__all__:
        assert getattr(k3torch, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        k3torch.nothing  # noqa: B018
