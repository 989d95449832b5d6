"""What several scripts are tried on."""

import io
from pathlib import Path
import runpy

import pytest
from tests import forked
from tests.review_tables import write_reviews

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def run_script():
    """A function that runs a script in a process of its own."""

    def run(script, *arguments):
        return forked.run(SCRIPTS / script, *arguments)

    return run


@pytest.fixture(scope="session")
def review_table(tmp_path_factory):
    """200 reviews of 40 words; one word tells the label."""

    def words(draw, i):
        return [*draw.choices([f"word{j}" for j in range(38)], k=8), "good" if i % 2 else "bad"]

    return write_reviews(tmp_path_factory.mktemp("reviews"), 200, words)


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a script in this process, which has Keras loaded; return its exit code, output and errors."""

    def call_script(script, *arguments, typed="", standard_input=None):
        monkeypatch.setattr("sys.argv", [script, *map(str, arguments)])
        typed_input = io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8")
        monkeypatch.setattr("sys.stdin", standard_input or typed_input)
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call_script
