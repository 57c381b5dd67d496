# Every target sets up what it needs, and again only if something changed.
SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMPS := .make
ARGS ?=

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

serve: $(STAMPS)/serve ## set up, then serve the API on http://127.0.0.1:8000/v1
	@$(BIN)/antiphon serve $(ARGS)

setup: $(STAMPS)/serve ## virtual environment, locked dependencies, the default model

test: $(STAMPS)/test ## the whole test suite
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMPS)/dev ## lint, types, import directions, unit tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m pytest -q tests/unit tests/playbooks $(ARGS)

bench: $(STAMPS)/test ## every benchmark, each printing its ratio
	@$(BIN)/python -m compileall -q src
	@$(BIN)/python -m bench $(ARGS)

lock: $(STAMPS)/dev ## write the lock files anew from pyproject.toml
	@$(BIN)/python scripts/lock.py

format: $(STAMPS)/dev ## format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean: ## remove everything the targets made here (models stay in their cache)
	rm -rf $(VENV) $(STAMPS) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(STAMPS)/venv:
	@$(PYTHON) scripts/check_python.py
	@echo "antiphon: making the virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/base: $(STAMPS)/venv requirements/serve.txt pyproject.toml
	@echo "antiphon: installing the locked dependencies (once; about 150 MB)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/serve.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(STAMPS)/dev: $(STAMPS)/base requirements/dev.txt
	@echo "antiphon: installing the locked tools for tests and checks (once; about 150 MB)"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

$(STAMPS)/serve: $(STAMPS)/base src/antiphon/models/catalog.toml
	@$(BIN)/antiphon models pull --default
	@touch $@

$(STAMPS)/test: $(STAMPS)/dev src/antiphon/models/catalog.toml
	@$(BIN)/antiphon models pull qwen2.5-coder-0.5b smollm2-135m
	@touch $@

.PHONY: help serve setup test check bench lock format clean
