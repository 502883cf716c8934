# Builds .venv from the lock, and rebuilds the parts whose sources change.
# Included by every Makefile of the tree; ROOT is the workspace's folder.

VENV := $(ROOT)/.venv
PY := $(VENV)/bin/python
LOCAL := libs auth-service campaign-service payment-service publisher-service analytics-service pixel-service gateway dev testing
PROTO_SOURCES := $(shell find $(ROOT)/protos -name '*.proto') $(ROOT)/protos/generate.py $(ROOT)/protos/hatch_build.py
# The build tools come from the lock too, so these builds need no package index.
BUILD_LOCAL := $(PY) -m uv pip install --quiet --python $(PY) --offline --no-deps --no-build-isolation --reinstall

# A virtual environment without Python or pip, as an interrupted installation leaves it, is created again.
$(VENV)/.locked: $(ROOT)/requirements/lock.txt
	@$(or $(PYTHON),python3) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is " + sys.version) if sys.version_info < (3, 11) else None'
	@echo "installing the locked packages into .venv (once; seconds to a minute, depending on the network)"
	@$(PY) -c 'import pip' 2>/dev/null || $(or $(PYTHON),python3) -m venv --clear $(VENV)
	@$(PY) $(ROOT)/make/install.py $<
	@touch $@

$(VENV)/.protos: $(VENV)/.locked $(PROTO_SOURCES) $(ROOT)/protos/pyproject.toml
	@$(BUILD_LOCAL) $(ROOT)/protos
	@touch $@

$(VENV)/.installed: $(VENV)/.protos $(foreach package,$(LOCAL),$(ROOT)/$(package)/pyproject.toml)
	@$(BUILD_LOCAL) $(foreach package,$(LOCAL),-e $(ROOT)/$(package))
	@touch $@

.PHONY: venv
venv: $(VENV)/.installed ## build .venv from the hash-pinned lock
