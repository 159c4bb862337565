# Two commands set everything up: `make studio` (or `make demo` without a screen) and `make test`.
.DEFAULT_GOAL := help
.PHONY: help studio demo test test-unsloth check bench pictures clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UNSLOTH := .venv-unsloth
DEMO ?= workspace

help:
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 15

# Made once, and again only when what is to be installed has changed.
$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV): about two minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[engine,dev]'
	@touch $@

studio: $(STAMP) ## open the studio on the demo
	@$(BIN)/gptstudio init $(DEMO) --quiet
	@cd $(DEMO) && $(CURDIR)/$(BIN)/gptstudio

demo: $(STAMP) ## the same without a screen: from raw text to a model that calls tools
	@$(BIN)/gptstudio init $(DEMO) --quiet
	@cd $(DEMO) && $(CURDIR)/$(BIN)/gptstudio run --profile demo --stage all

test: check ## check, then every test
	@$(BIN)/python -m pytest -n 2 --dist worksteal

# Unsloth rewrites parts of TRL when it is imported, so it gets an environment of its own.
$(UNSLOTH)/.installed: pyproject.toml constraints.txt unsloth-cpu.txt
	@echo "Setting up $(UNSLOTH): about two minutes, once."
	@test -x $(UNSLOTH)/bin/python || $(PYTHON) -m venv $(UNSLOTH)
	@$(UNSLOTH)/bin/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e '.[engine,dev]'
	@$(UNSLOTH)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps -r unsloth-cpu.txt
	@touch $@

test-unsloth: $(UNSLOTH)/.installed ## fine-tune by Unsloth and by PEFT on the CPU, and compare
	@$(UNSLOTH)/bin/python -m pytest tests/e2e/test_unsloth.py
	@$(UNSLOTH)/bin/python benchmarks/backends.py

check: $(STAMP) ## lint, format, types, boundaries
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: $(STAMP) ## measure: the studio, reading data, tokenizing, training throughput
	@$(BIN)/python benchmarks/studio.py
	@$(BIN)/python benchmarks/data_check.py
	@$(BIN)/python benchmarks/tokenizing.py
	@$(BIN)/python benchmarks/train_throughput.py

pictures: $(STAMP) ## draw the README's pictures from a real run
	@$(BIN)/python docs/pictures.py

clean: ## remove the environment, caches and the demo workspace
	rm -rf $(VENV) $(UNSLOTH) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find studio engine tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
