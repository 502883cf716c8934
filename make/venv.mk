# Builds .venv from the lock the first time, and again when what it is built from changes.
# Included by every Makefile of the tree; ROOT is the workspace's folder.

VENV := $(ROOT)/.venv
PY := $(VENV)/bin/python
LOCAL := libs auth-service campaign-service payment-service publisher-service analytics-service pixel-service gateway dev
PROTO_SOURCES := $(shell find $(ROOT)/protos -name '*.proto') $(ROOT)/protos/generate.py $(ROOT)/protos/hatch_build.py

$(VENV)/.locked: $(ROOT)/requirements/lock.txt
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version) if sys.version_info < (3, 11) else None'
	@echo "installing what the platform needs into .venv (once; a minute or two)"
	@$(or $(PYTHON),python3) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENV)/.protos: $(VENV)/.locked $(PROTO_SOURCES) $(ROOT)/protos/pyproject.toml
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation --force-reinstall $(ROOT)/protos
	@touch $@

$(VENV)/.installed: $(VENV)/.protos $(foreach package,$(LOCAL),$(ROOT)/$(package)/pyproject.toml)
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation $(foreach package,$(LOCAL),-e $(ROOT)/$(package))
	@touch $@

.PHONY: venv
venv: $(VENV)/.installed ## build .venv from the hash-pinned lock
