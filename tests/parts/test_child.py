"""What a child of ours is asked comes back, and so does why it failed, whoever holds our standard streams."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gridwarden import child

WITHOUT_STREAMS = """
import os
os.closerange(0, 3)
from gridwarden import child
os._exit(child.ask(lambda: "told", 10) != "told")
"""


def test_why_a_child_failed_is_printed_by_whoever_started_it(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(_: int) -> None:
        raise ValueError("no\nsense")

    assert child.run(fail, 10) == (b"", False)
    assert capfd.readouterr().err == f"gridwarden: as uid {os.getuid()}: ValueError('no\\nsense')\n"


def test_nobody_waits_for_the_output_of_a_child(capfd: pytest.CaptureFixture[str]) -> None:
    def say(report: int) -> None:
        os.write(1, b"said")
        os.write(2, b"said")
        os.write(report, os.read(0, 1) or b"nothing to read")

    assert child.run(say, 10) == (b"nothing to read", True)
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_started_without_standard_streams_gets_its_answers() -> None:
    assert subprocess.run([sys.executable, "-c", WITHOUT_STREAMS], check=False).returncode == 0
