# The whole platform. `make help` says what there is; each folder's Makefile has the same names for itself.

ROOT := $(CURDIR)
.DEFAULT_GOAL := help
include make/venv.mk

.PHONY: help up down demo test coverage lint words types bench chaos-money protos lock
help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-8s %s\n", $$1, $$2}'

up: venv ## start the platform; Ctrl-C stops it
	@$(VENV)/bin/adctl up

down: venv ## stop a platform that was started with --detach
	@$(VENV)/bin/adctl down

demo: venv ## run one advertiser's and one publisher's journey, and check every figure
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
	@$(VENV)/bin/hadolint Dockerfile

words: venv ## every word and name that the vocabulary (make/words.toml) replaces, with the better one
	@$(PY) make/words.py

types: venv ## mypy, strict
	@$(VENV)/bin/mypy

protos: venv ## generate the contract's package into .venv
	@echo "adplatform-protos is up to date in .venv"

# The test of the installation installs with it.
$(VENV)/oldest-pip: $(VENV)/.installed requirements/oldest-pip.txt
	@$(PY) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest $@ -r requirements/oldest-pip.txt

test: lint types $(VENV)/oldest-pip ## everything CI checks
	@$(PY) -m pytest

# Counting lines doubles the time of what is written in Python, and decides nothing, so it stands by itself.
coverage: $(VENV)/oldest-pip ## run the tests and say which lines none of them reached
	@$(PY) -m pytest --cov --cov-report=term

bench: venv ## measure beside peers; prints tables, decides nothing
	@$(PY) -m bench.permissions
	@$(PY) -m bench.ledger

chaos-money: venv ## kill payment-service, PostgreSQL and Stripe at random for a minute; then every micro must be right
	@$(PY) -m tests.chaos_money

lock: venv ## resolve requirements/lock.txt again
	@$(PY) make/external_dependencies.py | $(PY) -m uv pip compile --universal --generate-hashes --python-version 3.11 \
		--no-header --annotation-style line --quiet -o requirements/lock.txt - requirements/dev.in
