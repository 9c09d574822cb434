# The two commands: `make up` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
CHARMS := $(notdir $(wildcard charms/*))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up
up: ## Deploy the bundle on this machine, send test data through it, run the tutorial notebook
	@tools/setup run
	@$(PYTHON) tools/up.py up

.PHONY: down
down: ## Remove every machine, bridge, mount and rule that `make up` made
	@tools/setup run
	@$(PYTHON) tools/up.py down

.PHONY: status
status: ## Show the applications of the running model and the addresses of their pages
	@tools/setup run
	@$(PYTHON) tools/up.py status

.PHONY: resources
resources: ## Build the charm resources (Hadoop, Flume, Spark, Zeppelin) into build/resources
	@tools/setup run
	@$(PYTHON) resources/build.py

.PHONY: charms
charms: ## Pack the charms into build/charms
	@tools/setup run
	@for charm in $(CHARMS); do .venv/bin/tabletop pack charms/$$charm -o build/charms/$$charm.charm || exit 1; done

.PHONY: test
test: ## Run every check and test that needs no controller: lint, types, unit, packing, functional, model
	@tools/setup dev
	@mkdir -p build
	@set -o pipefail; .venv/bin/tox run 2>&1 | tee build/test.log || \
	    { echo "==> Failed (the whole output: build/test.log)"; grep -aE '^([^|]+ \| )?(FAILED|ERROR|FAIL) |^failed: |^  [a-z-]+: FAIL' build/test.log; exit 1; }

.PHONY: lint unit juju-static charmcraft functional model
lint unit juju-static charmcraft functional model: ## Run one part of the tests
	@tools/setup dev
	@.venv/bin/tox run -e $@

.PHONY: bench-tabletop
bench-tabletop: ## Measure tabletop's hooks, hook tools and settling on real machines (as root); the last line is JSON
	@tools/setup dev
	@$(PYTHON) benchmarks/tabletop.py

.PHONY: bench-gateway
bench-gateway: ## Measure the gateway, and what could stand in its place, under load; the last line is JSON
	@tools/setup dev
	@$(PYTHON) benchmarks/gateway
