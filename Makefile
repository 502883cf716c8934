# The whole platform. `make help` lists the targets; each folder's Makefile has the same ones for itself.

ROOT := $(CURDIR)
.DEFAULT_GOAL := help
include make/venv.mk

.PHONY: help up dev down demo test coverage lint words types bench chaos-money protos lock
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

up: venv ## start the platform; Ctrl-C stops it
	@$(VENV)/bin/adctl up

dev: venv ## start the platform and restart what each change of the source affects
	@$(VENV)/bin/adctl up --reload

down: venv ## stop a platform that was started with --detach
	@$(VENV)/bin/adctl down

demo: venv ## run an advertiser's and a publisher's journey and check every figure
	@$(VENV)/bin/adctl demo

lint: venv ## ruff, import contracts, vocabulary, sizes, file names, tenancy, buf, migrations, Dockerfiles
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(PY) make/words.py --clean
	@$(PY) make/structure.py
	@$(PY) make/tenancy.py
	@$(PY) protos/check.py
	@$(VENV)/bin/squawk --config make/squawk.toml libs/src/adlib/migrations/*/*.sql *-service/src/*/migrations/*.sql
	@$(VENV)/bin/hadolint make/base.Dockerfile *-service/Dockerfile

words: venv ## every word and name that the vocabulary (make/words.toml) replaces, with the better one
	@$(PY) make/words.py

types: venv ## mypy, strict
	@$(VENV)/bin/mypy

protos: venv ## generate the contract's package into .venv
	@echo "adplatform-protos is up to date in .venv"

# tests/test_installation.py installs with the oldest supported pip.
$(VENV)/oldest-pip: $(VENV)/.installed requirements/oldest-pip.txt
	@$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $@ -r requirements/oldest-pip.txt

test: lint types $(VENV)/oldest-pip ## everything CI checks
	@$(PY) -m pytest

# Not part of `test`: measuring doubles the time of Python code, and no threshold depends on it.
coverage: $(VENV)/oldest-pip ## run the tests and list the lines that none of them reached
	@$(PY) -m pytest --cov --cov-report=term

bench: venv ## compare with peers; prints tables, asserts nothing
	@$(PY) -m bench.permissions
	@$(PY) -m bench.ledger

chaos-money: venv ## kill payment-service, PostgreSQL and Stripe at random for a minute, then verify every micro
	@$(PY) -m tests.chaos_money

lock: venv ## resolve requirements/lock.txt
	@$(PY) make/external_dependencies.py | $(PY) -m uv pip compile --universal --generate-hashes --python-version 3.11 \
		--no-header --annotation-style line --quiet -o requirements/lock.txt - requirements/dev.in
