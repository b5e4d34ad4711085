# Everything a person types. `make run` and `make test` need nothing but git, make and Python >= 3.11.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_HOME := $(CURDIR)/.run
JOBS ?= 2

.PHONY: help run stop venv test check format bench prove lock clean

help: ## show this help
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

$(VENV)/.base:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or say where it is: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Making the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "venv failed: on Debian and Ubuntu install python3-venv and try again"; exit 1; }
	@touch $@

$(VENV)/.run: $(VENV)/.base requirements/run.lock pyproject.toml
	@echo "Installing what the program needs (pinned, with hashes) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/run.lock
	@printf '%s\n' "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/claude_mem.pth"
	@printf '#!/bin/sh\nexec "%s/python" -m claude_mem "$$@"\n' "$(CURDIR)/$(BIN)" > $(BIN)/claude-mem && chmod +x $(BIN)/claude-mem
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.lock
	@echo "Installing what the tests need (pinned, with hashes) ..."
	@$(PIP) install --require-hashes --only-binary :all: -r requirements/dev.lock
	@touch $@

# Both precisions, for the tests of the embedding model; without them those tests are left out, or fail where CI=true.
$(VENV)/.model: $(VENV)/.run src/claude_mem/adapters/onnx/graph.py src/claude_mem/adapters/onnx/pinned.py
	@echo "Bringing the embedding model for its tests (84 MB, once, checked by its hash) ..."
	@export CLAUDE_MEM_HOME="$(CURDIR)/$(VENV)"; bring="$(BIN)/claude-mem model install --precision both --keep --force"; \
	if $$bring || { echo "Once more, in ten seconds ..."; sleep 10; $$bring; }; then touch $@; \
	else echo "THE EMBEDDING MODEL COULD NOT BE HAD: its tests are left out now, and fail where CI=true."; fi

venv: $(VENV)/.dev ## make the environment for development

run: $(VENV)/.run ## set everything up, load the sample, search it, leave the worker running
	@$(BIN)/claude-mem demo --home "$(RUN_HOME)"

stop: ## end what `make run` left running
	@if [ -x $(BIN)/claude-mem ]; then CLAUDE_MEM_HOME="$(RUN_HOME)" $(BIN)/claude-mem stop; else echo "Nothing to stop: the environment was never made."; fi

test: $(VENV)/.dev $(VENV)/.model ## every test (scaled-down loads)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not prove"

check: $(VENV)/.dev ## format, lint, strict types, import contracts, the quick tests of the tree
	@$(BIN)/ruff format --check --quiet . || { echo "Run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports
	@said="$$($(BIN)/python -m pytest --quiet --no-header -m "not slow" tests/tidy 2>&1)" || { printf '%s\n' "$$said"; exit 1; }
	@echo "check: all good"

format: $(VENV)/.dev ## rewrite the code in the one format
	@$(BIN)/ruff format --quiet . && $(BIN)/ruff check --quiet --fix .

bench: $(VENV)/.dev ## the hot paths, as ratios; results in bench/results/
	@$(BIN)/python -m bench

prove: $(VENV)/.dev ## the long kill, fuzz, load and isolation tests; results in bench/results/
	@$(BIN)/python -m bench.prove

lock: $(VENV)/.dev ## resolve requirements/*.in again
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url requirements/run.in -o requirements/run.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements/run.lock requirements/server.in -o requirements/server.lock
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url -c requirements/server.lock requirements/dev.in -o requirements/dev.lock

clean: ## remove the environment (data in .run stays)
	@rm -rf $(VENV)
