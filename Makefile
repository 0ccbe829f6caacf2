# Two commands matter: `make run` (first contact) and `make test` (everything that is tested).
# Both make a virtual environment in .venv on first use and find it again afterwards.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUN_ARGUMENTS ?= --method supcon --shift throws
# Processes that share the tests out, file by file; each takes some 2 GB.
TEST_WORKERS ?= 2
# For each of the readers of files.
FUZZ_SECONDS ?= 10

.PHONY: help run test quick-test benchmark lint format docs audit fuzz leaderboards minkowski clean check-python

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

run: $(VENV)/.installed ## the first command: real Geant4 events to a leaderboard, in minutes
	$(BIN)/nubench run $(RUN_ARGUMENTS)

test: $(VENV)/.installed-test lint ## everything: format, types, tests
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile

quick-test: $(VENV)/.installed-test ## the tests that take seconds
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile -m "not slow"

benchmark: $(VENV)/.installed-test ## speed, measured with pytest-benchmark
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only

lint: $(VENV)/.installed-test ## format and types, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.installed-test ## put the code in format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

audit: $(VENV)/.installed-test ## known weaknesses of the packages; needs the network
	$(BIN)/python scripts/audit_packages.py $(AUDIT_ARGUMENTS)

fuzz: $(VENV)/.installed-test ## what a fuzzer makes up, to every reader of files for FUZZ_SECONDS each (Linux)
	$(BIN)/python scripts/fuzz.py --all --seconds $(FUZZ_SECONDS)

# Those that train once come first; those behind them train once for each target.
METHODS := summary-features summary-features-shape-only summary-features-voxel-count \
  summary-features-minimum-subtracted classifier classifier-augmented supcon simclr minimum-subtraction \
  moment-alignment quantile-alignment statistics-alignment dann coral mmd entropy pseudo-label simclr-target target-oracle
METHODS_OF_LARTPC := resimulation resimulation-augmented resimulation-classifier calibration

BOARD_PROFILE ?= smoke
BOARD_SEEDS ?= 3
# For each run, as --device cuda or --launcher slurm.
BOARD_ARGUMENTS ?=

# A seed of every method comes before the next seed, so that a board cut short is short of seeds, not of methods.
leaderboards: $(VENV)/.installed ## the boards of BOARD_PROFILE: all methods, BOARD_SEEDS seeds; goes on if cut; smoke takes many hours
	@ended=0; \
	run() { $(BIN)/nubench run --profile $(BOARD_PROFILE) $(BOARD_ARGUMENTS) "$$@" || { ended=$$?; [ $$ended = 1 ] || exit $$ended; }; }; \
	for seed in $$(seq 0 $$(($(BOARD_SEEDS) - 1))); do \
	  run --shift crosstalk --seed $$seed $(METHODS:%=--method %); \
	  run --shift throws --seed $$seed $(METHODS:%=--method %) $(METHODS_OF_LARTPC:%=--method %); \
	done; exit $$ended

minkowski: $(VENV)/.installed ## the second engine, compiled once and kept in the cache (Linux; 4 minutes)
	$(BIN)/python scripts/build_minkowski.py $(MINKOWSKI_ARGUMENTS)

clean: ## remove the virtual environment and what tools left behind; data in the cache stay
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "nubench needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)."; \
	  echo "Install one, or name it: make PYTHON=python3.12 run"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "'$(PYTHON)' lacks the module venv (on Debian and Ubuntu: apt install python3-venv)."; exit 1; }

$(VENV)/bin/python: | check-python
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.)

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.[test])
	@touch $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(call install,.[docs])
	@touch $(VENV)/.installed

# An editable installation, so that a changed file takes effect without another install.
define install
	@echo "Installing nubench and what it needs into $(VENV) (1 to 2 GB with a CPU build of torch; a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '$(1)' || { \
	  echo; echo "The installation failed. The lines above name the package. Usual causes: no network"; \
	  echo "(pip needs a package index), a full disk, or no wheel of that package for this Python and platform."; \
	  exit 1; }
	@touch $@
endef
