# The list of verbs. `make` alone prints it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off $(BIN)/python -m pip install --require-hashes
export PYTHONUNBUFFERED := 1
SHELL := bash
.SHELLFLAGS := -o pipefail -c
# pip's progress as a line every 20 packages; its warnings and errors come as they are
STEPS := awk '/^Collecting/{if (++n % 20 == 0) {print "  " n " packages fetched"; fflush()}} /^Installing collected/{print "  installing " n " packages"; fflush()}'

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/run: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; say which one: make PYTHON=python3.12 ..."; exit 2; }
	@echo "installing into $(VENV) (about a minute the first time)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) -r requirements.lock | $(STEPS)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.lock
	@echo "installing the tools for tests and checks"
	@$(PIP) -r requirements-dev.lock | $(STEPS)
	@touch $@

install: $(VENV)/run ## make .venv with everything that campaigns and the sandbox need
campaign: $(VENV)/run ## play the tour on a sandbox of its own and judge it
	@$(BIN)/harness run campaigns/tour.yaml --sandbox
	@echo 'to use it further: export PATH="$(CURDIR)/$(BIN):$$PATH"; harness --help'

dev: $(VENV)/dev ## add the tools for tests and checks

test: $(VENV)/dev ## the whole suite
	@$(BIN)/python -m pytest tests -m "not long" -n 2 --dist loadfile

test-long: $(VENV)/dev ## before a release, on a quiet machine: thirty crash trials, every experiment under both runners (half an hour)
	@$(BIN)/python -m pytest tests -m long

crash: N ?= 300
halts: N ?= 100
crash: $(VENV)/dev ## kill, stop and cut off the processes of N runs (300), and see what heals: reports/crash.json
	@$(BIN)/python -m tests.crash --trials $(N) --sandboxes 4

halts: $(VENV)/dev ## end N runs (100) in order, and time the undo calls: reports/halts.json
	@$(BIN)/python -m tests.crash --halts --trials $(N) --sandboxes 1

score: $(VENV)/dev ## how often the causes are right, against the sandbox's truth (40 min): reports/score.json
	@$(BIN)/python -m tests.score --sandboxes 3

capacity: N ?= 10
capacity: $(VENV)/dev ## whether searches for capacity find the truth, N of them (10, up to 10 min each): reports/capacity.json
	@$(BIN)/python -m tests.score.capacity --runs $(N)

quick: $(VENV)/dev ## what needs no sandbox, within a minute
	@$(BIN)/python -m pytest tests/unit tests/house tests/golden -n 2

check: $(VENV)/dev ## format, lint, types, who may import whom, dependencies
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy harness locustfile.py
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

format: $(VENV)/dev ## format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/dev ## measure against peers: a table, and reports/bench.json
	@$(BIN)/python -m benchmarks

wire: $(VENV)/dev ## generate code from the .proto
	@$(BIN)/python -m grpc_tools.protoc -I harness/wire --python_out=harness/wire --grpc_python_out=harness/wire --pyi_out=harness/wire pandadatastream.proto
	@sed -i 's/^import pandadatastream_pb2/from harness.wire import pandadatastream_pb2/' harness/wire/pandadatastream_pb2_grpc.py

lock: ## compile the locks from pyproject.toml (needs uv)
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-annotate pyproject.toml --extra sandbox --extra build -o requirements.lock
	uv pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-header --no-annotate pyproject.toml --extra sandbox --extra build --extra dev -o requirements-dev.lock

clean: ## remove what make made, but no reports
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: help install campaign dev test test-long crash halts score capacity quick check format bench wire lock clean
