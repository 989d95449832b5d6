"""What several scripts are tried on."""

import csv
from pathlib import Path
import random
import subprocess
import sys

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture(scope="session")
def run_script():
    """A function that runs a script in a process of its own."""

    def run(script, *arguments):
        command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    return run


@pytest.fixture(scope="session")
def review_table(tmp_path_factory):
    """200 reviews of 40 words; one word tells the label."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(200):
            words = [*draw.choices([f"word{j}" for j in range(38)], k=8), "good" if i % 2 else "bad"]
            rows.writerow([" ".join(words), i % 2])
    return path
