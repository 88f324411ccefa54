# Two commands do everything: `make up` runs the main job on a local node, `make test` passes the tests.
NAME ?= dev
STACK := python3 -m toolchain.local_stack
PYTEST := .venv/bin/python -m pytest

# Containers often forbid it. Tests and stacks start hundreds of Python processes, which then all compile this project.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: up down cluster cluster-down tools preview lint test test-fast test-all

up: ## from a bare machine to a cluster with every layer built
	$(STACK) --name $(NAME) up

preview: ## what `up` would change in the stack, with the policy pack
	$(STACK) --name $(NAME) preview

down: ## take the local node and its stack away
	$(STACK) --name $(NAME) down

cluster: ## only the node, its images and the Git repository
	$(STACK) --name $(NAME) cluster

cluster-down: down

tools: ## programs, upstream manifests, virtual environment
	$(STACK) tools

lint: tools
	.venv/bin/ruff check .
	.venv/bin/mypy

# CONTRIBUTING.md says what each of these runs.
LANES := .venv/bin/python -m tests.lanes --durations=15

# Two processes a core: some tests wait for time to pass.
test-fast: tools ## what needs neither a node nor other processes
	$(PYTEST) -n $$((2 * $$(nproc))) --dist worksteal --durations=15 tests/unit

test: tools ## what a change has to pass: lint, tests, and those on three real nodes, all side by side
	$(LANES) -m "not nightly"

# Three Vault servers that start at once must form one cluster, each of twenty times.
test-all: export CLUSTER_FORMATION_ROUNDS ?= 20
test-all: tools ## everything, also what is nightly
	$(LANES)
