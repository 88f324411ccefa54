# Two commands do everything: `make up` runs the main job on a local node, `make test` passes the tests.
NAME ?= dev
STACK := python3 -m toolchain.local_stack
PYTEST := .venv/bin/python -m pytest

.PHONY: up down cluster cluster-down tools preview test test-fast lint

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

test-fast: tools ## what needs no cluster, about a minute
	$(PYTEST) -m "not cluster and not drill"

# Three Vault servers that start at once must form one cluster, each of twenty times.
test: export CLUSTER_FORMATION_ROUNDS ?= 20
test: lint ## everything, on real nodes that the tests start and take away
	$(PYTEST) --durations=15
