# Every target prepares what it needs by itself, and does again only what has changed (scripts/prepare.py).
SHELL := /bin/sh
.DEFAULT_GOAL := help
# A Python of your choice: make PYTHON=/path/to/python3.12 serve
PYTHON ?=
BIN := .venv/bin
PREPARE = @PYTHON='$(PYTHON)' GOAL='$@' $(SHELL) scripts/prepare.sh
ARGS ?=
# Two processes; every file of tests stays in one of them, in the order that tests/conftest.py puts them into.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# Python keeps what it has compiled, also where the environment forbids it: pytest rewrites every module of the tests.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: ## set up, then serve the API on http://127.0.0.1:8000/v1
	$(PREPARE) serve
	@$(BIN)/antiphon serve $(ARGS)

setup: ## virtual environment, locked dependencies, the default model
	$(PREPARE) setup

test: ## the whole test suite
	$(PREPARE) test
	@$(BIN)/python -m compileall -q src
	@echo "antiphon: running the whole test suite (about 5 minutes on two processors)"
	@$(PYTEST) $(ARGS)

test-all: ## the whole test suite, with every example of every property
	@ANTIPHON_TEST_ALL=1 $(MAKE) --no-print-directory test

check: ## lint and unit, beside each other
	$(PREPARE) dev
	@echo "antiphon: checking (about a minute on two processors)"
	@$(MAKE) --no-print-directory -j2 lint unit

lint: ## lint, types, import directions
	$(PREPARE) dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

unit: ## unit tests
	$(PREPARE) dev
	@$(PYTEST) -q tests/unit tests/playbooks $(ARGS)

bench: ## every benchmark, each printing its ratio
	$(PREPARE) test
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -m bench $(ARGS)

lock: ## write the lock files anew from pyproject.toml
	$(PREPARE) dev
	@$(BIN)/python scripts/lock.py

format: ## format the code
	$(PREPARE) dev
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean: ## remove everything the targets made here (models stay in their cache)
	rm -rf .venv .make .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help serve setup test test-all check lint unit bench lock format clean
