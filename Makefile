# `make bench` and `make test` set up .venv on first use. Python 3.11 or 3.12 is needed; where there is none, uv fetches one.
PYTHON ?= $(shell for p in python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: bench test lint clean

bench: $(INSTALLED)
	$(BIN)/python cli.py bench mtil --strategy zscl

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml
ifneq ($(PYTHON),)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install -e ".[dev]"
else
	@command -v uv >/dev/null || { echo "Perennial needs Python 3.11 or 3.12 (found: $$(python3 --version 2>&1)); install one, or uv, which fetches it."; exit 1; }
	uv venv --quiet --allow-existing --python 3.12 .venv
	VIRTUAL_ENV=.venv uv pip install -e ".[dev]"
endif
	@touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache
