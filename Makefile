# Everything runs from a fresh clone: each target prepares what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BUILD := build
BARE := $(BUILD)/bare
HOME_DIR := $(BUILD)/demo
DOMAINS := validation training evaluation rollout monitoring governance
# The stories share one embedded stack; PORT_BASE=21000 moves all of its ports.
UP_OPTIONS := $(if $(PORT_BASE),--port-base $(PORT_BASE))

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-bad-data demo-bad-model demo-bad-canary demo-drift demo-kills demo-down \
	screenshots test test-bare test-system docs lint format bench build build-images clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

setup: $(VENV)/.ready ## Make the environment with Airflow and everything beside it

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.version_info >= (3, 14))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; choose one with PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made: on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
	@mkdir -p $(BUILD)
	@echo "preparing $(VENV); the output goes to $(BUILD)/setup.log"
	@$(BIN)/python -m pip install --upgrade 'pip>=25.1' >$(BUILD)/setup.log 2>&1 && \
		$(BIN)/python -m pip install --constraint constraints.txt --editable '.[all]' --group dev >>$(BUILD)/setup.log 2>&1 || \
		{ tail -n 20 $(BUILD)/setup.log >&2; exit 1; }
	@touch $@

demo: setup ## From nothing to a promoted model, in a running Airflow
	@$(BIN)/python -m demo promote --home $(HOME_DIR) $(UP_OPTIONS)

demo-bad-data: setup ## Corrupted months stop at validation
	@$(BIN)/python -m demo bad-data --home $(HOME_DIR) $(UP_OPTIONS)

demo-bad-model: setup ## A worse candidate stops at the gate
	@$(BIN)/python -m demo bad-model --home $(HOME_DIR) $(UP_OPTIONS)

demo-bad-canary: setup ## Candidates that fail or are slow under traffic are rolled back
	@$(BIN)/python -m demo bad-canary --home $(HOME_DIR) $(UP_OPTIONS)

demo-drift: setup ## Months pass until the monitor asks for a retraining
	@$(BIN)/python -m demo drift --home $(HOME_DIR) $(UP_OPTIONS)

demo-kills: setup ## Every part of the stack is killed in the middle of a release
	@$(BIN)/python -m demo kills --home $(HOME_DIR) $(UP_OPTIONS)

demo-down: setup ## Stop everything that the demonstrations started
	@$(BIN)/python -m demo down --home $(HOME_DIR)

screenshots: setup ## The pictures in docs/images, from a running Airflow; needs chromium, takes five minutes
	@$(BIN)/python -m demo.screenshots --home $(BUILD)/pictures $(UP_OPTIONS)

test: setup test-bare ## All tests that need no container engine
	@$(BIN)/python -m demo environment --envs $(BUILD)/envs
	MLOPS_MODEL_PYTHON=$$(cat $(BUILD)/envs/model-python) $(if $(TESTS),,MLOPS_TESTS_PASSED=$(BARE)/passed) \
		$(BIN)/python -m pytest -m 'not system' --numprocesses 2 --dist loadfile --durations 15 $(TESTS)

test-bare: setup ## Kernel and domains, where Airflow is not installed
	@$(BARE)/bin/python -c 'import xdist' 2>/dev/null || { $(PYTHON) -m venv $(BARE) && \
		$(BARE)/bin/python -m pip install --quiet --constraint constraints.txt pytest pytest-timeout pytest-xdist hypothesis pyyaml jinja2 \
		jsonschema scikit-learn; }
	$(BARE)/bin/python -c 'import importlib.util as u, sys; sys.exit(bool(u.find_spec("airflow")))'
	PYTHONPATH=$(CURDIR) MLOPS_TESTS_PASSED_INTO=$(BARE)/passed $(BARE)/bin/python -m pytest --numprocesses 2 --dist worksteal \
		tests/unit/test_*.py $(DOMAINS:%=tests/unit/%) tests/unit/stats tests/properties

test-system: setup ## Tests that need Docker, Kubernetes, a browser, or hundreds of megabytes (Spark, SHAP)
	@$(BIN)/python -m demo environment --envs $(BUILD)/envs --explanations
	@test -d $(BUILD)/spark/pyspark || $(BIN)/python -m pip install --quiet --no-deps --target $(BUILD)/spark \
		--constraint constraints.txt pyspark py4j
	MLOPS_MODEL_PYTHON=$$(cat $(BUILD)/envs/model-python) MLOPS_EXPLAIN_PYTHON=$$(cat $(BUILD)/envs/explain-python) \
		tests/system/run $(BIN)/python

docs: setup ## The documentation as a site, in build/docs; a warning is an error
	@$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet --fresh-env --write-all \
		--doctree-dir $(BUILD)/doctrees docs $(BUILD)/docs
	@echo "$(BUILD)/docs/index.html"

lint: setup ## Style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## Put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## Measure against the named peers; prints ratios
	$(BIN)/python -m tests.benchmarks

build: setup ## Wheel, source distribution and, where a Docker engine answers, the images with their sizes
	$(BIN)/python -m build --outdir dist .
	@docker info >/dev/null 2>&1 && $(MAKE) --no-print-directory build-images || echo "no Docker engine answers: no images"

build-images:
	@for kind in trainer server airflow; do \
		DOCKER_BUILDKIT=$${DOCKER_BUILDKIT-0} docker build --quiet --force-rm --network host $(BUILD_OPTIONS) \
			--build-arg REVISION=$$(git rev-parse HEAD) --file docker/$$kind/Dockerfile --tag mlops-$$kind:dev . >/dev/null \
			|| exit 1; \
		docker image inspect --format '{{.Size}} {{index .RepoTags 0}}' mlops-$$kind:dev \
			| awk '{printf "%-24s %6.0f MB\n", $$2, $$1 / 1e6}'; \
	done

clean: ## Remove what the targets made
	rm -rf $(VENV) $(BUILD) dist
