# Every target sets up first what it needs. All paths are relative, so the checkout may have spaces in its name.
PYTHON ?=
# Twice as many as the cores of a small machine: half of the suite waits for what others do.
WORKERS ?= 4
ARGS ?=
venv := .venv/bin
# Suites with a target of their own: they take longer, or want more of the machine.
apart := bench bench_cluster chaos clients cluster hostile house images process
pytest := $(venv)/pytest -n $(WORKERS) --dist worksteal
# Compiled modules are kept, also where the machine says not to: every process of a test would compile all anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-brokers test-languages fuzz e2e check serve services sim chaos hostile cluster cluster-down test-cluster test-images bench fmt languages guest lock clean bench-cluster hostile-user
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv from the locked requirements and install missing system packages
	@PYTHON="$(PYTHON)" sh infra/setup/venv.sh
	@$(venv)/python -m sandboxes.install
	@$(venv)/python -m infra.setup.pages

demo: setup ## see everything work, in under three minutes
	@$(venv)/python examples/demo.py

serve: setup ## run all of it on this machine, on http://127.0.0.1:8000
	@$(venv)/millrace serve

test: setup ## run the tests that take parts of it, in minutes; ARGS="-k word" picks some
	@$(pytest) -m "not brokers and not languages" $(apart:%=--ignore tests/%) $(ARGS) tests

test-brokers: setup ## run what is about brokers over every arrangement of them, failovers too
	@$(pytest) -m brokers $(ARGS) tests/streams tests/stores tests/infra

test-languages: setup ## run every language through everything, also those whose compilers are slow
	@$(pytest) -m languages $(ARGS) tests/sandboxes

fuzz: setup ## ask with twenty times as many requests drawn at random
	@$(pytest) -m hypothesis --hypothesis-profile=thorough $(ARGS) tests/edge tests/handlers tests/schemas tests/infra

e2e: setup ## run whole services as their users do: processes, pages, examples, real clients
	@$(pytest) $(ARGS) tests/process tests/clients

services: setup ## install what some tests talk to: Redis, S3 (built once, some minutes), a browser
	@$(venv)/python -m infra.setup.services

sim: setup ## draw disasters from seeds, SEEDS=100000 of them, or replay one with SEED=7
	@$(venv)/python tests/simulation $(or $(SEED),--seeds $(or $(SEEDS),10000))

chaos: setup ## kill everything for real: SECONDS=600 BROKER=redis, sentinel, cluster, nats, nats-cluster
	@$(venv)/python -m tests.chaos --seconds $(or $(SECONDS),60) --broker $(or $(BROKER),redis) \
		$(if $(SEED),--seed $(SEED)) $(if $(FAULT),--fault $(FAULT))

hostile: setup ## attack the sandboxes, one sentence a test
	@$(venv)/pytest $(ARGS) tests/hostile

hostile-user: setup ## by root: the same as an ordinary user, made for it and removed again
	@$(venv)/python -m tests.hostile $(ARGS)

cluster: setup ## start a real Kubernetes on this machine; the first time builds it, 4 to 20 minutes
	@$(venv)/python -m infra.cluster up
	@$(venv)/python -m tests.cluster.images

cluster-down: setup ## stop it and take away all it brought
	@$(venv)/python -m infra.cluster down

test-images: setup ## carry out the steps of every Dockerfile on a root file system; root, some minutes
	@$(venv)/pytest $(ARGS) tests/images

test-cluster: setup ## run the tests that need a Kubernetes, on the one that runs or one of their own
	@$(venv)/python -m infra.cluster during --later $(venv)/pytest $(ARGS) tests/cluster

bench-cluster: setup ## measure pods on the cluster that `make cluster` starts; EXECUTIONS=200
	@$(venv)/python -m infra.cluster during $(venv)/python -m tests.bench_cluster

bench: setup ## measure the budgets as ratios; writes bench-results/
	@$(venv)/python tests/bench

check: setup ## format, lint, types, import contracts and tidiness
	@$(venv)/ruff format --check .
	@$(venv)/ruff check .
	@$(venv)/mypy
	@$(venv)/lint-imports
	@$(venv)/pytest -q tests/house

fmt: setup ## put the code in shape
	@$(venv)/ruff format .
	@$(venv)/ruff check --fix .

languages: setup ## install the compilers and runtimes of all thirteen languages
	@$(venv)/python -m sandboxes.install --all

guest: setup ## give the sandboxes' Python numpy, pandas, matplotlib and other packages
	@$(venv)/python -m sandboxes.install --guest

lock: setup ## pin the dependencies named in pyproject.toml again
	@sh infra/setup/lock.sh

clean: ## remove .venv and all caches; data of `millrace serve` stays
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
