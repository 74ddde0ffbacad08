# Everything a newcomer needs. Each verb does its own set-up; repeated, set-up takes no time.
#
#   make demo            watch real applications share a server: stock vLLM, then Justitia
#   make test            all tests, live servers included
#
# ENGINE=cpu or ENGINE=gpu overrides what `nvidia-smi` says; PYTHON=… picks the interpreter.

SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
ENGINE ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& { echo $$p; break; }; done)

TORCH := torch==2.13.0+cpu
TORCH_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check

# One stamp a step; a step is done again when the file it reads has changed.
CREATED := $(VENV)/.created
ENGINE_READY := $(VENV)/.engine-$(ENGINE)
READY := $(VENV)/.ready-$(ENGINE)

.PHONY: help setup demo test test-fast test-integrations matrix prove evaluate lint types fmt clean

help: ## List these verbs
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(READY) ## Make .venv: the engine (CPU or GPU), the tools, Justitia itself

demo: $(READY) ## Watch applications share a server: stock vLLM, then Justitia
	$(BIN)/justitia demo

test: $(READY) ## Run all tests, live servers included
	$(BIN)/python -m pytest

test-fast: $(READY) ## Run the unit tests
	$(BIN)/python -m pytest tests/unit

test-integrations: $(READY) ## Test frameworks in environments of their own; FRAMEWORKS="crewai dspy": only these
	PYTHONPATH=tests $(BIN)/python -m integrations.everywhere $(if $(OLDEST),--oldest) $(FRAMEWORKS)

matrix: $(READY) ## Test the SDK under other versions of Python, OpenAI, LangChain; ROWS=py3.13: only these
	PYTHONPATH=tests $(BIN)/python -m support.matrix $(ROWS)

prove: $(READY) ## Put every claim to the proof on vLLM's real scheduler (about an hour on two cores)
	JUSTITIA_PROOF_EXAMPLES=5000 $(BIN)/python -m pytest -q tests/unit/fairness/test_reference_exact.py
	PYTHONPATH=tests $(BIN)/python -m proofs.prove

evaluate: $(READY) ## Measure every policy in simulation, and write docs/results (hours on two cores)
	PYTHONPATH=tests $(BIN)/python -m evaluation.evaluate

lint: $(READY) ## Check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## Check types
	$(BIN)/mypy

fmt: $(READY) ## Put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv and everything built
	rm -rf $(VENV) .venvs build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find justitia_sdk integrations server tests examples -name __pycache__ -prune -exec rm -rf {} +

$(CREATED):
	@test -n "$(PYTHON)" || { echo "Justitia needs Python 3.11, 3.12 or 3.13: install one, or say make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The version's +cpu makes a CUDA build impossible, wherever the wheel comes from.
$(VENV)/.engine-cpu: requirements/engine-cpu.txt $(CREATED)
	@echo "Installing the CPU engine: PyTorch, then vLLM (some minutes on first use)"
	@$(PIP) --no-deps $(TORCH) 2>/dev/null \
	|| $(PIP) --no-deps --extra-index-url $(TORCH_INDEX) $(TORCH) \
	|| { echo "No CPU build of PyTorch ($(TORCH)): can $(TORCH_INDEX) be reached from here? If not, download its wheel elsewhere, and set PIP_FIND_LINKS to its folder"; exit 1; }
	@$(PIP) --no-deps --requirement $<
	@rm -f $(VENV)/.engine-* $(VENV)/.ready-*; touch $@

$(VENV)/.engine-gpu: requirements/engine-gpu.txt $(CREATED)
	@echo "Installing the GPU engine: vLLM (some minutes on first use)"
	@$(PIP) --requirement $<
	@rm -f $(VENV)/.engine-* $(VENV)/.ready-*; touch $@

$(READY): requirements/dev.txt pyproject.toml $(ENGINE_READY)
	@echo "Installing the tools and Justitia"
	@$(PIP) --requirement requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
