# Every target sets up the environment it needs: a folder .venv/<name> from requirements/<name>.txt.
SHELL := /bin/bash
PYTHON ?= python3
PIP_FLAGS := --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help demo run test soak test-compose check format bench matrix gpu-check build docs lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: .venv/serve/.installed ## Serve the bundled models, classify a photograph, stop
	@.venv/serve/bin/python -m embedded.demo

run: export VITRINE_DEFAULT_MODEL ?= imagenet_efficientnet_lite0
run: .venv/serve/.installed ## Serve model_repository/ until Ctrl-C
	@.venv/serve/bin/python -m embedded

test: .venv/test/.installed .venv/build/.installed ## Run every test
	.venv/build/bin/pytest
	.venv/test/bin/pytest

soak: .venv/test/.installed ## Run what takes long: overload, broken pictures, SOAK_REQUESTS requests, SOAK_MALFORMED broken ones
	.venv/test/bin/pytest -m soak -s

test-compose: .venv/test/.installed ## Build the images and run the stack, where a Docker engine is
	TEST_COMPOSE=1 .venv/test/bin/pytest tests/compose

check: .venv/test/.installed .venv/build/.installed ## Lint, type-check, and look for stale generated files
	.venv/test/bin/ruff format --check .
	.venv/test/bin/ruff check .
	.venv/test/bin/mypy --exclude 'benchmarks/(recipes|runtimes|families)/' contract service embedded vitrine benchmarks docs tests/unit/benchmarks tests/unit/contract tests/unit/service tests/unit/embedded tests/unit/vitrine tests/unit/*.py tests/integration tests/browser tests/compose tests/*.py
	.venv/build/bin/mypy contract build_engines training benchmarks/recipes benchmarks/runtimes benchmarks/families tests/unit/contract tests/unit/build_engines tests/unit/training tests/gpu
	.venv/test/bin/python -m docs.generate --check

format: .venv/test/.installed ## Format the code and fix what ruff can
	.venv/test/bin/ruff format .
	.venv/test/bin/ruff check --fix .

bench: .venv/test/.installed .venv/build/.installed ## Runtimes, families of models and the service, in ten minutes: build/benchmarks
	.venv/build/bin/python -m benchmarks.runtimes --model vit_tiny_patch16_224 --batches 1 8 32 --seconds 1
	.venv/build/bin/python -m benchmarks.families --batches 1 8 --seconds 1 --limit 10
	.venv/test/bin/python -m benchmarks.serving --seconds 2

matrix: .venv/test/.installed .venv/build/.installed ## Build every family of models, with random weights: docs/model-matrix.md
	.venv/test/bin/python -m benchmarks.matrix

gpu-check: .venv/build/.installed ## On a machine with a GPU: driver, engines, Triton, speed, held against what is expected
	.venv/build/bin/python -m benchmarks.gpu_check

build: .venv/build/.installed ## Build an entry: make build MODEL=vit_tiny_patch16_224 ARGS="--no-pretrained"
	.venv/build/bin/build-engines build $(MODEL) $(ARGS)

docs: .venv/test/.installed ## Regenerate the reference pages
	.venv/test/bin/python -m docs.generate

lock: ## Resolve the locked versions anew (needs uv)
	./requirements/lock

clean: ## Remove the environments and every cache
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/%/.installed: requirements/%.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
		|| { echo 'Vitrine needs Python 3.10, 3.11 or 3.12: make PYTHON=python3.11 ...' >&2; exit 2; }
	@echo 'Setting up .venv/$* (once)'
	@rm -rf .venv/$*
	@$(PYTHON) -m venv .venv/$*
	@.venv/$*/bin/pip install $(PIP_FLAGS) --require-hashes -r $<
	@.venv/$*/bin/pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable .
	@touch $@
