"""The wheel: the command k3torch runs the scripts in it, also those that start others."""

import os
from pathlib import Path
import shutil
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_installed_wheel_runs_scripts_that_start_scripts(tmp_path, review_table):
    """With the packages of this environment, and k3torch from the wheel."""
    pytest.importorskip("setuptools")
    pytest.importorskip("build")
    source = tmp_path / "source"  # a copy, because the build leaves files beside what it builds
    for name in ("pyproject.toml", "README.md"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source)
    for name in ("src", "scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = [sys.executable, "-m", "build", "--quiet", "--wheel", "--no-isolation", "--outdir", tmp_path, source]
    subprocess.run(list(map(str, build)), check=True)
    (wheel,) = tmp_path.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", tmp_path / "site", wheel]
    subprocess.run(list(map(str, install)), check=True)
    options = ["--source", review_table, "--num-words", 45, "--epochs", 1, "--rungs", 4, "--out", tmp_path / "run"]
    command = [sys.executable, "-m", "k3torch", "ladder", *options]
    done = subprocess.run(
        list(map(str, command)), env={**os.environ, "PYTHONPATH": str(tmp_path / "site")}, cwd=tmp_path, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "an overridden train_step" in done.stdout
