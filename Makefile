# make help lists the targets.

PYTHON ?= python3
# Extra arguments for pip, e.g. PIP_ARGS="--extra-index-url …" for a CPU-only build of torch.
PIP_ARGS ?=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
PACKAGE_FILES := pyproject.toml setup.py constraints.txt $(wildcard plugin/startup/*)

.DEFAULT_GOAL := help
.PHONY: help venv install demo test test-slow test-gpu lint typecheck format benchmarks clean

help: ## This list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Variables: PYTHON (now $(PYTHON)), PIP_ARGS (extra arguments for pip).'

venv: $(BIN)/python ## A virtual environment in .venv.

$(BIN)/python:
	$(PYTHON) -m venv .venv

install: .venv/.installed ## The package, in pinned versions, with the encoder for offline use.

# torch first and alone: whatever needs it then finds the pinned build and asks for no other.
.venv/.installed: $(PACKAGE_FILES) | $(BIN)/python
	$(INSTALL) torch
	$(INSTALL) -e '.[offline]'
	touch $@

.venv/.installed-dev: $(PACKAGE_FILES) .venv/.installed
	$(INSTALL) -e '.[offline,dev]'
	touch $@

demo: install ## Train, evaluate and rank on the sample set; writes demo/leaderboard.md.
	$(BIN)/valueeval demo -o demo

test: .venv/.installed-dev ## The fast tests.
	$(BIN)/python -m pytest

test-slow: .venv/.installed-dev ## The slow tests: fresh environments, real data in full.
	$(BIN)/python -m pytest -m slow --durations=10

test-gpu: .venv/.installed-dev ## The tests that need a GPU.
	$(BIN)/python -m pytest -m gpu --durations=10

lint: .venv/.installed-dev ## ruff and mypy.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(MAKE) --no-print-directory typecheck

# On a copy installed for the purpose: in an editable install mypy finds one file and is content.
typecheck: .venv/.installed-dev ## mypy alone.
	rm -rf build/typed
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target build/typed .
	MYPYPATH=build/typed $(BIN)/mypy -p valueeval

format: .venv/.installed-dev ## Lets ruff put the code in order.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: install ## What the package costs at start-up; more in benchmarks/.
	$(BIN)/python benchmarks/startup.py

clean: ## Removes what the targets made, but for results.
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
