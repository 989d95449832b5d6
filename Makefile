# `make` lists the targets. Each one makes the virtual environment first when it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup test test-cuda mutants check

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  make train-imdb ARGS="--epochs 5" passes options on; ARGS=--help lists them.'

setup: $(VENV)/.stamp  ## make .venv with everything in it (the other targets call this)

$(VENV)/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "k3torch needs Python 3.11 or newer, found " + sys.version.split()[0] + ": make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[reviews,digits,dev]'
	@touch $@

minimal-imdb: setup  ## classify film reviews in one view
	@$(BIN)/python scripts/minimal_imdb.py $(ARGS)

minimal-boston: setup  ## predict prices of homes in one view
	@$(BIN)/python scripts/minimal_boston.py $(ARGS)

train-imdb: setup  ## classify film reviews as positive or negative
	@$(BIN)/python scripts/train_imdb.py $(ARGS)

kfold-boston: setup  ## estimate a price regressor's error by K-fold validation
	@$(BIN)/python scripts/kfold_boston.py $(ARGS)

kfold-table: setup  ## estimate how well a network predicts a column of a table
	@$(BIN)/python scripts/kfold_table.py $(ARGS)

predict-table: setup  ## predict a column of a table with the model of a run
	@$(BIN)/python scripts/predict_table.py $(ARGS)

search-boston: setup  ## search for a better network than the lecture's
	@$(BIN)/python scripts/search_boston.py $(ARGS)

nested-boston: setup  ## select a price regressor by nested cross-validation
	@$(BIN)/python scripts/nested_boston.py $(ARGS)

ladder: setup  ## train the same network on every rung of the ladder
	@$(BIN)/python scripts/ladder.py $(ARGS)

bench: setup  ## time this project and other ways to train its networks
	@$(BIN)/python scripts/benchmark.py $(ARGS)

bench-search: setup  ## compare the error of searched networks with boosted trees
	@$(BIN)/python scripts/benchmark_search.py $(ARGS)

bench-candidates: setup  ## time a search whose candidates differ in numbers
	@$(BIN)/python scripts/benchmark_candidates.py $(ARGS)

overfit-imdb: setup  ## compare ways to reduce overfitting on film reviews
	@$(BIN)/python scripts/compare_overfitting.py $(ARGS)

ngrams-imdb: setup  ## compare words, pairs and triples of words on film reviews
	@$(BIN)/python scripts/ngrams_imdb.py $(ARGS)

train-digits: setup  ## classify handwritten digits
	@$(BIN)/python scripts/train_digits.py $(ARGS)

predict-reviews: setup  ## predict whether film reviews are positive or negative
	@$(BIN)/python scripts/predict_reviews.py $(ARGS)

export: setup  ## export the model of a run to another format
	@$(BIN)/python scripts/export_model.py $(ARGS)

serve: setup  ## serve the model of a run as a web page and a JSON API
	@$(BIN)/python scripts/serve.py $(ARGS)

figures: setup  ## plot what the lecture explains, momentum for example
	@$(BIN)/python scripts/figures.py $(ARGS)

runs: setup  ## list runs with their status, settings and metrics
	@$(BIN)/python scripts/list_runs.py $(ARGS)

compare: setup  ## compare the settings, metrics and curves of runs
	@$(BIN)/python scripts/compare_runs.py $(ARGS)

notebooks: setup  ## execute the notebooks in docs/notebooks and store their outputs
	@$(BIN)/python docs/notebooks/execute.py $(ARGS)

test: setup  ## run the tests
	@$(BIN)/python -m pytest $(ARGS)

test-cuda: setup  ## run the tests that need a GPU, the quickest first, for at most 8 minutes
	@$(BIN)/python -m pytest -n0 -vv -ra --tb=short -m cuda --stop-after 480 --junitxml build/cuda.xml $(ARGS)

mutants: $(VENV)/.mutants  ## list changes of the source that no test detects (slow)
	@$(BIN)/python tests/mutants.py $(ARGS)

$(VENV)/.mutants: $(VENV)/.stamp
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[mutants]'
	@touch $@

check: setup  ## lint, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: setup  ## build the documentation as a site in build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet $(ARGS)
	@echo 'build/site/index.html: $(BIN)/python -m http.server -d build/site 8000 shows it with its search'

dist: setup  ## build the source distribution and the wheel into dist/
	@rm -rf build
	@$(BIN)/python -m build --quiet $(ARGS)

.PHONY: docs dist train-imdb kfold-boston kfold-table predict-table nested-boston ladder bench overfit-imdb ngrams-imdb train-digits predict-reviews figures runs compare search-boston bench-search bench-candidates export serve notebooks minimal-imdb minimal-boston
