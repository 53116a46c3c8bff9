"""A site's epilogue runs as root and alone, ends in its time with all that it started, and is root's or does not run."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from gridwarden import payloads, proc
from gridwarden.hooks.pilot import lent
from gridwarden.mapper.pilot_values import PilotValues
from tests.payload import CHECKOUT, PYTHON, UID

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users: needs root")

CALL = f"""
import json, sys
sys.path.append({str(CHECKOUT)!r})
from pathlib import Path
from gridwarden.hooks.pilot import epilogue, privileges, signals
epilogue.TERM_SECONDS = 0.5
signals.take()
privileges.adopt_orphans()
print(json.dumps(epilogue.run(Path(sys.argv[1]), {{"GLEXEC_EPILOG_STATUS": "0"}}, float(sys.argv[2]))))
"""


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of root's."""
    with tempfile.TemporaryDirectory(dir="/root") as name:
        yield Path(name)


def program(directory: Path, text: str) -> Path:
    path = directory / "epilogue"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def run(path: Path, seconds: float = 10.0) -> str:
    done = subprocess.run([PYTHON, "-ISBc", CALL, path, str(seconds)], stdout=subprocess.PIPE, check=True, timeout=60)
    return json.loads(done.stdout)


def test_an_epilogue_gets_its_variables_and_nothing_else(directory: Path) -> None:
    path = program(
        directory, f"/usr/bin/env >{directory}/told; id -u >>{directory}/told; readlink /proc/self/fd/1; exec 3>&1"
    )
    assert run(path) == ""
    told = set((directory / "told").read_text().split())
    assert {"0", "GLEXEC_EPILOG_STATUS=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"} <= told
    assert {line.partition("=")[0] for line in told} <= {
        "0",
        "GLEXEC_EPILOG_STATUS",
        "PATH",
        "PWD",
        "_",
        "SHLVL",
        "OLDPWD",
    }


def test_an_epilogue_that_fails_is_said_to_have_failed(directory: Path) -> None:
    assert run(program(directory, "exit 1")).endswith("/epilogue ended with exit code 1")
    assert run(program(directory, "kill -KILL $$")).endswith("/epilogue was ended by SIGKILL")


def test_an_epilogue_that_cannot_be_started_does_not_cost_a_payload_its_exit_code(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_process() -> NoReturn:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")  # as fork(2)

    path = program(directory, f"touch {directory}/ran")
    monkeypatch.setattr(os, "fork", no_process)
    lent.run_epilogue(PilotValues(epilogue=str(path), epilogue_seconds=5.0), payloads.State(payload=payloads.new_id()))
    assert not (directory / "ran").exists()


def test_an_epilogue_that_takes_too_long_ends_and_so_does_what_it_started(directory: Path) -> None:
    path = program(directory, f"setsid sleep 600 & echo $! >{directory}/pid; trap '' TERM; sleep 1; exec sleep 600")
    assert "more than 1.5 s" in run(path, 1.5)
    assert proc.read(int((directory / "pid").read_text())) is None


def test_what_an_epilogue_leaves_behind_is_gone(directory: Path) -> None:
    assert run(program(directory, f"setsid sleep 600 & echo $! >{directory}/pid")) == ""
    assert proc.read(int((directory / "pid").read_text())) is None


@pytest.mark.parametrize("how", ["owner", "writable", "link", "directory"])
def test_a_program_that_another_could_have_written_is_no_epilogue(directory: Path, how: str) -> None:
    path = program(directory, f"touch {directory}/ran")
    if how == "owner":
        os.chown(path, UID, UID)
    elif how == "writable":
        path.chmod(0o775)
    elif how == "link":
        path.rename(directory / "other")
        path.symlink_to("other")
    else:
        directory.chmod(0o777)
    assert run(path) != ""
    assert not (directory / "ran").exists()
