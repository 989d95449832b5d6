# `make` lists the targets. Each one makes the virtual environment first when it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test check

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  Options reach a script through ARGS: make train-imdb ARGS="--epochs 5"; ARGS=--help lists them.'

setup: $(VENV)/.stamp  ## make .venv with everything in it (the other targets call this)

$(VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "k3torch needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[reviews,digits,dev]'
	@touch $@

train-imdb: setup  ## classify film reviews: study run, best epoch, final run, pictures
	@$(BIN)/python scripts/train_imdb.py $(ARGS)

kfold-boston: setup  ## estimate a price regressor's error by K-fold validation
	@$(BIN)/python scripts/kfold_boston.py $(ARGS)

nested-boston: setup  ## choose a price regressor, and report an error that no choice has seen
	@$(BIN)/python scripts/nested_boston.py $(ARGS)

ladder: setup  ## the same training on every rung, from fit() to the compiled step
	@$(BIN)/python scripts/ladder.py $(ARGS)

bench: setup  ## time the rungs and the stacked engine beside other ways to do the same
	@$(BIN)/python scripts/benchmark.py $(ARGS)

overfit-imdb: setup  ## compare ways to fight overfitting
	@$(BIN)/python scripts/compare_overfitting.py $(ARGS)

train-digits: setup  ## classify handwritten digits through torchvision
	@$(BIN)/python scripts/train_digits.py $(ARGS)

figures: setup  ## draw the pictures that explain
	@$(BIN)/python scripts/figures.py $(ARGS)

test: setup  ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

check: setup  ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: train-imdb kfold-boston nested-boston ladder bench overfit-imdb train-digits figures
