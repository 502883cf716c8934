# The rules of one folder: the same names as the root's, for this folder alone. A folder's Makefile is one include of this file,
# after RUN where what it runs is no `python -m` of its service.

ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
NAME := $(notdir $(CURDIR))
.DEFAULT_GOAL := help
include $(ROOT)/make/venv.mk

MIGRATIONS := $(wildcard src/*/migrations/*.sql src/*/migrations/*/*.sql)
TYPED := $(wildcard src generate.py check.py)
ifneq ($(filter %-service,$(NAME)),)
SERVICE := $(PY) -m $(subst -,_,$(NAME))
RUN ?= $(SERVICE)
endif

.PHONY: help test lint words types run migrate
help: ## what can be made here
	@echo "$(NAME):"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

# pytest, mypy and lint-imports start at the root, where their settings are.
test: venv ## this folder's tests
	@cd $(ROOT) && $(PY) -m pytest $(NAME)/tests

lint: venv ## ruff, import contracts and what else this folder has: buf, squawk
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@cd $(ROOT) && $(VENV)/bin/lint-imports --no-logo
	@$(PY) $(ROOT)/make/words.py --clean
	@cd $(ROOT) && $(PY) make/structure.py $(NAME) && $(PY) make/tenancy.py
	@$(if $(wildcard check.py),$(PY) check.py)
	@$(if $(MIGRATIONS),$(VENV)/bin/squawk --config $(ROOT)/make/squawk.toml $(MIGRATIONS))

words: venv ## words and names here that the vocabulary (make/words.toml) replaces
	@$(PY) $(ROOT)/make/words.py .

types: venv ## mypy, strict
	@cd $(ROOT) && $(VENV)/bin/mypy $(addprefix $(NAME)/,$(TYPED))

run: venv ## run it with the environment that its README lists
	@$(or $(RUN),echo "$(NAME) is a library: there is nothing to run")

migrate: venv ## apply its migrations to DATABASE_URL
	@$(if $(SERVICE),$(SERVICE) migrate,echo "$(NAME) owns no database")
