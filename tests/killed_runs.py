"""Runs of scripts in processes that are killed, for tests that resume them."""

import os
from pathlib import Path

from tests import forked

SCRIPTS = Path(__file__).parents[1] / "scripts"


def work(script, arguments, log, checkpoints):
    """Run a script in this process; ``checkpoints``: "auto" as users get them, or after every "epoch" or "batch"."""
    with Path(log).open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from k3torch.training import checkpoint, checkpoint_file

    if checkpoints != "auto":
        checkpoint_file.COST = 1e9
    if checkpoints == "batch":
        checkpoint._SECONDS = 0.0
    forked.run_program(SCRIPTS / script, arguments)


def start(script, arguments, log, checkpoints="auto"):
    """Start a script and return its process; what it prints is appended to the file ``log``."""
    process = forked.context().Process(target=work, args=(script, arguments, str(log), checkpoints))
    process.start()
    return process
