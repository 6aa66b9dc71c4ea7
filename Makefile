# Everything one does here. Nothing is needed before but python3 (3.11+), make and git.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps

.PHONY: help run install test test-all lint bench docs lock lock-check sbom clean

help:            ## what there is
	@grep -hE '^[a-z-]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: .venv/base  ## make a small car maker, bring its files in, decide, open the web app
	$(BIN)/unibody up

install: .venv/dev  ## everything into .venv

test: .venv/dev  ## the tests, without the slow ones
	$(BIN)/pytest -n 2 --dist loadscope -m "not slow"

test-all: .venv/dev  ## the slow rest
	$(BIN)/pytest -n 2 --dist loadscope -m slow

lint: .venv/dev  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/dev  ## measure, and print the figures into docs/benchmarks.md
	$(BIN)/python -m benchmarks

docs: .venv/dev  ## make the reference pages from the code
	$(BIN)/python docs/reference.py

lock: .venv/dev  ## refresh the locked requirement files (exact versions, hashes, no addresses)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev pyproject.toml -c requirements.lock -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --extra spark pyproject.toml -c requirements.lock -o requirements-spark.lock

clean:           ## remove the environment and the demo's home
	rm -rf .venv .unibody

.venv/base: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch .venv/base

.venv/dev: requirements-dev.lock .venv/base
	$(PIP) -r requirements-dev.lock
	touch .venv/dev
