# Set-up, demo, tests. Every target works on a machine that has Python 3.11 or newer, and nothing else.

PYTHON ?= python3
PYTEST_ARGS ?=
# Processes of the tests; each takes up to 1.5 GB.
WORKERS ?= 2
RUN ?= runs/digits

BIN := .venv/bin
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt

# uv reads its own variable for a folder of wheels, not pip's.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help demo test notebooks lint format docs constraints clean

help:  ## Say what each target does.
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

demo: .venv/installed  ## Set up, train on the digits, compare estimates of the held-out evidence.
	$(BIN)/lvkam fit digits --inference amortized --out $(RUN) --overwrite
	$(BIN)/lvkam compare digits --inference amortized thermodynamic elbo --run $(RUN)

test: .venv/installed-test  ## Set up and run the tests (PYTEST_ARGS=--runslow for the long ones too).
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $(WORKERS) --dist loadscope $(PYTEST_ARGS)

notebooks: .venv/installed-notebooks  ## Execute the notebooks from their sources, warnings as errors.
	OMP_NUM_THREADS=1 $(BIN)/python -m notebooks.execute

lint: .venv/installed-test  ## Check rules, format and types.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: .venv/installed-test  ## Mend what ruff can mend.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: .venv/installed-docs  ## Build the documentation in docs/_build/html; a warning is an error.
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs docs/_build/html
	@echo "docs/_build/html/index.html"

# Python 3.11 to 3.13 on every platform in one file, from the public index alone; torch stays where
# it is tested.
constraints: $(BIN)/uv  ## Resolve constraints.txt anew.
	UV_FIND_LINKS= $(BIN)/uv pip compile --quiet --universal --all-extras --no-header --no-annotate --upgrade \
		--upgrade-package torch==2.13.0 --output-file constraints.txt pyproject.toml

clean:  ## Remove the environment, the caches and the builds, not the runs.
	rm -rf .venv dist docs/_build docs/notebooks .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv

# The stamp files say that the environment is newer than what it was made from.
.venv/installed: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable .
	touch $@

.venv/installed-test: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable '.[test]'
	touch $@ .venv/installed

.venv/installed-notebooks: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable '.[notebooks]'
	touch $@ .venv/installed

.venv/installed-docs: pyproject.toml constraints.txt | $(BIN)/uv
	$(INSTALL) --editable '.[docs]'
	touch $@ .venv/installed
