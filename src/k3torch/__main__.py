"""The command ``k3torch``: runs a script by name, as ``make`` does in the source tree."""

import sys

from k3torch import __version__, cli, interrupts
from k3torch.errors import did_you_mean

COMMANDS = {
    "minimal-imdb": "minimal_imdb.py",
    "minimal-boston": "minimal_boston.py",
    "train-imdb": "train_imdb.py",
    "kfold-boston": "kfold_boston.py",
    "kfold-table": "kfold_table.py",
    "predict-table": "predict_table.py",
    "search-boston": "search_boston.py",
    "nested-boston": "nested_boston.py",
    "overfit-imdb": "compare_overfitting.py",
    "ngrams-imdb": "ngrams_imdb.py",
    "train-digits": "train_digits.py",
    "predict-reviews": "predict_reviews.py",
    "figures": "figures.py",
    "ladder": "ladder.py",
    "bench": "benchmark.py",
    "bench-search": "benchmark_search.py",
    "bench-candidates": "benchmark_candidates.py",
    "export": "export_model.py",
    "serve": "serve.py",
    "runs": "list_runs.py",
    "compare": "compare_runs.py",
}


def main() -> None:
    """Run the command named by the first argument with the arguments behind it."""
    interrupts.exit_at_once()
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help", "--version"):
        with cli.closed_output_allowed():
            print(f"k3torch {__version__}" if name == "--version" else overview())
    elif name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or ": k3torch --help lists the commands"
        print(f"error: expected a command, got {name!r}{hint}", file=sys.stderr)
        raise SystemExit(2)
    else:
        cli.program = f"k3torch {name}"
        sys.argv[1:] = arguments
        cli.run_script(COMMANDS[name])


def overview() -> str:
    """Return a line for each command: its name and the first line of its script's docstring."""
    lines = ["usage: k3torch COMMAND [OPTIONS]", ""]
    for name, script in COMMANDS.items():
        with (cli.SCRIPTS / script).open(encoding="utf-8") as file:
            summary = file.readline().strip().strip('"')
        lines.append(f"  {name:<16} {summary}")
    return "\n".join([*lines, "", "k3torch COMMAND --help lists the options of a command."])


if __name__ == "__main__":
    main()
