# Every target works in a fresh checkout with Python >= 3.11, git and make: .venv is made on first
# use. `make PYTHON=python3.12 ...` chooses the interpreter, `ARGS=...` is passed on.

PYTHON ?= python3
ARGS ?=

BIN := .venv/bin
# The stamp's name is a checksum of what was installed from: editing either file installs again,
# switching branches and back does not.
STAMP := .venv/installed-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
OR_NONE := || test $$? -eq 5  # pytest's word for none chosen: ARGS may name one of the other half
JOBS := $(shell nproc 2> /dev/null || echo 2)
FAST := not cluster and not chaos and not slow and not gpu and not long

export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# uv leaves compiling to the first import; where that is kept from writing, every process of every
# run compiles torch again: `import torch` 12.4 s instead of 6.5 s, an optimiser 27.5 s for 11.6 s.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help train test long fast check lint format
.NOTPARALLEL:

help:
	@echo 'make train   the default run: ray-easgd train (ARGS="algorithm.name=eamsgd" and so on)'
	@echo 'make test    every test but the long ones (ARGS="-k ledger")'
	@echo 'make long    the rest: clusters that grow, nodes that are cut off, more of each kind'
	@echo 'make fast    the tests that need no cluster'
	@echo 'make lint    format, lint, types'
	@echo 'make check   the same and the fast tests: what a change must pass'
	@echo 'make format  format, and mend what the linter can'

train: $(STAMP)
	$(BIN)/ray-easgd train $(ARGS)

# The fast ones on all cores; those with clusters one after the other.
test: fast
	$(BIN)/python -m pytest -m '(cluster or chaos or slow or gpu) and not long' $(ARGS) $(OR_NONE)

long: $(STAMP)
	$(BIN)/python -m pytest -m long $(ARGS)

fast: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) -m '$(FAST)' $(ARGS) $(OR_NONE)

check: lint fast

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# uv installs (docs/decisions/0002-uv-and-constraints.md); pip is used for nothing but to get uv.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@if uv --version > /dev/null 2>&1; then uv=uv; else uv=$(BIN)/uv; \
		test -x $$uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv || exit 1; \
	fi; set -x; \
	$$uv pip install --python $(BIN)/python --constraints constraints.txt --build-constraints constraints.txt --editable '.[dev]'
	@rm -f .venv/installed-* && touch $@
