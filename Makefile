PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help setup check lint types imports unit test demo bench chaos size

help:      ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv .venv

# What a user needs, and what a contributor needs on top; each is installed once.
.venv/.user: pyproject.toml | $(BIN)/python
	@echo "Installing glmctl into .venv; torch makes this the longest step."
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing glmctl and its tools into .venv; torch makes this the longest step."
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch .venv/.user $@

setup: .venv/.dev  ## everything a contributor needs, in .venv
	@echo "Ready: . .venv/bin/activate"

check: lint types imports unit  ## everything a commit must pass, under two minutes

lint: .venv/.dev
	ruff check .
	ruff format --check .

types: .venv/.dev
	mypy

imports: .venv/.dev
	lint-imports

unit: .venv/.dev
	pytest -q -n 2 -m 'not slow' tests/unit tests/golden tests/recipes

test: check  ## check, then every command end to end, and stops and restarts
	pytest -q -n 2 -m slow tests/unit tests/golden tests/recipes || [ $$? -eq 5 ]
	pytest -q -n 2 tests/cli tests/distributed

demo: .venv/.user  ## see a sentence corrupted, blanks filled, and a GLM learn to fill them
	@sh tests/bench/demo.sh

ORIGINAL ?=
bench: .venv/.dev  ## the numbers, on this machine; ORIGINAL=DIR compares with a THUDM/GLM checkout
	python tests/bench/startup.py
	python tests/bench/corruption.py $(if $(ORIGINAL),--original $(ORIGINAL))
	python tests/bench/stream.py
	python tests/bench/training.py $(if $(ORIGINAL),--original $(ORIGINAL))
	python tests/bench/loader.py
	python tests/bench/decode.py $(if $(ORIGINAL),--original $(ORIGINAL))
	python tests/bench/score.py
	python tests/bench/beam.py
	python tests/bench/quantized.py
	python tests/bench/convert.py

chaos: .venv/.dev  ## deliberate faults, each of which the tests must catch
	python tests/chaos/faults.py

size: .venv/.dev  ## lines per file and the longest functions
	python tests/bench/size.py
