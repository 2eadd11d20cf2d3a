# Needs make and Python 3.11 or 3.12; `make` alone lists the targets. Written for GNU make 3.81 (macOS) and newer.
# Paths are relative throughout, because the folder's own path may hold spaces.

python := .venv/bin/python

.PHONY: help setup run test quick test-azure check lint types imports package test-package test-formats test-environments test-properties test-walks test-year bench soak screenshots map lock clean

help:  ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' Makefile | awk -F'|' '{printf "  make %-17s %s\n", $$1, $$2}'

# .venv/ready is a copy of the lock, written last: what was stopped in the middle, or made from another lock, is made anew.
# The lock's markers leave everything out on other versions of Python, where pip would succeed and install nothing.
setup:  ## .venv with everything in requirements.txt; at once when it is there
	@if [ -x $(python) ] && cmp -s requirements.txt .venv/ready; then exit 0; fi; \
	set -e; unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH; \
	uv=$$(command -v uv || true); found=; \
	for name in python3.12 python3.11 python3 python ''; do \
	    "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1 && break; \
	    found="$$found$$("$$name" -c 'import sys; print(" ('$$name' is %d.%d)" % sys.version_info[:2])' 2>/dev/null || true)"; \
	done; \
	if [ -z "$$name" ] && [ -z "$$uv" ]; then \
	    echo "Batch Scoring Studio needs Python 3.11 or 3.12, and there is none$$found." >&2; \
	    echo "  Debian 12: sudo apt-get install python3 python3-venv    macOS: brew install python@3.12" >&2; \
	    echo "  or install uv (https://docs.astral.sh/uv), which fetches one" >&2; exit 1; \
	elif [ -z "$$uv" ] && ! "$$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
	    echo "$$name has no module venv. On Debian: sudo apt-get install python3-venv" >&2; exit 1; \
	fi; \
	rm -rf .venv; \
	if [ -n "$$uv" ]; then \
	    echo "Setting up .venv with uv (once)"; \
	    "$$uv" venv --quiet --python "$${name:-3.12}" .venv; \
	    "$$uv" pip install --python $(python) --no-deps --compile-bytecode --requirement requirements.txt; \
	else \
	    echo "Setting up .venv with $$name and pip (once; about two minutes)"; \
	    "$$name" -m venv .venv; \
	    $(python) -m pip install --disable-pip-version-check --no-input --no-deps --requirement requirements.txt; \
	fi; \
	cp requirements.txt .venv/ready

run: setup  ## The dashboard, on http://127.0.0.1:8501 or the next free port; PORT=9000 to choose
	@$(python) app.py $(if $(PORT),--port '$(PORT)')

test: setup  ## All tests, those in a real browser included; ARGS='-k name' to choose
	@$(python) -m tests.browser.chromium
	@$(python) -m pytest -n 3 --dist worksteal $(ARGS)

quick: setup  ## The tests that take under a minute together: no browser, no Azure, no engine
	@$(python) -m pytest -n 2 --dist worksteal -m 'not slow' tests/unit tests/house tests/pages $(ARGS)

test-azure: setup  ## The walk on a real Azure ML workspace, named by AZURE_SUBSCRIPTION_ID and the like; AZURE_COMPUTE_TARGET is its cluster; ARGS='--workspace azure-v2'
	@$(python) -m tests.azure_live $(ARGS)

check: lint types imports test  ## Lint, types, import rules, tests

lint: setup
	@$(python) -m ruff check
	@$(python) -m ruff format --check
	@.venv/bin/codespell

types: setup
	@$(python) -m mypy

imports: setup
	@.venv/bin/lint-imports --no-logo

package: setup  ## The wheel, in dist: for uvx, uv tool install, pipx run or pip
	@$(python) -m hatchling build -t wheel

test-package: setup  ## The wheel installed with its dependencies in a fresh folder: the dashboard opened, the sample scored
	@$(python) -m pytest tests/package --with-dependencies $(ARGS)

test-environments: setup  ## Environments with packages from PyPI, by uv and by pip: made, scored in, deleted
	@$(python) -m pytest tests/environments --with-downloads --timeout 1800 $(ARGS)

test-formats: setup  ## Models of XGBoost, LightGBM, CatBoost, MLflow, PyTorch and Keras, each in an environment made for it; downloads 1 GB
	@$(python) -m pytest tests/formats --with-formats --timeout 1800 -o faulthandler_timeout=1800 $(ARGS)

test-walks: setup  ## The long walks in the browser, of each of which `make test` has a small case
	@$(python) -m tests.browser.chromium
	@$(python) -m pytest tests/browser -n 2 --dist worksteal -m walk --walks $(ARGS)

test-year: setup  ## A year of work in ten minutes, killed again and again: nothing lost, nothing left behind
	@$(python) -m pytest tests/year --whole-year -s --timeout 1800 -o faulthandler_timeout=1800 $(ARGS)

test-properties: setup  ## The property tests with new examples, two thousand of each
	@$(python) -m pytest -n 2 --dist worksteal -m hypothesis --hypothesis-profile=many --timeout 1800 $(ARGS)

bench: setup  ## How fast it is on this machine; ARGS=engines for one part. See docs/benchmarks.md
	@$(python) -m benchmarks $(ARGS)

soak: setup  ## Kills at random for MINUTES=3: is every row still there exactly once?
	@$(python) -m benchmarks.soak --minutes $(or $(MINUTES),3)

screenshots: setup  ## The pictures in the README, taken anew
	@$(python) -m tests.browser.chromium
	@$(python) -m docs.screenshots

map: setup  ## The map and the import graphs in docs/architecture.md, made anew from the code
	@$(python) -m docs.house_map

lock:  ## requirements.txt from the four lists requirements*.in; needs uv. UPGRADE=1 for the newest versions
	uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command 'make lock' \
	    $(if $(UPGRADE),--upgrade) requirements.in requirements-azure.in requirements-azure-v2.in requirements-dev.in --output-file requirements.txt

clean:  ## Remove .venv and what the tools left
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
