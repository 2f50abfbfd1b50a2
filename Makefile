# `make` lists the targets. Everything is installed into .venv, once; interrupt and repeat as you like.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-without-kafka faults lint format bench dashboards docs clean

# PyTorch without NVIDIA's libraries, for a new environment: make setup TORCH=cpu
TORCH ?=
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
ifneq ($(filter-out cpu,$(TORCH)),)
$(error TORCH=$(TORCH): cpu, or nothing for the build that the package index has)
endif

# Tried in this order. Your own: make setup PYTHON=/path/to/python3.12
PYTHON ?= python3.13 python3.12 python3.11 python3

# The tests run in as many processes as there are cores, at most four; each that needs a Kafka starts one.
WORKERS ?= logical
# They start some hundred interpreters, each of which would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

comma := ,
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal
SUPPORTED := import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))

help:  ## What there is to make
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r name does; do printf '  make %-10s %s\n' "$$name" "$$does"; done

setup: $(VENV)/.test  ## Install everything that the other targets need

demo: $(VENV)/.demo  ## Real Wikipedia text through the whole pipeline, and three searches
	$(BIN)/python -m deploy.local demo

check: $(VENV)/.test  ## Before each commit: lint, and the tests that need no Kafka
	$(MAKE) --no-print-directory --jobs 2 lint test-without-kafka

test-without-kafka: $(VENV)/.test
	$(PYTEST) -m "not faults and not broker"

test: $(VENV)/.test  ## All tests but the long ones
	$(PYTEST) -m "not faults"

faults: $(VENV)/.test  ## The long tests: processes are killed and stopped while they work
	$(BIN)/python -m pytest -m faults

bench: $(VENV)/.test  ## Benchmarks: ratios on the screen, figures in JSON files
	$(BIN)/python -m bench.chunk
	$(BIN)/python -m bench.embed
	$(BIN)/python -m bench.table
	$(BIN)/python -m bench.producer
	$(BIN)/python -m bench.markup
	$(BIN)/python -m bench.metrics

dashboards: $(VENV)/.test  ## Grafana's dashboards and Prometheus' rules, rendered from the code
	$(BIN)/python -m grafana.render
	$(BIN)/python -m deploy.prometheus.render
	$(BIN)/python -m deploy.kubernetes rules > deploy/kubernetes/components/monitoring/rules.yaml

docs: $(VENV)/.test  ## The documents as a site, in the folder site; every link and anchor is checked
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.test  ## Style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test  ## Lay the code out as `make lint` wants it
	$(BIN)/ruff check --fix --select I .
	$(BIN)/ruff format .

clean:  ## Remove the environment and all caches; the data folder stays
	rm -rf $(VENV) build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that was interrupted while it was made has no pip, and is made again.
$(VENV)/.python:
	@if ! { $(BIN)/python -c '$(SUPPORTED)' && $(BIN)/python -m pip --version; } >/dev/null 2>&1; then \
	    for python in $(PYTHON); do \
	        if "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	    done; \
	    if [ -z "$${found:-}" ]; then \
	        echo "error: no Python 3.11, 3.12 or 3.13 with its venv module among: $(PYTHON). Install one (Debian: python3-venv), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 2; \
	    fi; \
	    echo "making $(VENV) with $$("$$found" --version)"; \
	    "$$found" -m venv --clear $(VENV); \
	fi
	@touch $@

# Linux has the large download: torch's wheel there needs NVIDIA's libraries, with or without a GPU.
define install
@case "$$(uname -s)$(TORCH)" in \
    Linux) echo "installing into $(VENV): about 3.4 GB to download, 6.5 GB on disk; what arrived is kept if you interrupt";; \
    *) echo "installing into $(VENV): less than 1 GB to download; what arrived is kept if you interrupt";; \
esac
$(if $(TORCH),$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --no-deps --index-url $(TORCH_CPU_INDEX) torch)
$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[$(1)]'
endef

$(VENV)/.demo: $(VENV)/.python pyproject.toml constraints.txt
	$(call install,demo)
	@touch $@

$(VENV)/.test: $(VENV)/.python pyproject.toml constraints.txt
	$(call install,test$(comma)bench)
	@touch $(VENV)/.demo $@
