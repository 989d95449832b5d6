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
from collections.abc import Iterator, Sequence
import contextlib
from dataclasses import dataclass
import difflib
import functools
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
NOT_MUTATED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    sample: int = 100  # Number of mutants to try, drawn at random; 0 tries all.
    seed: int = 0  # Seed of that draw.
    paths: tuple[Path, ...] = tuple(SOURCE / name for name in BEHAVIOUR)  # Files and folders to change.


@dataclass(frozen=True)
class Mutant:
    """The source of a file with one change; ``before`` and ``after`` are the changed lines, joined."""

    path: str
    before: str
    after: str
    diff: str
    source: str


def mutations_of(node: cst.CSTNode, inside: bool = False) -> Iterator[tuple[cst.CSTNode, cst.CSTNode]]:
    """Yield each node with what replaces it: mutmut's operators on bodies of functions, and on numbers outside of them.

    mutmut itself leaves out functions with decorators, among them properties and context managers.
    """
    if isinstance(node, NOT_MUTATED):
        return
    inside = inside or isinstance(node, cst.FunctionDef)
    if inside or isinstance(node, cst.BaseNumber):
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                yield from ((node, mutated) for mutated in operator(node))
    for child in node.children:
        yield from mutations_of(child, inside)


def mutants_of(paths: Sequence[Path], seed: int) -> Iterator[Mutant]:
    """Yield the mutants of all files in random order, without those that are equivalent."""
    listed = tomllib.loads((TESTS / "equivalent_mutants.toml").read_text(encoding="utf-8"))
    equivalent = {(entry["path"], entry["before"], entry["after"]) for entry in listed["mutant"]}
    files = [file for path in paths for file in ([path] if path.suffix else sorted(path.rglob("*.py")))]
    changes = []
    for file in files:
        module = cst.parse_module(file.read_text(encoding="utf-8")).deep_clone()  # no node is in two places of a clone
        changes += [(file.as_posix(), module, *change) for change in mutations_of(module)]
    random.Random(seed).shuffle(changes)
    for path, module, node, mutated in changes:
        source = module.deep_replace(node, mutated).code
        lines = list(difflib.unified_diff(module.code.splitlines(), source.splitlines(), path, path, n=0, lineterm=""))
        before, after = (" ".join(line[1:].strip() for line in lines[2:] if line[0] == sign) for sign in "-+")
        counted = (re.sub(listed["uncounted"], "", text) for text in (before, after))
        if len(set(counted)) == 2 and (path, before, after) not in equivalent:
            yield Mutant(path, before, after, "\n".join(lines), source)


def tests_of(path: str) -> list[tuple[str, ...]]:
    """Return the tests that concern a file, as arguments of pytest: its own test file, then the rest of the folder."""
    folder = TESTS / Path(path).relative_to(SOURCE).parent
    own = folder / f"test_{Path(path).name}"
    return [(str(own),)] if folder == TESTS else [(str(own),), (str(folder), f"--ignore={own}")]


def run_tests(arguments: Sequence[str], limit: float) -> bool:
    """Run pytest in the copy, in a fork of this process; return whether it passes within ``limit`` seconds."""
    shutil.rmtree(CACHE, ignore_errors=True)
    shutil.copytree(CLEAN_CACHE, CACHE)  # what a mutant leaves in the cache must not reach the next
    child = os.fork()
    if child == 0:
        os.setsid()
        os.chdir(COPY)
        sys.path.insert(0, str(COPY / "src"))
        with (FOLDER / "output.txt").open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = 1
        try:
            code = int(pytest.main(["-x", "-q", "-n0", "-p", "no:cacheprovider", *arguments]))
        finally:
            os._exit(code)
    end, ended = time.monotonic() + limit, (0, 0)
    try:
        while ended == (0, 0) and time.monotonic() < end:
            time.sleep(0.02)
            ended = os.waitpid(child, os.WNOHANG)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what the tests have started and left, or all that takes too long
    return (ended if ended[0] else os.waitpid(child, 0))[1] == 0  # a process that was killed has another status


@functools.cache
def time_limit(arguments: tuple[str, ...]) -> float:
    """Return the seconds that these tests may take: three times as many as without a mutant, and 10 more."""
    sys.dont_write_bytecode, start = False, time.monotonic()
    if not run_tests(arguments, limit=1800):
        sys.exit(f"error: expected {' '.join(arguments)} to pass without a mutant: see {FOLDER / 'output.txt'}")
    sys.dont_write_bytecode = True
    shutil.rmtree(CLEAN_CACHE, ignore_errors=True)
    CACHE.rename(CLEAN_CACHE)
    return 3 * (time.monotonic() - start) + 10


def detects(mutant: Mutant, arguments: tuple[str, ...]) -> bool:
    """Print and return whether these tests fail with the mutant in its file."""
    limit = time_limit(arguments)
    (COPY / mutant.path).write_text(mutant.source, encoding="utf-8")
    detected = not run_tests(arguments, limit)
    shutil.copy2(mutant.path, COPY / mutant.path)
    print("detected" if detected else "not detected", f"by {' '.join(arguments)}: {mutant.after}", flush=True)
    return detected


def report(tried: Sequence[Mutant], survivors: Sequence[Mutant]) -> None:
    """Print the survivors and the table, and write a line for each mutant."""
    rows = [(mutant.path, mutant.before, mutant.after, mutant in survivors) for mutant in tried]
    lines = [json.dumps(dict(zip(("path", "before", "after", "survived"), row, strict=True))) + "\n" for row in rows]
    (FOLDER / "results.jsonl").write_text("".join(lines), encoding="utf-8")
    print(*(mutant.diff for mutant in survivors), sep="\n\n")
    table = Table("file", "tried", "detected", "survived")
    counts, left = (Counter([mutant.path for mutant in group]) for group in (tried, survivors))
    for path, count in [*sorted(counts.items()), ("all", len(tried))]:
        missed = len(survivors) if path == "all" else left[path]
        table.add_row(path, str(count), f"{count - missed} ({1 - missed / max(count, 1):.0%})", str(missed))
    rich.print(table)


def main(settings: Settings) -> None:
    """Try the mutants of the sample, and report those tried so far when interrupted."""
    os.chdir(ROOT)
    os.environ |= {"KERAS_BACKEND": "torch", "PYTHONPATH": str(COPY / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ |= {"K3TORCH_TEST_CACHE": str(CACHE), "OMP_NUM_THREADS": "1"}  # a second thread is lost in a fork
    for name in HEAVY:  # and nothing of k3torch
        importlib.import_module(name)
    shutil.rmtree(FOLDER, ignore_errors=True)
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines():
        (COPY / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(name, COPY / name)
    CLEAN_CACHE.mkdir()
    tried: list[Mutant] = []
    survivors: list[Mutant] = []  # so far: the tests of the folder come after all others
    with contextlib.suppress(KeyboardInterrupt):
        for mutant in itertools.islice(mutants_of(settings.paths, settings.seed), settings.sample or None):
            survivors += [] if detects(mutant, tests_of(mutant.path)[0]) else [mutant]
            tried.append(mutant)
        for mutant in list(survivors):
            if any(detects(mutant, tests) for tests in tests_of(mutant.path)[1:]):
                survivors.remove(mutant)
    report(tried, survivors)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
