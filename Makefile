# `make demo` and `make test` each create .venv, install into it and do their work: Python >= 3.11 and make suffice.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-slow check clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: .venv/installed
	$(BIN)/accelerate launch --config_file accelerate_config.yaml train.py python-stdlib
	
test: .venv/installed
	$(BIN)/pytest -n 2

test-slow: .venv/installed
	$(BIN)/pytest -m slow

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist
