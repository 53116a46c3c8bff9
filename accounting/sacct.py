"""Run sacct: the one program that the collector starts."""

from __future__ import annotations

import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from gridwarden.accounting.sacct_rows import FIELDS, SEPARATOR
from gridwarden.errors import Unavailable
from gridwarden.times import MICROSECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS = 900
HELP_SECONDS = 30
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
# Slurm takes no instant before this one ("uts" of less than seven digits is refused).
EARLIEST = 1_000_000 * MICROSECONDS


def run(programs: Path, since: int, *, seconds: int = SECONDS) -> Iterator[str]:
    """Yield the lines of sacct about every job that existed at or after ``since`` (microseconds).

    A field that this sacct does not have is empty: 22.05 has no Restarts.  Raises Unavailable when sacct cannot be run,
    fails, or has not finished after ``seconds``; lines that were yielded before are then not all there are.
    """
    program = str(programs / "sacct")
    known = _known(program)
    command = [
        program,
        "--allusers",
        "--duplicates",
        "--parsable2",
        "--noheader",
        f"--delimiter={SEPARATOR}",
        f"--starttime=uts{max(since, EARLIEST) // MICROSECONDS}",
        f"--format={','.join(known)}",
    ]
    try:
        process = subprocess.Popen(
            command,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except OSError as error:
        message = f"{program}: {(error.strerror or str(error)).lower()}"
        raise Unavailable(message, "set slurm.programs in site.yaml to the directory of sacct") from error
    complaints: list[str] = []
    with process:
        assert process.stdout is not None  # noqa: S101  both are pipes
        assert process.stderr is not None  # noqa: S101  both are pipes
        watchdog = threading.Timer(seconds, process.kill)
        listener = threading.Thread(target=complaints.extend, args=(process.stderr,), daemon=True)
        watchdog.start()
        listener.start()
        read_to_the_end = False
        try:
            for line in process.stdout:
                yield _in_full(line.removesuffix("\n"), known)
            read_to_the_end = True
            process.wait()
        finally:
            watchdog.cancel()
            if not read_to_the_end:
                process.kill()
            listener.join()
    if process.returncode == -signal.SIGKILL:
        message = f"{program}: did not finish within {seconds} s"
        raise Unavailable(message, "see sdiag and the log of slurmdbd; gridwarden collect can be repeated")
    if process.returncode:
        said = complaints[-1].strip() if complaints else "it said nothing"
        message = f"{program}: exit code {process.returncode}: {said}"
        raise Unavailable(message, "gridwarden collect can be repeated when sacct works again")


def _known(program: str) -> tuple[str, ...]:
    """Return the fields that this sacct has; all where it does not say, so that its own error is seen."""
    command = [program, "--helpformat"]
    try:
        done = subprocess.run(
            command, env=_ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=HELP_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return FIELDS
    has = set(done.stdout.decode("ascii", "replace").split())
    return tuple(field for field in FIELDS if field in has) if has.issuperset(FIELDS[:1]) else FIELDS


def _in_full(line: str, known: tuple[str, ...]) -> str:
    if len(known) == len(FIELDS):
        return line
    values = line.split(SEPARATOR, len(known) - 1)
    if len(values) != len(known):
        return line
    of = dict(zip(known, values, strict=True))
    return SEPARATOR.join(of.get(field, "") for field in FIELDS)
