"""Every parser of what attackers write, given what nobody thought of, for some seconds each (`make fuzz`: longer)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris has no wheel for this Python or machine")
from tests.fuzz.__main__ import targets

ALL_SECONDS = 40  # a minute with their starts, however many targets there are
SECONDS = os.environ.get("GRIDWARDEN_FUZZ_SECONDS") or str(max(1, ALL_SECONDS // len(targets())))
CHECKOUT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", targets())
def test_no_input_makes_a_parser_fail_in_a_way_that_its_callers_do_not_expect(target, tmp_path):
    command = [sys.executable, "-m", "tests.fuzz", target, "--seconds", SECONDS]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what failed is kept there, as pytest keeps its directories
    done = subprocess.run(
        command, cwd=CHECKOUT, capture_output=True, text=True, errors="replace", check=False, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    # Nothing was tried at all where an import failed quietly or the target returned at once.
    tried = [line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    assert tried and int(tried[0]) > 100, done.stderr[-3000:]
