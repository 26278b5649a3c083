# make help says what there is. Every target does its own set-up; VENV= and PYTHON= choose where and with what.
# The path of the workspace may have spaces in it: make's own functions split at them, so it stands only in quotes.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PROJECT ?=
ROOT := $(CURDIR)
BIN := $(if $(filter /%,$(VENV)),$(VENV),$(ROOT)/$(VENV))/bin
MEMBERS := $(patsubst %/pyproject.toml,%,$(wildcard */pyproject.toml))
PROJECTS := $(filter-out shared_utils,$(MEMBERS))
STAMP := $(VENV)/.installed
export PATH := $(BIN):$(PATH)
export VIRTUAL_ENV := $(BIN:/bin=)

.DEFAULT_GOAL := help
.PHONY: help setup demo reproduce test test-all lint bench recipes clean clean-runs

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo; echo "  projects: $(PROJECTS)"

setup: $(STAMP) ## the environment with every project in it (skipped when nothing changed)

$(STAMP): Makefile pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(MEMBERS))
	@"$(PYTHON)" -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11")'
	@test -x "$(BIN)/python" || "$(PYTHON)" -m venv --clear "$(VENV)"
	@"$(BIN)/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	"$(BIN)/uv" pip install --quiet --compile-bytecode --constraint constraints.txt --group dev $(foreach member,$(MEMBERS),--editable ./$(member))
	@touch "$@"

demo: setup ## run each project's main job on its embedded data (PROJECT= for one)
	@"$(BIN)/python" tools/reproduce.py --demo $(PROJECT)

reproduce: setup ## run each project's claim and write runs/reproduce/index.html (PROJECT= for one)
	@"$(BIN)/python" tools/reproduce.py $(PROJECT)

test: setup ## the tests of one project: make test PROJECT=si_adv
	@test -n "$(PROJECT)" || { echo "make test: give PROJECT=, one of: $(MEMBERS) tools"; exit 2; }
	@"$(BIN)/python" tools/test_all.py $(PROJECT)

test-all: setup ## the tests of everything, each project in a process of its own
	@"$(BIN)/python" tools/test_all.py

lint: setup ## ruff (lint and format), the rules of who may import whom, and the types
	@"$(BIN)/ruff" check . && "$(BIN)/ruff" format --check .
	@"$(BIN)/lint-imports" --no-cache
	@set -e; for member in $$(grep -l '^\[tool.importlinter\]' */pyproject.toml); do \
		echo "== $${member%/*}"; (cd "$${member%/*}" && "$(BIN)/lint-imports" --no-cache); done
	@"$(BIN)/basedpyright"

bench: setup ## the benchmarks of one project: make bench PROJECT=si_adv
	@test -n "$(PROJECT)" || { echo "make bench: give PROJECT=, one of: $(PROJECTS)"; exit 2; }
	@cd $(PROJECT) && for file in benchmarks/*.py; do echo "== $$file"; "$(BIN)/python" $$file || exit 1; done

recipes: ## run every recipe of the READMEs as typed, in a scratch copy with its own set-up (PROJECT= for one)
	@PYTHON="$(PYTHON)" "$(PYTHON)" tools/recipes.py $(PROJECT)

clean: ## remove the environment and all caches; trained runs stay
	rm -rf "$(VENV)" build dist */build */dist .*_cache */.*_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@find . -name '*.egg-info' -type d -prune -exec rm -rf {} +

clean-runs: ## remove the trained runs and results: lists them and asks (YES=1 where there is no terminal)
	@YES="$(YES)" "$(PYTHON)" tools/clean_runs.py $(PROJECT)
