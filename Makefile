# The first Python that is new enough and can make .venv, or at least the first that is new
# enough; `make PYTHON=…` chooses another. Names are tried, not looked up: a shim may be empty.
PYTHON ?= $(shell for needs in ', venv, ensurepip' ''; do \
	for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c "import sys$$needs; sys.exit(sys.version_info < (3, 11))" 2>/dev/null && echo $$python && exit; \
	done; done; echo python3)
BIN := .venv/bin
PYTEST_ARGS ?=
CHAOS_ARGS ?=
MODEL_ARGS ?=
FUZZ_S ?= 600
FUZZ_ARGS ?=
BENCH_ARGS ?=

.PHONY: help demo test test-cpython test-celery chaos model fuzz fuzz-values bench lint packages up lock

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## run the tour on a stack of local processes; no Docker, no Redis needed
	@$(PYTHON) tools/setup.py local
	@# exec: a SIGTERM to make has to reach the stack, not a shell in between.
	@PATH="$(CURDIR)/$(BIN):$$PATH" exec $(BIN)/producer stack --stay-on-tty -- producer tour

test: ## run every test that this machine can run, side by side; or some: PYTEST_ARGS="tests/unit"
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m pytest $(or $(PYTEST_ARGS),-n auto)

test-cpython: ## run CPython's own tests on our queues, locks and the like
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m pytest tests/cpython $(PYTEST_ARGS)

test-celery: ## run Celery's and kombu's own tests on our transport and on theirs; an hour and a half
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m tests.suites

chaos: ## kill workers, Redis and connections, and account for every task; about an hour
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m tests.chaos $(CHAOS_ARGS)

model: ## search every order of the delivery's steps in a model; about ten minutes
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m tests.model $(MODEL_ARGS)

fuzz: ## hostile messages and odd entries while workers are killed, for FUZZ_S seconds (600)
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_S) $(FUZZ_ARGS)

fuzz-values: ## try two thousand made-up values a property instead of twenty; about ten minutes
	@$(PYTHON) tools/setup.py dev
	@HYPOTHESIS_PROFILE=fuzz $(BIN)/python -m pytest -m hypothesis tests/unit tests/handles $(PYTEST_ARGS)

# Beside other queues; or WORKERS=1: of ours alone.
BENCH := $(if $(WORKERS),bench.workers,bench --made)

bench: ## measure speed beside other queues; 90 minutes, or five: make bench QUICK=1; or WORKERS=1
	@$(PYTHON) tools/setup.py dev
	@$(BIN)/python -m $(BENCH) $(if $(filter-out 0,$(QUICK)),--scale quick) $(BENCH_ARGS)

lint: ## check style, types and known holes of what is installed
	@$(PYTHON) tools/setup.py dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(BIN)/python tools/audit.py requirements/local.txt

packages: ## install what requirements/extra.in names into .venv and, where Docker runs, the image
	@$(PYTHON) tools/packages.py
	@if docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1; then docker compose build; fi

up: ## start the full service in containers
	docker compose up --detach --wait --build

lock: ## write the lock files anew from pyproject.toml
	@$(PYTHON) tools/setup.py dev
	requirements/compile
