# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# Idle threads that spin starve the others when cores are shared.
export OMP_WAIT_POLICY = passive
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: quickstart test lint clean

quickstart: .venv/installed
	$(BIN)/wmzoo quickstart

test: .venv/installed lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term:skip-covered --durations=10 -rs

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Made anew when what it installs changes.
.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	@echo "Installing into .venv: one to three minutes."
	$(BIN)/pip install -qq --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
