# Each target sets up what it needs in .venv, with the versions that constraints.txt pins.
PYTHON ?= python3
BIN := .venv/bin
SETUP = echo "Setting up .venv; this takes a minute or two." && $(PYTHON) -m venv .venv
TORCH = torch==2.13.0 catboost==1.2.10
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
UV_PIP = $(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt
COMPILE = $(BIN)/uv pip compile pyproject.toml --no-emit-index-url --no-annotate --custom-compile-command "make constraints" --quiet
STARTS = attempts faults grace halving kills quarantine resuming runner
LOWEST = $(COMPILE) --extra test --resolution lowest-direct --only-binary :all: --python-version

.PHONY: help demo test soak test-lower test-starts test-torch bench bench-peers bench-pins lint format wheel samples constraints clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/demo ## score sample_data/, spoil a file, repair it
	@PATH="$(CURDIR)/$(BIN):$$PATH" sample_data/demo.sh

test: lint ## the checks and all tests
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

soak: .venv/dev ## hostile files by the hundred thousand, then a thousand kills (SOAK="--minutes 60 --seed 1" KILLS="--kills 1000 --seed 1")
	$(BIN)/python tests/soak.py fuzz $(SOAK) && $(BIN)/python tests/soak_kills.py $(KILLS)

test-lower: .venv/dev ## the tests with the oldest supported libraries
	$(BIN)/python tests/lower_bounds.py

test-starts: .venv/dev ## faults, kills, resuming and the like with both ways of starting workers
	for start in loader each; do $(BIN)/python -m pytest --worker-start $$start --numprocesses auto --dist loadfile $(STARTS:%=tests/test_%.py) || exit 1; done

test-torch: .venv-torch/done ## the tests of torch and CatBoost, which take a gigabyte
	.venv-torch/bin/python -m pytest tests/test_flavours.py tests/test_threads.py -rs

bench: .venv/dev ## batchscore beside the hand-written limit and loops, into docs/performance.md (BENCH="--quick")
	$(BIN)/python -m benchmarks --document $(BENCH)

bench-peers: .venv/dev ## the same beside Daft, Dask, MLflow, Ray and Spark (BENCH="--only trivial-csv --rounds 1")
	$(BIN)/python -m benchmarks --peers --rounds 3 --document $(BENCH)

bench-pins: .venv/dev ## pin the newest versions of these in benchmarks/environments/
	cd benchmarks/environments && for name in daft dask mlflow plot ray spark; do $(CURDIR)/$(BIN)/uv pip compile $$name.in --upgrade --universal --python-version 3.10 --no-emit-index-url --no-annotate --custom-compile-command "make bench-pins" --quiet --output-file $$name.txt || exit 1; done

lint: .venv/dev ## ruff and mypy
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy

format: .venv/dev ## ruff's formatting and safe fixes
	$(BIN)/ruff check --fix && $(BIN)/ruff format

wheel: .venv/dev ## dist/batchscore-….whl
	$(BIN)/uv build --wheel --quiet && ls dist

samples: .venv/dev ## make sample_data/ again
	$(BIN)/python sample_data/make.py

constraints: .venv/dev ## pin the newest versions in constraints.txt, the oldest in tests/lowest-*.txt
	$(COMPILE) --universal --python-version 3.10 --extra dev --upgrade --output-file constraints.txt && $(LOWEST) 3.10 --output-file tests/lowest-3.10.txt && $(LOWEST) 3.11 --output-file tests/lowest-3.11.txt

clean: ## remove what the targets made
	rm -rf .venv .venv-torch build dist demo-output demo-damaged demo-repaired .mypy_cache .ruff_cache .pytest_cache

.venv/demo: pyproject.toml constraints.txt
	@$(SETUP) && $(PIP) --editable '.[samples]' && touch $@

.venv/dev: pyproject.toml constraints.txt
	@$(SETUP) && $(PIP) uv && $(UV_PIP) --editable '.[dev]' && touch $@ .venv/demo

.venv-torch/done: pyproject.toml constraints.txt
	@$(PYTHON) -m venv .venv-torch && .venv-torch/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]' $(TORCH) && touch $@
