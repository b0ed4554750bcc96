# Copyright (c) 2026, llmstack contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Needs GNU make, a POSIX shell and Python 3.11 to 3.14; everything else goes into .venv and .sandbox.
#   PYTHON=/path/to/python3   build .venv with this Python
#   ARGS="..."                for the one tool behind a target: ansible-playbook (site), pytest (test*), a bench (bench)

.DEFAULT_GOAL := help
.PHONY: help venv site test test-fast test-long unit unit-timed lint sanity sandbox bench status down clean lock
# Recipes of one make run share .venv and the sandbox: keep them in order.
.NOTPARALLEL:

export PYTHON
# An Ansible configuration of the user must not change what is tested here.
unexport ANSIBLE_CONFIG ANSIBLE_COLLECTIONS_PATH ANSIBLE_ROLES_PATH
# With it Python reads a module that comes through a pipe (pipelining) byte by byte: half a second for each task.
unexport PYTHONUNBUFFERED

BIN := .venv/bin
# Tools start each other by name, and see none of the collections that a user has in ~/.ansible.
# Not exported for all: `venv` must see the PATH of the user.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" PYTHONPATH=tests ANSIBLE_HOME="$(CURDIR)/.cache/ansible"
SANDBOX := $(RUN) $(BIN)/python -m sandbox
# pytest ends with 5 where ARGS choose no test of this part.
NONE_CHOSEN = $(if $(ARGS),[ $$? = 5 ],false)
SITE = $(firstword $(wildcard .venv/lib/python*/site-packages))

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

site: sandbox ## the whole stack on a sandbox cluster: install, deploy a model, ask it something
	@$(RUN) $(BIN)/python -m tools.run_site $(ARGS)

test: lint sanity unit unit-timed sandbox ## all tests but the long ones (15 min warm)
	@$(RUN) $(BIN)/pytest -m "not long" -n auto tests/integration/s3 $(ARGS) || $(NONE_CHOSEN)
	@$(RUN) $(BIN)/pytest -m "not long" --durations=20 --ignore=tests/integration/s3 tests/integration $(ARGS) || $(NONE_CHOSEN)

test-fast: lint unit ## linters and unit tests but those that measure time (2 min, no cluster)

unit: venv ## unit tests alone (1 min, no cluster)
	@$(RUN) $(BIN)/pytest -m "not long and not quiet" -n auto --dist loadfile tests/unit $(ARGS) || $(NONE_CHOSEN)

# They have the cores to themselves.
unit-timed: venv ## unit tests that measure time (45 s, no cluster)
	@$(RUN) $(BIN)/pytest -m "not long and quiet" tests/unit $(ARGS) || $(NONE_CHOSEN)

test-long: sandbox ## the tests that take very long (kills, rebuilds, other versions)
	@$(RUN) $(BIN)/pytest -m long tests/unit tests/integration $(ARGS)

lint: venv ## all linters, to the end even if one finds something
	@status=0; export $(RUN); \
	say() { echo "lint: $$1"; shift; "$$@" || status=1; }; \
	say "ruff check" ruff check --quiet .; \
	say "ruff format" ruff format --check --quiet .; \
	say mypy mypy; \
	say yamllint yamllint --strict .; \
	say antsibull-changelog antsibull-changelog lint; \
	say antsibull-docs antsibull-docs lint-collection-docs . --plugin-docs --skip-rstcheck --validate-collection-refs=all; \
	say ansible-lint env ANSIBLE_COLLECTIONS_PATH="playbooks/collections:$(SITE)" ansible-lint --offline -q; \
	exit $$status

sanity: venv ## ansible-test sanity (again only after a change)
	@$(RUN) $(BIN)/python -m tools.sanity

sandbox: venv ## start the sandbox cluster, or do nothing if it runs
	@$(SANDBOX) up

bench: venv ## run tests/bench/*.py, print one table, write it into README.md
	@$(RUN) $(BIN)/python tests/bench/run.py $(ARGS)

status: venv ## what of the sandbox runs
	@$(SANDBOX) status

down: ## remove the sandbox cluster
	@if [ -e .sandbox ]; then sh tests/tools/bootstrap.sh && $(SANDBOX) down; else echo "No sandbox here."; fi

clean: down ## down, then remove everything that was generated in this checkout
	@rm -rf .venv .venv-* .cache .mypy_cache .pytest_cache .ruff_cache .ansible tests/output *.tar.gz
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "Kept for other checkouts: $${XDG_CACHE_HOME:-$$HOME/.cache}/llmstack-serving"

venv: ## make .venv with the locked tools (the other targets do it for you)
	@sh tests/tools/bootstrap.sh

lock: venv ## resolve requirements/*.in anew into requirements/*.lock
	@sh tests/tools/lock.sh
