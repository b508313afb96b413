# `make demo` and `make test` each create .venv, install into it and do their work: Python >= 3.11 and make suffice.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo-$(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-slow test-gpu mutants check clean

demo: .venv/installed
	$(BIN)/accelerate launch --config_file accelerate_config.yaml train.py python-stdlib --minutes 3 --run-dir $(DEMO)
	@echo && echo "== charrnn-sample $(DEMO) --prompt 'class ' --length 600 --temperature 0.5 --seed 1"
	@$(BIN)/charrnn-sample $(DEMO) --prompt 'class ' --length 600 --temperature 0.5 --seed 1

test: .venv/installed
	$(BIN)/pytest -n 2

test-slow: .venv/installed
	$(BIN)/pytest -m slow

test-gpu: .venv/installed
	$(BIN)/pytest -m gpu

# Wrong code, which the tests must find out: hours for all of it, and it goes on where it was stopped. A part of it:
# make mutants ONLY=charrnn/text COUNT=40
COUNT ?= 500
PROCESSES ?= 1
mutants: .venv/mutants
	$(BIN)/python tests/mutants.py --only '$(ONLY)' --count $(COUNT) --processes $(PROCESSES)

check: .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/mutants: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[mutants]'
	touch $@
