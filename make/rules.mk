# The targets of one folder: the same names as the root's. A folder's Makefile includes this file, after setting RUN if `run` is not
# `python -m` of a service, and TESTS if its tests are not in tests/.

ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))..)
NAME := $(notdir $(CURDIR))
.DEFAULT_GOAL := help
include $(ROOT)/make/venv.mk

MIGRATIONS := $(wildcard src/*/migrations/*.sql src/*/migrations/*/*.sql)
TYPED := $(wildcard src generate.py check.py)
TESTS ?= $(addprefix $(NAME)/,$(wildcard tests))
ifneq ($(filter %-service,$(NAME)),)
SERVICE := $(PY) -m $(subst -,_,$(NAME))
RUN ?= $(SERVICE)
endif

.PHONY: help image test lint words types run migrate
help: ## list the targets
	@echo "$(NAME):"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

# pytest, mypy and lint-imports run at the root, where their settings are.
test: venv ## this folder's tests
	@$(if $(TESTS),cd $(ROOT) && $(PY) -m pytest $(TESTS),echo "$(NAME) has no tests")

lint: venv ## ruff, import contracts and buf or squawk where they apply
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@cd $(ROOT) && $(VENV)/bin/lint-imports --no-logo
	@$(PY) $(ROOT)/make/words.py --clean
	@cd $(ROOT) && $(PY) make/structure.py $(NAME) && $(PY) make/tenancy.py
	@$(if $(wildcard check.py),$(PY) check.py)
	@$(if $(MIGRATIONS),$(VENV)/bin/squawk --config $(ROOT)/make/squawk.toml $(MIGRATIONS))
	@$(if $(wildcard Dockerfile),$(VENV)/bin/hadolint Dockerfile)

words: venv ## words and names here that the vocabulary (make/words.toml) replaces
	@$(PY) $(ROOT)/make/words.py .

image: ## build a service's image, with Docker
	@docker build --target build --tag adplatform-build:local --file $(ROOT)/make/base.Dockerfile $(ROOT)
	@docker build --target run --tag adplatform-run:local --file $(ROOT)/make/base.Dockerfile $(ROOT)
	@docker build --tag $(NAME) --file Dockerfile $(ROOT)

types: venv ## mypy, strict
	@$(if $(TYPED),cd $(ROOT) && $(VENV)/bin/mypy $(addprefix $(NAME)/,$(TYPED)),echo "$(NAME) is not type-checked")

run: venv ## run it with the environment that its README lists
	@$(or $(RUN),echo "$(NAME) is a library: it has nothing to run")

migrate: venv ## apply its migrations to DATABASE_URL
	@$(if $(SERVICE),$(SERVICE) migrate,echo "$(NAME) owns no database")
