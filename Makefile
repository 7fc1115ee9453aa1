# make help lists the targets.

PYTHON ?= python3
# Extra arguments for pip, e.g. PIP_ARGS="--extra-index-url …" for a CPU-only build of torch.
PIP_ARGS ?=

# torch for test-lowest. The lowest, torch==2.6.0, brings 3 GB of CUDA libraries.
LOWEST_TORCH ?= $(shell grep '^torch==' constraints.txt)

BIN := .venv/bin
LOWEST := .venv-lowest/bin/python
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt $(PIP_ARGS)
OTHER_CPU_TESTS := tests/adapters/classifier \
	'tests/adapters/harness/test_language_model_lm.py::test_adapters[seq2seq-p_tuning]' \
	tests/train/templates/test_language_model.py::test_every_method_reads_back \
	tests/train/templates/test_language_model.py::test_every_template_reads_back \
	tests/train/templates/test_language_model.py::test_stock_peft_says_the_same
# On up to four cores, with one thread each: more processes take more memory than they save time.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile
PACKAGE_FILES := pyproject.toml setup.py constraints.txt $(wildcard plugin/startup/*)

.DEFAULT_GOAL := help
.PHONY: help venv install demo docs test test-slow test-gpu test-lowest test-other-cpu lint typecheck format benchmarks release ship clean

help: ## This list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
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
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL)

test-slow: .venv/.installed-dev ## The slow tests: fresh environments, real data in full.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m slow --durations=10

test-gpu: .venv/.installed-dev ## The tests that need a GPU.
	$(BIN)/python -m pytest -m gpu --durations=10

# A training, a task and the tests without torch. Old versions may warn about what newer ones of
# their own dependencies deprecate.
test-lowest: ## The lowest versions that pyproject.toml allows, in .venv-lowest.
	rm -rf .venv-lowest
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST) -m pip install -q --disable-pip-version-check $(PIP_ARGS) '$(LOWEST_TORCH)'
	$(LOWEST) -m pip install -q --disable-pip-version-check $(PIP_ARGS) \
		-c constraints-lowest.txt '.[offline]' pytest pytest-xdist hypothesis scikit-learn jsonschema
	$(LOWEST) -m pip check
	$(LOWEST) -m valueeval train --base minilm --data sample --method lora --epochs 1 \
		--output .venv-lowest/adapter
	$(LOWEST) -m lm_eval --tasks valueeval_cls_sample --model valueeval \
		--model_args adapter=.venv-lowest/adapter --device cpu
	OMP_NUM_THREADS=1 $(LOWEST) -m pytest $(PARALLEL) -o filterwarnings=default tests/valueeval_tasks tests/leaderboard

# Other processors add up floating-point numbers in another order and with other instructions.
test-other-cpu: .venv/.installed-dev ## Some tests with the instructions of other processors.
	ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(OTHER_CPU_TESTS)
	ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2 OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) $(OTHER_CPU_TESTS)

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

# The API's pages are read from a copy installed for the purpose, whose folders are as imported.
docs: .venv/.installed-dev ## The documentation site, in build/site; --strict.
	rm -rf build/typed
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --target build/typed .
	COLUMNS=96 NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

benchmarks: install ## What the package costs at start-up; more in benchmarks/.
	$(BIN)/python benchmarks/startup.py

# ADAPTERS: directories that `valueeval train` wrote; ORG: the owner on the hub.
release: install ## Prepare ADAPTERS for the hub in release/: files, test scores, model cards.
	$(BIN)/python -m valueeval.train.publish.release $(ADAPTERS) -o release --org $(or $(ORG),ORG)

ship: install ## Make ADAPTER the one that the package ships (adapters/shipped/).
	$(BIN)/python -m valueeval.train.publish.release $(ADAPTER) -o adapters/shipped --ship

clean: ## Removes what the targets made, but for results.
	rm -rf .venv .venv-lowest build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
