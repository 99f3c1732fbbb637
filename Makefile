# `make repro` and `make test` make .venv, install what they need, and run.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
IN_VENV := PATH="$(CURDIR)/$(BIN):$$PATH"

.PHONY: repro test

repro: .venv/.repro
	$(IN_VENV) dvc repro

test: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy dcde stages autoencoder benchmarks
	$(BIN)/lint-imports --no-logo
	OMP_NUM_THREADS=1 $(IN_VENV) pytest -n 2 --dist loadfile --no-loadscope-reorder

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.repro: pyproject.toml constraints.txt | .venv/bin/python
	$(PIP) -e .
	touch $@

.venv/.test: pyproject.toml constraints.txt .venv/.repro
	$(PIP) -e ".[dev,diffusers,onnx]"
	touch $@
