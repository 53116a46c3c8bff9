# make check   linters, types, import directions: seconds, no root, no site
PYTHON ?= python3

.PHONY: check docs

check: .venv/.made
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -Im pytest -q tests/pure

docs: .venv/.made  ## the generated pages: configuration, commands, reasons, exit codes
	.venv/bin/python docs/generate.py

.venv/.made: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	touch $@
