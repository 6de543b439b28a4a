# Everything sets itself up: `make demo` on a fresh machine needs Python 3.11+ and make alone.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check
DATA ?= ../shared/data
WORKERS ?= 2

# Compiled tests are kept between runs: compiling them anew makes each run slower.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo setup test test-all test-processors test-data test-faults test-gpu bench check docs clean

demo: $(VENV)/.demo
	$(BIN)/shendu train lenet digits

setup: $(VENV)/.dev

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not data and not faults and not gpu"

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not data and not faults and not gpu"

test-processors: $(VENV)/.dev
	WORKERS=$(WORKERS) $(BIN)/python tests/processors.py

test-data: $(VENV)/.dev
	@test -d "$(DATA)" || { echo "no data sets in $(DATA); give their folder: make test-data DATA=DIR"; exit 2; }
	SHENDU_DATA="$(abspath $(DATA))" $(BIN)/python -m pytest -n $(WORKERS) -m data

test-faults: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) -m faults tests/faults

test-gpu: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) -m gpu tests/contracts

bench: $(VENV)/.dev
	SHENDU_DATA="$(abspath $(DATA))" $(BIN)/python bench/run.py $(BENCH)

check: $(VENV)/.dev
	./check

docs: $(VENV)/.docs
	$(BIN)/python docs/gen/systems.py
	$(BIN)/mkdocs build --strict

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "shendu needs Python 3.11 or newer: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/.made
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	$(PIP) install -q --no-deps torchvision==0.28.0 timm==1.0.31
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.dev
	$(PIP) install -q -c constraints.txt -e ".[docs]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info site .mypy_cache .ruff_cache .pytest_cache
