# Everything goes through this file: people and CI run the same targets.
# It needs GNU make and Python >= 3.11 with venv; all else comes from the hash-pinned locks in requirements/.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# One pytest worker for each processor the kernel shows, and one more: many tests wait, for hosts to boot or for something
# to time out. Who has nothing left takes tests from the others.
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
PYTEST := $(BIN)/pytest -q -n $(WORKERS) --dist worksteal
# Programs start from bytecode, as they do where pip installed them: of a manager's start a third is compiling without it.
BYTECODE := $(BIN)/python -m compileall -q src
# make soak goes on for MINUTES, half an hour where nobody says so; the sweep of make chaos for at most an hour.
SOAK_MINUTES = $(or $(MINUTES),30)
SWEEP_MINUTES = $(or $(MINUTES),60)

.PHONY: help demo test quick check format bench chaos soak lock clean

help: ## this list
	@echo "longshore: make TARGET"; echo
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## a manager, an application, load, and every strategy under that load: about a minute
	@$(BYTECODE)
	@$(BIN)/python -m longshore.demo $(ARGS)

# $(call RUN,ARGUMENTS): two runs, since what is judged by the clock comes after all others and has the machine to itself.
# Both, whatever the first one says, but for Ctrl-C; that one of them has nothing to do (pytest's 5) is no failure.
RUN = first=0 second=0; \
	$(PYTEST) $(1) -m "not alone" || first=$$?; [ "$$first" -ne 2 ] || exit 2; \
	$(BIN)/pytest -q $(or $(1),tests/chaos) -m alone || second=$$?; \
	case "$$first $$second" in "5 "*) exit "$$second" ;; *" 5") exit "$$first" ;; esac; exit "$$((first | second))"

test: $(VENV)/.dev ## all tests
	@$(BYTECODE)
	@$(call RUN,$(ARGS))

quick: $(VENV)/.dev ## the tests that take less than some ten seconds each
	@$(BYTECODE)
	@$(PYTEST) -m "not slow" $(ARGS)

check: $(VENV)/.dev ## linter and types, both strict
	@$(BIN)/ruff check .
	@MYPYPATH=benchmarks $(BIN)/mypy src benchmarks

bench: $(VENV)/.dev ## every benchmark; rewrites the table in docs/benchmarks.md
	@$(BYTECODE)
	@$(BIN)/python benchmarks/all.py $(ARGS)

# Both, whatever the first one says, but for Ctrl-C: one run tells everything there is to mend.
chaos: $(VENV)/.dev ## kills the manager at every write, as far as MINUTES (60) go, then runs tests/chaos; FRESH=1 begins anew
	@$(BYTECODE)
	@status=0; PYTHONPATH=tests $(BIN)/python -m chaos.sweep --minutes $(SWEEP_MINUTES) $(if $(FRESH),--fresh) $(SWEEP) \
		|| status=$$?; [ "$$status" -ne 130 ] || exit 130; \
		( $(call RUN,-o faulthandler_timeout=0 tests/chaos $(ARGS)) ) || status=$$?; exit "$$status"

soak: $(VENV)/.dev ## load, operations and kills at random for MINUTES (30), and what must hold all the while
	@$(BYTECODE)
	@$(BIN)/python benchmarks/soak.py --minutes $(SOAK_MINUTES) $(ARGS)

# ---------------------------------------------------------------------------------------------- the environment

# Two stamps, one environment: the development lock holds the runtime lock's versions and more.
$(VENV)/.dev: requirements/dev.lock pyproject.toml | $(BIN)/python
	@echo "installing from requirements/dev.lock ..."
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $(VENV)/.run $@

$(VENV)/.run: requirements/run.lock pyproject.toml | $(BIN)/python
	@echo "installing from requirements/run.lock ..."
	@$(PIP_INSTALL) --require-hashes -r requirements/run.lock
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "make: Longshore needs Python 3.11 or newer, and none was found." \
		"Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: $(PYTHON) is older than" \
		"Python 3.11. Name a newer one: make $(MAKECMDGOALS) PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments." \
		"On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

lock: ## make the locks anew from pyproject.toml (takes the newest versions it allows)
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or newer is needed" >&2; exit 1; }
	@[ -x .venv-tools/bin/uv ] || { $(PYTHON) -m venv .venv-tools && .venv-tools/bin/python -m pip install --quiet uv; }
	@.venv-tools/bin/uv pip compile pyproject.toml requirements/build.in $(LOCK_FLAGS) -o requirements/run.lock
	@.venv-tools/bin/uv pip compile pyproject.toml requirements/build.in --group dev -c requirements/run.lock \
		$(LOCK_FLAGS) -o requirements/dev.lock

# No index, no paths, no date: a lock says what is installed, never where it was made.
LOCK_FLAGS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links

clean: ## remove the environment and everything that tools left
	@rm -rf $(VENV) .venv-tools .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
	@find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
