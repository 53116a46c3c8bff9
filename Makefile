# make demo and make test do all set-up themselves; make help says what there is.
PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
SITE = .venv/bin/python -m tests.site
# Stories of pilots, which have a site to themselves: what they leave to others, and find, is a lot.
PILOTS = test_pilot*.py test_launcher*.py test_exec_*.py
# A test that fails is tried once more, and named; of more than a few the run fails (tests/second_try.py).
PYTEST = pytest -q --reruns=1
TELLING = tests/story/test_slurm_telling.py::test_who_asks_for_a_tasks_pid_is_led_to_its_job_and_the_controller_has_a_record_of_its_own

.PHONY: help demo test test-here test-on-site proof fuzz check site host docs

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: site  ## the main job on a real Slurm, from a credential to the CPU table
	$(SITE) run -- /opt/gridwarden/bin/python -m tests.site.demo

test: host check  ## every test: on this Python, and beside it on the site's Slurm and Python
	-@$(SITE) build trixie bookworm
	@$(MAKE) --no-print-directory --output-sync=target --jobs=2 test-here test-on-site

test-here:
	.venv/bin/python -m $(PYTEST) tests/host
	$(SITE) apart -- .venv/bin/python -m $(PYTEST) tests/parts tests/site tests/fuzz

test-on-site:
	@if $(SITE) status || [ "$$CI" = true ]; then \
		$(SITE) run -- $(PYTEST) tests/pure tests/parts tests/story $(PILOTS:%=--ignore-glob=tests/story/%) && \
		$(SITE) run -- $(PYTEST) $(PILOTS:%=tests/story/%) && \
		$(SITE) run --suite bookworm -- $(PYTEST) tests/story/test_scenarios.py $(TELLING); \
	else \
		echo "make: skipped the tests on the site, for the reason above"; \
	fi

proof: export GRIDWARDEN_PROOF = long
proof: site  ## the long proofs: every kill, 100 000 hand-outs, a file system that lies, 20 bombs of each kind (an hour)
	.venv/bin/python -m pytest -q -rP tests/parts/test_kills.py tests/parts/test_check_kills.py tests/parts/test_failing_calls.py tests/parts/test_unreliable_file_system.py tests/parts/test_kill_bombs.py
	$(SITE) apart -- .venv/bin/python -m pytest -q -rP tests/parts/test_prune_leavings.py tests/parts/test_payload_bombs.py
	$(SITE) run -- env GRIDWARDEN_PROOF=long pytest -q -rP tests/story/test_hand_outs.py tests/story/test_prune_slurm.py tests/story/test_prune_htcondor.py tests/story/test_scenarios.py

fuzz: export GRIDWARDEN_FUZZ_SECONDS ?= 600
fuzz: .venv/.made  ## every parser's fuzzing target for ten minutes each; GRIDWARDEN_FUZZ_SECONDS changes that
	.venv/bin/python -m pytest -q tests/fuzz

check: .venv/.made  ## linters, types, import directions: seconds, no root, no site
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -Im pytest -q tests/pure

site: host .venv/.made  ## build the test site's root, if this checkout has none yet
	$(SITE) build

host:  # what the machine itself must have; installed by root on Debian and Ubuntu, else named
	@tests/site/prepare-host $(PYTHON)

docs: .venv/.made  ## the generated pages: configuration, commands, reasons, exit codes
	.venv/bin/python docs/generate.py

.venv/.made: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	.venv/bin/python -m pip install -qq --disable-pip-version-check --editable . --group dev --group fuzz
	touch $@
