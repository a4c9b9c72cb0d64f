# One command each; CONTRIBUTING.md says what they are for.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev
INSTALLED_DOCS := $(VENV)/.installed-docs

.PHONY: demo test test-slow test-gpu test-lowest check bench docs tutorials site dist clean

demo: $(INSTALLED)
	$(BIN)/augmix demo

test: $(INSTALLED_DEV) check
	$(BIN)/python -m pytest -q -n 2 -m "not slow and not gpu"

test-slow: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -q -m slow

test-gpu: $(INSTALLED_DEV)
	$(BIN)/python -m pytest -q -m gpu

test-lowest:
	$(PYTHON) -m venv build/lowest
	$(PYTHON) tests/lower_bounds.py > build/lowest/constraints.txt
	build/lowest/bin/python -m pip install -q -c build/lowest/constraints.txt -e ".[dev]"
	AUGMIX_TEST_SHAPES=no build/lowest/bin/python -m pytest -q -n 2 -W default -m "not slow and not gpu"

check: $(INSTALLED_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(INSTALLED)
	$(BIN)/augmix bench

docs: $(INSTALLED_DEV)
	$(BIN)/python docs/make.py

tutorials: $(INSTALLED) $(INSTALLED_DOCS)
	$(BIN)/python docs/tutorials/run.py

site: $(INSTALLED_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

dist: $(BIN)/python
	$(BIN)/python -m pip install -q build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

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
