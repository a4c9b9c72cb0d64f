# One command each; CONTRIBUTING.md says what they are for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs

.PHONY: demo test test-slow test-gpu check bench docs site clean

demo: $(INSTALLED)
	$(BIN)/augmix demo

test: $(INSTALLED_DEV) check
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu"

test-slow: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -q -m slow

test-gpu: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -q -m gpu

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(INSTALLED)
	$(BIN)/augmix bench

docs: $(INSTALLED_DEV)
	$(BIN)/python docs/make.py

site: $(INSTALLED_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf build dist runs .pytest_cache .ruff_cache .hypothesis src/*.egg-info
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[demo,parquet]"
	touch $@

$(INSTALLED_DEV): $(INSTALLED)
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@

$(INSTALLED_DOCS): $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[docs]"
	touch $@
