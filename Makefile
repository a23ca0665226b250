# `make bench` and `make test` set up .venv on first use. Python 3.11 to 3.13 is needed; where there is none, uv fetches one.
PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
UV := $(shell command -v uv 2>/dev/null)
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: bench quick test lint docs clean

bench: $(INSTALLED)
	$(BIN)/python cli.py bench mtil --strategy zscl

# The tests without those that train whole runs (marker `slow`).
quick: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n auto --dist worksteal --durations=20

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(INSTALLED)
	$(BIN)/python -m tools.pages --check
	DISABLE_MKDOCS_2_WARNING=true NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

ifneq ($(UV),)
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(or $(PYTHON),3.12) .venv
	VIRTUAL_ENV=.venv $(UV) pip install --compile-bytecode -e ".[dev]"
	@touch $@
else ifneq ($(PYTHON),)
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv || { rm -rf .venv; \
		echo "$(PYTHON) cannot make a virtual environment: install its venv package, or uv."; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --compile-bytecode -e ".[dev]"
	@touch $@
else
$(INSTALLED):
	@echo "Perennial needs Python 3.11, 3.12 or 3.13 (found: $$(python3 --version 2>&1)): install one, or uv, which fetches it."; exit 1
endif

clean:
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache .mypy_cache site
