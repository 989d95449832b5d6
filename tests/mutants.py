"""Change one place of the source at a time and see whether a test fails: mutation testing, with mutmut's operators.

    make mutants ARGS="--sample 300 --seed 0"
    make mutants ARGS="--sample 50 --paths src/k3torch/validation src/k3torch/files.py"

A mutant is a file with one change. All of them are tried in a copy of the project with the test file of the same name;
those that pass are tried with the other tests of that folder. A mutant is detected when a test fails, or when the tests
take more than three times as long. Keras and torch are imported once: each run of the tests is a fork of this process.

Prints the survivors as diffs and a table of all files; build/mutants/results.jsonl has a line for each mutant. Mutants
that no test can detect are listed in tests/equivalent_mutants.toml, and left out.
"""

from collections import Counter
from collections.abc import Sequence
import contextlib
from dataclasses import dataclass
import difflib
import importlib
import itertools
import json
import os
from pathlib import Path
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import libcst as cst
from mutmut.mutation.mutators import mutation_operators
import pytest
import rich
from rich.table import Table
import tyro

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "mutants"
COPY, CACHE, CLEAN_CACHE = FOLDER / "project", FOLDER / "cache", FOLDER / "clean-cache"
SOURCE, TESTS = Path("src/k3torch"), Path("tests")
BEHAVIOUR = ("data", "models", "training", "stack", "validation", "files.py", "runtime.py")
HEAVY = ("keras", "torch", "numpy", "scipy.sparse", "scipy.stats", "sklearn.model_selection", "pandas", "hypothesis")


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    sample: int = 100
    """Number of mutants to try, drawn at random; 0 tries all."""
    seed: int = 0
    """Seed of that draw."""
    paths: tuple[Path, ...] = tuple(SOURCE / name for name in BEHAVIOUR)
    """Files and folders to change, relative to the project."""


@dataclass(frozen=True)
class Mutant:
    """The source of a file with one change; ``before`` and ``after`` are the changed lines, joined."""

    path: str
    line: int
    source: str
    before: str
    after: str


class Mutations(cst.CSTVisitor):
    """Applies mutmut's operators to the bodies of functions, and to numbers outside of them.

    mutmut itself leaves out functions with decorators, among them properties and context managers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode]] = []
        self._functions = 0

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Collect the mutations of a node."""
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        self._functions += isinstance(node, cst.FunctionDef)
        if self._functions or isinstance(node, cst.BaseNumber):
            operators = (operator for kind, operator in mutation_operators if isinstance(node, kind))
            self.found += [(node, mutated) for operator in operators for mutated in operator(node)]
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        """Note the end of a function."""
        self._functions -= isinstance(original_node, cst.FunctionDef)


def mutations_of(path: Path) -> list[tuple[Path, cst.Module, cst.CSTNode, cst.CSTNode]]:
    """Return all mutations of a file: its path and syntax tree, a node and what replaces it."""
    module, mutations = cst.parse_module(path.read_text(encoding="utf-8")).deep_clone(), Mutations()
    module.visit(mutations)
    return [(path, module, node, mutated) for node, mutated in mutations.found]


def mutant_of(path: Path, module: cst.Module, node: cst.CSTNode, mutated: cst.CSTNode) -> Mutant:
    """Return the file with one node replaced."""
    source = module.deep_replace(node, mutated).code
    changes = list(difflib.unified_diff(module.code.splitlines(), source.splitlines(), n=0))[2:]
    before, after = (" ".join(d[1:].strip() for d in changes if d[0] == sign) for sign in "-+")
    line = re.search(r"\d+", changes[0]) if changes else None  # as in "@@ -12 +12 @@"
    return Mutant(path.as_posix(), int(line.group()) if line else 0, source, before, after)


def sampled(settings: Settings) -> list[Mutant]:
    """Return the mutants to try, without those listed as equivalent."""
    listed = tomllib.loads((TESTS / "equivalent_mutants.toml").read_text(encoding="utf-8"))["mutant"]
    equivalent = {(entry["path"], entry["before"], entry["after"]) for entry in listed}
    files = [file for path in settings.paths for file in ([path] if path.suffix else sorted(path.rglob("*.py")))]
    mutations = [mutation for file in files if file.name != "__init__.py" for mutation in mutations_of(file)]
    random.Random(settings.seed).shuffle(mutations)
    mutants = (mutant_of(*mutation) for mutation in mutations)
    tried = (m for m in mutants if m.before != m.after and (m.path, m.before, m.after) not in equivalent)
    return list(itertools.islice(tried, settings.sample or None))


def tests_of(path: str) -> list[list[str]]:
    """Return the tests that concern a file, as arguments of pytest: its own test file, then the rest of the folder."""
    folder = TESTS / Path(path).relative_to(SOURCE).parent
    own = folder / f"test_{Path(path).name}"
    return [[str(own)]] if folder == TESTS else [[str(own)], [str(folder), f"--ignore={own}"]]


def run_tests(arguments: Sequence[str], limit: float) -> bool:
    """Run pytest in the copy, in a fork of this process; return whether it passes within ``limit`` seconds."""
    shutil.rmtree(CACHE, ignore_errors=True)
    if CLEAN_CACHE.exists():  # what a mutant leaves in the cache must not reach the next
        shutil.copytree(CLEAN_CACHE, CACHE)
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(COPY)
        sys.path.insert(0, str(COPY / "src"))
        output = os.open(FOLDER / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = 1
        try:
            code = int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", *arguments]))
        finally:
            os._exit(code)
    end, ended = time.monotonic() + limit, (0, 0)
    while ended == (0, 0) and time.monotonic() < end:
        time.sleep(0.02)
        ended = os.waitpid(child, os.WNOHANG)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the tests have started and left, or all that takes too long
    if ended == (0, 0):
        os.waitpid(child, 0)
        return False
    return os.waitstatus_to_exitcode(ended[1]) == 0


class Project:
    """A copy of the project in which one file at a time is changed."""

    def __init__(self) -> None:
        shutil.rmtree(FOLDER, ignore_errors=True)
        command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(name, COPY / name)
        self._limits: dict[str, float] = {}

    def limit(self, arguments: Sequence[str]) -> float:
        """Return the seconds that these tests may take: three times as many as without a mutant, and 10 more."""
        key = " ".join(arguments)
        if key not in self._limits:
            sys.dont_write_bytecode, start = False, time.monotonic()
            if not run_tests(arguments, limit=1800):
                sys.exit(f"error: expected {key} to pass without a mutant: see {FOLDER / 'output.txt'}")
            sys.dont_write_bytecode = True
            self._limits[key] = 3 * (time.monotonic() - start) + 10
            shutil.rmtree(CLEAN_CACHE, ignore_errors=True)
            CACHE.mkdir(exist_ok=True)
            CACHE.rename(CLEAN_CACHE)
        return self._limits[key]

    def detects(self, mutant: Mutant, arguments: Sequence[str]) -> bool:
        """Return whether these tests fail with the mutant in its file."""
        limit = self.limit(arguments)
        try:
            (COPY / mutant.path).write_text(mutant.source, encoding="utf-8")
            return not run_tests(arguments, limit)
        finally:
            shutil.copy2(mutant.path, COPY / mutant.path)


def report(tried: Sequence[Mutant], survivors: Sequence[Mutant]) -> None:
    """Print the survivors and the table, and write a line for each mutant."""
    rows = [{**vars(m), "survived": m in survivors} for m in sorted(tried, key=lambda m: (m.path, m.line))]
    lines = [json.dumps({key: value for key, value in row.items() if key != "source"}) + "\n" for row in rows]
    (FOLDER / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    for mutant in survivors:
        original = Path(mutant.path).read_text(encoding="utf-8").splitlines()
        names = (mutant.path, mutant.path)
        print(*difflib.unified_diff(original, mutant.source.splitlines(), *names, n=1, lineterm=""), "", sep="\n")
    table = Table("file", "tried", "detected", "survived")
    counts, left = Counter(mutant.path for mutant in tried), Counter(mutant.path for mutant in survivors)
    for path in sorted(counts):
        table.add_row(path, str(counts[path]), str(counts[path] - left[path]), str(left[path]))
    found = len(tried) - len(survivors)
    table.add_row("all", str(len(tried)), f"{found} ({found / max(len(tried), 1):.0%})", str(len(survivors)))
    rich.print(table)


def main(settings: Settings) -> None:
    """Try the mutants of the sample, and report those tried so far when interrupted."""
    os.chdir(ROOT)
    os.environ |= {"KERAS_BACKEND": "torch", "PYTHONPATH": str(COPY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ |= {"K3TORCH_TEST_CACHE": str(CACHE), "OMP_NUM_THREADS": "1"}  # a second thread is lost in a fork
    for name in HEAVY:  # and nothing of k3torch
        importlib.import_module(name)
    project, mutants = Project(), sampled(settings)
    tried: list[Mutant] = []
    survivors: list[Mutant] = []
    with contextlib.suppress(KeyboardInterrupt):
        for number, mutant in enumerate(mutants, start=1):
            detected = project.detects(mutant, tests_of(mutant.path)[0])
            tried.append(mutant)
            survivors += [] if detected else [mutant]
            note(f"{number} of {len(mutants)}", mutant, detected)
        for number, mutant in enumerate(todo := [m for m in survivors if len(tests_of(m.path)) > 1], start=1):
            if detected := project.detects(mutant, tests_of(mutant.path)[1]):
                survivors.remove(mutant)
            note(f"{number} of {len(todo)}, other tests", mutant, detected)
    report(tried, survivors)


def note(number: str, mutant: Mutant, detected: bool) -> None:
    """Print one line about a mutant."""
    print(f"{number}: {mutant.path}:{mutant.line} {'detected' if detected else 'passes: ' + mutant.after}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
