# `make` or `make help` lists what there is. Every target sets the project up first, if it has to.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON := .venv/bin/python
INSTALLED := .venv/.installed
PYTEST := $(PYTHON) -m pytest
# At most 8 workers; tests/conftest.py says how many, and who gets which test when.
WORKERS := -n auto --maxprocesses 8 --no-loadscope-reorder

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(INSTALLED)  ## Make .venv with the locked dependencies (the other targets do it by themselves)

$(INSTALLED): requirements-dev.lock pyproject.toml scripts/setup.sh
	@bash scripts/setup.sh

.PHONY: demo
demo: setup  ## Real Aave v3 on a local anvil: prices fall, the keeper restores the borrowers
	@$(PYTHON) -m keeper demo $(ARGS)

.PHONY: test
test: lint types imports  ## Everything that must pass: checks, then all tests (ARGS="-k name" for some)
	@$(PYTEST) $(WORKERS) $(ARGS)

.PHONY: check
check: lint types imports  ## The quick part: style, types, import contracts, architecture rules
	@$(PYTEST) -q tests/architecture

.PHONY: soak
soak: setup  ## All tests at full length, the long ones too (an hour or more)
	@KEEPER_LONG=1 $(PYTEST) $(WORKERS) -m "" -o timeout=7200 $(ARGS)

.PHONY: bench
bench: setup  ## All benchmarks: one table with machine and command (ARGS=screen for one)
	@$(PYTHON) -m tests.bench $(ARGS)

.PHONY: lint
lint: setup
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

.PHONY: types
types: setup
	@$(PYTHON) -m mypy

.PHONY: imports
imports: setup
	@.venv/bin/lint-imports --no-logo

.PHONY: format
format: setup  ## Format the code and sort its imports
	@$(PYTHON) -m ruff check --fix-only .
	@$(PYTHON) -m ruff format .

.PHONY: wheel-test
wheel-test: setup  ## Build the wheel and try it in an empty environment outside the checkout
	@$(PYTEST) tests/architecture/test_wheel.py

.PHONY: lock
lock: setup  ## Resolve the dependencies of pyproject.toml anew into the hashed lock files (ARGS=--upgrade for newer ones)
	@bash scripts/lock.sh $(ARGS)

.PHONY: executor
executor: setup  ## Compile contracts/Executor.vy into contracts_abi/executor
	@$(PYTHON) scripts/build_executor.py

.PHONY: presets
presets: setup  ## Generate config/chains from the address book again (needs npm)
	@$(PYTHON) scripts/make_presets.py

.PHONY: clean
clean:  ## Remove the environment and all caches of the checkout
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find keeper tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
